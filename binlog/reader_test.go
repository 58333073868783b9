package binlog_test

import (
	"fmt"
	"testing"

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
		for _, bad := range []string{`[1]`, `["1 OR 1=1","Case","AP8AAA=="]`, `[1,"Case","!"]`, `{}`} {
			if rows, err := read(bad); err == nil {
				t.Errorf("key %s was read as %v", bad, rows)
			}
		}
	})
}
