package relay

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// window writes to Redis the keys of what was not published because its
// channel was inactive. A channel first seen active is refilled from it.
type window struct {
	room *semaphore.Weighted // in entries

	mu      sync.Mutex
	entries []windowEntry
	// added and written count entries since the start.
	added, written uint64
	progress       chan struct{} // closed and renewed when written rises
	wake           chan struct{} // a token: there are entries
	kept           map[uint64]int
}

type windowEntry struct {
	redisstate.WindowEntry
	epoch uint64
	page  acknowledger
}

// windowRoom bounds the entries that are not written yet.
const windowRoom = 1 << 13

func newWindow() *window {
	return &window{
		room: semaphore.NewWeighted(windowRoom), progress: make(chan struct{}),
		wake: make(chan struct{}, 1), kept: map[uint64]int{},
	}
}

// reserve waits for room for n entries; add uses it up.
func (w *window) reserve(ctx context.Context, n int) error {
	return w.room.Acquire(ctx, int64(min(n, windowRoom)))
}

func (w *window) release(n int) { w.room.Release(int64(n)) }

// add keeps an entry for which room was reserved.
func (w *window) add(e windowEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
	w.added++
	w.kept[e.epoch]++
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// keep has a record's key written under a stream, and the owner wait for that.
// Room was reserved, and r.mu is held.
func (r *Relay) keep(owner acknowledger, stream mapping.ScopeKey, table, key string) {
	owner.add()
	r.window.add(windowEntry{
		WindowEntry: redisstate.WindowEntry{Stream: string(stream), Table: table, Key: key},
		epoch:       r.epoch, page: owner,
	})
}

// size is how many entries were kept and not trimmed.
func (w *window) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, k := range w.kept {
		n += k
	}
	return n
}

// trim forgets the epochs before one.
func (w *window) trim(before uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for epoch := range w.kept {
		if epoch < before {
			delete(w.kept, epoch)
		}
	}
}

// mark is a point in the order of entries, for await.
func (w *window) mark() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.added
}

// await waits until everything before the mark is in Redis.
func (w *window) await(ctx context.Context, mark uint64) error {
	for {
		w.mu.Lock()
		done, progress := w.written >= mark, w.progress
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-progress:
		}
	}
}

// keepWindow writes what the window is given until ctx ends, which returns nil.
func (r *Relay) keepWindow(ctx context.Context) error {
	w := r.window
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
		w.mu.Lock()
		entries := w.entries
		w.entries = nil
		w.mu.Unlock()
		for len(entries) > 0 {
			n := 1
			for n < len(entries) && entries[n].epoch == entries[0].epoch {
				n++
			}
			batch := make([]redisstate.WindowEntry, n)
			for i := range batch {
				batch[i] = entries[i].WindowEntry
			}
			err := r.persist(ctx, func(ctx context.Context) error { return r.state.AddToWindow(ctx, entries[0].epoch, batch) })
			if ended(ctx) {
				return nil
			}
			if err != nil {
				return err
			}
			for _, e := range entries[:n] {
				e.page.ack()
			}
			w.release(n)
			w.mu.Lock()
			w.written += uint64(n)
			close(w.progress)
			w.progress = make(chan struct{})
			w.mu.Unlock()
			entries = entries[n:]
		}
	}
}
