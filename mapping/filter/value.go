package filter

import (
	"math"
	"strconv"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
)

// Kind is the type of a value or of an expression.
type Kind uint8

// The kinds. As a type, Int stands for Uint as well, and Float for any number.
const (
	Null  = Kind(binlog.ScalarNull)
	Bool  = Kind(binlog.ScalarBool)
	Int   = Kind(binlog.ScalarInt)
	Uint  = Kind(binlog.ScalarUint) // above the range of Int only
	Float = Kind(binlog.ScalarFloat)
	Text  = Kind(binlog.ScalarText)
	Time  = Kind(binlog.ScalarTime)
	// Any is the type of an attribute whose table is not known yet. No value has it.
	Any = Time + 1
)

func (k Kind) String() string {
	return [...]string{"null", "boolean", "integer", "integer", "number", "text", "time", "unknown"}[k]
}

// class is what values of the kind can be compared with.
func (k Kind) class() Kind {
	switch k {
	case Int, Uint:
		return Float
	case Null:
		return Any
	}
	return k
}

// fits says whether values of both kinds can be compared, as far as is known.
func (k Kind) fits(o Kind) bool {
	a, b := k.class(), o.class()
	return a == b || a == Any || b == Any
}

// Value is one scalar. Two values of the same kind are equal by == exactly if
// they are the same. The zero Value is null.
type Value struct {
	kind Kind
	bits uint64 // as in binlog.Scalar
	text string
}

// OfBool makes a value of a truth.
func OfBool(b bool) Value {
	if b {
		return Value{kind: Bool, bits: 1}
	}
	return Value{kind: Bool}
}

// OfInt makes a value of an integer.
func OfInt(n int64) Value { return Value{kind: Int, bits: uint64(n)} }

// OfUint makes a value of an integer.
func OfUint(n uint64) Value {
	if n <= math.MaxInt64 {
		return OfInt(int64(n))
	}
	return Value{kind: Uint, bits: n}
}

// OfFloat makes a value of a number; infinity and NaN are null.
func OfFloat(f float64) Value {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return Value{}
	}
	if f == 0 {
		f = 0 // not -0
	}
	return Value{kind: Float, bits: math.Float64bits(f)}
}

// OfText makes a value of a text.
func OfText(s string) Value { return Value{kind: Text, text: s} }

// OfTime makes a value of an instant, of which microseconds are kept.
func OfTime(t time.Time) Value { return Value{kind: Time, bits: uint64(t.UnixMicro())} }

// ofScalar shares the scalar's text.
func ofScalar(s binlog.Scalar) Value { return Value{kind: Kind(s.Kind), bits: s.Bits, text: s.Text} }

// Kind is the type of the value.
func (v Value) Kind() Kind { return v.kind }

func (v Value) int() int64     { return int64(v.bits) }
func (v Value) float() float64 { return math.Float64frombits(v.bits) }

// number is the value of an Int, Uint or Float as the nearest float64.
func (v Value) number() float64 {
	switch v.kind {
	case Int:
		return float64(v.int())
	case Uint:
		return float64(v.bits)
	default:
		return v.float()
	}
}

// is says whether the value is true.
func (v Value) is() bool { return v.kind == Bool && v.bits == 1 }

// AppendText writes the value as text without quotes; null is nothing.
func (v Value) AppendText(dst []byte) []byte {
	switch v.kind {
	case Bool:
		return strconv.AppendBool(dst, v.bits == 1)
	case Int:
		return strconv.AppendInt(dst, v.int(), 10)
	case Uint:
		return strconv.AppendUint(dst, v.bits, 10)
	case Float:
		return binlog.AppendFloat(dst, v.float())
	case Text:
		return append(dst, v.text...)
	case Time:
		return time.UnixMicro(v.int()).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	}
	return dst
}

// AppendJSON writes the value as JSON, in the form that fields have without a
// cast, but for decimals, which are numbers here.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.kind {
	case Null:
		return append(dst, "null"...)
	case Text:
		return harmonic.AppendString(dst, v.text)
	case Time:
		return append(v.AppendText(append(dst, '"')), '"')
	default:
		return v.AppendText(dst)
	}
}
