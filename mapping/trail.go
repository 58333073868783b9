package mapping

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/chorusd/chorusd/binlog"
)

// trail is a path, fitted to one version of the table that it starts at.
type trail struct {
	columns    []int
	values     []binlog.Encoder
	typed      bool // polymorphic: typeColumn has to hold typeText
	typeColumn int
	typeValue  binlog.Encoder
	typeText   []byte // as JSON
	hops       []step
}

// step is one hop to a parent.
type step struct {
	table     binlog.TableName
	unique    string
	taken     []int  // of Parent.Values
	typeTaken int    // -1: not polymorphic
	typeText  string // as JSON
}

// starts says whether the row's own columns lead anywhere.
func (t *trail) starts(m *Mapper, row *binlog.Row) (bool, error) {
	if row.Null(t.columns[0]) || len(t.columns) > 1 && slices.ContainsFunc(t.columns[1:], row.Null) {
		return false, nil
	}
	if !t.typed {
		return true, nil
	}
	var err error
	m.id, err = t.typeValue.Append(m.id[:0], row)
	return bytes.Equal(m.id, t.typeText), err
}

// end is where a trail ended.
type end uint8

const (
	nowhere end = iota // a column is NULL, or there is no such parent
	found
	unknown // a parent that was not read, Mapper.missing
)

// follow appends the key that a trail leads to, which starts.
func (t *trail) follow(m *Mapper, dst []byte, row *binlog.Row, view View) ([]byte, end, error) {
	var err error
	if len(t.hops) == 0 {
		dst, err = t.values[0].Append(dst, row)
		return dst, found, err
	}
	if m.id, err = appendKey(m.id[:0], t.values, row); err != nil {
		return dst, nowhere, err
	}
	for i := range t.hops {
		h := &t.hops[i]
		ref := ParentRef{Table: h.table, Unique: h.unique, Key: m.intern(m.id)}
		parent, known := view.Parent(ref)
		switch {
		case !known:
			m.missing = ref
			return dst, unknown, nil
		case !parent.Exists || h.typeTaken >= 0 && parent.Values[h.typeTaken] != h.typeText:
			return dst, nowhere, nil
		}
		m.id = append(m.id[:0], '[')
		for j, at := range h.taken {
			if parent.Values[at] == "" {
				return dst, nowhere, nil
			}
			if j > 0 {
				m.id = append(m.id, ',')
			}
			m.id = append(m.id, parent.Values[at]...)
		}
		if i == len(t.hops)-1 {
			return append(dst, m.id[1:]...), found, nil
		}
		m.id = append(m.id, ']')
	}
	return dst, nowhere, nil
}

// unknownParent says that a row cannot be judged.
func (m *Mapper) unknownParent() error {
	return fmt.Errorf("the parent %s %s is not known yet", m.missing.Table, m.missing.Key)
}
