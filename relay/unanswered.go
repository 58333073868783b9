package relay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/chorusd/chorusd/pusher"
)

// A request that is never answered while others are is not tried for ever. The
// server may take less than is known here, and end the connection before its 413
// is read; or it may fail at what is in the request. So what the request holds is
// sent in smaller ones, and what is not answered alone is set aside.

// What makes it certain that a request fails by itself: so many failures, each
// of which comes after others were answered, that at the rate at which those fail
// they would be as unlikely as this.
const (
	leastFailures = 8
	byAccident    = 1e-9
)

// lonelyFailures is after how many failures a probe is made between two tries,
// where nothing else is published that could tell whether the server works.
const lonelyFailures = 12

// probeName is the name of a probe's event and of its channel, which nobody is on.
const probeName = "chorusd.probe"

// unansweredError says that a request is not taken, since it is never answered,
// or with an error of the server's own, while others are. By now the server
// cannot act on it any more.
type unansweredError struct {
	tries int
	cause *pusher.Error // of the last one
}

func (e *unansweredError) Error() string {
	return fmt.Sprintf("%v (%d times, while other requests are answered: the server may take less than is known here, see pusher.max_request_bytes and pusher.max_data_bytes)",
		e.cause, e.tries)
}

func (e *unansweredError) Unwrap() error { return e.cause }

func isUnanswered(err error) bool {
	_, ok := errors.AsType[*unansweredError](err)
	return ok
}

// isUnsure says whether the server may have acted on a request that failed.
func isUnsure(e *pusher.Error) bool {
	return e.Class == pusher.Unknown || e.Status >= http.StatusInternalServerError
}

// outcomes is how many requests were answered, and how many have failed.
type outcomes struct{ answered, failed int }

// trial is the failures of one request, held against what comes of others.
type trial struct {
	own    int      // failures since the server last failed for all
	others outcomes // since then
	seen   outcomes // of all, at its last failure or its begin
	alone  bool     // no other was answered since, but for a probe of its own
	lonely int      // times that it was alone
	probed bool     // since its last failure
}

// isSuspect says whether its failures may say nothing of the server.
func (t *trial) isSuspect() bool { return t.own > 0 || t.lonely >= lonelyFailures }

// fail takes a failure of the request and what has become of all with it. It says
// whether the request fails by itself.
func (t *trial) fail(now outcomes) bool {
	answered, failed := now.answered-t.seen.answered, now.failed-t.seen.failed-1
	t.seen = now
	switch {
	case answered > 0:
		t.own++
		t.others.answered += answered
		t.others.failed += failed
	case failed > 0:
		t.own, t.others = 0, outcomes{}
	}
	t.alone = answered == 0 || answered == 1 && t.probed
	if t.alone {
		t.lonely++
	}
	t.probed = false
	rate := float64(t.others.failed+1) / float64(t.others.answered+t.others.failed+2)
	return t.own >= leastFailures && math.Pow(rate, float64(t.own)) < byAccident
}

// begin begins the trial of a request. Of what was part of one that was not
// answered it is found out at once.
func (r *Relay) begin(batch []*message) trial {
	t := trial{seen: r.circuit.outcomes()}
	if slices.ContainsFunc(batch, func(m *message) bool { return m.suspect }) {
		t.lonely = lonelyFailures
	}
	return t
}

// judge takes a failure of a request after which it may have been acted on. The
// error is an unansweredError if it is not to be tried again.
func (r *Relay) judge(ctx context.Context, t *trial, tries int, cause *pusher.Error) error {
	if t.fail(r.circuit.outcomes()) {
		if err := pause(ctx, r.cfg.Late); err != nil {
			return err
		}
		r.metrics.unanswered.Inc()
		return &unansweredError{tries, cause}
	}
	if t.alone && t.lonely > lonelyFailures {
		t.probed = true
		return r.probe(ctx)
	}
	return nil
}

// probe finds out whether the server takes anything at all. The circuit is told.
func (r *Relay) probe(ctx context.Context) error {
	a, err := r.circuit.enter(ctx)
	if err != nil {
		return err
	}
	events := []pusher.Event{{Name: probeName, Channels: []string{probeName}, Data: []byte("{}")}}
	a.begun = time.Now()
	_ = r.outcome(ctx, a, events, r.publisher.Publish(ctx, events)) // the next failure is judged by it
	return nil
}

// inParts sends an event of a message, in ever smaller parts as long as they are
// not answered. What is not taken is given to refuse, with the reason.
func (r *Relay) inParts(ctx context.Context, m *message, e pusher.Event, refuse func(pusher.Event, error) error) error {
	err := r.deliver(ctx, []*message{m}, []pusher.Event{e})
	if !isUnanswered(err) || len(e.Channels) == 1 {
		if isNotTaken(err) {
			return refuse(e, err)
		}
		return err
	}
	r.sayUnanswered(err)
	m.suspect = true
	one, rest := e, e
	one.Channels, rest.Channels = e.Channels[:1], e.Channels[1:]
	err = r.deliver(ctx, []*message{m}, []pusher.Event{one})
	switch {
	case isUnanswered(err): // then it is not by how many they are
		return refuse(e, err)
	case isRefusal(err):
		err = refuse(one, err)
	}
	if err != nil {
		return err
	}
	for half := range slices.Chunk(rest.Channels, (len(rest.Channels)+1)/2) {
		part := e
		part.Channels = half
		if err := r.inParts(ctx, m, part, refuse); err != nil {
			return err
		}
	}
	return nil
}

// sayUnanswered logs that a request is sent in parts, once.
func (r *Relay) sayUnanswered(err error) {
	if _, again := r.setAsideOnce.LoadOrStore(probeName, true); !again {
		r.log.Error("a request is not answered while others are, and is sent in parts; this is said once", "error", err)
	}
}
