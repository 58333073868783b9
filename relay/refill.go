package relay

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/policy"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// refusedPause is between two tries while the database refuses the login:
// servers count those that fail, and the source tries, too.
const refusedPause = 30 * time.Second

// judgedAtOnce bounds how many times one errand asks whether a user sees a row,
// since the routing of what is new waits meanwhile.
const judgedAtOnce = 20_000

// rowsAtOnce is how many rows an errand judges for a job's channels.
func (r *Relay) rowsAtOnce(j *job) int {
	return max(1, min(refillChunk, judgedAtOnce/max(1, len(r.channelsOf(j)))))
}

// refillRecords sends records of a table, and returns those that have changed
// too often meanwhile.
func (r *Relay) refillRecords(ctx context.Context, j *job, table string, items []redisstate.JobItem) (again []redisstate.RecordKey, err error) {
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.Key
	}
	for part := range slices.Chunk(keys, r.rowsAtOnce(j)) {
		late, err := r.refillChunk(ctx, j, reading{table: table, keys: part})
		if err != nil {
			return nil, err
		}
		for _, key := range late.again {
			again = append(again, redisstate.RecordKey{Table: table, Key: key})
		}
	}
	return again, nil
}

// refillSelection sends a page of a selection, and returns what is left of it
// and others that went with it.
func (r *Relay) refillSelection(ctx context.Context, j *job, item redisstate.JobItem) (left []redisstate.RecordKey, others []waiting, err error) {
	s, err := parseSelection(item.Key)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case s.User != "":
		return nil, nil, nil // there are jobs for his scopes, see activate
	case item.Table == "":
		left, err = r.unfold(ctx, j, &s)
		return left, nil, err
	}
	others = r.gatherParents(item, &s)
	what := reading{table: item.Table, selection: &s, limit: pageRows}
	out, err := r.refillChunk(ctx, j, what)
	if err != nil {
		return nil, nil, err
	}
	if len(out.again) > 0 {
		again := s
		again.Keys = out.again
		left = append(left, again.item(item.Table))
	}
	switch {
	case s.Keys != nil:
	case out.next != "" && s.Parents.many():
		for _, half := range s.Parents.halves() {
			s.Parents = half
			left = append(left, s.item(item.Table))
		}
	case out.next != "":
		s.From = out.next
		left = append(left, s.item(item.Table))
	case s.Part+1 < out.parts:
		s.Part, s.From = s.Part+1, ""
		left = append(left, s.item(item.Table))
	}
	return left, others, nil
}

// reading is what a chunk reads: records by their keys, or a page.
type reading struct {
	table     string
	keys      []string
	selection *selection
	sweep     *sweep // rows that the clock has brought or taken away
	limit     int
}

// moved says whether rows are read since others may see them than did, whoever
// that is; who changes them tells of them, too.
func (w *reading) moved() bool { return w.selection != nil && w.selection.Parents != nil }

// records are the keys that are read; nil if it is a page.
func (w *reading) records() []string {
	if w.selection != nil {
		return w.selection.Keys
	}
	return w.keys
}

// outcome is what came of a chunk.
type outcome struct {
	again []string  // keys of records to read again
	next  string    // where the next page begins; empty after the last
	parts int       // ways in which a selection finds rows
	bound time.Time // the first one after those of a sweep
	// undecided is what the app has not answered, and answers what it has.
	undecided undecided
	answers   *answers
}

// refillChunk sends one chunk and waits until it was accepted. The database
// may be away for a while; anything else that fails is final.
func (r *Relay) refillChunk(ctx context.Context, j *job, what reading) (out outcome, err error) {
	sent := newTally()
	for n, said := 0, false; ; n++ {
		out, err = r.tryRefill(ctx, j, what, sent)
		if err == nil {
			break
		}
		if errors.Is(err, errReset) {
			n = 0
			continue
		}
		var final *finalError
		if errors.Is(err, errReopened) || errors.As(err, &final) || ctx.Err() != nil || !binlog.Passing(err) {
			return outcome{}, err
		}
		if !said {
			said = true
			r.log.Warn("cannot read rows for a refill, trying again", "table", what.table, "error", err)
		}
		if err := pause(ctx, pauseAfter(n, err)); err != nil {
			return outcome{}, err
		}
	}
	if err := sent.wait(ctx); err != nil {
		return outcome{}, err
	}
	return out, r.askLater(ctx, j, what, &out)
}

// pauseAfter is how long to wait after the database has failed so often.
func pauseAfter(n int, err error) time.Duration {
	if binlog.Refused(err) {
		return refusedPause
	}
	return backoff(n)
}

// errReset says that the table was emptied after its rows were read.
var errReset = errors.New("the table was emptied meanwhile")

// errReopened says that one of a job's channels is to be opened again: nobody
// knows until then what its user may see.
var errReopened = errors.New("a channel is to be opened again first")

// finalError is one that reading again would not mend.
type finalError struct{ error }

// tryRefill reads rows at a point of the log that the tail has not come to,
// waits for the tail, and sends what the job's channels are to see of them by
// then.
func (r *Relay) tryRefill(ctx context.Context, j *job, what reading, sent *tally) (outcome, error) {
	source, ok := r.refillMapper.SourceOf(what.table)
	if !ok {
		r.log.Warn("records of a table that is no longer mapped are not refilled", "table", what.table)
		return outcome{}, nil
	}
	shape, err := r.shapeOf(ctx, source)
	if err != nil {
		return outcome{}, err
	}
	if shape == nil && what.selection != nil {
		return outcome{}, nil // it is not there yet, or no more
	}
	if shape == nil {
		r.log.Warn("records of a table that is gone are not refilled", "table", what.table)
		return outcome{}, nil
	}
	plan, err := r.refillMapper.PlanOf(what.table, shape)
	if err != nil {
		return outcome{}, &finalError{err}
	}
	if what.selection != nil && what.selection.All && !what.selection.Anew && !plan.ByAttributes() && plan.Policy() == nil {
		return outcome{}, nil
	}
	r.mu.Lock()
	watch := &chunk{table: what.table, job: j, later: map[string]bool{}}
	resets := r.resets[what.table]
	after, err := r.reached()
	r.chunk = watch
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.chunk = nil
	}()
	if err != nil {
		return outcome{}, &finalError{err}
	}
	read, err := r.readBack(ctx, plan, what, after)
	if err != nil {
		return outcome{}, err
	}
	if err := r.await(ctx, func() bool { return r.tail.Covers(read.upto) }); err != nil {
		return outcome{}, err
	}
	if read.answers, err = r.askBack(ctx, j, what, read, watch.later); err != nil {
		return outcome{}, err
	}
	for some := range slices.Chunk(read.keys, r.rowsAtOnce(j)) {
		err = r.between(ctx, func(ctx context.Context) error {
			r.mu.Lock()
			emptied, reopened := r.resets[what.table] != resets, r.reopens(j)
			r.mu.Unlock()
			switch {
			case emptied:
				return errReset
			case reopened:
				return errReopened
			}
			return r.sendBack(ctx, j, what, read, some, watch.later, sent)
		})
		if err != nil {
			return outcome{}, err
		}
	}
	return read.outcome, nil
}

// shapeOf is a table's shape as it is now; the same one while it stays so.
func (r *Relay) shapeOf(ctx context.Context, name binlog.TableName) (*binlog.Table, error) {
	shape, err := r.reader.Table(ctx, name)
	if err != nil || shape == nil {
		return shape, err
	}
	if known := r.shapes[name]; known != nil && reflect.DeepEqual(known, shape) {
		return known, nil
	}
	r.shapes[name] = shape
	return shape, nil
}

// back are the rows of a chunk, as of a point of the log.
type back struct {
	outcome
	shape *binlog.Table
	keys  []string // in order
	found map[string]*binlog.Row
	upto  binlog.Position
}

func (r *Relay) readBack(ctx context.Context, plan *mapping.Plan, what reading, after binlog.Position) (b *back, err error) {
	b = &back{shape: plan.Source(), found: map[string]*binlog.Row{}}
	take := func(row *binlog.Row) error {
		key, err := plan.AppendKey(nil, row)
		if err != nil {
			return err
		}
		b.found[string(key)] = row
		b.keys = append(b.keys, string(key))
		return nil
	}
	if keys := what.records(); keys != nil {
		b.upto, err = r.reader.Rows(ctx, b.shape, plan.Columns(), plan.Key(), keys, after, take)
		b.keys = keys
		return b, err
	}
	if what.sweep != nil {
		return b, r.readCrossed(ctx, plan, what, after, b, take)
	}
	pages := pagesOf(plan, what.selection)
	b.parts = len(pages)
	if what.selection.Part >= len(pages) {
		b.upto = after
		return b, nil
	}
	page := binlog.Page{Selection: pages[what.selection.Part], Key: plan.Key(), From: what.selection.From, Limit: what.limit}
	b.next, b.upto, err = r.reader.Page(ctx, b.shape, plan.Columns(), page, after, take)
	return b, err
}

// sendBack sends some of what was read, to each of the job's channels what it is to see
// of it: an update, or a delete with the key alone. Records that have changed
// since are to be read again. A refill issues no position: it carries the last
// one before it, which is not lower than that of any change it stands for.
func (r *Relay) sendBack(ctx context.Context, j *job, what reading, b *back, keys []string, later map[string]bool, sent *tally) error {
	plan, err := r.mapper.PlanOf(what.table, b.shape)
	if err != nil {
		return &finalError{err}
	}
	_, view := r.audience.Views()
	r.mu.Lock()
	id, channels := harmonic.NewID(r.last, r.generation), j.channels
	r.mu.Unlock()
	to := r.recipients(view, plan, channels)
	if err := r.learnOf(ctx, plan, b, keys, view); err != nil {
		return err
	}
	s := &sending{
		relay: r, plan: plan, view: view, id: id, at: time.Now(), sent: sent, outcome: &b.outcome,
		denies: what.denies(), asked: what.asked(), named: what.selection == nil,
	}
	if what.selection != nil {
		s.scope, s.told, s.anew = what.selection.Scope, what.selection.Told, what.selection.Anew
	}
	if what.sweep != nil {
		return s.sendCrossed(ctx, b, keys, later)
	}
	for _, key := range keys {
		if told, changed := later[key]; changed {
			if !told {
				b.again = append(b.again, key)
			}
			continue
		}
		row := b.found[key]
		if what.moved() {
			if row != nil {
				err = s.sendMoved(ctx, key, row)
			}
		} else {
			err = s.send(ctx, key, row, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recipients are the users and shared channels behind channels' names.
type recipients struct {
	users  []*mapping.User
	shared []string
}

func (r *Relay) recipients(view mapping.View, plan *mapping.Plan, channels []string) recipients {
	var to recipients
	for _, name := range channels {
		if name == whoever {
			continue
		}
		_, key, ok := r.mapper.UserOf(name)
		if !ok {
			to.shared = append(to.shared, name)
			continue
		}
		if u := view.User(key); u != nil && u.Channels[plan.Template()] == name {
			to.users = append(to.users, u)
		}
	}
	return to
}

// sending is the sending of a chunk.
type sending struct {
	relay *Relay
	plan  *mapping.Plan
	view  audience.View
	scope mapping.ScopeKey
	id    harmonic.ID
	at    time.Time
	sent  *tally
	// denies says that who is denied a record by the app is told so, asked
	// that it is read for nothing but to ask that, and named that it was kept
	// by its key.
	denies, asked, named bool
	// told says that who is not in the scope has dropped its rows, also those
	// that he sees by something else.
	told bool
	// anew says that nobody has any of the rows for certain.
	anew bool
	*outcome
}

// send tells of one record; row is nil if it is gone. All who do not see a
// record that was kept by its key are told that: what they saw of it then,
// nobody knows by now. Of the rows of a scope, those are told who may have it.
func (s *sending) send(ctx context.Context, key string, row *binlog.Row, to recipients) error {
	variants := map[mapping.Variant][]string{}
	var gone []string
	for _, u := range to.users {
		name := u.Channels[s.plan.Template()]
		if row == nil {
			if s.named {
				gone = append(gone, name)
			}
			continue
		}
		visible, variant, err := s.plan.Judge(row, s.view, u)
		switch {
		case err != nil:
			return &finalError{err}
		case visible:
			// What was of a record that was kept by its key, nobody knows.
			if !s.named && !s.asked && !s.told && !s.anew {
				sure, err := s.relay.pastOf(s.plan, row, s.view).surelyHas(s.plan, row, u, variant)
				if err != nil {
					return &finalError{err}
				}
				if sure {
					continue
				}
			}
			switch s.answers.about(key, u) {
			case policy.Yes:
				variants[variant] = append(variants[variant], name)
			case policy.Unknown:
				s.undecided.add(key, name)
			case policy.No:
				if s.denies || !s.told && s.scope != "" && !s.view.IsMember(u, s.scope) {
					gone = append(gone, name)
				}
			}
		case s.asked: // they were told when it changed
		case s.told && !s.view.IsMember(u, s.scope): // by a message
		case s.named:
			gone = append(gone, name)
		default:
			is, err := s.relay.isGone(s.plan, row, s.relay.pastOf(s.plan, row, s.view), imageOf{row, s.view}, u)
			if err != nil {
				return &finalError{err}
			}
			if is {
				gone = append(gone, name)
			}
		}
	}
	for _, name := range to.shared {
		shown := false
		if row != nil {
			var err error
			if shown, err = s.plan.Shows(row, s.view, name); err != nil {
				return &finalError{err}
			}
		}
		switch {
		case shown:
			variants[0] = append(variants[0], name)
		case s.named:
			gone = append(gone, name)
		}
	}
	for variant, names := range variants {
		if err := s.give(ctx, harmonic.Update, variant, key, row, names); err != nil {
			return err
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return s.give(ctx, harmonic.Delete, 0, key, row, gone)
}

// give sends a record's present state, or that it is not for these channels.
func (s *sending) give(ctx context.Context, op harmonic.Operation, v mapping.Variant, key string, row *binlog.Row, names []string) error {
	r := s.relay
	h := mapping.Harmonic{Plan: s.plan, Operation: op, Row: row, Variant: v}
	var data []byte
	var err error
	if op == harmonic.Delete {
		data, err = s.plan.AppendGone(nil, s.id, s.at, key)
	} else {
		data, err = h.AppendPayload(nil, s.id, s.at)
	}
	if err != nil {
		return &finalError{err}
	}
	err = r.enqueue(ctx, &message{
		Event: pusher.Event{Name: s.plan.Event(op), Channels: names, Data: data},
		id:    s.id, operation: op, table: s.plan.ID(), key: key, owner: s.sent,
	})
	if err == nil {
		r.metrics.refilled.Inc()
	}
	return err
}

// tally waits until as many messages were acknowledged as were added.
type tally struct {
	mu      sync.Mutex
	pending int
	added   int
	waiting bool
	done    chan struct{}
}

func newTally() *tally { return &tally{done: make(chan struct{})} }

func (t *tally) add() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending++
	t.added++
	return t.added
}

func (t *tally) ack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending--
	t.settle()
}

func (t *tally) settle() {
	if t.waiting && t.pending == 0 {
		t.waiting = false
		close(t.done)
	}
}

// wait is called once, after the last add.
func (t *tally) wait(ctx context.Context) error {
	t.mu.Lock()
	t.waiting = true
	t.settle()
	t.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.done:
		return nil
	}
}
