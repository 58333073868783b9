package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// job is a refill: some channels have it coming to be told the present state
// of some records. It is in Redis until the last of them was sent. r.mu is held
// for all but its id.
type job struct {
	id       string
	channels []string
	items    []redisstate.JobItem
	// held are selections that were worked off, but stay in Redis while others
	// are not: they say what was, see past.
	held []redisstate.JobItem
	// told is the transaction with which everybody is told to load again what
	// the selections are of; nil if there is none.
	told *page
	// due is when its turn may come, and tries how often the app was asked in
	// vain.
	due   time.Time
	tries int
}

// look finds out whether a job has selections to work off, or anything at all.
// r.mu is held.
func (r *Relay) look(j *job) {
	if slices.ContainsFunc(j.items, selects) {
		r.selecting[j] = true
	} else {
		delete(r.selecting, j)
	}
	if len(j.items)+len(j.held) == 0 {
		delete(r.listed, j.id)
	}
}

// selects says whether an item stands for records that others may see than did:
// those of a scope, or below parents. That is what its text begins with.
func selects(item redisstate.JobItem) bool {
	what, ok := strings.CutPrefix(item.Key, selectionHead)
	return ok && (strings.HasPrefix(what, `{"scope":`) || strings.HasPrefix(what, `{"parents":`))
}

// selection is an item that stands for many records.
type selection struct {
	// Scope is whose rows are meant: of all tables if the item names none.
	Scope mapping.ScopeKey `json:"scope,omitempty"`
	// Parents are some that lead elsewhere than they did: the rows whose paths
	// lead through one are meant, and whoever sees one by now and may not have
	// it, or may have it and does not.
	Parents *movedParents `json:"parents,omitempty"`
	// User is whose attributes have changed, and All says that the scope's rows
	// are meant for that reason.
	User mapping.UserKey `json:"user,omitempty"`
	All  bool            `json:"all,omitempty"`
	// Anew says that the attributes may have made a channel its user's own: on
	// that one he has none of the rows, whatever he might see before.
	Anew bool `json:"anew,omitempty"`
	// Told says that who was no member when the job began has dropped the rows
	// by a message, also those that he sees by something else.
	Told bool `json:"told,omitempty"`
	// Part numbers the ways in which a table's rows are in the scope, and From
	// is where its next page begins.
	Part int    `json:"part,omitempty"`
	From string `json:"from,omitempty"`
	// Keys are records that have changed while they were sent, in place of a page.
	Keys []string `json:"keys,omitempty"`
	// Ask says why the app is asked about them; empty: it is not the reason.
	Ask string `json:"ask,omitempty"`
}

// selectionHead is what tells an item that is a selection from others.
const selectionHead = `{"rows":`

func (s selection) item(table string) redisstate.RecordKey {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // texts and numbers only
	}
	return redisstate.RecordKey{Table: table, Key: selectionHead + string(text) + "}"}
}

func parseSelection(text string) (s selection, err error) {
	rest, _ := strings.CutPrefix(text, selectionHead)
	err = json.Unmarshal([]byte(strings.TrimSuffix(rest, "}")), &s)
	return s, err
}

func isSelection(key string) bool { return strings.HasPrefix(key, selectionHead) }

// isControl tells a control message's text from a record's key, which is an
// array, and from a selection.
func isControl(key string) bool { return strings.HasPrefix(key, "{") && !isSelection(key) }

// refillChunk is how many records are read at once.
const refillChunk = 200

// pageRows is how many rows of a selection are read at once: where it goes
// through joins, the server finds and sorts all of them for each page.
const pageRows = 1000

// makeJobs makes jobs in Redis.
func (r *Relay) makeJobs(ctx context.Context, starts []redisstate.JobStart) (made []redisstate.Job, err error) {
	if len(starts) == 0 {
		return nil, nil
	}
	err = r.persist(ctx, func(ctx context.Context) (err error) {
		made, err = r.state.StartJobs(ctx, starts)
		return err
	})
	return made, err
}

// resumeRefills takes up what an earlier run had still to send.
func (r *Relay) resumeRefills(ctx context.Context) error {
	made, err := r.state.Jobs(ctx)
	if err != nil {
		return fmt.Errorf("read the refills that were under way: %w", err)
	}
	for i := range made {
		m := &made[i]
		m.Channels = r.reachable(m.Channels)
		r.remember(m.Items, m.Channels)
	}
	r.list(made)
	return nil
}

// reachable are those of channels that the rules can still send to. Other rules
// named them differently, and those with an encryption key, or without.
func (r *Relay) reachable(channels []string) []string {
	return slices.DeleteFunc(channels, func(name string) bool { return name != whoever && !r.mapper.Reaches("", name) })
}

// makes says that selections are being made into jobs, until what it returns
// is called.
func (r *Relay) makes() (made func()) {
	add := func(n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.making += n
	}
	add(1)
	return func() {
		add(-1)
		r.wakeJobs()
	}
}

func (r *Relay) list(made []redisstate.Job) { r.listLater(made, 0) }

// listLater lists jobs whose turn may come after a time.
func (r *Relay) listLater(made []redisstate.Job, after time.Duration) {
	due := time.Now().Add(after)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range made {
		j := &job{id: m.ID, channels: m.Channels, items: m.Items, due: due}
		r.jobs = append(r.jobs, j)
		r.listed[j.id] = j
		r.look(j)
	}
	if after > 0 {
		r.wakeLater(after)
		return
	}
	r.wakeJobs()
}

// wakeJobs has the goroutine that refills look for work.
func (r *Relay) wakeJobs() {
	select {
	case r.jobWake <- struct{}{}:
	default:
	}
}

// wakeLater has it look again when a job is due.
func (r *Relay) wakeLater(after time.Duration) { time.AfterFunc(after, r.wakeJobs) }

// mayRefill says whether it is known who is there, and what time it is.
func (r *Relay) mayRefill() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.polled && !r.timers.now().IsZero()
}

// nextJob is the one whose turn it is; nil if there is none.
func (r *Relay) nextJob() *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.jobs) == 0 {
		return nil
	}
	now := time.Now()
	at := slices.IndexFunc(r.jobs, func(j *job) bool { return !now.Before(j.due) && !r.reopens(j) })
	if at < 0 {
		return nil
	}
	j := r.jobs[at]
	r.jobs = slices.Delete(r.jobs, at, at+1)
	return j
}

// refillAll works through the jobs, a chunk of each at a time, until ctx ends,
// which returns nil.
func (r *Relay) refillAll(ctx context.Context) error {
	defer r.reader.Close()
	for {
		if err := r.settle(ctx); err != nil && !ended(ctx) {
			return fmt.Errorf("refill: %w", err)
		}
		swept, rest, err := r.sweepSome(ctx)
		var j *job
		if err == nil && r.mayRefill() {
			j = r.nextJob()
		}
		switch {
		case err != nil:
		case j != nil:
			err = r.refillSome(ctx, j)
		case !swept:
			r.awaitJob(ctx, rest)
		}
		if ended(ctx) {
			return nil // a job's items are in Redis still
		}
		if err != nil {
			return fmt.Errorf("refill: %w", err)
		}
		if j == nil {
			continue
		}
		r.mu.Lock()
		if len(j.items) > 0 {
			r.jobs = append(r.jobs, j)
		}
		r.mu.Unlock()
	}
}

// awaitJob waits until there may be something to do, or for a time if it is not 0.
func (r *Relay) awaitJob(ctx context.Context, rest time.Duration) {
	var rested <-chan time.Time
	if rest > 0 {
		rested = time.After(rest)
	}
	select {
	case <-ctx.Done():
	case <-r.jobWake:
	case <-rested:
	}
}

// refillSome sends what comes next of a job: control messages first, then
// records, then pages of selections.
func (r *Relay) refillSome(ctx context.Context, j *job) error {
	items, wanted := r.pick(j)
	if len(items) == 0 {
		return nil
	}
	var again []redisstate.RecordKey
	var others []waiting
	var err error
	first := items[0]
	switch {
	case !wanted:
	case isControl(first.Key):
		err = r.refillControls(ctx, j, items)
	case isSelection(first.Key):
		again, others, err = r.refillSelection(ctx, j, first)
	default:
		again, err = r.refillRecords(ctx, j, first.Table, items)
	}
	switch {
	case errors.Is(err, errReopened):
		return nil // all of it is sent when its turn comes again
	case err != nil:
		return err
	}
	if err := r.progress(ctx, j, items, again); err != nil {
		return err
	}
	for _, o := range others {
		if err := r.progress(ctx, o.job, []redisstate.JobItem{o.item}, nil); err != nil {
			return err
		}
	}
	return nil
}

// whoever is the channel of jobs that are for all whom it concerns.
const whoever = ""

// anybody says whether one of the job's channels is active still. Who comes
// back later gets what he missed then. r.mu is held.
func (r *Relay) anybody(j *job) bool {
	return slices.ContainsFunc(j.channels, func(name string) bool { _, ok := r.active[name]; return ok || name == whoever })
}

// reopens says whether one of the job's channels is to be opened again before it
// is known who is behind it. r.mu is held.
func (r *Relay) reopens(j *job) bool {
	return len(r.reopening) > 0 && slices.ContainsFunc(j.channels, func(name string) bool { return r.reopening[name] })
}

// pick chooses the items that come next, which can be sent together; wanted is
// false if all are to be given up.
func (r *Relay) pick(j *job) (items []redisstate.JobItem, wanted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.polled && !r.anybody(j) {
		return slices.Clone(j.items), false
	}
	var controls, records, selections []redisstate.JobItem
	for _, item := range j.items {
		switch {
		case isControl(item.Key):
			controls = append(controls, item)
		case isSelection(item.Key):
			if len(selections) == 0 {
				selections = append(selections, item)
			}
		case len(records) == 0 || len(records) < refillChunk && item.Table == records[0].Table:
			records = append(records, item)
		}
	}
	switch {
	case len(controls) > 0:
		return controls, true
	case len(records) > 0:
		return records, true
	}
	return selections, true
}

// progress takes items off a job that were sent, and adds others. Selections
// that nothing is left of are held.
func (r *Relay) progress(ctx context.Context, j *job, done []redisstate.JobItem, again []redisstate.RecordKey) error {
	if len(again) == 0 {
		done = r.hold(j, done)
	}
	if len(done) == 0 {
		return nil
	}
	var added []redisstate.JobItem
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		added, err = r.state.JobProgress(ctx, j.id, done, again)
		return err
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	j.items = slices.DeleteFunc(j.items, func(i redisstate.JobItem) bool { return slices.Contains(done, i) })
	j.put(added)
	r.look(j)
	return nil
}

// hold holds those of a job's items that are selections, and returns the others.
func (r *Relay) hold(j *job, done []redisstate.JobItem) (others []redisstate.JobItem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, item := range done {
		if selects(item) {
			j.held = append(j.held, item)
		} else {
			others = append(others, item)
		}
	}
	j.items = slices.DeleteFunc(j.items, func(i redisstate.JobItem) bool { return slices.Contains(j.held, i) })
	r.look(j)
	return others
}

// settle takes the selections off that are held, once there are no others, and
// those in place of which everybody was told to load again.
func (r *Relay) settle(ctx context.Context) error {
	settled := map[*job][]redisstate.JobItem{}
	r.mu.Lock()
	none := len(r.selecting) == 0 && r.making == 0
	for _, j := range r.listed {
		told := j.told != nil && j.told.over()
		if !told && (!none || len(j.held) == 0) {
			continue
		}
		items := slices.Clone(j.held)
		for _, item := range j.items {
			if told && selects(item) {
				items = append(items, item)
			}
		}
		if len(items) > 0 {
			settled[j] = items
		}
	}
	r.mu.Unlock()
	for j, items := range settled {
		err := r.persist(ctx, func(ctx context.Context) error {
			_, err := r.state.JobProgress(ctx, j.id, items, nil)
			return err
		})
		if err != nil {
			return err
		}
		r.mu.Lock()
		taken := func(i redisstate.JobItem) bool { return slices.Contains(items, i) }
		j.items, j.held = slices.DeleteFunc(j.items, taken), slices.DeleteFunc(j.held, taken)
		r.look(j)
		r.mu.Unlock()
	}
	return nil
}

// put adds items, in place of the same that were there.
func (j *job) put(items []redisstate.JobItem) {
	for _, item := range items {
		at := slices.IndexFunc(j.items, func(i redisstate.JobItem) bool { return i.RecordKey == item.RecordKey })
		if at < 0 {
			j.items = append(j.items, item)
			continue
		}
		j.items[at] = item
	}
}

// chunk is what is being read for a job, as it is at some point after the one
// at which it began. Its methods do nothing on nil; r.mu is held for them.
type chunk struct {
	table string
	job   *job
	// later are the records that have changed since, and whether all of the
	// channels were told so. They are not sent as they were read; those of
	// which somebody was not told are read again.
	later map[string]bool
}

// changed notes that a record changes.
func (c *chunk) changed(table, key string) {
	if c != nil && c.table == table {
		c.later[key] = false
	}
}

// told notes that a message is on its way.
func (c *chunk) told(m *message) {
	const compared = 8
	if c == nil || c.table != m.table || len(c.job.channels) > compared {
		return
	}
	if !slices.ContainsFunc(c.job.channels, func(name string) bool { return !slices.Contains(m.Channels, name) }) {
		c.later[m.key] = true
	}
}

// drop gives up the jobs that wait for their turn and have no active channel.
func (r *Relay) drop(ctx context.Context) error {
	r.mu.Lock()
	var dropped []*job
	r.jobs = slices.DeleteFunc(r.jobs, func(j *job) bool {
		if !r.polled || r.anybody(j) {
			return false
		}
		dropped = append(dropped, j)
		return true
	})
	r.mu.Unlock()
	for _, j := range dropped {
		for items := r.itemsOf(j); len(items) > 0; items = r.itemsOf(j) {
			if err := r.progress(ctx, j, items, nil); err != nil {
				return err
			}
		}
	}
	r.wakeJobs()
	return nil
}

// itemsOf are what a job has still to send.
func (r *Relay) itemsOf(j *job) []redisstate.JobItem {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(j.items)
}

// channelsOf are those that a job is for; the list is nobody's to change.
func (r *Relay) channelsOf(j *job) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return j.channels
}
