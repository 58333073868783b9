package binlog_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

func TestReaderReadsByExactKeys(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t,
			`CREATE TABLE k (a BIGINT UNSIGNED, b VARCHAR(20), c BINARY(4), v INT, PRIMARY KEY (a, b, c))`,
			`INSERT INTO k VALUES (18446744073709551615, 'it''s é', x'01000000', 1), (1, 'Case', x'00ff0000', 2)`)
		cfg := configOf(t, db)
		name := binlog.TableName{Schema: db.Name, Table: "k"}
		report := binlog.Check(t.Context(), cfg, []binlog.TableName{name})
		for _, p := range report.Problems {
			t.Fatal(p)
		}
		reader := binlog.NewReader(cfg, report.Server)
		defer reader.Close()
		key := []binlog.KeyColumn{{Column: 0}, {Column: 1}, {Column: 2}}
		read := func(keys ...string) (rows []string, err error) {
			_, err = reader.Rows(t.Context(), report.Tables[name], []int{0, 1, 2, 3}, key, keys, current(t, cfg), func(r *binlog.Row) error {
				text, err := rowJSON(r)
				rows = append(rows, text)
				return err
			})
			return rows, err
		}
		rows, err := read(`[18446744073709551615,"it's é","AQAAAA=="]`, `[1,"Case","AP8AAA=="]`, `[2,"","AAAAAA=="]`)
		if want := `[[1,"Case","AP8AAA==",2] [18446744073709551615,"it's é","AQAAAA==",1]]`; err != nil || fmt.Sprint(rows) != want {
			t.Errorf("got %v, %v, want %s", rows, err, want)
		}
		key = []binlog.KeyColumn{{Column: 0}}
		rows, err = read(`[18446744073709551615]`, `[-1]`, `[1]`, `[2]`)
		if want := `[[1,"Case","AP8AAA==",2] [18446744073709551615,"it's é","AQAAAA==",1]]`; err != nil || fmt.Sprint(rows) != want {
			t.Errorf("got %v, %v, want %s", rows, err, want)
		}
		key = []binlog.KeyColumn{{Column: 1}}
		rows, err = read(`["it's é"]`, `["none"]`)
		if want := `[[18446744073709551615,"it's é","AQAAAA==",1]]`; err != nil || fmt.Sprint(rows) != want {
			t.Errorf("got %v, %v, want %s", rows, err, want)
		}
		key = []binlog.KeyColumn{{Column: 0}, {Column: 1}, {Column: 2}}
		for _, bad := range []string{`[1]`, `["1 OR 1=1","Case","AP8AAA=="]`, `[1,"Case","!"]`, `{}`} {
			if rows, err := read(bad); err == nil {
				t.Errorf("key %s was read as %v", bad, rows)
			}
		}
	})
}

// readPages reads all pages of a table and returns their rows.
func readPages(t *testing.T, reader *binlog.Reader, table *binlog.Table, columns []int, page binlog.Page, after binlog.Position) (list []string, pages int) {
	t.Helper()
	for {
		next, upto, err := reader.Page(t.Context(), table, columns, page, after, func(row *binlog.Row) error {
			text, err := rowJSON(row)
			list = append(list, text)
			return err
		})
		if err != nil || !upto.Covers(after) {
			t.Fatalf("read %+v up to %s of %s: %v", page, upto, after, err)
		}
		if pages++; next == "" {
			return list, pages
		}
		page.From = next
	}
}

// TestReaderReadsByPage: every row of a scope once, in the order of the key,
// whatever the size of the pages.
func TestReaderReadsByPage(t *testing.T) {
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			server := servicestest.SharedSQL(t, s.kind)
			if s.name == "MySQL without GTIDs" {
				server = withoutGTIDs(t)
			}
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, `CREATE TABLE a (name VARCHAR(20), n BIGINT UNSIGNED, team INT, PRIMARY KEY (name, n), KEY (team))`,
				`INSERT INTO a VALUES ('it''s', 1, 1), ('b', 18446744073709551615, 1), ('b', 18446744073709551614, 1), ('B', 3, 1), ('c', 1, 2), ('é', 1, 1), ('ee', 2, 1), ('', 0, 1)`)
			cfg := configOf(t, db)
			report := binlog.Check(t.Context(), cfg, []binlog.TableName{tableA(db)})
			for _, p := range report.Problems {
				t.Fatal(p)
			}
			reader := binlog.NewReader(cfg, report.Server)
			defer reader.Close()
			all := func(page binlog.Page) (list []string, pages int) {
				t.Helper()
				return readPages(t, reader, report.Tables[tableA(db)], []int{0, 1, 2}, page, current(t, cfg))
			}
			key := []binlog.KeyColumn{{Column: 0}, {Column: 1}}
			team := func(in string) binlog.Selection {
				return binlog.Selection{Reference: binlog.Reference{Columns: []string{"team"}}, In: in}
			}
			want := []string{`["",0,1]`, `["B",3,1]`, `["b",18446744073709551614,1]`, `["b",18446744073709551615,1]`, `["é",1,1]`, `["ee",2,1]`, `["it's",1,1]`}
			for limit := 1; limit < 10; limit++ {
				list, pages := all(binlog.Page{Selection: team("[1]"), Key: key, Limit: limit})
				wantLines(t, list, want)
				if pages != len(want)/limit+1 {
					t.Errorf("%d pages of %d rows", pages, limit)
				}
			}
			whole, _ := all(binlog.Page{Key: key, Limit: 3})
			wantLines(t, whole, slices.Insert(slices.Clone(want), 4, `["c",1,2]`))
			for _, bad := range []binlog.Page{
				{Selection: team("[null]"), Key: key, Limit: 1},
				{Selection: team("[1, 2]"), Key: key, Limit: 1},
				{Key: key, From: `["a"]`, Limit: 1},
				{Bound: &binlog.Bound{Column: "team", Upto: time.Now()}, Key: key, Limit: 1},
			} {
				_, _, err := reader.Page(t.Context(), report.Tables[tableA(db)], []int{0}, bad, current(t, cfg), nil)
				if err == nil || binlog.Passing(err) {
					t.Errorf("%+v was read, %v", bad, err)
				}
			}
		})
	}
}

// TestReaderTable: a reader has the dictionary's word on a table for as long as
// the table is the same, and no longer.
func TestReaderTable(t *testing.T) {
	onEachSource(t, func(t *testing.T, db *servicestest.Database) {
		cfg, name := configOf(t, db), binlog.TableName{Schema: db.Name, Table: "k"}
		reader, _ := readerOf(t, cfg, db)
		var last *binlog.Table
		for _, c := range []struct {
			statement string
			same      bool
		}{
			{"CREATE TABLE k (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20) CHARACTER SET latin1)", false},
			{"INSERT INTO k (v) VALUES ('a'), ('b')", true},
			{"ALTER TABLE k MODIFY v VARCHAR(20) CHARACTER SET utf8mb4", false},
			{"ALTER TABLE k ADD COLUMN e ENUM('a', ') ENGINE=InnoDB AUTO_INCREMENT=4'), AUTO_INCREMENT = 90", false},
			{"INSERT INTO k (v) VALUES ('c')", true},
			{"ALTER TABLE k MODIFY e ENUM('a', ') ENGINE=InnoDB AUTO_INCREMENT=5')", false},
			{"ALTER TABLE k ADD UNIQUE KEY (v)", false},
			{"ALTER TABLE k MODIFY v VARCHAR(20) NOT NULL", false},
			{"RENAME TABLE k TO other", false},
			{"CREATE TABLE k (id BIGINT UNSIGNED PRIMARY KEY)", false},
		} {
			db.MustExec(t, c.statement)
			got, err := reader.Table(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			fresh, _ := readerOf(t, cfg, db)
			want, err := fresh.Table(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("after %s: got %+v, want %+v", c.statement, got, want)
			}
			if same := got == last; same != c.same {
				t.Errorf("after %s: the same table: %v, want %v", c.statement, same, c.same)
			}
			last = got
		}
	})
}
