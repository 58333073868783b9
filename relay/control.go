package relay

import (
	"context"
	"fmt"
	"slices"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// Control messages go to every channel that the rules can reach: to those that
// are active at once, in order with the harmonics; and each is kept as a
// notice in the window, so that a channel first seen later gets it too, for as
// long as it would get a record's key from there.

// everybody is the channel that notices are kept under.
const everybody = ""

// tell sends a control message of a table, by its ID, or of all with "". page is that of
// the transaction it is part of; nil where reading begins.
func (r *Relay) tell(ctx context.Context, page *page, table string, c harmonic.Control, id harmonic.ID) error {
	data := c.AppendJSON(nil)
	m := &message{
		Event: pusher.Event{Name: harmonic.EventControl, Data: data},
		id:    id, table: table, key: string(data), owner: settledElsewhere{},
	}
	if page != nil {
		m.owner = page
	}
	if err := r.window.reserve(ctx, 1); err != nil {
		return err
	}
	r.mu.Lock()
	r.last = r.seq
	if c.Type() == harmonic.TypeReset {
		r.resets[table]++
	}
	r.keep(m.owner, everybody, m.table, m.key)
	for name := range r.active {
		if r.mapper.Reaches(table, name) {
			m.Channels = append(m.Channels, name)
		}
	}
	r.mu.Unlock()
	r.metrics.control.WithLabelValues(c.Type()).Inc()
	if len(m.Channels) == 0 {
		return nil
	}
	slices.Sort(m.Channels)
	return r.enqueue(ctx, m)
}

// settledElsewhere owns messages that no checkpoint waits for, since the
// window has them.
type settledElsewhere struct{}

func (settledElsewhere) add() int { return 0 }
func (settledElsewhere) ack()     {}

// defined tells clients what a statement did to a table. page is that of its
// transaction; nil where reading begins. Each statement takes one position for
// each table, whether or not there is something to tell, so that reading again
// repeats the ids.
func (r *Relay) defined(ctx context.Context, page *page, d *binlog.Definition) error {
	r.timed(d)
	for _, table := range r.mapper.TablesOf(d.Name) {
		id := harmonic.NewID(r.seq, r.generation)
		if page != nil {
			var err error
			if id, err = r.issue(ctx, d.Time); err != nil {
				return err
			}
		}
		if err := r.define(ctx, page, table, id, d); err != nil {
			return fmt.Errorf("tell of %s: %w", d.Name, err)
		}
	}
	return nil
}

// unsettle has everything forgotten that a statement about a table of users,
// memberships or parents may have changed. Nobody of its tenant is live then
// until he was read again, and all are told to load again what no row event
// tells of.
func (r *Relay) unsettle(ctx context.Context, page *page, d *binlog.Definition) error {
	users, parents := r.mapper.UsersBy(d.Name), r.mapper.ParentsBy(d.Name)
	if d.Kind == binlog.Present || len(users)+len(parents) == 0 {
		return nil
	}
	clear(r.lookups.shapes)
	r.audience.Forget(d.Name)
	if d.Kind != binlog.Altered {
		r.log.Info("a table that says who sees what was emptied, dropped or replaced; clients are told to load again", "table", d.Name.String())
		tenants := slices.Concat(users, parents)
		slices.Sort(tenants)
		for _, tenant := range slices.Compact(tenants) {
			if err := r.tellTenant(ctx, page, tenant); err != nil {
				return err
			}
		}
	}
	for _, tenant := range users {
		r.again = append(r.again, r.audience.Reset(tenant)...)
		r.close(func(key mapping.UserKey) bool { return key.Tenant() == tenant })
	}
	return nil
}

// tellTenant has all clients of a tenant load again; without a tenant, all.
func (r *Relay) tellTenant(ctx context.Context, page *page, tenant string) error {
	if tenant == "" {
		return r.tellReload(ctx, page, "")
	}
	for _, table := range r.mapper.TablesOfTenant(tenant) {
		if err := r.tellReload(ctx, page, table); err != nil {
			return err
		}
	}
	return nil
}

// tellReload has clients load a table again, by its ID, or everything with "".
func (r *Relay) tellReload(ctx context.Context, page *page, table string) error {
	c := r.reload(table)
	return r.tell(ctx, page, table, c, c.ID)
}

// reload is the message for that, under the last id that was given out.
func (r *Relay) reload(table string) harmonic.Reload {
	return harmonic.Reload{ID: harmonic.NewID(r.seq, r.generation), Table: r.mapper.NameOf(table)}
}

// tellLost has clients load the tables again that have rows below parents of
// which a transaction has changed more than are kept.
func (r *Relay) tellLost(ctx context.Context, page *page, parents []mapping.ParentRef) error {
	var below []string
	for _, ref := range parents {
		below = append(below, r.mapper.TablesBelow(ref)...)
	}
	slices.Sort(below)
	for _, table := range slices.Compact(below) {
		r.log.Warn("a transaction has changed so many rows that say whose others are that nobody is told of each; clients load a table again", "table", table)
		if err := r.tellReload(ctx, page, table); err != nil {
			return err
		}
	}
	return nil
}

// define tells of one table, by its ID.
func (r *Relay) define(ctx context.Context, page *page, table string, id harmonic.ID, d *binlog.Definition) error {
	emptied := d.Kind == binlog.Emptied || d.Kind == binlog.Dropped
	if emptied {
		r.log.Info("a table was emptied or dropped; clients are told to drop its rows", "table", d.Name.String(), "what", d.Kind.String())
		if err := r.tell(ctx, page, table, harmonic.Reset{ID: id, Table: r.mapper.NameOf(table)}, id); err != nil {
			return err
		}
	}
	told, err := r.raiseVersion(ctx, page, table, id, d)
	if err != nil || told || d.Kind != binlog.Replaced {
		return err
	}
	r.log.Info("a table's rows were replaced; clients are told to load it again", "table", d.Name.String())
	return r.tellReload(ctx, page, table)
}

// unfit is the shape of a table that the mapping does not fit.
const unfit = "unfit"

// raiseVersion gives a table's schema a new version if what clients get of it
// is not what it was, or may have been in between, and tells them.
func (r *Relay) raiseVersion(ctx context.Context, page *page, table string, id harmonic.ID, d *binlog.Definition) (told bool, err error) {
	if d.Table == nil {
		return false, nil
	}
	shape := unfit
	plan, err := r.mapper.PlanOf(table, d.Table)
	if err != nil {
		// A later statement may mend it before there is a row of it.
		r.log.Error("the mapping does not fit a table any more; chorusd will stop at its next row", "table", d.Name.String(), "error", err)
	} else {
		shape = plan.Shape()
	}
	old, known := r.versions[table]
	oldSeq, oldShape, err := parseVersion(old)
	if known && err != nil {
		return false, err
	}
	touched := d.Kind == binlog.Altered && r.mapper.Syncs(table, d.Touched)
	switch {
	case known && id.Seq() < oldSeq, // read again: it was told
		known && shape == oldShape && (!touched || id.Seq() == oldSeq):
		return false, nil
	}
	version := fmt.Sprintf("%d-%s", id.Seq(), shape)
	told = known && shape != unfit
	if told {
		r.log.Info("a table's schema has changed; clients are told", "table", d.Name.String(), "version", version)
		if err := r.tell(ctx, page, table, harmonic.Schema{ID: id, Table: r.mapper.NameOf(table), Version: version}, id); err != nil {
			return false, err
		}
		// It must not be forgotten once the version is known.
		if err := r.window.await(ctx, r.window.mark()); err != nil {
			return false, err
		}
	}
	r.versions[table] = version
	return told, r.persist(ctx, func(ctx context.Context) error { return r.state.SaveVersion(ctx, table, version) })
}

// parseVersion takes a version apart: the position at which it was raised, and
// the shape.
func parseVersion(text string) (seq harmonic.Seq, shape string, err error) {
	if _, err = fmt.Sscanf(text, "%d-%s", &seq, &shape); err != nil {
		return 0, "", fmt.Errorf("schema version %q: %w", text, err)
	}
	return seq, shape, nil
}

// tellOwed makes a reload that clients are owed a notice. It is called before
// anything else runs.
func (r *Relay) tellOwed(ctx context.Context) error {
	reason, err := r.state.OwedReload(ctx)
	if err != nil || reason == "" {
		return err
	}
	r.log.Warn("every client is told to load again", "reason", reason)
	c := r.reload("")
	r.metrics.control.WithLabelValues(c.Type()).Inc()
	notice := []redisstate.WindowEntry{{Stream: everybody, Key: string(c.AppendJSON(nil))}}
	if err := r.state.AddToWindow(ctx, r.epoch, notice); err != nil {
		return err
	}
	return r.state.ReloadTold(ctx)
}

// announce lists the notices since an epoch for channels that were just
// opened, by channel.
func (r *Relay) announce(ctx context.Context, channels []string, from uint64) (map[string][]redisstate.RecordKey, error) {
	notices, err := r.state.Notices(ctx, from)
	if err != nil || len(notices) == 0 {
		return nil, err
	}
	byChannel := map[string][]redisstate.RecordKey{}
	for _, name := range channels {
		for _, n := range notices {
			if r.mapper.Reaches(n.Table, name) {
				byChannel[name] = append(byChannel[name], n)
			}
		}
	}
	return byChannel, nil
}

// refillControls sends the control messages that channels missed. Those come
// before the records, which are read later than what they tell of.
func (r *Relay) refillControls(ctx context.Context, j *job, items []redisstate.JobItem) error {
	sent, channels := newTally(), r.channelsOf(j)
	for _, item := range items {
		r.mu.Lock()
		id := harmonic.NewID(r.last, r.generation)
		r.mu.Unlock()
		err := r.enqueue(ctx, &message{
			Event: pusher.Event{Name: harmonic.EventControl, Channels: channels, Data: []byte(item.Key)},
			id:    id, table: item.Table, key: item.Key, owner: sent,
		})
		if err != nil {
			return err
		}
	}
	return sent.wait(ctx)
}
