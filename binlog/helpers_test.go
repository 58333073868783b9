package binlog_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// patience is how long a test waits for what must come; it decides nothing
// but when to give up.
const patience = time.Minute

// serverIDs gives every tail an id of its own: MariaDB ends the older of two.
var serverIDs atomic.Uint32

func configOf(t *testing.T, db *servicestest.Database) binlog.Config {
	t.Helper()
	return binlog.Config{
		Addr: db.Server.Addr, User: "root", Password: func() string { return "" },
		ServerID: 1000 + serverIDs.Add(1), Location: time.UTC, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// recorder keeps the changes of a tail as text: "update t [1,"a"] -> [1,"b"]".
type recorder struct {
	mu     sync.Mutex
	lines  []string
	pos    binlog.Position
	points []binlog.Point
	seen   chan struct{}
	fail   func(line string) error
	// definitions are what statements did: "dropped t".
	definitions []string
	// databases says that lines have tables' whole names.
	databases bool
}

func (r *recorder) name(of binlog.TableName) string {
	if r.databases {
		return of.String()
	}
	return of.Table
}

func newRecorder(from binlog.Position) *recorder {
	return &recorder{pos: from.Clone(), seen: make(chan struct{}, 1)}
}

func (r *recorder) Change(_ context.Context, c *binlog.Change) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", [...]string{"insert", "update", "delete"}[c.Kind], r.name(c.Table().Name))
	for _, row := range []*binlog.Row{c.Before, c.After} {
		if row == nil {
			continue
		}
		text, err := rowJSON(row)
		if err != nil {
			return err
		}
		b.WriteString(" " + text)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, b.String())
	if r.fail != nil {
		return r.fail(b.String())
	}
	return nil
}

func rowJSON(row *binlog.Row) (string, error) {
	out := []byte{'['}
	for i := range row.Table.Columns {
		if i > 0 {
			out = append(out, ',')
		}
		e, err := row.Table.Encoder(i, binlog.CastDefault, time.UTC)
		if err != nil {
			return "", err
		}
		if out, err = e.Append(out, row); err != nil {
			return "", err
		}
	}
	return string(append(out, ']')), nil
}

func (r *recorder) Commit(_ context.Context, pt binlog.Point) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.points = append(r.points, pt)
	if err := r.pos.Advance(pt); err != nil {
		return err
	}
	r.wake()
	return nil
}

func (r *recorder) Definition(_ context.Context, d *binlog.Definition) error {
	if d.Kind == binlog.Present {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.definitions = append(r.definitions, fmt.Sprintf("%s %s", d.Kind, d.Name.Table))
	return nil
}

func (r *recorder) Idle(pt binlog.Point) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.pos.Advance(pt) // no GTID in it
	r.wake()
}

func (r *recorder) wake() {
	select {
	case r.seen <- struct{}{}:
	default:
	}
}

// until waits until the tail covers the position and returns the lines so far.
// As long as anything comes, it goes on.
func (r *recorder) until(t *testing.T, to binlog.Position) []string {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		done, lines := r.pos.Covers(to), append([]string(nil), r.lines...)
		r.mu.Unlock()
		if done {
			return lines
		}
		select {
		case <-r.seen:
			deadline.Reset(patience)
		case <-deadline.C:
			t.Fatalf("nothing has come for %s, and the tail is not at %s yet; it is at %s; got %q", patience, to, r.pos, lines)
		}
	}
}

// follow runs a tail until the test ends or stop is called, which returns why it ended.
func follow(t *testing.T, cfg binlog.Config, from binlog.Position, h binlog.Handler, tables ...binlog.TableName) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	server, err := binlog.Inspect(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		err := binlog.NewSource(cfg, server, tables).Run(ctx, from, h)
		if err != nil {
			cfg.Logger.Error("the tail ended", "error", err)
		}
		done <- err
	}()
	var once sync.Once
	var result error
	stop = func() error {
		once.Do(func() {
			cancel()
			result = <-done
		})
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

func current(t *testing.T, cfg binlog.Config) binlog.Position {
	t.Helper()
	s, err := binlog.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s.Current
}

// typeRecorder keeps the columns of the last row, by every cast.
type typeRecorder struct {
	*recorder
	columns []map[binlog.Cast]string
}

func newTypeRecorder(from binlog.Position) *typeRecorder {
	return &typeRecorder{recorder: newRecorder(from)}
}

func (r *typeRecorder) Change(_ context.Context, c *binlog.Change) error {
	columns, err := rowForms(c.After)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.columns = columns
	return err
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until something was logged.
func (l *lines) await(t *testing.T, what string) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, what) {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("%q was not logged in %s, but\n%s", what, patience, text)
		}
	}
}

// await waits until something is closed.
func await(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("in %s it did not come to this: %s", patience, what)
	}
}

// withoutGTIDs starts a MySQL server with --gtid-mode=OFF.
func withoutGTIDs(t *testing.T) *services.SQLServer {
	t.Helper()
	return servicestest.StartSQL(t, services.MySQL, services.SQLOptions{Args: []string{"--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"}})
}

// everyKind is kinds and the newer MariaDB.
var everyKind = append(slices.Clone(kinds), services.MariaDB118)
