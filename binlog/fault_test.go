package binlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// ended waits until a tail has ended by itself, and gives up on one that does not.
func ended(t *testing.T, cfg binlog.Config, from binlog.Position, h binlog.Handler, tables ...binlog.TableName) error {
	t.Helper()
	server, err := binlog.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return binlog.NewSource(cfg, server, tables).Run(ctx, from, h)
}

// TestStreamStopsAtWhatItCannotRead runs what a session can do to the log in
// spite of the server's settings. The stream must stop there, and not before.
func TestStreamStopsAtWhatItCannotRead(t *testing.T) {
	tests := []struct {
		name       string
		kinds      []services.Kind
		statements []string
		want       string
	}{
		{
			"partial row image", kinds,
			[]string{`SET SESSION binlog_row_image = 'MINIMAL'`, `UPDATE a SET v = 'z' WHERE id = 1`},
			"binlog_row_image, which must be FULL",
		},
		{
			"statement format", kinds,
			[]string{`SET SESSION binlog_format = 'STATEMENT'`, `UPDATE a SET v = 'z' WHERE id = 1`},
			"binlog_format, which must be ROW",
		},
		{
			"XA", kinds,
			[]string{`XA START 'x'`, `UPDATE a SET v = 'z' WHERE id = 1`, `XA END 'x'`, `XA PREPARE 'x'`, `XA COMMIT 'x'`},
			"XA transaction changed",
		},
		{
			"partial JSON",
			[]services.Kind{services.MySQL},
			[]string{
				`SET SESSION binlog_row_value_options = 'PARTIAL_JSON'`, `SET SESSION binlog_row_image = 'FULL'`,
				`UPDATE a SET j = JSON_SET(j, '$.a', 2) WHERE id = 1`,
			},
			"partial JSON update",
		},
	}
	for _, test := range tests {
		for _, kind := range test.kinds {
			t.Run(test.name+"/"+kind.String(), func(t *testing.T) {
				db := servicestest.NewDatabase(t, kind)
				db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20), j JSON)`)
				cfg := configOf(t, db)
				from := current(t, cfg)
				db.MustExec(t, `INSERT INTO a VALUES (1, 'x', '{"a": 1, "pad": "0123456789012345678901234567890123456789"}')`)
				before := current(t, cfg)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				for _, s := range test.statements {
					if _, err := conn.ExecContext(t.Context(), s); err != nil {
						t.Fatalf("%s: %v", s, err)
					}
				}
				rec := newRecorder(from)
				err = ended(t, cfg, from, rec, binlog.TableName{Schema: db.Name, Table: "a"})
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("ended with %v, want something about %q", err, test.want)
				}
				if len(rec.lines) != 1 || !rec.pos.Covers(before) || rec.pos.Covers(current(t, cfg)) {
					t.Errorf("stopped at %s after %q; the last good position was %s", rec.pos, rec.lines, before)
				}
			})
		}
	}
}

// TestStreamSurvivesItsConnection kills the connection in the middle of a
// transaction that is larger than what sockets hold: every row comes once, and
// in order.
func TestStreamSurvivesItsConnection(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		const rows = 3000
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v TEXT)`)
		cfg := configOf(t, db)
		from := current(t, cfg)
		var values []string
		for i := range rows {
			values = append(values, fmt.Sprintf("(%d,REPEAT('x',4000))", i))
		}
		db.MustExec(t, `INSERT INTO a VALUES `+strings.Join(values, ","), `INSERT INTO a VALUES (100000, 'last')`)
		rec := newRecorder(from)
		kills := 0
		rec.fail = func(string) error { // at some rows, the server ends every dump
			if n := len(rec.lines); n%1000 != 500 {
				return nil
			}
			kills++
			return killDumps(db)
		}
		follow(t, cfg, from, rec, binlog.TableName{Schema: db.Name, Table: "a"})
		got := rec.until(t, current(t, cfg))
		if kills == 0 || len(got) != rows+1 {
			t.Fatalf("%d rows and %d kills, want %d rows", len(got), kills, rows+1)
		}
		for i, line := range got[:rows] {
			if !strings.HasPrefix(line, fmt.Sprintf("insert a [%d,", i)) {
				t.Fatalf("row %d is %.40s", i, line)
			}
		}
	})
}

// killDumps ends the connections that read the binary log.
func killDumps(db *servicestest.Database) error {
	list, err := db.Query(`SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'`)
	if err != nil {
		return err
	}
	defer list.Close()
	var ids []int
	for list.Next() {
		var id int
		if err := list.Scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if _, err := db.Exec(fmt.Sprintf("KILL %d", id)); err != nil && !strings.Contains(err.Error(), "Unknown thread") {
			return err
		}
	}
	return list.Err()
}

func TestStreamGoesOnAfterARestart(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			server := servicestest.StartSQL(t, kind, services.SQLOptions{})
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`)
			cfg := configOf(t, db)
			from := current(t, cfg)
			rec := newRecorder(from)
			follow(t, cfg, from, rec, binlog.TableName{Schema: db.Name, Table: "a"})
			db.MustExec(t, `INSERT INTO a VALUES (1)`)
			rec.until(t, current(t, cfg))
			server.Kill()
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			db.MustExec(t, `INSERT INTO a VALUES (2)`)
			got := rec.until(t, current(t, cfg))
			if want := []string{`insert a [1]`, `insert a [2]`}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestPurgedPositionIsLost(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			server := servicestest.StartSQL(t, kind, services.SQLOptions{})
			db := servicestest.CreateDatabase(t, server)
			cfg := configOf(t, db)
			from := current(t, cfg)
			db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`, `INSERT INTO a VALUES (1)`, `FLUSH BINARY LOGS`, `INSERT INTO a VALUES (2)`, `FLUSH BINARY LOGS`)
			purge := current(t, cfg)
			db.MustExec(t, fmt.Sprintf(`PURGE BINARY LOGS TO '%s'`, purge.File))
			err := ended(t, cfg, from, newRecorder(from), binlog.TableName{Schema: db.Name, Table: "a"})
			if !errors.Is(err, binlog.ErrPositionLost) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// TestCompressedLogs reads what each server compresses in its own way.
func TestCompressedLogs(t *testing.T) {
	for _, test := range []struct {
		kind services.Kind
		args []string
	}{
		{services.MySQL, []string{"--binlog-transaction-compression=ON"}},
		{services.MariaDB, []string{"--log-bin-compress=ON", "--log-bin-compress-min-len=10"}},
	} {
		t.Run(test.kind.String(), func(t *testing.T) {
			server := servicestest.StartSQL(t, test.kind, services.SQLOptions{Args: test.args})
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(200))`)
			cfg := configOf(t, db)
			from := current(t, cfg)
			db.MustExec(t,
				`INSERT INTO a VALUES (1, REPEAT('x', 150)), (2, REPEAT('y', 150))`,
				`UPDATE a SET v = CONCAT(v, '!') WHERE id = 1`,
				`ALTER TABLE a COMMENT = 'a comment that is long enough to be worth compressing, is it not? is it not?'`,
				`DELETE FROM a`)
			rec := newRecorder(from)
			follow(t, cfg, from, rec, binlog.TableName{Schema: db.Name, Table: "a"})
			got := rec.until(t, current(t, cfg))
			x, y := strings.Repeat("x", 150), strings.Repeat("y", 150)
			want := []string{
				`insert a [1,"` + x + `"]`, `insert a [2,"` + y + `"]`, `update a [1,"` + x + `"] [1,"` + x + `!"]`,
				`delete a [1,"` + x + `!"]`, `delete a [2,"` + y + `"]`,
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
