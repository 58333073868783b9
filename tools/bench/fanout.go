package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
	"github.com/chorusd/chorusd/relay"
	"github.com/chorusd/chorusd/tools/services"
)

const (
	fanoutMembers = 10_000
	fanoutChanges = 100 // of a row, one transaction each
	fanoutTurns   = 7
)

// fanout measures the processor time that a change takes from the binary log
// to the requests that tell all connected members of a scope: the whole relay,
// with a Pusher server that takes no time.
func fanout(ctx context.Context, progress io.Writer) (_ []figure, err error) {
	server, db, cfg, err := startReading(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close(), server.Stop()) }()
	redis, err := services.StartRedis(ctx, services.RedisOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, redis.Stop()) }()
	for _, statement := range []string{
		"CREATE TABLE notes (id INT PRIMARY KEY, team_id INT NOT NULL, body VARCHAR(200) NOT NULL)",
		"CREATE TABLE memberships (team_id INT NOT NULL, user_id INT NOT NULL, PRIMARY KEY (team_id, user_id), INDEX (user_id))",
		"INSERT INTO notes VALUES (1, 1, ''), (2, 2, '')",
		"INSERT INTO memberships VALUES " + memberships(),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("make the tables: %w", err)
		}
	}

	running, cancel := context.WithCancel(ctx)
	defer cancel()
	listeners := newListeners()
	r, err := newFanout(running, cfg, redis, listeners)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- r.Run(running)
	}()
	defer func() {
		cancel()
		err = errors.Join(<-ended, err)
	}()
	fmt.Fprintln(progress, "waiting for the members to be there")
	if err := until(running, func() bool { s := r.Status(); return s.ActiveChannels == fanoutMembers && s.Refills == 0 }); err != nil {
		return nil, err
	}
	change := func(note, times, receivers int) error {
		want := listeners.told.Load() + int64(times*receivers)
		for i := range times {
			if _, err := db.ExecContext(ctx, "UPDATE notes SET body = ? WHERE id = ?", fmt.Sprint(time.Now().UnixNano(), i), note); err != nil {
				return err
			}
		}
		return until(running, func() bool { return listeners.told.Load() >= want && r.Status().Queued == 0 })
	}
	var values []float64
	for turn := range fanoutTurns + 1 {
		nobody, err := worked(func() error { return change(2, fanoutChanges, 0) })
		if err != nil {
			return nil, err
		}
		all, err := worked(func() error { return change(1, fanoutChanges, fanoutMembers) })
		if err != nil {
			return nil, err
		}
		ms := 1000 * (all - nobody).Seconds() / fanoutChanges
		fmt.Fprintf(progress, "route.fanout, turn %d: %.2f ms more a change than for nobody\n", turn, ms)
		if turn > 0 {
			values = append(values, ms)
		}
	}
	return []figure{{
		"route.fanout", median(values), "ms",
		fmt.Sprintf("processor time of one change to %d connected members of a scope, log to requests, above one to nobody", fanoutMembers),
	}}, nil
}

// memberships are the rows of all members of team 1.
func memberships() string {
	var b strings.Builder
	for user := range fanoutMembers {
		if user > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "(1,%d)", user)
	}
	return b.String()
}

// newFanout makes a relay that reads the database from here on.
func newFanout(ctx context.Context, cfg binlog.Config, redis *services.RedisServer, to *listeners) (*relay.Relay, error) {
	rules := mapping.Config{
		UserChannel: userChannel,
		Scopes:      map[string]mapping.Scope{"team": {Members: []mapping.Members{{Source: "memberships", Scope: "team_id", User: "user_id"}}}},
		Tables: map[string]mapping.Table{
			"notes": {Fields: []string{"id", "team_id", "body"}, VisibleTo: mapping.AnyOf("team:{team_id}")},
		},
	}
	at, err := binlog.Inspect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	tables, err := tablesOf(ctx, binlog.NewReader(cfg, at), "notes", "memberships")
	if err != nil {
		return nil, err
	}
	newMapper := func() (*mapping.Mapper, []mapping.Problem) {
		m, problems := mapping.New(rules, database, time.UTC)
		return m, append(problems, m.Check(tables)...)
	}
	mapper, problems := newMapper()
	if len(problems) > 0 {
		return nil, fmt.Errorf("the benchmark's mapping is wrong: %v", problems)
	}
	state, err := redisstate.Open(ctx, redisstate.Config{Addr: redis.Addr, Prefix: "bench:"}, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return relay.New(relay.Config{
		From: at.Current, Seq: harmonic.Seq(time.Now().UnixMicro()), Generation: harmonic.NewGeneration(), Source: at.Identity,
		PollInterval: time.Minute, Lease: 3 * time.Minute, Window: 100_000, Workers: 8,
	}, relay.Parts{
		Source: binlog.NewSource(cfg, at, mapper.Sources(), mapper.Patterns()...), Publisher: to, State: state, Lead: alone{},
		NewMapper: func() *mapping.Mapper {
			m, _ := newMapper() // which has no problems
			return m
		},
		NewReader: func() relay.Reader { return binlog.NewReader(cfg, at) },
		Logger:    cfg.Logger, Registerer: prometheus.NewRegistry(),
	}), nil
}

// alone is the lead of a relay beside which there is no other.
type alone struct{}

func (alone) Hold(ctx context.Context) error { return ctx.Err() }
func (alone) Holds() bool                    { return true }

// tablesOf reads what tables look like.
func tablesOf(ctx context.Context, r *binlog.Reader, names ...string) (map[binlog.TableName]*binlog.Table, error) {
	defer r.Close()
	tables := map[binlog.TableName]*binlog.Table{}
	for _, table := range names {
		name := binlog.TableName{Schema: database, Table: table}
		var err error
		if tables[name], err = r.Table(ctx, name); err != nil {
			return nil, err
		}
	}
	return tables, nil
}

// until waits until a condition holds.
func until(ctx context.Context, holds func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// listeners are a Pusher server that takes what it is given at once, and has
// every member's channel occupied.
type listeners struct {
	names []string
	told  atomic.Int64 // channels of events
}

func newListeners() *listeners {
	l := &listeners{}
	for user := range fanoutMembers {
		l.names = append(l.names, fmt.Sprintf("private-chorus.user.%d", user))
	}
	return l
}

const channelsOfEvent = 100

func (l *listeners) Publish(_ context.Context, events []pusher.Event) error {
	for _, e := range events {
		l.told.Add(int64(len(e.Channels)))
	}
	return nil
}

func (l *listeners) Packing() pusher.Packing {
	return pusher.Packing{Items: 10, Bytes: math.MaxInt, Spread: 1}
}

func (l *listeners) Cut(event pusher.Event) ([]pusher.Event, error) {
	var pieces []pusher.Event
	for len(event.Channels) > channelsOfEvent {
		piece := event
		piece.Channels, event.Channels = event.Channels[:channelsOfEvent], event.Channels[channelsOfEvent:]
		pieces = append(pieces, piece)
	}
	return append(pieces, event), nil
}

func (l *listeners) Channels(context.Context, string) ([]string, error) { return l.names, nil }

func (l *listeners) Limits() pusher.Limits {
	return pusher.Limits{Channels: channelsOfEvent, Batch: 10}
}
