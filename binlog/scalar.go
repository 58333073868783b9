package binlog

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"
	"unsafe"
)

// ScalarKind is what a Scalar holds.
type ScalarKind uint8

// The kinds of scalars.
const (
	ScalarNull ScalarKind = iota
	ScalarBool
	ScalarInt   // an int64
	ScalarUint  // an integer above the greatest int64
	ScalarFloat // a float64, neither infinite nor NaN
	ScalarText  // UTF-8
	ScalarTime  // an instant
)

// A Scalar is one column's value in a form to compute with. The same value
// gives the same Scalar whether the row came from the log or from a SELECT,
// and equal values of a column are equal by ==.
type Scalar struct {
	Kind ScalarKind
	// Bits is 0 or 1, the int64, the uint64, the float64's bits, or
	// microseconds since the Unix epoch as an int64.
	Bits uint64
	// Text may share the row's bytes: it is valid as long as the row is.
	Text string
}

// scalarOf reads a value that is not NULL.
type scalarOf func(value []byte) (Scalar, error)

// A ScalarReader reads one column of a table's rows as scalars.
type ScalarReader struct {
	raw, text scalarOf
	column    int
	kind      ScalarKind
}

// Kind is what the reader gives, but for NULL. It is ScalarInt for all
// integers, and ScalarFloat for decimals that can be more than an int64;
// those without a fraction that fit an integer are read as one nevertheless.
func (r *ScalarReader) Kind() ScalarKind { return r.kind }

// Read gives the column's value in a row of the reader's table.
func (r *ScalarReader) Read(row *Row) (Scalar, error) {
	v := row.values[r.column]
	if v == nil {
		return Scalar{}, nil
	}
	f := r.raw
	if row.text {
		f = r.text
	}
	s, err := f(v)
	if err != nil {
		c := &row.Table.Columns[r.column]
		return Scalar{}, fmt.Errorf("decode column %s.%s (%s): %w", row.Table.Name, c.Name, c.Kind, err)
	}
	return s, nil
}

// Scalar compiles how column i is read as scalars: dates and times as
// instants, of which zero and impossible ones are null as in JSON; decimals
// with a fraction as the nearest float64. The cast counts where it makes the
// column another type, as boolean does; those that choose a form in JSON do
// not. loc is the zone of DATETIME and DATE columns. Columns that hold no
// scalar, or one without an order of its own, are refused.
func (t *Table) Scalar(i int, cast Cast, loc *time.Location) (ScalarReader, error) {
	c := &t.Columns[i]
	cast = c.resolve(cast, CastDefault)
	r := ScalarReader{column: i}
	var err error
	switch c.Kind {
	case Integer, Bit, Year:
		r.kind = ScalarInt
		r.raw, r.text = c.integerScalars(cast)
	case Decimal:
		r.kind = ScalarFloat
		if c.scale == 0 && c.precision <= safeDigits {
			r.kind = ScalarInt
		}
		r.raw, r.text = c.decimalScalars()
	case Float, Double:
		r.kind = ScalarFloat
		r.raw, r.text = c.floatScalars()
	case Date, DateTime, Timestamp:
		r.kind = ScalarTime
		r.raw, r.text = c.dateScalars(loc)
	case Text:
		r.kind = ScalarText
		if cast == CastJSON {
			return r, fmt.Errorf("column %s.%s holds JSON by its cast, which is no single value", t.Name, c.Name)
		}
		r.raw, r.text, err = c.textScalars(cast)
	case Enum, Set, UUID, Inet4, Inet6:
		r.kind = ScalarText
		r.raw, r.text = c.quotedScalars()
	default:
		return r, fmt.Errorf("column %s.%s is of type %s, which cannot be computed with", t.Name, c.Name, c.Kind)
	}
	if err != nil {
		return r, fmt.Errorf("column %s.%s: %w", t.Name, c.Name, err)
	}
	if cast == CastBoolean && (c.Kind == Integer || c.Kind == Bit || c.Kind == Text) {
		r.kind = ScalarBool
	}
	if c.compressed {
		raw := r.raw
		r.raw = func(v []byte) (Scalar, error) {
			plain, err := uncompress(v)
			if err != nil {
				return Scalar{}, err
			}
			return raw(plain)
		}
	}
	return r, nil
}

// safeDigits is how many digits always fit an int64.
const safeDigits = 18

func boolScalar(b bool) Scalar {
	if b {
		return Scalar{Kind: ScalarBool, Bits: 1}
	}
	return Scalar{Kind: ScalarBool}
}

func intScalar(n int64) Scalar { return Scalar{Kind: ScalarInt, Bits: uint64(n)} }

func uintScalar(n uint64) Scalar {
	if n > math.MaxInt64 {
		return Scalar{Kind: ScalarUint, Bits: n}
	}
	return intScalar(int64(n))
}

func floatScalar(f float64) (Scalar, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Scalar{}, fmt.Errorf("%g is no number that a column can hold", f)
	}
	if f == 0 {
		f = 0 // not -0
	}
	return Scalar{Kind: ScalarFloat, Bits: math.Float64bits(f)}, nil
}

// textScalar shares the bytes.
func textScalar(v []byte) (Scalar, error) {
	text := unsafe.String(unsafe.SliceData(v), len(v)) //nolint:gosec // nobody writes to a row that is read
	return Scalar{Kind: ScalarText, Text: text}, nil
}

func truthScalar(v []byte) (Scalar, error) {
	return boolScalar(len(v) != 0 && string(v) != "0"), nil
}

func (c *Column) integerScalars(cast Cast) (raw, text scalarOf) {
	text = func(v []byte) (Scalar, error) { return parseInteger(v) }
	unused := 64 - 8*c.fixed
	switch {
	case cast == CastBoolean && c.Kind != Year:
		return func(v []byte) (Scalar, error) { return boolScalar(unsignedBE(v) != 0), nil }, truthScalar
	case c.Kind == Bit:
		return func(v []byte) (Scalar, error) { return uintScalar(unsignedBE(v)), nil }, text
	case c.Kind == Year:
		return func(v []byte) (Scalar, error) { return intScalar(yearOf(v[0])), nil },
			func(v []byte) (Scalar, error) {
				n, err := c.parseYear(v)
				return intScalar(n), err
			}
	case c.Unsigned:
		return func(v []byte) (Scalar, error) { return uintScalar(unsignedLE(v)), nil }, text
	default:
		return func(v []byte) (Scalar, error) { return intScalar(int64(unsignedLE(v)<<unused) >> unused), nil }, text
	}
}

func parseInteger(v []byte) (Scalar, error) {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err == nil {
		return intScalar(n), nil
	}
	u, err := strconv.ParseUint(string(v), 10, 64)
	return uintScalar(u), err
}

// AppendFloat writes a number as an Encoder does. It must be neither infinite nor NaN.
func AppendFloat(dst []byte, f float64) []byte { return appendFloat(dst, f, 64) }

func (c *Column) floatScalars() (raw, text scalarOf) {
	raw = func(v []byte) (Scalar, error) { return floatScalar(c.double(v)) }
	if c.Kind == Float {
		raw = func(v []byte) (Scalar, error) {
			return floatScalar(float64(math.Float32frombits(binary.LittleEndian.Uint32(v))))
		}
	}
	return raw, parseFloat
}

func parseFloat(v []byte) (Scalar, error) {
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return Scalar{}, err
	}
	return floatScalar(f)
}

func (c *Column) decimalScalars() (raw, text scalarOf) {
	text = parseFloat
	if c.scale == 0 {
		text = func(v []byte) (Scalar, error) {
			if s, err := parseInteger(v); err == nil {
				return s, nil
			}
			return parseFloat(v)
		}
	}
	return func(v []byte) (Scalar, error) {
		const longest = 72 // 65 digits, sign, zero and point
		var buf [longest]byte
		return text(appendDecimal(buf[:0], v, c.precision, c.scale))
	}, text
}

func (c *Column) dateScalars(loc *time.Location) (raw, text scalarOf) {
	zone := loc
	if c.Kind == Timestamp {
		zone = time.UTC
	}
	instant := func(k clock) Scalar {
		if !k.valid() {
			return Scalar{}
		}
		return Scalar{Kind: ScalarTime, Bits: uint64(k.in(zone).UnixMicro())}
	}
	text = func(v []byte) (Scalar, error) {
		k, err := parseClock(v)
		return instant(k), err
	}
	if c.Kind == Timestamp {
		return func(v []byte) (Scalar, error) {
			seconds, micro := unsignedBE(v[:4]), micros(v[4:], c.fraction)
			if seconds == 0 {
				return Scalar{}, nil
			}
			return Scalar{Kind: ScalarTime, Bits: seconds*1e6 + uint64(micro)}, nil
		}, text
	}
	read := c.clockReader()
	return func(v []byte) (Scalar, error) { return instant(read(v)), nil }, text
}

func (c *Column) textScalars(cast Cast) (raw, text scalarOf, err error) {
	decode, err := transcoderOf(c.Charset)
	if err != nil {
		return nil, nil, err
	}
	form := textScalar
	if cast == CastBoolean {
		form = truthScalar
	}
	if decode == nil {
		return form, form, nil
	}
	raw = func(v []byte) (Scalar, error) { return form(decode(nil, v)) }
	return raw, raw, nil // a SELECT gives the column's own bytes, too: see selectExpression
}

// quotedScalars are the values of kinds whose text is made from a number or
// from bytes, and short.
func (c *Column) quotedScalars() (raw, text scalarOf) {
	switch c.Kind {
	case Enum:
		return func(v []byte) (Scalar, error) {
			m, err := c.member(v)
			return Scalar{Kind: ScalarText, Text: m}, err
		}, textScalar
	case Set:
		return func(v []byte) (Scalar, error) {
			list, err := c.memberList(v)
			if err != nil {
				return Scalar{}, err
			}
			return textScalar(list)
		}, textScalar
	default:
		return func(v []byte) (Scalar, error) {
			text, err := c.appendAddress(nil, v)
			if err != nil {
				return Scalar{}, err
			}
			return textScalar(text)
		}, textScalar
	}
}
