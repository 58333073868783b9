package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// Backoff between tries of a request.
const (
	minRetry = 50 * time.Millisecond
	maxRetry = 5 * time.Second
)

// backoff is the pause before try n, counted from 0, with jitter.
func backoff(n int) time.Duration {
	d := maxRetry
	if n < 7 {
		d = min(maxRetry, minRetry<<n)
	}
	return d/2 + rand.N(d/2)
}

// ended says whether a goroutine was told to stop, which is no error.
func ended(ctx context.Context) bool { return ctx.Err() != nil }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// publish sends what the queue hands out until ctx ends, which returns nil.
func (r *Relay) publish(ctx context.Context) error {
	for {
		batch, err := r.queue.next(ctx)
		r.came(stageSent, batch)
		if err == nil {
			err = r.send(ctx, batch)
		}
		if ended(ctx) {
			return nil // what is unsettled is read again after the restart
		}
		if err != nil {
			return err
		}
		r.came(stageAccepted, batch)
		r.vigil.step()
		for _, m := range batch {
			m.owner.ack()
		}
		r.queue.finish(batch)
	}
}

// came notes that the messages of a batch have come to a stage.
func (r *Relay) came(to stage, batch []*message) {
	now := time.Now()
	for _, m := range batch {
		if m.committed > 0 {
			r.metrics.came(to, m.committed, now)
		}
	}
}

// send sends a batch until the server has accepted it. What the server
// refuses for good is set aside, alone.
func (r *Relay) send(ctx context.Context, batch []*message) error {
	events := make([]pusher.Event, len(batch))
	for i, m := range batch {
		events[i] = m.Event
	}
	if len(batch) == 1 {
		cut, err := r.publisher.Cut(events[0])
		if err != nil {
			return r.setAside(ctx, batch[0], err)
		}
		for _, e := range cut {
			err := r.deliver(ctx, batch, []pusher.Event{e})
			if isRefusal(err) {
				piece := *batch[0]
				piece.Event = e
				err = r.setAside(ctx, &piece, err)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	err := r.deliver(ctx, batch, events)
	if !isRefusal(err) {
		return err
	}
	for _, m := range batch {
		if err := r.send(ctx, []*message{m}); err != nil {
			return err
		}
	}
	return nil
}

func isRefusal(err error) bool {
	var e *pusher.Error
	return errors.As(err, &e) && e.Class == pusher.Refused
}

// deliver makes one request, of the events of a batch or of a part of it,
// until it is accepted or refused for good.
func (r *Relay) deliver(ctx context.Context, batch []*message, events []pusher.Event) error {
	for n := 0; ; n++ {
		if err := r.keepInDoubt(ctx, batch); err != nil {
			return err
		}
		begun := time.Now()
		err := r.publisher.Publish(ctx, events)
		r.metrics.requestTime.Observe(time.Since(begun).Seconds())
		if err == nil {
			r.metrics.requests.WithLabelValues(outcomeAccepted).Inc()
			for _, e := range events {
				r.metrics.channelMessages.Add(float64(len(e.Channels)))
			}
			r.link.up()
			return nil
		}
		var e *pusher.Error
		if ctx.Err() != nil || !errors.As(err, &e) || !e.Retryable() {
			if e != nil {
				r.metrics.requests.WithLabelValues(e.Class.String()).Inc()
			}
			return err
		}
		r.metrics.requests.WithLabelValues(e.Class.String()).Inc()
		r.link.down(begun, err)
		r.raiseDoubt(err)
		if pause(ctx, max(backoff(n), e.RetryAfter)) != nil {
			return err
		}
	}
}

// setAside keeps the key of a record that cannot be published. It is counted,
// and logged once per table.
func (r *Relay) setAside(ctx context.Context, m *message, cause error) error {
	var limit *pusher.LimitError
	if !errors.As(cause, &limit) && !isRefusal(cause) {
		return fmt.Errorf("publish %s of %s: %w", m.Name, m.table, cause)
	}
	r.metrics.setAside.WithLabelValues(r.mapper.NameOf(m.table)).Inc()
	if _, again := r.setAsideOnce.LoadOrStore(m.table, true); !again {
		r.log.Error("a record cannot be published and is set aside (see chorusd deadletters); this is said once per table",
			"table", m.table, "key", m.key, "error", cause)
	}
	return r.persist(ctx, func(ctx context.Context) error {
		return r.state.SetAside(ctx, redisstate.DeadLetter{
			Table: m.table, Key: m.key, Channels: m.Channels, ID: m.id.String(), Reason: cause.Error(), At: time.Now(),
		})
	})
}

// persist tries to write to Redis until it works or ctx ends. The store says
// once when Redis goes away and once when it is back; what Redis answers
// instead of writing (it is full, or a replica) is said here, once a write.
func (r *Relay) persist(ctx context.Context, write func(context.Context) error) error {
	for n, said := 0, false; ; n++ {
		err := write(ctx)
		r.unsaved.Store(err != nil)
		if err == nil || redisstate.Final(err) {
			return err
		}
		if !said && ctx.Err() == nil && !redisstate.Unreachable(err) {
			said = true
			r.log.Warn("redis does not take a write, trying again until it does", "error", err)
		}
		if pause(ctx, backoff(n)) != nil {
			return err
		}
	}
}

// link says once when the Pusher server goes away and once when it is back.
type link struct {
	relay *Relay
	mu    sync.Mutex
	lost  bool
	back  time.Time
}

// down takes the failure of a request that was begun at a time. One that
// fails late tells of an outage that has ended meanwhile.
func (l *link) down(begun time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lost && !begun.Before(l.back) {
		l.lost = true
		l.relay.log.Warn("cannot publish, trying again until it works; reading pauses when the queue is full", "error", err)
	}
}

func (l *link) up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost {
		l.lost, l.back = false, time.Now()
		l.relay.log.Info("publishing again")
	}
}

// isUp says whether the last request was answered with success.
func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.lost
}
