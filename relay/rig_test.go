package relay

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// patience is how long a test waits for what must come; it decides nothing
// but when to give up.
const patience = 30 * time.Second

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("in %s it did not come to this: %s", patience, what)
		}
	}
}

// rig is a relay between a world and a server, with its state in a real Redis.
type rig struct {
	*world
	*server
	t     testing.TB
	cfg   Config
	redis redisstate.Config
	store *redisstate.Store
	relay *Relay
	// inbox bounds that, in bytes, if it is not 0.
	inbox int
	// past bounds that, in changes, if it is not 0.
	past int
	// polls passes polls one by one; closed, all of them.
	polls chan struct{}
	// broken makes polls fail.
	broken chan error
	done   chan error // why the relay ended
	stop   func() error

	mapper   func(testing.TB) *mapping.Mapper
	policies Policies
	backlog  Backlog
	tracer   Tracer
	lead     Leadership
	registry *prometheus.Registry // of the relay that was started last
}

const testGeneration harmonic.Generation = 42

// newRig makes a rig of which nothing runs yet. Polls wait for poll.
func newRig(t testing.TB) *rig {
	t.Helper()
	w := newWorld(t)
	db := servicestest.NewRedisDatabase(t)
	r := &rig{
		t: t, world: w, server: newServer(t, w), polls: make(chan struct{}), broken: make(chan error),
		mapper: newMapper, lead: alone{},
		redis: redisstate.Config{Addr: db.Addr, DB: db.Number, Prefix: "test:"},
		cfg: Config{
			From: position(0), Generation: testGeneration, Source: "here", Clock: epochTime,
			PollInterval: 2 * time.Millisecond, Lease: time.Millisecond, Window: 1000, Workers: 4,
		},
	}
	r.onListing(func(ctx context.Context) error { return r.turn(ctx) })
	return r
}

// newHeldRefill makes a running rig in which user 7 came after a transaction,
// and whose refill has read the rows and goes on once open is called.
func newHeldRefill(t testing.TB, transaction ...todo) (r *rig, open func()) {
	t.Helper()
	r = newRig(t)
	r.start()
	r.poll()
	r.commit(transaction...)
	r.caughtUp()
	reached, open := r.gate("rows")
	r.subscribe(7)
	r.poll()
	<-reached
	return r, open
}

// turn waits for a poll to be let through, or to be made to fail.
func (r *rig) turn(ctx context.Context) error {
	select {
	case <-r.polls:
		return nil
	case err := <-r.broken:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newMapper(t testing.TB) *mapping.Mapper {
	t.Helper()
	return mapperOf(t, mapping.Table{
		Fields: []string{"id", "user_id", "team_id", "v"}, VisibleTo: mapping.AnyOf("user:{user_id}", "channel:team.{team_id}"),
	})
}

// mapperOf maps todos by a rule.
func mapperOf(t testing.TB, rule mapping.Table) *mapping.Mapper {
	t.Helper()
	m, problems := mapping.New(mapping.Config{UserChannel: "chorus.user.{id}", Tables: map[string]mapping.Table{"todos": rule}}, "app", time.UTC)
	problems = append(problems, m.Check(map[binlog.TableName]*binlog.Table{todos.Name: todos})...)
	for _, p := range problems {
		t.Fatal(p)
	}
	return m
}

func newTestLogger(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func (r *rig) open() *redisstate.Store {
	r.t.Helper()
	store, err := redisstate.Open(context.Background(), r.redis, newTestLogger(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	return store
}

// alone is the lead of a relay beside which there is no other.
type alone struct{}

func (alone) Hold(ctx context.Context) error { return ctx.Err() }
func (alone) Holds() bool                    { return true }

// takeLead has a store lead, whoever did before.
func (r *rig) takeLead(store *redisstate.Store) {
	r.t.Helper()
	last, err := store.Leader(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	lead, err := store.Lead(context.Background(), redisstate.Candidate{}, last)
	if err != nil || lead == nil {
		r.t.Fatalf("a relay does not come to lead: %v", err)
	}
}

func (r *rig) newRelay(cfg Config, store *redisstate.Store) *Relay {
	r.registry = prometheus.NewRegistry()
	return New(cfg, Parts{
		Source: r.world, NewReader: func() Reader { return r.world }, Publisher: r.server, State: store, Lead: r.lead,
		Policies: r.policies, NewMapper: func() *mapping.Mapper { return r.mapper(r.t) }, Backlog: r.backlog,
		Tracer: r.tracer, Logger: newTestLogger(r.t), Registerer: r.registry,
	})
}

// start runs a relay on what Redis holds.
func (r *rig) start() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.done = make(chan error, 1)
	store := r.open()
	r.takeLead(store)
	cfg := r.cfg
	switch cp, err := store.LoadCheckpoint(ctx); {
	case err == nil:
		if cfg.From, err = binlog.ParsePosition(cp.Position); err != nil {
			r.t.Fatal(err)
		}
		cfg.Seq = harmonic.Seq(cp.LastSeq)
		clock, err := store.Clock(ctx)
		if err != nil {
			r.t.Fatal(err)
		}
		if !clock.IsZero() {
			cfg.Clock = clock
		}
	case !errors.Is(err, redisstate.ErrNoCheckpoint):
		r.t.Fatal(err)
	}
	r.store = store
	r.relay = r.newRelay(cfg, store)
	if r.inbox > 0 {
		r.relay.inbox.limit = r.inbox
	}
	if r.past > 0 {
		r.relay.pastKept = r.past
	}
	relay, done := r.relay, r.done
	go func() {
		done <- relay.Run(ctx)
		close(done)
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		defer store.Close()
		return <-done
	})
	stop := r.stop
	r.t.Cleanup(func() { _ = stop() })
}

// poll lets a poll through and waits until the relay has taken it; more than
// one while there is doubt.
func (r *rig) poll() {
	r.t.Helper()
	before, err := r.store.LastPoll(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "a poll is complete", func() bool {
		select {
		case r.polls <- struct{}{}:
		default:
		}
		last, err := r.store.LastPoll(context.Background())
		return err == nil && last.Epoch > before.Epoch
	})
}

// caughtUp waits until all that was committed is settled and nothing is
// under way to anybody.
func (r *rig) caughtUp() {
	r.t.Helper()
	eventually(r.t, "the relay has caught up", func() bool {
		at, _ := r.relay.ledger.settled()
		refills := r.relay.Status().Refills
		return at == position(r.head()).String() && refills == 0 && r.relay.queue.depth() == 0
	})
}

// same checks that a user's client has what the database has.
func (r *rig) same(user int) {
	r.t.Helper()
	if got, want := r.has(user), r.seen(user); !maps.Equal(got, want) {
		r.t.Errorf("the client of user %d has %v, the database %v", user, sortedRows(got), sortedRows(want))
	}
}

// isActive says whether a user's channel is known to be active.
func (r *rig) isActive(user int) bool { return r.isOpen(userChannel(user)) }

// isOpen says the same of any channel.
func (r *rig) isOpen(channel string) bool {
	r.relay.mu.Lock()
	defer r.relay.mu.Unlock()
	_, ok := r.relay.active[channel]
	return ok
}

// newRandom is another one each time; the log tells how to have it again.
func newRandom(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// checkpoint is what Redis holds.
func (r *rig) checkpoint() redisstate.Checkpoint {
	r.t.Helper()
	store := r.open()
	defer store.Close()
	cp, err := store.LoadCheckpoint(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return cp
}

// saved is the checkpoint's position; "" without one.
func (r *rig) saved() string {
	r.t.Helper()
	store := r.open()
	defer store.Close()
	cp, err := store.LoadCheckpoint(context.Background())
	if err != nil && !errors.Is(err, redisstate.ErrNoCheckpoint) {
		r.t.Fatal(err)
	}
	return cp.Position
}
