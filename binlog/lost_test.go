package binlog_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// wantLost runs a tail from a position and wants it to end for this reason.
func wantLost(t *testing.T, cfg binlog.Config, from binlog.Position, want string) {
	t.Helper()
	from, err := binlog.ParsePosition(from.String()) // as after a restart
	if err != nil {
		t.Fatal(err)
	}
	if err := ended(t, cfg, from, newRecorder(from)); !errors.Is(err, binlog.ErrPositionLost) || !strings.Contains(err.Error(), want) {
		t.Errorf("from %s the tail ended with\n%v\nwant\n%s", from, err, want)
	}
}

// readUpTo follows a log to its end and returns the position there.
func readUpTo(t *testing.T, cfg binlog.Config, from binlog.Position) binlog.Position {
	t.Helper()
	rec := newRecorder(from)
	stop := follow(t, cfg, from, rec)
	rec.until(t, current(t, cfg))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return rec.pos
}

// nextSecond waits until the server's clock, by which it dates its files, has
// gone on.
func nextSecond(t *testing.T, db *servicestest.Database) {
	t.Helper()
	db.MustExec(t, "DO SLEEP(1.01)")
}

func reset(t *testing.T, db *servicestest.Database) {
	t.Helper()
	statement := "RESET MASTER"
	if db.Server.Kind == services.MySQL {
		statement = "RESET BINARY LOGS AND GTIDS"
	}
	db.MustExec(t, statement)
}

func insert(t *testing.T, db *servicestest.Database, ids ...int) {
	t.Helper()
	for _, id := range ids {
		db.MustExec(t, fmt.Sprintf("INSERT INTO a VALUES (%d)", id))
	}
}

// TestLostPositions takes the log away from under a position in every way that
// there is, and wants each to be named.
func TestLostPositions(t *testing.T) {
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			server := servicestest.StartSQL(t, s.kind, services.SQLOptions{Args: s.args})
			db := servicestest.CreateDatabase(t, server)
			cfg := configOf(t, db)
			db.MustExec(t, "CREATE TABLE a (id INT PRIMARY KEY)")
			t.Run("purged", func(t *testing.T) { losesByPurge(t, db) })
			t.Run("reset", func(t *testing.T) { losesByReset(t, db) })
			t.Run("reset while it is read", func(t *testing.T) { losesByResetWhileReading(t, db) })
			t.Run("restored", func(t *testing.T) { losesByRestore(t, db) })
			if s.name == "MySQL with GTIDs" {
				t.Run("GTIDs off", func(t *testing.T) {
					from := current(t, cfg)
					for _, mode := range []string{"ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"} {
						db.MustExec(t, "SET GLOBAL gtid_mode = "+mode)
					}
					wantLost(t, cfg, from, "the server has no GTIDs any more")
				})
			}
		})
	}
}

func losesByPurge(t *testing.T, db *servicestest.Database) {
	cfg := configOf(t, db)
	from := current(t, cfg)
	insert(t, db, 1)
	db.MustExec(t, "FLUSH BINARY LOGS")
	read := readUpTo(t, cfg, from)
	insert(t, db, 2)
	purge(t, db)
	want := "purged before it was read (see binlog_expire_logs_seconds): "
	if !from.HasGTIDs() {
		want = "ERROR 1236"
	}
	wantLost(t, cfg, from, want)
	wantLost(t, cfg, read, want)
	// Files that were read may go.
	read = readUpTo(t, cfg, current(t, cfg))
	if !read.HasGTIDs() {
		return
	}
	purge(t, db)
	insert(t, db, 3)
	readUpTo(t, cfg, read)
}

// losesByReset: also where the server has come as far again as it was.
func losesByReset(t *testing.T, db *servicestest.Database) {
	cfg := configOf(t, db)
	reset(t, db)
	nextSecond(t, db)
	start := current(t, cfg)
	insert(t, db, 10, 11)
	early := readUpTo(t, cfg, start)
	db.MustExec(t, "FLUSH BINARY LOGS")
	insert(t, db, 12)
	late := readUpTo(t, cfg, start)
	nextSecond(t, db)
	reset(t, db)
	wantLost(t, cfg, early, "the binary log was reset (RESET ")
	wantLost(t, cfg, late, "the binary log was reset (RESET ")
	insert(t, db, 13, 14, 15)
	db.MustExec(t, "FLUSH BINARY LOGS")
	insert(t, db, 16, 17, 18)
	for _, read := range []binlog.Position{early, late} {
		if end := current(t, cfg); !end.Covers(read) {
			t.Errorf("the server's %s does not hide that %s is another's", end, read)
		}
		wantLost(t, cfg, read, "the binary log was reset (RESET ")
	}
}

// losesByResetWhileReading: MySQL does not tell the connection that reads.
func losesByResetWhileReading(t *testing.T, db *servicestest.Database) {
	cfg := configOf(t, db)
	from := current(t, cfg)
	rec := newRecorder(from)
	insert(t, db, 20)
	server, err := binlog.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- binlog.NewSource(cfg, server, nil).Run(t.Context(), from, rec) }()
	rec.until(t, server.Current)
	nextSecond(t, db)
	reset(t, db)
	insert(t, db, 21)
	select {
	case err = <-done:
	case <-time.After(patience):
		t.Fatal("a reset is not noticed while the log is read")
	}
	if !errors.Is(err, binlog.ErrPositionLost) || !strings.Contains(err.Error(), "the binary log was reset (RESET ") {
		t.Errorf("the tail ended with %v", err)
	}
}

// losesByRestore puts an older state of the server's files back, its log among
// them, and has it go on from there further than it was.
func losesByRestore(t *testing.T, db *servicestest.Database) {
	cfg := configOf(t, db)
	start := current(t, cfg)
	db.Server.Kill()
	data, backup := filepath.Join(db.Server.Dir(), "data"), t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	if err := db.Server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	insert(t, db, 30, 31)
	read := readUpTo(t, cfg, start)
	nextSecond(t, db)
	db.Server.Kill()
	if err := errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	if err := db.Server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = "the server was restored from an older backup, or lost the end of its binary log in a crash"
	wantLost(t, cfg, read, want)
	insert(t, db, 32, 33, 34, 35)
	wantLost(t, cfg, read, want)
}

// TestAnotherServer answers in place of the one that was read.
func TestAnotherServer(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			first := servicestest.CreateDatabase(t, servicestest.StartSQL(t, kind, services.SQLOptions{}))
			other := servicestest.CreateDatabase(t, servicestest.StartSQL(t, kind, services.SQLOptions{Args: []string{"--log-slave-updates=ON"}}))
			cfg, otherCfg := configOf(t, first), configOf(t, other)
			from := current(t, cfg)
			first.MustExec(t, "CREATE TABLE a (id INT PRIMARY KEY)")
			insert(t, first, 1, 2, 3)
			read := readUpTo(t, cfg, from)
			insert(t, first, 4)
			wantLost(t, otherCfg, read, "has not all of the other's transactions: it lacks ")

			replicate(t, first, other)
			other.MustExec(t, fmt.Sprintf("INSERT INTO %s.a VALUES (5)", first.Name))
			rec := newRecorder(read)
			stop := follow(t, otherCfg, read, rec, tableA(first))
			wantLines(t, rec.until(t, current(t, otherCfg)), []string{"insert a [4]", "insert a [5]"})
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			readUpTo(t, otherCfg, rec.pos)
			purge(t, other)
			wantLost(t, otherCfg, read, "purged before it was read")
			readUpTo(t, otherCfg, rec.pos)
		})
	}
	t.Run("of another maker", func(t *testing.T) {
		server, err := binlog.Inspect(t.Context(), configOf(t, servicestest.NewDatabase(t, services.MySQL)))
		if err != nil {
			t.Fatal(err)
		}
		mariadb := configOf(t, servicestest.NewDatabase(t, services.MariaDB))
		err = binlog.NewSource(mariadb, server, nil).Run(t.Context(), server.Current, newRecorder(server.Current))
		if err == nil || !strings.Contains(err.Error(), "the server is now mariadb, it was mysql") {
			t.Errorf("the tail ended with %v", err)
		}
	})
	t.Run("without GTIDs", func(t *testing.T) {
		first := current(t, configOf(t, servicestest.CreateDatabase(t, withoutGTIDs(t))))
		wantLost(t, configOf(t, servicestest.CreateDatabase(t, withoutGTIDs(t))), first, "another server (")
	})
}

// replicate brings all that first has to other, whose log has other offsets.
func replicate(t *testing.T, first, other *servicestest.Database) {
	t.Helper()
	reset(t, other)
	port := first.Server.Port()
	if other.Server.Kind == services.MySQL {
		other.MustExec(t,
			fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = %d, SOURCE_USER = 'root', SOURCE_AUTO_POSITION = 1", port),
			"START REPLICA")
	} else {
		other.MustExec(t,
			fmt.Sprintf("CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = %d, MASTER_USER = 'root', MASTER_USE_GTID = slave_pos", port),
			"START SLAVE")
	}
	executed, wait, end := "@@GLOBAL.gtid_executed", "WAIT_FOR_EXECUTED_GTID_SET", "STOP REPLICA"
	if other.Server.Kind != services.MySQL {
		executed, wait, end = "@@GLOBAL.gtid_binlog_pos", "MASTER_GTID_WAIT", "STOP SLAVE"
	}
	all := column(t, first, "SELECT "+executed, 0)[0]
	if got := column(t, other, fmt.Sprintf("SELECT %s('%s', %d)", wait, all, int(patience.Seconds())), 0)[0]; got != "0" {
		t.Fatalf("the replica has not come to %s", all)
	}
	other.MustExec(t, end)
}
