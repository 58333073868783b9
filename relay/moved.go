package relay

import (
	"context"
	"slices"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
)

// A parent that leads elsewhere than it did (a post that moves to another
// team) changes who sees the rows below it, of which no event tells. They are
// read, page by page, and each is routed as if it had changed: from how the
// parent was to how it is.

// movedParent is a parent, and what it was.
type movedParent struct {
	Ref mapping.ParentRef
	Was mapping.Parent
}

// movedView is a view by which a parent is what it was.
type movedView struct {
	mapping.View
	*movedParent
}

func (v *movedView) Parent(ref mapping.ParentRef) (mapping.Parent, bool) {
	if ref == v.Ref {
		return v.Was, true
	}
	return v.View.Parent(ref)
}

func (m *movedParent) in(view mapping.View) mapping.View { return &movedView{view, m} }

// follow adds the jobs for parents that a transaction moved. Those who have
// rows of a scope taken from them still are told as well: what has moved out of
// the scope is not found there.
func (r *Relay) follow(channels map[string][]string, parents []audience.ParentChange) {
	if len(parents) == 0 {
		return
	}
	to := []string{whoever}
	r.mu.Lock()
	for j := range r.selecting {
		if len(j.scopes) > 0 {
			to = append(to, j.channels...)
		}
	}
	r.mu.Unlock()
	slices.Sort(to)
	to = slices.Compact(to)
	for _, p := range parents {
		item := selection{Parent: &movedParent{p.Ref, p.Was}}.item("")
		channels[item.Key] = to
	}
}

// alsoTell has those who have lost a scope, or have other attributes, told of
// the rows, too, that are still to be refilled because their parent has moved.
func (r *Relay) alsoTell(ctx context.Context, fx audience.Effects) error {
	var names []string
	for _, m := range fx.Memberships {
		if !m.Gained {
			names = append(names, m.User.Channels...)
		}
	}
	for _, u := range fx.Users {
		names = append(names, u.Is.Channels...)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	if len(names) == 0 {
		return nil
	}
	r.mu.Lock()
	var jobs []*job
	for j := range r.selecting {
		if len(j.parents) > 0 {
			jobs = append(jobs, j)
		}
	}
	r.mu.Unlock()
	for _, j := range jobs {
		err := r.persist(ctx, func(ctx context.Context) error {
			_, err := r.state.AddToJob(ctx, j.id, names, nil)
			return err
		})
		if err != nil {
			return err
		}
		r.mu.Lock()
		j.channels = append(slices.Clone(j.channels), names...)
		slices.Sort(j.channels)
		j.channels = slices.Compact(j.channels)
		r.chunk.joined(j)
		r.mu.Unlock()
	}
	return nil
}

// moving are the parents of which rows are still to be refilled that somebody
// may have seen.
func (r *Relay) moving() []*movedParent {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*movedParent
	for j := range r.selecting {
		for _, m := range j.parents {
			if m.Was.Exists {
				list = append(list, m)
			}
		}
	}
	return list
}

// tellMoved takes a record that changes away from those who saw it by what its
// parent was: when the parent's rows are read, it may not be one of them.
func (r *Relay) tellMoved(ctx context.Context, t *routed, c *binlog.Change, leader *mapping.Plan, m *movedParent) error {
	if c.Before == nil || len(leader.Children(m.Ref)) == 0 {
		return nil
	}
	_, err := r.mapper.Route(c, m.in(t.old), t.now, func(h *mapping.Harmonic) error {
		if h.Operation != harmonic.Delete || !sameRecords(h.Plan, leader) {
			return nil
		}
		names := namesOf(h)
		if len(names) == 0 {
			return nil
		}
		key, err := h.Plan.AppendKey(nil, h.Row)
		if err != nil {
			return err
		}
		id := harmonic.NewID(r.seq, r.generation)
		data, err := h.Plan.AppendGone(nil, id, time.UnixMicro(int64(c.Time)), string(key))
		if err != nil {
			return err
		}
		event := pusher.Event{Name: h.Plan.Event(harmonic.Delete), Channels: names, Data: data}
		if err := r.queue.reserve(ctx, event); err != nil {
			return err
		}
		t.page.add()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.queue.push(&message{Event: event, id: id, table: h.Plan.ID(), key: string(key), owner: t.page})
		return nil
	})
	return err
}

// sendMoved tells of a row whose parent has moved: those who see it by now, and
// those who did. Its key is kept for those who are not there.
func (s *sending) sendMoved(ctx context.Context, key string, row *binlog.Row, m *movedParent) error {
	r := s.relay
	change := &binlog.Change{Kind: binlog.Update, Before: row, After: row}
	_, err := r.mapper.Route(change, m.in(s.view), s.view, func(h *mapping.Harmonic) error {
		if h.Plan.ID() != s.plan.ID() {
			return nil
		}
		if h.First {
			if err := s.keep(ctx, key, h.Streams); err != nil {
				return err
			}
		}
		names := namesOf(h)
		if len(names) == 0 {
			return nil
		}
		if h.Operation == harmonic.Delete {
			data, err := s.plan.AppendGone(nil, s.id, s.at, key)
			if err != nil {
				return err
			}
			return s.push(ctx, harmonic.Delete, key, names, data)
		}
		if s.plan.Policy() != nil {
			for _, name := range names {
				s.undecided.add(key, name)
			}
			return nil
		}
		op := h.Operation
		h.Operation = harmonic.Update
		data, err := h.AppendPayload(nil, s.id, s.at)
		h.Operation = op
		if err != nil {
			return err
		}
		return s.push(ctx, harmonic.Update, key, names, data)
	})
	if err != nil {
		return &finalError{err}
	}
	return nil
}

// keep keeps a record's key under streams.
func (s *sending) keep(ctx context.Context, key string, streams []mapping.ScopeKey) error {
	r := s.relay
	for _, stream := range streams {
		if err := r.window.reserve(ctx, 1); err != nil {
			return err
		}
		r.mu.Lock()
		r.keep(s.sent, stream, s.plan.ID(), key)
		r.mu.Unlock()
	}
	return nil
}

// namesOf are the channels of those who get a harmonic by the view.
func namesOf(h *mapping.Harmonic) []string { return (&routed{}).names(h) }
