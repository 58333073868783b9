package binlog

import (
	"encoding/binary"
	"fmt"
)

// A row as bytes starts with one of these.
const (
	logImage  = iota // what follows is the image as the log has it
	textImage        // each column's text as appendValue writes it
)

// AppendBytes writes the row as bytes, from which SetBytes makes the same row
// if it is told the table.
func (r *Row) AppendBytes(dst []byte) []byte {
	if !r.text {
		return append(append(dst, logImage), r.image...)
	}
	dst = append(dst, textImage)
	for _, v := range r.values {
		dst = appendValue(dst, v)
	}
	return dst
}

// AppendRaw writes the values of some columns so that two rows of a table give
// the same bytes only if they have the same values there. It compares rows
// from the log with each other, not with those from a SELECT.
func (r *Row) AppendRaw(dst []byte, columns []int) []byte {
	for _, column := range columns {
		dst = appendValue(dst, r.values[column])
	}
	return dst
}

// appendValue writes a value after its length plus one; 0 is NULL.
func appendValue(dst, v []byte) []byte {
	if v == nil {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(v))+1), v...)
}

// SetBytes makes r the row that AppendBytes wrote, of the same table version,
// and returns what comes after it. The row refers to data.
func (r *Row) SetBytes(table *Table, data []byte) (rest []byte, err error) {
	switch {
	case len(data) > 0 && data[0] == logImage:
		return r.scan(table, data[1:])
	case len(data) > 0 && data[0] == textImage:
		return r.scanText(table, data[1:])
	}
	return nil, fmt.Errorf("no row of %s", table.Name)
}

// scanText finds the columns of a row of texts.
func (r *Row) scanText(table *Table, data []byte) (rest []byte, err error) {
	r.reset(table)
	r.text = true
	for i := range r.values {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n)+1 {
			return nil, fmt.Errorf("row of %s is cut short at column %s", table.Name, table.Columns[i].Name)
		}
		data = data[n:]
		if size == 0 {
			continue
		}
		r.values[i], data = data[:size-1:size-1], data[size-1:]
	}
	return data, nil
}

// reset makes r a row of the table in which every column is NULL.
func (r *Row) reset(table *Table) {
	if cap(r.values) < len(table.Columns) {
		r.values = make([][]byte, len(table.Columns))
	}
	r.Table, r.values, r.text, r.image = table, r.values[:len(table.Columns)], false, nil
	clear(r.values)
}

// Clone copies the row, with what it refers to.
func (r *Row) Clone() *Row {
	if r == nil {
		return nil
	}
	c := new(Row)
	if _, err := c.SetBytes(r.Table, r.AppendBytes(nil)); err != nil {
		panic(err) // it was a row
	}
	return c
}

// Clone copies the change, with what it refers to.
func (c *Change) Clone() *Change {
	return &Change{Kind: c.Kind, Time: c.Time, Before: c.Before.Clone(), After: c.After.Clone()}
}
