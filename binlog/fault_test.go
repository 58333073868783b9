package binlog_test

import (
	"context"
	"fmt"
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
	const update = `UPDATE a SET v = 'z' WHERE id = 1`
	tests := []struct {
		kinds             []services.Kind
		statements        []string
		want              string
		variable, setting string // in what mends it
	}{
		{everyKind, []string{`SET SESSION binlog_row_image = 'MINIMAL'`, update}, "without all of its columns", "binlog_row_image", "FULL"},
		{everyKind, []string{`SET SESSION binlog_row_image = 'NOBLOB'`, update}, "without all of its columns", "binlog_row_image", "FULL"},
		{everyKind[2:], []string{`SET SESSION binlog_row_image = 'FULL_NODUP'`, update}, "without all of its columns", "binlog_row_image", "FULL"},
		{everyKind, []string{`SET SESSION binlog_format = 'STATEMENT'`, update}, "logged as a statement", "binlog_format", "ROW"},
		{everyKind, []string{`SET SESSION binlog_format = 'MIXED'`, update}, "logged as a statement", "binlog_format", "ROW"},
		{
			everyKind[:1],
			[]string{`SET SESSION binlog_row_value_options = 'PARTIAL_JSON'`, `UPDATE a SET j = JSON_SET(j, '$.a', 2) WHERE id = 1`},
			"a partial JSON update", "binlog_row_value_options", "",
		},
	}
	for _, test := range tests {
		for _, kind := range test.kinds {
			t.Run(test.statements[0]+"/"+kind.String(), func(t *testing.T) {
				db := servicestest.NewDatabase(t, kind)
				db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20), j JSON, t TEXT)`)
				cfg := configOf(t, db)
				from := current(t, cfg)
				db.MustExec(t, `INSERT INTO a VALUES (1, 'x', '{"a": 1, "pad": "0123456789012345678901234567890123456789"}', 't')`)
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
				mend := fmt.Sprintf("SET PERSIST %s = '%s';", test.variable, test.setting)
				if kind != services.MySQL {
					mend = fmt.Sprintf("SET GLOBAL %[1]s = '%[2]s'; and in the server's configuration, under [mariadbd]: %[1]s = %[2]s", test.variable, test.setting)
				}
				place := "read the binlog at " + before.File + ":"
				for _, want := range []string{test.want, test.variable, mend, place, " (transaction "} {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("ended with %v, want something about %q", err, want)
					}
				}
				if len(rec.lines) != 1 || !rec.pos.Covers(before) || rec.pos.Covers(current(t, cfg)) {
					t.Errorf("stopped at %s after %q; the last good position was %s", rec.pos, rec.lines, before)
				}
			})
		}
	}
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
