package relay

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// What changes who sees rows without changing them (a parent that leads
// elsewhere, such as a post that moves to another team) is told by reading
// those rows, page by page, and comparing who may have each with who sees it.
// Of a row that changes before its page is read, its own event tells the same.

// movedParents are some of one table, named by the same unique key, and what
// they were. They were all there, or none of them was.
type movedParents struct {
	Table   binlog.TableName
	Unique  string `json:",omitzero"`
	Parents []movedParent
	// Apart says that their rows are more than a page, so that no others are
	// read with them.
	Apart bool `json:",omitzero"`
}

// movedParent is one of them, and the number of the transaction that moved it:
// of those that wait, later ones have higher numbers.
type movedParent struct {
	Key    string
	Was    mapping.Parent `json:",omitzero"`
	Change uint64
}

// movedAtOnce is how many parents one item names: fewer than MySQL's
// eq_range_index_dive_limit, so that it looks how many rows they have.
const movedAtOnce = 100

// moved puts together the parents that a transaction changed.
func moved(changes []audience.ParentChange, number uint64) (list []*movedParents) {
	type kind struct {
		table  binlog.TableName
		unique string
		was    bool
	}
	open := map[kind]*movedParents{}
	for _, c := range changes {
		k := kind{c.Ref.Table, c.Ref.Unique, c.Was.Exists}
		m := open[k]
		if m == nil || len(m.Parents) == movedAtOnce {
			m = &movedParents{Table: k.table, Unique: k.unique}
			open[k] = m
			list = append(list, m)
		}
		m.Parents = append(m.Parents, movedParent{c.Ref.Key, c.Was, number})
	}
	return list
}

// ref names one of them.
func (m *movedParents) ref(i int) mapping.ParentRef {
	return mapping.ParentRef{Table: m.Table, Unique: m.Unique, Key: m.Parents[i].Key}
}

// children choose the rows whose paths lead through one of them.
func (m *movedParents) children(plan *mapping.Plan) []binlog.Selection {
	var more []string
	for _, p := range m.Parents[1:] {
		if p.Key != m.Parents[0].Key && !slices.Contains(more, p.Key) {
			more = append(more, p.Key)
		}
	}
	return plan.Children(m.ref(0), more)
}

// waiting is an item of a job that waits for its turn.
type waiting struct {
	job  *job
	item redisstate.JobItem
}

// gatherParents adds to a selection the parents of others that wait for the same
// reading, as far as one may be so large: each reading takes its time, and where
// parents are written all the time there would be one for each. The others are
// done with it, or with what is left of it.
func (r *Relay) gatherParents(item redisstate.JobItem, s *selection) (others []waiting) {
	if !s.mayGrow() {
		return nil
	}
	const list = `"Parents":`
	head, _, _ := strings.Cut(item.Key, list) // is the same for all of one table
	all := *s.Parents
	all.Parents = slices.Clone(all.Parents)
	take := func(j *job) {
		for _, o := range j.items {
			if o == item || o.Table != item.Table || !strings.HasPrefix(o.Key, head+list) {
				continue
			}
			other, err := parseSelection(o.Key)
			if err != nil || !other.mayGrow() || other.Part != s.Part {
				continue
			}
			more := other.Parents.Parents
			if more[0].Was.Exists == all.Parents[0].Was.Exists && len(all.Parents)+len(more) <= movedAtOnce {
				all.Parents = append(all.Parents, more...)
				others = append(others, waiting{j, o})
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.jobs {
		if len(all.Parents) < movedAtOnce && j.tries == 0 {
			take(j)
		}
	}
	s.Parents = &all
	return others
}

// mayGrow says whether a selection is of parents, fewer than it may be, and is
// to be read from its beginning; halves are not put together again.
func (s *selection) mayGrow() bool {
	m := s.Parents
	return m != nil && !m.Apart && len(m.Parents) < movedAtOnce && s.From == "" && s.Keys == nil && s.Ask == ""
}

// many says whether there are several.
func (m *movedParents) many() bool { return m != nil && len(m.Parents) > 1 }

// halves parts them. Where many rows hang on many parents, the database would
// sort all of them for each page.
func (m *movedParents) halves() [2]*movedParents {
	first, second := *m, *m
	first.Apart, second.Apart = true, true
	first.Parents, second.Parents = m.Parents[:len(m.Parents)/2], m.Parents[len(m.Parents)/2:]
	return [2]*movedParents{&first, &second}
}

// noteIn has the past know what they were.
func (m *movedParents) noteIn(p *past) {
	for i, parent := range m.Parents {
		p.changes = max(p.changes, parent.Change)
		p.led(parent.Change, m.ref(i), parent.Was)
	}
}

// sendMoved tells of a row that others may have than see it. Its key is kept
// for those who are not there.
func (s *sending) sendMoved(ctx context.Context, key string, row *binlog.Row) error {
	r := s.relay
	image := imageOf{row, s.view}
	w, ok, err := r.whereabouts(s.plan, image, image)
	if err != nil {
		return &finalError{err}
	}
	if !ok {
		return nil
	}
	if err := r.keepAll(ctx, s.sent, s.plan, key, w.streams); err != nil {
		return err
	}
	return w.tell(s.plan, image, func(op harmonic.Operation, variant mapping.Variant, names []string) error {
		if op == harmonic.Update && s.plan.Policy() != nil {
			for _, name := range names {
				s.undecided.add(key, name)
			}
			return nil
		}
		return s.give(ctx, op, variant, key, row, names)
	})
}

// tellPast tells of a change what its own event does not: those who have the
// row by what was, and those who keep it by what is and may not have it yet.
func (r *Relay) tellPast(ctx context.Context, t *routed, c *binlog.Change, leader *mapping.Plan) error {
	if c.Before == nil {
		return nil
	}
	plans, err := r.mapper.Plans(c.Table())
	if err != nil {
		return err
	}
	for _, plan := range plans {
		if !sameRecords(plan, leader) {
			continue
		}
		if err := r.tellPastOf(ctx, t, c, plan); err != nil {
			return err
		}
	}
	return nil
}

func (r *Relay) tellPastOf(ctx context.Context, t *routed, c *binlog.Change, plan *mapping.Plan) error {
	w, ok, err := r.whereabouts(plan, imageOf{c.Before, t.old}, imageOf{c.After, t.now})
	if err != nil || !ok {
		return err
	}
	key, err := plan.AppendKey(nil, c.Before)
	if err != nil {
		return err
	}
	if err := r.keepAll(ctx, t.page, plan, string(key), w.streams); err != nil {
		return err
	}
	id, at := harmonic.NewID(r.seq, r.generation), time.UnixMicro(int64(c.Time))
	return w.tell(plan, imageOf{c.After, t.now}, func(op harmonic.Operation, variant mapping.Variant, names []string) error {
		names = slices.DeleteFunc(names, func(name string) bool { return t.told[told{plan, name}] })
		if len(names) == 0 {
			return nil
		}
		h := mapping.Harmonic{Plan: plan, Operation: op, Row: c.After, Variant: variant}
		var data []byte
		switch {
		case op == harmonic.Delete:
			data, err = plan.AppendGone(nil, id, at, string(key))
		case plan.Policy() != nil:
			t.key = string(key)
			return r.gather(ctx, t, &h, names)
		default:
			data, err = h.AppendPayload(nil, id, at)
		}
		if err != nil {
			return err
		}
		m := &message{
			Event: pusher.Event{Name: plan.Event(op), Channels: names, Data: data},
			id:    id, table: plan.ID(), key: string(key), owner: t.page,
		}
		return r.enqueue(ctx, m)
	})
}

// told is a channel that a change was told to, or the app is to be asked for.
type told struct {
	plan *mapping.Plan
	name string
}

// keepAll keeps a record's key under streams, for those who are not there.
func (r *Relay) keepAll(ctx context.Context, owner acknowledger, plan *mapping.Plan, key string, streams []mapping.ScopeKey) error {
	if err := r.window.reserve(ctx, len(streams)+1); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, view := r.audience.Views()
	r.keepUnder(owner, plan, key, streams, view, r.window.size() >= r.cfg.Window, false)
	return nil
}
