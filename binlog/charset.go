package binlog

import (
	"archive/zip"
	"bytes"
	_ "embed" // the tables
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// transcoder appends text in some character set to dst as UTF-8. A character
// that has no code point in Unicode, or bytes that are no character of the
// set, become U+FFFD.
type transcoder func(dst, text []byte) []byte

// transcoderOf finds the way from a character set, by MySQL's name for it, to
// UTF-8; nil if its bytes are UTF-8 already.
func transcoderOf(charset string) (transcoder, error) {
	switch charset {
	case "utf8mb4", "utf8mb3", "utf8",
		"binary": // only the members of ENUM and SET are text in it
		return nil, nil
	case "utf16":
		return utf16Transcoder(binary.BigEndian), nil
	case "utf16le":
		return utf16Transcoder(binary.LittleEndian), nil
	case "ucs2":
		return appendUCS2, nil
	case "utf32":
		return appendUTF32, nil
	}
	if known, ok := codeTables.Load(charset); ok {
		return known.(*codeTable).appendUTF8, nil
	}
	t, err := readCodeTable(charset)
	if err != nil {
		return nil, fmt.Errorf("character set %q is not known: leave the column out of fields, or convert it to utf8mb4", charset)
	}
	codeTables.Store(charset, t)
	return t.appendUTF8, nil
}

// appendInPlace appends what form makes of the text as UTF-8. The UTF-8 lies
// in dst meanwhile, so that nothing is allocated.
func (t transcoder) appendInPlace(dst, text []byte, form appender) ([]byte, error) {
	start := len(dst)
	dst = t(dst, text)
	end := len(dst)
	dst, err := form(dst, dst[start:end])
	return append(dst[:start], dst[end:]...), err
}

func utf16Transcoder(order binary.ByteOrder) transcoder {
	return func(dst, text []byte) []byte {
		for len(text) >= 2 {
			r := rune(order.Uint16(text))
			text = text[2:]
			if utf16.IsSurrogate(r) && len(text) >= 2 {
				if pair := utf16.DecodeRune(r, rune(order.Uint16(text))); pair != utf8.RuneError {
					r, text = pair, text[2:]
				}
			}
			dst = utf8.AppendRune(dst, r)
		}
		return appendRest(dst, text)
	}
}

// appendUCS2 differs from UTF-16 in that there are no pairs of surrogates,
// only single ones, which are no characters.
func appendUCS2(dst, text []byte) []byte {
	for ; len(text) >= 2; text = text[2:] {
		dst = utf8.AppendRune(dst, rune(binary.BigEndian.Uint16(text)))
	}
	return appendRest(dst, text)
}

func appendUTF32(dst, text []byte) []byte {
	for ; len(text) >= 4; text = text[4:] {
		dst = utf8.AppendRune(dst, rune(binary.BigEndian.Uint32(text)))
	}
	return appendRest(dst, text)
}

// appendRest stands for bytes that are too few to be a character.
func appendRest(dst, rest []byte) []byte {
	if len(rest) > 0 {
		return utf8.AppendRune(dst, utf8.RuneError)
	}
	return dst
}

// codeTablesZip holds a file for each character set that is neither UTF-8,
// UTF-16 nor UTF-32: the code points that MySQL converts its characters to.
// MariaDB's are the same. TestCodeTables writes it with -update, and compares
// it with the servers without.
//
//go:embed charsets.zip
var codeTablesZip []byte

// codeTables holds the tables that were read, by the name of the set.
var codeTables sync.Map

// codeTable maps the characters of a set to code points: 0 where there is no
// character, U+FFFD where one has no code point. Which tables a set has
// depends on the length of its characters.
type codeTable struct {
	one   []uint16 // by the byte; 0 is 0, too
	two   []uint16 // by both bytes, big-endian
	three []uint16 // by the two bytes after threeLead
	four  []uint16 // by fourIndex
}

const (
	// threeLead begins the characters of three bytes in ujis and eucjpms.
	threeLead = 0x8f
	// gb18030's characters of four bytes are numbered in the order of their
	// bytes; so many come before the one of U+FFFF, and from fourAstral on the
	// numbers follow the code points from U+10000.
	fourSize   = 39420
	fourAstral = 189000
)

// planes are the tables in the order in which the file has them.
func (t *codeTable) planes() []struct {
	table *[]uint16
	size  int
} {
	return []struct {
		table *[]uint16
		size  int
	}{{&t.one, 1 << 8}, {&t.two, 1 << 16}, {&t.three, 1 << 16}, {&t.four, fourSize}}
}

// readCodeTable reads the file of a set: for each table a byte that says
// whether there is one, then its numbers, each less the one before it,
// little-endian.
func readCodeTable(charset string) (*codeTable, error) {
	archive, err := zip.NewReader(bytes.NewReader(codeTablesZip), int64(len(codeTablesZip)))
	if err != nil {
		return nil, err
	}
	file, err := archive.Open(charset)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	t := &codeTable{}
	for _, p := range t.planes() {
		present := content[0] == 1
		content = content[1:]
		if !present {
			continue
		}
		numbers, last := make([]uint16, p.size), uint16(0)
		for i := range numbers {
			last += binary.LittleEndian.Uint16(content[2*i:])
			numbers[i] = last
		}
		*p.table, content = numbers, content[2*p.size:]
	}
	return t, nil
}

func (t *codeTable) appendUTF8(dst, text []byte) []byte {
	for len(text) > 0 {
		r, size := rune(t.one[text[0]]), 1
		if r == 0 && text[0] != 0 {
			r, size = t.long(text)
		}
		dst, text = utf8.AppendRune(dst, r), text[size:]
	}
	return dst
}

// long reads a character of several bytes.
func (t *codeTable) long(text []byte) (r rune, size int) {
	if t.two != nil && len(text) >= 2 {
		if r := t.two[binary.BigEndian.Uint16(text)]; r != 0 {
			return rune(r), 2
		}
	}
	if t.three != nil && len(text) >= 3 && text[0] == threeLead {
		if r := t.three[binary.BigEndian.Uint16(text[1:])]; r != 0 {
			return rune(r), 3
		}
	}
	if t.four != nil && len(text) >= 4 {
		if n := fourIndex(text); n >= fourAstral && n-fourAstral <= utf8.MaxRune-0x10000 {
			return rune(0x10000 + n - fourAstral), 4
		} else if n >= 0 && n < fourSize {
			return rune(t.four[n]), 4
		} else if n >= 0 {
			return utf8.RuneError, 4
		}
	}
	return utf8.RuneError, 1
}

// fourIndex numbers gb18030's characters of four bytes; -1 if it is none.
func fourIndex(text []byte) int {
	a, b, c, d := int(text[0])-0x81, int(text[1])-'0', int(text[2])-0x81, int(text[3])-'0'
	if uint(a) > 0x7d || uint(b) > 9 || uint(c) > 0x7d || uint(d) > 9 {
		return -1
	}
	return ((a*10+b)*126+c)*10 + d
}
