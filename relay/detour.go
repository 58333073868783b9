package relay

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
)

// detour keeps messages that the queue has no room for, in files unless they
// are few, so that what comes after them for other channels need not wait. They
// come out in the order in which they were put. The queue's mutex is held for
// all of its methods.
type detour struct {
	limit int64 // bytes
	// in takes what is put, and out gives it back: the same, or what was put
	// before.
	in, out *spoolQueue
	// channels are those of the messages that are here, with how many.
	channels map[string]int
	// owners are whose the messages are, and misfits the reasons of those that
	// have some, in order.
	owners  []ownerRun
	misfits []error
	// head is the first message, once it was read, and next where the one after
	// it is.
	head *message
	next int64
}

// ownerRun is whose a number of messages are.
type ownerRun struct {
	owner acknowledger
	count int
}

// What may be kept; beyond it, reading pauses.
const (
	detourBytes    = 256 << 20
	detourChannels = 1 << 16
)

func newDetour(dir string) *detour {
	return &detour{limit: detourBytes, channels: map[string]int{}, in: newSpoolQueue(dir), out: newSpoolQueue(dir)}
}

func (d *detour) size() int64 { return d.in.size() + d.out.size() }

func (d *detour) full() bool { return d.size() >= d.limit || len(d.channels) >= detourChannels }

func (d *detour) empty() bool { return d.size() == 0 }

// concerns says whether a message has to come after one that is here.
func (d *detour) concerns(m *message) bool {
	if len(d.channels) == 0 {
		return false
	}
	for _, name := range m.Channels {
		if d.channels[name] > 0 {
			return true
		}
	}
	return false
}

// put keeps a message. An error is one of the disk.
func (d *detour) put(m *message) error {
	if n := len(d.owners); n > 0 && d.owners[n-1].owner == m.owner {
		d.owners[n-1].count++
	} else {
		d.owners = append(d.owners, ownerRun{m.owner, 1})
	}
	if m.misfit != nil {
		d.misfits = append(d.misfits, m.misfit)
	}
	for _, name := range m.Channels {
		d.channels[name]++
	}
	return d.in.add(func(dst []byte) []byte { return appendMessage(dst, m) })
}

// first is the message that was put first, nil if there is none. It stays until
// drop. An error is one of the disk.
func (d *detour) first() (*message, error) {
	if d.head != nil || d.empty() {
		return d.head, nil
	}
	if d.out.size() == 0 {
		d.in, d.out = d.out, d.in
	}
	data, next, err := d.out.first()
	if err != nil {
		return nil, err
	}
	m, unfit := parseMessage(data)
	m.owner = d.owners[0].owner
	if unfit {
		m.misfit = d.misfits[0]
	}
	d.head, d.next = m, next
	return m, nil
}

// drop takes the first message out, which was read.
func (d *detour) drop() error {
	m := d.head
	d.head = nil
	if d.owners[0].count--; d.owners[0].count == 0 {
		d.owners = pull(d.owners, 0)
	}
	if m.misfit != nil {
		d.misfits = pull(d.misfits, 0)
	}
	for _, name := range m.Channels {
		if d.channels[name]--; d.channels[name] == 0 {
			delete(d.channels, name)
		}
	}
	if d.out.from = d.next; d.out.size() > 0 {
		return nil
	}
	return d.out.reset() // and gives the file back
}

// close gives the files up.
func (d *detour) close() error { return errors.Join(d.in.reset(), d.out.reset()) }

// What a kept message is beside its texts.
const (
	messageKept   = 1 << iota // in the window
	messageMisfit             // too large
	messageNamed              // with streams
)

func appendMessage(dst []byte, m *message) []byte {
	flags := byte(0)
	for _, f := range []struct {
		is   bool
		flag byte
	}{{m.kept, messageKept}, {m.misfit != nil, messageMisfit}, {m.streams != nil, messageNamed}} {
		if f.is {
			flags |= f.flag
		}
	}
	dst = append(append(dst, flags, byte(m.operation)), m.id[:]...)
	dst = binary.AppendUvarint(dst, m.committed)
	dst = appendText(appendText(appendText(dst, m.Name), m.table), m.key)
	dst = binary.AppendUvarint(dst, uint64(len(m.Channels)))
	for _, name := range m.Channels {
		dst = appendText(dst, name)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.streams)))
	for _, stream := range m.streams {
		dst = appendText(dst, string(stream))
	}
	return append(dst, m.Data...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// parseMessage reads what appendMessage has written, and whether the message
// has a misfit.
func parseMessage(data []byte) (m *message, unfit bool) {
	m = &message{kept: data[0]&messageKept > 0, operation: harmonic.Operation(data[1])}
	flags := data[0]
	data = data[2+copy(m.id[:], data[2:]):]
	number := func() uint64 {
		n, size := binary.Uvarint(data)
		data = data[size:]
		return n
	}
	text := func() string {
		n := number()
		s := string(data[:n])
		data = data[n:]
		return s
	}
	m.committed = number()
	m.Name, m.table, m.key = text(), text(), text()
	m.Channels = make([]string, number())
	for i := range m.Channels {
		m.Channels[i] = text()
	}
	if n := number(); flags&messageNamed > 0 {
		m.streams = make([]mapping.ScopeKey, n)
		for i := range m.streams {
			m.streams[i] = mapping.ScopeKey(text())
		}
	}
	if flags&messageMisfit == 0 {
		m.Data = bytes.Clone(data)
	}
	return m, flags&messageMisfit > 0
}
