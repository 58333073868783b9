package relay

import (
	"context"
	"sync"
	"testing"

	"github.com/chorusd/chorusd/pusher"
)

// journeys is a Tracer that keeps what it is given, of every transaction but
// those that are left out.
type journeys struct {
	mu   sync.Mutex
	list []Journey
	out  bool // the next one is left out, and each second one after it
}

func (k *journeys) Wanted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.out = !k.out
	return k.out
}

func (k *journeys) Trace(j Journey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, j)
}

// TestJourney follows transactions to where all that came of them is accepted.
func TestJourney(t *testing.T) {
	r := newRig(t)
	kept := &journeys{}
	r.tracer = kept
	first := true
	r.onAnswer(func(context.Context, []pusher.Event) (bool, error) {
		if first {
			first = false
			return false, &pusher.Error{Op: "publish", Class: pusher.Unavailable, Status: 429}
		}
		return true, nil
	})
	r.start()
	r.commit(put(1, 7), put(2, 8), put(3, 7)) // wanted
	r.caughtUp()
	r.commit(put(4, 7)) // not wanted
	r.caughtUp()
	r.poll()            // from here on it is known that nobody is there
	r.commit(put(5, 7)) // wanted, but nobody gets it
	r.caughtUp()
	if len(kept.list) != 1 {
		t.Fatalf("%d journeys, want 1: %+v", len(kept.list), kept.list)
	}
	j := kept.list[0]
	if j.Point.Offset != 1 || j.Point.Time == 0 {
		t.Errorf("it is of %s", j.Point)
	}
	if j.Read.IsZero() || j.Routing.Before(j.Read) || j.Routed.Before(j.Routing) || j.Settled.Before(j.Routed) {
		t.Errorf("read %s, routing %s, routed %s, settled %s", j.Read, j.Routing, j.Routed, j.Settled)
	}
	messages := 0
	for _, q := range j.Requests {
		messages += q.Messages
		if q.Begun.Before(j.Routing) || q.Ended.Before(q.Begun) || q.Ended.After(j.Settled) || q.Channels != q.Messages {
			t.Errorf("request %+v of %+v", q, j)
		}
	}
	if messages != 3 || j.MoreRequests != 0 {
		t.Errorf("%d messages in %+v and %d more, want 3 in all", messages, j.Requests, j.MoreRequests)
	}
}

// TestLongJourney: of a large transaction not every request is kept.
func TestLongJourney(t *testing.T) {
	r := newRig(t)
	kept := &journeys{}
	r.tracer = kept
	r.limits.Batch = 1
	r.start()
	const rows = requestsTraced + 20
	var all []todo
	for n := range rows {
		all = append(all, put(n, 7))
	}
	r.commit(all...)
	r.caughtUp()
	if len(kept.list) != 1 || len(kept.list[0].Requests) != requestsTraced || kept.list[0].MoreRequests != rows-requestsTraced {
		t.Errorf("got %+v", kept.list)
	}
}
