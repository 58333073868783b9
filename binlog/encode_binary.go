package binlog

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

func (c *Column) binaryAppenders(cast Cast) (raw, text appender) {
	form := bytesAppender(cast)
	return c.padded(form), form
}

// bytesAppender writes bytes as a string.
func bytesAppender(cast Cast) appender {
	switch cast {
	case CastHex:
		return quoted(func(dst, v []byte) ([]byte, error) { return hex.AppendEncode(dst, v), nil })
	case CastString:
		return appendText
	}
	return quoted(func(dst, v []byte) ([]byte, error) { return base64.StdEncoding.AppendEncode(dst, v), nil })
}

// padded puts back the zero bytes that the log cuts from the end of values of
// a fixed length.
func (c *Column) padded(f appender) appender {
	if c.length == 0 {
		return f
	}
	return func(dst, v []byte) ([]byte, error) {
		if len(v) < c.length {
			v = append(append(make([]byte, 0, c.length), v...), make([]byte, c.length-len(v))...)
		}
		return f(dst, v)
	}
}

// addressAppenders writes MariaDB's UUID, INET4 and INET6 as its text has them.
// The log has a UUID in the order of its text, though the table stores it in another.
func (c *Column) addressAppenders() (raw, text appender) {
	return quoted(c.appendAddress), appendQuoted
}

func (c *Column) appendAddress(dst, v []byte) ([]byte, error) {
	size := binarySizes[c.Kind]
	var whole [16]byte
	if len(v) > size {
		return dst, fmt.Errorf("%d bytes instead of %d", len(v), size)
	}
	copy(whole[:], v)
	switch c.Kind { // not by a variable, which would put the bytes on the heap
	case UUID:
		return appendUUID(dst, whole[:]), nil
	case Inet6:
		return appendInet6(dst, whole[:]), nil
	default:
		return appendInet4(dst, whole[:size]), nil
	}
}

func appendUUID(dst, v []byte) []byte {
	for i, b := range v {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, []byte{b})
	}
	return dst
}

func appendInet4(dst, v []byte) []byte {
	for i, b := range v {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(b), 10)
	}
	return dst
}

// appendInet6 writes an address as MariaDB does (Inet6::to_string in
// plugin/type_inet/sql_type_inet.cc): the first longest run of zero words is
// left out even if it is of one, and an IPv4 address within is written as one.
func appendInet6(dst, v []byte) []byte {
	const words = 8
	word := func(i int) uint64 { return uint64(v[2*i])<<8 | uint64(v[2*i+1]) }
	gap, length := -1, 0
	for i := 0; i < words; i++ {
		run := 0
		for i+run < words && word(i+run) == 0 {
			run++
		}
		if run > length {
			gap, length = i, run
		}
		i += run
	}
	for i := 0; i < words; i++ {
		switch {
		case i == gap:
			if i == 0 {
				dst = append(dst, ':')
			}
			dst = append(dst, ':')
			i += length - 1
		case i == 6 && gap == 0 && (length == 6 || length == 5 && word(5) == 0xffff):
			return appendInet4(dst, v[2*i:])
		default:
			dst = strconv.AppendUint(dst, word(i), 16)
			if i != words-1 {
				dst = append(dst, ':')
			}
		}
	}
	return dst
}

// vectorElement is the size of a VECTOR's numbers: floats of four bytes, little-endian.
const vectorElement = 4

func vectorAppender(cast Cast) appender {
	if cast != CastJSON {
		return bytesAppender(cast)
	}
	return func(dst, v []byte) ([]byte, error) {
		if len(v)%vectorElement != 0 {
			return dst, fmt.Errorf("a vector of %d bytes", len(v))
		}
		dst = append(dst, '[')
		for i := 0; i < len(v); i += vectorElement {
			if i > 0 {
				dst = append(dst, ',')
			}
			f := float64(math.Float32frombits(binary.LittleEndian.Uint32(v[i:])))
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return dst, fmt.Errorf("a vector with %g", f)
			}
			dst = appendFloat(dst, f, 32)
		}
		return append(dst, ']'), nil
	}
}

var errCompressed = errors.New("malformed COMPRESSED value")

// uncompressed makes an appender of a COMPRESSED column's values.
func uncompressed(f appender) appender {
	return func(dst, v []byte) ([]byte, error) {
		plain, err := uncompress(v)
		if err != nil {
			return dst, err
		}
		return f(dst, plain)
	}
}

// uncompress reads a value of MariaDB's COMPRESSED columns
// (compress_zlib in sql/field_comp.cc): nothing, or a byte of which four bits
// are the method, one tells raw deflate from zlib's format, and three are how
// many bytes follow that hold the original length, big-endian.
func uncompress(v []byte) ([]byte, error) {
	const methodNone, methodZlib, rawDeflate = 0, 8, 0x08
	if len(v) == 0 {
		return v, nil
	}
	head, v := v[0], v[1:]
	switch method := head >> 4; method {
	case methodNone:
		return v, nil
	case methodZlib:
	default:
		return nil, fmt.Errorf("%w: method %d", errCompressed, method)
	}
	size := int(head & 7)
	if len(v) < size {
		return nil, errCompressed
	}
	length, v := unsignedBE(v[:size]), v[size:]
	var r io.Reader = flate.NewReader(bytes.NewReader(v))
	if head&rawDeflate == 0 {
		z, err := zlib.NewReader(bytes.NewReader(v))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errCompressed, err)
		}
		r = z
	}
	// One byte more, to see that it ends there.
	plain, err := io.ReadAll(io.LimitReader(r, int64(length)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCompressed, err)
	}
	if uint64(len(plain)) != length {
		return nil, fmt.Errorf("%w: not of the %d bytes that it says", errCompressed, length)
	}
	return plain, nil
}
