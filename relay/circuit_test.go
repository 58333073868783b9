package relay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
)

// publishing is a relay of which only the publishing works, in a bubble.
type publishing struct {
	*server
	t     *testing.T
	relay *Relay
	stop  func()
}

func startPublishing(t *testing.T, workers, batch int) *publishing {
	p := &publishing{server: newServer(t, newWorld(t)), t: t}
	p.limits.Batch = batch
	p.relay = bare(t, p.server)
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			if err := p.relay.publish(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	p.stop = func() {
		cancel()
		working.Wait()
	}
	return p
}

// push queues an event of each number, on a channel of its own.
func (p *publishing) push(numbers ...int) {
	p.t.Helper()
	for _, n := range numbers {
		m := &message{Event: testEvent(n, fmt.Sprint("user.", n)), owner: settledElsewhere{}}
		if err := p.relay.enqueue(p.t.Context(), m); err != nil {
			p.t.Fatal(err)
		}
	}
}

// after lets a time pass, and all that happens in it.
func (p *publishing) after(d time.Duration) {
	p.t.Helper()
	if err := waitFor(p.t.Context(), d, nil); err != nil {
		p.t.Fatal(err)
	}
	synctest.Wait()
}

// has says whether the event of a number was delivered.
func (p *publishing) has(n int) bool { return len(p.on(fmt.Sprint("user.", n))) > 0 }

// TestDeadServerIsTriedByOne: while the server fails, one request at a time
// tries it, and when it is back, all goes on at once.
func TestDeadServerIsTriedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outage, workers = time.Minute, 8
		p := startPublishing(t, workers, 1)
		defer p.stop()
		end := time.Now().Add(outage)
		var mu sync.Mutex
		flying, most, tries := 0, 0, 0
		p.onAnswer(func(ctx context.Context, _ []pusher.Event) (bool, error) {
			if time.Now().After(end) {
				return true, nil
			}
			mu.Lock()
			flying, tries = flying+1, tries+1
			if time.Until(end) < outage-10*time.Second { // by then it has opened
				most = max(most, flying)
			}
			mu.Unlock()
			err := waitFor(ctx, time.Second, nil)
			mu.Lock()
			defer mu.Unlock()
			flying--
			return false, cmp.Or[error](err, errUnknown)
		})
		numbers := make([]int, workers)
		for i := range numbers {
			numbers[i] = i
		}
		p.push(numbers...)
		p.after(outage)
		if p.relay.circuit.closed() || p.relay.Status().Publishing {
			t.Error("the circuit is closed, and the server dead")
		}
		if most != 1 {
			t.Errorf("%d requests at a time have tried a dead server, want 1", most)
		}
		if tries > 60 {
			t.Errorf("%d requests in a minute", tries)
		}
		p.after(maxRetry + 2*time.Second)
		if !p.relay.circuit.closed() || slices.ContainsFunc(numbers, func(n int) bool { return !p.has(n) }) {
			t.Error("it does not go on although the server is back")
		}
	})
}

// TestAllGoOnAtOnce: the first answer lets all go on that wait, without pauses
// of their own.
func TestAllGoOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPublishing(t, 8, 1)
		defer p.stop()
		down := true
		var first, last time.Time
		var mu sync.Mutex
		p.onAnswer(func(context.Context, []pusher.Event) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return false, &pusher.Error{Class: pusher.Unsent}
			}
			last = time.Now()
			if first.IsZero() {
				first = last
			}
			return true, nil
		})
		p.push(0, 1, 2, 3, 4, 5, 6, 7)
		p.after(time.Minute)
		mu.Lock()
		down = false
		mu.Unlock()
		p.after(time.Minute)
		if took := last.Sub(first); first.IsZero() || took != 0 || p.relay.queue.depth() != 0 {
			t.Errorf("after the first answer it took %s until the last, and %d are left", took, p.relay.queue.depth())
		}
	})
}

// TestRetryAfterIsForAll: what the server asks of one request holds for the
// others, too.
func TestRetryAfterIsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPublishing(t, 4, 10)
		defer p.stop()
		start := time.Now()
		var tries []time.Duration
		p.onAnswer(func(context.Context, []pusher.Event) (bool, error) { // one at a time, by the test's order
			tries = append(tries, time.Since(start))
			if len(tries) == 1 {
				return false, &pusher.Error{Class: pusher.Unavailable, Status: 429, RetryAfter: time.Minute}
			}
			return true, nil
		})
		p.push(1)
		synctest.Wait()
		p.push(2, 3)
		p.after(2 * time.Minute)
		if len(tries) < 2 || tries[1] < time.Minute || !p.has(1) || !p.has(2) || !p.has(3) {
			t.Errorf("requests after %s; the server asked for a minute after the first", tries)
		}
	})
}

// TestOneThatFailsOpensNothing: until a request that is never answered is given
// up, it holds up what comes after it on its channel, and nothing else.
func TestOneThatFailsOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPublishing(t, 4, 1)
		defer p.stop()
		p.onAnswer(func(ctx context.Context, events []pusher.Event) (bool, error) {
			if strings.Contains(string(events[0].Data), `"record_id":1,`) {
				return false, cmp.Or[error](waitFor(ctx, 5*time.Second, nil), errUnknown)
			}
			return true, nil
		})
		p.push(1)
		for n := 2; n < 40; n++ {
			p.after(time.Second)
			p.push(n)
			synctest.Wait()
			if !p.has(n) || !p.relay.circuit.closed() {
				t.Fatalf("event %d was delivered: %v, and the circuit is closed: %v", n, p.has(n), p.relay.circuit.closed())
			}
		}
	})
}

// TestUnknownOutcomeIsRepaired: a request that was given up is acted on later
// than what came after it, which is undone.
func TestUnknownOutcomeIsRepaired(t *testing.T) {
	for name, failure := range map[string]*pusher.Error{
		"no answer":           errUnknown,
		"an error of a proxy": {Op: "publish", Class: pusher.Unavailable, Status: 504},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Late = time.Hour
			r.subscribe(7)
			r.start()
			r.poll()
			var mu sync.Mutex
			var stuck []pusher.Event
			r.onAnswer(func(_ context.Context, events []pusher.Event) (bool, error) {
				mu.Lock()
				defer mu.Unlock()
				if stuck == nil {
					stuck = events
					return false, failure
				}
				return true, nil
			})
			r.commit(put(1, 7))
			r.repairs()
			r.commit(put(1, 7))
			eventually(t, "the newer one is there", func() bool { return r.has(7)[1].V == "v2" })
			mu.Lock()
			r.server.mu.Lock()
			r.deliver(stuck[0])
			r.server.mu.Unlock()
			mu.Unlock()
			if r.has(7)[1].V != "v1" {
				t.Fatal("what came late changed nothing")
			}
			r.relay.mu.Lock()
			r.relay.jobs[0].due = time.Time{} // an hour later
			r.relay.mu.Unlock()
			r.relay.wakeJobs()
			r.caughtUp()
			r.same(7)
		})
	}
}

// repairs waits for one that waits, and returns when it is due.
func (r *rig) repairs() (due time.Time) {
	r.t.Helper()
	eventually(r.t, "the repair is listed", func() bool {
		r.relay.mu.Lock()
		defer r.relay.mu.Unlock()
		if len(r.relay.jobs) != 1 {
			return false
		}
		due = r.relay.jobs[0].due
		return true
	})
	return due
}

// failOnce has one request fail, delivered or not, and then none.
func (r *rig) failOnce(delivered bool, failure *pusher.Error) {
	failed := false
	r.onAnswer(func(context.Context, []pusher.Event) (bool, error) {
		if !failed {
			failed = true
			return delivered, failure
		}
		return true, nil
	})
}

// TestCertainOutcomeIsNotRepaired: what has not reached the server was sent once.
func TestCertainOutcomeIsNotRepaired(t *testing.T) {
	for _, failure := range []*pusher.Error{{Op: "publish", Class: pusher.Unsent}, {Op: "publish", Class: pusher.Unavailable, Status: 429}} {
		r := newRig(t)
		r.subscribe(7)
		r.start()
		r.poll()
		r.failOnce(false, failure)
		r.commit(put(1, 7))
		r.caughtUp()
		if got, want := r.on(userChannel(7)), []string{"create 1 v1"}; !slices.Equal(got, want) {
			t.Errorf("%v: published %q, want %q", failure, got, want)
		}
	}
}

// TestRepairWaits until the server can no longer act on what was given up.
func TestRepairWaits(t *testing.T) {
	r := newRig(t)
	r.cfg.Late = time.Hour
	r.subscribe(7)
	r.start()
	r.poll()
	r.failOnce(true, &pusher.Error{Op: "publish", Class: pusher.Unavailable, Status: 502})
	r.commit(put(1, 7))
	if wait := time.Until(r.repairs()); wait < time.Hour/2 {
		t.Fatalf("the repair is due in %s, want an hour", wait)
	}
	// It survives a restart, after which nothing can come late any more.
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.poll()
	r.caughtUp()
	got := r.on(userChannel(7))
	if want := []string{"create 1 v1", "create 1 v1", "update 1 v1"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if id := r.delivered[len(got)-1].ID; id != harmonic.NewID(id.Seq(), testGeneration) || id.Seq() < r.delivered[0].ID.Seq() {
		t.Errorf("the repair has id %v, which is older than %v", id, r.delivered[0].ID)
	}
}
