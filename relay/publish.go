package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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
		turn, err := r.pace.enter(ctx)
		var batch []*message
		var more bool
		if err == nil {
			batch, more, err = r.queue.next(ctx)
		}
		if ended(ctx) {
			return nil // what is unsettled is read again after the restart
		}
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		turn.begin(more)
		begun := r.came(stageSent, batch)
		err = r.send(ctx, batch)
		turn.end()
		if ended(ctx) {
			return nil
		}
		if err != nil {
			return err
		}
		r.came(stageAccepted, batch)
		traced(batch, begun)
		r.vigil.step()
		for _, m := range batch {
			m.owner.ack()
		}
		r.queue.finish(batch)
	}
}

// came notes that the messages of a batch have come to a stage now, and
// returns when that is.
func (r *Relay) came(to stage, batch []*message) (now time.Time) {
	now = time.Now()
	for _, m := range batch {
		if m.committed > 0 {
			r.metrics.came(to, m.committed, now)
		}
	}
	return now
}

// send sends a batch until the server has accepted it. What the server
// refuses for good is set aside, alone.
func (r *Relay) send(ctx context.Context, batch []*message) error {
	if len(batch) == 1 {
		return r.sendAlone(ctx, batch[0])
	}
	events := make([]pusher.Event, len(batch))
	for i, m := range batch {
		events[i] = m.Event
	}
	err := r.deliver(ctx, batch, events)
	if !isNotTaken(err) {
		return err
	}
	if isUnanswered(err) {
		r.sayUnanswered(err)
		for _, m := range batch {
			m.suspect = true
		}
	}
	for _, m := range batch {
		if err := r.sendAlone(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (r *Relay) sendAlone(ctx context.Context, m *message) error {
	if m.misfit != nil {
		return r.refused(ctx, m, m.misfit)
	}
	return r.inParts(ctx, m, m.Event, func(e pusher.Event, cause error) error {
		piece := *m
		piece.Event = e
		return r.refused(ctx, &piece, cause)
	})
}

// isNotTaken says whether a request is not to be made again as it is.
func isNotTaken(err error) bool { return isRefusal(err) || isUnanswered(err) }

func isRefusal(err error) bool {
	e, ok := errors.AsType[*pusher.Error](err)
	return ok && e.Class == pusher.Refused
}

// deliver makes one request, of the events of a batch or of another one in place
// of its only message, until it is accepted or not to be made again. If it may have been
// acted on more than once, a refill follows: the server can do late what it was
// told before.
func (r *Relay) deliver(ctx context.Context, batch []*message, events []pusher.Event) error {
	unsure, trial := false, r.begin(batch)
	for n := 0; ; n++ {
		a, err := r.circuit.enter(ctx)
		if err != nil {
			return err
		}
		if err := r.keepInDoubt(ctx, batch); err != nil {
			r.circuit.giveUp(a)
			return err
		}
		if err := r.lead.Hold(ctx); err != nil {
			r.circuit.giveUp(a)
			return fmt.Errorf("publish: %w", err)
		}
		a.begun, a.suspect = time.Now(), trial.isSuspect()
		err = r.publisher.Publish(ctx, events)
		r.metrics.requestTime.Observe(time.Since(a.begun).Seconds())
		failure := r.outcome(ctx, a, events, err)
		switch {
		case failure != nil:
		case err == nil && unsure:
			return r.repair(ctx, batch, events)
		default:
			return err
		}
		r.raiseDoubt(err)
		if isUnsure(failure) {
			unsure = true
			if err := r.judge(ctx, &trial, n+1, failure); err != nil {
				return err
			}
		}
		if r.circuit.rest(ctx, backoff(n)) != nil {
			return err
		}
	}
}

// outcome counts a request and tells the circuit of it. It returns why it is to
// be tried again, or nil.
func (r *Relay) outcome(ctx context.Context, a attempt, events []pusher.Event, err error) *pusher.Error {
	e, known := errors.AsType[*pusher.Error](err)
	switch {
	case err == nil:
		r.metrics.requests.WithLabelValues(outcomeAccepted).Inc()
		for _, e := range events {
			r.metrics.channelMessages.Add(float64(len(e.Channels)))
		}
	case known:
		r.metrics.requests.WithLabelValues(e.Class.String()).Inc()
	}
	switch {
	case err == nil, known && !e.Retryable():
		r.circuit.answer()
	case !known || ctx.Err() != nil:
		r.circuit.giveUp(a)
	default:
		r.pace.disturbed()
		r.circuit.fail(a, e)
		return e
	}
	return nil
}

// repair has the records of a request sent again as they are, to those whom it
// was for, once the server can no longer act on an earlier try of it: what that
// brings late may be older than what has been sent since.
func (r *Relay) repair(ctx context.Context, batch []*message, events []pusher.Event) error {
	var starts []redisstate.JobStart
	for i, m := range batch {
		if m.key == "" || isControl(m.key) { // clients apply those by their ids
			continue
		}
		names := events[i].Channels
		at := slices.IndexFunc(starts, func(s redisstate.JobStart) bool { return slices.Equal(s.Channels, names) })
		if at < 0 {
			at = len(starts)
			starts = append(starts, redisstate.JobStart{Channels: names})
		}
		starts[at].Items = append(starts[at].Items, redisstate.RecordKey{Table: m.table, Key: m.key})
	}
	made, err := r.makeJobs(ctx, starts)
	r.listLater(made, r.cfg.Late)
	return err
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
