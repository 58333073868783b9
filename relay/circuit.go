package relay

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chorusd/chorusd/pusher"
)

// What opens a circuit: so many requests that fail in a row, or that they do for
// so long, or that the server asks to be left alone for so long.
const (
	tripAfter = 5
	tripTime  = time.Second
)

// circuit keeps a Pusher server that fails from being asked by all who have
// something to publish. Once it is open, one request at a time tries whether
// the server is back, later each time; when one is answered, all go on at once.
type circuit struct {
	log    *slog.Logger
	opened prometheus.Counter

	mu       sync.Mutex
	told     outcomes // of all requests
	open     bool
	failures int       // in a row, up to the one that opened it
	began    time.Time // when the first of them was begun
	answered time.Time // when the last answer came that is no failure
	asked    time.Time // the server wants nothing before
	probing  bool
	probes   int       // that have failed since it opened
	next     time.Time // when the next one may be made
	// free is closed and renewed when somebody else may try, and back when the
	// circuit closes.
	free, back chan struct{}
}

func newCircuit(log *slog.Logger, opened prometheus.Counter) *circuit {
	return &circuit{log: log, opened: opened, free: make(chan struct{}), back: make(chan struct{})}
}

// attempt is a request that was let through. The circuit has to be told what
// came of it, by answer, fail or giveUp.
type attempt struct {
	begun time.Time
	probe bool
	// suspect says that its failure may say nothing of the server.
	suspect bool
}

// enter waits until a request may be made.
func (c *circuit) enter(ctx context.Context) (attempt, error) {
	for {
		a, ok, wait, free := c.try(time.Now())
		if ok {
			return a, nil
		}
		if err := waitFor(ctx, wait, free); err != nil {
			return attempt{}, err
		}
	}
}

// try lets a request through, or says for how long to wait at most, 0 for as
// long as free is not closed.
func (c *circuit) try(now time.Time) (a attempt, ok bool, wait time.Duration, free <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.asked
	if c.open && c.next.After(at) {
		at = c.next
	}
	switch {
	case c.open && c.probing:
		return a, false, 0, c.free
	case now.Before(at):
		return a, false, at.Sub(now), c.free
	}
	c.probing = c.open
	return attempt{begun: now, probe: c.open}, true, 0, nil
}

// rest waits before the same is tried again, but no longer than until the
// server is back.
func (c *circuit) rest(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	back := c.back
	c.mu.Unlock()
	return waitFor(ctx, d, back)
}

// waitFor waits for a time, or without end if that is 0, and no longer than
// until a channel is closed.
func waitFor(ctx context.Context, d time.Duration, closed <-chan struct{}) error {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-over:
	case <-closed:
	}
	return nil
}

// renew closes a channel and makes another one.
func renew(c *chan struct{}) {
	close(*c)
	*c = make(chan struct{})
}

// answer takes that a request was accepted, or refused for what is in it: the
// server works.
func (c *circuit) answer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told.answered++
	c.answered, c.failures = time.Now(), 0
	if c.open {
		c.open, c.probing = false, false
		renew(&c.free)
		renew(&c.back)
		c.log.Info("publishing again")
	}
}

// fail takes the failure of a request that can succeed later. One that was begun
// before the last answer says nothing of now.
func (c *circuit) fail(a attempt, cause *pusher.Error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told.failed++
	if at := now.Add(cause.RetryAfter); cause.RetryAfter > 0 && at.After(c.asked) {
		c.asked = at
	}
	switch {
	case c.open && a.probe:
		c.probing, c.next = false, now.Add(backoff(c.probes))
		c.probes++
		renew(&c.free)
	case !c.open && !a.suspect && !a.begun.Before(c.answered):
		if c.failures++; c.failures == 1 {
			c.began = a.begun
		}
		if c.failures >= tripAfter || now.Sub(c.began) >= tripTime || cause.RetryAfter >= tripTime {
			c.trip(now, cause)
		}
	}
}

func (c *circuit) trip(now time.Time, cause *pusher.Error) {
	c.open, c.probes, c.next = true, 1, now.Add(backoff(0))
	c.opened.Inc()
	c.log.Warn("cannot publish, trying again until it works; reading pauses when the queue is full", "error", cause)
}

// giveUp takes that a request was ended on this side.
func (c *circuit) giveUp(a attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open && a.probe {
		c.probing = false
		renew(&c.free)
	}
}

// outcomes is what came of all requests.
func (c *circuit) outcomes() outcomes {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

// closed says whether the server works, as far as is known.
func (c *circuit) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.open
}
