package filter

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Mask hides most of a value. Null stays null, all else becomes text.
type Mask struct{ of func(text string) string }

// ParseMask compiles a mask:
//
//	email       the first character, and the domain: j***@example.com
//	name        the first letter of each word: J. D.
//	fixed:TEXT  that text
//	truncate:N  the first N characters
//	hash        HMAC-SHA256 by the secret, in hexadecimal digits
func ParseMask(text, secret string) (Mask, error) {
	name, argument, has := strings.Cut(text, ":")
	switch {
	case text == "email":
		return Mask{maskedEmail}, nil
	case text == "name":
		return Mask{maskedName}, nil
	case text == "hash":
		if secret == "" {
			return Mask{}, errors.New(`mask "hash" needs a secret: set secret in [masks]`)
		}
		return Mask{func(s string) string {
			h := hmac.New(sha256.New, []byte(secret))
			h.Write([]byte(s))
			return hex.EncodeToString(h.Sum(nil))
		}}, nil
	case name == "fixed" && has:
		return Mask{func(string) string { return argument }}, nil
	case name == "truncate" && has:
		n, err := strconv.Atoi(argument)
		if err != nil || n < 1 {
			return Mask{}, fmt.Errorf("mask %q: write how many characters to keep, as truncate:4", text)
		}
		return Mask{func(s string) string { return truncated(s, n) }}, nil
	}
	return Mask{}, fmt.Errorf("mask %q is not known: use email, name, fixed:TEXT, truncate:N or hash", text)
}

// Apply masks a value. A value that is no text counts as its text.
func (m Mask) Apply(v Value) Value {
	if v.kind == Null {
		return v
	}
	text := v.text
	if v.kind != Text {
		text = string(v.AppendText(nil))
	}
	return OfText(m.of(text))
}

const hidden = "***"

// maskedEmail shows nothing of what is no address.
func maskedEmail(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return hidden
	}
	return truncated(s[:at], 1) + hidden + s[at:]
}

func maskedName(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		words[i] = truncated(w, 1) + "."
	}
	return strings.Join(words, " ")
}

// truncated keeps the first n characters.
func truncated(s string, n int) string {
	end := 0
	for ; n > 0 && end < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	return strings.Clone(s[:end])
}
