package audience

import (
	"container/heap"
	"time"

	"github.com/chorusd/chorusd/mapping"
)

// timer stands for rows of one user that make it a member of a scope, or no
// longer, at a time that has not come.
type timer struct {
	timerKey
	user  *connected
	rows  int
	index int // in the heap
	// due is when it is soon and, once it is that, its time.
	due  int64
	soon bool
}

type timerKey struct {
	scope mapping.ScopeKey
	at    int64
	gains bool
}

// schedule adds rows with a bound ahead of the clock, or takes them away. It
// returns false if there are not as many to take.
func (s *State) schedule(c *connected, g grant, rows int) bool {
	key := timerKey{g.scope, g.at, g.gains}
	t := c.timers[key]
	if t == nil {
		if rows < 0 {
			return false
		}
		if c.timers == nil {
			c.timers = map[timerKey]*timer{}
		}
		t = &timer{timerKey: key, user: c, due: g.at - s.lead}
		c.timers[key] = t
		heap.Push(&s.timers, t)
		if t.due <= s.now {
			s.approach(t)
		}
	}
	if t.soon {
		s.noteSoon(c, g.scope)
	}
	if t.rows += rows; t.rows == 0 {
		delete(c.timers, key)
		s.drop(t)
	}
	return t.rows >= 0
}

// approach makes a timer one of those that are within the lead of the clock.
func (s *State) approach(t *timer) {
	s.noteSoon(t.user, t.scope)
	t.due, t.soon = t.at, true
	heap.Fix(&s.timers, t.index)
	s.soon.add(t)
}

// drop takes a timer away.
func (s *State) drop(t *timer) {
	if t.soon {
		s.soon.remove(t)
	}
	s.timers.remove(t)
}

// Tick moves the clock on, which never goes back, and returns what that does to
// the memberships of connected users. It is called between transactions.
func (s *State) Tick(now time.Time) Effects {
	s.now = max(s.now, now.UnixMicro())
	if len(s.timers) == 0 || s.timers[0].due > s.now {
		return Effects{}
	}
	s.Begin()
	for len(s.timers) > 0 && s.timers[0].due <= s.now {
		t := s.timers[0]
		if t.at > s.now {
			s.approach(t)
			continue
		}
		if t.soon {
			s.noteSoon(t.user, t.scope)
		}
		s.drop(t)
		delete(t.user.timers, t.timerKey)
		if t.gains {
			s.count(t.user, t.scope, t.rows)
		} else {
			s.count(t.user, t.scope, -t.rows)
		}
	}
	return s.Commit()
}

// timers is a heap by when they are due.
type timers []*timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].due < h[j].due }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timers) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}

func (h *timers) remove(t *timer) { heap.Remove(h, t.index) }
