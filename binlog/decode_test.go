package binlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// wideTable has a column of every kind, laid out as the log does it.
func wideTable() *Table {
	column := func(name string, w wireColumn) Column {
		return Column{
			Name: name, Kind: w.kind, fixed: w.fixed, prefix: w.prefix,
			precision: w.precision, scale: w.scale, fraction: w.fraction, Charset: "utf8mb4", Members: []string{"a", "b"},
		}
	}
	t := &Table{Name: TableName{"app", "wide"}}
	for _, d := range []struct {
		name string
		code byte
		meta uint16
	}{
		{"tiny", 1, 0},
		{"int24", 9, 0},
		{"long", 8, 0},
		{"float", 4, 4},
		{"double", 5, 8},
		{"year", 13, 0},
		{"date", 10, 0},
		{"decimal", 246, 30<<8 | 12},
		{"time", 19, 3},
		{"datetime", 18, 6},
		{"timestamp", 17, 5},
		{"bit", 16, 1<<8 | 3},
		{"varchar", 15, 300},
		{"blob", 252, 4},
		{"json", 245, 4},
		{"enum", 254, 247<<8 | 1},
		{"set", 254, 248<<8 | 1},
		{"char", 254, 254<<8 | 40},
		{"geometry", 255, 4},
		{"vector", 242, 4},
		{"uuid", 254, 254<<8 | 16},
		{"inet6", 254, 254<<8 | 16},
		{"sjis", 15, 300},
		{"compressed", 252, 4},
	} {
		w := describe(d.code, d.meta)
		if !w.known() {
			panic(d.name)
		}
		c := column(d.name, w)
		switch d.name {
		case "uuid":
			c.Kind = UUID
		case "inet6":
			c.Kind = Inet6
		case "sjis":
			c.Charset = "sjis"
		case "compressed":
			c.compressed = true
		}
		t.Columns = append(t.Columns, c)
	}
	return t
}

// encodeAll is a handler that writes every column of every row, as a mapping would.
type encodeAll struct {
	t    testing.TB
	rows int
}

func (h *encodeAll) Change(_ context.Context, c *Change) error {
	for _, row := range []*Row{c.Before, c.After} {
		if row == nil {
			continue
		}
		h.rows++
		for i := range row.Table.Columns {
			for _, cast := range casts[row.Table.Columns[i].Kind] {
				e, err := row.Table.Encoder(i, cast, time.UTC)
				if err != nil {
					h.t.Fatal(err)
				}
				text, err := e.Append(nil, row)
				if err != nil {
					continue // malformed, and said so
				}
				if !json.Valid(text) {
					h.t.Errorf("column %s as %s became %q, which is no JSON", row.Table.Columns[i].Name, cast, text)
				}
			}
		}
	}
	return nil
}

func (h *encodeAll) Commit(context.Context, Point) error           { return nil }
func (h *encodeAll) Idle(Point)                                    {}
func (h *encodeAll) Definition(context.Context, *Definition) error { return nil }

// tailOf is a tail in the middle of a transaction, which has seen a table's map.
func tailOf(table *Table, h Handler) *tail {
	t := newTail(&Source{server: Server{Flavor: MariaDB}}, Position{Flavor: MariaDB}, h)
	t.tx.open = true
	t.tables[7] = &mapped{table: table}
	return t
}

// rowsHeader is a rows event up to its images.
func rowsHeader(table *Table, images int) []byte {
	out := []byte{7, 0, 0, 0, 0, 0, 1, 0, byte(len(table.Columns))}
	for range images {
		out = append(out, bytes.Repeat([]byte{0xff}, (len(table.Columns)+7)/8)...)
	}
	return out
}

// FuzzRows: whatever a row image holds, rows or an error come of it.
func FuzzRows(f *testing.F) {
	table := wideTable()
	f.Add([]byte{}, uint8(0))
	f.Add(bytes.Repeat([]byte{0}, 200), uint8(0))
	f.Add(bytes.Repeat([]byte{0xff}, 200), uint8(1))
	f.Add(append([]byte{0xff, 0xff, 0xff}, bytes.Repeat([]byte{1}, 100)...), uint8(2))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint8(1))
	f.Add([]byte("1\xff\xff0000000000000\xff\xff00000000000000000000000000"), uint8(0)) // NaN
	f.Fuzz(func(t *testing.T, images []byte, kind uint8) {
		tail := tailOf(table, &encodeAll{t: t})
		k := ChangeKind(kind % 3)
		n := 1
		if k == Update {
			n = 2
		}
		_ = tail.rows(t.Context(), k, append(rowsHeader(table, n), images...), false)
	})
}

// FuzzEvents: whatever the body of an event holds, it ends in an error at most.
func FuzzEvents(f *testing.F) {
	table := wideTable()
	head := rowsHeader(table, 1)
	for cut := range len(head) + 2 {
		f.Add(slices.Concat(head, []byte{0, 0})[:cut], uint8(0))
	}
	f.Add([]byte{7, 0, 0, 0, 0, 0, 1, 0, 0xfc}, uint8(0))
	f.Add([]byte{7, 0, 0, 0, 0, 0, 1, 0, 0xff, 0xff}, uint8(1))
	f.Add([]byte{7, 0, 0, 0, 0, 0, 1, 0, 3, 'a', 'b', 'c', 0, 1, 'x', 0}, uint8(3))
	f.Add([]byte{2, 0xfc}, uint8(4))
	f.Add([]byte{2, 1, 0, 0, 1, 2, 3}, uint8(4))
	f.Add(append(slices.Clone(head), 4, 0xff, 0xff, 0xff, 0xff), uint8(2))
	f.Fuzz(func(t *testing.T, body []byte, which uint8) {
		tail := tailOf(table, &encodeAll{t: t})
		defer tail.close()
		switch which % 5 {
		case 0:
			_ = tail.rows(t.Context(), Insert, body, false)
		case 1:
			_ = tail.rows(t.Context(), Update, body, true)
		case 2:
			// A size of many bytes would only have the memory allocated.
			if at := len(head); len(body) > at && body[at]&7 > 2 {
				return
			}
			_ = tail.compressedRows(t.Context(), Insert, body)
		case 3:
			_, _ = mappedName(body)
		case 4:
			_ = tail.payload(t.Context(), event{body: body})
		}
	})
}

func TestRowsEventThatIsCutShort(t *testing.T) {
	table := &Table{Name: TableName{"app", "t"}, Columns: []Column{
		{Name: "id", Kind: Integer, fixed: 4}, {Name: "v", Kind: Text, prefix: 1, Charset: "utf8mb4"},
	}}
	whole := append(rowsHeader(table, 1), 0, 1, 0, 0, 0, 2, 'a', 'b', 0, 2, 0, 0, 0, 0)
	for cut := range whole {
		h := &encodeAll{t: t}
		err := tailOf(table, h).rows(t.Context(), Insert, whole[:cut], false)
		atRow := cut == 10 || cut == 18 // before the images, and between them
		if (err == nil) != atRow {
			t.Errorf("cut to %d bytes it gave %d rows and %v", cut, h.rows, err)
		}
		if err != nil && Passing(err) {
			t.Errorf("cut to %d bytes: %v counts as passing", cut, err)
		}
	}
	h := &encodeAll{t: t}
	if err := tailOf(table, h).rows(t.Context(), Insert, whole, false); err != nil || h.rows != 2 {
		t.Errorf("%d rows, %v", h.rows, err)
	}
}

// FuzzJSONB: whatever a binary JSON document holds, JSON or an error comes of
// it, and not more of it than the document could hold.
func FuzzJSONB(f *testing.F) {
	f.Add([]byte{jsonbLiteral, 1})
	f.Add([]byte{jsonbSmallArray, 1, 0, 7, 0, jsonbInt16, 5, 0})
	f.Add([]byte{jsonbSmallObject, 1, 0, 12, 0, 11, 0, 1, 0, jsonbLiteral, 0, 0, 'k'})
	f.Add([]byte{jsonbOpaque, opaqueNewDecimal, 4, 65, 30, 0x80, 0})
	f.Add([]byte{jsonbOpaque, opaqueDateTime, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{jsonbSmallArray, 2, 0, 10, 0, jsonbSmallArray, 0, 0, jsonbSmallArray, 0, 0}) // itself, twice
	f.Add(binary.LittleEndian.AppendUint64([]byte{jsonbDouble}, math.Float64bits(math.NaN())))
	c := Column{Kind: JSON}
	f.Fuzz(func(t *testing.T, document []byte) {
		for _, cast := range casts[JSON] {
			raw, _ := c.jsonAppenders(cast)
			text, err := raw(nil, document)
			if err == nil && !json.Valid(text) {
				t.Errorf("%x became %q, which is no JSON", document, text)
			}
			if most := 1000 + 200*len(document); len(text) > most {
				t.Errorf("%d bytes became %d", len(document), len(text))
			}
		}
	})
}

// FuzzGeometry: whatever a geometry holds, JSON or an error comes of it.
func FuzzGeometry(f *testing.F) {
	point := append([]byte{0, 0, 0, 0, 1, wkbPoint, 0, 0, 0}, make([]byte, 16)...)
	f.Add(point)
	f.Add(append([]byte{0, 0, 0, 0, 0, 0, 0, 0, wkbPoint}, make([]byte, 16)...))
	f.Add(append([]byte{0, 0, 0, 0, 1, wkbMultiPoint, 0, 0, 0, 1, 0, 0, 0}, point[4:]...))
	f.Add([]byte{0, 0, 0, 0, 1, wkbPolygon, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{1, wkbCollection, 0, 0, 0, 1, 0, 0, 0}, geometryMaxDepth+2))
	f.Fuzz(func(t *testing.T, v []byte) {
		for _, cast := range casts[Geometry] {
			text, err := geometryAppender(cast)(nil, v)
			if err == nil && !json.Valid(text) {
				t.Errorf("%x became %q, which is no JSON", v, text)
			}
			if most := 1000 + 200*len(v); len(text) > most {
				t.Errorf("%d bytes became %d", len(v), len(text))
			}
		}
	})
}

// FuzzUncompress: whatever a COMPRESSED value holds, it is of its length or an error.
func FuzzUncompress(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 'a'})
	f.Add([]byte{0x89, 3, 0x4b, 0x4c, 0x4a, 0x06, 0})
	f.Add([]byte{0x8f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x03, 0})
	f.Add([]byte{0x81, 1, 0x78, 0x9c})
	f.Fuzz(func(t *testing.T, v []byte) {
		plain, err := uncompress(v)
		if err == nil && len(v) > 0 && v[0]>>4 == 8 {
			size := int(v[0] & 7)
			if uint64(len(plain)) != unsignedBE(v[1:1+size]) {
				t.Errorf("%x became %d bytes", v, len(plain))
			}
		}
	})
}

// TestTypesThatLookAlike: MariaDB's log has UUID and INET6 as BINARY(16), so
// what it is without the dictionary is not guessed.
func TestTypesThatLookAlike(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   byte
		meta   uint16
		flavor Flavor
		dict   *Column
		want   Kind
	}{
		{"MySQL has no other", mysql.MYSQL_TYPE_STRING, 254<<8 | 16, MySQL, nil, Binary},
		{"of 16", mysql.MYSQL_TYPE_STRING, 254<<8 | 16, MariaDB, nil, Unsupported},
		{"of 4", mysql.MYSQL_TYPE_STRING, 254<<8 | 4, MariaDB, nil, Unsupported},
		{"of 5", mysql.MYSQL_TYPE_STRING, 254<<8 | 5, MariaDB, nil, Binary},
		{"variable", mysql.MYSQL_TYPE_VARCHAR, 16, MariaDB, nil, Unsupported},
		{"BLOB", mysql.MYSQL_TYPE_BLOB, 2, MariaDB, nil, Binary},
		{"BINARY(16)", mysql.MYSQL_TYPE_STRING, 254<<8 | 16, MariaDB, &Column{Kind: Binary}, Binary},
		{"UUID", mysql.MYSQL_TYPE_STRING, 254<<8 | 16, MariaDB, &Column{Kind: UUID}, UUID},
		{"INET6", mysql.MYSQL_TYPE_STRING, 254<<8 | 16, MariaDB, &Column{Kind: Inet6}, Inet6},
		{"INET4", mysql.MYSQL_TYPE_STRING, 254<<8 | 4, MariaDB, &Column{Kind: Inet4}, Inet4},
		{"INET4 of 16", mysql.MYSQL_TYPE_STRING, 254<<8 | 16, MariaDB, &Column{Kind: Inet4}, Unsupported},
		{"VECTOR", mysql.MYSQL_TYPE_VARCHAR, 16, MariaDB, &Column{Kind: Vector}, Vector},
	} {
		w := describe(c.code, c.meta)
		var column Column
		err := column.take(&w, 0, &details{collations: map[int]uint64{0: 63}}, c.dict, charsets{63: "binary"}, c.flavor)
		if err != nil || w.kind != c.want {
			t.Errorf("%s is taken for %s, %v; want %s", c.name, w.kind, err, c.want)
		}
	}
}

func TestJSONBThatRefersToItself(t *testing.T) {
	// An array of many elements, each of which is the array.
	const n = 1000
	document := []byte{jsonbSmallArray}
	document = binary.LittleEndian.AppendUint16(document, n)
	document = binary.LittleEndian.AppendUint16(document, 4+3*n)
	for range n {
		document = append(document, jsonbSmallArray, 0, 0)
	}
	c := Column{Kind: JSON}
	raw, _ := c.jsonAppenders(CastDefault)
	if _, err := raw(nil, document); !errors.Is(err, errJSON) {
		t.Errorf("it gave %v", err)
	}
}

func TestLengthEncoded(t *testing.T) {
	for _, c := range []struct {
		bytes []byte
		n     uint64
		size  int
	}{
		{nil, 0, 0},
		{[]byte{0}, 0, 1},
		{[]byte{250, 9}, 250, 1},
		{[]byte{251}, 0, 0},
		{[]byte{252, 1}, 0, 0},
		{[]byte{252, 1, 2}, 0x201, 3},
		{[]byte{253, 1, 2, 3}, 0x30201, 4},
		{[]byte{253, 1, 2}, 0, 0},
		{[]byte{254, 1, 2, 3, 4, 5, 6, 7, 8}, 0x807060504030201, 9},
		{[]byte{254, 1, 2, 3, 4, 5, 6, 7}, 0, 0},
	} {
		if n, size := lengthEncoded(c.bytes); n != c.n || size != c.size {
			t.Errorf("%v: %d in %d bytes, want %d in %d", c.bytes, n, size, c.n, c.size)
		}
	}
}

// TestUnknownTypesAreRefused rather than taken to have no bytes, which would
// have every column after them read wrongly.
func TestUnknownTypesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		code byte
		meta uint16
	}{
		{"old DECIMAL", 0, 0},
		{"old TIMESTAMP", 7, 0},
		{"old TIME", 11, 0},
		{"old DATETIME", 12, 0},
		{"typed array", 20, 0},
		{"from the future", 200, 0},
		{"DECIMAL of more fraction than digits", 246, 3<<8 | 5},
		{"TIME of 7 digits", 19, 7},
		{"BLOB of 5 bytes of length", 252, 5},
		{"ENUM of no size", 254, 247 << 8},
	} {
		if w := describe(c.code, c.meta); w.known() {
			t.Errorf("%s is taken for %+v", c.name, w)
		}
	}
}

// TestLocalTimesAroundClockChanges: the offset before the change decides, as
// it does in PHP, for times that are skipped and for those that come twice.
func TestLocalTimesAroundClockChanges(t *testing.T) {
	for _, c := range []struct{ zone, local, want string }{
		{"UTC", "2026-03-29 02:30:00", "2026-03-29T02:30:00.000000Z"},
		{"Europe/Berlin", "2026-01-01 00:30:00", "2025-12-31T23:30:00.000000Z"},
		{"Europe/Berlin", "2026-07-01 00:30:00.5", "2026-06-30T22:30:00.500000Z"},
		{"Europe/Berlin", "2026-03-29 01:59:59", "2026-03-29T00:59:59.000000Z"},
		{"Europe/Berlin", "2026-03-29 02:30:00", "2026-03-29T01:30:00.000000Z"}, // skipped
		{"Europe/Berlin", "2026-03-29 03:00:00", "2026-03-29T01:00:00.000000Z"},
		{"Europe/Berlin", "2026-10-25 01:59:59", "2026-10-24T23:59:59.000000Z"},
		{"Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00.000000Z"}, // twice
		{"Europe/Berlin", "2026-10-25 03:00:00", "2026-10-25T02:00:00.000000Z"},
		{"America/New_York", "2026-03-08 01:59:59", "2026-03-08T06:59:59.000000Z"},
		{"America/New_York", "2026-03-08 02:30:00", "2026-03-08T07:30:00.000000Z"}, // skipped
		{"America/New_York", "2026-03-08 03:00:00", "2026-03-08T07:00:00.000000Z"},
		{"America/New_York", "2026-11-01 01:30:00", "2026-11-01T05:30:00.000000Z"}, // twice
		{"America/New_York", "2026-11-01 02:00:00", "2026-11-01T07:00:00.000000Z"},
		{"Australia/Lord_Howe", "2026-04-05 01:45:00", "2026-04-04T14:45:00.000000Z"}, // twice, half an hour
		{"Asia/Kolkata", "2026-06-01 00:00:00", "2026-05-31T18:30:00.000000Z"},
		{"Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30T22:00:00.000000Z"}, // a day that was left out
	} {
		loc, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		k, err := parseClock([]byte(c.local))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Trim(string(appendISO(nil, k, loc)), `"`); got != c.want {
			t.Errorf("%s in %s is %s, want %s", c.local, c.zone, got, c.want)
		}
	}
}

func TestNamesInStatements(t *testing.T) {
	for _, c := range []struct {
		statement string
		want      bool
	}{
		{"insert into todos values (1)", true},
		{"insert into `todos` values (1)", true},
		{"update app.todos set x = 1", true},
		{"todos", true},
		{"insert into todos_log values (1)", false},
		{"insert into mytodos values (1)", false},
		{"insert into mytodos select * from todos", true},
		{"insert into todos2 values (1)", false},
		{"insert into todosé values (1)", false},
		{"", false},
	} {
		if got := names(c.statement, "Todos"); got != c.want {
			t.Errorf("%q names the table: %v", c.statement, got)
		}
	}
}

func TestPositions(t *testing.T) {
	const uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	parse := func(s string) Position {
		t.Helper()
		p, err := ParsePosition(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	early, late := parse(`{"flavor":"mysql","gtids":"`+uuid+`:1-5","file":"binlog.000002","offset":100}`), parse(`{"flavor":"mysql","gtids":"`+uuid+`:1-7","file":"binlog.000001","offset":100}`)
	none := parse(`{"flavor":"mysql","gtids":""}`)
	bytes, more := parse(`{"flavor":"mysql","file":"binlog.999999","offset":500}`), parse(`{"flavor":"mysql","file":"binlog.1000000","offset":4}`)
	maria, ahead := parse(`{"flavor":"mariadb","gtids":"0-1-5,1-1-3","file":"m.000001","offset":9}`), parse(`{"flavor":"mariadb","gtids":"0-1-6,1-1-3","file":"m.000001","offset":19}`)
	for _, p := range []Position{early, late, none, bytes, more, maria, ahead} {
		if again := parse(p.String()); again.String() != p.String() || again.HasGTIDs() != p.HasGTIDs() {
			t.Errorf("%s came back as %s", p, again)
		}
		if !p.Covers(p.Clone()) {
			t.Errorf("%s does not cover itself", p)
		}
	}
	for _, c := range []struct {
		a, b Position
		want bool
	}{
		{late, early, true},
		{early, late, false},
		{early, none, true},
		{none, early, false},
		{more, bytes, true},
		{bytes, more, false},
		{ahead, maria, true},
		{maria, ahead, false},
		{maria, Position{File: "m.000001", Offset: 9}, true},
		{maria, Position{File: "m.000001", Offset: 10}, false},
	} {
		if got := c.a.Covers(c.b); got != c.want {
			t.Errorf("%s covers %s: %v", c.a, c.b, got)
		}
	}
	for _, bad := range []string{``, `{}`, `null`, `[]`, `{"flavor":"oracle"}`, `{"flavor":"mysql","gtids":"x"}`, `{"flavor":"mariadb","gtids":"1"}`, `{"flavor":"mysql","offset":-1}`} {
		if p, err := ParsePosition(bad); err == nil {
			t.Errorf("%s was read as %s", bad, p)
		}
	}
}

func TestAdvance(t *testing.T) {
	p, err := ParsePosition(`{"flavor":"mysql","gtids":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5","file":"b.1","offset":4}`)
	if err != nil {
		t.Fatal(err)
	}
	copied := p.Clone()
	id := transactionID{number: 6}
	copy(id.source[:], []byte{0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62})
	for _, pt := range []Point{{File: "b.1", Offset: 90, id: id}, {File: "b.2", Offset: 4}} {
		if err := p.Advance(pt); err != nil {
			t.Fatal(err)
		}
	}
	if want := `{"flavor":"mysql","gtids":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-6","file":"b.2","offset":4}`; p.String() != want {
		t.Errorf("it is at %s, want %s", p, want)
	}
	if copied.Covers(p) {
		t.Error("its copy has moved, too")
	}
	m, err := ParsePosition(`{"flavor":"mariadb","gtids":"0-1-5"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []transactionID{{server: 1, number: 6}, {server: 2, number: 7}, {domain: 3, server: 1, number: 1}} {
		if err := m.Advance(Point{File: "m.1", Offset: 9, id: id}); err != nil {
			t.Fatal(err)
		}
	}
	want, err := ParsePosition(`{"flavor":"mariadb","gtids":"0-2-7,3-1-1"}`)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Covers(want) || !want.gtids.Contain(m.gtids) {
		t.Errorf("it is at %s, want %s", m, want)
	}
}
