package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
)

// ceilingStep is how far ahead positions are reserved in Redis: ten seconds
// of commits, so that most changes need not ask.
const ceilingStep = harmonic.Seq(10 * time.Second / time.Microsecond)

// routeAll takes what was read, in order, until that ends or ctx does, which
// returns nil. As the only caller of the mapper and the only one that issues
// positions, it decides the order of all harmonics.
func (r *Relay) routeAll(ctx context.Context) error {
	for {
		a, ok, err := r.inbox.next(ctx)
		if err == nil && ok {
			err = errors.Join(r.take(ctx, a), r.inbox.done(a))
		}
		if ended(ctx) {
			return nil
		}
		if err != nil || !ok {
			return err
		}
	}
}

// take routes what was read in one piece.
func (r *Relay) take(ctx context.Context, a *arrival) error {
	switch a.kind {
	case present:
		return r.defined(ctx, nil, a.definition)
	case idle:
		r.ledger.idle(a.point)
		return r.passed(a.point)
	}
	r.mu.Lock()
	r.routing = &a.point
	r.mu.Unlock()
	if a.changes != nil {
		err := a.changes.each(func(s step) error { return r.takeStep(ctx, s) })
		if err != nil {
			return fmt.Errorf("route the transaction that ends at %s:%d: %w", a.point.File, a.point.Offset, err)
		}
	}
	if err := r.ledger.commit(ctx, a.point, r.seq); err != nil {
		return err
	}
	return r.passed(a.point)
}

func (r *Relay) takeStep(ctx context.Context, s step) error {
	if d := s.definition; d != nil {
		return r.defined(ctx, r.ledger.current(d.Time), d)
	}
	return r.change(ctx, s.change, s.set)
}

// change maps one change and sends its harmonics on their way, as far as they
// are of plans that go by the set of key columns.
func (r *Relay) change(ctx context.Context, c *binlog.Change, set int) error {
	leaders, err := records{r.mapper}.leaders(c.Table())
	if err != nil {
		return err
	}
	leader := leaders[set]
	unroutable, err := r.mapper.Map(c, func(h *mapping.Harmonic) error {
		if !sameRecords(h.Plan, leader) {
			return nil
		}
		return r.route(ctx, c, h)
	})
	if err != nil {
		return fmt.Errorf("map a change of %s: %w", c.Table().Name, err)
	}
	if unroutable > 0 && set == 0 {
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

// route sends one harmonic to the channels that are active and keeps its key
// for those that are not.
func (r *Relay) route(ctx context.Context, c *binlog.Change, h *mapping.Harmonic) error {
	id, err := r.issue(ctx, c.Time)
	if err != nil {
		return err
	}
	r.metrics.harmonics.WithLabelValues(h.Plan.Table(), h.Operation.String()).Inc()
	key, err := h.Plan.AppendKey(r.key[:0], h.Row)
	if err != nil {
		return err
	}
	r.key = key
	m := &message{
		Event: pusher.Event{Name: h.Plan.Event(h.Operation)},
		id:    id, table: h.Plan.ID(), key: string(key), owner: r.ledger.current(c.Time),
	}
	if err := r.window.reserve(ctx, len(h.Channels)); err != nil {
		return err
	}
	// Room is waited for without the lock, so who is active is asked before,
	// to encode nothing for nobody, and again when it is decided.
	for {
		if r.dispatch(h, m) {
			return nil
		}
		if r.payload, err = h.AppendPayload(r.payload[:0], id, time.UnixMicro(int64(c.Time))); err != nil {
			return err
		}
		m.Data = bytes.Clone(r.payload)
		if err := r.queue.reserve(ctx, len(m.Data)); err != nil {
			return err
		}
	}
}

// dispatch sends a harmonic to those of its channels that are active and keeps
// its key for the others. It does nothing and returns false if somebody is
// active and there is no data yet.
func (r *Relay) dispatch(h *mapping.Harmonic, m *message) (done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.Channels = nil
	for _, ch := range h.Channels {
		if r.isActive(ch) {
			m.Channels = append(m.Channels, ch.Name)
		}
	}
	if len(m.Channels) > 0 && m.Data == nil {
		return false
	}
	r.last = r.seq
	for _, name := range m.Channels {
		for _, job := range r.refills[name] {
			job.overtake(m.table, m.key)
		}
	}
	for _, ch := range h.Channels {
		// What is sent because nobody knows who is there may reach nobody.
		unsure := ch.User && r.unknown && r.window.size() < r.cfg.Window
		if slices.Contains(m.Channels, ch.Name) && !unsure {
			r.window.release(1)
			continue
		}
		r.keep(m, ch.Name)
	}
	switch {
	case len(m.Channels) > 0:
		m.owner.add()
		r.queue.push(m)
	case m.Data != nil:
		r.queue.release(len(m.Data))
	}
	return true
}

// isActive says whether a channel is published to: a shared one always, a
// user's own while it is known to be active, and while nothing is known or
// the window is full, anyway. r.mu is held.
func (r *Relay) isActive(ch mapping.Channel) bool {
	if !ch.User || r.unknown {
		return true
	}
	_, ok := r.active[ch.Name]
	return ok || r.window.size() >= r.cfg.Window
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
