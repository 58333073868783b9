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
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/tools/services"
)

// What the binary log holds that is read: mostly large transactions, as
// imports and bulk updates make them, and some of a single row.
const (
	bulkInserts   = 360 // of bulkRows
	bulkUpdates   = 30  // of bulkRows
	bulkRows      = 1000
	singleInserts = 5000
	singleUpdates = 5000

	captureRows  = (bulkInserts+bulkUpdates)*bulkRows + singleInserts + singleUpdates
	captureUsers = 1000
	captureTurns = 5
)

// capture compares how fast one and the same binary log is read from one and
// the same server: by package binlog with mapping and the JSON text of every
// harmonic, and by go-mysql as its users start out, StartSync and GetEvent with
// everything decoded. The value is the median of the ratios of neighbouring
// turns.
func capture(ctx context.Context, progress io.Writer) (_ []figure, err error) {
	// Durability only slows the filling down; reading is not touched by it.
	server, db, err := startDatabase(ctx, "--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close(), server.Stop()) }()

	cfg := binlog.Config{
		Addr: server.Addr, User: "root", Password: func() string { return "" },
		ServerID: 1001, Location: time.UTC,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	inspected, err := binlog.Inspect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "writing %d rows\n", captureRows)
	if err := fill(ctx, db); err != nil {
		return nil, fmt.Errorf("fill the table: %w", err)
	}

	var ours, theirs, ratios []float64
	for turn := range captureTurns + 1 {
		a, err := readMapped(ctx, cfg, inspected)
		if err != nil {
			return nil, err
		}
		b, err := readDecoded(ctx, server, inspected.Current)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(progress, "turn %d: %.0f rows/s mapped, %.0f rows/s decoded by go-mysql, %.2f x\n", turn, a, b, a/b)
		if turn == 0 {
			continue // the caches are cold
		}
		ours, theirs, ratios = append(ours, a), append(theirs, b), append(ratios, a/b)
	}
	return []figure{{
		"capture.mapped", median(ratios), "x",
		fmt.Sprintf("go-mysql StartSync+GetEvent of the same binlog: %.0f rows/s mapped to JSON, %.0f rows/s decoded",
			median(ours), median(theirs)),
	}}, nil
}

// fill makes the transactions that are read.
func fill(ctx context.Context, db *sql.DB) error {
	id := 0
	insert := func(rows int) error {
		statement := []byte("INSERT INTO todos VALUES ")
		for i := range rows {
			if i > 0 {
				statement = append(statement, ',')
			}
			id++
			statement = appendTodo(statement, id, id%captureUsers)
		}
		_, err := db.ExecContext(ctx, string(statement))
		return err
	}
	update := func(from, rows int) error {
		_, err := db.ExecContext(ctx, fmt.Sprintf(
			"UPDATE todos SET done = 1 - done, updated_at = '2026-11-22 17:25:39' WHERE id BETWEEN %d AND %d", from+1, from+rows))
		return err
	}
	repeat := func(n int, f func(i int) error) error {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.Join(
		repeat(bulkInserts, func(int) error { return insert(bulkRows) }),
		repeat(singleInserts, func(int) error { return insert(1) }),
		repeat(bulkUpdates, func(i int) error { return update(i*bulkRows, bulkRows) }),
		repeat(singleUpdates, func(i int) error { return update(i, 1) }),
	)
}

// mapped maps every change and writes the payload of every harmonic.
type mapped struct {
	mapper  *mapping.Mapper
	payload []byte
	seq     harmonic.Seq
	rows    int
	end     func()
}

func (m *mapped) Change(_ context.Context, c *binlog.Change) error {
	m.rows++
	_, err := m.mapper.Map(c, func(h *mapping.Harmonic) (err error) {
		m.seq = max(harmonic.Seq(c.Time), m.seq+1)
		m.payload, err = h.AppendPayload(m.payload[:0], harmonic.NewID(m.seq, 1), time.UnixMicro(int64(c.Time)))
		return err
	})
	return err
}

func (m *mapped) Commit(context.Context, binlog.Point) error {
	if m.rows == captureRows {
		m.end()
	}
	return nil
}

func (m *mapped) Idle(binlog.Point) {}

// readMapped returns rows/s from the start of reading to the last commit.
func readMapped(ctx context.Context, cfg binlog.Config, server binlog.Server) (float64, error) {
	mapper, problems := mapping.New(mapping.Config{Tables: map[string]mapping.Table{"todos": todos}, UserChannel: userChannel}, database, time.UTC)
	if len(problems) > 0 {
		return 0, fmt.Errorf("the benchmark's mapping is wrong: %v", problems)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runtime.GC() // what the turn before left
	began := time.Now()
	var took time.Duration
	h := &mapped{mapper: mapper, end: func() {
		took = time.Since(began)
		cancel()
	}}
	if err := binlog.NewSource(cfg, server, mapper.Sources()).Run(ctx, server.Current, h); err != nil {
		return 0, err
	}
	if took == 0 {
		return 0, fmt.Errorf("reading ended after %d of %d rows", h.rows, captureRows)
	}
	return captureRows / took.Seconds(), nil
}

// readDecoded returns rows/s from the start of reading to the last row.
func readDecoded(ctx context.Context, server *services.SQLServer, from binlog.Position) (float64, error) {
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
	streamer, err := syncer.StartSync(mysql.Position{Name: from.File, Pos: from.Offset})
	if err != nil {
		return 0, err
	}
	for rows := 0; rows < captureRows; {
		event, err := streamer.GetEvent(ctx)
		if err != nil {
			return 0, fmt.Errorf("read with go-mysql, after %d of %d rows: %w", rows, captureRows, err)
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
	return captureRows / time.Since(began).Seconds(), nil
}
