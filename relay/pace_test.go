package relay

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chorusd/chorusd/pusher"
)

// busy has workers make requests of a time without end, as long as there is
// always more to send, for some time.
func busy(t *testing.T, p *pace, workers int, lasts time.Duration, request func()) (requests int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var mu sync.Mutex
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for {
				turn, err := p.enter(ctx)
				if err != nil {
					return
				}
				turn.begin(true)
				request()
				turn.end()
				mu.Lock()
				requests++
				mu.Unlock()
			}
		})
	}
	working.Wait()
	return requests
}

// after lets a time pass.
func after(d time.Duration) { <-time.After(d) }

// oneByOne is a server that does one thing after another.
func oneByOne(takes time.Duration) func() {
	free := make(chan struct{}, 1)
	return func() {
		free <- struct{}{}
		after(takes)
		<-free
	}
}

func TestPaceIsTheServers(t *testing.T) {
	cases := []struct {
		name    string
		request func() func()
		lasts   time.Duration
		level   int
		rate    float64 // requests/s that are possible
	}{
		{"one thing after another", func() func() { return oneByOne(time.Millisecond) }, time.Minute, 1, 1000},
		{"one thing after another, slowly", func() func() { return oneByOne(20 * time.Millisecond) }, time.Minute, 1, 50},
		{"far away", func() func() { return func() { after(100 * time.Millisecond) } }, 10 * time.Minute, 8, 80},
		{"far away, and one thing after another", func() func() {
			one := oneByOne(time.Millisecond)
			return func() { after(3 * time.Millisecond); one() }
		}, time.Minute, 4, 1000},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const workers = 8
				p := newPace(workers)
				got := busy(t, p, workers, c.lasts, c.request())
				if possible := c.rate * c.lasts.Seconds(); float64(got) < 0.95*possible {
					t.Errorf("%d requests were made, %.0f were possible", got, possible)
				}
				if p.level != c.level {
					t.Errorf("in the end %d at a time, want %d", p.level, c.level)
				}
			})
		})
	}
}

// TestPaceFollowsTheServer: what was right once need not stay so.
func TestPaceFollowsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(8)
		for range 2 {
			busy(t, p, 8, 10*time.Second, oneByOne(time.Millisecond))
			if p.level != 1 {
				t.Fatalf("%d at a time, to a server that does one thing at a time", p.level)
			}
			busy(t, p, 8, 30*time.Second, func() { after(20 * time.Millisecond) })
			if p.level != 8 {
				t.Fatalf("%d at a time, to a server that does all of them", p.level)
			}
		}
	})
}

// TestPaceOfFewRequests: when there is not always more to send, nothing is known
// of what the server can do.
func TestPaceOfFewRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(8)
		for range 10_000 {
			turn, err := p.enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			turn.begin(false)
			after(time.Millisecond)
			turn.end()
		}
		if p.level != 8 || p.allowed != 8 {
			t.Errorf("%d at a time, want 8", p.allowed)
		}
	})
}

// TestRequestThatHangsLetsOthersGo: also when one at a time is enough.
func TestRequestThatHangsLetsOthersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(8)
		busy(t, p, 8, 10*time.Second, oneByOne(time.Millisecond))
		hangs, err := p.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		hangs.begin(true)
		if got := busy(t, p, 7, 10*time.Second, oneByOne(time.Millisecond)); got < 9500 {
			t.Errorf("beside a request that hangs %d were made in ten seconds", got)
		}
		hangs.end()
		synctest.Wait()
		if p.flying != 0 {
			t.Errorf("%d requests are thought to be under way", p.flying)
		}
	})
}

// TestImportLetsOthersThrough: a change of somebody else's is published after a
// few requests of an import that was committed before it, and the checkpoint
// waits for the import.
func TestImportLetsOthersThrough(t *testing.T) {
	const rows, users, first, other = 4000, 500, 100, 7
	r := newRig(t)
	r.cfg.Workers = 1 // so that requests are answered in the order in which they are made
	for user := range users {
		r.subscribe(first + user)
	}
	r.subscribe(other)
	var (
		mu               sync.Mutex
		requests, before = 0, -1
		settled          string // when the other's change is published
		goOn             = make(chan struct{})
	)
	r.onAnswer(func(ctx context.Context, events []pusher.Event) (bool, error) {
		select {
		case <-goOn:
		case <-ctx.Done():
			return false, errUnknown
		}
		mu.Lock()
		defer mu.Unlock()
		if slices.ContainsFunc(events, func(e pusher.Event) bool { return slices.Contains(e.Channels, userChannel(other)) }) {
			before = requests
			settled, _ = r.relay.ledger.settled()
		}
		requests++
		return true, nil
	})
	r.start()
	r.poll()
	var imported []todo
	for i := range rows {
		imported = append(imported, put(i+1, first+i%users))
	}
	start := position(r.head()).String()
	r.commit(imported...)
	r.commit(put(rows+1, other))
	eventually(t, "all of it waits to be published", func() bool { return r.relay.queue.depth() == rows+1 })
	close(goOn)
	r.caughtUp()
	if before < 0 || before > 2 {
		t.Errorf("%d of %d requests went before the other's change, two at most should", before, requests)
	}
	if settled != start {
		t.Errorf("the checkpoint was at %s then, before the import it is %s", settled, start)
	}
	r.same(other)
}
