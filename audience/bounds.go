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
		t = &timer{timerKey: key, user: c}
		c.timers[key] = t
		heap.Push(&s.timers, t)
	}
	if t.rows += rows; t.rows == 0 {
		delete(c.timers, key)
		s.timers.remove(t)
	}
	return t.rows >= 0
}

// Tick moves the clock on, which never goes back, and returns what that does to
// the memberships of connected users. It is called between transactions.
func (s *State) Tick(now time.Time) Effects {
	s.now = max(s.now, now.UnixMicro())
	if len(s.timers) == 0 || s.timers[0].at > s.now {
		return Effects{}
	}
	s.Begin()
	for len(s.timers) > 0 && s.timers[0].at <= s.now {
		t := heap.Pop(&s.timers).(*timer)
		delete(t.user.timers, t.timerKey)
		if t.gains {
			s.count(t.user, t.scope, t.rows)
		} else {
			s.count(t.user, t.scope, -t.rows)
		}
	}
	return s.Commit()
}

// timers is a heap by time.
type timers []*timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at < h[j].at }
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
