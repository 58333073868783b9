package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/tools/services"
)

// The load: one change to a transaction, all of the time. It concerns users
// whose channels a client has, or else as many whose channels nobody has.
const (
	latencyRate  = 500 // changes/s
	sliceChanges = 2 * latencyRate
	latencyPairs = 10
	latencyUsers = 20
	// settling is how long the last events of a slice may take to arrive.
	settling = 15 * time.Second
)

// latency compares two ways to one and the same client, by the same bodies:
// from just before a COMMIT is sent to MySQL until the client's callback, with
// chorusd in between; and from just before the event is given to the Pusher
// server until the callback.
//
// Short slices of both take turns. In a slice of the second kind the database
// takes the same changes at the same rate and chorusd reads them, but they are
// for users of whom nobody is there, so it publishes nothing; the bodies that
// it published in the slice before are triggered instead.
func latency(ctx context.Context, progress io.Writer) (_ []figure, err error) {
	b, err := newLatencyBench(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	var ours, theirs []time.Duration
	for pair := range latencyPairs + 1 {
		a, bodies, err := b.changes(ctx)
		if err != nil {
			return nil, fmt.Errorf("changes through chorusd: %w", err)
		}
		t, err := b.triggers(ctx, bodies)
		if err != nil {
			return nil, fmt.Errorf("triggers: %w", err)
		}
		fmt.Fprintf(progress, "pair %d: chorusd p50 %s, p99 %s; trigger p50 %s, p99 %s\n", pair,
			ms(percentile(a, 50)), ms(percentile(a, 99)), ms(percentile(t, 50)), ms(percentile(t, 99)))
		if pair == 0 {
			continue // the programs warm up
		}
		ours, theirs = append(ours, a...), append(theirs, t...)
	}
	var figures []figure
	for _, p := range []int{50, 99} {
		a, t := percentile(ours, p), percentile(theirs, p)
		figures = append(figures, figure{
			fmt.Sprintf("latency.p%d", p), a.Seconds() / t.Seconds(), "x",
			fmt.Sprintf("trigger to callback on the same Soketi: COMMIT to callback %s, trigger to callback %s, at %d changes/s for %d users",
				ms(a), ms(t), latencyRate, latencyUsers),
		})
	}
	return figures, nil
}

// latencyBench is everything that runs.
type latencyBench struct {
	db         *sql.DB
	publisher  *pusher.Client
	subscriber *subscriber
	nextID     int
	closers    []func() error // in the order of creation
}

func (b *latencyBench) close() error {
	var errs []error
	for _, f := range slices.Backward(b.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func newLatencyBench(ctx context.Context) (_ *latencyBench, err error) {
	b := &latencyBench{nextID: 1}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	database, db, err := startDatabase(ctx)
	if err != nil {
		return nil, err
	}
	b.db = db
	b.closers = append(b.closers, database.Stop, db.Close)
	db.SetMaxIdleConns(openLoopWorkers)
	redis, err := services.StartRedis(ctx, services.RedisOptions{})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, redis.Stop)
	soketi, err := services.StartSoketi(ctx, services.SoketiOptions{})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, soketi.Stop)

	cfg := pusher.DefaultConfig()
	cfg.Server, cfg.Host, cfg.AppID, cfg.Key, cfg.Secret = "soketi", soketi.Addr, soketi.AppID, soketi.Key, pusher.Secret(soketi.Secret)
	if b.publisher, err = pusher.New(cfg, slog.New(slog.DiscardHandler), pusher.Options{}); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() error { b.publisher.Close(); return nil })

	// The client is there before chorusd is, whose first poll then finds it.
	var channels []string
	for user := range latencyUsers {
		channels = append(channels, channelOf(user))
	}
	if b.subscriber, err = subscribe(ctx, soketi, channels); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	b.closers = append(b.closers, b.subscriber.close)
	daemon, err := startDaemon(ctx, daemonConfig(database, redis, soketi))
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, daemon.stop)
	return b, nil
}

func channelOf(user int) string {
	return "private-" + strings.ReplaceAll(userChannel, "{id}", fmt.Sprint(user))
}

// changes writes a slice of changes for the users who are there. It returns
// how long each took from just before COMMIT to the callback, and what arrived.
func (b *latencyBench) changes(ctx context.Context) ([]time.Duration, [][]byte, error) {
	first := b.nextID
	b.nextID += sliceChanges
	arriving := b.subscriber.expect(first, sliceChanges)
	began, err := openLoop(ctx, time.Now(), sliceChanges, b.commits(first, 0))
	if err != nil {
		return nil, nil, err
	}
	arrived, err := arriving.wait(ctx)
	return between(began, arrived), arriving.bodies, err
}

// triggers writes a slice of changes for users who are not there, while it
// triggers events with the given bodies. It returns how long each event took
// from just before it was triggered to the callback.
func (b *latencyBench) triggers(ctx context.Context, bodies [][]byte) ([]time.Duration, error) {
	events := make([]pusher.Event, len(bodies))
	for i, body := range bodies {
		events[i] = pusher.Event{Name: harmonic.EventCreated, Channels: []string{channelOf(i % latencyUsers)}, Data: body}
	}
	first := b.nextID
	b.nextID += len(events)
	arriving := b.subscriber.expect(first-len(events), len(events))
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	group.Go(func() error {
		_, err := openLoop(ctx, start, len(events), b.commits(first, latencyUsers))
		return err
	})
	var began []time.Time
	group.Go(func() (err error) {
		// Between two commits, as chorusd's own requests are.
		began, err = openLoop(ctx, start.Add(period/2), len(events), func(ctx context.Context, i int) (func() error, error) {
			return func() error { return b.publisher.Publish(ctx, events[i:i+1]) }, nil
		})
		return err
	})
	arrived, err := arriving.wait(ctx)
	if err := errors.Join(group.Wait(), err); err != nil {
		return nil, err
	}
	return between(began, arrived), nil
}

// commits prepares transactions of one inserted row each, up to the COMMIT.
func (b *latencyBench) commits(firstID, firstUser int) prepare {
	return func(ctx context.Context, i int) (func() error, error) {
		tx, err := b.db.BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		row := appendTodo([]byte("INSERT INTO todos VALUES "), firstID+i, firstUser+i%latencyUsers)
		if _, err := tx.ExecContext(ctx, string(row)); err != nil {
			return nil, errors.Join(err, tx.Rollback())
		}
		return tx.Commit, nil
	}
}

func between(from, to []time.Time) []time.Duration {
	took := make([]time.Duration, len(to))
	for i := range to {
		took[i] = to[i].Sub(from[i])
	}
	return took
}

// percentile returns the value that p per cent do not exceed.
func percentile(values []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*p+99)/100-1]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }
