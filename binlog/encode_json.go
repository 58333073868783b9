package binlog

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/chorusd/chorusd/harmonic"
)

// jsonAppenders writes a JSON column: natively, or as a string of its text.
func (c *Column) jsonAppenders(cast Cast) (raw, text appender) {
	// A row written without strict mode can hold no document at all.
	raw = func(dst, v []byte) ([]byte, error) {
		if len(v) == 0 {
			return append(dst, "null"...), nil
		}
		values := len(v) // of a document, each takes a byte at least
		return appendJSONB(dst, v[0], v[1:], 0, &values)
	}
	if cast != CastString {
		return raw, appendCompact
	}
	stringOf := func(f appender) appender {
		return func(dst, v []byte) ([]byte, error) {
			document, err := f(nil, v)
			if err != nil {
				return dst, err
			}
			return harmonic.AppendString(dst, document), nil
		}
	}
	return stringOf(raw), stringOf(appendCompact)
}

// Types and sizes of MySQL's binary JSON, from the comment at the head of
// sql-common/json_binary.h in MySQL's source.
const (
	jsonbSmallObject = 0x00
	jsonbLargeObject = 0x01
	jsonbSmallArray  = 0x02
	jsonbLargeArray  = 0x03
	jsonbLiteral     = 0x04
	jsonbInt16       = 0x05
	jsonbUint16      = 0x06
	jsonbInt32       = 0x07
	jsonbUint32      = 0x08
	jsonbInt64       = 0x09
	jsonbUint64      = 0x0a
	jsonbDouble      = 0x0b
	jsonbString      = 0x0c
	jsonbOpaque      = 0x0f

	// jsonMaxDepth is the server's own limit (JSON_DOCUMENT_MAX_DEPTH).
	jsonMaxDepth = 100
)

// MySQL field types that an opaque JSON value can have.
const (
	opaqueDate       = 10
	opaqueTime       = 11
	opaqueDateTime   = 12
	opaqueTimestamp  = 7
	opaqueNewDecimal = 246
)

// jsonbSize is the least number of bytes that a scalar of each type takes.
var jsonbSize = [16]int{
	jsonbLiteral: 1, jsonbInt16: 2, jsonbUint16: 2, jsonbInt32: 4, jsonbUint32: 4,
	jsonbInt64: 8, jsonbUint64: 8, jsonbDouble: 8, jsonbString: 1, jsonbOpaque: 2,
}

var errJSON = errors.New("malformed binary JSON")

// appendJSONB writes a binary JSON value as text, as the server's own text
// has it but for white space. values is how many more there can be: a
// malformed document could refer to the same bytes without end.
func appendJSONB(dst []byte, kind byte, v []byte, depth int, values *int) ([]byte, error) {
	if *values--; depth > jsonMaxDepth || *values < 0 {
		return dst, fmt.Errorf("%w: nested too deep", errJSON)
	}
	if len(v) < jsonbSize[kind&0x0f] {
		return dst, errJSON
	}
	switch kind {
	case jsonbSmallObject, jsonbLargeObject, jsonbSmallArray, jsonbLargeArray:
		return appendJSONBContainer(dst, kind, v, depth, values)
	case jsonbLiteral:
		if v[0] > 2 {
			return dst, errJSON
		}
		return append(dst, [...]string{"null", "true", "false"}[v[0]]...), nil
	case jsonbInt16:
		return strconv.AppendInt(dst, int64(int16(binary.LittleEndian.Uint16(v))), 10), nil
	case jsonbUint16:
		return strconv.AppendUint(dst, uint64(binary.LittleEndian.Uint16(v)), 10), nil
	case jsonbInt32:
		return strconv.AppendInt(dst, int64(int32(binary.LittleEndian.Uint32(v))), 10), nil
	case jsonbUint32:
		return strconv.AppendUint(dst, uint64(binary.LittleEndian.Uint32(v)), 10), nil
	case jsonbInt64:
		return strconv.AppendInt(dst, int64(binary.LittleEndian.Uint64(v)), 10), nil
	case jsonbUint64:
		return strconv.AppendUint(dst, binary.LittleEndian.Uint64(v), 10), nil
	case jsonbDouble:
		f := math.Float64frombits(binary.LittleEndian.Uint64(v))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, errJSON
		}
		return appendJSONDouble(dst, f), nil
	case jsonbString:
		s, err := jsonbBytes(v)
		return harmonic.AppendString(dst, s), err
	case jsonbOpaque:
		s, err := jsonbBytes(v[1:])
		if err != nil {
			return dst, err
		}
		return appendOpaque(dst, v[0], s)
	}
	return dst, fmt.Errorf("%w: type %d", errJSON, kind)
}

// appendJSONDouble writes a double as the server does inside JSON (my_gcvt in
// strings/dtoa.cc): an exponent, without a plus, below 1e-15 and for whole
// numbers from 1e15 on, and the mark of a double on those below.
func appendJSONDouble(dst []byte, f float64) []byte {
	const leastPoint, mostPoint = -14, 15
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	digits, point := pointOf(dst[start:])
	if f != 0 && (point < leastPoint || digits <= point && point > mostPoint) {
		dst = dst[:bytes.IndexByte(dst[start:], 'e')+start+1]
		return strconv.AppendInt(dst, int64(point-1), 10)
	}
	dst = strconv.AppendFloat(dst[:start], f, 'f', -1, 64)
	if digits <= point || f == 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}

// jsonbBytes reads a length (seven bits to a byte, the lowest first) and so many bytes.
func jsonbBytes(v []byte) ([]byte, error) {
	n, size := binary.Uvarint(v)
	if size <= 0 || n > uint64(len(v)-size) {
		return nil, errJSON
	}
	return v[size : size+int(n)], nil
}

func appendJSONBContainer(dst []byte, kind byte, v []byte, depth int, left *int) ([]byte, error) {
	width := 2 // of counts and offsets
	if kind == jsonbLargeObject || kind == jsonbLargeArray {
		width = 4
	}
	object := kind == jsonbSmallObject || kind == jsonbLargeObject
	if len(v) < 2*width {
		return dst, errJSON
	}
	count, size := int(unsignedLE(v[:width])), int(unsignedLE(v[width:2*width]))
	keys := 0 // size of all key entries: offset and a length of two bytes
	if object {
		keys = count * (width + 2)
	}
	values := 2*width + keys
	if size > len(v) || values+count*(width+1) > size {
		return dst, errJSON
	}
	v = v[:size]
	brackets := "[]"
	if object {
		brackets = "{}"
	}
	dst = append(dst, brackets[0])
	for i := range count {
		if i > 0 {
			dst = append(dst, ',')
		}
		if object {
			entry := v[2*width+i*(width+2):]
			from, n := int(unsignedLE(entry[:width])), int(unsignedLE(entry[width:width+2]))
			if from+n > size {
				return dst, errJSON
			}
			dst = append(harmonic.AppendString(dst, v[from:from+n]), ':')
		}
		entry := v[values+i*(width+1) : values+(i+1)*(width+1)]
		value := entry[1:]
		if !jsonbInline(entry[0], width) {
			from := int(unsignedLE(value))
			if from > size {
				return dst, errJSON
			}
			value = v[from:]
		}
		var err error
		if dst, err = appendJSONB(dst, entry[0], value, depth+1, left); err != nil {
			return dst, err
		}
	}
	return append(dst, brackets[1]), nil
}

// jsonbInline says whether a value stands in its entry instead of an offset.
func jsonbInline(kind byte, width int) bool {
	switch kind {
	case jsonbLiteral, jsonbInt16, jsonbUint16:
		return true
	case jsonbInt32, jsonbUint32:
		return width == 4
	}
	return false
}

// appendOpaque writes SQL values inside JSON as the server's text shows them.
func appendOpaque(dst []byte, kind byte, v []byte) ([]byte, error) {
	switch kind {
	case opaqueNewDecimal:
		if len(v) < 3 || len(v)-2 != decimalSize(int(v[0]), int(v[1])) {
			return dst, errJSON
		}
		return appendDecimal(dst, v[2:], int(v[0]), int(v[1])), nil
	case opaqueDate, opaqueDateTime, opaqueTimestamp, opaqueTime:
		if len(v) != 8 {
			return dst, errJSON
		}
		n := int64(binary.LittleEndian.Uint64(v))
		dst = append(dst, '"')
		if n < 0 {
			n = -n
			dst = append(dst, '-')
		}
		micro, whole := int(n&0xffffff), int(n>>24)
		if kind == opaqueTime {
			dst = appendTimeOfDay(dst, whole>>12&0x3ff, whole>>6&63, whole&63, micro, 6)
			return append(dst, '"'), nil
		}
		ym := whole >> 22
		dst = appendDay(dst, clock{year: ym / 13, month: ym % 13, day: whole >> 17 & 31})
		if kind != opaqueDate {
			dst = append(dst, ' ')
			dst = appendTimeOfDay(dst, whole>>12&31, whole>>6&63, whole&63, micro, 6)
		}
		return append(dst, '"'), nil
	}
	dst = append(dst, `"base64:type`...)
	dst = strconv.AppendUint(dst, uint64(kind), 10)
	dst = append(dst, ':')
	dst = base64.StdEncoding.AppendEncode(dst, v)
	return append(dst, '"'), nil
}
