package binlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// session runs statements on one connection, for settings of a session.
func session(t *testing.T, db *servicestest.Database, statements ...string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, s := range statements {
		if _, err := conn.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// setGlobal changes a variable of the server until the test ends.
func setGlobal(t *testing.T, db *servicestest.Database, name, value string) {
	t.Helper()
	var old string
	if err := db.QueryRow("SELECT @@GLOBAL." + name).Scan(&old); err != nil {
		t.Fatal(err)
	}
	db.MustExec(t, fmt.Sprintf("SET GLOBAL %s = %s", name, value))
	t.Cleanup(func() {
		if _, err := db.Exec(fmt.Sprintf("SET GLOBAL %s = %s", name, old)); err != nil {
			t.Error(err)
		}
	})
}

// streamed follows table a from now on while statements run on one
// connection, and returns what came of them.
func streamed(t *testing.T, db *servicestest.Database, statements ...string) []string {
	t.Helper()
	cfg := configOf(t, db)
	from := current(t, cfg)
	rec := newRecorder(from)
	follow(t, cfg, from, rec, tableA(db))
	session(t, db, statements...)
	return rec.until(t, current(t, cfg))
}

func tableA(db *servicestest.Database) binlog.TableName {
	return binlog.TableName{Schema: db.Name, Table: "a"}
}

// ends runs statements on one connection and returns why a tail that was
// there before them ended.
func ends(t *testing.T, db *servicestest.Database, statements ...string) error {
	t.Helper()
	cfg := configOf(t, db)
	server, err := binlog.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	session(t, db, statements...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return binlog.NewSource(cfg, server, []binlog.TableName{tableA(db)}).Run(ctx, server.Current, newRecorder(server.Current))
}

func wantLines(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestStreamStops where rows cannot be had exactly, and says what mends it.
func TestStreamStops(t *testing.T) {
	cases := []struct {
		name       string
		statements []string
		want       string
		only       services.Kind
	}{
		{
			"a member that the dictionary shows with a question mark",
			[]string{"SET GLOBAL binlog_row_metadata = 'MINIMAL', NAMES utf8mb4", "ALTER TABLE a ADD COLUMN e ENUM('x', '😀') CHARACTER SET utf8mb4", "INSERT INTO a VALUES (2, 'z', '{}', '😀')"},
			"decode column %s.a.e (enum): the dictionary tells this member as \"?\", in which ? can stand for another character: SET GLOBAL binlog_row_metadata = 'FULL'", "",
		},
		{
			"rows of the past without names",
			[]string{"SET GLOBAL binlog_row_metadata = 'MINIMAL'", "INSERT INTO a VALUES (2, 'z', '{}')", "ALTER TABLE a DROP COLUMN j"},
			"table %s.a was changed after these rows were logged, and before chorusd could ask what it looked like", "",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, db *servicestest.Database) {
				if c.only != "" && db.Server.Kind != c.only {
					return
				}
				db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20), j JSON)`, `INSERT INTO a VALUES (1, 'x', '{"k": 1}')`)
				err := ends(t, db, c.statements...)
				want := c.want
				if strings.Contains(want, "%s") {
					want = fmt.Sprintf(want, db.Name)
				}
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("the tail ended with\n%v\nwant\n%s", err, want)
				}
				if binlog.Passing(err) {
					t.Error("it counts as passing")
				}
			})
		})
	}
}

// TestStreamPassesOverOtherTables that it could not read.
func TestStreamPassesOverOtherTables(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`, `CREATE TABLE other (id INT PRIMARY KEY, v VARCHAR(20), p POINT)`, `INSERT INTO other VALUES (1, 'x', POINT(1,2))`)
		statements := []string{
			"SET SESSION binlog_row_image = 'MINIMAL'", "UPDATE other SET v = 'y'",
			"XA START 'x'", "INSERT INTO other VALUES (2, 'z', NULL)", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'",
			"XA START 'y'", "INSERT INTO other VALUES (3, 'z', NULL)", "XA END 'y'", "XA PREPARE 'y'", "XA ROLLBACK 'y'",
			"SET SESSION binlog_format = 'STATEMENT'", "INSERT INTO other VALUES (4, 'z', NULL)",
			"SET SESSION binlog_format = 'ROW'", "INSERT INTO a VALUES (1)",
		}
		wantLines(t, streamed(t, db, statements...), []string{"insert a [1]"})
	})
}

// TestStreamAcrossAlter: with names in the log, rows are read as the table was
// when they were written; without, as it is once the statement was read.
func TestStreamAcrossAlter(t *testing.T) {
	for _, metadata := range []string{"MINIMAL", "FULL"} {
		t.Run(metadata, func(t *testing.T) {
			onEach(t, func(t *testing.T, db *servicestest.Database) {
				setGlobal(t, db, "binlog_row_metadata", metadata)
				db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20))`)
				cfg := configOf(t, db)
				from := current(t, cfg)
				rec := newRecorder(from)
				follow(t, cfg, from, rec, tableA(db))
				for _, s := range []string{
					"INSERT INTO a VALUES (1, 'x')", "ALTER TABLE a ADD COLUMN n BIGINT UNSIGNED NOT NULL DEFAULT 18446744073709551615 FIRST",
					"INSERT INTO a (id, v) VALUES (2, 'y')", "ALTER TABLE a DROP COLUMN v, ADD COLUMN e ENUM('p','q') NOT NULL DEFAULT 'q'",
					"INSERT INTO a (id) VALUES (3)", "RENAME TABLE a TO b", "INSERT INTO b (id) VALUES (4)", "RENAME TABLE b TO a",
					"INSERT INTO a (id) VALUES (5)", "DROP TABLE a", "CREATE TABLE a (id INT PRIMARY KEY)", "INSERT INTO a VALUES (6)",
				} {
					db.MustExec(t, s)
					rec.until(t, current(t, cfg))
				}
				wantLines(t, rec.until(t, current(t, cfg)), []string{
					`insert a [1,"x"]`, `insert a [18446744073709551615,2,"y"]`, `insert a [18446744073709551615,3,"q"]`,
					`insert a [18446744073709551615,5,"q"]`, `insert a [6]`,
				})
			})
		})
	}
}

// TestStreamReadsThePastWithFullMetadata: rows from before an ALTER that the
// tail has not seen.
func TestStreamReadsThePastWithFullMetadata(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		setGlobal(t, db, "binlog_row_metadata", "FULL")
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20) CHARACTER SET latin1, n TINYINT UNSIGNED)`)
		cfg := configOf(t, db)
		from := current(t, cfg)
		db.MustExec(t, "INSERT INTO a VALUES (1, 'é', 200)", "ALTER TABLE a DROP COLUMN v, MODIFY n SMALLINT", "UPDATE a SET n = -1")
		rec := newRecorder(from)
		follow(t, cfg, from, rec, tableA(db))
		got := rec.until(t, current(t, cfg))
		if len(got) != 2 || got[0] != `insert a [1,"é",200]` || !strings.HasSuffix(got[1], " [1,-1]") {
			t.Errorf("got %q", got)
		}
	})
}

// TestServerThatAnswersNothing for a while is noticed, and waited for.
func TestServerThatAnswersNothing(t *testing.T) {
	t.Parallel()
	server := servicestest.StartSQL(t, services.MariaDB, services.SQLOptions{})
	db := servicestest.CreateDatabase(t, server)
	db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`)
	cfg := configOf(t, db)
	said := &lines{}
	cfg.Logger = slog.New(slog.NewTextHandler(said, nil))
	from := current(t, cfg)
	rec := newRecorder(from)
	follow(t, cfg, from, rec, tableA(db))
	db.MustExec(t, "INSERT INTO a VALUES (1)")
	rec.until(t, current(t, cfg))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	said.await(t, "lost the database server")
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	db.MustExec(t, "INSERT INTO a VALUES (2)")
	wantLines(t, rec.until(t, current(t, cfg)), []string{"insert a [1]", "insert a [2]"})
	said.await(t, "reading from the database server again")
}

// TestStopWhileTheServerAnswersNothing: whoever waits for it ends at once.
func TestStopWhileTheServerAnswersNothing(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := binlog.Config{
		Addr: silent.Addr().String(), User: "root", Password: func() string { return "" },
		ServerID: 1, Location: time.UTC, Logger: slog.New(slog.DiscardHandler),
	}
	for name, call := range map[string]func(context.Context) error{
		"tail": func(ctx context.Context) error {
			return binlog.NewSource(cfg, binlog.Server{}, nil).Run(ctx, binlog.Position{}, newRecorder(binlog.Position{}))
		},
		"reader": func(ctx context.Context) error {
			reader := binlog.NewReader(cfg, binlog.Server{})
			defer reader.Close()
			_, err := reader.Table(ctx, binlog.TableName{})
			return err
		},
		"check": func(ctx context.Context) error { binlog.Check(ctx, cfg, nil); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan struct{})
			go func() {
				_ = call(ctx)
				close(ended)
			}()
			conn, err := silent.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			cancel()
			await(t, ended, "it ended")
		})
	}
}

// TestErrorOfTheHandlerEndsTheTail, and a panic does, rather than being taken
// for a broken connection.
func TestErrorOfTheHandlerEndsTheTail(t *testing.T) {
	db := servicestest.NewDatabase(t, services.MySQL)
	db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`)
	cfg := configOf(t, db)
	server, err := binlog.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	db.MustExec(t, "INSERT INTO a VALUES (1)")
	source := binlog.NewSource(cfg, server, []binlog.TableName{tableA(db)})
	broken := errors.New("full")
	rec := newRecorder(server.Current)
	rec.fail = func(string) error { return broken }
	if err := source.Run(t.Context(), server.Current, rec); !errors.Is(err, broken) || !strings.Contains(err.Error(), "read the binlog at ") {
		t.Errorf("the tail ended with %v, want %v", err, broken)
	}
	rec = newRecorder(server.Current)
	rec.fail = func(string) error { panic("impossible") }
	if err := source.Run(t.Context(), server.Current, rec); err == nil || !strings.Contains(err.Error(), "panic: impossible") {
		t.Errorf("the tail ended with %v", err)
	}
}

// TestManyTableMaps: more tables than are remembered, and a statement that
// changes two of them.
func TestManyTableMaps(t *testing.T) {
	db := servicestest.NewDatabase(t, services.MariaDB)
	db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v INT)`, `CREATE TABLE b (id INT PRIMARY KEY, v INT)`, `INSERT INTO a VALUES (1, 0)`, `INSERT INTO b VALUES (1, 0)`)
	const flushes = 2100 // each gives both tables another number
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cfg := configOf(t, db)
	from := current(t, cfg)
	if _, err := conn.ExecContext(t.Context(), "INSERT INTO b VALUES (2, 0)"); err != nil { // so that the limit is between the two
		t.Fatal(err)
	}
	for n := range flushes {
		for _, s := range []string{"FLUSH LOCAL TABLES", fmt.Sprintf("UPDATE a, b SET a.v = %d, b.v = %d", n+1, n+1)} {
			if _, err := conn.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	rec := newRecorder(from)
	follow(t, cfg, from, rec, tableA(db))
	if got := rec.until(t, current(t, cfg)); len(got) != flushes {
		t.Errorf("%d changes, want %d", len(got), flushes)
	}
}
