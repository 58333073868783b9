package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
)

// ceilingStep is how far ahead positions are reserved in Redis: ten seconds
// of commits, so that most changes need not ask.
const ceilingStep = harmonic.Seq(10 * time.Second / time.Microsecond)

// routeAll takes what was read, in order, until that ends or ctx does, which
// returns nil; between transactions it runs errands. As the only one that
// issues positions, it decides the order of all harmonics.
func (r *Relay) routeAll(ctx context.Context) error {
	defer r.lookups.close()
	for {
		select {
		case e := <-r.errands:
			e.done <- e.run(ctx)
			continue
		default:
		}
		a, wake, over, err := r.inbox.next()
		if over || err != nil {
			return err
		}
		if a == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-wake:
			case e := <-r.errands:
				e.done <- e.run(ctx)
			}
			continue
		}
		err = errors.Join(r.take(ctx, a), r.inbox.done(a))
		r.vigil.step()
		if ended(ctx) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// take routes what was read in one piece.
func (r *Relay) take(ctx context.Context, a *arrival) error {
	if a.kind == present {
		return r.defined(ctx, nil, a.definition)
	}
	if a.changes != nil {
		r.meet(a.changes)
	}
	if err := r.tick(ctx, a.point.At()); err != nil {
		return err
	}
	if a.kind == idle {
		r.ledger.idle(a.point)
		return r.passed(a.point)
	}
	r.mu.Lock()
	r.routing = &a.point
	r.mu.Unlock()
	if a.changes != nil {
		if err := r.routeTransaction(ctx, a); err != nil {
			return fmt.Errorf("route the transaction that ends at %s:%d: %w", a.point.File, a.point.Offset, err)
		}
	}
	if err := r.ledger.commit(ctx, a.point, r.seq); err != nil {
		return err
	}
	return r.passed(a.point)
}

// routeTransaction routes the changes of one. What it changes of who may see
// what is found out first: each change is then seen by the view from before
// all of them and by the one after.
func (r *Relay) routeTransaction(ctx context.Context, a *arrival) error {
	r.forgetPast()
	page := r.ledger.current(a.time)
	page.journey = r.embark(a)
	r.audience.Begin()
	if a.decides {
		err := a.changes.each(func(s step) error {
			if s.change == nil || s.set != 0 {
				return nil
			}
			return r.audience.Apply(s.change, func(n audience.Note) error { return r.note(ctx, page, n) })
		})
		if err != nil {
			return err
		}
	}
	t := &routed{page: page}
	t.old, t.now = r.audience.Views()
	err := a.changes.each(func(s step) error {
		if d := s.definition; d != nil {
			return r.defined(ctx, page, d)
		}
		return r.change(ctx, t, s.change, s.set)
	})
	if err == nil {
		err = r.flush(ctx, t)
	}
	if err == nil {
		err = r.askAll(ctx, t)
	}
	if err != nil {
		return err
	}
	fx := r.audience.Commit()
	if err := r.tellLost(ctx, page, fx.Lost); err != nil {
		return err
	}
	if err := r.effects(ctx, fx); err != nil {
		return err
	}
	if err := r.boundPast(ctx, page); err != nil || !a.changes.defines() {
		return err
	}
	return a.changes.each(func(s step) error {
		if s.definition == nil {
			return nil
		}
		return r.unsettle(ctx, page, s.definition)
	})
}

// tick moves the clock that conditions are judged by: to the time of each
// transaction, whatever it changes, and where nothing more is to be read, to
// that of the day. It never goes back. A transaction that is read late is so
// judged by its own time: the row that it wrote may have been another one when
// its time came.
func (r *Relay) tick(ctx context.Context, now time.Time) error {
	if now.Before(r.timers.now()) || now.Equal(noTime) {
		return nil
	}
	if err := r.effects(ctx, r.audience.Tick(now)); err != nil {
		return err
	}
	if r.timers.tick(now) {
		r.wakeJobs()
	}
	return nil
}

// noTime is the time of a point that has none.
var noTime = binlog.Point{}.At()

// routed is the transaction that is being routed.
type routed struct {
	page     *page
	old, now audience.View
	// id and streams are of the position at hand, which the variants of a
	// harmonic share.
	id      harmonic.ID
	streams []mapping.ScopeKey
	key     string
	// open says that users of whom nothing is known get what needs nothing to
	// be known of them: nobody knows who is there, or the window is full.
	open    bool
	waiting []pendingChange
	asked   []*asking // records that the app is to be asked about
	// told is whom the change at hand was told to; nil if nobody asks.
	told map[told]bool
}

// change maps one change and sends its harmonics on their way, as far as they
// are of plans that go by that set of key columns.
func (r *Relay) change(ctx context.Context, t *routed, c *binlog.Change, set int) error {
	leaders, err := records{r.mapper}.leaders(c.Table())
	if err != nil || len(leaders) == 0 {
		return err
	}
	if !r.hasParents {
		return r.mapChange(ctx, t, c, leaders[set])
	}
	t.waiting = append(t.waiting, pendingChange{c.Clone(), leaders[set]})
	if len(t.waiting) < lookAhead {
		return nil
	}
	return r.flush(ctx, t)
}

// flush routes the changes that wait for their parents to be known.
func (r *Relay) flush(ctx context.Context, t *routed) error {
	if len(t.waiting) == 0 {
		return nil
	}
	if err := r.learn(ctx, t); err != nil {
		return err
	}
	for _, w := range t.waiting {
		if err := r.mapChange(ctx, t, w.change, w.leader); err != nil {
			return err
		}
	}
	t.waiting = t.waiting[:0]
	return nil
}

// mapChange maps a change of which all is known.
func (r *Relay) mapChange(ctx context.Context, t *routed, c *binlog.Change, leader *mapping.Plan) error {
	crossed, err := r.bounds(t, c, leader)
	if err != nil {
		return err
	}
	past := crossed || !r.past.empty()
	if !past {
		if past, err = r.anySoon(t, c, leader); err != nil {
			return err
		}
	}
	t.told = nil
	if past {
		t.told = map[told]bool{}
	}
	unroutable, err := r.mapper.Route(c, t.old, t.now, func(h *mapping.Harmonic) error {
		if !sameRecords(h.Plan, leader) {
			return nil
		}
		return r.route(ctx, t, c, h)
	})
	if err != nil {
		return fmt.Errorf("map a change of %s: %w", c.Table().Name, err)
	}
	if past {
		if err := r.tellPast(ctx, t, c, leader); err != nil {
			return fmt.Errorf("tell of a change of %s to those who may have the row: %w", c.Table().Name, err)
		}
	}
	if unroutable > 0 {
		r.metrics.unroutable.WithLabelValues(c.Table().Name.Table).Add(float64(unroutable))
		if _, again := r.unroutableOnce.LoadOrStore(c.Table().Name, true); !again {
			r.log.Error("a value cannot stand in a channel's name, so nobody gets that row by it; allowed are letters, digits and _-=@,; "+
				"(this is said once per table)", "table", c.Table().Name.String())
		}
	}
	return nil
}

// issue gives out the next position.
func (r *Relay) issue(ctx context.Context, committed uint64) (harmonic.ID, error) {
	r.seq = max(harmonic.Seq(committed), r.seq+1)
	if r.seq > r.ceiling {
		to := r.seq + ceilingStep
		err := r.persist(ctx, func(ctx context.Context) error { return r.state.ReserveSeq(ctx, uint64(to)) })
		if err != nil {
			return harmonic.ID{}, err
		}
		r.ceiling = to
	}
	return harmonic.NewID(r.seq, r.generation), nil
}

// passed moves the tail to pt and tells who waits for it.
func (r *Relay) passed(pt binlog.Point) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.tail.Advance(pt); err != nil {
		return err
	}
	r.routing = nil
	close(r.moved)
	r.moved = make(chan struct{})
	return nil
}

// reached is the end of the transaction that is being routed, if there is one,
// and else the tail: what is kept in the window is of no later one.
// r.mu is held.
func (r *Relay) reached() (binlog.Position, error) {
	p := r.tail.Clone()
	if r.routing == nil {
		return p, nil
	}
	return p, p.Advance(*r.routing)
}

// await waits until done says so of the tail. It is asked with r.mu held.
func (r *Relay) await(ctx context.Context, done func() bool) error {
	for {
		r.mu.Lock()
		ok, moved := done(), r.moved
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}
