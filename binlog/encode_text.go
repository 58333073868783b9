package binlog

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"

	"github.com/chorusd/chorusd/harmonic"
)

// encodings of the character sets whose bytes are not UTF-8 already; nil
// where they are. MySQL's latin1 is Windows' code page 1252.
var encodings = map[string]encoding.Encoding{
	"utf8mb4": nil, "utf8mb3": nil, "utf8": nil, "ascii": nil,
	"latin1":  charmap.Windows1252,
	"latin2":  charmap.ISO8859_2,
	"cp1250":  charmap.Windows1250,
	"cp1251":  charmap.Windows1251,
	"koi8r":   charmap.KOI8R,
	"koi8u":   charmap.KOI8U,
	"ucs2":    unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
	"utf16":   unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
	"utf16le": unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
	"utf32":   utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM),
}

// toUTF8 compiles the way from the column's character set to UTF-8; nil if
// there is nothing to do.
func (c *Column) toUTF8() (func([]byte) ([]byte, error), error) {
	enc, ok := encodings[c.Charset]
	if !ok {
		return nil, fmt.Errorf("character set %q is not supported yet: leave the column out of fields, or convert it to utf8mb4", c.Charset)
	}
	if enc == nil {
		return nil, nil
	}
	return enc.NewDecoder().Bytes, nil
}

func (c *Column) textAppenders(cast Cast) (raw, text appender, err error) {
	decode, err := c.toUTF8()
	if err != nil {
		return nil, nil, err
	}
	switch cast {
	case CastBoolean:
		text = appendTruth
	case CastJSON:
		text = func(dst, v []byte) ([]byte, error) {
			if !json.Valid(v) { // as Eloquent's cast gives it
				return append(dst, "null"...), nil
			}
			return appendCompact(dst, v)
		}
	default:
		text = appendText
	}
	if decode == nil {
		return text, text, nil
	}
	return func(dst, v []byte) ([]byte, error) {
		utf8, err := decode(v)
		if err != nil {
			return dst, err
		}
		return text(dst, utf8)
	}, text, nil
}

func appendText(dst, v []byte) ([]byte, error) { return harmonic.AppendString(dst, v), nil }

// appendCompact writes JSON without white space between its tokens.
func appendCompact(dst, v []byte) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	err := json.Compact(buf, v)
	return buf.Bytes(), err
}

func (c *Column) binaryAppenders(cast Cast) (raw, text appender) {
	var form appender
	switch cast {
	case CastHex:
		form = quoted(func(dst, v []byte) ([]byte, error) { return hex.AppendEncode(dst, v), nil })
	case CastString:
		form = appendText
	default:
		form = quoted(func(dst, v []byte) ([]byte, error) { return base64.StdEncoding.AppendEncode(dst, v), nil })
	}
	if c.length == 0 {
		return form, form
	}
	// The log cuts trailing zero bytes from BINARY(n).
	return func(dst, v []byte) ([]byte, error) {
		if len(v) < c.length {
			v = append(append(make([]byte, 0, c.length), v...), make([]byte, c.length-len(v))...)
		}
		return form(dst, v)
	}, form
}

// memberAppenders writes ENUM by its index and SET by its mask.
func (c *Column) memberAppenders() (raw, text appender) {
	if c.Kind == Enum {
		return func(dst, v []byte) ([]byte, error) {
			n := int(unsignedLE(v))
			if n == 0 { // what a non-strict server stores for a wrong value
				return append(dst, `""`...), nil
			}
			if n > len(c.Members) {
				return dst, fmt.Errorf("member %d of %d", n, len(c.Members))
			}
			return harmonic.AppendString(dst, c.Members[n-1]), nil
		}, appendText
	}
	return func(dst, v []byte) ([]byte, error) {
		mask := unsignedLE(v)
		if len(c.Members) < 64 && mask>>len(c.Members) != 0 {
			return dst, fmt.Errorf("mask %#x of %d members", mask, len(c.Members))
		}
		var list []byte
		for i, m := range c.Members {
			if mask>>i&1 == 1 {
				if len(list) > 0 {
					list = append(list, ',')
				}
				list = append(list, m...)
			}
		}
		return harmonic.AppendString(dst, list), nil
	}, appendText
}
