package binlog

import (
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// TableName names a table of the server.
type TableName struct{ Schema, Table string }

func (n TableName) String() string { return n.Schema + "." + n.Table }

// quoted is the name as SQL.
func (n TableName) quoted() string { return quote(n.Schema) + "." + quote(n.Table) }

// quote makes an identifier safe to stand in a statement.
func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// Kind is what a column holds, as far as decoding cares.
type Kind uint8

// The kinds.
const (
	Unsupported Kind = iota
	Integer
	Decimal
	Float
	Double
	Bit
	Year
	Date
	Time
	DateTime
	Timestamp
	Text
	Binary
	Enum
	Set
	JSON
	UUID  // MariaDB's
	Inet4 // MariaDB's
	Inet6 // MariaDB's
	Geometry
	Vector
)

func (k Kind) String() string {
	return [...]string{
		"unsupported", "integer", "decimal", "float", "double", "bit", "year", "date",
		"time", "datetime", "timestamp", "text", "binary", "enum", "set", "json",
		"uuid", "inet4", "inet6", "geometry", "vector",
	}[k]
}

// Column is one column of one version of a table.
type Column struct {
	Name string
	Kind Kind
	// SQLType is the type as the server writes it, where it is known.
	SQLType  string
	Unsigned bool
	// Nullable is known from the server's dictionary only.
	Nullable bool
	// Charset of a Text, Enum or Set column: MySQL's name for it.
	Charset string
	// Members of an Enum or Set, in order, as UTF-8.
	Members []string
	// lossy says that the members have ? for what the dictionary cannot tell.
	lossy bool

	precision, scale int // Decimal
	decimals         int // digits after the point that the server's text of a DOUBLE(M,D) has; 0: all
	fraction         int // digits of a second, Time, DateTime, Timestamp
	length           int // bytes of a value that the log cuts trailing zeros from; 0: as is
	compressed       bool

	// The value's bytes in a row image: fixed many, or a length of so many
	// bytes before them.
	fixed  int
	prefix int
}

// Table is one version of a table's shape. Versions are never changed, so a
// pointer identifies one.
type Table struct {
	Name    TableName
	Columns []Column
	// Key holds the columns of the primary key, or else of the first unique
	// key without nullable columns; empty if there is none or if the log
	// does not say.
	Key []int
	// Unique holds every unique key without nullable columns, the primary
	// key first; nil if only the log was asked.
	Unique [][]int
}

// Index returns the column's place, or -1.
func (t *Table) Index(column string) int {
	for i := range t.Columns {
		if strings.EqualFold(t.Columns[i].Name, column) {
			return i
		}
	}
	return -1
}

// wireColumn is a column as every TABLE_MAP event describes it.
type wireColumn struct {
	kind             Kind
	code             byte // MYSQL_TYPE_*, ENUM and SET told from CHAR
	fixed, prefix    int
	precision, scale int
	fraction         int
	length           int
	compressed       bool
}

// digitBytes is how many bytes so many decimal digits take:
// https://dev.mysql.com/doc/refman/8.4/en/precision-math-decimal-characteristics.html
var digitBytes = [10]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}

// decimalSize is how many bytes a packed decimal takes; 0 if there is no such type.
func decimalSize(precision, scale int) int {
	whole := precision - scale
	if whole < 0 {
		return 0
	}
	return whole/9*4 + digitBytes[whole%9] + scale/9*4 + digitBytes[scale%9]
}

// describe works out how a column's bytes lie in a row image, from the type
// and metadata of the TABLE_MAP event. The layout is that of
// Field::pack in MySQL's sql/field.cc, as log_event_print_value
// in sql/log_event.cc reads it.
func describe(code byte, meta uint16) wireColumn {
	c := wireColumn{code: code}
	fixed := func(kind Kind, n int) { c.kind, c.fixed = kind, n }
	switch code {
	case mysql.MYSQL_TYPE_TINY:
		fixed(Integer, 1)
	case mysql.MYSQL_TYPE_SHORT:
		fixed(Integer, 2)
	case mysql.MYSQL_TYPE_INT24:
		fixed(Integer, 3)
	case mysql.MYSQL_TYPE_LONG:
		fixed(Integer, 4)
	case mysql.MYSQL_TYPE_LONGLONG:
		fixed(Integer, 8)
	case mysql.MYSQL_TYPE_FLOAT:
		fixed(Float, 4)
	case mysql.MYSQL_TYPE_DOUBLE:
		fixed(Double, 8)
	case mysql.MYSQL_TYPE_YEAR:
		fixed(Year, 1)
	case mysql.MYSQL_TYPE_DATE:
		fixed(Date, 3)
	case mysql.MYSQL_TYPE_NEWDECIMAL:
		c.precision, c.scale = int(meta>>8), int(meta&0xff)
		fixed(Decimal, decimalSize(c.precision, c.scale))
	case mysql.MYSQL_TYPE_TIME2:
		c.fraction = int(meta)
		fixed(Time, 3+(c.fraction+1)/2)
	case mysql.MYSQL_TYPE_DATETIME2:
		c.fraction = int(meta)
		fixed(DateTime, 5+(c.fraction+1)/2)
	case mysql.MYSQL_TYPE_TIMESTAMP2:
		c.fraction = int(meta)
		fixed(Timestamp, 4+(c.fraction+1)/2)
	case mysql.MYSQL_TYPE_BIT:
		fixed(Bit, int(((meta>>8)*8+meta&0xff)+7)/8)
	case mysql.MYSQL_TYPE_VARCHAR, mysql.MYSQL_TYPE_VAR_STRING:
		c.kind, c.prefix, c.length = Text, lengthBytes(int(meta)), int(meta)
	case mysql.MYSQL_TYPE_BLOB:
		c.kind, c.prefix = Text, int(meta)
	case mysql.MYSQL_TYPE_JSON:
		c.kind, c.prefix = JSON, int(meta)
	case mysql.MYSQL_TYPE_GEOMETRY:
		c.kind, c.prefix = Geometry, int(meta)
	case mysql.MYSQL_TYPE_VECTOR:
		c.kind, c.prefix = Vector, int(meta)
	case mysql.MYSQL_TYPE_STRING:
		c.describeString(meta)
	}
	return c
}

// known says whether it is known how the column's bytes lie in a row image.
func (c *wireColumn) known() bool {
	const mostFraction, mostPrefix = 6, 4
	return (c.fixed > 0 || c.prefix > 0) && c.fraction <= mostFraction && c.prefix <= mostPrefix
}

// describeString tells CHAR, ENUM and SET apart: all three are logged as
// MYSQL_TYPE_STRING with the real type in the metadata's first byte, in which
// CHAR hides two bits of its length.
func (c *wireColumn) describeString(meta uint16) {
	real, n := byte(meta>>8), int(meta&0xff)
	switch real {
	case mysql.MYSQL_TYPE_ENUM:
		c.code, c.kind, c.fixed = real, Enum, n
	case mysql.MYSQL_TYPE_SET:
		c.code, c.kind, c.fixed = real, Set, n
	default:
		c.length = n
		if real != 0 && real&0x30 != 0x30 {
			c.length |= int(real&0x30^0x30) << 4
		}
		c.kind, c.prefix = Text, lengthBytes(c.length)
	}
}

// lengthBytes is the size of the length before a string of at most max bytes.
func lengthBytes(maximum int) int {
	if maximum < 256 {
		return 1
	}
	return 2
}

// charsets turns collation ids into character set names.
type charsets map[uint64]string

// newTable makes a table version of a TABLE_MAP event. What the event does
// not tell (all but the types, unless binlog_row_metadata=FULL) comes from
// the server's dictionary, which must fit.
func newTable(name TableName, e *tableMap, dict *Table, sets charsets) (*Table, error) {
	t := &Table{Name: name, Columns: make([]Column, e.ColumnCount)}
	full := len(e.ColumnName) > 0
	if !full {
		if dict == nil || len(dict.Columns) != int(e.ColumnCount) {
			return nil, mismatch(name, fmt.Sprintf("the log's row has %d columns, the table now %d", e.ColumnCount, columnsOf(dict)))
		}
		t.Key = dict.Key
	}
	about := e.details()
	for i := range t.Columns {
		w := describe(e.ColumnType[i], e.ColumnMeta[i])
		w.compressed = e.compressed[i]
		var c Column
		if full {
			c.Name = string(e.ColumnName[i])
		} else {
			c = dict.Columns[i]
		}
		if !w.known() {
			return nil, fmt.Errorf("column %s.%s is of type %d (%#x), which is not known, so no column after it can be read; if it is of an old format, this mends it: ALTER TABLE %s FORCE",
				name, c.Name, e.ColumnType[i], e.ColumnMeta[i], name.quoted())
		}
		if full {
			if err := c.take(&w, i, &about, dictColumn(dict, c.Name), sets, e.flavor); err != nil {
				return nil, fmt.Errorf("column %s.%s %w", name, c.Name, err)
			}
		} else {
			if c.Kind == Unsupported || w.kind == Text && c.looksLikeText(&w) {
				w.kind = c.Kind
			}
			if c.Kind != w.kind || (w.kind == Integer && c.fixed != w.fixed) || c.compressed != w.compressed {
				return nil, mismatch(name, fmt.Sprintf("column %s is %s in the table now, but %s in the log", c.Name, c.Kind, w.kind))
			}
		}
		c.Kind, c.fixed, c.prefix = w.kind, w.fixed, w.prefix
		c.precision, c.scale, c.fraction = w.precision, w.scale, w.fraction
		c.compressed, c.length = w.compressed, 0
		if w.kind != Text && w.code == mysql.MYSQL_TYPE_STRING {
			c.length = w.length
		}
		t.Columns[i] = c
	}
	if full {
		for _, i := range e.PrimaryKey {
			t.Key = append(t.Key, int(i))
		}
		if len(t.Key) == 0 && dict != nil {
			for _, i := range dict.Key {
				if j := t.Index(dict.Columns[i].Name); j >= 0 {
					t.Key = append(t.Key, j)
				}
			}
		}
	}
	return t, nil
}

// details are what a TABLE_MAP event with FULL metadata says of its columns.
type details struct {
	unsigned             map[int]bool
	collations           map[int]uint64
	memberCollations     map[int]uint64
	enumMembers, members map[int][]string
}

func (e *tableMap) details() details {
	return details{
		unsigned: e.UnsignedMap(), collations: e.CollationMap(), memberCollations: e.EnumSetCollationMap(),
		enumMembers: e.EnumStrValueMap(), members: e.SetStrValueMap(),
	}
}

// take fills in column i from an event that tells. dict is the dictionary's
// column of the same name, nil if it has none.
func (c *Column) take(w *wireColumn, i int, about *details, dict *Column, sets charsets, flavor Flavor) error {
	c.Unsigned = about.unsigned[i]
	id, ok := about.collations[i]
	if !ok {
		id = about.memberCollations[i]
	}
	c.Charset = sets[id]
	c.Members = about.enumMembers[i]
	if w.kind == Set {
		c.Members = about.members[i]
	}
	if err := c.translateMembers(); err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	if w.kind == Text && c.Charset == "" {
		return fmt.Errorf("has a collation (id %d) that the server does not list", id)
	}
	if w.kind == Text && c.Charset == "binary" {
		w.kind = Binary
	}
	if dict != nil {
		c.Nullable, c.SQLType, c.decimals = dict.Nullable, dict.SQLType, dict.decimals
	}
	switch {
	case dict != nil && (dict.Kind == Unsupported || w.kind == Binary && dict.looksLikeText(w)):
		w.kind = dict.Kind
	case flavor == MariaDB && w.kind == Binary:
		if like := w.doubles(); like != "" {
			w.kind, c.SQLType = Unsupported, like
		}
	}
	return nil
}

// binarySizes are the kinds that MariaDB logs as a BINARY of that many bytes.
var binarySizes = map[Kind]int{UUID: 16, Inet6: 16, Inet4: 4}

// looksLikeText says whether the column can be what the log has as a string
// of w's size: bytes, and MariaDB's types that the log does not tell from them.
func (c *Column) looksLikeText(w *wireColumn) bool {
	switch c.Kind {
	case Binary:
		return true
	case Vector:
		return w.code == mysql.MYSQL_TYPE_VARCHAR
	}
	size, ok := binarySizes[c.Kind]
	return ok && w.code == mysql.MYSQL_TYPE_STRING && w.length == size
}

// doubles names what a column of bytes in MariaDB's log can be, if that is
// more than bytes.
func (c *wireColumn) doubles() string {
	switch {
	case c.code == mysql.MYSQL_TYPE_STRING && c.length == binarySizes[UUID]:
		return "BINARY(16), UUID or INET6"
	case c.code == mysql.MYSQL_TYPE_STRING && c.length == binarySizes[Inet4]:
		return "BINARY(4) or INET4"
	case c.code == mysql.MYSQL_TYPE_VARCHAR && c.length%vectorElement == 0:
		return "VARBINARY or VECTOR"
	}
	return ""
}

// translateMembers turns an ENUM's or SET's values, which the log has in the
// column's character set, into UTF-8.
func (c *Column) translateMembers() error {
	if len(c.Members) == 0 {
		return nil
	}
	decode, err := transcoderOf(c.Charset)
	if err != nil || decode == nil {
		return err
	}
	for i, m := range c.Members {
		c.Members[i] = string(decode(nil, []byte(m)))
	}
	return nil
}

func columnsOf(t *Table) int {
	if t == nil {
		return 0
	}
	return len(t.Columns)
}

func dictColumn(dict *Table, name string) *Column {
	if dict == nil {
		return nil
	}
	if i := dict.Index(name); i >= 0 {
		return &dict.Columns[i]
	}
	return nil
}

// mismatch says that rows in the log were written by another shape of the table.
func mismatch(name TableName, what string) error {
	return fmt.Errorf("table %s: %s; the log does not name its columns, so rows written before an ALTER cannot be read: "+
		"run SET GLOBAL binlog_row_metadata = 'FULL' so that it cannot happen again, then start over with `chorusd run --start-over`", name, what)
}
