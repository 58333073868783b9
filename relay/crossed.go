package relay

import (
	"context"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// Rows with a bound of time (`published_at <= now`) come and go by the clock,
// without a change that tells of it. When their timer goes off, those are read
// with bounds that the clock has crossed since everybody was told last, and who
// saw each by the clock then is compared with who sees it. Of a row that
// changes before its page is read, its own event tells the same (see tellPast).

// timed makes the timers of a table, or gives them up with it.
func (r *Relay) timed(d *binlog.Definition) {
	for _, table := range r.mapper.TablesOf(d.Name) {
		if d.Table == nil {
			r.timers.remove(table)
			continue
		}
		plan, err := r.mapper.PlanOf(table, d.Table)
		if err != nil {
			continue // the statement that makes it fit again brings us back here
		}
		if _, bounded := plan.Bound(); bounded {
			r.timers.add(table)
			r.wakeJobs()
		}
	}
}

// sweepSome sends a page for a timer that went off; swept is false if there is
// none. One may go off after wait, if that is not 0.
func (r *Relay) sweepSome(ctx context.Context) (swept bool, wait time.Duration, err error) {
	if !r.mayRefill() {
		return false, 0, nil
	}
	one, wait := r.timers.take(time.Now())
	if one == nil {
		return false, wait, nil
	}
	out, err := r.refillChunk(ctx, &job{channels: []string{whoever}}, reading{table: one.table, sweep: one.sweep, limit: pageRows})
	if err != nil {
		return false, 0, err
	}
	r.timers.done(one, out.next, out.bound, time.Now())
	return true, 0, nil
}

// readCrossed reads a page of rows whose bounds the clock has crossed, and
// after the last one looks for the next bound.
func (r *Relay) readCrossed(ctx context.Context, plan *mapping.Plan, what reading, after binlog.Position, b *back, take func(*binlog.Row) error) error {
	bound, _ := plan.Bound()
	column, told, upto := b.shape.Columns[bound.Column].Name, what.sweep.told, what.sweep.upto
	page := binlog.Page{Key: plan.Key(), From: what.sweep.from, Limit: what.limit, Bound: &binlog.Bound{
		Column: column, After: told.Add(-time.Microsecond), Upto: upto, // a condition may change after its column's time
	}}
	var err error
	b.next, b.upto, err = r.reader.Page(ctx, b.shape, plan.Columns(), page, after, func(row *binlog.Row) error {
		if at, ok := plan.Crosses(row); ok {
			r.timers.ahead(what.table, upto, at)
		}
		return take(row)
	})
	if err != nil || b.next != "" {
		return err
	}
	b.bound = upto.Add(sweepAhead)
	next := binlog.Page{Key: plan.Key(), Limit: 1, Bound: &binlog.Bound{Column: column, After: upto, Upto: b.bound}}
	_, _, err = r.reader.Page(ctx, b.shape, plan.Columns(), next, after, func(row *binlog.Row) error {
		b.bound = upto // if it is one before, near a change of the clocks: then again soon
		if at, ok := plan.Crosses(row); ok && at.After(upto) {
			b.bound = at
		}
		return nil
	})
	return err
}

// sendCrossed tells of rows that the clock has brought or taken away. Those
// that have changed since they were read were told of by their changes.
func (s *sending) sendCrossed(ctx context.Context, b *back, keys []string, later map[string]bool) error {
	for _, key := range keys {
		row := b.found[key]
		if _, changed := later[key]; changed {
			continue
		}
		if _, ok := s.relay.crossed(s.plan, row, s.view.Now()); !ok {
			continue
		}
		if err := s.sendMoved(ctx, key, row); err != nil {
			return err
		}
	}
	return nil
}

// crossed says whether the clock has crossed a row's bound while not everybody
// was told of it, and up to which clock that was.
func (r *Relay) crossed(p *mapping.Plan, row *binlog.Row, now time.Time) (told time.Time, ok bool) {
	at, ok := p.Crosses(row)
	if !ok || at.After(now) {
		return told, false
	}
	told = r.timers.toldOf(p.ID())
	return told, at.After(told)
}

// clockLead is by how much a clock that an app reads by may be ahead of the
// log's: MariaDB notes commits in whole seconds, what a commit changes is seen
// some time after the one that it notes, and apps have clocks of their own.
const clockLead = 2 * time.Second

// ahead is a clock that an app may have read a row by already, and that is on
// the other side of its bound; ok is false if there is none.
func (r *Relay) ahead(p *mapping.Plan, row *binlog.Row, now time.Time) (clock time.Time, ok bool) {
	at, ok := p.Crosses(row)
	clock = now.Add(clockLead)
	return clock, ok && at.After(now) && !at.After(clock)
}

// anotherClock says whether somebody may have a row, or not, by another clock
// than that of now: there is one by crossed or by ahead. Up to which everybody
// was told is never after now.
func (r *Relay) anotherClock(p *mapping.Plan, row *binlog.Row, now time.Time) bool {
	at, ok := p.Crosses(row)
	return ok && at.After(r.timers.toldOf(p.ID())) && !at.After(now.Add(clockLead))
}

// bounds notes when the clock is to bring or take away a record that changes,
// and says whether it may just have done that with what it was before.
func (r *Relay) bounds(t *routed, c *binlog.Change, leader *mapping.Plan) (crossed bool, err error) {
	plans, err := r.mapper.Plans(c.Table())
	if err != nil {
		return false, err
	}
	for _, p := range plans {
		if _, bounded := p.Bound(); !bounded || !sameRecords(p, leader) {
			continue
		}
		if c.Before != nil {
			crossed = crossed || r.anotherClock(p, c.Before, t.old.Now())
		}
		if c.After != nil {
			if at, ok := p.Crosses(c.After); ok {
				r.timers.ahead(p.ID(), t.now.Now(), at)
			}
		}
	}
	return crossed, nil
}
