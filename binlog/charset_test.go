package binlog

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// UpdateFiles tells the tests of generated files to write them.
var UpdateFiles = flag.Bool("update", false, "write charsets.zip and docs/TYPES.md anew")

// tableSets are the character sets that have a table, by the length of their
// longest character in bytes.
var tableSets = map[int][]string{
	1: strings.Fields(`armscii8 ascii cp1250 cp1251 cp1256 cp1257 cp850 cp852 cp866 dec8 geostd8 greek hebrew hp8
		keybcs2 koi8r koi8u latin1 latin2 latin5 latin7 macce macroman swe7 tis620`),
	2: strings.Fields("big5 cp932 euckr gb2312 gbk sjis"),
	3: strings.Fields("eucjpms ujis"),
	4: {"gb18030"},
}

// TestCodeTables holds every character of every set against what the servers
// convert it to.
func TestCodeTables(t *testing.T) {
	kinds := []services.Kind{services.MySQL}
	if os.Getenv("TEST_FULL") != "" {
		kinds = append(kinds, services.MariaDB, services.MariaDB118)
	}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			db := servicestest.NewDatabase(t, kind)
			writeCodes(t, db)
			var out bytes.Buffer
			archive := zip.NewWriter(&out)
			archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
			for longest := 1; longest <= 4; longest++ {
				for _, set := range tableSets[longest] {
					if longest == 4 && kind != services.MySQL {
						continue
					}
					want := serverTable(t, db, set, longest)
					if *UpdateFiles && kind == services.MySQL {
						w, err := archive.Create(set)
						if err != nil {
							t.Fatal(err)
						}
						if _, err := w.Write(fileOf(want)); err != nil {
							t.Fatal(err)
						}
						continue
					}
					got, err := readCodeTable(set)
					if err != nil {
						t.Fatalf("%s: %v; write it with -update", set, err)
					}
					compareTables(t, set, got, want)
				}
			}
			if err := archive.Close(); err != nil {
				t.Fatal(err)
			}
			if *UpdateFiles && kind == services.MySQL {
				if err := os.WriteFile("charsets.zip", out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// fileOf is the file of a set, see readCodeTable.
func fileOf(table *codeTable) []byte {
	var out []byte
	for _, p := range table.planes() {
		if *p.table == nil {
			out = append(out, 0)
			continue
		}
		out = append(out, 1)
		last := uint16(0)
		for _, n := range *p.table {
			out = binary.LittleEndian.AppendUint16(out, n-last)
			last = n
		}
	}
	return out
}

func compareTables(t *testing.T, set string, got, want *codeTable) {
	t.Helper()
	other := want.planes()
	for i, p := range got.planes() {
		a, b := *p.table, *other[i].table
		if len(a) != len(b) {
			t.Errorf("%s: a table of %d, the server has %d", set, len(a), len(b))
			continue
		}
		for code := range a {
			if a[code] != b[code] {
				t.Errorf("%s: %d bytes, %#x is %U, the server has %U", set, i+1, code, a[code], b[code])
				break
			}
		}
	}
}

// writeCodes makes a table of everything that can be a character: c, of so
// many bytes, with its number n.
func writeCodes(t *testing.T, db *servicestest.Database) {
	t.Helper()
	db.MustExec(t, "CREATE TABLE codes (size INT, n INT, c VARBINARY(4))")
	var values []string
	put := func(size, n int, code []byte) {
		values = append(values, fmt.Sprintf("(%d,%d,x'%x')", size, n, code))
		if len(values) == 20_000 {
			db.MustExec(t, "INSERT INTO codes VALUES "+strings.Join(values, ","))
			values = values[:0]
		}
	}
	for n := range 1 << 8 {
		put(1, n, []byte{byte(n)})
	}
	for n := range 1 << 16 {
		if n >= 0x8000 { // no set has a first byte below
			put(2, n, []byte{byte(n >> 8), byte(n)})
		}
		if n >= 0x8000 && n&0x80 != 0 {
			put(3, n, []byte{threeLead, byte(n >> 8), byte(n)})
		}
	}
	if db.Server.Kind == services.MySQL {
		for n := range fourSize {
			put(4, n, fourCode(n))
		}
	}
	db.MustExec(t, "INSERT INTO codes VALUES "+strings.Join(values, ","))
}

func fourCode(n int) []byte {
	return []byte{byte(0x81 + n/12600), byte('0' + n/1260%10), byte(0x81 + n/10%126), byte('0' + n%10)}
}

// serverTable asks the server. What is several characters, or starts like a
// longer one and ends too early, is none.
func serverTable(t *testing.T, db *servicestest.Database, set string, longest int) *codeTable {
	t.Helper()
	whole := "CONVERT(c USING " + set + ")"
	rows, err := db.Query(fmt.Sprintf("SELECT size, n, HEX(CONVERT(%s USING utf32)) FROM codes WHERE size <= ? AND CHAR_LENGTH(%s) = 1", whole, whole), longest)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	table := &codeTable{}
	planes := table.planes()[:longest]
	if longest == 4 {
		planes = slices.Delete(table.planes(), 2, 3)
	}
	for _, p := range planes {
		*p.table = make([]uint16, p.size)
	}
	for rows.Next() {
		var size, n int
		var text *string
		if err := rows.Scan(&size, &n, &text); err != nil {
			t.Fatal(err)
		}
		if text == nil || *text == "" {
			continue
		}
		code, err := hex.DecodeString(*text)
		if err != nil || len(code) != 4 || code[0] != 0 || code[1] != 0 {
			t.Fatalf("%s: %d of %d bytes is %s", set, n, size, *text)
		}
		r := uint16(code[2])<<8 | uint16(code[3])
		if r == '?' && (size > 1 || n != '?') { // what the server writes for a character that Unicode lacks
			r = utf8.RuneError
		}
		(*table.planes()[size-1].table)[n] = r
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if longest > 1 { // some servers take an incomplete character for one that Unicode lacks
		for n := 0x80; n < 1<<8; n++ {
			if table.one[n] == utf8.RuneError {
				table.one[n] = 0
			}
		}
	}
	return table
}

// TestTranscodersOfUnicode: pairs, halves of pairs and cut characters.
func TestTranscodersOfUnicode(t *testing.T) {
	for _, c := range []struct{ charset, hex, want string }{
		{"utf16", "0061d83dde0020ac", "a😀€"},
		{"utf16", "d83d0061", "\uFFFDa"},
		{"utf16", "de00d83d", "\uFFFD\uFFFD"},
		{"utf16", "006100", "a\uFFFD"},
		{"utf16le", "61003dd800deac20", "a😀€"},
		{"ucs2", "0061d83dde00", "a\uFFFD\uFFFD"},
		{"utf32", "000000610001f6000000d83d00110000", "a😀\uFFFD\uFFFD"},
		{"utf32", "0000006100", "a\uFFFD"},
		{"gb18030", "61a2e39439fc3681308130e3329a35", "a€😀\u0080\U0010FFFF"},
		{"gb18030", "e3329a36fe39fe398130", "\uFFFD\uFFFD\uFFFD0"},
		{"sjis", "8140815c8120ff", "\u3000\u2015\uFFFD \uFFFD"},
		{"ujis", "8fb0a1a4a28f41", "\u4e02\u3042\uFFFDA"},
		{"ascii", "61c3a9", "a\uFFFD\uFFFD"},
		{"latin1", "80819dff00", "€\u0081\u009dÿ\x00"},
	} {
		text, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		decode, err := transcoderOf(c.charset)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(decode([]byte("x"), text)); got != "x"+c.want {
			t.Errorf("%s %s is %+q, want %+q", c.charset, c.hex, got[1:], c.want)
		}
	}
}

// TestAstralGB18030 holds every character of four bytes above U+FFFF against
// the server.
func TestAstralGB18030(t *testing.T) {
	step := 4099
	if os.Getenv("TEST_FULL") != "" {
		step = 1
	}
	db := servicestest.NewDatabase(t, services.MySQL)
	decode, err := transcoderOf("gb18030")
	if err != nil {
		t.Fatal(err)
	}
	const batch = 10_000
	for first := fourAstral; first < fourAstral+1<<20; first += batch * step {
		var text []byte
		for n := first; n < min(first+batch*step, fourAstral+1<<20); n += step {
			text = append(text, fourCode(n)...)
		}
		var want string
		if err := db.QueryRow(fmt.Sprintf("SELECT CONVERT(_gb18030 x'%x' USING utf8mb4)", text)).Scan(&want); err != nil {
			t.Fatal(err)
		}
		if got := string(decode(nil, text)); got != want {
			t.Errorf("from %d on, a character differs", first)
		}
	}
}
