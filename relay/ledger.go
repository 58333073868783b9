package relay

import (
	"context"
	"sync"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
)

// ledger knows which transactions are settled: every harmonic of them, and of
// all before them, was accepted by the server, kept in the window or set
// aside. The checkpoint is its position and never passes an unsettled one.
type ledger struct {
	mu       sync.Mutex
	pages    []*page // unsettled transactions, oldest first; the last may be open
	position binlog.Position
	seq      harmonic.Seq // last one at position
	clock    time.Time    // what it was there, as far as points have told
	err      error
	room     chan struct{} // closed and renewed when pages shrink
}

// page is one transaction. It is acknowledged as often as harmonics of it
// were added.
type page struct {
	ledger  *ledger
	pending int
	added   int
	closed  bool
	point   binlog.Point
	seq     harmonic.Seq
	journey *journey // nil if nobody wants it
}

// pagesKept bounds the transactions that may wait behind an unsettled one.
const pagesKept = 1 << 16

func newLedger(from binlog.Position, seq harmonic.Seq) *ledger {
	return &ledger{position: from.Clone(), seq: seq, room: make(chan struct{})}
}

// current is the page of the transaction that is being read, which was
// committed at the given time, in microseconds since the Unix epoch.
func (l *ledger) current(committed uint64) *page {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.pages); n > 0 && !l.pages[n-1].closed {
		return l.pages[n-1]
	}
	p := &page{ledger: l, point: binlog.Point{Time: committed}}
	l.pages = append(l.pages, p)
	return p
}

// add expects one more acknowledgement.
func (p *page) add() int {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	p.pending++
	p.added++
	return p.added
}

// ack settles one harmonic of the page.
func (p *page) ack() {
	if p.acked() {
		p.journey.end()
	}
}

// acked says whether that was the last one.
func (p *page) acked() bool {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	p.pending--
	if p.pending > 0 || !p.closed {
		return false
	}
	p.ledger.settle()
	return true
}

// over says whether all of it was acknowledged.
func (p *page) over() bool {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	return p.closed && p.pending == 0
}

// commit closes the open page, or notes a transaction without harmonics. It
// waits while too many are unsettled.
func (l *ledger) commit(ctx context.Context, pt binlog.Point, seq harmonic.Seq) error {
	l.mu.Lock()
	if n := len(l.pages); n == 0 || l.pages[n-1].closed {
		l.pages = append(l.pages, &page{ledger: l})
	}
	p := l.pages[len(l.pages)-1]
	p.closed, p.point, p.seq = true, pt, seq
	p.journey.routed()
	done := p.pending == 0
	l.settle()
	err := l.err
	for len(l.pages) > pagesKept && ctx.Err() == nil {
		room := l.room
		l.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-room:
		}
		l.mu.Lock()
	}
	l.mu.Unlock()
	if done {
		p.journey.end()
	}
	return err
}

// idle moves the position to where the log was read without a transaction,
// if everything before is settled.
func (l *ledger) idle(pt binlog.Point) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pages) == 0 {
		l.advance(pt)
	}
}

// settle turns the settled pages at the front into the position.
func (l *ledger) settle() {
	n := 0
	for n < len(l.pages) && l.pages[n].closed && l.pages[n].pending == 0 {
		l.advance(l.pages[n].point)
		l.seq = l.pages[n].seq
		l.pages[n] = nil
		n++
	}
	if n > 0 {
		l.pages = l.pages[n:]
		close(l.room)
		l.room = make(chan struct{})
	}
}

func (l *ledger) advance(pt binlog.Point) {
	if err := l.position.Advance(pt); err != nil && l.err == nil {
		l.err = err
	}
	if at := pt.At(); at.After(l.clock) {
		l.clock = at
	}
}

// settled is the resume point.
func (l *ledger) settled() (position string, seq harmonic.Seq) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.position.String(), l.seq
}

// clockThere is what the clock was at settled's position; zero if nothing was
// read yet.
func (l *ledger) clockThere() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clock
}

// resumable is settled's position.
func (l *ledger) resumable() binlog.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.position.Clone()
}

// oldest is when the oldest unsettled transaction was committed; ok is false
// if there is none.
func (l *ledger) oldest() (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pages) == 0 {
		return time.Time{}, false
	}
	return l.pages[0].point.At(), true
}

// drained waits until every closed page is settled.
func (l *ledger) drained(ctx context.Context) {
	for ctx.Err() == nil {
		l.mu.Lock()
		done := len(l.pages) == 0 || !l.pages[0].closed
		room := l.room
		l.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ctx.Done():
		case <-room:
		}
	}
}
