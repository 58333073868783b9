package binlog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// newRandom is another one each time; the log tells how to have it again.
func newRandom(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// rowsByID keeps the columns of each inserted row.
type rowsByID struct {
	*recorder
	loc           *time.Location
	rows, scalars map[string][]string
}

func columnsIn(row *binlog.Row, loc *time.Location) ([]string, error) {
	out := make([]string, len(row.Table.Columns))
	for i := range out {
		e, err := row.Table.Encoder(i, binlog.CastDefault, loc)
		if err != nil {
			return nil, err
		}
		text, err := e.Append(nil, row)
		if err != nil {
			return nil, err
		}
		if !json.Valid(text) {
			return nil, fmt.Errorf("column %s is %q, which is no JSON", row.Table.Columns[i].Name, text)
		}
		out[i] = string(text)
	}
	return out, nil
}

// scalarsIn are the columns as scalars, also as booleans; "" where there is none.
func scalarsIn(row *binlog.Row, loc *time.Location) ([]string, error) {
	out := make([]string, len(row.Table.Columns))
	for i := range out {
		for _, cast := range []binlog.Cast{binlog.CastDefault, "bool"} {
			r, err := row.Table.Scalar(i, cast, loc)
			if err != nil {
				continue
			}
			s, err := r.Read(row)
			if err != nil {
				return nil, err
			}
			if s.Kind == binlog.ScalarUint && s.Bits <= math.MaxInt64 || s.Kind == binlog.ScalarFloat && s.Bits == math.Float64bits(math.Copysign(0, -1)) {
				return nil, fmt.Errorf("column %s has another form of %v", row.Table.Columns[i].Name, s)
			}
			out[i] += fmt.Sprintf("%d %d %q, ", s.Kind, int64(s.Bits), s.Text)
		}
	}
	return out, nil
}

func (r *rowsByID) Change(_ context.Context, c *binlog.Change) error {
	columns, err := columnsIn(c.After, r.loc)
	if err != nil {
		return err
	}
	scalars, err := scalarsIn(c.After, r.loc)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows[columns[0]], r.scalars[columns[0]] = columns, scalars
	return nil
}

// sameAsSelect writes rows of SQL literals to a table of such columns, expects
// the same from the log as from a SELECT, and from go-mysql's decoder where
// that is right, and returns it.
func sameAsSelect(t *testing.T, db *servicestest.Database, loc *time.Location, columns []string, values [][]string) [][]string {
	t.Helper()
	create := "CREATE TABLE a (id INT PRIMARY KEY"
	for i, c := range columns {
		create += fmt.Sprintf(", c%d %s", i, c)
	}
	statements := []string{"SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', NAMES utf8mb4", "DROP TABLE IF EXISTS a", create + ") CHARACTER SET utf8mb4"}
	session(t, db, statements...)
	cfg := configOf(t, db)
	from := current(t, cfg)
	inserts := []string{statements[0]}
	keys := make([]string, len(values))
	for id, row := range values {
		keys[id] = fmt.Sprintf("[%d]", id)
		inserts = append(inserts, fmt.Sprintf("INSERT INTO a VALUES (%d, %s)", id, strings.Join(row, ", ")))
	}
	session(t, db, inserts...)
	end := current(t, cfg)
	rec := &rowsByID{recorder: newRecorder(from), loc: loc, rows: map[string][]string{}, scalars: map[string][]string{}}
	follow(t, cfg, from, rec, tableA(db))
	rec.until(t, end)

	report := binlog.Check(t.Context(), cfg, []binlog.TableName{tableA(db)})
	for _, p := range report.Problems {
		t.Fatal(p)
	}
	table := report.Tables[tableA(db)]
	all := make([]int, len(table.Columns))
	for i := range all {
		all[i] = i
	}
	third := map[string][]any{}
	if !strings.Contains(strings.Join(columns, ","), "COMPRESSED") {
		third = rowsOfGoMySQL(t, cfg, from, table.Name, len(values))
	}
	reader := binlog.NewReader(cfg, report.Server)
	defer reader.Close()
	out := make([][]string, len(values))
	read := 0
	_, err := reader.Rows(t.Context(), table, all, []binlog.KeyColumn{{Column: 0}}, keys, end, func(row *binlog.Row) error {
		selected, err := columnsIn(row, loc)
		if err != nil {
			return err
		}
		read++
		scalars, err := scalarsIn(row, loc)
		if err != nil {
			return err
		}
		if logged := rec.scalars[selected[0]]; !slices.Equal(scalars, logged) {
			t.Errorf("%v, row %s: the log has the scalars %.500q, a SELECT %.500q", columns, selected[0], logged, scalars)
		}
		logged := rec.rows[selected[0]]
		for i := range selected {
			if i >= len(logged) || logged[i] != selected[i] {
				t.Errorf("%s, row %s: the log has %.200q, a SELECT %.200q", append([]string{"INT"}, columns...)[i], selected[0], logged, selected)
				break
			}
			if theirs := third[selected[0]]; theirs != nil {
				if form, ok := goMySQLForm(&table.Columns[i], theirs[i], loc); ok && !sameForm(&table.Columns[i], form, logged[i]) {
					t.Errorf("%s, row %s: the log has %.200q, go-mysql %.200q", append([]string{"INT"}, columns...)[i], selected[0], logged[i], form)
				}
			}
		}
		id, err := strconv.Atoi(selected[0])
		out[id] = selected[1:]
		return err
	})
	if err != nil || read != len(values) {
		t.Fatalf("%d of %d rows were read, %v", read, len(values), err)
	}
	return out
}

// onEachMetadata runs a test on both servers, with and without names in the log.
func onEachMetadata(t *testing.T, test func(t *testing.T, db *servicestest.Database)) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		for _, metadata := range []string{"MINIMAL", "FULL"} {
			t.Run(metadata, func(t *testing.T) {
				setGlobal(t, db, "binlog_row_metadata", metadata)
				test(t, db)
			})
		}
	})
}

func TestRandomDecimals(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		random := newRandom(t)
		digits := func(n int) string {
			var b strings.Builder
			for range n {
				b.WriteByte("0000123456789999"[random.IntN(16)])
			}
			return b.String()
		}
		var columns []string
		var scales [][2]int
		for range 40 {
			precision := 1 + random.IntN(65)
			scale := random.IntN(min(precision, 30) + 1)
			columns, scales = append(columns, fmt.Sprintf("DECIMAL(%d,%d)", precision, scale)), append(scales, [2]int{precision, scale})
		}
		var values [][]string
		for range 50 {
			var row []string
			for _, s := range scales {
				v := digits(random.IntN(s[0]-s[1]+1)) + "." + digits(random.IntN(s[1]+1)) + "0"
				if random.IntN(2) == 0 {
					v = "-0" + v
				}
				row = append(row, "'"+v+"'")
			}
			values = append(values, row)
		}
		for _, row := range sameAsSelect(t, db, time.UTC, columns, values) {
			for i, v := range row {
				if text := strings.Trim(v, `"`); len(strings.TrimLeft(text, "-.0123456789")) > 0 || text == "" {
					t.Errorf("%s became %s", columns[i], v)
				}
			}
		}
	})
}

// TestRandomJSON: MySQL's binary form against its own text.
func TestRandomJSON(t *testing.T) {
	db := servicestest.NewDatabase(t, services.MySQL)
	random := newRandom(t)
	var value func(depth int) any
	text := func() string {
		length := random.IntN(20)
		if random.IntN(20) == 0 {
			length = 100 + random.IntN(20_000) // longer than one byte or two of length say
		}
		runes := []rune("abc é☕😀\"\\/\n\u2028<&\x01")
		out := make([]rune, length)
		for i := range out {
			out[i] = runes[random.IntN(len(runes))]
		}
		return string(out)
	}
	value = func(depth int) any {
		kind := random.IntN(10)
		if depth > 4 {
			kind %= 8
		}
		switch kind {
		case 0:
			return nil
		case 1:
			return random.IntN(2) == 0
		case 2:
			return random.IntN(200_000) - 100_000
		case 3:
			return int64(random.Uint64())
		case 4:
			return random.Uint64()
		case 5:
			return float64(int64(random.Uint64())) * []float64{1e-33, 1e-30, 1e-25, 1e-9, 1e-5, 1e-3, 1, 1e9, 1e200}[random.IntN(9)]
		case 6:
			return float64(random.IntN(1000)) / 8
		case 7:
			return text()
		case 8:
			out := map[string]any{}
			for range random.IntN(12) {
				out[text()] = value(depth + 1)
			}
			return out
		default:
			out := []any{}
			for range random.IntN(12) {
				out = append(out, value(depth+1))
			}
			return out
		}
	}
	var values [][]string
	for range 300 {
		document, err := json.Marshal(value(0))
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, []string{fmt.Sprintf("CONVERT(0x%x USING utf8mb4)", document)})
	}
	values = append(values,
		[]string{fmt.Sprintf("'%s1%s'", strings.Repeat("[", 99), strings.Repeat("]", 99))},
		[]string{"JSON_ARRAY(CAST('2026-11-22 01:02:03.000004' AS DATETIME(6)), CAST('1000-01-01' AS DATE), CAST('-838:59:59' AS TIME), CAST(-1.5 AS DECIMAL(65,30)), CAST(0 AS DECIMAL(1,0)))"},
		[]string{"JSON_ARRAY(x'00ff', b'101', CAST('a' AS BINARY), TIMESTAMP('2026-11-22 00:00:00'), 1e300, -0e0, 1.0, 100000000000000000000)"},
		[]string{"JSON_ARRAY(1e14, 1e15, 123456789012345e0, 1234567890123456e0, 1e-14, 1e-15, 9.5e-15, 1e-16, -0e0, 1.7976931348623157e308, 5e-324)"},
		[]string{"JSON_OBJECT('', '', 'a', JSON_OBJECT(), 'b', JSON_ARRAY())"},
	)
	sameAsSelect(t, db, time.UTC, []string{"JSON"}, values)
}

func TestCharacterSets(t *testing.T) {
	samples := []struct{ charset, text string }{
		{"utf8mb4", "é☕😀 ÿ"},
		{"utf8mb3", "é☕ÿ"},
		{"ascii", "plain"},
		{"latin1", "é€ÿ"},
		{"latin2", "łĄž"},
		{"latin5", "ğİş"},
		{"latin7", "ąčę"},
		{"armscii8", "Աբգ"},
		{"cp1250", "łĄž€"},
		{"cp1251", "Привет€"},
		{"cp1256", "مرحبا"},
		{"cp1257", "ąčę€"},
		{"cp850", "é½▓"},
		{"cp852", "łĄž"},
		{"cp866", "Привет"},
		{"dec8", "éÿ"},
		{"geostd8", "აბგ"},
		{"greek", "αβγΩ"},
		{"hebrew", "שלום"},
		{"hp8", "éÿ"},
		{"keybcs2", "čďř"},
		{"koi8r", "Привет"},
		{"koi8u", "Привіт"},
		{"macce", "łĄž"},
		{"macroman", "éÿ€"},
		{"swe7", "åäöÉ"},
		{"tis620", "สวัสดี"},
		{"big5", "漢字a"},
		{"gb2312", "汉字a"},
		{"gbk", "漢字a"},
		{"gb18030", "漢字a€😀"},
		{"euckr", "한글a"},
		{"sjis", "漢字ｱa"},
		{"cp932", "漢字ｱ①"},
		{"ujis", "漢字ｱa"},
		{"eucjpms", "漢字ｱ①"},
		{"ucs2", "é☕ÿ"},
		{"utf16", "é😀"},
		{"utf16le", "é😀"},
		{"utf32", "é😀"},
	}
	types := []string{"CHAR(20)", "VARCHAR(20)", "VARCHAR(300)", "TEXT", "ENUM('x', '%s')", "SET('x', '%s')"}
	onEachMetadata(t, func(t *testing.T, db *servicestest.Database) {
		var columns, row, wants []string
		for _, s := range samples {
			if s.charset == "gb18030" && db.Server.Kind != services.MySQL {
				continue
			}
			for _, c := range types {
				text := s.text
				if strings.Contains(c, "%s") { // the dictionary has members in three bytes at most
					text = strings.ReplaceAll(text, "😀", "")
				}
				columns = append(columns, strings.ReplaceAll(c, "%s", text)+" CHARACTER SET "+s.charset)
				row = append(row, "'"+text+"'")
				want, err := json.Marshal(text)
				if err != nil {
					t.Fatal(err)
				}
				wants = append(wants, string(want))
			}
		}
		got := sameAsSelect(t, db, time.UTC, columns, [][]string{row})
		for i, want := range wants {
			if got[0][i] != want {
				t.Errorf("%s: got %s, want %s", columns[i], got[0][i], want)
			}
		}
	})
}

// TestMembersWithOddNames: what the server escapes in its dictionary.
func TestMembersWithOddNames(t *testing.T) {
	members := []string{`a`, `it's`, `back\slash`, `com;ma`, "new\nline", `"`, ``, `)`, "tab\t", "\r"}
	list := make([]string, len(members))
	for i, m := range members {
		list[i] = "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`, "\r", `\r`).Replace(m) + "'"
	}
	onEachMetadata(t, func(t *testing.T, db *servicestest.Database) {
		all := strings.Join(list, ",")
		var values [][]string
		for i := range members {
			values = append(values, []string{list[i], list[i]})
		}
		for i, row := range sameAsSelect(t, db, time.UTC, []string{"ENUM(" + all + ")", "SET(" + all + ")"}, values) {
			want, err := json.Marshal(members[i])
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range row {
				if got != string(want) {
					t.Errorf("member %q became %s", members[i], got)
				}
			}
		}
	})
}

func TestManyMembers(t *testing.T) {
	member := func(i int) string { return "'m" + strconv.Itoa(i) + "'" }
	var many, most []string
	for i := range 300 {
		many = append(many, member(i))
	}
	for i := range 64 {
		most = append(most, member(i))
	}
	onEachMetadata(t, func(t *testing.T, db *servicestest.Database) {
		got := sameAsSelect(t, db, time.UTC, []string{"ENUM(" + strings.Join(many, ",") + ")", "SET(" + strings.Join(most, ",") + ")", "SET(" + strings.Join(most[:9], ",") + ")"},
			[][]string{{member(299), "'m0,m63'", "'m8'"}, {member(0), "18446744073709551615", "''"}, {"'wrong'", "0", "NULL"}})
		if got[0][0] != `"m299"` || got[0][1] != `"m0,m63"` || got[2][0] != `""` {
			t.Errorf("got %q", got)
		}
	})
}

// TestTimesInAnotherZone: DATETIME is of the app's zone, TIMESTAMP an instant.
func TestTimesInAnotherZone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		columns := []string{"DATETIME", "DATETIME(6)", "TIMESTAMP NULL", "TIMESTAMP(3) NULL", "DATE", "TIME(1)"}
		row := func(s string) []string { return []string{s, s, s, s, s, s} }
		values := [][]string{row("'2026-03-29 02:30:00.123456'"), row("'2026-10-25 02:30:00.5'"), row("'2026-07-01 00:00:00'"), row("NULL"), row("'0000-00-00 00:00:00'"), row("'2026-11-00 00:00:00'")}
		random := newRandom(t)
		for range 200 {
			at := time.Unix(random.Int64N(1<<31-2)+1, random.Int64N(1e9)).UTC()
			values = append(values, row(at.Format("'2006-01-02 15:04:05.000000'")))
		}
		got := sameAsSelect(t, db, berlin, columns, values)
		want := [][]string{
			{`"2026-03-29T01:30:00.000000Z"`, `"2026-03-29T01:30:00.123456Z"`, `"2026-03-29T02:30:00.000000Z"`, `"2026-03-29T02:30:00.123000Z"`, `"2026-03-29"`, `"02:30:00.1"`},
			{`"2026-10-25T00:30:01.000000Z"`, `"2026-10-25T00:30:00.500000Z"`, `"2026-10-25T02:30:01.000000Z"`, `"2026-10-25T02:30:00.500000Z"`, `"2026-10-25"`, `"02:30:00.5"`},
			{`"2026-06-30T22:00:00.000000Z"`, `"2026-06-30T22:00:00.000000Z"`, `"2026-07-01T00:00:00.000000Z"`, `"2026-07-01T00:00:00.000000Z"`, `"2026-07-01"`, `"00:00:00.0"`},
			{"null", "null", "null", "null", "null", "null"},
			{"null", "null", "null", "null", `"0000-00-00"`, `"00:00:00.0"`},
			{"null", "null", "null", "null", `"2026-11-00"`, `"00:00:00.0"`},
		}
		for i, w := range want {
			for j := range w {
				// MariaDB cuts fractions that do not fit, MySQL rounds them.
				if g := got[i][j]; g != w[j] && (db.Server.Kind == services.MySQL || i != 1) {
					t.Errorf("%s of %s is %s, want %s", columns[j], values[i][j], g, w[j])
				}
			}
		}
	})
}

func TestRandomNumbers(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		random := newRandom(t)
		columns := []string{"TINYINT", "SMALLINT UNSIGNED", "MEDIUMINT", "MEDIUMINT UNSIGNED", "INT", "BIGINT", "BIGINT UNSIGNED", "FLOAT", "DOUBLE", "BIT(33)", "YEAR", "INT ZEROFILL", "FLOAT(7,3)", "DOUBLE(12,4)"}
		var values [][]string
		for range 200 {
			n := int64(random.Uint64()) >> random.IntN(64)
			f := strconv.FormatFloat(random.NormFloat64()*[]float64{1e-30, 1e-5, 1, 1e8, 1e35}[random.IntN(5)], 'g', -1, 64)
			i, u := strconv.FormatInt(n, 10), strconv.FormatUint(random.Uint64()>>random.IntN(64), 10)
			values = append(values, []string{i, u, i, u, i, i, u, f, f, u, strconv.Itoa(1901 + random.IntN(255)), u, f, f})
		}
		sameAsSelect(t, db, time.UTC, columns, values)
	})
}

func TestRandomBinaries(t *testing.T) {
	onEachMetadata(t, func(t *testing.T, db *servicestest.Database) {
		random := newRandom(t)
		columns := []string{"BINARY(16)", "BINARY(255)", "VARBINARY(16)", "VARBINARY(300)", "TINYBLOB", "BLOB", "LONGBLOB", "CHAR(4) CHARACTER SET binary"}
		var values [][]string
		for range 60 {
			n := random.IntN(17)
			data := make([]byte, n)
			for i := range data {
				data[i] = byte(random.IntN(4)) // many zeros, also at the end
			}
			v := fmt.Sprintf("x'%x'", data)
			values = append(values, []string{v, v, v, v, v, v, v, fmt.Sprintf("x'%x'", data[:min(n, 4)])})
		}
		sameAsSelect(t, db, time.UTC, columns, values)
	})
}

// TestTextKeys are found by their bytes under any collation, those that
// Laravel makes by default among them.
func TestTextKeys(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		for _, collation := range []string{"utf8mb4_unicode_ci", "utf8mb4_bin", "utf8mb4_general_ci", "latin1_swedish_ci", "ascii_bin", "utf8mb3_general_ci"} {
			t.Run(collation, func(t *testing.T) {
				charset, _, _ := strings.Cut(collation, "_")
				db.MustExec(t, "DROP TABLE IF EXISTS a",
					fmt.Sprintf("CREATE TABLE a (k VARCHAR(50) CHARACTER SET %s COLLATE %s PRIMARY KEY, v INT)", charset, collation),
					`INSERT INTO a VALUES ('01a2044a-c617-7000-8000-000000000001', 1), ('Case', 2), ('', 3), ('it''s \\ "', 4)`)
				cfg := configOf(t, db)
				report := binlog.Check(t.Context(), cfg, []binlog.TableName{tableA(db)})
				for _, p := range report.Problems {
					t.Fatal(p)
				}
				reader := binlog.NewReader(cfg, report.Server)
				defer reader.Close()
				keys := []string{`["01a2044a-c617-7000-8000-000000000001"]`, `["Case"]`, `[""]`, `["it's \\ \""]`, `["gone"]`}
				found := map[string]bool{}
				_, err := reader.Rows(t.Context(), report.Tables[tableA(db)], []int{0, 1}, []binlog.KeyColumn{{Column: 0}}, keys, current(t, cfg), func(row *binlog.Row) error {
					text, err := rowJSON(row)
					found[text] = true
					return err
				})
				if err != nil || len(found) != 4 || !found[`["it's \\ \"",4]`] || !found[`["",3]`] {
					t.Errorf("found %v, %v", found, err)
				}
			})
		}
	})
}
