package relay

import (
	"context"
	"sync"
	"time"
)

// pace says how many requests may be under way at a time: no more than gain by
// it. To a server that does one thing after another, as Soketi and Reverb do,
// more requests at a time bring no more; they wait there, and so does what comes
// after them, however urgent. To one that is far away, or does many things at
// once, they do.
//
// While there is always more to send, half or twice as many are tried now and
// then, for a sample of requests, and kept if the server does as much with half,
// or does more with twice as many.
type pace struct {
	most int // requests at a time, as configured

	mu      sync.Mutex
	allowed int           // requests at a time
	flying  int           // that count
	free    chan struct{} // a token: one more may be made
	usual   time.Duration // that a request takes, smoothed

	sample sample
	level  int     // what allowed is but for trials
	rate   float64 // requests/s at the level
	up     bool    // the next trial is of more
	failed int     // trials in a row
	rest   int     // samples to take before the next trial
}

// sample is how many requests are answered in a time, during all of which there
// was more to send.
type sample struct {
	skip  int // answers to requests that were made before
	count int
	from  time.Time
}

// How many requests a sample has at least, and what time it takes; what makes
// half as many requests at a time be kept, and twice as many; and how many
// samples there are between trials when nothing has changed for long.
const (
	sampleCount = 32
	sampleTime  = 100 * time.Millisecond
	enough      = 0.97
	gain        = 1.05
	longestRest = 32
)

func newPace(most int) *pace {
	p := &pace{most: most, allowed: most, level: most, free: make(chan struct{}, 1)}
	p.grant()
	return p
}

// grant says that another request may be made, if it may. p.mu is held, but in
// newPace.
func (p *pace) grant() {
	if p.flying >= p.allowed {
		return
	}
	select {
	case p.free <- struct{}{}:
	default:
	}
}

// enter waits until a request may be made; turn.end has to be called.
func (p *pace) enter(ctx context.Context) (*turn, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.free:
		}
		if t := p.admit(); t != nil {
			return t, nil
		}
	}
}

func (p *pace) admit() *turn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flying >= p.allowed {
		return nil
	}
	p.flying++
	p.grant()
	return &turn{pace: p, counts: true}
}

// turn is what lets one request be made, whatever tries it takes.
type turn struct {
	pace   *pace
	begun  time.Time
	late   *time.Timer
	counts bool // among those that fly
}

// patience is after how long a request does not count any more: one that gets
// no answer must not keep others from being made.
func (p *pace) patience() time.Duration {
	const least, times = 50 * time.Millisecond, 4
	return least + times*p.usual
}

// begin is called when the request is made; more says that there would be more
// to send at once.
func (t *turn) begin(more bool) {
	p := t.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	t.begun = time.Now()
	if !more {
		p.again()
	}
	t.late = time.AfterFunc(p.patience(), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		t.leave()
	})
}

// leave has the request not count any more. p.mu is held.
func (t *turn) leave() {
	if t.counts {
		t.counts = false
		t.pace.flying--
		t.pace.grant()
	}
}

// end is called when the request was answered, or given up.
func (t *turn) end() {
	p := t.pace
	t.late.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	const smooth = 16
	now := time.Now()
	p.usual += (min(now.Sub(t.begun), p.patience()) - p.usual) / smooth
	p.answered(now)
	t.leave()
}

// again begins the sample anew. p.mu is held.
func (p *pace) again() { p.sample = sample{skip: p.flying, from: time.Now()} }

// disturbed takes that a request has failed: what others take beside it says
// little.
func (p *pace) disturbed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again()
}

// answered counts an answer, and ends the sample when it is large enough.
func (p *pace) answered(now time.Time) {
	s := &p.sample
	if s.skip > 0 {
		if s.skip--; s.skip == 0 {
			s.from = now
		}
		return
	}
	s.count++
	if took := now.Sub(s.from); s.count >= sampleCount && took >= sampleTime {
		p.sampled(float64(s.count) / took.Seconds())
		p.again()
	}
}

// sampled takes how many requests/s there are with as many at a time as are
// allowed, and decides how many are from here on.
func (p *pace) sampled(rate float64) {
	if trial := p.allowed; trial != p.level {
		kept := trial < p.level && rate >= enough*p.rate || trial > p.level && rate >= gain*p.rate
		if kept {
			p.level, p.rate, p.failed, p.rest = trial, rate, 0, 0
		} else {
			p.failed++
			p.rest = min(longestRest, 1<<min(p.failed, 8)/2)
			p.up = !p.up
		}
		p.allowed = p.level
		return
	}
	p.rate = rate
	if p.rest > 0 {
		p.rest--
		return
	}
	half, twice := max(1, p.level/2), min(p.most, 2*p.level)
	if half == p.level || p.up && twice > p.level {
		p.allowed = twice
	} else {
		p.allowed = half
	}
}
