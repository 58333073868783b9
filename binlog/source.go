package binlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// ChangeKind is what happened to a row.
type ChangeKind uint8

// The kinds of change.
const (
	Insert ChangeKind = iota
	Update
	Delete
)

// Change is one row that a committed transaction changed.
type Change struct {
	Kind ChangeKind
	// Time of the transaction's first commit, in microseconds since the Unix epoch.
	Time uint64
	// Before is nil for an insert, After for a delete.
	Before, After *Row
}

// Table is the version of the table that the rows were written with.
func (c *Change) Table() *Table {
	if c.After != nil {
		return c.After.Table
	}
	return c.Before.Table
}

// Handler takes the stream of changes. Its calls come one at a time and in
// commit order; while one blocks, nothing is read.
type Handler interface {
	// Change takes one changed row; it is valid only during the call.
	Change(ctx context.Context, c *Change) error
	// Commit says that a transaction, perhaps one without a change that is
	// of interest, ends at pt.
	Commit(ctx context.Context, pt Point) error
	// Definition takes what a statement did to a table; it comes in order with
	// the changes and before the Commit of its transaction. Before everything
	// else it comes once for each table, of kind Present.
	Definition(ctx context.Context, d *Definition) error
	// Idle says that the log has been read up to pt and no transaction is
	// open there. While nothing happens it comes about once a second, with the
	// time at which the log went no further; else pt.Time is 0.
	Idle(pt Point)
}

// Source tails the binary log of one server.
type Source struct {
	cfg    Config
	server Server
	wanted *watched
	shapes *history
}

// NewSource makes a source of the changes of the given tables, and of those
// that fit a pattern, now or later. server is what Inspect said of the server.
func NewSource(cfg Config, server Server, tables []TableName, patterns ...Pattern) *Source {
	return &Source{
		cfg: cfg, server: server, wanted: watch(tables, patterns...),
		shapes: &history{of: map[TableName][]*shape{}},
	}
}

// Backoff between attempts to reach the server.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 3 * time.Second

	// When the server refuses the login.
	minRefused = time.Second
	maxRefused = time.Minute
)

// Run reads from the given position until ctx ends, which returns nil, or
// something happens that trying again would not mend. A server that goes away
// is waited for: what was half read is read again and not given twice.
func (s *Source) Run(ctx context.Context, from Position, h Handler) error {
	t := newTail(s, from.Clone(), h)
	defer t.close()
	denied := false // and that was logged
	for backoff, refused := minBackoff, minRefused; ; {
		t.fresh = false
		password := s.cfg.Password()
		err := s.stream(ctx, t)
		if ctx.Err() != nil {
			return nil
		}
		if !Passing(err) {
			return fmt.Errorf("read the binlog at %s: %w", t.where(), err)
		}
		if t.fresh {
			backoff, refused, denied = minBackoff, minRefused, false
		}
		if Refused(err) {
			if !denied {
				denied = true
				s.cfg.Logger.Error("the database server and chorusd refuse each other, waiting until that is mended",
					"addr", s.cfg.Addr, "user", s.cfg.User, "position", t.where(), "error", err, "mend", mendConnection(s.cfg, err))
			}
			t.away = true
		} else if !t.away {
			t.away = true
			s.cfg.Logger.Warn("lost the database server, trying to reach it again",
				"addr", s.cfg.Addr, "position", t.where(), "error", err)
		}
		t.interrupt()
		if Refused(err) {
			s.awaitLogin(ctx, password, refused)
			refused = min(2*refused, maxRefused)
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// awaitLogin waits before the next try of a login that was refused: until the
// password is another one, or for the given time. Servers count failed logins
// and lock accounts and hosts for them.
func (s *Source) awaitLogin(ctx context.Context, password string, most time.Duration) {
	enough := time.After(most)
	look := time.NewTicker(minRefused / 2)
	defer look.Stop()
	for s.cfg.Password() == password {
		select {
		case <-ctx.Done():
			return
		case <-enough:
			return
		case <-look.C:
		}
	}
}

// fatalError is an error that another connection would not mend: a row that
// cannot be read exactly, or the handler's.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

func fatal(format string, args ...any) error { return &fatalError{fmt.Errorf(format, args...)} }

// stream reads over one connection until it ends.
func (s *Source) stream(ctx context.Context, t *tail) error {
	now, err := s.verify(ctx, t.pos)
	if err != nil {
		return err
	}
	t.connectedTo(now)
	if err := t.present(ctx); err != nil {
		return err
	}
	err = s.dump(ctx, t)
	if errors.Is(err, ErrPositionLost) {
		// The server says little about why.
		if _, reason := s.verify(ctx, t.pos); errors.Is(reason, ErrPositionLost) {
			return reason
		}
	}
	return err
}

// dump reads from the tail's position, as far as the server goes.
func (s *Source) dump(ctx context.Context, t *tail) error {
	cfg, err := s.syncerConfig()
	if err != nil {
		return err
	}
	ended := make(chan error, 1) // what the handler's own failure was
	cfg.SynchronousEventHandler = eventFunc(func(e *replication.BinlogEvent) (err error) {
		defer func() {
			// The syncer would take a panic for a broken connection.
			if p := recover(); p != nil {
				err = fatal("panic: %v\n%s", p, debug.Stack())
			}
			if err != nil {
				ended <- err
			}
		}()
		return t.handle(ctx, e)
	})
	syncer := replication.NewBinlogSyncer(cfg)
	defer syncer.Close()
	var streamer *replication.BinlogStreamer
	if t.pos.gtids != nil {
		streamer, err = syncer.StartSyncGTID(t.pos.gtids.Clone())
	} else {
		from := t.pos.Offset
		if from > math.MaxUint32 {
			// The protocol has no such offsets. What is before is read over.
			from, t.offset, t.skipTo = logHeader, logHeader, t.pos.Offset
		}
		streamer, err = syncer.StartSync(mysql.Position{Name: t.pos.File, Pos: uint32(from)})
	}
	if err != nil {
		return fmt.Errorf("start reading: %w", err)
	}
	// Events go to the handler; the streamer gives nothing but the end.
	_, err = streamer.GetEvent(ctx)
	select {
	case own := <-ended:
		return own
	default:
	}
	if e, ok := serverError(err); ok && strings.Contains(e.Message, "same server_uuid/server_id") {
		// Not an answer about the position: it passes, as on MariaDB.
		return fmt.Errorf("another replica has the server id %d (mysql.server_id): %s", cfg.ServerID, e.Message)
	}
	if isError(err, mysql.ER_MASTER_FATAL_ERROR_READING_BINLOG) {
		return lost("%w", err)
	}
	// Wrapped also because go-mysql's own errors print their stack in a log.
	return fmt.Errorf("read from %s: %w", s.cfg.Addr, err)
}

type eventFunc func(*replication.BinlogEvent) error

func (f eventFunc) HandleEvent(e *replication.BinlogEvent) error { return f(e) }

func (s *Source) syncerConfig() (replication.BinlogSyncerConfig, error) {
	encryption, err := s.cfg.encryption()
	if err != nil {
		return replication.BinlogSyncerConfig{}, err
	}
	cfg := replication.BinlogSyncerConfig{
		ServerID:  s.cfg.ServerID,
		Flavor:    string(s.server.Flavor),
		Host:      s.cfg.Addr,
		User:      s.cfg.User,
		Password:  s.cfg.Password(),
		TLSConfig: encryption,
		// Not the machine's name: it is shown to every other replica.
		Localhost:       "chorusd",
		RawModeEnabled:  true,
		HeartbeatPeriod: heartbeatPeriod,
		VerifyChecksum:  true,
		// Its own reconnect loses and repeats rows (binlog/DESIGN.md).
		DisableRetrySync: true,
		DiscardGTIDSet:   true,
		// It logs what it returns as errors, too.
		Logger: slog.New(slog.DiscardHandler),
		// Its ReadTimeout would set a deadline several times an event.
		Dialer: dialPatient,
	}
	if !strings.Contains(s.cfg.Addr, "/") {
		host, port, err := net.SplitHostPort(s.cfg.Addr)
		if err != nil {
			return cfg, fatal("mysql.addr: %w", err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return cfg, fatal("mysql.addr: port %q: %w", port, err)
		}
		cfg.Host, cfg.Port = host, uint16(n)
	}
	return cfg, nil
}
