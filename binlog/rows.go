package binlog

import (
	"bytes"
	"context"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// tableID reads the six bytes that start TABLE_MAP and row events.
func tableID(body []byte) uint64 {
	if len(body) < 6 {
		return 0
	}
	return unsignedLE(body[:6])
}

// tablesKept bounds the TABLE_MAP events that are remembered from one
// transaction to the next.
const tablesKept = 4096

// tableMap takes the event that names the table of the rows after it. The
// same bytes mean the same table version, so most of them are only compared.
func (t *tail) tableMap(ctx context.Context, e event) error {
	id := tableID(e.body)
	if m := t.tables[id]; m != nil && bytes.Equal(m.body, e.body) {
		return nil
	}
	name, err := mappedName(e.body)
	if err != nil {
		return err
	}
	m := &mapped{body: bytes.Clone(e.body)}
	if t.source.wanted.has(name) {
		if m.table, err = t.tableVersion(ctx, name, e); err != nil {
			return err
		}
	}
	t.tables[id] = m
	return nil
}

func (t *tail) tableVersion(ctx context.Context, name TableName, e event) (*Table, error) {
	parsed, err := t.parseTableMap(e)
	if err != nil {
		return nil, err
	}
	first := t.first()
	dict, err := first.dictionaryFor(ctx, name, parsed)
	if err != nil {
		return nil, err
	}
	table, err := newTable(name, parsed, dict, first.sets)
	if err != nil {
		return nil, &fatalError{err}
	}
	return table, nil
}

// dictionaryFor is the dictionary's shape of the table that an event announces.
// Where the log tells enough, it is nil.
func (t *tail) dictionaryFor(ctx context.Context, name TableName, e *tableMap) (*Table, error) {
	full := len(e.ColumnName) > 0
	if full && t.source.server.Flavor == MySQL && len(e.PrimaryKey) > 0 && !bytes.Contains(e.ColumnType, []byte{mysql.MYSQL_TYPE_DOUBLE}) {
		return nil, nil
	}
	s, err := t.certain(ctx, name)
	if err != nil {
		return nil, err
	}
	switch {
	case s != nil:
		return s.table, nil
	case full && len(e.PrimaryKey) > 0:
		return nil, nil
	}
	return nil, fatal("table %s was changed after these rows were logged, and before chorusd could ask what it looked like; the log does not say: %s, so that it cannot happen again, and then start over (run --start-over)",
		name, t.source.server.setting("binlog_row_metadata", "FULL"))
}

// compressedRows takes an event that MariaDB wrote with log_bin_compress: all
// after the column bitmaps is compressed.
func (t *tail) compressedRows(ctx context.Context, kind ChangeKind, body []byte) error {
	m := t.tables[tableID(body)]
	if m == nil {
		return fatal("rows of a table that was not announced")
	}
	if m.table == nil {
		return nil
	}
	at := rowsHead + lengthEncodedSize(len(m.table.Columns))
	bitmaps := (len(m.table.Columns) + 7) / 8
	if kind == Update {
		bitmaps *= 2
	}
	if len(body) < at+bitmaps {
		return fatal("malformed rows event")
	}
	packed := body[at+bitmaps:]
	if len(packed) == 0 || len(packed) < 1+int(packed[0]&7) { // a byte that says how many say the size
		return fatal("malformed rows event")
	}
	data, err := mysql.DecompressMariadbData(packed)
	if err != nil {
		return fatal("decompress rows: %w", err)
	}
	return t.rows(ctx, kind, append(bytes.Clone(body[:at+bitmaps]), data...), false)
}

// rowsHead is the table id and flags of a rows event.
const rowsHead = 8

func lengthEncodedSize(n int) int {
	if n < 251 {
		return 1
	}
	return 3
}

// lengthEncoded reads MySQL's length-encoded integer; size is 0 if there is none.
func lengthEncoded(v []byte) (n uint64, size int) {
	if len(v) == 0 {
		return 0, 0
	}
	switch v[0] {
	case 0xfb: // NULL
		return 0, 0
	case 0xfc:
		size = 3
	case 0xfd:
		size = 4
	case 0xfe:
		size = 9
	default:
		return uint64(v[0]), 1
	}
	if len(v) < size {
		return 0, 0
	}
	return unsignedLE(v[1:size]), size
}

// rows takes a rows event (Rows_event in libs/mysql/binlog/event/rows_event.h
// of MySQL's source): version 2 has extra data before the column count, and
// updates have two bitmaps and two images of each row.
func (t *tail) rows(ctx context.Context, kind ChangeKind, body []byte, version2 bool) error {
	m := t.tables[tableID(body)]
	if m == nil {
		return fatal("rows of a table that was not announced")
	}
	if m.table == nil {
		return nil
	}
	if !t.tx.open {
		return fatal("rows outside of a transaction")
	}
	at := rowsHead
	if version2 {
		if len(body) < at+2 {
			return fatal("malformed rows event")
		}
		at += int(unsignedLE(body[at : at+2]))
	}
	if len(body) <= at {
		return fatal("malformed rows event")
	}
	count, size := lengthEncoded(body[at:])
	columns := m.table.Columns
	if count != uint64(len(columns)) {
		return fatal("a rows event of %s has %d columns, its table map %d", m.table.Name, count, len(columns))
	}
	at += size
	bitmap := (len(columns) + 7) / 8
	images := 1
	if kind == Update {
		images = 2
	}
	if len(body) < at+images*bitmap {
		return fatal("malformed rows event")
	}
	for range images {
		if !full(body[at:at+bitmap], len(columns)) {
			return fatal("a row of %s was logged without all of its columns: its session overrode binlog_row_image, which must be FULL: let no session set another, and %s",
				m.table.Name, t.source.server.setting("binlog_row_image", "FULL"))
		}
		at += bitmap
	}
	event, hold := t.tx.hold.events, &t.tx.hold
	hold.events++
	switch {
	case t.second != nil && leavesOut(t.second.without, event):
		return nil
	case hold.on:
		hold.add(event, kind, m.table, body[at:])
		return nil
	}
	return t.giveRows(ctx, kind, m.table, body[at:])
}

// giveRows takes the rows of an event apart.
func (t *tail) giveRows(ctx context.Context, kind ChangeKind, table *Table, data []byte) error {
	for len(data) > 0 {
		var err error
		if data, err = t.row(ctx, kind, table, data); err != nil {
			return err
		}
	}
	return nil
}

// full says whether the first n bits are set.
func full(bitmap []byte, n int) bool {
	for i, b := range bitmap {
		want := byte(0xff)
		if left := n - 8*i; left < 8 {
			want = 1<<left - 1
		}
		if b&want != want {
			return false
		}
	}
	return true
}

// row takes the images of one row and gives it to the handler.
func (t *tail) row(ctx context.Context, kind ChangeKind, table *Table, data []byte) ([]byte, error) {
	c := &t.change
	*c = Change{Kind: kind, Time: t.tx.time}
	var err error
	if kind != Insert {
		if data, err = t.before.scan(table, data); err != nil {
			return nil, err
		}
		c.Before = &t.before
	}
	if kind != Delete {
		if data, err = t.after.scan(table, data); err != nil {
			return nil, err
		}
		c.After = &t.after
	}
	return data, t.give(ctx, c)
}

// give gives a change, unless that was done before the connection broke.
func (t *tail) give(ctx context.Context, c *Change) error {
	t.tx.given++
	if t.tx.given <= t.tx.skip {
		return nil
	}
	if err := t.h.Change(ctx, c); err != nil {
		return &fatalError{err}
	}
	return nil
}

// scan finds the columns of a full row image: a bitmap of NULLs, then the
// values one after the other. It returns what comes after.
func (r *Row) scan(table *Table, data []byte) ([]byte, error) {
	columns := table.Columns
	r.reset(table)
	bitmap := (len(columns) + 7) / 8
	if len(data) < bitmap {
		return nil, fatal("row of %s is cut short", table.Name)
	}
	image := data
	nulls, data := data[:bitmap], data[bitmap:]
	for i := range columns {
		if nulls[i>>3]>>(i&7)&1 == 1 {
			continue
		}
		c := &columns[i]
		size := c.fixed
		if c.prefix > 0 {
			if len(data) < c.prefix {
				return nil, fatal("row of %s is cut short at column %s", table.Name, c.Name)
			}
			size = int(unsignedLE(data[:c.prefix]))
			data = data[c.prefix:]
		}
		if len(data) < size {
			return nil, fatal("row of %s is cut short at column %s", table.Name, c.Name)
		}
		r.values[i] = data[:size:size]
		data = data[size:]
	}
	r.image = image[:len(image)-len(data)]
	return data, nil
}
