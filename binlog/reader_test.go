package binlog_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// eventReader reads each inserted row back as soon as its transaction has
// come, as a refill does.
type eventReader struct {
	*recorder
	reader *binlog.Reader
	table  *binlog.Table
	key    string
	missed []string
	pairs  int
	upto   []binlog.Position
	turns  chan struct{} // one for each row that was read back
}

func (e *eventReader) Change(_ context.Context, c *binlog.Change) error {
	text, err := rowJSON(c.After)
	e.key = text
	return err
}

func (e *eventReader) Commit(ctx context.Context, pt binlog.Point) error {
	if e.key == "" {
		return e.recorder.Commit(ctx, pt)
	}
	e.mu.Lock()
	after := e.pos.Clone()
	e.mu.Unlock()
	if err := after.Advance(pt); err != nil {
		return err
	}
	found := ""
	upto, err := e.reader.Rows(ctx, e.table, []int{0}, []binlog.KeyColumn{{Column: 0}}, []string{e.key}, after, func(r *binlog.Row) error {
		var err error
		found, err = rowJSON(r)
		return err
	})
	if err != nil {
		return err
	}
	e.pairs++
	e.upto = append(e.upto, upto)
	if found != e.key {
		e.missed = append(e.missed, e.key)
	}
	e.key = ""
	e.turns <- struct{}{}
	return e.recorder.Commit(ctx, pt)
}

// TestReaderSeesWhatTheLogHasGiven reads rows back because of their events. A
// plain SELECT misses some of them, if the tail is not behind: so the next row
// is written only when one was read.
func TestReaderSeesWhatTheLogHasGiven(t *testing.T) {
	const sessions, each = 2, 600
	for _, kind := range []struct {
		name string
		kind services.Kind
		args []string
	}{
		{"MySQL with GTIDs", services.MySQL, nil},
		{"MySQL without GTIDs", services.MySQL, []string{"--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"}},
		{"MariaDB", services.MariaDB, nil},
	} {
		t.Run(kind.name, func(t *testing.T) {
			server := servicestest.SharedSQL(t, kind.kind)
			if kind.args != nil {
				server = servicestest.StartSQL(t, kind.kind, services.SQLOptions{Args: kind.args})
			}
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, `CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY)`)
			cfg := configOf(t, db)
			name := binlog.TableName{Schema: db.Name, Table: "a"}
			report := binlog.Check(t.Context(), cfg, []binlog.TableName{name})
			for _, p := range report.Problems {
				t.Fatal(p)
			}
			reader := binlog.NewReader(cfg, report.Server)
			t.Cleanup(reader.Close)
			from := current(t, cfg)
			h := &eventReader{recorder: newRecorder(from), reader: reader, table: report.Tables[name], turns: make(chan struct{}, sessions*(each+1))}
			stop := follow(t, cfg, from, h, name)

			for range sessions {
				h.turns <- struct{}{}
			}
			written := make(chan error, sessions)
			for range sessions {
				go func() {
					for range each {
						<-h.turns
						if _, err := db.ExecContext(t.Context(), `INSERT INTO a VALUES ()`); err != nil {
							written <- err
							return
						}
					}
					written <- nil
				}()
			}
			for range sessions {
				if err := <-written; err != nil {
					t.Fatal(err)
				}
			}
			end := current(t, cfg)
			h.until(t, end)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if h.pairs != sessions*each || len(h.missed) > 0 {
				t.Errorf("%d pairs of %d, missed %v", h.pairs, sessions*each, h.missed)
			}
			for _, upto := range h.upto { // or a refill would wait for ever
				if !h.pos.Covers(upto) {
					t.Fatalf("the tail at %s has not come to what was read, %s", h.pos, upto)
				}
			}
		})
	}
}

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
