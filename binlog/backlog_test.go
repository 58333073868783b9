package binlog_test

import (
	"fmt"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestBacklog counts the bytes between places of a log: in one file, and over
// several.
func TestBacklog(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, "CREATE TABLE a (id INT PRIMARY KEY)")
		cfg := configOf(t, db)
		cfg.User = "backlog_" + db.Name
		db.MustExec(t, fmt.Sprintf("CREATE USER %s", cfg.User), fmt.Sprintf("GRANT REPLICATION CLIENT ON *.* TO %s", cfg.User))
		server, err := binlog.Inspect(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		b := binlog.NewBacklog(cfg, server)
		defer b.Close()
		ask := func(from binlog.Position) binlog.LogEnd {
			t.Helper()
			end, err := b.End(t.Context(), from)
			if err != nil {
				t.Fatal(err)
			}
			return end
		}
		bytes := func(end binlog.LogEnd, p binlog.Position, want uint64) {
			t.Helper()
			if n, ok := end.After(p); !ok || n != want {
				t.Errorf("%d bytes after %s of %+v (%v), want %d", n, p, end, ok, want)
			}
		}

		first := current(t, cfg)
		db.MustExec(t, "INSERT INTO a VALUES (1)")
		second := current(t, cfg)
		near := ask(first)
		bytes(near, first, second.Offset-first.Offset)
		bytes(near, second, 0)

		db.MustExec(t, "FLUSH BINARY LOGS", "INSERT INTO a VALUES (2)", "FLUSH BINARY LOGS", "INSERT INTO a VALUES (3)")
		last := current(t, cfg)
		bytes(near, last, 0) // what the log was then is read
		far := ask(second)
		if n := len(far.Files); n != 3 || far.Files[0].Name != second.File || far.Files[2] != (binlog.LogFile{Name: last.File, Size: last.Offset}) {
			t.Fatalf("the log ends with %+v, want three files from %s to %s:%d", far.Files, second.File, last.File, last.Offset)
		}
		bytes(far, second, far.Files[0].Size-second.Offset+far.Files[1].Size+last.Offset)
		bytes(far, last, 0)

		// Another server's files may have the same names.
		far.Server = "another"
		if n, ok := far.After(second); ok {
			t.Errorf("%d bytes after a position of another server", n)
		}

		// It connects again.
		var id int64
		if err := db.QueryRowContext(t.Context(), "SELECT id FROM information_schema.processlist WHERE user = ?", cfg.User).Scan(&id); err != nil {
			t.Fatal(err)
		}
		db.MustExec(t, fmt.Sprintf("KILL %d", id))
		if _, err := b.End(t.Context(), last); err == nil || !binlog.Passing(err) {
			t.Errorf("without a connection: %v, want an error that passes", err)
		}
		ask(last)
	})
}
