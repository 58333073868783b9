package relay

// turns hold messages that may be handed out, by whose they are, so that one
// transaction's many rows, or a refill's, do not stand before those of all
// others: each owner that has some is next once in a round. What one owner has
// comes in the order in which it was put.
type turns struct {
	flows map[acknowledger]*flow
	ring  []*flow // who is next, first; none of them is empty
}

// flow is what one owner has.
type flow struct {
	owner    acknowledger
	messages []*message
}

func newTurns() turns { return turns{flows: map[acknowledger]*flow{}} }

func (t *turns) put(m *message) {
	f := t.flows[m.owner]
	if f == nil {
		f = &flow{owner: m.owner}
		t.flows[m.owner] = f
		t.ring = append(t.ring, f)
	}
	f.messages = append(f.messages, m)
}

// ahead is how many messages are looked at for one that a request has room for.
const ahead = 100

// find returns the first message that is wanted, and where it is. The caller
// takes it, or leaves it where it is.
func (t *turns) find(wanted func(*message) bool) (m *message, at seat) {
	left := ahead
	for i, f := range t.ring {
		for j, m := range f.messages {
			if wanted(m) {
				return m, seat{i, j}
			}
			if left--; left == 0 {
				return nil, seat{}
			}
		}
	}
	return nil, seat{}
}

// seat is where a message is: which one of whose flow in the ring.
type seat struct{ flow, message int }

// took ends the turn of an owner, who comes last now; the message at the place
// is his no more unless some of it stays.
func (t *turns) took(at seat, stays bool) {
	f := t.ring[at.flow]
	if !stays {
		f.messages = pull(f.messages, at.message)
	}
	t.ring = pull(t.ring, at.flow)
	if len(f.messages) == 0 {
		delete(t.flows, f.owner)
		return
	}
	t.ring = append(t.ring, f)
}

// pull takes an element out that is not far from the beginning.
func pull[T any](list []T, i int) []T {
	copy(list[1:i+1], list[:i])
	clear(list[:1])
	return list[1:]
}

// batch is messages that are being gathered for one request.
type batch struct {
	messages []*message
	// What the server has room for yet, see pusher.Packing.
	items, bytes int
}

// take makes a batch of what is ready, and of what comes after it on the same
// channels, and says whether there is more for another request.
func (q *queue) take() (messages []*message, more bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	first, at := q.ready.find(func(*message) bool { return true })
	if first == nil || q.err != nil {
		return nil, false, q.err
	}
	q.batches++
	q.ready.took(at, false)
	b := &batch{items: q.packing.Items, bytes: q.packing.Bytes}
	q.add(b, first)
	if first.item > 0 {
		q.fill(b)
	}
	if more = len(q.ready.ring) > 0; more {
		q.rouse()
	}
	return b.messages, more, nil
}

// add hands a message out with a batch.
func (q *queue) add(b *batch, m *message) {
	q.hand(m)
	b.messages = append(b.messages, m)
	b.items -= len(m.Channels)
	b.bytes -= m.bytes()
}

// bytes are what a message takes of a batch.
func (m *message) bytes() int {
	size := m.item * len(m.Channels)
	for _, name := range m.Channels {
		size += len(name)
	}
	return size
}

// has says whether a message goes with the batch as it is.
func (b *batch) has(m *message) bool {
	return m.item > 0 && len(m.Channels) <= b.items && m.bytes() <= b.bytes
}

// fill adds to a batch what it has room for: what comes next on its own
// channels, then what is ready, and at last a message to some of its channels.
func (q *queue) fill(b *batch) {
	for i := 0; b.items > 0; i++ {
		if i == len(b.messages) {
			m, at := q.ready.find(b.has)
			if m == nil {
				q.fillWithPart(b)
				return
			}
			q.ready.took(at, false)
			q.add(b, m)
		}
		for _, l := range b.messages[i].lines {
			for q.follows(l) && b.has(l.messages[0]) {
				next := l.messages[0]
				next.waiting = 0
				q.add(b, next)
			}
		}
	}
}

// follows says whether the next message of a line waits for nothing but the
// present batch.
func (q *queue) follows(l *line) bool {
	if l.busy != q.batches || len(l.messages) == 0 {
		return false
	}
	m, free := l.messages[0], 0
	for _, l := range m.lines {
		if l.busy == q.batches && l.messages[0] == m {
			free++
		}
	}
	return free == m.waiting
}

// fillWithPart sends a message with a batch to as many of its channels as the
// batch has room for. It stays next on the others.
func (q *queue) fillWithPart(b *batch) {
	m, at := q.ready.find(func(m *message) bool { return b.channels(m) > 0 })
	if m == nil {
		return
	}
	n := b.channels(m)
	part := *m
	part.Channels, part.lines = m.Channels[:n:n], m.lines[:n:n]
	part.room = m.room * int64(n) / int64(len(m.Channels))
	m.Channels, m.lines, m.room = m.Channels[n:], m.lines[n:], m.room-part.room
	m.owner.add()
	q.messages++
	q.ready.took(at, true)
	q.add(b, &part)
}

// channels is of how many of a message's channels a batch has room.
func (b *batch) channels(m *message) int {
	if m.item == 0 {
		return 0
	}
	left := b.bytes
	for i, name := range m.Channels {
		if left -= m.item + len(name); left < 0 || i == b.items {
			return i
		}
	}
	return len(m.Channels)
}
