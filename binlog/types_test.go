package binlog_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// sample is a column with a value at an edge of its type, and the JSON that
// it is to become.
type sample struct {
	column, value, want string
	// on are the servers that have the type; nil: all.
	on []services.Kind
}

var (
	onMySQL    = []services.Kind{services.MySQL}
	onMariaDB  = []services.Kind{services.MariaDB, services.MariaDB118}
	withVector = []services.Kind{services.MySQL, services.MariaDB118}
)

var typeSamples = []sample{
	{column: "TINYINT", value: "-128", want: "-128"},
	{column: "TINYINT(1)", value: "TRUE", want: "1"},
	{column: "TINYINT UNSIGNED", value: "255", want: "255"},
	{column: "SMALLINT", value: "-32768", want: "-32768"},
	{column: "SMALLINT UNSIGNED", value: "65535", want: "65535"},
	{column: "MEDIUMINT", value: "-8388608", want: "-8388608"},
	{column: "MEDIUMINT UNSIGNED", value: "16777215", want: "16777215"},
	{column: "INT", value: "-2147483648", want: "-2147483648"},
	{column: "INT UNSIGNED", value: "4294967295", want: "4294967295"},
	{column: "INT(6) ZEROFILL", value: "42", want: "42"},
	{column: "BIGINT", value: "-9223372036854775808", want: "-9223372036854775808"},
	{column: "BIGINT UNSIGNED", value: "18446744073709551615", want: "18446744073709551615"},
	{column: "DECIMAL(10,2)", value: "9.5", want: `"9.50"`},
	{column: "DECIMAL(10,2)", value: "-0.05", want: `"-0.05"`},
	{column: "DECIMAL(30,12)", value: "-123456789012345678.000000000001", want: `"-123456789012345678.000000000001"`},
	{column: "DECIMAL(65,0)", value: strings.Repeat("9", 65), want: `"` + strings.Repeat("9", 65) + `"`},
	{column: "DECIMAL(65,30)", value: "-" + strings.Repeat("9", 35) + "." + strings.Repeat("1", 30), want: `"-` + strings.Repeat("9", 35) + "." + strings.Repeat("1", 30) + `"`},
	{column: "DECIMAL(10,2) ZEROFILL", value: "9.5", want: `"9.50"`},
	{column: "DECIMAL(4,4)", value: "0.0001", want: `"0.0001"`},
	{column: "DECIMAL(18,9)", value: "0", want: `"0.000000000"`},
	{column: "FLOAT", value: "0.1", want: "0.1"},
	{column: "FLOAT", value: "3.4e38", want: "3.4e+38"},
	{column: "FLOAT", value: "16777217", want: "16777216"},
	{column: "DOUBLE", value: "0.1", want: "0.1"},
	{column: "DOUBLE", value: "1e-7", want: "1.0e-7"},
	{column: "DOUBLE", value: "123456789012345680000", want: "1.2345678901234568e+20"},
	{column: "DOUBLE", value: "-2", want: "-2"},
	{column: "DOUBLE(8,2)", value: "1.005", want: "1"},
	{column: "BIT(1)", value: "b'1'", want: "1"},
	{column: "BIT(64)", value: "b'1" + strings.Repeat("0", 63) + "'", want: "9223372036854775808"},
	{column: "YEAR", value: "2026", want: "2026"},
	{column: "YEAR", value: "0", want: "0"},
	{column: "YEAR(2)", value: "70", want: "1970", on: onMariaDB},
	{column: "YEAR(2)", value: "69", want: "2069", on: onMariaDB},
	{column: "DATE", value: "'2026-11-22'", want: `"2026-11-22"`},
	{column: "DATE", value: "'9999-12-31'", want: `"9999-12-31"`},
	{column: "DATE", value: "'0000-00-00'", want: `"0000-00-00"`},
	{column: "DATE", value: "'2026-11-00'", want: `"2026-11-00"`},
	{column: "DATETIME", value: "'2026-11-22 17:25:39'", want: `"2026-11-22T17:25:39.000000Z"`},
	{column: "DATETIME(6)", value: "'1000-01-01 00:00:00.000001'", want: `"1000-01-01T00:00:00.000001Z"`},
	{column: "DATETIME(3)", value: "'9999-12-31 23:59:59.999'", want: `"9999-12-31T23:59:59.999000Z"`},
	{column: "DATETIME", value: "'0000-00-00 00:00:00'", want: "null"},
	{column: "DATETIME", value: "'2026-00-15 12:00:00'", want: "null"},
	{column: "DATETIME", value: "'0000-01-01 00:00:00'", want: `"0000-01-01T00:00:00.000000Z"`},
	{column: "TIMESTAMP NULL", value: "'2026-11-22 17:25:39'", want: `"2026-11-22T17:25:39.000000Z"`},
	{column: "TIMESTAMP(5) NULL", value: "'2038-01-19 03:14:07.99999'", want: `"2038-01-19T03:14:07.999990Z"`},
	{column: "TIMESTAMP NULL", value: "'0000-00-00 00:00:00'", want: "null"},
	{column: "TIMESTAMP NULL", value: "NULL", want: "null"},
	{column: "TIME", value: "'12:34:56'", want: `"12:34:56"`},
	{column: "TIME", value: "'-838:59:59'", want: `"-838:59:59"`},
	{column: "TIME(2)", value: "'-00:00:00.01'", want: `"-00:00:00.01"`},
	{column: "TIME(6)", value: "'-01:02:03.000400'", want: `"-01:02:03.000400"`},
	{column: "TIME(3)", value: "'00:00:00'", want: `"00:00:00.000"`},
	{column: "CHAR(10)", value: "'ab'", want: `"ab"`},
	{column: "VARCHAR(300) CHARACTER SET utf8mb4", value: `'café ☕ "q" \\ 😀'`, want: `"café ☕ \"q\" \\ 😀"`},
	{column: "VARCHAR(20) CHARACTER SET latin1", value: "'é€'", want: `"é€"`},
	{column: "VARCHAR(20) CHARACTER SET sjis", value: "'日本'", want: `"日本"`},
	{column: "VARCHAR(20) CHARACTER SET sjis", value: "x'81ad41'", want: `"\uFFFDA"`},
	{column: "CHAR(255) CHARACTER SET utf8mb4", value: "REPEAT('☕', 255)", want: `"` + strings.Repeat("☕", 255) + `"`},
	{column: "VARCHAR(20) CHARACTER SET utf16", value: "'a😀'", want: `"a😀"`},
	{column: "VARCHAR(20)", value: `'{"a": [1, 2]}'`, want: `"{\"a\": [1, 2]}"`},
	{column: "TINYTEXT", value: "'x'", want: `"x"`},
	{column: "TEXT", value: "''", want: `""`},
	{column: "MEDIUMTEXT", value: "REPEAT('x', 70000)", want: `"` + strings.Repeat("x", 70000) + `"`},
	{column: "LONGTEXT", value: "'x'", want: `"x"`},
	{column: "TEXT COMPRESSED", value: "REPEAT('ab', 2000)", want: `"` + strings.Repeat("ab", 2000) + `"`, on: onMariaDB},
	{column: "VARCHAR(900) COMPRESSED", value: "'short'", want: `"short"`, on: onMariaDB},
	{column: "BLOB COMPRESSED", value: "REPEAT(x'00', 300)", want: `"` + strings.Repeat("A", 400) + `"`, on: onMariaDB},
	{column: "BINARY(4)", value: "x'0100'", want: `"AQAAAA=="`},
	{column: "BINARY(16)", value: "x'01'", want: `"AQAAAAAAAAAAAAAAAAAAAA=="`},
	{column: "VARBINARY(4)", value: "x'0100'", want: `"AQA="`},
	{column: "TINYBLOB", value: "x'ff'", want: `"/w=="`},
	{column: "BLOB", value: "x'ff00fe'", want: `"/wD+"`},
	{column: "MEDIUMBLOB", value: "x'ff'", want: `"/w=="`},
	{column: "LONGBLOB", value: "x'ff'", want: `"/w=="`},
	{column: "ENUM('a','b''c','ü')", value: "'ü'", want: `"ü"`},
	{column: "ENUM('a','b''c')", value: "'b''c'", want: `"b'c"`},
	{column: "ENUM('a','ü') CHARACTER SET latin1", value: "'ü'", want: `"ü"`},
	{column: "ENUM('a')", value: "'wrong'", want: `""`},
	{column: "ENUM('a','b') CHARACTER SET binary", value: "'b'", want: `"b"`, on: onMariaDB},
	{column: "SET('a','b') CHARACTER SET binary", value: "'a,b'", want: `"a,b"`, on: onMariaDB},
	{column: "SET('x','y','z')", value: "'x,z'", want: `"x,z"`},
	{column: "SET('x','y')", value: "''", want: `""`},
	{column: "INT", value: "NULL", want: "null"},
	{column: "VARCHAR(5)", value: "NULL", want: "null"},
	{column: "INT GENERATED ALWAYS AS (id + 41) STORED", value: "DEFAULT", want: "42"},
	{column: "VARCHAR(9) GENERATED ALWAYS AS (CONCAT('n', id)) VIRTUAL", value: "DEFAULT", want: `"n1"`},
	{column: "INT INVISIBLE", value: "7", want: "7"},

	{column: "JSON", value: `'{"a":1,"bb":[1,2.5,"x",null,true,{"n":-5}],"c":""}'`, want: `{"a":1,"c":"","bb":[1,2.5,"x",null,true,{"n":-5}]}`, on: onMySQL},
	{column: "JSON", value: `'{"bb": [1, 2.50],  "a": 1e2}'`, want: `"{\"bb\": [1, 2.50],  \"a\": 1e2}"`, on: onMariaDB},
	{column: "JSON", value: `'"text \\"quoted\\" ☕"'`, want: `"text \"quoted\" ☕"`, on: onMySQL},
	{column: "JSON", value: `'18446744073709551615'`, want: "18446744073709551615", on: onMySQL},
	{column: "JSON", value: `'-3000000000'`, want: "-3000000000", on: onMySQL},
	{column: "JSON", value: `'[]'`, want: "[]", on: onMySQL},
	{column: "JSON", value: "'[1.0, 1e20, 1e-7, 123456789012345678901234567890]'", want: "[1.0,1e20,0.0000001,1.2345678901234568e29]", on: onMySQL},
	{
		column: "JSON", value: `JSON_OBJECT('d', CAST(1.50 AS DECIMAL(5,2)), 't', CAST('2026-11-22 01:02:03' AS DATETIME), 'day', CAST('2026-11-22' AS DATE), 'c', CAST('-10:11:12' AS TIME), 'bin', x'00ff')`,
		want: `{"c":"-10:11:12.000000","d":1.50,"t":"2026-11-22 01:02:03.000000","bin":"base64:type15:AP8=","day":"2026-11-22"}`, on: onMySQL,
	},
	{column: "JSON", value: `CONCAT('[', REPEAT('"0123456789",', 8000), '1]')`, want: "[" + strings.Repeat(`"0123456789",`, 8000) + "1]", on: onMySQL},

	{column: "UUID", value: "'123e4567-e89b-12d3-a456-426614174000'", want: `"123e4567-e89b-12d3-a456-426614174000"`, on: onMariaDB},
	{column: "UUID", value: "'01A2044A-c617-7000-8000-000000000000'", want: `"01a2044a-c617-7000-8000-000000000000"`, on: onMariaDB},
	{column: "INET4", value: "'10.0.0.0'", want: `"10.0.0.0"`, on: onMariaDB},
	{column: "INET6", value: "'2001:db8::ff00:42:0'", want: `"2001:db8::ff00:42:0"`, on: onMariaDB},
	{column: "INET6", value: "'::ffff:192.0.2.1'", want: `"::ffff:192.0.2.1"`, on: onMariaDB},
	{column: "POINT", value: "ST_GeomFromText('POINT(1 2.5)')", want: `{"type":"Point","coordinates":[1,2.5]}`},
	{column: "GEOMETRY", value: "ST_GeomFromText('POINT(52.5 13.25)', 4326)", want: `{"type":"Point","coordinates":[13.25,52.5]}`, on: onMySQL},
	{column: "GEOMETRY", value: "ST_GeomFromText('POINT(13.25 52.5)', 4326)", want: `{"type":"Point","coordinates":[13.25,52.5]}`, on: onMariaDB},
	{column: "LINESTRING", value: "ST_GeomFromText('LINESTRING(0 0,1 1e-7)')", want: `{"type":"LineString","coordinates":[[0,0],[1,1.0e-7]]}`},
	{column: "POLYGON", value: "ST_GeomFromText('POLYGON((0 0,9 0,9 9,0 0),(4 1,5 1,5 2,4 1))')", want: `{"type":"Polygon","coordinates":[[[0,0],[9,0],[9,9],[0,0]],[[4,1],[5,1],[5,2],[4,1]]]}`},
	{column: "MULTIPOINT", value: "ST_GeomFromText('MULTIPOINT(1 2,3 4)')", want: `{"type":"MultiPoint","coordinates":[[1,2],[3,4]]}`},
	{column: "MULTILINESTRING", value: "ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))')", want: `{"type":"MultiLineString","coordinates":[[[0,0],[1,1]],[[2,2],[3,3]]]}`},
	{column: "MULTIPOLYGON", value: "ST_GeomFromText('MULTIPOLYGON(((0 0,9 0,9 9,0 0)))')", want: `{"type":"MultiPolygon","coordinates":[[[[0,0],[9,0],[9,9],[0,0]]]]}`},
	{column: "GEOMETRYCOLLECTION", value: "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))')", want: `{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,2]},{"type":"LineString","coordinates":[[0,0],[1,1]]}]}`},
	{column: "GEOMETRY", value: "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')", want: `{"type":"GeometryCollection","geometries":[]}`},
	{column: "GEOMETRY", value: "NULL", want: "null"},
	{column: "VECTOR(3) NOT NULL", value: "x'0000803fcdcccc3d000080bf'", want: "[1,0.1,-1]", on: withVector},
}

// isOn says whether a server has the type.
func (s *sample) isOn(kind services.Kind) bool { return s.on == nil || slices.Contains(s.on, kind) }

// samplesOn are the samples that a server has.
func samplesOn(kind services.Kind) []sample {
	return slices.DeleteFunc(slices.Clone(typeSamples), func(s sample) bool { return !s.isOn(kind) })
}

// TestTypes holds the JSON of a row from the log against the sample and
// against the same row read back by a SELECT, under every cast that fits; and
// docs/TYPES.md against both.
func TestTypes(t *testing.T) {
	var mu sync.Mutex
	doc := map[string]map[binlog.Cast]string{}
	t.Run("servers", func(t *testing.T) {
		for _, kind := range []services.Kind{services.MySQL, services.MariaDB, services.MariaDB118} {
			t.Run(kind.String(), func(t *testing.T) {
				t.Parallel()
				// A server of its own: other tests set the same variable.
				db := servicestest.CreateDatabase(t, servicestest.StartSQL(t, kind, services.SQLOptions{}))
				for _, metadata := range []string{"MINIMAL", "FULL"} {
					db.MustExec(t, "SET GLOBAL binlog_row_metadata = '"+metadata+"'")
					t.Run(metadata, func(t *testing.T) {
						for i, forms := range testSamples(t, db, "types_"+strings.ToLower(metadata)) {
							mu.Lock()
							doc[samplesOn(kind)[i].name()] = forms
							mu.Unlock()
						}
					})
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	golden(t, "../docs/TYPES.md", typesDoc(doc))
}

func (s *sample) name() string { return s.column + " " + s.value }

// testSamples writes a row of all samples, and returns what the log's became
// by each cast.
func testSamples(t *testing.T, db *servicestest.Database, name string) []map[binlog.Cast]string {
	t.Helper()
	samples := samplesOn(db.Server.Kind)
	create, columns, values := "CREATE TABLE "+name+" (id INT PRIMARY KEY", "id", "1"
	for i, s := range samples {
		column := "c" + strconv.Itoa(i)
		create += ", " + column + " " + s.column
		columns += ", " + column
		values += ", " + s.value
	}
	setUp := "SET time_zone = '+00:00', sql_mode = '', NAMES utf8mb4"
	session(t, db, setUp, create+") CHARACTER SET utf8mb4 ROW_FORMAT=DYNAMIC")
	cfg := configOf(t, db)
	from := current(t, cfg)
	session(t, db, setUp, "INSERT INTO "+name+" ("+columns+") VALUES ("+values+")")
	after := current(t, cfg)
	table := binlog.TableName{Schema: db.Name, Table: name}
	rec := newTypeRecorder(from)
	follow(t, cfg, from, rec, table)
	rec.until(t, after)
	read := readBack(t, cfg, table, after)
	for i, s := range samples {
		logged, selected := rec.columns[i+1], read[i+1]
		want := strings.ReplaceAll(s.want, `\uFFFD`, "\uFFFD")
		if got := logged[binlog.CastDefault]; got != want {
			t.Errorf("%s, %.40s: from the log %.80s, want %.80s", s.column, s.value, got, want)
		}
		for cast, got := range logged {
			if !json.Valid([]byte(got)) {
				t.Errorf("%s as %s is %.80s, which is no JSON", s.name(), cast, got)
			}
		}
		if !maps.Equal(logged, selected) {
			t.Errorf("%s, %.40s: from the log %.300v, read back %.300v", s.column, s.value, logged, selected)
		}
	}
	return rec.columns[1:]
}

// golden holds a generated file against its text, or writes it with -update.
func golden(t *testing.T, path, text string) {
	t.Helper()
	if *binlog.UpdateFiles {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(old) != text {
		t.Errorf("%s is out of date: write it with go test ./binlog -run '^%s$' -update", path, t.Name())
	}
}

// readBack reads the row with id 1 through the exact reader.
func readBack(t *testing.T, cfg binlog.Config, name binlog.TableName, after binlog.Position) []map[binlog.Cast]string {
	t.Helper()
	report := binlog.Check(t.Context(), cfg, []binlog.TableName{name})
	for _, p := range report.Problems {
		t.Fatal(p)
	}
	table := report.Tables[name]
	columns := make([]int, len(table.Columns))
	for i := range columns {
		columns[i] = i
	}
	reader := binlog.NewReader(cfg, report.Server)
	defer reader.Close()
	var out []map[binlog.Cast]string
	upto, err := reader.Rows(t.Context(), table, columns, []binlog.KeyColumn{{Column: 0}}, []string{"[1]", "[2]"}, after,
		func(row *binlog.Row) (err error) {
			out, err = rowForms(row)
			return err
		})
	if err != nil {
		t.Fatal(err)
	}
	if out == nil {
		t.Fatal("the row was not found")
	}
	if !upto.Covers(after) && upto.File != "" {
		t.Errorf("read up to %s, wanted at least %s", upto, after)
	}
	return out
}

// everyCast is those of a column whose type they fit.
var everyCast = []binlog.Cast{
	binlog.CastDefault, binlog.CastBoolean, binlog.CastInteger, binlog.CastFloat, binlog.CastString, binlog.CastJSON,
	binlog.CastDateTime, binlog.CastTimestamp, binlog.CastBase64, binlog.CastHex, binlog.CastGeoJSON, binlog.CastWKT,
}

// rowForms are a row's columns by every cast that fits.
func rowForms(row *binlog.Row) ([]map[binlog.Cast]string, error) {
	out := make([]map[binlog.Cast]string, len(row.Table.Columns))
	for i := range out {
		out[i] = map[binlog.Cast]string{}
		for _, cast := range everyCast {
			e, err := row.Table.Encoder(i, cast, time.UTC)
			if err != nil && cast != binlog.CastDefault {
				continue
			}
			if err != nil {
				return nil, err
			}
			text, err := e.Append(nil, row)
			if err != nil {
				return nil, err
			}
			out[i][cast] = string(text)
		}
	}
	return out, nil
}
