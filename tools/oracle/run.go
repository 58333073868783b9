package oracle

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/chorusd/chorusd/harmonic"
)

// Daemon is the chorusd that is judged.
type Daemon interface {
	// Start runs it, and need not wait until it is ready.
	Start()
	// Kill ends it as kill -9 does.
	Kill()
	// Left is what it has left to do, by its own words; empty if that is nothing.
	Left() string
	// Refilling says whether refills are under way.
	Refilling() bool
	// Explain says what it knows of a record and a user, by its table's ID and
	// their keys.
	Explain(table, key, user string) string
	// Redis takes Redis away, or gives it back.
	Redis(there bool)
}

// Run is one world, and all that happens in it.
type Run struct {
	World   *World
	Pusher  *Pusher
	db      *sql.DB
	daemon  Daemon
	pace    Pace
	does    Features
	rand    *rand.Rand
	writer  *writer
	history *history
	clients map[subject]*client
	// waiting are those that have not loaded their rows, and for how many
	// more commits.
	waiting map[subject]int

	ticked time.Time   // when the clock was last looked at
	points map[int]int // of transactions, by number
	quiet  int         // the point of the last pause
	told   int         // the last point that clients of the beacon were told
	downs  int         // for how many more commits chorusd is down
	away   int         // for how many more commits Redis is away

	// anew is the last point at which chorusd began to know nothing of who
	// has what, entered that at which somebody began to listen.
	anew    int
	entered map[subject]int
	owned   map[subject]bool // channels that are their users' own, where that changes

	Count Counts
	log   journal
}

// Counts is what happened in one run or several. In each of the Pauses, all that
// everybody has was compared.
type Counts struct {
	Worlds, Transactions, Messages, Deletes, Control, Connections, Pauses, Kills, Outages, Statements int
	// Unfounded deletes name rows that whoever got them was not entitled to.
	Unfounded int
	// Locked transactions waited for another one, a second each.
	Locked int
}

// Add adds those of another run.
func (c *Counts) Add(other Counts) {
	c.Worlds += other.Worlds
	c.Transactions += other.Transactions
	c.Messages += other.Messages
	c.Deletes += other.Deletes
	c.Control += other.Control
	c.Connections += other.Connections
	c.Pauses += other.Pauses
	c.Kills += other.Kills
	c.Outages += other.Outages
	c.Statements += other.Statements
	c.Unfounded += other.Unfounded
	c.Locked += other.Locked
}

// NewRun fills the world's tables in db, which takes several statements at
// once. They must have been made, and the daemon must not run yet.
func NewRun(ctx context.Context, w *World, db *sql.DB, p *Pusher, d Daemon, r *rand.Rand, f Features, pace Pace) (*Run, error) {
	run := &Run{
		World: w, Pusher: p, db: db, daemon: d, pace: pace, does: f, rand: r, clients: map[subject]*client{}, waiting: map[subject]int{},
		points: map[int]int{}, entered: map[subject]int{},
	}
	var err error
	if run.writer, err = newWriter(ctx, w, db, r, f); err != nil {
		return nil, err
	}
	filled, err := run.writer.fill(ctx)
	if err != nil {
		return nil, err
	}
	run.log.transaction(filled)
	if run.history, err = newHistory(ctx, w, db); err != nil {
		return nil, err
	}
	run.Count.Worlds = 1
	if w.prefixed {
		run.owned, err = run.own(ctx)
	}
	return run, err
}

// Close ends the writer's connections.
func (r *Run) Close(ctx context.Context) { r.writer.close(ctx) }

func (r *Run) chance(p float64) bool { return r.rand.Float64() < p }

// Go makes n transactions, with people coming and going and with kills of the
// daemon, and pauses at the end. An error is a verdict, or what kept it from
// one.
func (r *Run) Go(ctx context.Context, n int) error {
	r.daemon.Start()
	for _, s := range r.history.subjects()[:3] {
		r.connect(s)
	}
	for range n {
		if err := r.step(ctx); err != nil {
			return err
		}
	}
	return r.pause(ctx)
}

func (r *Run) step(ctx context.Context) error {
	next := r.writer.next
	if r.does.Statements && r.chance(r.pace.Statements) {
		next = func(ctx context.Context) (*transaction, error) {
			return r.writer.define(ctx, func(point int) bool { return r.told >= point })
		}
	}
	tx, err := next(ctx)
	if err != nil {
		return err
	}
	if err := r.committed(ctx, tx); err != nil {
		return err
	}
	if r.chance(r.pace.Comes) {
		if s := pick(r.rand, r.history.subjects()); r.clients[s] == nil {
			r.connect(s)
		}
	}
	if r.chance(r.pace.Goes) {
		if there := slices.Sorted(maps.Keys(r.clients)); len(there) > 0 {
			r.disconnect(pick(r.rand, there))
		}
	}
	r.trouble()
	if r.chance(r.pace.Pauses) {
		if err := r.pause(ctx); err != nil {
			return err
		}
	}
	return r.receive(ctx)
}

// committed takes a transaction.
func (r *Run) committed(ctx context.Context, tx *transaction) error {
	r.Count.Transactions++
	r.Count.Locked = r.writer.locked
	if err := r.history.committed(ctx, tx); err != nil {
		return err
	}
	r.points[tx.number] = r.history.point
	if tx.defined {
		r.Count.Statements++
		r.anew = r.history.point
	}
	tx.point = r.history.point
	r.log.transaction(tx)
	if err := r.moved(ctx, tx); err != nil {
		return err
	}
	for _, s := range slices.Sorted(maps.Keys(r.waiting)) {
		if r.waiting[s]--; r.waiting[s] < 0 {
			if err := r.load(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// connect has somebody listen, and load its rows after a few commits at most.
func (r *Run) connect(s subject) {
	r.Count.Connections++
	r.clients[s] = &client{}
	r.waiting[s] = r.rand.IntN(4)
	r.entered[s] = r.history.point
	r.Pusher.enter(s)
	r.log.note(r.history.point, s+" listens")
}

// load has a client load its rows.
func (r *Run) load(ctx context.Context, s subject) error {
	rows, err := r.history.load(ctx, s)
	if err != nil {
		return err
	}
	delete(r.waiting, s)
	r.clients[s].load(rows, r.history.point)
	r.log.note(r.history.point, s+" loads its rows")
	return nil
}

func (r *Run) disconnect(s subject) {
	r.Pusher.leave(s)
	delete(r.clients, s)
	delete(r.waiting, s)
	r.log.note(r.history.point, s+" leaves")
}

// receive judges what was published and hands it to the clients.
func (r *Run) receive(ctx context.Context) error {
	events := r.Pusher.take()
	if now := time.Now(); now.Sub(r.ticked) > clockError/3 {
		r.ticked = now
		if err := r.history.tick(ctx); err != nil {
			return err
		}
	}
	for _, e := range events {
		if e.Channel != beaconChannel || e.Name != harmonic.EventCreated {
			continue
		}
		m, err := parseMessage(e.Data)
		if err != nil {
			return err
		}
		var number int
		if _, err := fmt.Sscan(m.fields[versionColumn], &number); err != nil {
			return fmt.Errorf("a beacon without a number: %s", e.Data)
		}
		point, ok := r.points[number]
		if !ok {
			return fmt.Errorf("transaction %d was told of, and was not committed", number)
		}
		r.history.tell(point, m.id.Seq())
		r.told = max(r.told, point)
	}
	for _, e := range events {
		if e.Channel == beaconChannel {
			continue
		}
		if e.Name == harmonic.EventControl {
			if err := r.controlled(ctx, e); err != nil {
				return err
			}
			continue
		}
		m, err := parseMessage(e.Data)
		if err != nil {
			return fmt.Errorf("on %s: %w: %s", e.Channel, err, e.Data)
		}
		r.Count.Messages++
		if m.operation == harmonic.Delete {
			r.Count.Deletes++
		}
		r.log.message(r.history.point, e.Channel, m)
		if wrong := r.history.judge(e.Channel, m); wrong != "" {
			return r.report(e.Channel, m.record, "sent to "+e.Channel+", and "+wrong+":\n  "+m.text)
		}
		if since := r.since(e.Channel); r.history.unfounded(e.Channel, m, since) {
			r.Count.Unfounded++
			if r.does.Exact {
				return r.report(e.Channel, m.record, fmt.Sprintf("sent to %s, which was not entitled to the row at point %d or later:\n  %s", e.Channel, since, m.text))
			}
		}
		if c := r.clients[e.Channel]; c != nil && e.heard {
			c.apply(m)
		}
	}
	return nil
}

// While nothing is written, the daemon may say nothing for patience before it is
// settled, and talk for endless; and it may be settled for settling while a client
// is wrong.
const (
	patience = 60 * time.Second
	endless  = 10 * time.Minute
	settling = 10 * time.Second
)

// pause stops writing until each client has the rows that it should.
func (r *Run) pause(ctx context.Context) error {
	r.Count.Pauses++
	tx, err := r.writer.beacon(ctx)
	if err != nil {
		return err
	}
	if err := r.committed(ctx, tx); err != nil {
		return err
	}
	if r.downs > 0 {
		r.downs = 0
		r.start()
	}
	if r.away > 0 {
		r.away = 0
		r.redis(true)
	}
	for s := range r.waiting {
		if err := r.load(ctx, s); err != nil {
			return err
		}
	}
	r.Pusher.trouble(false)
	defer r.Pusher.trouble(true)
	mistake, s, about, err := r.history.verify(ctx)
	if err != nil {
		return err
	}
	if mistake != "" {
		return r.report(s, about, mistake)
	}
	if err := r.converge(ctx, r.does.Interruptions && r.chance(interrupted)); err != nil {
		return err
	}
	r.history.forget(r.quiet)
	r.log.forget(r.quiet)
	r.quiet = r.history.point
	return nil
}

func (r *Run) converge(ctx context.Context, interrupt bool) error {
	began, settled := time.Now(), time.Time{}
	heard, spoke := began, r.Count.Messages+r.Count.Control
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		now := time.Now()
		if interrupt && r.daemon.Refilling() {
			interrupt = false
			r.kill()
			r.start()
			continue
		}
		left := r.daemon.Left()
		quiet := left == "" && r.told == r.history.point
		if err := r.receive(ctx); err != nil {
			return err
		}
		if said := r.Count.Messages + r.Count.Control; said != spoke {
			heard, spoke = now, said
		}
		late := now.Sub(heard) > patience || now.Sub(began) > endless
		var s subject
		var wrong *record
		if quiet || late {
			s, wrong = r.wrong()
		}
		if quiet && wrong == nil {
			return nil
		}
		switch {
		case !quiet:
			settled = time.Time{}
		case settled.IsZero():
			settled = now
		}
		if wrong != nil && (late || quiet && now.Sub(settled) > settling) {
			want := r.history.rows(s)
			return r.report(s, *wrong, fmt.Sprintf("%s, %v after the last write (chorusd is settled: %v): %s",
				s, now.Sub(began).Round(time.Second), quiet, r.clients[s].inWords(*wrong, want)))
		}
		if late {
			return fmt.Errorf("chorusd does not settle %v after the last write and %v after its last word: it told of point %d of %d, and has left: %s",
				now.Sub(began).Round(time.Second), now.Sub(heard).Round(time.Second), r.told, r.history.point, left)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), r.report(s, record{}, "the run was ended"))
		case <-tick.C:
		}
	}
}

// wrong finds a client with a row that is not as it should be, nil if there is
// none.
func (r *Run) wrong() (subject, *record) {
	for _, s := range slices.Sorted(maps.Keys(r.clients)) {
		if wrong := r.clients[s].differences(r.history.rows(s)); len(wrong) > 0 {
			return s, &wrong[0]
		}
	}
	return "", nil
}
