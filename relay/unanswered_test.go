package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
)

// TestTrial says when a request is known to fail by itself.
func TestTrial(t *testing.T) {
	type step struct{ answered, failed int } // others between two failures
	cases := []struct {
		name  string
		steps []step // the last of them repeats
		want  int    // failures up to the verdict; 0: there is none
	}{
		{"while many are answered", []step{{100, 0}}, leastFailures},
		{"while one at a time is answered", []step{{1, 0}}, 9},
		{"while half of them fail", []step{{1, 1}}, 30},
		{"while they all fail", []step{{0, 1}}, 0},
		{"while there are none", []step{{0, 0}}, 0},
		{"before there were others", []step{{0, 0}, {0, 0}, {0, 0}, {100, 0}}, 3 + leastFailures},
		{"after they had failed as well", []step{{100, 0}, {100, 0}, {0, 3}, {100, 0}}, 3 + leastFailures},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var trial trial
			var all outcomes
			got := 0
			for n := 1; n <= 1000; n++ {
				s := c.steps[min(n, len(c.steps))-1]
				all.answered += s.answered
				all.failed += s.failed + 1
				if trial.fail(all) {
					got = n
					break
				}
			}
			if got != c.want {
				t.Errorf("the verdict comes after %d failures, want %d", got, c.want)
			}
		})
	}
}

// TestTrialOfAServerThatFailsAtRandom: it is never taken for a fault of the request.
func TestTrialOfAServerThatFailsAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, percent := range []int{10, 50, 90, 99} {
		for range 1000 {
			var trial trial
			var all outcomes
			for random.IntN(100) < percent {
				for range random.IntN(20) {
					if random.IntN(100) < percent {
						all.failed++
					} else {
						all.answered++
					}
				}
				all.failed++
				if trial.fail(all) {
					t.Fatalf("with %d %% of failures, a request is given up after %+v", percent, trial)
				}
			}
		}
	}
}

// pushTo queues events of one channel or several, in order, and waits until they
// are under way: nothing that is queued later is in a request with them.
func (p *publishing) pushTo(channels []string, numbers ...int) {
	p.t.Helper()
	for _, n := range numbers {
		m := &message{Event: testEvent(n, channels...), owner: settledElsewhere{}}
		if err := p.relay.enqueue(p.t.Context(), m); err != nil {
			p.t.Fatal(err)
		}
	}
	synctest.Wait()
}

// traffic publishes to other channels, an event each second, for a while, and
// checks that they arrive.
func (p *publishing) traffic(seconds int) {
	p.t.Helper()
	for n := range seconds {
		p.push(1000 + n)
		p.after(time.Second)
		if !p.has(1000 + n) {
			p.t.Fatalf("event %d of another channel does not arrive", n)
		}
	}
}

// takesAtMost makes the server reset each request of more items, an event for a
// channel each.
func (p *publishing) takesAtMost(items int) {
	p.onAnswer(func(_ context.Context, events []pusher.Event) (bool, error) {
		n := 0
		for _, e := range events {
			n += len(e.Channels)
		}
		if n > items {
			return false, errUnknown
		}
		return true, nil
	})
}

// numbered are the names of n channels.
func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("c.", i)
	}
	return names
}

// TestUnansweredRequestIsSentInParts: a batch event by event, in order, and an
// event for many channels to ever fewer of them; once each.
func TestUnansweredRequestIsSentInParts(t *testing.T) {
	for name, busy := range map[string]bool{"while others are answered": true, "while there are no others": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPublishing(t, 4, 10)
				defer p.stop()
				p.takesAtMost(5)
				p.pushTo([]string{"batch"}, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
				p.pushTo(numbered(20), 11)
				if busy {
					p.traffic(300)
				} else {
					p.after(10 * time.Minute)
				}
				var want []string
				for n := 1; n <= 10; n++ {
					want = append(want, fmt.Sprintf("update %d v%d", n, n))
				}
				if got := p.on("batch"); !slices.Equal(got, want) {
					t.Errorf("of the batch %q was delivered, want %q", got, want)
				}
				for _, name := range numbered(20) {
					if got := p.on(name); !slices.Equal(got, []string{"update 11 v11"}) {
						t.Errorf("%s got %q", name, got)
					}
				}
				if n := p.relay.queue.depth(); n != 0 || !p.relay.circuit.closed() {
					t.Errorf("%d messages are left, and the circuit is closed: %v", n, p.relay.circuit.closed())
				}
			})
		})
	}
}

// TestOutageGivesUpNothing: a request that is not answered because none is
// arrives as it is when the server is back.
func TestOutageGivesUpNothing(t *testing.T) {
	for name, busy := range map[string]bool{"among others": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPublishing(t, 4, 10)
				defer p.stop()
				var down atomic.Bool
				down.Store(true)
				var mu sync.Mutex
				var taken [][]pusher.Event
				p.onAnswer(func(ctx context.Context, events []pusher.Event) (bool, error) {
					if down.Load() {
						return false, cmp.Or[error](waitFor(ctx, 5*time.Second, nil), errUnknown)
					}
					mu.Lock()
					defer mu.Unlock()
					taken = append(taken, events)
					return true, nil
				})
				p.pushTo(numbered(20), 1)
				if busy {
					p.push(2, 3, 4, 5, 6)
				}
				p.after(time.Hour)
				down.Store(false)
				p.after(time.Minute)
				mu.Lock()
				defer mu.Unlock()
				whole := slices.ContainsFunc(taken, func(events []pusher.Event) bool { return len(events[0].Channels) == 20 })
				if !whole || p.relay.queue.depth() != 0 {
					t.Errorf("the request arrives whole: %v, and %d messages are left", whole, p.relay.queue.depth())
				}
			})
		})
	}
}

// TestUnansweredRequestIsOverBeforeItsParts: the server can no longer act on it
// when they are sent.
func TestUnansweredRequestIsOverBeforeItsParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPublishing(t, 1, 10)
		defer p.stop()
		p.relay.cfg.Late = time.Minute
		var last time.Time
		p.onAnswer(func(_ context.Context, events []pusher.Event) (bool, error) {
			if events[0].Name == probeName {
				return true, nil
			}
			last = time.Now()
			return false, errUnknown
		})
		err := p.relay.deliver(t.Context(), []*message{{suspect: true}}, []pusher.Event{testEvent(1, "c")})
		if e, ok := errors.AsType[*unansweredError](err); !ok || e.tries != 10 || time.Since(last) < time.Minute {
			t.Errorf("%v after the last try it ends with %v, want the verdict after ten tries and a minute", time.Since(last), err)
		}
	})
}

// TestUnansweredRecordIsSetAside: clients get a pointer in its place, what comes
// after it follows, and the checkpoint moves on.
func TestUnansweredRecordIsSetAside(t *testing.T) {
	r := newRig(t)
	r.subscribe(7)
	r.subscribe(8)
	r.start()
	r.poll()
	tried := make(chan struct{}, 100)
	r.onAnswer(func(_ context.Context, events []pusher.Event) (bool, error) {
		for _, e := range events {
			if e.Name == harmonic.EventCreated && strings.Contains(string(e.Data), `"record_id":1,`) {
				tried <- struct{}{}
				return false, &pusher.Error{Op: "publish", Class: pusher.Unavailable, Status: 500, Message: "what is this?"}
			}
		}
		return true, nil
	})
	r.commit(put(1, 7))
	<-tried // alone
	r.commit(put(2, 7))
	for n := 3; len(r.letters()) == 0; n = n%100 + 3 {
		r.commit(put(n, 8))
		eventually(t, "another channel goes on", func() bool { return slices.ContainsFunc(sortedRows(r.has(8)), func(d todo) bool { return d.ID == n }) })
	}
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"pointer", "create 2 v2"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	l := r.letters()
	if len(l) != 1 || l[0].Key != "[1]" || l[0].Limits != "" || !slices.Equal(l[0].Channels, []string{userChannel(7)}) ||
		!strings.Contains(l[0].Reason, "what is this?") || !strings.Contains(l[0].Reason, "while other requests are answered") {
		t.Errorf("set aside %+v, want [1] with the reason", l)
	}
	for _, name := range []string{"chorusd_pointers_total", "chorusd_set_aside_total"} {
		if n := r.sample(name, "todos").GetCounter().GetValue(); n != 1 {
			t.Errorf("%s is %v, want 1", name, n)
		}
	}
	if n := r.sample("chorusd_unanswered_total", "").GetCounter().GetValue(); n != 1 {
		t.Errorf("%v requests are counted as unanswered, want 1", n)
	}
}
