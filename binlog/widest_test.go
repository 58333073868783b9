package binlog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestWidest finds the row whose columns together have the most bytes, of those
// that are asked for, and gives up in time.
func TestWidest(t *testing.T) {
	onEachSource(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE wide (id INT PRIMARY KEY, a TEXT, b BLOB, c TEXT) CHARACTER SET utf8mb4`, `CREATE TABLE empty_one (id INT PRIMARY KEY)`,
			`INSERT INTO wide VALUES (1, REPEAT('x', 100), NULL, ''), (2, REPEAT('é', 80), REPEAT('x', 50), ''), (3, NULL, REPEAT('x', 200), ''), (4, '', '', REPEAT('x', 9000))`)
		reader, tables := readerOf(t, configOf(t, db), db, "wide", "empty_one")
		for want, columns := range map[string][]int{"2": {0, 1, 2}, "3": {0, 2}, "4": {0, 3}} {
			row, err := reader.Widest(t.Context(), tables["wide"], columns, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			text, err := rowJSON(row)
			if err != nil || !strings.HasPrefix(text, "["+want+",") {
				t.Errorf("of columns %v the widest row is %s, %v; want %s", columns, text, err, want)
			}
		}
		if row, err := reader.Widest(t.Context(), tables["empty_one"], []int{0}, time.Minute); row != nil || err != nil {
			t.Errorf("of an empty table: %v, %v", row, err)
		}
		other, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			_, err := other.ExecContext(t.Context(), `UNLOCK TABLES`) // closing gives the connection back as it is
			if err := errors.Join(err, other.Close()); err != nil {
				t.Error(err)
			}
		}()
		if _, err := other.ExecContext(t.Context(), `LOCK TABLES wide WRITE`); err != nil {
			t.Fatal(err)
		}
		if _, err := reader.Widest(t.Context(), tables["wide"], []int{0, 1}, 50*time.Millisecond); !errors.Is(err, binlog.ErrTooSlow) {
			t.Errorf("of a table that is locked: %v, want %v", err, binlog.ErrTooSlow)
		}
	})
}
