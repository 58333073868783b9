package policy

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// tripAfter is how many requests must fail in a row for the app to count
	// as down.
	tripAfter = 5
	// An app that is down is asked again after minOpen, and after each further
	// failure twice as late, up to maxOpen.
	minOpen = time.Second
	maxOpen = time.Minute
)

// breaker keeps an app that is down from being asked all the time: while it
// is open, one request at a time tries whether the app is back.
type breaker struct {
	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // before it, nothing is asked
	probing  bool
	cause    *Error
}

// allow says whether a request may be made; result has to be told of it, then.
// If not, the error says why.
func (b *breaker) allow(now time.Time) *Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.probing && !now.Before(b.until) {
		b.probing = b.failures >= tripAfter
		return nil
	}
	e := *b.cause
	e.RetryAfter = max(b.until.Sub(now), minOpen)
	return &e
}

// result takes what came of a request; nil is success. asked is false if the
// request was given up on this side before the app could show anything.
func (b *breaker) result(e *Error, asked bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch {
	case e == nil:
		b.failures, b.until, b.cause = 0, time.Time{}, nil
	case asked:
		b.failures++
		b.cause = e
		wait := e.RetryAfter
		if b.failures >= tripAfter {
			wait = max(wait, spread(min(maxOpen, minOpen<<min(b.failures-tripAfter, 10))))
		}
		if at := now.Add(wait); at.After(b.until) {
			b.until = at
		}
	}
}

// Pauses between tries of one question.
const (
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second
)

// backoff is the pause before try n, counted from 0.
func backoff(n int) time.Duration { return spread(min(maxRetry, minRetry<<min(n, 10))) }

// spread takes up to half of d away, so that those who wait do not come at once.
func spread(d time.Duration) time.Duration { return d - rand.N(d/2) }
