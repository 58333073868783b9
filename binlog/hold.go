package binlog

import (
	"bytes"
	"context"
	"strings"
)

// A hold keeps rows back that the log itself may yet take back: those after a
// SAVEPOINT, those of an XA transaction, whose verdict comes later, and on
// MariaDB those of a transaction with a temporary table in it. Everything else
// that is rolled back never comes into the log.
//
// What does not fit into holdLimit is not kept but, once it is known to stay,
// read from the log again.
type hold struct {
	on    bool
	over  bool // more than fits: items is empty
	size  int
	items []heldRows
	marks []mark
	// events counts the rows events of wanted tables in the transaction.
	events int
	// without are those events, by number, that a second reading leaves out:
	// what was given before, and what was rolled back.
	without []span
}

// holdLimit bounds the rows that are kept, in bytes.
const holdLimit = 4 << 20

// heldRows are the rows of one event.
type heldRows struct {
	event int
	kind  ChangeKind
	table *Table
	data  []byte
}

// mark is a savepoint: it stands before the event of this number.
type mark struct {
	name  string
	event int
}

// span is the events from one number to before another.
type span struct{ from, to int }

// start holds what comes from here on.
func (h *hold) start() {
	if !h.on {
		h.on = true
		h.without = append(h.without, span{0, h.events})
	}
}

// add takes the rows of an event.
func (h *hold) add(event int, kind ChangeKind, table *Table, data []byte) {
	if h.size += len(data); h.over || h.size > holdLimit {
		h.over, h.items = true, nil
		return
	}
	h.items = append(h.items, heldRows{event, kind, table, bytes.Clone(data)})
}

// savepoint sets a mark; one of the same name goes.
func (h *hold) savepoint(name string) {
	h.release(name)
	h.marks = append(h.marks, mark{name, h.events})
}

func (h *hold) find(name string) int {
	for i, m := range h.marks {
		if strings.EqualFold(m.name, name) {
			return i
		}
	}
	return -1
}

func (h *hold) release(name string) {
	if i := h.find(name); i >= 0 {
		h.marks = append(h.marks[:i], h.marks[i+1:]...)
	}
}

// rollback takes back what came after a savepoint, which stays; ok is false
// if there is none of that name.
func (h *hold) rollback(name string) (ok bool) {
	i := h.find(name)
	if i < 0 {
		return false
	}
	h.marks = h.marks[:i+1]
	h.drop(h.marks[i].event)
	return true
}

// drop takes back the events from the given number on.
func (h *hold) drop(from int) {
	h.without = append(h.without, span{from, h.events})
	for n := len(h.items); n > 0 && h.items[n-1].event >= from; n = len(h.items) {
		h.size -= len(h.items[n-1].data)
		h.items = h.items[:n-1]
	}
}

// stays says whether anything is left that a second reading would give.
func (h *hold) stays() bool {
	for event := range h.events {
		if !leavesOut(h.without, event) {
			return true
		}
	}
	return false
}

// leavesOut says whether a second reading leaves an event out.
func leavesOut(without []span, event int) bool {
	for _, s := range without {
		if s.from <= event && event < s.to {
			return true
		}
	}
	return false
}

// giveHeld gives what is held: it stays.
func (t *tail) giveHeld(ctx context.Context) error {
	h := t.tx.hold
	t.tx.hold = hold{}
	if h.over && h.stays() {
		return t.readAgain(ctx, t.tx.place(), h.without)
	}
	for _, item := range h.items {
		if err := t.giveRows(ctx, item.kind, item.table, item.data); err != nil {
			return err
		}
	}
	return nil
}

// savepointName takes the name from the rest of a statement on a savepoint.
func savepointName(rest string) string {
	for {
		word, after := words(rest)
		switch word {
		case "TO", "SAVEPOINT":
			rest = after
			continue
		}
		name := strings.TrimRight(strings.TrimSpace(rest), "; \t\r\n")
		if unquoted, ok := strings.CutPrefix(name, "`"); ok {
			name = strings.ReplaceAll(strings.TrimSuffix(unquoted, "`"), "``", "`")
		}
		return name
	}
}
