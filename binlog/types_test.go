package binlog_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// typeSamples are columns with values at the edges of each type, and the JSON
// that they are to become.
var typeSamples = []struct{ column, value, want string }{
	{"TINYINT", "-128", "-128"},
	{"TINYINT UNSIGNED", "255", "255"},
	{"SMALLINT", "-32768", "-32768"},
	{"SMALLINT UNSIGNED", "65535", "65535"},
	{"MEDIUMINT", "-8388608", "-8388608"},
	{"MEDIUMINT UNSIGNED", "16777215", "16777215"},
	{"INT", "-2147483648", "-2147483648"},
	{"INT UNSIGNED", "4294967295", "4294967295"},
	{"BIGINT", "-9223372036854775808", "-9223372036854775808"},
	{"BIGINT UNSIGNED", "18446744073709551615", "18446744073709551615"},
	{"DECIMAL(10,2)", "9.5", `"9.50"`},
	{"DECIMAL(10,2)", "-0.05", `"-0.05"`},
	{"DECIMAL(30,12)", "-123456789012345678.000000000001", `"-123456789012345678.000000000001"`},
	{"DECIMAL(65,0)", strings.Repeat("9", 65), `"` + strings.Repeat("9", 65) + `"`},
	{"DECIMAL(4,4)", "0.0001", `"0.0001"`},
	{"DECIMAL(18,9)", "0", `"0.000000000"`},
	{"FLOAT", "0.1", "0.1"},
	{"FLOAT", "3.4e38", "3.4e+38"},
	{"FLOAT", "16777217", "16777216"},
	{"DOUBLE", "0.1", "0.1"},
	{"DOUBLE", "1e-7", "1.0e-7"},
	{"DOUBLE", "123456789012345680000", "1.2345678901234568e+20"},
	{"DOUBLE", "-2", "-2"},
	{"BIT(1)", "b'1'", "1"},
	{"BIT(64)", "b'1" + strings.Repeat("0", 63) + "'", "9223372036854775808"},
	{"YEAR", "2026", "2026"},
	{"YEAR", "0", "0"},
	{"DATE", "'2026-11-22'", `"2026-11-22"`},
	{"DATE", "'9999-12-31'", `"9999-12-31"`},
	{"DATETIME", "'2026-11-22 17:25:39'", `"2026-11-22T17:25:39.000000Z"`},
	{"DATETIME(6)", "'1000-01-01 00:00:00.000001'", `"1000-01-01T00:00:00.000001Z"`},
	{"DATETIME(3)", "'9999-12-31 23:59:59.999'", `"9999-12-31T23:59:59.999000Z"`},
	{"DATETIME", "'0000-00-00 00:00:00'", "null"},
	{"TIMESTAMP NULL", "'2026-11-22 17:25:39'", `"2026-11-22T17:25:39.000000Z"`},
	{"TIMESTAMP(5) NULL", "'2038-01-19 03:14:07.99999'", `"2038-01-19T03:14:07.999990Z"`},
	{"TIMESTAMP NULL", "NULL", "null"},
	{"TIME", "'12:34:56'", `"12:34:56"`},
	{"TIME", "'-838:59:59'", `"-838:59:59"`},
	{"TIME(2)", "'-00:00:00.01'", `"-00:00:00.01"`},
	{"TIME(6)", "'-01:02:03.000400'", `"-01:02:03.000400"`},
	{"TIME(3)", "'00:00:00'", `"00:00:00.000"`},
	{"CHAR(10)", "'ab'", `"ab"`},
	{"VARCHAR(300) CHARACTER SET utf8mb4", `'café ☕ "q" \\ 😀'`, `"café ☕ \"q\" \\ 😀"`},
	{"VARCHAR(20) CHARACTER SET latin1", "'é€'", `"é€"`},
	{"CHAR(255) CHARACTER SET utf8mb4", "REPEAT('☕', 255)", `"` + strings.Repeat("☕", 255) + `"`},
	{"VARCHAR(20) CHARACTER SET utf16", "'a😀'", `"a😀"`},
	{"TEXT", "''", `""`},
	{"MEDIUMTEXT", "REPEAT('x', 70000)", `"` + strings.Repeat("x", 70000) + `"`},
	{"BINARY(4)", "x'0100'", `"AQAAAA=="`},
	{"VARBINARY(4)", "x'0100'", `"AQA="`},
	{"BLOB", "x'ff00fe'", `"/wD+"`},
	{"ENUM('a','b''c','ü')", "'ü'", `"ü"`},
	{"ENUM('a','b''c')", "'b''c'", `"b'c"`},
	{"ENUM('a','ü') CHARACTER SET latin1", "'ü'", `"ü"`},
	{"SET('x','y','z')", "'x,z'", `"x,z"`},
	{"SET('x','y')", "''", `""`},
	{"INT", "NULL", "null"},
	{"VARCHAR(5)", "NULL", "null"},
}

// mysqlJSON are samples that only MySQL stores in a form of their own.
var mysqlJSON = []struct{ column, value, want string }{
	{"JSON", `'{"a":1,"bb":[1,2.5,"x",null,true,{"n":-5}],"c":""}'`, `{"a":1,"c":"","bb":[1,2.5,"x",null,true,{"n":-5}]}`},
	{"JSON", `'"text \\"quoted\\" ☕"'`, `"text \"quoted\" ☕"`},
	{"JSON", `'18446744073709551615'`, "18446744073709551615"},
	{"JSON", `'-3000000000'`, "-3000000000"},
	{"JSON", `'[]'`, "[]"},
	{
		"JSON", `JSON_OBJECT('d', CAST(1.50 AS DECIMAL(5,2)), 't', CAST('2026-11-22 01:02:03' AS DATETIME), 'day', CAST('2026-11-22' AS DATE), 'c', CAST('-10:11:12' AS TIME))`,
		`{"c":"-10:11:12.000000","d":1.50,"t":"2026-11-22 01:02:03.000000","day":"2026-11-22"}`,
	},
	{"JSON", `CONCAT('[', REPEAT('"0123456789",', 8000), '1]')`, "[" + strings.Repeat(`"0123456789",`, 8000) + "1]"},
	{"JSON", "'1.0'", "1.0"},
}

// TestTypes holds the JSON of a row from the log against the sample and
// against the same row read back by a SELECT.
func TestTypes(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		samples := typeSamples
		if !strings.Contains(t.Name(), "maria") && !strings.Contains(t.Name(), "Maria") {
			samples = append(slices.Clip(samples), mysqlJSON...)
		}
		db.MustExec(t, `SET GLOBAL binlog_row_metadata = 'MINIMAL'`)
		for _, metadata := range []string{"default", "FULL"} {
			t.Run(metadata, func(t *testing.T) {
				name := "types_" + strings.ToLower(metadata)
				if metadata == "FULL" {
					db.MustExec(t, `SET GLOBAL binlog_row_metadata = 'FULL'`)
				}
				create, insert := "CREATE TABLE "+name+" (id INT PRIMARY KEY", "INSERT INTO "+name+" VALUES (1"
				for i, s := range samples {
					create += ", c" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + " " + s.column
					insert += ", " + s.value
				}
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				for _, s := range []string{"SET time_zone = '+00:00', sql_mode = ''", create + ") CHARACTER SET utf8mb4"} {
					if _, err := conn.ExecContext(t.Context(), s); err != nil {
						t.Fatal(err)
					}
				}
				cfg := configOf(t, db)
				from := current(t, cfg)
				if _, err := conn.ExecContext(t.Context(), insert+")"); err != nil {
					t.Fatal(err)
				}
				after := current(t, cfg)
				table := binlog.TableName{Schema: db.Name, Table: name}
				rec := newTypeRecorder(from)
				follow(t, cfg, from, rec, table)
				rec.until(t, after)
				read := readBack(t, cfg, table, after)
				for i, s := range samples {
					if got := rec.columns[i+1]; got != s.want {
						t.Errorf("%s, %.40s: from the log %.80s, want %.80s", s.column, s.value, got, s.want)
					}
					if got := read[i+1]; got != s.want {
						t.Errorf("%s, %.40s: read back %.80s, want %.80s", s.column, s.value, got, s.want)
					}
				}
			})
		}
	})
}

// readBack reads the row with id 1 through the exact reader.
func readBack(t *testing.T, cfg binlog.Config, name binlog.TableName, after binlog.Position) []string {
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
	var out []string
	upto, err := reader.Rows(t.Context(), table, columns, []binlog.KeyColumn{{Column: 0}}, []string{"[1]", "[2]"}, after,
		func(row *binlog.Row) (err error) {
			out, err = rowColumns(row)
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

func rowColumns(row *binlog.Row) ([]string, error) {
	out := make([]string, len(row.Table.Columns))
	for i := range out {
		e, err := row.Table.Encoder(i, binlog.CastDefault, time.UTC)
		if err != nil {
			return nil, err
		}
		text, err := e.Append(nil, row)
		if err != nil {
			return nil, err
		}
		out[i] = string(text)
	}
	return out, nil
}
