package relay

import (
	"bytes"
	"slices"

	"github.com/chorusd/chorusd/binlog"
)

// history is what a transaction did to one record so far.
type history struct {
	table binlog.TableName
	set   int
	key   []byte
	first uint64 // the place of its first before image, or asNew
	last  place
	there bool // after that
	many  bool // changes
}

// seal says that everything was added, and works out the net effect, so that
// each need not. An error is one of the disk.
func (t *transaction) seal() error {
	if t.sealed {
		return nil
	}
	if err := t.changes.done(); err != nil {
		return err
	}
	t.index.done()
	if t.index.runs > 0 || len(t.index.list) > 1 {
		if err := t.merge(); err != nil {
			return err
		}
	}
	t.verdicts.done()
	t.sealed = true
	return t.index.reset()
}

// merge finds the records with several changes.
func (t *transaction) merge() error {
	if err := t.verdicts.reset(); err != nil { // of an attempt that failed
		return err
	}
	sorted, err := t.index.sorted()
	if err != nil {
		return err
	}
	around := spoolReader{spool: &t.changes, ahead: changesAround}
	var group []history // of the same hash: one record, as good as always
	last, more, err := sorted.next()
	for more && err == nil {
		var next pair
		if next, more, err = sorted.next(); err != nil {
			break
		}
		same := more && next.key == last.key
		if same || len(group) > 0 {
			group, err = t.follow(group, &around, last.value)
		}
		if !same && err == nil {
			err = t.decide(group)
			group = group[:0]
		}
		last = next
	}
	return err
}

// follow notes a change of one of the group's records, or of a new one.
func (t *transaction) follow(group []history, around *spoolReader, at place) ([]history, error) {
	e, _, err := t.read(around, int64(at>>1))
	if err != nil {
		return group, err
	}
	if err := e.images(&t.before, &t.after); err != nil {
		return group, err
	}
	was, is := e.kind != binlog.Insert, e.kind != binlog.Delete
	if e.moved {
		was, is = at&1 == 0, at&1 == 1
	}
	row := &t.after
	if was {
		row = &t.before
	}
	t.key = row.AppendRaw(t.key[:0], e.key)
	i := slices.IndexFunc(group, func(h history) bool {
		return h.set == e.set && h.table == e.table.Name && bytes.Equal(h.key, t.key)
	})
	if i < 0 {
		first := asNew
		if was {
			first = at
		}
		return append(group, history{table: e.table.Name, set: e.set, key: bytes.Clone(t.key), first: first, last: at, there: is}), nil
	}
	h := &group[i]
	err = t.verdicts.add(h.last, leaveOut)
	h.last, h.there, h.many = at, is, true
	return group, err
}

// decide says what becomes of the last change of each record of a group.
func (t *transaction) decide(group []history) error {
	for _, h := range group {
		if !h.many {
			continue
		}
		verdict := h.first
		if verdict == asNew && !h.there {
			verdict = leaveOut
		}
		if err := t.verdicts.add(h.last, verdict); err != nil {
			return err
		}
	}
	return nil
}
