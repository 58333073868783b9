package filter_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestSameAsSQL: random expressions over random rows give what the server
// gives for the same in SQL, with texts compared as BINARY; from the rows in
// the log, and from rows that were read back.
func TestSameAsSQL(t *testing.T) {
	const each = 50
	rows, batches, kinds := 40, 10, []services.Kind{services.MySQL, services.MariaDB}
	if os.Getenv("TEST_FULL") != "" {
		rows, batches, kinds = 200, 300, append(kinds, services.MariaDB118)
	}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			m := maker{rand.New(rand.NewPCG(seed, 0))}
			db := servicestest.NewDatabase(t, kind)
			log := newLog(t, db)
			values := make([]string, rows)
			for id := range values {
				values[id] = m.row(id)
			}
			session := sqlSession(t, db)
			for _, statement := range []string{randomTable, "INSERT INTO a VALUES " + strings.Join(values, ", ")} {
				if _, err := session.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			rowsOf := log.read(t, binlog.TableName{Schema: db.Name, Table: "a"})
			for range batches {
				user, set := m.user()
				if _, err := session.ExecContext(t.Context(), set); err != nil {
					t.Fatal(err)
				}
				expressions := make([]both, each)
				for i := range expressions {
					expressions[i] = m.any(4)
				}
				compareBatch(t, session, rowsOf, expressions, user)
			}
		})
	}
}

func sqlSession(t *testing.T, db *servicestest.Database) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.ExecContext(t.Context(), "SET time_zone = '+00:00', sql_mode = '', NAMES utf8mb4"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// compareBatch expects the same of expressions by SELECT as of each of the
// forms of the rows.
func compareBatch(t *testing.T, session *sql.Conn, rowsOf map[string][]*binlog.Row, expressions []both, user *filter.User) {
	t.Helper()
	inSQL := make([]string, len(expressions))
	for i, e := range expressions {
		inSQL[i] = e.sql
	}
	want := selected(t, session, "SELECT "+strings.Join(inSQL, ", ")+" FROM a ORDER BY id", len(expressions))
	for form, rows := range rowsOf {
		for i, e := range expressions {
			compiled, err := filter.Compile(e.ours, filter.Env{
				Table: rows[0].Table, Casts: map[string]binlog.Cast{"active": "boolean"},
				User: []filter.Attribute{{Name: "level", Kind: filter.Int}, {Name: "role", Kind: filter.Text}},
			})
			if err != nil {
				t.Fatalf("%s: %v", e.ours, err)
			}
			for id, row := range rows {
				v, err := compiled.Eval(row, user)
				if err != nil {
					t.Fatal(err)
				}
				if got := want[id][i]; !sameValue(v, got) {
					t.Fatalf("row %d from the %s: %s\nis %s, but\n%s\nis %v", id, form, e.ours, v.AppendJSON(nil), e.sql, got)
				}
			}
		}
	}
}

func selected(t *testing.T, session *sql.Conn, query string, columns int) [][]sql.NullString {
	t.Helper()
	result, err := session.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer result.Close()
	var out [][]sql.NullString
	for result.Next() {
		row := make([]sql.NullString, columns)
		into := make([]any, columns)
		for i := range row {
			into[i] = &row[i]
		}
		if err := result.Scan(into...); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// sameValue compares a value with the server's text of one.
func sameValue(v filter.Value, text sql.NullString) bool {
	switch v.Kind() {
	case filter.Null:
		return !text.Valid
	case filter.Bool:
		return text.Valid && text.String == map[bool]string{true: "1", false: "0"}[v == filter.OfBool(true)]
	case filter.Text:
		return text.Valid && v == filter.OfText(text.String)
	default:
		f, err := strconv.ParseFloat(text.String, 64)
		g, _ := strconv.ParseFloat(string(v.AppendText(nil)), 64) // we wrote it
		return text.Valid && err == nil && f == g
	}
}

// log reads what is logged from when it was made on.
type log struct {
	cfg    binlog.Config
	server binlog.Server
	rows   []*binlog.Row
	pos    binlog.Position
	end    binlog.Position
	cancel context.CancelFunc
}

func newLog(t testing.TB, db *servicestest.Database) *log {
	t.Helper()
	l := &log{cfg: binlog.Config{
		Addr: db.Server.Addr, User: "root", Password: func() string { return "" }, ServerID: 1000 + rand.Uint32N(1<<30),
		Location: time.UTC, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
	l.server = l.inspect(t)
	l.pos = l.server.Current.Clone()
	return l
}

func (l *log) inspect(t testing.TB) binlog.Server {
	t.Helper()
	s, err := binlog.Inspect(t.Context(), l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read gives the rows that were inserted, by their id from 0 on, as they are
// in the log and as they are read back.
func (l *log) read(t testing.TB, name binlog.TableName) map[string][]*binlog.Row {
	t.Helper()
	l.end = l.inspect(t).Current
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l.cancel = cancel
	err := binlog.NewSource(l.cfg, l.server, []binlog.TableName{name}).Run(ctx, l.pos, l)
	if !l.pos.Covers(l.end) {
		t.Fatalf("the log was read to %s only: %v", l.pos, err)
	}
	table := l.rows[0].Table
	all := make([]int, len(table.Columns))
	keys := make([]string, len(l.rows))
	for i := range all {
		all[i] = i
	}
	for i := range keys {
		keys[i] = fmt.Sprintf("[%d]", i)
	}
	reader := binlog.NewReader(l.cfg, l.server)
	defer reader.Close()
	back := make([]*binlog.Row, len(l.rows))
	id, err := filter.Column(table, 0, binlog.CastDefault, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Rows(t.Context(), table, all, []binlog.KeyColumn{{Column: 0}}, keys, l.end, func(row *binlog.Row) error {
		v, err := id.Value(row)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(v.AppendText(nil)))
		back[n] = row.Clone()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(back, nil) {
		t.Fatal("a row was not read back")
	}
	return map[string][]*binlog.Row{"log": l.rows, "table": back}
}

func (l *log) Change(_ context.Context, c *binlog.Change) error {
	l.rows = append(l.rows, c.After.Clone())
	return nil
}

func (l *log) Commit(_ context.Context, pt binlog.Point) error {
	err := l.pos.Advance(pt)
	if l.pos.Covers(l.end) {
		l.cancel()
	}
	return err
}

func (l *log) Definition(context.Context, *binlog.Definition) error { return nil }

func (l *log) Idle(pt binlog.Point) {
	if err := l.pos.Advance(pt); err == nil && l.pos.Covers(l.end) {
		l.cancel()
	}
}
