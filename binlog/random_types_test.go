package binlog_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// manyRows is how many random rows a test takes.
func manyRows() int {
	if os.Getenv("TEST_FULL") != "" {
		return 2000
	}
	return 60
}

// randomValue gives SQL of a value for a column of some type.
type randomValue func(r *rand.Rand) string

// sparse gives bytes with many zeros, at the ends too.
func sparse(r *rand.Rand, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		if r.IntN(3) > 0 {
			out[i] = byte(r.Uint32())
		}
		if r.IntN(8) == 0 {
			out[i] = 0xff
		}
	}
	clear(out[r.IntN(n+1):])
	return out
}

func inHex(v []byte) string { return fmt.Sprintf("x'%x'", v) }

func randomUUID(r *rand.Rand) string {
	v := sparse(r, 16)
	v[6] = v[6]&0x0f | byte(r.IntN(8))<<4
	v[8] = v[8]&0x3f | 0x80
	return fmt.Sprintf("'%x-%x-%x-%x-%x'", v[:4], v[4:6], v[6:8], v[8:10], v[10:])
}

func randomInet6(r *rand.Rand) string {
	v := sparse(r, 16)
	for i := 0; i < len(v); i += 2 {
		if r.IntN(2) == 0 {
			v[i], v[i+1] = 0, 0
		}
	}
	switch r.IntN(6) {
	case 0:
		clear(v[:12])
	case 1:
		clear(v[:10])
		v[10], v[11] = 0xff, 0xff
	}
	words := make([]string, 8)
	for i := range words {
		words[i] = fmt.Sprintf("%x", binary.BigEndian.Uint16(v[2*i:]))
	}
	return "'" + strings.Join(words, ":") + "'"
}

func randomInet4(r *rand.Rand) string {
	v := sparse(r, 4)
	return fmt.Sprintf("'%d.%d.%d.%d'", v[0], v[1], v[2], v[3])
}

// randomVector of so many numbers, as the bytes that both servers take.
func randomVector(n int) randomValue {
	return func(r *rand.Rand) string {
		var v []byte
		for range n {
			f := math.Float32frombits(r.Uint32())
			if f != f || math.IsInf(float64(f), 0) || r.IntN(4) == 0 {
				f = float32(r.IntN(9) - 4)
			}
			v = binary.LittleEndian.AppendUint32(v, math.Float32bits(f))
		}
		return inHex(v)
	}
}

func randomGeometry(r *rand.Rand) string {
	number := func() string {
		return fmt.Sprint((r.Float64() - 0.5) * []float64{1e-18, 1e-6, 2, 360, 1e12, 1e21}[r.IntN(6)])
	}
	point := func() string { return number() + " " + number() }
	list := func(n int, each func() string) string {
		out := make([]string, n)
		for i := range out {
			out[i] = each()
		}
		return "(" + strings.Join(out, ",") + ")"
	}
	line := func() string { return list(2+r.IntN(4), point) }
	ring := func() string {
		first := point()
		return "(" + first + "," + strings.Trim(list(3, point), "()") + "," + first + ")"
	}
	polygon := func() string { return list(1+r.IntN(2), ring) }
	var shape func(depth int) string
	shape = func(depth int) string {
		switch n := r.IntN(8); {
		case n == 0:
			return "LINESTRING" + line()
		case n == 1:
			return "POLYGON" + polygon()
		case n == 2:
			return "MULTIPOINT" + list(1+r.IntN(3), point)
		case n == 3:
			return "MULTILINESTRING" + list(1+r.IntN(3), line)
		case n == 4:
			return "MULTIPOLYGON" + list(1+r.IntN(3), polygon)
		case n == 5 && depth < 3:
			return "GEOMETRYCOLLECTION" + list(1+r.IntN(3), func() string { return shape(depth + 1) })
		default:
			return "POINT(" + point() + ")"
		}
	}
	return "ST_GeomFromText('" + shape(0) + "')"
}

// randomDate may be zero, partial, or a day that there is not.
func randomDate(r *rand.Rand) string {
	part := func(most int) int {
		if r.IntN(6) == 0 {
			return 0
		}
		return 1 + r.IntN(most)
	}
	if r.IntN(10) == 0 {
		return "0000-00-00"
	}
	return fmt.Sprintf("%04d-%02d-%02d", part(9999), part(12), part(31))
}

func randomDateTime(r *rand.Rand) string {
	day := randomDate(r)
	if day == "0000-00-00" {
		return "'0000-00-00 00:00:00'"
	}
	return fmt.Sprintf("'%s %02d:%02d:%02d.%06d'", day, r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1e6))
}

func randomTime(r *rand.Rand) string {
	sign := []string{"", "-"}[r.IntN(2)]
	return fmt.Sprintf("'%s%d:%02d:%02d.%06d'", sign, r.IntN(838)*r.IntN(2), r.IntN(60), r.IntN(60), r.IntN(1e6)*r.IntN(2))
}

// randomText of characters of two bytes, the first and second of each from
// these ranges, whether Unicode knows them or not.
func randomText(first, second string) randomValue {
	pick := func(r *rand.Rand, ranges string) byte {
		n := r.IntN(len(ranges)/2) * 2
		return ranges[n] + byte(r.IntN(int(ranges[n+1]-ranges[n])+1))
	}
	return func(r *rand.Rand) string {
		var v []byte
		for range r.IntN(8) {
			if v = append(v, 'a'+byte(r.IntN(26))); first != "" {
				v = append(v, pick(r, first))
			}
			v = append(v, pick(r, second))
		}
		return inHex(v)
	}
}

type randomColumn struct {
	column string
	value  randomValue
	on     []services.Kind
}

func randomColumns() []randomColumn {
	columns := []randomColumn{
		{"UUID", randomUUID, onMariaDB},
		{"INET4", randomInet4, onMariaDB},
		{"INET6", randomInet6, onMariaDB},
		{"VECTOR(5) NOT NULL", randomVector(5), withVector},
		{"GEOMETRY", randomGeometry, nil},
		{"DATE", func(r *rand.Rand) string { return "'" + randomDate(r) + "'" }, nil},
		{"BINARY(16)", func(r *rand.Rand) string { return inHex(sparse(r, 16)) }, nil},
		{"VARCHAR(20) CHARACTER SET gb18030", randomText("\x81\xfe", "\x40\x7e\x80\xfe"), onMySQL},
		{"VARCHAR(20) CHARACTER SET ascii", randomText("", "\x00\x7f"), nil},
	}
	for n := range 7 {
		columns = append(columns,
			randomColumn{fmt.Sprintf("TIME(%d)", n), randomTime, nil},
			randomColumn{fmt.Sprintf("DATETIME(%d)", n), randomDateTime, nil})
	}
	for charset, ranges := range map[string][2]string{
		"big5":    {"\xa1\xf9", "\x40\x7e\xa1\xfe"},
		"cp932":   {"\x81\x9f\xe0\xfc", "\x40\x7e\x80\xfc"},
		"sjis":    {"\x81\x9f\xe0\xfc", "\x40\x7e\x80\xfc"},
		"euckr":   {"\x81\xfe", "\x41\x5a\x61\x7a\x81\xfe"},
		"gb2312":  {"\xa1\xf7", "\xa1\xfe"},
		"gbk":     {"\x81\xfe", "\x40\x7e\x80\xfe"},
		"ujis":    {"\xa1\xfe", "\xa1\xfe"},
		"eucjpms": {"\xa1\xfe", "\xa1\xfe"},
		"ucs2":    {"\x00\xff", "\x00\xff"},
	} {
		value := randomText(ranges[0], ranges[1])
		if charset == "ucs2" {
			value = func(r *rand.Rand) string { return inHex(sparse(r, 2*r.IntN(8))) }
		}
		columns = append(columns, randomColumn{"VARCHAR(20) CHARACTER SET " + charset, value, nil})
	}
	for charset := range strings.FieldsSeq("armscii8 cp1256 cp1257 cp850 dec8 geostd8 greek hebrew hp8 koi8u latin1 latin7 macce swe7 tis620") {
		columns = append(columns, randomColumn{"TINYTEXT CHARACTER SET " + charset, randomText("", "\x00\xff"), nil})
	}
	return columns
}

// TestRandomTypes: values of types that have forms of their own, at random.
func TestRandomTypes(t *testing.T) {
	for _, kind := range []services.Kind{services.MySQL, services.MariaDB, services.MariaDB118} {
		t.Run(kind.String(), func(t *testing.T) {
			db := servicestest.NewDatabase(t, kind)
			random := newRandom(t)
			var columns []string
			var give []randomValue
			for _, c := range randomColumns() {
				if (&sample{on: c.on}).isOn(kind) {
					columns, give = append(columns, c.column), append(give, c.value)
				}
			}
			var values [][]string
			for range manyRows() {
				row := make([]string, len(give))
				for i, value := range give {
					row[i] = value(random)
					if random.IntN(20) == 0 && !strings.Contains(columns[i], "NOT NULL") {
						row[i] = "NULL"
					}
				}
				values = append(values, row)
			}
			sameAsSelect(t, db, time.UTC, columns, values)
		})
	}
}

// TestRandomCompressed: MariaDB's COMPRESSED columns, of every length and by
// every setting.
func TestRandomCompressed(t *testing.T) {
	for _, kind := range onMariaDB {
		t.Run(kind.String(), func(t *testing.T) {
			db := servicestest.NewDatabase(t, kind)
			random := newRandom(t)
			columns := []string{"INT", "VARCHAR(90) COMPRESSED", "VARCHAR(3000) COMPRESSED CHARACTER SET utf16", "TINYTEXT COMPRESSED", "TEXT COMPRESSED", "LONGTEXT COMPRESSED", "VARBINARY(300) COMPRESSED", "BLOB COMPRESSED", "INT"}
			db.SetMaxIdleConns(0) // a connection keeps the settings that it began with
			for _, wrap := range []string{"OFF", "ON"} {
				setGlobal(t, db, "column_compression_zlib_wrap", wrap)
				var values [][]string
				for i := range manyRows() {
					text := fmt.Sprintf("REPEAT('%c', %d)", 'a'+rune(random.IntN(26)), random.IntN(90))
					long := fmt.Sprintf("REPEAT('%d', %d)", random.IntN(1000), random.IntN(1000))
					huge := fmt.Sprintf("REPEAT('%d', %d)", random.IntN(1000), random.IntN(100_000)*random.IntN(2))
					values = append(values, []string{fmt.Sprint(i), text, long, text, long, huge, inHex(sparse(random, 300)), long, fmt.Sprint(-i)})
				}
				sameAsSelect(t, db, time.UTC, columns, values)
			}
		})
	}
}
