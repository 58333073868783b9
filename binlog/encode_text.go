package binlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/chorusd/chorusd/harmonic"
)

func (c *Column) textAppenders(cast Cast) (raw, text appender, err error) {
	decode, err := transcoderOf(c.Charset)
	if err != nil {
		return nil, nil, err
	}
	form := appendText
	switch cast {
	case CastBoolean:
		form = appendTruth
	case CastJSON:
		form = func(dst, v []byte) ([]byte, error) {
			if !json.Valid(v) { // as Eloquent's cast gives it
				return append(dst, "null"...), nil
			}
			return appendCompact(dst, v)
		}
	}
	if decode == nil {
		return form, form, nil
	}
	// A SELECT gives the column's own bytes, too: see selectExpression.
	raw = func(dst, v []byte) ([]byte, error) { return decode.appendInPlace(dst, v, form) }
	return raw, raw, nil
}

func appendText(dst, v []byte) ([]byte, error) { return harmonic.AppendString(dst, v), nil }

// appendCompact writes JSON without white space between its tokens, U+2028
// and U+2029 escaped as everywhere.
func appendCompact(dst, v []byte) ([]byte, error) {
	start := len(dst)
	buf := bytes.NewBuffer(dst)
	if err := json.Compact(buf, v); err != nil {
		return dst, err
	}
	dst = buf.Bytes()
	if !bytes.Contains(dst[start:], []byte("\u2028")) && !bytes.Contains(dst[start:], []byte("\u2029")) {
		return dst, nil
	}
	text := string(dst[start:])
	return append(dst[:start], separators.Replace(text)...), nil
}

// separators escapes what some readers of JavaScript take for the end of a line.
var separators = strings.NewReplacer("\u2028", `\u2028`, "\u2029", `\u2029`)

// certain says whether a member is known: the dictionary, which is in
// characters of three bytes at most, has a question mark for others.
func (c *Column) certain(member string) error {
	if c.lossy && strings.Contains(member, "?") {
		return fmt.Errorf("the dictionary tells this member as %q, in which ? can stand for another character: "+
			"SET GLOBAL binlog_row_metadata = 'FULL' makes the log tell it", member)
	}
	return nil
}

// memberAppenders writes ENUM by its index and SET by its mask.
func (c *Column) memberAppenders() (raw, text appender) {
	if c.Kind == Enum {
		return func(dst, v []byte) ([]byte, error) {
			m, err := c.member(v)
			return harmonic.AppendString(dst, m), err
		}, appendText
	}
	return func(dst, v []byte) ([]byte, error) {
		list, err := c.memberList(v)
		return harmonic.AppendString(dst, list), err
	}, appendText
}

// member is the one that an ENUM's number stands for.
func (c *Column) member(v []byte) (string, error) {
	n := int(unsignedLE(v))
	if n == 0 { // what a non-strict server stores for a wrong value
		return "", nil
	}
	if n > len(c.Members) {
		return "", fmt.Errorf("member %d of %d", n, len(c.Members))
	}
	return c.Members[n-1], c.certain(c.Members[n-1])
}

// memberList is what a SET's mask stands for: its members with commas between.
func (c *Column) memberList(v []byte) ([]byte, error) {
	mask := unsignedLE(v)
	if len(c.Members) < 64 && mask>>len(c.Members) != 0 {
		return nil, fmt.Errorf("mask %#x of %d members", mask, len(c.Members))
	}
	var list []byte
	for i, m := range c.Members {
		if mask>>i&1 == 1 {
			if err := c.certain(m); err != nil {
				return nil, err
			}
			if len(list) > 0 {
				list = append(list, ',')
			}
			list = append(list, m...)
		}
	}
	return list, nil
}
