package relay

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/chorusd/chorusd/audience"
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
	// lookupBatch is how many parents are read by one query, and lookupsFar how
	// many are looked up at once where each time all that waits in a file is read.
	lookupBatch, lookupsFar = 500, 10_000
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
func (r *Relay) learnOf(ctx context.Context, plan *mapping.Plan, b *back, keys []string, view audience.View) error {
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
	list, far := r.inbox.waiting()
	left, most := readAhead, lookupBatch
	if far {
		left, most = math.MaxInt, lookupsFar
	}
	needed := map[mapping.ParentRef]bool{}
	for _, ref := range refs {
		needed[ref] = true
	}
	var some []mapping.ParentRef
	for _, a := range list {
		if a.changes == nil {
			continue
		}
		err := a.changes.each(func(s step) (err error) {
			if left--; left < 0 || len(refs) >= most {
				return errEnough
			}
			if s.change == nil {
				return nil
			}
			if some, err = r.mapper.Needs(some[:0], s.change, view, view); err != nil {
				return err
			}
			for _, ref := range some {
				if !needed[ref] {
					needed[ref] = true
					refs = append(refs, ref)
				}
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			break
		}
		if err != nil {
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

// takeBack undoes what the transactions that wait change of parents: each was
// what the first of those changes found.
func (r *Relay) takeBack(found map[mapping.ParentRef]mapping.Parent) error {
	settled := make(map[mapping.ParentRef]bool, len(found))
	settle := func(ref mapping.ParentRef, parent mapping.Parent) {
		if _, wanted := found[ref]; wanted && !settled[ref] {
			settled[ref], found[ref] = true, parent
		}
	}
	var before, after binlog.Row
	err := r.inbox.decisive(func(e *entry) error {
		plan, err := r.mapper.ParentPlan(e.table)
		if err != nil || plan == nil {
			return err
		}
		if err := e.images(&before, &after); err != nil {
			return err
		}
		if e.kind != binlog.Insert {
			if err := take(plan, &before, settle); err != nil {
				return err
			}
		}
		if e.kind != binlog.Delete {
			err := take(plan, &after, func(ref mapping.ParentRef, _ mapping.Parent) { settle(ref, mapping.Parent{}) })
			if err != nil {
				return err
			}
		}
		if len(settled) == len(found) {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// awaitRead waits until the log was read as far as upto.
func (r *Relay) awaitRead(ctx context.Context, upto binlog.Position) error {
	r.inbox.press(true)
	defer r.inbox.press(false)
	for {
		ok, wake, over := r.inbox.covers(upto)
		switch {
		case ok:
			return nil
		case over:
			<-ctx.Done()
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}
