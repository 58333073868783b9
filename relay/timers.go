package relay

import (
	"sync"
	"time"
)

// timers are those of all tables with a bound of time in their condition, and
// the clock of conditions. Each goes off when the clock has come to the next
// bound of a row, as far as rows that were read tell.
type timers struct {
	mu    sync.Mutex
	clock time.Time // zero until something was read
	of    map[string]*timer
	next  time.Time // the first of all
	turns uint64
}

// timer is that of one table.
type timer struct {
	table string // its ID
	// told is the clock up to which everybody was told of, and next the time
	// before which no row's bound is that was not.
	told, next time.Time
	rested     time.Time // when it may go off again, by the wall
	turn       uint64    // when it was last its turn
	sweep      *sweep    // what it reads; nil unless it went off
}

// sweep is the reading of a table's rows with bounds after told and not after
// upto.
type sweep struct {
	told, upto time.Time
	from       string // where its next page begins
}

const (
	// sweepRest is the least time between two readings of one table.
	sweepRest = time.Second
	// sweepAhead is how far ahead of the clock the next bound is looked for. By
	// so much may a row be told of too late whose local time does not exist:
	// where clocks are put forward, it is not in the order of the others.
	sweepAhead = 10 * time.Minute
)

func newTimers(clock time.Time) *timers { return &timers{clock: clock, of: map[string]*timer{}} }

// add makes the timer of a table, which goes off at once.
func (t *timers) add(table string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[table] == nil {
		t.of[table] = &timer{table: table, told: t.clock, next: t.clock}
		t.next = t.clock
	}
}

// remove gives up the timer of a table that is gone.
func (t *timers) remove(table string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, table)
}

// tick moves the clock, and says whether there is something to do for it.
func (t *timers) tick(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.clock
	if was.IsZero() {
		for _, one := range t.of {
			one.told, one.next = now, now // of what was before nobody is told
		}
		t.next = now
	}
	if now.After(was) {
		t.clock = now
	}
	return was.IsZero() || was.Before(t.next) && !t.clock.Before(t.next)
}

// now is the clock; zero until something was read.
func (t *timers) now() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clock
}

// ahead notes the bound of a row that was judged by a clock.
func (t *timers) ahead(table string, clock, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.of[table]
	if one == nil || !at.After(clock) || !at.Before(one.next) {
		return
	}
	one.next = at
	if at.Before(t.next) {
		t.next = at
	}
}

// toldOf is the clock up to which everybody was told of a table's rows. Of
// those with bounds between it and now, somebody may have been told already.
func (t *timers) toldOf(table string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one := t.of[table]; one != nil {
		return one.told
	}
	return t.clock
}

// settled is the clock up to which everybody was told of all tables' rows.
func (t *timers) settled() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	clock := t.clock
	for _, one := range t.of {
		if one.told.Before(clock) {
			clock = one.told
		}
	}
	return clock
}

// pending is how many have gone off and are not done.
func (t *timers) pending() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, one := range t.of {
		if one.sweep != nil || !one.next.After(t.clock) {
			n++
		}
	}
	return n
}

// take gives the timer whose turn it is to read a page; nil if there is none.
// Another one may have rested after wait, if that is not 0.
func (t *timers) take(wall time.Time) (one *timer, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.of {
		rest := c.rested.Sub(wall)
		switch {
		case c.sweep == nil && c.next.After(t.clock):
		case c.sweep == nil && rest > 0:
			if wait == 0 || rest < wait {
				wait = rest
			}
		case one == nil || c.turn < one.turn:
			one = c
		}
	}
	if one == nil {
		return nil, wait
	}
	t.turns++
	one.turn = t.turns
	if one.sweep == nil {
		one.sweep = &sweep{told: one.told, upto: t.clock}
		one.next = t.clock.Add(sweepAhead) // rows that are written meanwhile may bring it nearer
	}
	return one, 0
}

// done notes that a page was sent: the next one begins at from or, without it,
// the sweep is over, and next is the first bound after it.
func (t *timers) done(one *timer, from string, next time.Time, wall time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.sweep.from = from; from != "" {
		return
	}
	one.told, one.rested, one.sweep = one.sweep.upto, wall.Add(sweepRest), nil
	if next.Before(one.next) {
		one.next = next
	}
	t.next = one.next
	for _, other := range t.of {
		if other.next.Before(t.next) {
			t.next = other.next
		}
	}
}
