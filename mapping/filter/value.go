// Package filter evaluates conditions and expressions of the mapping over rows
// and users, in SQL's three-valued logic.
package filter

import (
	"math"
	"strconv"
	"time"

	"github.com/chorusd/chorusd/harmonic"
)

// Kind is the type of a value.
type Kind uint8

// The kinds. Any is that of an attribute whose table is not known yet; no
// value has it.
const (
	Null Kind = iota
	Bool
	Int
	Uint // above the range of Int only
	Float
	Text
	Time
	Any
)

// Value is one scalar. Two are equal by == exactly if they are the same value
// of the same kind. The zero Value is null.
type Value struct {
	kind Kind
	bits uint64
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

// OfFloat makes a value of a number.
func OfFloat(f float64) Value { return Value{kind: Float, bits: math.Float64bits(f)} }

// OfText makes a value of a text.
func OfText(s string) Value { return Value{kind: Text, text: s} }

// OfTime makes a value of an instant, of which microseconds are kept.
func OfTime(t time.Time) Value { return Value{kind: Time, bits: uint64(t.UnixMicro())} }

// Kind is the type of the value.
func (v Value) Kind() Kind { return v.kind }

// AppendText writes the value as text without quotes; null is nothing.
func (v Value) AppendText(dst []byte) []byte {
	switch v.kind {
	case Bool:
		return strconv.AppendBool(dst, v.bits == 1)
	case Int:
		return strconv.AppendInt(dst, int64(v.bits), 10)
	case Uint:
		return strconv.AppendUint(dst, v.bits, 10)
	case Float:
		return strconv.AppendFloat(dst, math.Float64frombits(v.bits), 'g', -1, 64)
	case Text:
		return append(dst, v.text...)
	case Time:
		return time.UnixMicro(int64(v.bits)).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	}
	return dst
}

// AppendJSON writes the value as JSON.
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
