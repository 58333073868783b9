package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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
	latencyUsers = 20
	sliceChanges = 750
	latencyPairs = 11
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
// it published in the slice before are triggered instead. The values are the
// medians of the ratios of neighbouring slices, so that a burst of other work
// on the machine, which spoils one slice, does not decide.
//
// MySQL is as durable as it is by default, so the first way holds the disk's
// time for a COMMIT; what that was is said beside the values.
func latency(ctx context.Context, progress io.Writer) (_ []figure, err error) {
	b, err := newLatencyBench(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	percentiles := []int{50, 99}
	ours, theirs, commits := map[int][]float64{}, map[int][]float64{}, map[int][]float64{} // by percentile: one of each slice
	for pair := range latencyPairs + 1 {
		a, commit, bodies, err := b.changes(ctx)
		if err != nil {
			return nil, fmt.Errorf("changes through chorusd: %w", err)
		}
		t, err := b.triggers(ctx, bodies)
		if err != nil {
			return nil, fmt.Errorf("triggers: %w", err)
		}
		for _, p := range percentiles {
			fmt.Fprintf(progress, "pair %d, p%d: COMMIT to callback %.2f ms (its own answer %.2f ms), trigger to callback %.2f ms\n",
				pair, p, percentile(a, p), percentile(commit, p), percentile(t, p))
			if pair == 0 {
				continue // the programs warm up
			}
			ours[p] = append(ours[p], percentile(a, p))
			theirs[p] = append(theirs[p], percentile(t, p))
			commits[p] = append(commits[p], percentile(commit, p))
		}
	}
	var figures []figure
	for _, p := range percentiles {
		ratios := make([]float64, latencyPairs)
		for i := range ratios {
			ratios[i] = ours[p][i] / theirs[p][i]
		}
		figures = append(figures, figure{
			fmt.Sprintf("latency.p%d", p), median(ratios), "x",
			fmt.Sprintf("trigger to callback on the same Soketi: %.2f ms from COMMIT to callback (the COMMIT alone: %.2f ms), %.2f ms from trigger to callback; %d changes/s for %d users",
				median(ours[p]), median(commits[p]), median(theirs[p]), latencyRate, latencyUsers),
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

func (b *latencyBench) close() error { return closeAll(b.closers) }

// closeAll closes what was opened last first.
func closeAll(closers []func() error) error {
	var errs []error
	for _, f := range slices.Backward(closers) {
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

	to := soketiApp(soketi)
	if b.publisher, err = newPublisher(to, nil); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() error { b.publisher.Close(); return nil })

	// The client is there before chorusd is, whose first poll then finds it.
	var channels []string
	for user := range latencyUsers {
		channels = append(channels, channelOf(user))
	}
	if b.subscriber, err = subscribe(ctx, to, channels); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	b.closers = append(b.closers, b.subscriber.close)
	daemon, err := startDaemon(ctx, daemonConfig(database, redis, to, todosMapping()))
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, daemon.stop)
	return b, nil
}

// newPublisher makes requests as chorusd does, over its own connections if
// transport is nil.
func newPublisher(to app, transport http.RoundTripper) (*pusher.Client, error) {
	cfg := pusher.DefaultConfig()
	cfg.Server, cfg.Host, cfg.AppID, cfg.Key, cfg.Secret = to.kind, to.addr, to.id, to.key, pusher.Secret(to.secret)
	return pusher.New(cfg, slog.New(slog.DiscardHandler), pusher.Options{Transport: transport})
}

func channelOf(user int) string {
	return "private-" + strings.ReplaceAll(userChannel, "{id}", fmt.Sprint(user))
}

// changes writes a slice of changes for the users who are there. It returns
// how many milliseconds each took from just before COMMIT to the callback, how
// many the COMMIT took to be answered, and what arrived.
func (b *latencyBench) changes(ctx context.Context) (took, commit []float64, bodies [][]byte, err error) {
	first := b.nextID
	b.nextID += sliceChanges
	arriving := b.subscriber.expect(first, sliceChanges)
	began, ended, err := openLoop(ctx, time.Now(), sliceChanges, b.commits(first, 0))
	if err != nil {
		return nil, nil, nil, err
	}
	arrived, err := arriving.wait(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	return between(began, arrived), between(began, ended), arriving.bodies, nil
}

// triggers writes a slice of changes for users who are not there, while it
// triggers events with the given bodies. It returns how many milliseconds each
// event took from just before it was triggered to the callback.
func (b *latencyBench) triggers(ctx context.Context, bodies [][]byte) ([]float64, error) {
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
		_, _, err := openLoop(ctx, start, len(events), b.commits(first, latencyUsers))
		return err
	})
	var began []time.Time
	group.Go(func() (err error) {
		// Between two commits, as chorusd's own requests are.
		began, _, err = openLoop(ctx, start.Add(period/2), len(events), func(ctx context.Context, i int) (func() error, error) {
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

// between returns milliseconds.
func between(from, to []time.Time) []float64 {
	took := make([]float64, len(to))
	for i := range to {
		took[i] = float64(to[i].Sub(from[i])) / float64(time.Millisecond)
	}
	return took
}
