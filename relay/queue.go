package relay

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
)

// acknowledger is told once when a message is accepted or set aside, and
// before that, when there is one more thing to wait for. add returns how many
// there were so far.
type acknowledger interface {
	add() int
	ack()
}

// message is an event on its way to the server, which fits a request by itself.
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
	bulk      bool  // much of its owner's came before it

	// lines are those of its channels, and waiting counts the ones on which it
	// is not next.
	lines   []*line
	waiting int
	// item is its Event's ItemBytes, if it may be sent in a batch.
	item int
}

// queue holds messages and hands them out in batches, so that on every
// channel they are sent in the order in which they came: a message is handed
// out when no earlier unfinished one shares a channel with it, but for those
// in its own batch before it. Of what may be handed out, each owner's comes in
// turn, see turns.
//
// What is much of one owner's takes a detour when there is no room for it, and
// what has to come behind it on a channel does, too. So the rest goes on.
type queue struct {
	// room is for all in memory, in bytes, and bulk for what is much of one
	// owner's.
	room, bulk *semaphore.Weighted
	packing    pusher.Packing

	mu       sync.Mutex
	detour   *detour
	err      error            // of the detour
	left     chan struct{}    // closed and renewed when something leaves the detour
	lines    map[string]*line // by channel; those without messages are kept for a while
	most     int              // lines to have before the empty ones are forgotten
	ready    turns
	wake     chan struct{} // a token: ready may hold something
	messages int           // in lines, ready or handed out
	batches  uint64        // handed out so far
}

// line is the messages of one channel that are not finished, the oldest first.
type line struct {
	messages []*message
	// busy is the number of the batch with which the oldest were handed out and
	// have left messages; 0 if there is none.
	busy uint64
}

// unfinished says whether it has any such messages; nil is a line without.
func (l *line) unfinished() bool { return l != nil && (l.busy > 0 || len(l.messages) > 0) }

// Bounds of the queue: what is in it, what a message takes beside its data, and
// for each of its channels; and the lines that are kept.
const (
	queueBytes      = 8 << 20
	bulkBytes       = 6 << 20
	bulkAfter       = 100 // messages of an owner
	messageOverhead = 512
	channelOverhead = 40
	linesKept       = 1 << 16
)

func newQueue(packing pusher.Packing, dir string) *queue {
	return &queue{
		room: semaphore.NewWeighted(queueBytes), bulk: semaphore.NewWeighted(bulkBytes), packing: packing,
		detour: newDetour(dir), left: make(chan struct{}),
		lines: map[string]*line{}, most: linesKept, ready: newTurns(), wake: make(chan struct{}, 1),
	}
}

// weight is what messages of an event take of the queue's room. What is larger
// than the whole queue is let in alone.
func weight(e pusher.Event, messages int) int64 {
	return int64(min(len(e.Data)+channelOverhead*len(e.Channels)+messageOverhead*messages, queueBytes))
}

// enqueue adds a message when there is room for it, or as many as its channels
// take requests.
func (r *Relay) enqueue(ctx context.Context, m *message) error {
	pieces, err := r.pieces(m)
	if err != nil {
		return err
	}
	if err := r.queue.reserve(ctx, m.Event, pieces); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue.push(pieces...)
	return nil
}

// pieces are a message's, each of which fits a request. One that is too large
// for any of its channels stays whole, without its data.
func (r *Relay) pieces(m *message) ([]*message, error) {
	cut, err := r.publisher.Cut(m.Event)
	if tooLarge(err) {
		m.misfit, m.Data = err, nil
		return []*message{m}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("publish %s of %s: %w", m.Name, m.table, err)
	}
	pieces := make([]*message, len(cut))
	for i, e := range cut {
		piece := *m
		piece.Event = e
		pieces[i] = &piece
	}
	return pieces, nil
}

// reserve waits for room for the messages that an event has become, which
// share its data: in memory, or for what is much of one owner's, in the detour.
// Their ends give it back.
func (q *queue) reserve(ctx context.Context, e pusher.Event, messages []*message) error {
	all, bulk := weight(e, len(messages)), false
	for i, m := range messages {
		n := m.owner.add()
		bulk = bulk || i == 0 && n > bulkAfter
		m.bulk = bulk
	}
	switch {
	case !bulk:
		if err := q.room.Acquire(ctx, all); err != nil {
			return err
		}
	case q.tryBulk(min(all, bulkBytes)):
		all = min(all, bulkBytes)
	default:
		return q.awaitDetour(ctx)
	}
	for i, m := range messages {
		m.room = all / int64(len(messages)-i)
		all -= m.room
	}
	return nil
}

// tryBulk takes room in memory for what is much of one owner's, if there is some.
func (q *queue) tryBulk(size int64) bool {
	if !q.bulk.TryAcquire(size) {
		return false
	}
	if !q.room.TryAcquire(size) {
		q.bulk.Release(size)
		return false
	}
	return true
}

// release gives a message's room back.
func (q *queue) release(m *message) {
	q.room.Release(m.room)
	if m.bulk {
		q.bulk.Release(m.room)
	}
	m.room = 0
}

// awaitDetour waits for room in the detour.
func (q *queue) awaitDetour(ctx context.Context) error {
	for {
		q.mu.Lock()
		full, left := q.detour.full(), q.left
		q.mu.Unlock()
		if !full {
			return nil
		}
		if err := waitFor(ctx, 0, left); err != nil {
			return err
		}
	}
}

// push adds messages for which room was reserved.
func (q *queue) push(messages ...*message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages += len(messages)
	for _, m := range messages {
		if m.room == 0 || q.detour.concerns(m) {
			q.release(m)
			q.fail(q.detour.put(m))
			continue
		}
		q.join(m)
	}
	q.back()
}

// fail has next return an error of the detour's.
func (q *queue) fail(err error) {
	if err != nil && q.err == nil {
		q.err = err
		q.rouse()
	}
}

// back takes up what has come by the detour and finds room now.
func (q *queue) back() {
	full := q.detour.full()
	for q.err == nil && !q.detour.empty() {
		m, err := q.detour.first()
		if err != nil {
			q.fail(err)
			return
		}
		size := min(weight(m.Event, 1), bulkBytes)
		if !q.tryBulk(size) {
			break
		}
		m.room, m.bulk = size, true
		q.fail(q.detour.drop())
		q.join(m)
	}
	if full && !q.detour.full() {
		renew(&q.left)
	}
}

// join puts a message at the end of its channels' lines.
func (q *queue) join(m *message) {
	if m.misfit == nil && q.packing.Shares(m.Event) {
		m.item = m.ItemBytes()
	}
	m.lines = make([]*line, len(m.Channels))
	for i, name := range m.Channels {
		l := q.line(name)
		m.lines[i] = l
		if l.busy > 0 || len(l.messages) > 0 {
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
		maps.DeleteFunc(q.lines, func(_ string, l *line) bool { return l.busy == 0 && len(l.messages) == 0 })
		q.most = max(linesKept, 2*len(q.lines))
	}
	l = &line{}
	q.lines[name] = l
	return l
}

func (q *queue) offer(m *message) {
	q.ready.put(m)
	q.rouse()
}

// rouse wakes one who waits in next.
func (q *queue) rouse() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for messages that may be sent in one request, and says whether
// there are more. finish must be called with them.
func (q *queue) next(ctx context.Context) (batch []*message, more bool, err error) {
	for {
		if batch, more, err = q.take(); batch != nil || err != nil {
			return batch, more, err
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-q.wake:
		}
	}
}

// hand hands a message out with the present batch, as the next one of its
// channels' lines.
func (q *queue) hand(m *message) {
	for _, l := range m.lines {
		l.busy = q.batches
		l.messages[0] = nil
		if len(l.messages) == 1 {
			l.messages = l.messages[:0] // and the next one needs no memory
		} else {
			l.messages = l.messages[1:]
		}
	}
}

// finish makes room and lets those go that waited for the batch.
func (q *queue) finish(batch []*message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range batch {
		q.messages--
		q.release(m)
		for _, l := range m.lines {
			if l.busy == 0 {
				continue // by a message of the same batch
			}
			l.busy = 0
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
	q.back()
}

// close gives up what has taken a detour.
func (q *queue) close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.detour.close()
}

// holds says whether a channel has messages that are unfinished.
func (q *queue) holds(name string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.detour.channels[name] > 0 || q.lines[name].unfinished()
}

// held are the channels that have such messages, in no order.
func (q *queue) held() (names []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, l := range q.lines {
		if l.unfinished() {
			names = append(names, name)
		}
	}
	for name := range q.detour.channels {
		if !q.lines[name].unfinished() {
			names = append(names, name)
		}
	}
	return names
}

// fileBytes is how much has taken a detour.
func (q *queue) fileBytes() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.detour.size()
}

// depth is how many messages are unfinished.
func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.messages
}
