package binlog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestGeneratedColumns are in the log before and after, as a SELECT has them.
func TestGeneratedColumns(t *testing.T) {
	onEachMetadata(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `DROP TABLE IF EXISTS a`,
			`CREATE TABLE a (id INT PRIMARY KEY, n INT, s INT GENERATED ALWAYS AS (n * 2) STORED,
			 v VARCHAR(20) GENERATED ALWAYS AS (CONCAT('n', n)) VIRTUAL, h INT INVISIBLE DEFAULT 5, KEY (v))`)
		got := streamed(t, db, `INSERT INTO a (id, n) VALUES (1, 10), (2, NULL)`, `UPDATE a SET n = n + 1, h = 6 WHERE id = 1`, `DELETE FROM a`)
		wantLines(t, got, []string{
			`insert a [1,10,20,"n10",5]`, `insert a [2,null,null,null,5]`,
			`update a [1,10,20,"n10",5] [1,11,22,"n11",6]`,
			`delete a [1,11,22,"n11",6]`, `delete a [2,null,null,null,5]`,
		})
	})
}

// TestHiddenPrimaryKey: the one that MySQL makes itself is a column like
// others, also where the server hides it from the dictionary. Columns of
// functional indexes are not in the log.
func TestHiddenPrimaryKey(t *testing.T) {
	db := servicestest.NewDatabase(t, services.MySQL)
	for _, metadata := range []string{"MINIMAL", "FULL"} {
		t.Run(metadata, func(t *testing.T) {
			setGlobal(t, db, "binlog_row_metadata", metadata)
			setGlobal(t, db, "show_gipk_in_create_table_and_information_schema", "OFF")
			session(t, db, "SET sql_generate_invisible_primary_key = ON", "DROP TABLE IF EXISTS a",
				"CREATE TABLE a (v INT, w VARCHAR(20), INDEX ((v * 2)), UNIQUE ((LOWER(w))))")
			got := streamed(t, db, "INSERT INTO a VALUES (7, 'X'), (8, 'Y')", "UPDATE a SET v = 9 WHERE v = 8", "DELETE FROM a WHERE v = 9")
			wantLines(t, got, []string{`insert a [1,7,"X"]`, `insert a [2,8,"Y"]`, `update a [2,8,"Y"] [2,9,"Y"]`, `delete a [2,9,"Y"]`})
			cfg := configOf(t, db)
			report := binlog.Check(t.Context(), cfg, []binlog.TableName{tableA(db)})
			for _, p := range report.Problems {
				t.Fatal(p)
			}
			wantFound(t, cfg, report, tableA(db), []string{"[1]", "[2]"}, []string{`[1,7,"X"]`})
		})
	}
}

// wantFound reads rows by the table's own key.
func wantFound(t *testing.T, cfg binlog.Config, report binlog.Report, name binlog.TableName, keys, want []string) {
	t.Helper()
	table := report.Tables[name]
	var key []binlog.KeyColumn
	for _, i := range table.Key {
		key = append(key, binlog.KeyColumn{Column: i})
		if problem := table.KeyProblem(key[len(key)-1]); problem != "" {
			t.Fatal(problem)
		}
	}
	all := make([]int, len(table.Columns))
	for i := range all {
		all[i] = i
	}
	reader := binlog.NewReader(cfg, report.Server)
	defer reader.Close()
	var got []string
	if _, err := reader.Rows(t.Context(), table, all, key, keys, current(t, cfg), func(row *binlog.Row) error {
		text, err := rowJSON(row)
		got = append(got, text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	wantLines(t, got, want)
}

// TestAddressKeys: rows are found by UUID, INET4 and INET6.
func TestAddressKeys(t *testing.T) {
	for _, kind := range onMariaDB {
		t.Run(kind.String(), func(t *testing.T) {
			db := servicestest.NewDatabase(t, kind)
			for _, c := range []struct{ column, value string }{
				{"UUID", "01a2044a-c617-7000-8000-000000000000"},
				{"UUID", "123e4567-e89b-12d3-a456-426614174000"},
				{"INET4", "10.0.0.0"},
				{"INET6", "2001:db8::1"},
				{"INET6", "::ffff:10.0.0.1"},
			} {
				db.MustExec(t, "DROP TABLE IF EXISTS a", fmt.Sprintf("CREATE TABLE a (k %s, n BIGINT UNSIGNED, PRIMARY KEY (k, n))", c.column),
					fmt.Sprintf("INSERT INTO a VALUES ('%s', 18446744073709551615), ('%[1]s', 2)", c.value))
				cfg := configOf(t, db)
				report := binlog.Check(t.Context(), cfg, []binlog.TableName{tableA(db)})
				for _, p := range report.Problems {
					t.Fatal(p)
				}
				row := fmt.Sprintf(`["%s",18446744073709551615]`, c.value)
				wantFound(t, cfg, report, tableA(db), []string{row, strings.ReplaceAll(row, "18446744073709551615", "7")}, []string{row})
			}
		})
	}
}
