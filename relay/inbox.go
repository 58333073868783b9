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
// bounded, which makes the reader wait, but for when what comes next in the log
// has to be known: then what there is no room for goes to a file.
type inbox struct {
	used *collector
	// limit is how many bytes of memory may be taken before there is no room.
	limit int

	mu      sync.Mutex
	list    []*arrival
	beyond  *overflow       // what comes after list
	bytes   int             // of memory, in list and of the one at hand
	read    binlog.Position // where what was taken in ends
	open    uint64          // when the transaction that is being read was committed; 0: none is
	routing int             // 1 while one is at hand
	pressed bool            // what is not read yet is waited for
	paused  bool            // the reader waits for room
	ended   bool            // nothing more comes
	err     error           // what was read is lost
	wake    chan struct{}   // closed and renewed when something was taken in or it ended
	room    chan struct{}   // closed and renewed when bytes shrink
}

// inboxBytes bounds the memory of what was read and not routed yet: above it
// nothing more is taken in, or only into a file.
const inboxBytes = 8 << 20

// newInbox makes one of which everything is after a position. Transactions are
// those of a collector; files are in dir.
func newInbox(from binlog.Position, used *collector, dir string) *inbox {
	return &inbox{
		used: used, limit: inboxBytes, beyond: newOverflow(dir), read: from.Clone(),
		wake: make(chan struct{}), room: make(chan struct{}),
	}
}

// full says whether there is no room in memory. b.mu is held.
func (b *inbox) full() bool { return b.bytes >= b.limit || !b.beyond.empty() }

// push waits for room and adds an arrival.
func (b *inbox) push(ctx context.Context, a *arrival) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.full() && !b.pressed {
		room := b.room
		b.paused = true
		b.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-room:
		}
		b.mu.Lock()
		b.paused = false
		if err := ctx.Err(); err != nil {
			_ = b.used.close(a)
			return err
		}
	}
	b.open = 0
	return b.add(a)
}

// add puts an arrival at the end. b.mu is held. An error, also of before, is
// one of the disk or of a position.
func (b *inbox) add(a *arrival) error {
	if b.full() {
		b.fail(b.beyond.put(a))
		b.fail(b.used.close(a))
	} else {
		b.list = append(b.list, a)
		a.weigh()
		b.bytes += a.weight
	}
	if a.kind != present {
		b.fail(b.read.Advance(a.point))
	}
	close(b.wake)
	b.wake = make(chan struct{})
	return b.err
}

func (b *inbox) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// idle notes how far the log was read; of several in a row the last counts.
func (b *inbox) idle(pt binlog.Point) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.list); n > 0 && b.list[n-1].kind == idle && b.beyond.empty() {
		b.list = b.list[:n-1]
		b.bytes -= idleWeight
	}
	_ = b.add(&arrival{kind: idle, point: pt}) // next tells
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
// none, wake is closed when there may be, and over says that none will come. An
// error is one of the disk.
func (b *inbox) next() (a *arrival, wake <-chan struct{}, over bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	if b.err != nil {
		return nil, nil, false, b.err
	}
	if len(b.list) == 0 {
		return nil, b.wake, b.ended, nil
	}
	a = b.list[0]
	b.list[0] = nil
	b.list = b.list[1:]
	if a.kind == committed {
		b.routing = 1
	}
	return a, nil, false, nil
}

// fill takes in what there is room for again. Beside the next arrival there is
// always the one after it, so that it is known how old what waits is. b.mu is held.
func (b *inbox) fill() {
	for b.err == nil && !b.beyond.empty() && (b.bytes < b.limit || len(b.list) < 2) {
		a, err := b.beyond.take(b.used.empty)
		b.fail(err)
		b.list = append(b.list, a)
		a.weigh()
		b.bytes += a.weight
	}
}

// waiting are the next arrivals, in order. They belong to who takes them. There
// may be more than those, which is what far says.
func (b *inbox) waiting() (list []*arrival, far bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list), !b.beyond.empty()
}

// decisive gives the changes that wait of tables that may say who sees what, as
// they were logged, and some others. It is for the goroutine that takes.
func (b *inbox) decisive(fn func(*entry) error) error {
	b.mu.Lock()
	list := slices.Clone(b.list)
	beyond, err := b.beyond.snapshot()
	b.mu.Unlock()
	if err != nil {
		return err
	}
	for _, a := range list {
		if !a.decides {
			continue
		}
		err := a.changes.logged(func(e *entry) error {
			if e.definition != nil {
				return nil
			}
			return fn(e)
		})
		if err != nil {
			return err
		}
	}
	return beyond.walk(fn)
}

// covers says whether everything up to a position was taken in; if not, wake is
// closed when it may be, and over says that it will not.
func (b *inbox) covers(upto binlog.Position) (ok bool, wake <-chan struct{}, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read.Covers(upto), b.wake, b.ended
}

// press has everything taken in that comes, or ends that.
func (b *inbox) press(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pressed = on
	close(b.room)
	b.room = make(chan struct{})
}

// done closes an arrival and gives its room back.
func (b *inbox) done(a *arrival) error {
	err := b.used.close(a)
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
		errs = append(errs, b.used.close(a))
	}
	b.list = nil
	return errors.Join(append(errs, b.beyond.reset())...)
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

// position is where what was taken in ends.
func (b *inbox) position() binlog.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read.Clone()
}

// load says what is there: transactions, see pending, the bytes of memory and
// of the file that they take, and whether the reader waits for room.
func (b *inbox) load() (transactions, bytes int, file int64, paused bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unrouted(), b.bytes, b.beyond.size(), b.paused
}

// pending is how many transactions were begun or read and not routed yet.
func (b *inbox) pending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unrouted()
}

// unrouted is pending. b.mu is held.
func (b *inbox) unrouted() int {
	n := b.routing + b.beyond.transactions
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
