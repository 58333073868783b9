package binlog_test

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// onAll runs a test on every server kind, on a server of its own, and on
// MySQL without GTIDs.
func onAll(t *testing.T, test func(t *testing.T, db *servicestest.Database)) {
	for _, kind := range []services.Kind{services.MySQL, services.MariaDB, services.MariaDB118} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			test(t, servicestest.CreateDatabase(t, servicestest.StartSQL(t, kind, services.SQLOptions{})))
		})
	}
	t.Run("MySQL without GTIDs", func(t *testing.T) {
		t.Parallel()
		test(t, servicestest.CreateDatabase(t, withoutGTIDs(t)))
	})
}

// alone runs statements on a connection that ends after them. A verdict on an
// XA transaction is tried until the connection that prepared it has ended.
func alone(t *testing.T, db *servicestest.Database, statements ...string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }()
	deadline := time.After(patience)
	for _, s := range statements {
		for {
			_, err := conn.ExecContext(t.Context(), s)
			if err == nil {
				break
			}
			var e *mysql.MySQLError
			if !errors.As(err, &e) || e.Number != xaerNotA {
				t.Fatalf("%s: %v", s, err)
			}
			select {
			case <-deadline:
				t.Fatalf("%s: %v", s, err)
			default:
			}
		}
	}
}

// xaerNotA is ER_XAER_NOTA: no such XA transaction, or it has a connection.
const xaerNotA = 1397

// resumed is where a process would go on that was killed: the text of the
// position is all that is left of it.
func resumed(t *testing.T, rec *recorder) binlog.Position {
	t.Helper()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	p, err := binlog.ParsePosition(rec.pos.String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestXA prepares transactions, restarts both sides, and gives the verdicts
// from other connections: rows come at the commit, in its order, and never
// otherwise.
func TestXA(t *testing.T) {
	onAll(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20))`, `CREATE TABLE other (id INT PRIMARY KEY)`)
		cfg := configOf(t, db)
		first := newRecorder(current(t, cfg))
		stop := follow(t, cfg, first.pos.Clone(), first, tableA(db))
		for _, statements := range [][]string{
			{"XA START 'one','phase',7", "INSERT INTO a VALUES (1, 'one')", "XA END 'one','phase',7", "XA COMMIT 'one','phase',7 ONE PHASE"},
			{
				"XA START 'yes', X'00ff', 3", "INSERT INTO a VALUES (2, 'x'), (3, 'y')", "SAVEPOINT p", "INSERT INTO a VALUES (-4, 'ghost')", "ROLLBACK TO p",
				"UPDATE a SET v = 'z' WHERE id = 2", "XA END 'yes', X'00ff', 3", "XA PREPARE 'yes', X'00ff', 3",
			},
			{"XA START 'no'", "INSERT INTO a VALUES (5, 'ghost')", "XA END 'no'", "XA PREPARE 'no'"},
			{"XA START 'else'", "INSERT INTO other VALUES (1)", "XA END 'else'", "XA PREPARE 'else'"},
			{"INSERT INTO a VALUES (6, 'between')"},
		} {
			alone(t, db, statements...)
		}
		wantLines(t, first.until(t, current(t, cfg)), []string{`insert a [1,"one"]`, `insert a [6,"between"]`})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		// MySQL 9.7.4 forgets all other prepared transactions when it has
		// decided the first of them after a crash.
		if db.Server.Kind != services.MySQL {
			db.Server.Kill()
			if err := db.Server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		alone(t, db, "INSERT INTO a VALUES (7, 'before')", "XA COMMIT 'yes', X'00ff', 3", "XA ROLLBACK 'no'", "XA COMMIT 'else'", "INSERT INTO a VALUES (8, 'after')",
			// The same name again is another transaction.
			"XA START 'no'", "INSERT INTO a VALUES (9, 'again')", "XA END 'no'", "XA PREPARE 'no'", "XA COMMIT 'no'")
		second := newRecorder(resumed(t, first))
		follow(t, cfg, second.pos.Clone(), second, tableA(db))
		wantLines(t, second.until(t, current(t, cfg)), []string{
			`insert a [7,"before"]`, `insert a [2,"x"]`, `insert a [3,"y"]`, `update a [2,"x"] [2,"z"]`, `insert a [8,"after"]`, `insert a [9,"again"]`,
		})
		if text := resumed(t, second).String(); strings.Contains(text, "xa") {
			t.Errorf("all is decided, and the position is still %s", text)
		}
	})
}

// TestXAFromBeforeTheStart commits what was prepared before the place where
// reading began: it is found in the log, also after the log it was in.
func TestXAFromBeforeTheStart(t *testing.T) {
	onAll(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20))`)
		alone(t, db, "XA START 'x'", "INSERT INTO a VALUES (1, 'old')", "XA END 'x'", "XA PREPARE 'x'")
		alone(t, db, "XA START 'y'", "INSERT INTO a VALUES (2, 'purged')", "XA END 'y'", "XA PREPARE 'y'")
		db.MustExec(t, "FLUSH BINARY LOGS")
		cfg := configOf(t, db)
		rec := newRecorder(current(t, cfg))
		follow(t, cfg, rec.pos.Clone(), rec, tableA(db))
		alone(t, db, "XA COMMIT 'x'", "INSERT INTO a VALUES (3, 'new')")
		wantLines(t, rec.until(t, current(t, cfg)), []string{`insert a [1,"old"]`, `insert a [3,"new"]`})

		purge(t, db)
		from := current(t, cfg)
		alone(t, db, "XA COMMIT 'y'")
		err := ended(t, cfg, from, newRecorder(from), tableA(db))
		if !errors.Is(err, binlog.ErrPositionLost) || !strings.Contains(err.Error(), "X'79',X'',1") {
			t.Errorf("ended with %v", err)
		}
	})
}

// purge takes away all log files but a new one. MariaDB keeps a file while it
// may be needed after a crash, which is over when the next has begun.
func purge(t *testing.T, db *servicestest.Database) {
	t.Helper()
	db.MustExec(t, "FLUSH BINARY LOGS")
	to := current(t, configOf(t, db)).File
	deadline := time.After(patience)
	for {
		db.MustExec(t, fmt.Sprintf("PURGE BINARY LOGS TO '%s'", to))
		server, err := binlog.Inspect(t.Context(), configOf(t, db))
		if err != nil {
			t.Fatal(err)
		}
		first := server.Earliest.File
		if first == to {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the server keeps %s", first)
		default:
		}
	}
}

// TestXAIsReadInBoundedMemory: more rows than are held, twice: savepoints make
// the first reading not sure of them, either.
func TestXAIsReadInBoundedMemory(t *testing.T) {
	onAll(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v MEDIUMTEXT)`, `CREATE TABLE n (i INT)`, `INSERT INTO n VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)`)
		const many = "SELECT %d + p.i + 10*q.i + 100*r.i, REPEAT('x', 9000) FROM n p, n q, n r ORDER BY 1"
		cfg := configOf(t, db)
		rec := newRecorder(current(t, cfg))
		kills := 0
		rec.fail = func(line string) error {
			if strings.HasPrefix(line, "insert a [500,") && kills == 0 {
				kills++
				return killDumps(db) // the second reading's, too
			}
			return nil
		}
		follow(t, cfg, rec.pos.Clone(), rec, tableA(db))
		insert := func(from int) string { return "INSERT INTO a " + fmt.Sprintf(many, from) }
		alone(t, db, "XA START 'x'", insert(0), "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'")
		alone(t, db, "XA START 'x'", insert(1000), "XA END 'x'", "XA COMMIT 'x' ONE PHASE")
		alone(t, db, "BEGIN", "INSERT INTO a VALUES (-1, '')", "SAVEPOINT p", insert(2000), "COMMIT", "INSERT INTO a VALUES (-2, '')")
		got := rec.until(t, current(t, cfg))
		var want []string
		for id := range 3000 {
			if id == 2000 {
				want = append(want, "insert a [-1,")
			}
			want = append(want, fmt.Sprintf("insert a [%d,", id))
		}
		want = append(want, "insert a [-2,")
		if len(got) != len(want) || kills != 1 {
			t.Fatalf("%d rows, want %d; %d kills", len(got), len(want), kills)
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Fatalf("row %d is %.40s, want %s", i, got[i], want[i])
			}
		}
	})
}
