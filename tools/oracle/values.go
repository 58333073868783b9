package oracle

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// titles are texts to try encodings with.
var titles = []string{"plain", "it's", `back\slash`, `"quoted"`, "café ☕", "<b>&", "line\nbreak", "", "a", "u@example.com"}

// changes are assignments of new values to one to three columns, each after a
// comma. It may be none.
func (w *writer) changes(t *Table) string {
	set, done := "", map[*Column]bool{}
	for range 1 + w.rand.IntN(3) {
		if len(t.Links) > 0 && w.chance(0.25) {
			l := pick(w.rand, t.Links)
			if !done[l.From[0]] {
				for _, v := range w.parent(l) {
					set += ", " + v.column.Name + " = " + v.value.SQL()
				}
			}
			done[l.From[0]] = true
			continue
		}
		if c := w.column(t); !done[c] {
			set += ", " + c.Name + " = " + w.value(c).SQL()
			done[c] = true
		}
	}
	return set
}

// column picks one that may be changed by itself.
func (w *writer) column(t *Table) *Column {
	for {
		if c := pick(w.rand, t.Columns); !t.linked(c) {
			return c
		}
	}
}

// value is a random one for a column.
func (w *writer) value(c *Column) Value {
	switch {
	case c.Null && w.chance(0.3):
		return Value{}
	case c.Domain != nil:
		return pick(w.rand, c.Domain)
	case c.Kind == Bool:
		return Value{Bool, fmt.Sprint(w.rand.IntN(2)), true}
	case c.Soon && w.chance(0.5):
		return timeValue(time.Now().Add(time.Duration(w.rand.IntN(6000)-1500) * time.Millisecond))
	case c.Kind == Time:
		return Value{Time, fmt.Sprintf("20%02d-01-02 03:04:05.%06d", 20+50*w.rand.IntN(2), w.rand.IntN(1000000)), true}
	case c.Kind == Text:
		return text(pick(w.rand, titles))
	default:
		return number(w.rand.IntN(100))
	}
}

// assigned is a value for a column.
type assigned struct {
	column *Column
	value  Value
}

// parent is a random one for a link: a row, one that is not there, or none.
func (w *writer) parent(l *Link) []assigned {
	target := pick(w.rand, l.Targets)
	values := make([]Value, len(target.To))
	var r *row
	if w.chance(0.85) {
		r = target.Table.rows.pick(w.rand, func(*row) bool { return true })
	}
	switch {
	case r != nil:
		for i, c := range target.To {
			values[i] = r.value(target.Table, c)
		}
	case target.To[0] != target.Table.Unique && w.chance(0.7):
		copy(values, pick(w.rand, target.Table.pool))
	}
	list := make([]assigned, 0, len(values)+1)
	for i, v := range values {
		list = append(list, assigned{l.From[i], v})
	}
	if l.Type != nil {
		list = append(list, assigned{l.Type, text(target.Type)})
	}
	return list
}

// insertKey inserts a row with a key and random values. Parents first: a row
// may be its own later only.
func (w *writer) insertKey(ctx context.Context, tx *transaction, t *Table, key Key) error {
	values := map[*Column]Value{}
	for _, c := range t.Columns {
		if !t.linked(c) || c.Fixed {
			values[c] = w.value(c)
		}
	}
	for _, l := range t.Links {
		for _, v := range w.parent(l) {
			values[v.column] = v.value
		}
	}
	one := &row{key: key}
	if t.Unique != nil {
		one.unique = Value{UUID, fmt.Sprintf("00000000-0000-4000-8000-%012d", w.rand.IntN(1e12)), true}
		values[t.Unique] = one.unique
	}
	for i, c := range t.Key {
		values[c] = key[i]
	}
	values[t.column(versionColumn)] = number(tx.number)
	literals := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		literals[i] = values[c].SQL()
	}
	tx.touch(t, one)
	tx.added(t, one)
	return tx.exec(ctx, "INSERT INTO %s (%s) VALUES (%s)", t.sql(), strings.Join(names(t.Columns), ", "), strings.Join(literals, ", "))
}

// where is the condition for the row with a key; prefix stands before columns.
func (t *Table) where(prefix string, key Key) string {
	parts := make([]string, len(key))
	for i, c := range t.Key {
		parts[i] = prefix + c.Name + " = " + key[i].SQL()
	}
	return strings.Join(parts, " AND ")
}
