package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// Source gives the changes; see binlog.Source.
type Source interface {
	Run(ctx context.Context, from binlog.Position, h binlog.Handler) error
}

// Reader reads rows back; see binlog.Reader. It is used by one goroutine.
type Reader interface {
	Table(ctx context.Context, name binlog.TableName) (*binlog.Table, error)
	Rows(ctx context.Context, table *binlog.Table, columns []int, key []binlog.KeyColumn, keys []string,
		after binlog.Position, each func(*binlog.Row) error) (upto binlog.Position, err error)
	Page(ctx context.Context, table *binlog.Table, columns []int, page binlog.Page,
		after binlog.Position, each func(*binlog.Row) error) (next string, upto binlog.Position, err error)
	Close()
}

// Publisher makes requests to the Pusher server; see pusher.Client.
type Publisher interface {
	Publish(ctx context.Context, events []pusher.Event) error
	Packing() pusher.Packing
	Cut(event pusher.Event) ([]pusher.Event, error)
	Channels(ctx context.Context, prefix string) ([]string, error)
	Limits() pusher.Limits
}

// Leadership says when requests may be made, of several relays that work for the
// same; see redisstate.Leadership.
type Leadership interface {
	Hold(ctx context.Context) error
	Holds() bool
}

// Config says where to begin and how to go about it.
type Config struct {
	// From is where to read on, and Seq the last position issued before it.
	From binlog.Position
	Seq  harmonic.Seq
	// Generation is that of every id.
	Generation harmonic.Generation
	// Source is the identity of the server that From is a position of.
	Source string
	// Clock is how far the clock of conditions had come at From: what it has
	// crossed since is told. If it is zero, it begins with what is read.
	Clock time.Time
	// PollInterval is the time between two polls of the active channels, and
	// Lease how long one stays active after it was last seen.
	PollInterval, Lease time.Duration
	// Window is how many records are kept for channels that may just have
	// been opened; above it, everything is published.
	Window int
	// ScopeMessages has clients told of the scopes that they gain and lose by
	// a message each, with which they drop the rows of one that is lost.
	ScopeMessages bool
	// Workers is how many requests are in flight at most.
	Workers int
	// Late is for how long after a request was given up the Pusher server may
	// still act on it.
	Late time.Duration
	// Dir is the folder for what was read and is too large for memory; the
	// system's own for temporary files if it is empty.
	Dir string
}

// drainTimeout is how long Run goes on publishing what was read when it is
// told to stop.
const drainTimeout = 7 * time.Second

// Relay is the pipeline. Its parts share what is under mu, which also orders
// what goes to the queue: see route.go and refill.go.
type Relay struct {
	cfg       Config
	source    Source
	publisher Publisher
	policies  Policies
	state     *redisstate.Store
	lead      Leadership
	log       *slog.Logger
	metrics   *metrics

	inbox   *inbox
	queue   *queue
	window  *window
	ledger  *ledger
	timers  *timers
	pace    *pace
	circuit *circuit
	notices chan []pusher.WebhookEvent
	jobWake chan struct{}

	// What makes what those need who ask now and then.
	newMapper func() *mapping.Mapper
	newReader func() Reader

	// Of the goroutine that reads.
	reading *collector

	// Of the goroutine that routes.
	mapper       *mapping.Mapper
	audience     *audience.State
	past         *past
	pastKept     int // how many changes of it; see there
	lookups      *lookups
	hasParents   bool
	seq, ceiling harmonic.Seq
	generation   harmonic.Generation
	key, payload []byte
	versions     map[string]string // of the tables' schemas, by their IDs
	again        []audience.Load   // users to be read again
	errands      chan errand
	keysKnown    int    // when meet looked last
	insights     uint64 // how often what is known of users or parents has changed

	// Of the goroutine that refills.
	refillMapper *mapping.Mapper
	reader       Reader
	shapes       map[binlog.TableName]*binlog.Table

	// Of the goroutine that keeps the active channels.
	loader *audience.Loader

	mu       sync.Mutex
	tail     binlog.Position
	moved    chan struct{} // closed and renewed when tail moves
	routing  *binlog.Point // the end of the transaction that is being routed
	last     harmonic.Seq
	active   map[string]time.Time // channels, and when the lease ends
	unknown  bool                 // which channels are active
	epoch    uint64               // last poll begun
	complete uint64               // last poll completed
	polledAt time.Time
	// completeAt is the clock when poll complete was begun.
	completeAt time.Time
	// reopening are channels that are not active until a poll has found them
	// again. polled says that one was taken since the start and that it has.
	reopening map[string]bool
	polled    bool
	doubt     doubt
	jobs      []*job            // that wait for their turn
	listed    map[string]*job   // all of them, by their IDs
	selecting map[*job]bool     // those with selections to work off
	making    int               // times that such are being made
	chunk     *chunk            // what is being read for one
	resets    map[string]int    // how often each table was reset, by its ID
	overflown map[string]uint64 // the epoch in which the window was full, by table

	tracer  Tracer  // nil: nobody wants journeys
	backlog Backlog // of the goroutine that watches the log; nil: nobody does
	logEnd  logEnd
	vigil   vigil

	activating atomic.Int32 // times that channels are being made live
	heard      atomic.Int64 // when the source was last heard of, in ns since the Unix epoch
	// readTo is when what was last read was committed, or when the log went no
	// further, in microseconds since the Unix epoch.
	readTo         atomic.Int64
	finished       bool         // whether no request was under way when Run ended
	unsaved        atomic.Bool  // the last write to Redis failed
	checkpointed   atomic.Int64 // when Redis last had all that is settled, in ns since the Unix epoch
	setAsideOnce   sync.Map
	unroutableOnce sync.Map
}

// Parts are what a Relay works with.
type Parts struct {
	Source    Source
	Publisher Publisher
	// Policies may be nil if no table has a policy.
	Policies Policies
	State    *redisstate.Store
	Lead     Leadership
	// NewMapper makes a mapper of the rules: one is for one goroutine.
	NewMapper func() *mapping.Mapper
	// NewReader makes a reader, which is for one goroutine as well.
	NewReader func() Reader
	// Backlog may be nil: then nobody knows how many bytes are not read yet.
	Backlog Backlog
	// Tracer may be nil.
	Tracer     Tracer
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// New puts a relay together; Run starts it.
func New(cfg Config, p Parts) *Relay {
	r := &Relay{
		cfg: cfg, source: p.Source, publisher: p.Publisher, policies: p.Policies, state: p.State, lead: p.Lead, backlog: p.Backlog, tracer: p.Tracer, log: p.Logger,
		queue: newQueue(p.Publisher.Packing(), cfg.Dir), pace: newPace(max(1, cfg.Workers)), window: newWindow(),
		ledger: newLedger(cfg.From, cfg.Seq), timers: newTimers(cfg.Clock), notices: make(chan []pusher.WebhookEvent, 64), jobWake: make(chan struct{}, 1),
		newMapper: p.NewMapper, newReader: p.NewReader,
		reading: newCollector(p.NewMapper(), cfg.Dir),
		mapper:  p.NewMapper(), past: newPast(0), pastKept: pastKept, lookups: newLookups(p.NewReader()), errands: make(chan errand),
		refillMapper: p.NewMapper(), reader: p.NewReader(), shapes: map[binlog.TableName]*binlog.Table{},
		seq: cfg.Seq, last: cfg.Seq, generation: cfg.Generation,
		tail: cfg.From.Clone(), moved: make(chan struct{}), unknown: true,
		active: map[string]time.Time{}, reopening: map[string]bool{}, listed: map[string]*job{}, selecting: map[*job]bool{}, resets: map[string]int{}, overflown: map[string]uint64{},
	}
	parents := r.mapper.Uses().Parents
	r.hasParents = len(parents.Names)+len(parents.Patterns) > 0
	r.audience = audience.New(r.mapper, audience.Config{Lead: clockLead}, cfg.Clock)
	r.loader = audience.NewLoader(p.NewMapper, func() audience.Reader { return p.NewReader() })
	r.inbox = newInbox(cfg.From, r.reading, cfg.Dir)
	r.metrics = newMetrics(r, p.Registerer)
	r.circuit = newCircuit(r.log, r.metrics.circuitOpened)
	return r
}

// Run reads, publishes and checkpoints until ctx ends; then it publishes what
// was read, checkpoints and returns nil. It returns an error when it meets
// one that nobody should go on after.
func (r *Relay) Run(ctx context.Context) error {
	if err := r.recall(ctx); err != nil {
		return err
	}
	// What works on what was read outlives the reading.
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	read, stopReading := context.WithCancel(ctx)
	defer stopReading()
	var working, reading sync.WaitGroup
	fail := func(err error) {
		if err != nil {
			stopWork(err)
			stopReading()
		}
	}
	spawn := func(group *sync.WaitGroup, f func(context.Context) error, ctx context.Context) {
		group.Go(func() { fail(f(ctx)) })
	}
	spawn(&working, r.keepWindow, work)
	spawn(&working, func(ctx context.Context) error {
		defer r.loader.Close()
		return r.watch(ctx)
	}, work)
	spawn(&working, r.refillAll, work)
	spawn(&working, r.resend, work)
	if r.policies != nil {
		spawn(&working, func(ctx context.Context) error {
			r.policies.Run(ctx)
			return nil
		}, work)
	}
	spawn(&working, r.checkpoint, work)
	if r.backlog != nil {
		spawn(&working, r.watchLog, work)
	}
	for range r.cfg.Workers {
		spawn(&working, r.publish, work)
	}
	routed := make(chan struct{})
	spawn(&working, func(ctx context.Context) error {
		defer close(routed)
		return r.routeAll(ctx)
	}, work)
	spawn(&reading, func(ctx context.Context) error { return r.source.Run(ctx, r.cfg.From, r) }, read)

	reading.Wait()
	_ = r.reading.drop() // a file without a name
	r.inbox.end()
	drain, cancel := context.WithTimeout(work, drainTimeout)
	select {
	case <-routed:
		r.ledger.drained(drain)
	case <-drain.Done():
	}
	if n := r.queue.depth(); n > 0 && work.Err() == nil {
		r.log.Warn("stopping with harmonics not yet published; they are read again at the next start", "harmonics", n)
	}
	cancel()
	stopWork(nil)
	working.Wait()
	_ = r.inbox.drop()
	r.finished = r.queue.depth() == 0
	_ = r.queue.close()
	if err := context.Cause(work); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// recall takes up what an earlier run left: the polls' numbers, the schemas'
// versions, a reload that is owed, and the refills under way. Its leases are no
// part of it: one that Redis still has may have ended already when the run kept
// records for its channel. So the first poll finds every channel new, and the
// window has what it missed.
func (r *Relay) recall(ctx context.Context) error {
	last, err := r.state.LastPoll(ctx)
	if err != nil {
		return fmt.Errorf("read the last poll: %w", err)
	}
	r.mu.Lock()
	// What an earlier run kept after its last poll is under a number above it.
	r.complete, r.epoch = last.Epoch, last.Epoch+1
	if r.completeAt = r.cfg.Clock; last.StartedAt.Before(r.completeAt) {
		r.completeAt = last.StartedAt
	}
	// After so long the Pusher server may have restarted as well.
	r.doubt.on = !last.StartedAt.IsZero() && time.Since(last.StartedAt) > r.cfg.Lease
	r.mu.Unlock()
	if r.versions, err = r.state.Versions(ctx); err != nil {
		return err
	}
	if err := r.tellOwed(ctx); err != nil {
		return err
	}
	return r.resumeRefills(ctx)
}

// checkpointInterval is how often the checkpoint is saved while it moves, and
// verifyInterval how often Redis is asked whether it has everything while it
// does not. clockInterval is by how much the clock moves before it is saved:
// what it crossed in between is told again after a crash.
const (
	checkpointInterval = 200 * time.Millisecond
	verifyInterval     = time.Second
	clockInterval      = 5 * time.Second
)

// checkpoint saves how far everything is settled, until ctx ends; then once
// more.
func (r *Relay) checkpoint(ctx context.Context) error {
	saved, clock, known := "", r.cfg.Clock, time.Now()
	save := func(ctx context.Context, step time.Duration) error {
		now := r.ledger.clockThere() // not after that of the position, so it comes first
		if told := r.timers.settled(); told.Before(now) {
			now = told
		}
		if position, seq := r.ledger.settled(); position != saved {
			if err := r.saveCheckpoint(ctx, position, seq); err != nil {
				return err
			}
			saved, known = position, time.Now()
		}
		r.checkpointed.Store(time.Now().UnixNano())
		if time.Since(known) >= verifyInterval {
			if err := r.state.Verify(ctx); err != nil {
				return err
			}
			known = time.Now()
		}
		if now.Sub(clock) < step {
			return nil
		}
		if err := r.state.SaveClock(ctx, now); err != nil {
			return err
		}
		clock = now
		return nil
	}
	ticker := time.NewTicker(checkpointInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := save(last, time.Microsecond); err != nil {
				r.log.Warn("the last checkpoint could not be saved; a little is published again at the next start", "error", err)
			}
			return nil
		case <-ticker.C:
			err := r.persist(ctx, func(ctx context.Context) error { return save(ctx, clockInterval) })
			if err != nil && ctx.Err() == nil {
				return err
			}
			r.vigil.look(r.waits)
		}
	}
}

// Reached is where another run could go on, and the highest position that may
// have been given out. It is for after Run.
func (r *Relay) Reached() (at binlog.Position, issued harmonic.Seq) {
	return r.ledger.resumable(), max(r.seq, r.ceiling)
}

// Finished says whether every request was answered. It is for after Run.
func (r *Relay) Finished() bool { return r.finished }

func (r *Relay) saveCheckpoint(ctx context.Context, position string, seq harmonic.Seq) error {
	err := r.state.SaveCheckpoint(ctx, redisstate.Checkpoint{
		Source: r.cfg.Source, Position: position, LastSeq: uint64(seq),
		Generation: uint64(r.generation), MappingHash: r.mapper.Hash(), SavedAt: time.Now(),
	})
	if err != nil {
		return fmt.Errorf("save the checkpoint: %w", err)
	}
	r.metrics.saved.SetToCurrentTime()
	return nil
}
