package policy

import (
	"slices"
	"sync"
)

// ask is one call of Client.Ask.
type ask struct {
	subject  Subject
	rows     []Row
	versions []string // of the rows

	mu       sync.Mutex
	verdicts []Verdict
	pending  int           // pieces without a verdict
	done     chan struct{} // closed when there are none
	over     bool          // nobody looks any more
}

// deliver takes what came of a piece.
func (a *ask) deliver(p *piece, answers []Answer, err *Error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	v := &a.verdicts[p.row]
	for i, answer := range answers {
		v.Answers[p.users[i]] = answer
	}
	if err != nil && v.Err == nil {
		v.Err = err
	}
	if a.pending--; a.pending == 0 {
		close(a.done)
	}
}

// end returns what is known by now; the rest is unknown for the reason given.
func (a *ask) end(err *Error) []Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	for i := range a.verdicts {
		if v := &a.verdicts[i]; v.Err == nil && slices.Contains(v.Answers, Unknown) {
			v.Err = err
		}
	}
	return a.verdicts
}

// piece is a part of a question that goes into one request: a row and some of
// its users.
type piece struct {
	ask   *ask
	row   int   // index in ask.rows
	users []int // indexes in that row's Users
}

// batch is what one request asks: pieces of one subject.
type batch struct {
	subject Subject
	pieces  []*piece
	users   []string       // ids
	index   map[string]int // of users
	pairs   int
	bytes   int // not less than those of the body
}

// Bounds of what appendRequest adds to a text.
const (
	envelopeBytes = 256 // of a request, beside its subject
	rowBytes      = 96  // of a row, beside key and data
	pairBytes     = 4   // an index below MaxUsers, and a comma
)

func newBatch(s Subject) *batch {
	return &batch{
		subject: s, index: map[string]int{},
		// JSON writes a byte in six at most.
		bytes: envelopeBytes + 6*(len(s.Table)+len(s.Tenant)+len(s.Model)+len(s.Ability)),
	}
}

// sizeOf is what a row adds to a batch at least, and with users at most.
func sizeOf(r *Row, users []int) int {
	n := rowBytes + len(r.Key) + len(r.Data)
	for _, u := range users {
		n += pairBytes + len(r.Users[u].ID) + 1
	}
	return n
}

// add takes a piece if it fits.
func (b *batch) add(p *piece, maxBytes int) bool {
	row := &p.ask.rows[p.row]
	size := sizeOf(row, p.users)
	fresh := 0
	for _, u := range p.users {
		if _, ok := b.index[row.Users[u].ID]; !ok {
			fresh++
		}
	}
	if len(b.pieces) == MaxRows || len(b.users)+fresh > MaxUsers || b.pairs+len(p.users) > MaxPairs || b.bytes+size > maxBytes {
		return false
	}
	b.pieces = append(b.pieces, p)
	b.pairs += len(p.users)
	b.bytes += size
	for _, u := range p.users {
		id := row.Users[u].ID
		if _, ok := b.index[id]; !ok {
			b.index[id] = len(b.users)
			b.users = append(b.users, id)
		}
	}
	return true
}

// queue holds the pieces that wait for a request. Nothing waits while a
// request is free to take it; what comes meanwhile shares the next ones.
type queue struct {
	maxBytes int

	mu      sync.Mutex
	cond    sync.Cond
	waiting []*piece
	closed  bool
}

func newQueue(maxBytes int) *queue {
	q := &queue{maxBytes: maxBytes}
	q.cond.L = &q.mu
	return q
}

// push appends pieces; false if the queue is closed.
func (q *queue) push(pieces []*piece) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, pieces...)
	q.cond.Broadcast()
	return true
}

// take waits for pieces and makes a batch of the first and of those of its
// subject that fit; nil when the queue is closed.
func (q *queue) take() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return nil
	}
	b := newBatch(q.waiting[0].ask.subject)
	full := false
	q.waiting = slices.DeleteFunc(q.waiting, func(p *piece) bool {
		if full || p.ask.subject != b.subject {
			return false
		}
		full = !b.add(p, q.maxBytes)
		return !full
	})
	return b
}

// withdraw takes away what still waits of a question that has ended.
func (q *queue) withdraw(a *ask) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(p *piece) bool { return p.ask == a })
}

// close ends take, and returns what waited.
func (q *queue) close() []*piece {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.waiting
	q.waiting, q.closed = nil, true
	q.cond.Broadcast()
	return rest
}
