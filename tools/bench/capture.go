package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/tools/services"
)

// Two kinds of transaction: large ones, as imports and bulk updates make them,
// and those of a single row.
const (
	bulkInserts   = 360 // of bulkRows
	bulkUpdates   = 30  // of bulkRows
	bulkRows      = 1000
	singleInserts = 20000
	singleUpdates = 10000

	captureUsers = 1000
	captureTurns = 5
)

// stretch is a part of the binary log.
type stretch struct {
	from binlog.Server // as it was before, with the position
	rows int
}

// capture compares how fast one and the same binary log is read from one and
// the same server: by package binlog, with every row's JSON text or with
// mapping and the JSON text of every harmonic, and by go-mysql as its users
// start out, StartSync and GetEvent with everything decoded. The values are
// medians of the ratios of neighbouring turns.
func capture(ctx context.Context, progress io.Writer) (_ []figure, err error) {
	server, db, cfg, err := startReading(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close(), server.Stop()) }()
	mapper, problems := mapping.New(mapping.Config{Tables: map[string]mapping.Table{"todos": todos}, UserChannel: userChannel}, database, time.UTC)
	if len(problems) > 0 {
		return nil, fmt.Errorf("the benchmark's mapping is wrong: %v", problems)
	}
	view, err := newAudience(mapper)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(progress, "writing rows")
	f := &filler{db: db, tables: []string{"todos"}}
	bulk, err := f.fill(ctx, cfg, bulkInserts, bulkUpdates, bulkRows)
	if err != nil {
		return nil, err
	}
	single, err := f.fill(ctx, cfg, singleInserts, singleUpdates, 1)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, m := range []struct {
		figure, what string
		stretch
		handler func() binlog.Handler
	}{
		{"capture.bulk", "to JSON, transactions of 1,000 rows", bulk, func() binlog.Handler { return &texts{} }},
		{"capture.single", "to JSON, transactions of one row", single, func() binlog.Handler { return &texts{} }},
		{"capture.mapped", "mapped to events' JSON, transactions of 1,000 rows", bulk, func() binlog.Handler { return &mapped{mapper: mapper, view: view} }},
	} {
		var ours, theirs, ratios []float64
		for turn := range captureTurns + 1 {
			a, err := readWith(ctx, cfg, mapper.Sources(), m.stretch, m.handler())
			if err != nil {
				return nil, err
			}
			b, err := readDecoded(ctx, server, m.stretch)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(progress, "%s, turn %d: %.0f rows/s, %.0f rows/s decoded by go-mysql, %.2f x\n", m.figure, turn, a, b, a/b)
			if turn == 0 {
				continue // the caches are cold
			}
			ours, theirs, ratios = append(ours, a), append(theirs, b), append(ratios, a/b)
		}
		figures = append(figures, figure{
			m.figure, median(ratios), "x",
			fmt.Sprintf("go-mysql StartSync+GetEvent of the same binlog: %.0f rows/s %s; %.0f rows/s decoded", median(ours), m.what, median(theirs)),
		})
	}
	return figures, nil
}

// startReading starts a server with the table, and says how to read its log.
// Durability only slows the filling down; reading is not touched by it. The
// metadata is what chorusd recommends: without it, a log that is read from far
// back is first looked through for statements that change tables.
func startReading(ctx context.Context) (*services.SQLServer, *sql.DB, binlog.Config, error) {
	server, db, err := startDatabase(ctx, "--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0", "--binlog-row-metadata=FULL")
	if err != nil {
		return nil, nil, binlog.Config{}, err
	}
	return server, db, binlog.Config{
		Addr: server.Addr, User: "root", Password: func() string { return "" },
		ServerID: 1001, Location: time.UTC,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, nil
}

// filler makes the transactions that are read.
type filler struct {
	db     *sql.DB
	tables []string // in turns
	id     int      // the last one
}

// table is the one of a transaction.
func (f *filler) table(n int) string { return f.tables[n%len(f.tables)] }

// fill makes so many transactions of so many rows each.
func (f *filler) fill(ctx context.Context, cfg binlog.Config, inserts, updates, rows int) (stretch, error) {
	from, err := binlog.Inspect(ctx, cfg)
	if err != nil {
		return stretch{}, err
	}
	first := f.id + 1
	for n := range inserts {
		statement := []byte("INSERT INTO " + f.table(n) + " (" + todoColumns + ") VALUES ")
		for i := range rows {
			if i > 0 {
				statement = append(statement, ',')
			}
			f.id++
			statement = appendTodo(statement, f.id, f.id%captureUsers)
		}
		if _, err := f.db.ExecContext(ctx, string(statement)); err != nil {
			return stretch{}, fmt.Errorf("fill the table: %w", err)
		}
	}
	for i := range updates {
		_, err := f.db.ExecContext(ctx, "UPDATE "+f.table(i)+" SET done = 1 - done, updated_at = '2026-11-22 17:25:39' WHERE id BETWEEN ? AND ?",
			first+i*rows, first+(i+1)*rows-1)
		if err != nil {
			return stretch{}, fmt.Errorf("update the table: %w", err)
		}
	}
	return stretch{from: from, rows: (inserts + updates) * rows}, nil
}

// texts writes every image of every row as JSON, with all columns.
type texts struct {
	table    *binlog.Table
	encoders []binlog.Encoder
	names    []string
	text     []byte
}

func (w *texts) Change(_ context.Context, c *binlog.Change) error {
	if w.table != c.Table() {
		w.table, w.encoders, w.names = c.Table(), nil, nil
		for i, column := range w.table.Columns {
			e, err := w.table.Encoder(i, binlog.CastDefault, time.UTC)
			if err != nil {
				return err
			}
			w.encoders = append(w.encoders, e)
			w.names = append(w.names, ","+strconv.Quote(column.Name)+":")
		}
	}
	for _, row := range []*binlog.Row{c.Before, c.After} {
		if row == nil {
			continue
		}
		w.text = w.text[:0]
		for i := range w.encoders {
			var err error
			if w.text, err = w.encoders[i].Append(append(w.text, w.names[i]...), row); err != nil {
				return err
			}
		}
		w.text[0] = '{'
		w.text = append(w.text, '}')
	}
	return nil
}

func (w *texts) Commit(context.Context, binlog.Point) error { return nil }

func (w *texts) Idle(binlog.Point) {}

func (w *texts) Definition(context.Context, *binlog.Definition) error { return nil }

// mapped routes every change to its user, who is connected, and writes the
// payload of every harmonic.
type mapped struct {
	mapper  *mapping.Mapper
	view    *audience
	payload []byte
	seq     harmonic.Seq
}

func (m *mapped) Change(_ context.Context, c *binlog.Change) error {
	_, err := m.mapper.Route(c, m.view, m.view, func(h *mapping.Harmonic) (err error) {
		m.seq = max(harmonic.Seq(c.Time), m.seq+1)
		m.payload, err = h.AppendPayload(m.payload[:0], harmonic.NewID(m.seq, 1), time.UnixMicro(int64(c.Time)))
		return err
	})
	return err
}

func (m *mapped) Commit(context.Context, binlog.Point) error { return nil }

func (m *mapped) Idle(binlog.Point) {}

func (m *mapped) Definition(context.Context, *binlog.Definition) error { return nil }

// counted ends the reading after so many rows.
type counted struct {
	binlog.Handler
	rows, all int
	end       func()
}

func (h *counted) Change(ctx context.Context, c *binlog.Change) error {
	h.rows++
	return h.Handler.Change(ctx, c)
}

func (h *counted) Commit(ctx context.Context, pt binlog.Point) error {
	if h.rows == h.all {
		h.end()
	}
	return h.Handler.Commit(ctx, pt)
}

// readWith returns rows/s from the start of reading to the last commit.
func readWith(ctx context.Context, cfg binlog.Config, tables []binlog.TableName, s stretch, h binlog.Handler) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runtime.GC() // what the turn before left
	began := time.Now()
	var took time.Duration
	counting := &counted{Handler: h, all: s.rows, end: sync.OnceFunc(func() {
		took = time.Since(began)
		cancel()
	})}
	if err := binlog.NewSource(cfg, s.from, tables).Run(ctx, s.from.Current, counting); err != nil {
		return 0, err
	}
	if took == 0 {
		return 0, fmt.Errorf("reading ended after %d of %d rows", counting.rows, s.rows)
	}
	return float64(s.rows) / took.Seconds(), nil
}

// readDecoded returns rows/s from the start of reading to the last row.
func readDecoded(ctx context.Context, server *services.SQLServer, s stretch) (float64, error) {
	host, text, err := net.SplitHostPort(server.Addr)
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, err
	}
	runtime.GC()
	began := time.Now()
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 1002, Flavor: mysql.MySQLFlavor, Host: host, Port: uint16(port), User: "root",
		Logger: slog.New(slog.DiscardHandler),
	})
	defer syncer.Close()
	streamer, err := syncer.StartSync(mysql.Position{Name: s.from.Current.File, Pos: uint32(s.from.Current.Offset)})
	if err != nil {
		return 0, err
	}
	for rows := 0; rows < s.rows; {
		event, err := streamer.GetEvent(ctx)
		if err != nil {
			return 0, fmt.Errorf("read with go-mysql, after %d of %d rows: %w", rows, s.rows, err)
		}
		e, ok := event.Event.(*replication.RowsEvent)
		switch {
		case !ok:
		case e.Type() == replication.EnumRowsEventTypeUpdate:
			rows += len(e.Rows) / 2 // before and after
		default:
			rows += len(e.Rows)
		}
	}
	return float64(s.rows) / time.Since(began).Seconds(), nil
}
