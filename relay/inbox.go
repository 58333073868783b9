package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/chorusd/chorusd/binlog"
)

// inbox hands what was read to the goroutine that routes, in order. It is
// bounded, which makes the reader wait.
type inbox struct {
	free func(*arrival) error

	mu      sync.Mutex
	list    []*arrival
	bytes   int           // of memory, in list and of the one at hand
	open    uint64        // when the transaction that is being read was committed; 0: none is
	routing int           // 1 while one is at hand
	pressed bool          // what is not read yet is waited for: there is always room
	ended   bool          // nothing more comes
	wake    chan struct{} // closed and renewed when list grows or it ended
	room    chan struct{} // closed and renewed when bytes shrink
}

// inboxBytes bounds the memory of what was read and not routed yet: above it
// nothing more is taken in.
const inboxBytes = 8 << 20

// newInbox makes one. free is what gives up what an arrival holds.
func newInbox(free func(*arrival) error) *inbox {
	return &inbox{free: free, wake: make(chan struct{}), room: make(chan struct{})}
}

// push waits for room and adds an arrival.
func (b *inbox) push(ctx context.Context, a *arrival) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.bytes >= inboxBytes && !b.pressed {
		room := b.room
		b.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-room:
		}
		b.mu.Lock()
		if err := ctx.Err(); err != nil {
			_ = b.free(a)
			return err
		}
	}
	b.open = 0
	b.add(a)
	return nil
}

// add puts an arrival at the end. b.mu is held.
func (b *inbox) add(a *arrival) {
	b.list = append(b.list, a)
	a.weigh()
	b.bytes += a.weight
	close(b.wake)
	b.wake = make(chan struct{})
}

// idle notes how far the log was read; of several in a row the last counts.
func (b *inbox) idle(pt binlog.Point) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.list); n > 0 && b.list[n-1].kind == idle {
		b.list[n-1].point = pt
		close(b.wake)
		b.wake = make(chan struct{})
		return
	}
	b.add(&arrival{kind: idle, point: pt})
}

// begun notes that a transaction is being read, and when it was committed.
func (b *inbox) begun(at uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = at
}

// end says that nothing more comes.
func (b *inbox) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended, b.open = true, 0
	close(b.wake)
	b.wake = make(chan struct{})
}

// next takes the next arrival, with which done must be called. If there is
// none, wake is closed when there may be, and over says that none will come.
func (b *inbox) next() (a *arrival, wake <-chan struct{}, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.list) == 0 {
		return nil, b.wake, b.ended
	}
	a = b.list[0]
	b.list[0] = nil
	b.list = b.list[1:]
	if a.kind == committed {
		b.routing = 1
	}
	return a, nil, false
}

// waiting are the arrivals that wait, in order. They belong to who takes them.
func (b *inbox) waiting() []*arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// since are the points of those that wait, from number n on, and the number of
// the last one, which may yet move on. wake is closed when there may be more,
// and over says that there will not be.
func (b *inbox) since(n int) (points []binlog.Point, last int, wake <-chan struct{}, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.list[n:] {
		if a.kind != present {
			points = append(points, a.point)
		}
	}
	return points, max(n, len(b.list)-1), b.wake, b.ended
}

// press makes room, or ends that.
func (b *inbox) press(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pressed = on
	close(b.room)
	b.room = make(chan struct{})
}

// done closes an arrival and gives its room back.
func (b *inbox) done(a *arrival) error {
	err := b.free(a)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= a.weight
	b.routing = 0
	close(b.room)
	b.room = make(chan struct{})
	return err
}

// drop closes what is left.
func (b *inbox) drop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, a := range b.list {
		errs = append(errs, b.free(a))
	}
	b.list = nil
	return errors.Join(errs...)
}

// oldest is when the oldest transaction was committed that was not routed;
// ok is false if there is none.
func (b *inbox) oldest() (at time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.list {
		if a.kind == committed && a.time > 0 {
			return time.UnixMicro(int64(a.time)), true
		}
	}
	return time.UnixMicro(int64(b.open)), b.open > 0
}

// pending is how many transactions were begun or read and not routed yet.
func (b *inbox) pending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.routing
	for _, a := range b.list {
		if a.kind == committed {
			n++
		}
	}
	if b.open > 0 {
		n++
	}
	return n
}
