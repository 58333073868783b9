package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/chorusd/chorusd/redisstate"
)

func TestWindowCountsByEpoch(t *testing.T) {
	w := newWindow()
	for epoch, n := range map[uint64]int{3: 2, 4: 1, 5: 4} {
		for range n {
			w.add(windowEntry{epoch: epoch})
		}
	}
	for _, c := range []struct {
		before uint64
		want   int
	}{{3, 7}, {4, 5}, {5, 4}, {4, 4}, {6, 0}} {
		if w.trim(c.before); w.size() != c.want {
			t.Errorf("trimmed before %d it holds %d, want %d", c.before, w.size(), c.want)
		}
	}
}

// TestWindowIsWritten: what is added before a mark is in Redis once await
// returns, under its epoch, and acknowledged.
func TestWindowIsWritten(t *testing.T) {
	r := newRig(t)
	r.start()
	w, l := r.relay.window, r.relay.ledger
	const entries = 500
	random := newRandom(t)
	p := l.current(1)
	byEpoch := map[uint64]int{}
	var streams []string
	for n := range entries {
		if err := w.reserve(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		epoch := uint64(100 + random.IntN(3))
		byEpoch[epoch]++
		p.add()
		w.add(windowEntry{
			WindowEntry: redisstate.WindowEntry{Stream: userChannel(n), Table: "todos", Key: fmt.Sprintf("[%d]", n)}, epoch: epoch, page: p,
		})
		streams = append(streams, userChannel(n))
	}
	if err := w.await(t.Context(), w.mark()); err != nil {
		t.Fatal(err)
	}
	for from := uint64(100); from < 103; from++ {
		want := 0
		for epoch, n := range byEpoch {
			if epoch >= from {
				want += n
			}
		}
		jobs, err := r.store.StartJobs(t.Context(), []redisstate.JobStart{{Channels: []string{"one"}, Streams: streams, From: from}})
		if err != nil || len(jobs) != 1 || len(jobs[0].Items) != want {
			t.Errorf("Redis has the jobs %v from epoch %d on, %v; want %d records", jobs, from, err, want)
		}
	}
	if p.pending != 0 {
		t.Errorf("%d of %d are not acknowledged", p.pending, entries)
	}
	if !w.room.TryAcquire(windowRoom) {
		t.Error("room was not given back")
	}
}

func TestWindowAwaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWindow()
		if err := w.await(t.Context(), w.mark()); err != nil {
			t.Errorf("nothing to wait for: %v", err)
		}
		w.add(windowEntry{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.await(ctx, w.mark()) }()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestWindowRoomIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWindow()
		if err := w.reserve(t.Context(), windowRoom); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() { got <- w.reserve(t.Context(), 1) }()
		synctest.Wait()
		select {
		case err := <-got:
			t.Errorf("there was room in a full window: %v", err)
		default:
		}
		w.release(1)
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

func TestTallyWaitsForTheLast(t *testing.T) {
	for _, acknowledged := range []int{0, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			tl := &tally{done: make(chan struct{})}
			for range 3 {
				tl.add()
			}
			for range acknowledged {
				tl.ack()
			}
			waited := make(chan error, 1)
			go func() { waited <- tl.wait(t.Context()) }()
			synctest.Wait()
			select {
			case err := <-waited:
				if acknowledged < 3 || err != nil {
					t.Errorf("after %d of 3 it did not wait, or failed: %v", acknowledged, err)
				}
				return
			default:
			}
			for range 3 - acknowledged {
				tl.ack()
			}
			if err := <-waited; err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tl := &tally{done: make(chan struct{})}
	tl.add()
	if err := tl.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
