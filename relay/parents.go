package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// Parents that are not known are looked up when a change needs them: as they
// are now, since that is all that can be read. What the log changes of them
// between the change at hand and the point of that reading has been read from
// it by then and waits to be routed: the first image before such a change is
// the parent as it was.

// pendingChange waits until its parents are known.
type pendingChange struct {
	change *binlog.Change
	leader *mapping.Plan
}

const (
	// lookAhead is for how many changes of a transaction parents are looked up
	// at once, and readAhead for how many of those after it.
	lookAhead, readAhead = 500, 2000
	// lookupBatch is how many parents are read by one query.
	lookupBatch = 500
)

// lookups reads parents' rows for the goroutine that routes.
type lookups struct {
	reader Reader
	shapes map[binlog.TableName]*binlog.Table
}

func newLookups(r Reader) *lookups { return &lookups{r, map[binlog.TableName]*binlog.Table{}} }

func (l *lookups) close() { l.reader.Close() }

// learn has the parents known that the waiting changes need.
func (r *Relay) learn(ctx context.Context, t *routed) error {
	return r.learnAll(ctx, func(refs []mapping.ParentRef) ([]mapping.ParentRef, error) {
		var err error
		for _, w := range t.waiting {
			if refs, err = r.mapper.Needs(refs, w.change, t.old, t.now); err != nil {
				return refs, err
			}
			if refs, err = r.pastNeedsOf(refs, w.change, t.old); err != nil {
				return refs, err
			}
		}
		if len(refs) == 0 {
			return refs, nil
		}
		return r.needsAhead(refs, t.now)
	})
}

// learnOf has the parents known that rows need to be judged, by what is and by
// what was.
func (r *Relay) learnOf(ctx context.Context, plan *mapping.Plan, b *back, keys []string, view mapping.View) error {
	if !r.hasParents {
		return nil
	}
	return r.learnAll(ctx, func(refs []mapping.ParentRef) ([]mapping.ParentRef, error) {
		var err error
		for _, key := range keys {
			row := b.found[key]
			if row == nil {
				continue
			}
			if refs, err = r.pastNeeds(refs, plan, row, view); err != nil {
				return refs, err
			}
		}
		return refs, nil
	})
}

// learnAll looks up what needs asks for, until it asks for nothing more: each
// hop of a path is known only when the one before it is.
func (r *Relay) learnAll(ctx context.Context, needs func([]mapping.ParentRef) ([]mapping.ParentRef, error)) error {
	for {
		refs, err := needs(nil)
		if err != nil || len(refs) == 0 {
			return err
		}
		if err := r.lookUp(ctx, refs); err != nil {
			return err
		}
	}
}

// needsAhead adds what the transactions that wait will need, as far as that
// can be told now, so that there is not one query for each.
func (r *Relay) needsAhead(refs []mapping.ParentRef, view mapping.View) ([]mapping.ParentRef, error) {
	left := readAhead
	for _, a := range r.inbox.waiting() {
		if a.changes == nil || left <= 0 || len(refs) >= lookupBatch {
			continue
		}
		err := a.changes.each(func(s step) (err error) {
			if left--; left < 0 {
				return errEnough
			}
			if s.change != nil {
				refs, err = r.mapper.Needs(refs, s.change, view, view)
			}
			return err
		})
		if err != nil && !errors.Is(err, errEnough) {
			return refs, err
		}
	}
	return refs, nil
}

// errEnough ends a walk over changes.
var errEnough = errors.New("enough")

// lookUp reads parents as they were at the end of the transaction at hand. The
// database may be away for a while.
func (r *Relay) lookUp(ctx context.Context, refs []mapping.ParentRef) error {
	r.mu.Lock()
	after, err := r.reached()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	found := make(map[mapping.ParentRef]mapping.Parent, len(refs))
	for _, ref := range refs {
		found[ref] = mapping.Parent{}
	}
	for n, said := 0, false; ; n++ {
		upto, err := r.lookups.read(ctx, r.mapper, refs, found, after)
		if err == nil {
			if err := r.awaitRead(ctx, upto); err != nil {
				return err
			}
			break
		}
		clear(r.lookups.shapes)
		if ctx.Err() != nil || !binlog.Passing(err) {
			return fmt.Errorf("look up parents: %w", err)
		}
		if !said {
			said = true
			r.log.Warn("cannot look up the rows that say whose a change is, trying again", "error", err)
		}
		if err := pause(ctx, pauseAfter(n, err)); err != nil {
			return err
		}
	}
	if err := r.takeBack(found); err != nil {
		return err
	}
	for ref, parent := range found {
		r.audience.Put(ref, parent)
	}
	return nil
}

// read fills in those that there are, each as of some point that covers after;
// upto covers all of these.
func (l *lookups) read(ctx context.Context, m *mapping.Mapper, refs []mapping.ParentRef, found map[mapping.ParentRef]mapping.Parent,
	after binlog.Position,
) (upto binlog.Position, err error) {
	type group struct {
		table  binlog.TableName
		unique string
	}
	groups := map[group][]mapping.ParentRef{}
	for _, ref := range refs {
		g := group{ref.Table, ref.Unique}
		groups[g] = append(groups[g], ref)
	}
	upto = after
	for g, refs := range groups {
		shape := l.shapes[g.table]
		if shape == nil {
			if shape, err = l.reader.Table(ctx, g.table); err != nil {
				return upto, err
			}
			if shape == nil {
				continue // there is no such row
			}
			l.shapes[g.table] = shape
		}
		plan, err := m.ParentPlan(shape)
		if err != nil {
			return upto, &finalError{err}
		}
		key, err := plan.Key(refs[0])
		if err != nil {
			return upto, &finalError{err}
		}
		for len(refs) > 0 {
			n := min(len(refs), lookupBatch)
			keys := make([]string, n)
			for i, ref := range refs[:n] {
				keys[i] = ref.Key
			}
			refs = refs[n:]
			upto, err = l.reader.Rows(ctx, shape, plan.Columns(), key, keys, upto, func(row *binlog.Row) error {
				return take(plan, row, func(ref mapping.ParentRef, parent mapping.Parent) {
					if _, wanted := found[ref]; wanted {
						found[ref] = parent
					}
				})
			})
			if err != nil {
				return upto, err
			}
		}
	}
	return upto, nil
}

// take gives a parent's row under each of its names.
func take(plan *mapping.ParentPlan, row *binlog.Row, give func(mapping.ParentRef, mapping.Parent)) error {
	refs, err := plan.Refs(row)
	if err != nil {
		return err
	}
	parent, err := plan.Parent(row)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		give(ref, parent)
	}
	return nil
}

// takeBack undoes what the transactions that wait change of parents.
func (r *Relay) takeBack(found map[mapping.ParentRef]mapping.Parent) error {
	settled := map[mapping.ParentRef]bool{}
	for _, a := range r.inbox.waiting() {
		if !a.decides {
			continue
		}
		before, after := map[mapping.ParentRef]mapping.Parent{}, map[mapping.ParentRef]bool{}
		err := a.changes.each(func(s step) error {
			if s.change == nil || s.set != 0 {
				return nil
			}
			plan, err := r.mapper.ParentPlan(s.change.Table())
			if err != nil || plan == nil {
				return err
			}
			if row := s.change.Before; row != nil {
				err := take(plan, row, func(ref mapping.ParentRef, parent mapping.Parent) {
					if _, wanted := found[ref]; wanted {
						before[ref] = parent
					}
				})
				if err != nil {
					return err
				}
			}
			if row := s.change.After; row != nil {
				return take(plan, row, func(ref mapping.ParentRef, _ mapping.Parent) {
					if _, wanted := found[ref]; wanted {
						after[ref] = true
					}
				})
			}
			return nil
		})
		if err != nil {
			return err
		}
		for ref := range after {
			if _, was := before[ref]; !was {
				before[ref] = mapping.Parent{}
			}
		}
		for ref, parent := range before {
			if !settled[ref] {
				settled[ref], found[ref] = true, parent
			}
		}
	}
	return nil
}

// awaitRead waits until the log was read as far as upto.
func (r *Relay) awaitRead(ctx context.Context, upto binlog.Position) error {
	r.mu.Lock()
	at, err := r.reached()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	r.inbox.press(true)
	defer r.inbox.press(false)
	for n := 0; !at.Covers(upto); {
		list, last, wake, over := r.inbox.since(n)
		for _, pt := range list {
			if err := at.Advance(pt); err != nil {
				return err
			}
		}
		n = last
		if at.Covers(upto) {
			break
		}
		if over {
			<-ctx.Done()
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
	return nil
}
