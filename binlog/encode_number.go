package binlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// appendQuoted writes text that needs no escaping as a JSON string.
func appendQuoted(dst, v []byte) ([]byte, error) {
	dst = append(dst, '"')
	dst = append(dst, v...)
	return append(dst, '"'), nil
}

// appendPlain writes text that is JSON already.
func appendPlain(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }

// quoted makes an appender write a JSON string of what it wrote.
func quoted(f appender) appender {
	return func(dst, v []byte) ([]byte, error) {
		dst, err := f(append(dst, '"'), v)
		return append(dst, '"'), err
	}
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, "true"...)
	}
	return append(dst, "false"...)
}

// appendTruth writes text as Eloquent's boolean cast reads it.
func appendTruth(dst, v []byte) ([]byte, error) {
	return appendBool(dst, len(v) != 0 && string(v) != "0"), nil
}

// unsignedLE reads a little-endian integer of 1 to 8 bytes.
func unsignedLE(v []byte) uint64 {
	if len(v) == 8 {
		return binary.LittleEndian.Uint64(v)
	}
	var n uint64
	for i, b := range v {
		n |= uint64(b) << (8 * i)
	}
	return n
}

// unsignedBE reads a big-endian integer of 1 to 8 bytes.
func unsignedBE(v []byte) uint64 {
	var n uint64
	for _, b := range v {
		n = n<<8 | uint64(b)
	}
	return n
}

func (c *Column) integerAppenders(cast Cast) (raw, text appender) {
	var digits appender
	switch {
	case c.Kind == Bit:
		digits = func(dst, v []byte) ([]byte, error) { return strconv.AppendUint(dst, unsignedBE(v), 10), nil }
	case c.Kind == Year:
		digits = func(dst, v []byte) ([]byte, error) { return strconv.AppendInt(dst, yearOf(v[0]), 10), nil }
	case c.Unsigned:
		digits = func(dst, v []byte) ([]byte, error) { return strconv.AppendUint(dst, unsignedLE(v), 10), nil }
	default:
		unused := 64 - 8*c.fixed
		digits = func(dst, v []byte) ([]byte, error) {
			return strconv.AppendInt(dst, int64(unsignedLE(v)<<unused)>>unused, 10), nil
		}
	}
	plain := appendPlain
	if c.Kind == Year {
		plain = func(dst, v []byte) ([]byte, error) {
			n, err := c.parseYear(v)
			return strconv.AppendInt(dst, n, 10), err
		}
	}
	switch cast {
	case CastBoolean:
		return func(dst, v []byte) ([]byte, error) { return appendBool(dst, unsignedBE(v) != 0), nil }, appendTruth
	case CastString:
		return quoted(digits), quoted(plain)
	default:
		return digits, plain
	}
}

func yearOf(b byte) int64 {
	if b == 0 {
		return 0
	}
	return 1900 + int64(b)
}

// parseYear reads the server's text of a YEAR.
func (c *Column) parseYear(v []byte) (int64, error) {
	n, err := strconv.ParseInt(string(v), 10, 64) // "0000"
	if c.SQLType == "year(2)" {                   // MariaDB's, from 1970 to 2069
		n += 1900
		if n < 1970 {
			n += 100
		}
	}
	return n, err
}

// double reads a DOUBLE.
func (c *Column) double(v []byte) float64 {
	f := math.Float64frombits(binary.LittleEndian.Uint64(v))
	if c.decimals > 0 {
		f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'f', c.decimals, 64), 64) // of its own text
	}
	return f
}

func (c *Column) floatAppenders(cast Cast) (raw, text appender) {
	bits := 64
	raw = func(dst, v []byte) ([]byte, error) { return appendFloat(dst, c.double(v), 64), nil }
	if c.Kind == Float {
		bits = 32
		raw = func(dst, v []byte) ([]byte, error) {
			return appendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(v))), 32), nil
		}
	}
	text = func(dst, v []byte) ([]byte, error) {
		f, err := strconv.ParseFloat(string(v), 64)
		return appendFloat(dst, f, bits), err
	}
	if cast == CastString {
		return quoted(raw), quoted(text)
	}
	return raw, text
}

// appendFloat writes the shortest number that reads back as f in the spelling
// of PHP's json_encode (php_gcvt in main/snprintf.c): an exponent below 1e-4
// and from 1e17 on. What is no number, which columns do not hold but the bytes
// of a VECTOR may, is null, as JSON.stringify has it.
func appendFloat(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	const leastPoint, mostPoint = -3, 17
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, bits)
	digits, point := pointOf(dst[start:])
	if f == 0 || leastPoint <= point && point <= mostPoint {
		return strconv.AppendFloat(dst[:start], f, 'f', -1, bits)
	}
	if digits == 1 {
		dst = append(dst[:bytes.IndexByte(dst[start:], 'e')+start], ".0e"...)
	} else {
		dst = dst[:bytes.IndexByte(dst[start:], 'e')+start+1]
	}
	if point > 0 {
		dst = append(dst, '+')
	}
	return strconv.AppendInt(dst, int64(point-1), 10)
}

// pointOf looks at a number in Go's form with an exponent: how many digits it
// has, and after how many of them the point would be without the exponent.
func pointOf(text []byte) (digits, point int) {
	e := bytes.IndexByte(text, 'e')
	for _, b := range text[:e] {
		if b >= '0' {
			digits++
		}
	}
	exponent, _ := strconv.Atoi(string(text[e+1:])) // Go wrote it
	return digits, exponent + 1
}

func (c *Column) decimalAppenders(cast Cast) (raw, text appender) {
	digits := func(dst, v []byte) ([]byte, error) { return appendDecimal(dst, v, c.precision, c.scale), nil }
	switch cast {
	case CastString:
		return quoted(digits), func(dst, v []byte) ([]byte, error) { return appendQuoted(dst, unfilled(v)) }
	case CastFloat:
		number := func(dst, v []byte) ([]byte, error) {
			f, err := strconv.ParseFloat(string(v), 64)
			return appendFloat(dst, f, 64), err
		}
		return func(dst, v []byte) ([]byte, error) {
			return number(dst, appendDecimal(make([]byte, 0, 72), v, c.precision, c.scale))
		}, number
	default: // CastInteger
		whole := func(dst []byte, from int) ([]byte, error) {
			for i := from; i < len(dst); i++ {
				if dst[i] == '.' {
					dst = dst[:i]
				}
			}
			if string(dst[from:]) == "-0" {
				dst = append(dst[:from], '0')
			}
			return dst, nil
		}
		return func(dst, v []byte) ([]byte, error) {
				return whole(appendDecimal(dst, v, c.precision, c.scale), len(dst))
			}, func(dst, v []byte) ([]byte, error) {
				return whole(append(dst, unfilled(v)...), len(dst))
			}
	}
}

// unfilled takes off the zeros of a ZEROFILL column, which the log does not tell.
func unfilled(v []byte) []byte {
	for len(v) > 1 && v[0] == '0' && v[1] != '.' {
		v = v[1:]
	}
	return v
}

// appendDecimal writes MySQL's packed decimal (bin2decimal in
// strings/decimal.cc): groups of nine digits in four bytes, a shorter group
// first and last, the sign in the first bit, negative numbers inverted.
func appendDecimal(dst, v []byte, precision, scale int) []byte {
	var invert byte
	if v[0]&0x80 == 0 {
		invert = 0xff
		dst = append(dst, '-')
	}
	at := 0
	group := func(n int) uint64 {
		var x uint64
		for range n {
			b := v[at] ^ invert
			if at == 0 {
				b ^= 0x80
			}
			x = x<<8 | uint64(b)
			at++
		}
		return x
	}
	start := len(dst)
	whole := precision - scale
	put := func(x uint64, digits int) {
		if len(dst) == start { // leading zeros are not written
			if x != 0 {
				dst = strconv.AppendUint(dst, x, 10)
			}
			return
		}
		dst = appendPadded(dst, x, digits)
	}
	if n := whole % 9; n > 0 {
		put(group(digitBytes[n]), n)
	}
	for range whole / 9 {
		put(group(4), 9)
	}
	if len(dst) == start {
		dst = append(dst, '0')
	}
	if scale == 0 {
		return dst
	}
	dst = append(dst, '.')
	for range scale / 9 {
		dst = appendPadded(dst, group(4), 9)
	}
	if n := scale % 9; n > 0 {
		dst = appendPadded(dst, group(digitBytes[n]), n)
	}
	return dst
}

// appendPadded writes x with so many digits, zeros in front.
func appendPadded(dst []byte, x uint64, digits int) []byte {
	var buf [20]byte
	i := len(buf)
	for range digits {
		i--
		buf[i] = byte('0' + x%10)
		x /= 10
	}
	return append(dst, buf[i:]...)
}

// errShort says that a value has fewer bytes than its type needs.
var errShort = fmt.Errorf("the value is shorter than its type")
