package binlog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Row is one image of a row. It refers to the bytes it was read from and is
// valid only while its giver says so.
type Row struct {
	Table *Table
	// values are the columns' bytes, nil for NULL: as they lie in the log,
	// or as the server's text if text is set.
	values [][]byte
	text   bool
	// image is all of them together, as they lie in the log; nil if text is set.
	image []byte
}

// TextRow makes a row of values in the server's text form, as a SELECT gives
// them; nil is NULL.
func TextRow(t *Table, values [][]byte) *Row { return &Row{Table: t, values: values, text: true} }

// Null says whether a column is NULL.
func (r *Row) Null(column int) bool { return r.values[column] == nil }

// Same says whether a column has the same bytes in two images of one event.
func (r *Row) Same(o *Row, column int) bool {
	a, b := r.values[column], o.values[column]
	return (a == nil) == (b == nil) && string(a) == string(b)
}

// Natural returns the value of an integer column, where it is not negative.
func (r *Row) Natural(column int) (n uint64, ok bool) {
	c, v := &r.Table.Columns[column], r.values[column]
	switch {
	case c.Kind != Integer || v == nil:
		return 0, false
	case r.text:
		n, err := strconv.ParseUint(string(v), 10, 64)
		return n, err == nil
	}
	return unsignedLE(v), c.Unsigned || v[len(v)-1] < 1<<7
}

// appender writes one value that is not NULL as JSON to dst.
type appender func(dst, value []byte) ([]byte, error)

// An Encoder writes one column of a row as JSON. The same value gives the
// same JSON whether the row came from the log or from a SELECT.
type Encoder struct {
	raw, text appender
	column    int
}

// Append writes the column's JSON text to dst.
func (e *Encoder) Append(dst []byte, r *Row) ([]byte, error) {
	v := r.values[e.column]
	if v == nil {
		return append(dst, "null"...), nil
	}
	f := e.raw
	if r.text {
		f = e.text
	}
	dst, err := f(dst, v)
	if err != nil {
		c := &r.Table.Columns[e.column]
		return dst, fmt.Errorf("decode column %s.%s (%s): %w", r.Table.Name, c.Name, c.Kind, err)
	}
	return dst, nil
}

// Cast chooses the JSON form of a column where it is not the kind's own. The
// names are those of Eloquent's casts where it has one.
type Cast string

// The casts.
const (
	CastDefault   Cast = ""
	CastBoolean   Cast = "boolean"   // integers, BIT, text: true unless 0, "" or "0"
	CastInteger   Cast = "integer"   // decimals, text of digits: a number, cut towards zero
	CastFloat     Cast = "float"     // decimals: a number
	CastString    Cast = "string"    // the server's text, quoted
	CastJSON      Cast = "json"      // text that holds JSON: native; null if it is none
	CastDateTime  Cast = "datetime"  // dates and times: ISO 8601, UTC, microseconds
	CastTimestamp Cast = "timestamp" // dates and times: seconds since the Unix epoch
	CastBase64    Cast = "base64"    // binary: base64
	CastHex       Cast = "hex"       // binary: hexadecimal digits
	CastGeoJSON   Cast = "geojson"   // geometries: a GeoJSON object
	CastWKT       Cast = "wkt"       // geometries: well-known text
)

// aliases are Eloquent's other names for the casts, so that a model's $casts
// can be copied.
var aliases = map[Cast]Cast{
	"bool": CastBoolean, "int": CastInteger, "double": CastFloat, "real": CastFloat,
	"array": CastJSON, "object": CastJSON, "collection": CastJSON,
	"immutable_datetime": CastDateTime,
}

// casts lists what each kind can become; the first is its own form.
var casts = map[Kind][]Cast{
	Integer:   {CastInteger, CastBoolean, CastString},
	Decimal:   {CastString, CastFloat, CastInteger},
	Float:     {CastFloat, CastString},
	Double:    {CastFloat, CastString},
	Bit:       {CastInteger, CastBoolean, CastString},
	Year:      {CastInteger, CastString},
	Date:      {CastString, CastDateTime, CastTimestamp},
	Time:      {CastString},
	DateTime:  {CastDateTime, CastString, CastTimestamp},
	Timestamp: {CastDateTime, CastString, CastTimestamp},
	Text:      {CastString, CastJSON, CastBoolean},
	Binary:    {CastBase64, CastHex, CastString},
	Enum:      {CastString},
	Set:       {CastString},
	JSON:      {CastJSON, CastString},
	UUID:      {CastString},
	Inet4:     {CastString},
	Inet6:     {CastString},
	Geometry:  {CastGeoJSON, CastWKT, CastBase64, CastHex},
	Vector:    {CastJSON, CastBase64, CastHex},
}

// resolve finds the cast that a name means for this column.
func (c *Column) resolve(cast, own Cast) Cast {
	switch {
	case cast == CastDefault:
		return own
	case c.Kind == Date && (cast == "date" || cast == "immutable_date"):
		return CastDateTime
	case c.Kind == Decimal && cast == Cast(fmt.Sprintf("decimal:%d", c.scale)):
		return CastString
	}
	if known, ok := aliases[cast]; ok {
		cast = known
	}
	if c.Kind == Geometry && cast == CastJSON {
		return CastGeoJSON
	}
	return cast
}

// Encoder compiles how column i becomes JSON. loc is the zone of DATETIME and
// DATE columns.
func (t *Table) Encoder(i int, cast Cast, loc *time.Location) (Encoder, error) {
	c := &t.Columns[i]
	possible, ok := casts[c.Kind]
	if !ok {
		return Encoder{}, fmt.Errorf("column %s.%s: the type (%s) cannot be read: leave it out of fields", t.Name, c.Name, c.SQLType)
	}
	cast = c.resolve(cast, possible[0])
	if !slices.Contains(possible, cast) {
		names := make([]string, len(possible))
		for i, p := range possible {
			names[i] = string(p)
		}
		return Encoder{}, fmt.Errorf("column %s.%s: cast %q does not fit its type (%s): use one of %s",
			t.Name, c.Name, cast, c.Kind, strings.Join(names, ", "))
	}
	e := Encoder{column: i}
	var err error
	switch c.Kind {
	case Integer, Bit, Year:
		e.raw, e.text = c.integerAppenders(cast)
	case Decimal:
		e.raw, e.text = c.decimalAppenders(cast)
	case Float, Double:
		e.raw, e.text = c.floatAppenders(cast)
	case Date, DateTime, Timestamp:
		e.raw, e.text = c.dateAppenders(cast, loc)
	case Time:
		e.raw, e.text = c.appendTime, appendQuoted
	case Text:
		e.raw, e.text, err = c.textAppenders(cast)
	case Binary:
		e.raw, e.text = c.binaryAppenders(cast)
	case Enum, Set:
		e.raw, e.text = c.memberAppenders()
	case JSON:
		e.raw, e.text = c.jsonAppenders(cast)
	case UUID, Inet4, Inet6:
		e.raw, e.text = c.addressAppenders()
	case Geometry:
		e.raw = geometryAppender(cast)
		e.text = e.raw
	case Vector:
		e.raw = vectorAppender(cast)
		e.text = e.raw
	}
	if c.compressed {
		e.raw = uncompressed(e.raw)
	}
	if err != nil {
		return Encoder{}, fmt.Errorf("column %s.%s: %w", t.Name, c.Name, err)
	}
	return e, nil
}
