package harmonic

import (
	"math/bits"
	"unicode/utf8"
)

// stays marks the ASCII bytes that a JSON string may hold as they are.
var stays = func() (table [utf8.RuneSelf]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

const hexDigits = "0123456789abcdef"

// AppendString appends s to dst as a JSON string, quotes included. It escapes
// what JSON demands (the quote, the backslash, control characters) and U+2028
// and U+2029, which some JavaScript readers take for line ends; other UTF-8
// stays as it is, since escaping it would only eat into the servers' size
// limits. A byte that is not UTF-8 becomes U+FFFD. Nothing is allocated but
// what dst needs to grow.
func AppendString[S []byte | string](dst []byte, s S) []byte {
	dst = append(dst, '"')
	start := 0
	for i := plainUntil(s, 0); i < len(s); i = plainUntil(s, i) {
		c := s[i]
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			if c == '"' || c == '\\' {
				dst = append(dst, '\\')
				start = i // c itself goes with the text after it
				i++
				continue
			}
			dst = appendControl(dst, c)
			i++
			start = i
			continue
		}
		// A conversion this small stays on the stack.
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', '2', '0', '2', hexDigits[r&0xf])
		default:
			i += size
			continue
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// plainUntil returns the first index from i on at which s holds a byte that is
// not ASCII or must be escaped; len(s) if there is none. It looks at eight
// bytes at a time, each in its own lane of a word: a lane's high bit is set
// where the byte is above 0x7f, or where taking something off borrows from it.
// A borrow can mark only lanes above the first that is rightly marked.
func plainUntil[S []byte | string](s S, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		marks := (w | (w - ' '*ones) | ((w ^ '"'*ones) - ones) | ((w ^ '\\'*ones) - ones)) & highs
		if marks != 0 {
			return i + bits.TrailingZeros64(marks)/8
		}
	}
	for i < len(s) && s[i] < utf8.RuneSelf && stays[s[i]] {
		i++
	}
	return i
}

func appendControl(dst []byte, c byte) []byte {
	switch c {
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
