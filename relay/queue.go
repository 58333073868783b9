package relay

import (
	"context"
	"maps"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
)

// acknowledger is told once when a message is accepted or set aside, and
// before that, when there is one more thing to wait for.
type acknowledger interface {
	add()
	ack()
}

// message is an event on its way to the server.
type message struct {
	pusher.Event
	misfit     error // why it is too large to be sent; its data is not kept then
	id         harmonic.ID
	operation  harmonic.Operation // of a record, which has table and key, too
	table, key string             // the table's ID, see mapping.Plan
	// streams are where the key is kept in doubt; nil: those of its channels.
	streams []mapping.ScopeKey
	owner   acknowledger
	// committed is when the change was that it tells of, in microseconds since
	// the Unix epoch; 0: it is of none.
	committed uint64
	kept      bool  // in the window too, see doubt
	suspect   bool  // part of a request that was not answered
	room      int64 // that it takes of the queue's

	// lines are those of its channels, and waiting counts the ones on which it
	// is not next.
	lines   []*line
	waiting int
}

// queue holds messages and hands them out in batches, so that on every
// channel they are sent in the order in which they came: a message is handed
// out when no earlier unfinished one shares a channel with it, but for those
// in its own batch before it.
type queue struct {
	room  *semaphore.Weighted // in bytes
	fits  func([]pusher.Event) error
	batch int // most events of one request

	mu       sync.Mutex
	lines    map[string]*line // by channel; those without messages are kept for a while
	most     int              // lines to have before the empty ones are forgotten
	ready    []*message
	wake     chan struct{} // a token: ready may hold something
	messages int           // in lines, ready or handed out
}

// line is the messages of one channel that are not finished, the oldest first.
type line struct {
	messages []*message
	busy     bool // the oldest were handed out and have left messages
}

// Bounds of the queue: what is in it, what a message takes beside its data, and
// for each of its channels; and the lines that are kept.
const (
	queueBytes      = 8 << 20
	messageOverhead = 512
	channelOverhead = 40
	linesKept       = 1 << 16
)

func newQueue(fits func([]pusher.Event) error, batch int) *queue {
	return &queue{
		room: semaphore.NewWeighted(queueBytes), fits: fits, batch: max(1, batch),
		lines: map[string]*line{}, most: linesKept, wake: make(chan struct{}, 1),
	}
}

// weight is what a message takes of the queue's room. One that is larger than
// the whole queue is let in alone.
func weight(e pusher.Event) int64 {
	return int64(min(len(e.Data)+channelOverhead*len(e.Channels)+messageOverhead, queueBytes))
}

// reserve waits for room for an event; its message's end gives it back.
func (q *queue) reserve(ctx context.Context, e pusher.Event) error {
	return q.room.Acquire(ctx, weight(e))
}

// enqueue adds a message when there is room for it.
func (r *Relay) enqueue(ctx context.Context, m *message) error {
	if err := r.queue.reserve(ctx, m.Event); err != nil {
		return err
	}
	m.owner.add()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue.push(m)
	return nil
}

// push adds a message for which room was reserved.
func (q *queue) push(m *message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages++
	m.room = weight(m.Event)
	m.lines = make([]*line, len(m.Channels))
	for i, name := range m.Channels {
		l := q.line(name)
		m.lines[i] = l
		if l.busy || len(l.messages) > 0 {
			m.waiting++
		}
		l.messages = append(l.messages, m)
	}
	if m.waiting == 0 {
		q.offer(m)
	}
}

// line is a channel's.
func (q *queue) line(name string) *line {
	l := q.lines[name]
	if l != nil {
		return l
	}
	if len(q.lines) >= q.most {
		maps.DeleteFunc(q.lines, func(_ string, l *line) bool { return !l.busy && len(l.messages) == 0 })
		q.most = max(linesKept, 2*len(q.lines))
	}
	l = &line{}
	q.lines[name] = l
	return l
}

func (q *queue) offer(m *message) {
	q.ready = append(q.ready, m)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for messages that may be sent in one request. finish must be
// called with them.
func (q *queue) next(ctx context.Context) ([]*message, error) {
	for {
		if batch := q.take(); batch != nil {
			return batch, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-q.wake:
		}
	}
}

// take makes a batch of what is ready, and of what comes after it on the same
// channels. A message for many channels goes alone: one event reaches them all.
func (q *queue) take() []*message {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) == 0 {
		return nil
	}
	first := q.pop()
	batch, events := []*message{first}, []pusher.Event{first.Event}
	if len(first.Channels) == 1 {
		batch = q.extend(batch, events)
	}
	if len(q.ready) > 0 { // there is more for another worker
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return batch
}

// pop hands out the first message that is ready.
func (q *queue) pop() *message {
	m := q.ready[0]
	q.ready[0] = nil
	q.ready = q.ready[1:]
	q.hand(m)
	return m
}

// hand takes a message off its channels' lines.
func (q *queue) hand(m *message) {
	for _, l := range m.lines {
		l.busy = true
		l.messages[0] = nil
		if len(l.messages) == 1 {
			l.messages = l.messages[:0] // and the next one needs no memory
		} else {
			l.messages = l.messages[1:]
		}
	}
}

func (q *queue) extend(batch []*message, events []pusher.Event) []*message {
	for len(batch) < q.batch {
		var m *message
		after := batch[len(batch)-1].lines[0].messages
		follows := len(after) > 0 && len(after[0].Channels) == 1
		switch {
		case follows:
			m = after[0]
		case len(q.ready) > 0 && len(q.ready[0].Channels) == 1:
			m = q.ready[0]
		default:
			return batch
		}
		events = append(events, m.Event)
		if q.fits(events) != nil {
			return batch
		}
		if follows {
			m.waiting = 0
			q.hand(m)
		} else {
			q.pop()
		}
		batch = append(batch, m)
	}
	return batch
}

// finish makes room and lets those go that waited for the batch.
func (q *queue) finish(batch []*message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range batch {
		q.messages--
		q.room.Release(m.room)
		for _, l := range m.lines {
			if !l.busy {
				continue // by a message of the same batch
			}
			l.busy = false
			if len(l.messages) == 0 {
				continue
			}
			next := l.messages[0]
			next.waiting--
			if next.waiting == 0 {
				q.offer(next)
			}
		}
	}
}

// holds says whether a channel has messages that are unfinished.
func (q *queue) holds(name string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lines[name]
	return l != nil && (l.busy || len(l.messages) > 0)
}

// depth is how many messages are unfinished.
func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.messages
}
