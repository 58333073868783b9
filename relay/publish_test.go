package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
)

var (
	errUnknown = &pusher.Error{Op: "publish", Class: pusher.Unknown, Message: "no answer"}
	errRefused = &pusher.Error{Op: "publish", Class: pusher.Refused, Status: 413, Message: "too large"}
)

// TestRefusedRecordIsSetAsideAlone: the others of its batch go through, in order.
func TestRefusedRecordIsSetAsideAlone(t *testing.T) {
	r := newRig(t)
	r.onAnswer(func(_ context.Context, events []pusher.Event) (bool, error) {
		for _, e := range events {
			if strings.Contains(string(e.Data), `"record_id":3,`) {
				return false, errRefused
			}
		}
		return true, nil
	})
	r.start()
	r.commit(put(1, 7), put(2, 7), put(3, 7), put(4, 7), put(5, 8))
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"create 1 v1", "create 2 v2", "create 4 v4"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	letters, err := r.store.DeadLetters(t.Context())
	if err != nil || len(letters) != 1 {
		t.Fatalf("set aside: %v, %v; want one", letters, err)
	}
	l := letters[0]
	if l.Table != "todos" || l.Key != "[3]" || !slices.Equal(l.Channels, []string{userChannel(7)}) || !strings.Contains(l.Reason, "too large") {
		t.Errorf("set aside %+v", l)
	}
	if _, err := harmonic.ParseID(l.ID); err != nil {
		t.Error(err)
	}
}

// TestRefusedPieceIsSetAsideAlone: an event for more channels than fit one
// request is cut, and a refusal of one piece is no reason to keep the others.
func TestRefusedPieceIsSetAsideAlone(t *testing.T) {
	r := newRig(t)
	r.limits.Channels = 1
	r.onAnswer(func(_ context.Context, events []pusher.Event) (bool, error) {
		if slices.ContainsFunc(events, func(e pusher.Event) bool { return e.Channels[0] == userChannel(7) }) {
			return false, errRefused
		}
		return true, nil
	})
	r.start()
	r.commit(todo{ID: 1, User: 7, Team: 3})
	r.caughtUp()
	if got, want := r.on("private-team.3"), []string{"create 1 v1"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	letters, err := r.store.DeadLetters(t.Context())
	if err != nil || len(letters) != 1 || !slices.Equal(letters[0].Channels, []string{userChannel(7)}) {
		t.Errorf("set aside: %+v, %v; want the channel of user 7", letters, err)
	}
}

// TestMistakeStopsTheRelay: an error that is neither passing nor about the
// content is nothing to go on after.
func TestMistakeStopsTheRelay(t *testing.T) {
	r := newRig(t)
	mistake := errors.New("refused before sending: impossible")
	r.onAnswer(func(context.Context, []pusher.Event) (bool, error) { return false, mistake })
	r.start()
	r.commit(put(1, 7))
	if err := <-r.done; !errors.Is(err, mistake) {
		t.Errorf("the relay ended with %v, want %v", err, mistake)
	}
}

// bare is a relay of which only the publishing works, for bubbles without Redis.
func bare(t *testing.T, s *server) *Relay {
	return New(Config{From: position(0), Generation: testGeneration, Workers: 4}, Parts{
		Publisher: s, Lead: alone{}, NewMapper: func() *mapping.Mapper { return newMapper(t) }, NewReader: func() Reader { return nil }, Logger: newTestLogger(t), Registerer: prometheus.NewRegistry(),
	})
}

func TestRequestIsTriedAgain(t *testing.T) {
	cases := []struct {
		name        string
		fail        *pusher.Error
		times       int
		least, most time.Duration
	}{
		{"at once", nil, 0, 0, 0},
		{"once", errUnknown, 1, minRetry / 2, minRetry},
		{"with growing pauses", errUnknown, 7, (1<<7 - 1) * minRetry / 2, (1<<7 - 1) * minRetry},
		{"with a longest pause", errUnknown, 10, 3 * maxRetry / 2, (1<<7-1)*minRetry + 4*maxRetry},
		{"as late as the server asks", &pusher.Error{Class: pusher.Unavailable, Status: 429, RetryAfter: time.Minute}, 2, 2 * time.Minute, 2*time.Minute + maxRetry},
		{"after a wrong secret", &pusher.Error{Class: pusher.Misconfigured, Status: 401}, 1, minRetry / 2, minRetry},
		{"without a connection", &pusher.Error{Class: pusher.Unsent}, 1, minRetry / 2, minRetry},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, newWorld(t))
				s.onAnswer(func(context.Context, []pusher.Event) (bool, error) {
					if s.requests <= c.times {
						return false, c.fail
					}
					return true, nil
				})
				r := bare(t, s)
				start := time.Now()
				if err := r.deliver(t.Context(), nil, []pusher.Event{testEvent(1, "c")}); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < c.least || took > c.most {
					t.Errorf("it took %s, want %s to %s", took, c.least, c.most)
				}
				if s.requests != c.times+1 || !r.circuit.closed() {
					t.Errorf("%d requests, circuit closed: %v", s.requests, r.circuit.closed())
				}
			})
		})
	}
}

func TestRefusalIsNotTriedAgain(t *testing.T) {
	s := newServer(t, newWorld(t))
	s.onAnswer(func(context.Context, []pusher.Event) (bool, error) { return false, errRefused })
	if err := bare(t, s).deliver(t.Context(), nil, []pusher.Event{testEvent(1, "c")}); !isRefusal(err) || s.requests != 1 {
		t.Errorf("%d requests, then %v; want one and the refusal", s.requests, err)
	}
}

// testEvent is the n-th event on some channels.
func testEvent(n int, channels ...string) pusher.Event {
	h := harmonic.Harmonic{
		ID: harmonic.NewID(harmonic.Seq(n), testGeneration), Table: "todos", RecordID: strconv.AppendInt(nil, int64(n), 10),
		Operation: harmonic.Update, Data: fmt.Appendf(nil, `{"id":%d,"v":"v%d"}`, n, n), CreatedAt: epochTime,
	}
	return pusher.Event{Name: harmonic.EventCreated, Channels: channels, Data: harmonic.AppendJSON(nil, &h)}
}

// TestOrderPerChannelHoldsUnderFailures publishes through a server that fails
// at a rate, half of the times after it has delivered.
func TestOrderPerChannelHoldsUnderFailures(t *testing.T) {
	for _, percent := range []int{0, 10, 90} {
		t.Run(fmt.Sprintf("%d%%", percent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const messages, transactions = 600, 60
				random := newRandom(t)
				var mu sync.Mutex
				w := newWorld(t)
				s := newServer(t, w)
				s.onAnswer(func(context.Context, []pusher.Event) (bool, error) {
					mu.Lock()
					defer mu.Unlock()
					if random.IntN(100) < percent {
						return random.IntN(2) == 0, errUnknown
					}
					return true, nil
				})
				r := bare(t, s)
				ctx, cancel := context.WithCancel(t.Context())
				var workers sync.WaitGroup
				for range 8 {
					workers.Go(func() {
						if err := r.publish(ctx); err != nil {
							t.Error(err)
						}
					})
				}
				want := map[string][]string{}
				for n := range messages {
					channels := []string{fmt.Sprint("user.", n%7)}
					if n%5 == 0 {
						channels = append(channels, "everybody")
					}
					m := &message{Event: testEvent(n, channels...), owner: r.ledger.current(1)}
					if err := r.enqueue(ctx, m); err != nil {
						t.Fatal(err)
					}
					for _, name := range channels {
						want[name] = append(want[name], fmt.Sprintf("update %d v%d", n, n))
					}
					if n%(messages/transactions) == messages/transactions-1 {
						pt := binlog.Point{File: "log.000001", Offset: uint64(n)}
						if err := r.ledger.commit(ctx, pt, harmonic.Seq(n)); err != nil {
							t.Fatal(err)
						}
					}
				}
				r.ledger.drained(t.Context())
				cancel()
				workers.Wait()
				for name := range want {
					if got := firsts(s.on(name)); !slices.Equal(got, want[name]) {
						t.Errorf("%s got %d messages in another order, or not all of %d", name, len(got), len(want[name]))
					}
				}
				if at, seq := r.ledger.settled(); at != position(messages-1).String() || seq != messages-1 {
					t.Errorf("settled up to %s, %d", at, seq)
				}
			})
		})
	}
}

// firsts leaves out repeats.
func firsts(list []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(s string) bool {
		again := seen[s]
		seen[s] = true
		return again
	})
}
