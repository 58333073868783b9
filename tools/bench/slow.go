package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/chorusd/chorusd/pusher/pushertest"
	"github.com/chorusd/chorusd/tools/services"
)

// A server that answers after slowAnswer, and rows that wait in the binlog
// meanwhile, written in transactions of bulkRows: as many as are written in a
// minute or so. One in ten is for somebody who is there.
const (
	slowAnswer   = 2 * time.Second
	slowRows     = 2_000_000
	slowAnswered = 40 // requests, behind the last of the rows
	slowUsers    = captureUsers / 10
)

// slow measures how much memory chorusd takes at the most while a server is slow
// and far more waits than it could keep.
func slow(ctx context.Context, progress io.Writer) (_ []figure, err error) {
	var closers []func() error
	defer func() { err = errors.Join(err, closeAll(closers)) }()
	server, db, _, err := startReading(ctx)
	if err != nil {
		return nil, err
	}
	closers = append(closers, server.Stop, db.Close)
	redis, err := services.StartRedis(ctx, services.RedisOptions{})
	if err != nil {
		return nil, err
	}
	closers = append(closers, redis.Stop)
	fake, err := pushertest.New(pushertest.Options{Kind: pushertest.Soketi})
	if err != nil {
		return nil, err
	}
	closers = append(closers, func() error { fake.Close(); return nil })
	var channels []string
	for user := range slowUsers {
		channels = append(channels, channelOf(user))
	}
	defer fake.Subscribe(nil, channels...)()
	to := app{kind: pushertest.Soketi, addr: fake.Addr(), id: fake.AppID, key: fake.Key, secret: fake.Secret}
	daemon, err := startDaemon(ctx, daemonConfig(server, redis, to, todosMapping()))
	if err != nil {
		return nil, err
	}
	closers = append(closers, daemon.stop)
	if err := daemon.awaits(ctx, "chorusd_active_channels", func(n float64) bool { return n == slowUsers }); err != nil {
		return nil, err
	}
	fake.Fail(pushertest.Publish, -1, func(x *pushertest.Exchange) {
		answer := x.Do()
		waiting, cancel := context.WithTimeout(ctx, slowAnswer)
		defer cancel()
		x.WaitFor(waiting.Done())
		x.Write(answer)
	})
	fmt.Fprintln(progress, "writing rows")
	if err := writeTodos(ctx, db, slowRows); err != nil {
		return nil, err
	}
	written, err := daemon.metric(ctx, acceptedRequests)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(progress, "waiting for answers")
	if err := daemon.awaits(ctx, acceptedRequests, func(n float64) bool { return n >= written+slowAnswered }); err != nil {
		return nil, err
	}
	paused, err := daemon.metric(ctx, "chorusd_reading_paused")
	if err != nil {
		return nil, err
	}
	if paused != 1 {
		return nil, errors.New("chorusd reads although nothing of what it has read goes out")
	}
	peak, err := peakMemory(daemon.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	return []figure{{
		"rss.slow", peak / (1 << 20), "MiB",
		fmt.Sprintf("nothing: the most memory of chorusd while %d rows wait in the binlog and the server answers after %v; 128 are allowed", slowRows, slowAnswer),
	}}, nil
}

// writeTodos inserts rows.
func writeTodos(ctx context.Context, db *sql.DB, rows int) error {
	for id := 0; id < rows; {
		statement := []byte("INSERT INTO todos (" + todoColumns + ") VALUES ")
		for i := range bulkRows {
			if i > 0 {
				statement = append(statement, ',')
			}
			id++
			statement = appendTodo(statement, id, id%captureUsers)
		}
		if _, err := db.ExecContext(ctx, string(statement)); err != nil {
			return fmt.Errorf("fill the table: %w", err)
		}
	}
	return nil
}

// peakMemory is the most memory, in bytes, that a process has had so far.
func peakMemory(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("ask for the memory of chorusd: %w; this figure needs Linux", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024, err
		}
	}
	return 0, errors.New("the system does not say what memory chorusd had")
}
