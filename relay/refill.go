package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// refill sends a channel that was just opened the present state of the
// records that changed while nobody knew of it. It is listed from the moment
// the channel is active until the last record is on its way.
type refill struct {
	channel string
	// overtaken are records whose own event has gone to the channel since;
	// it is newer than anything a refill would send. r.mu is held for it.
	overtaken map[recordKey]bool
	missed    []redisstate.RecordKey
}

type recordKey struct{ table, key string }

func newRefill(channel string) *refill {
	return &refill{channel: channel, overtaken: map[recordKey]bool{}}
}

func (j *refill) overtake(table, key string) { j.overtaken[recordKey{table, key}] = true }

// refillChunk is how many records are read at once.
const refillChunk = 200

// startRefills queues what there is to refill and delists what there is not.
// A job that still waits for its turn is replaced by a newer one of its
// channel, which has all that it had.
func (r *Relay) startRefills(jobs []*refill, missed map[string][]redisstate.RecordKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs = slices.DeleteFunc(r.jobs, func(waiting *refill) bool {
		_, again := missed[waiting.channel]
		if again {
			r.delist(waiting)
		}
		return again
	})
	for _, job := range jobs {
		if job.missed = missed[job.channel]; len(job.missed) == 0 {
			r.delist(job)
			continue
		}
		r.jobs = append(r.jobs, job)
		select {
		case r.jobWake <- struct{}{}:
		default:
		}
	}
}

// list has a job told of every event that goes to its channel. A channel that
// is opened again has a second job beside the first. r.mu is held.
func (r *Relay) list(job *refill) { r.refills[job.channel] = append(r.refills[job.channel], job) }

// delist ends that. r.mu is held.
func (r *Relay) delist(job *refill) {
	rest := slices.DeleteFunc(r.refills[job.channel], func(j *refill) bool { return j == job })
	if r.refills[job.channel] = rest; len(rest) == 0 {
		delete(r.refills, job.channel)
	}
}

// resumeRefills takes up what an earlier run had still to send.
func (r *Relay) resumeRefills(ctx context.Context) error {
	missed, err := r.state.Refills(ctx)
	if err != nil {
		return fmt.Errorf("read the refills that were under way: %w", err)
	}
	jobs := make([]*refill, 0, len(missed))
	r.mu.Lock()
	for name := range missed {
		job := newRefill(name)
		jobs = append(jobs, job)
		r.list(job)
	}
	r.mu.Unlock()
	r.startRefills(jobs, missed)
	return nil
}

// refillAll works through the refills until ctx ends, which returns nil.
func (r *Relay) refillAll(ctx context.Context) error {
	defer r.reader.Close()
	for {
		r.mu.Lock()
		var job *refill
		if len(r.jobs) > 0 {
			job, r.jobs = r.jobs[0], r.jobs[1:]
		}
		r.mu.Unlock()
		if job == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-r.jobWake:
			}
			continue
		}
		err := r.refillChannel(ctx, job)
		if ended(ctx) {
			return nil // its keys are in Redis still
		}
		if err != nil {
			return fmt.Errorf("refill %s: %w", job.channel, err)
		}
	}
}

func (r *Relay) refillChannel(ctx context.Context, job *refill) error {
	var controls []redisstate.RecordKey
	byTable := map[string][]redisstate.RecordKey{}
	for _, k := range job.missed {
		if isControl(k.Key) {
			controls = append(controls, k)
			continue
		}
		byTable[k.Table] = append(byTable[k.Table], k)
	}
	if len(controls) > 0 {
		if err := r.refillControls(ctx, job, controls); err != nil {
			return err
		}
	}
	for table, keys := range byTable {
		for len(keys) > 0 {
			n := min(len(keys), refillChunk)
			if err := r.refillRecords(ctx, job, table, keys[:n]); err != nil {
				return err
			}
			keys = keys[n:]
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delist(job)
	return nil
}

// refusedPause is between two tries while the database refuses the login:
// servers count those that fail, and the source tries, too.
const refusedPause = 30 * time.Second

// refillRecords sends one chunk and takes it off the list. The database may
// be away for a while; anything else that fails is final.
func (r *Relay) refillRecords(ctx context.Context, job *refill, table string, keys []redisstate.RecordKey) error {
	sent := &tally{done: make(chan struct{})}
	for n, said := 0, false; ; n++ {
		err := r.tryRefill(ctx, job, table, keys, sent)
		if err == nil {
			break
		}
		if errors.Is(err, errReset) {
			n = 0
			continue
		}
		var final *finalError
		if errors.As(err, &final) || ctx.Err() != nil || !binlog.Passing(err) {
			return err
		}
		if !said {
			said = true
			r.log.Warn("cannot read rows for a refill, trying again", "channel", job.channel, "table", table, "error", err)
		}
		wait := backoff(n)
		if binlog.Refused(err) {
			wait = refusedPause
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	if err := sent.wait(ctx); err != nil {
		return err
	}
	return r.persist(ctx, func(ctx context.Context) error { return r.state.RefillDone(ctx, job.channel, keys) })
}

// errReset says that the table was emptied after its rows were read.
var errReset = errors.New("the table was emptied meanwhile")

// finalError is one that reading again would not mend.
type finalError struct{ error }

// tryRefill reads the records at a point of the log that the tail has not
// come to, waits for the tail, and sends those that no event has overtaken.
func (r *Relay) tryRefill(ctx context.Context, job *refill, table string, keys []redisstate.RecordKey, sent *tally) error {
	source, ok := r.refillMapper.SourceOf(table)
	if !ok {
		r.log.Warn("records of a table that is no longer mapped are not refilled", "table", table)
		return nil
	}
	shape, err := r.reader.Table(ctx, source)
	if err != nil {
		return err
	}
	if shape == nil {
		r.log.Warn("records of a table that is gone are not refilled", "table", table)
		return nil
	}
	plan, err := r.refillMapper.PlanOf(table, shape)
	if err != nil {
		return &finalError{err}
	}
	r.mu.Lock()
	resets := r.resets[table]
	after, err := r.reached()
	r.mu.Unlock()
	if err != nil {
		return &finalError{err}
	}
	messages, upto, err := r.readBack(ctx, job, plan, keys, after)
	if err != nil {
		return err
	}
	if err := r.await(ctx, func() bool { return r.tail.Covers(upto) }); err != nil {
		return err
	}
	for _, m := range messages {
		m.owner = sent
		if err := r.queue.reserve(ctx, len(m.Data)); err != nil {
			return err
		}
		r.mu.Lock()
		emptied := r.resets[table] != resets
		if emptied || job.overtaken[recordKey{m.table, m.key}] {
			r.queue.release(len(m.Data))
		} else {
			sent.add()
			r.queue.push(m)
			r.metrics.refilled.Inc()
		}
		r.mu.Unlock()
		if emptied {
			return errReset
		}
	}
	return nil
}

// readBack makes the messages of records as they are: an update of those that
// the channel may see, a delete of the others, for whatever reason.
func (r *Relay) readBack(ctx context.Context, job *refill, plan *mapping.Plan, keys []redisstate.RecordKey, after binlog.Position) (
	[]*message, binlog.Position, error,
) {
	// A refill issues no position: it carries the last one before it, which
	// is not lower than that of any change it stands for. A later change of
	// the record overtakes it.
	r.mu.Lock()
	id := harmonic.NewID(r.last, r.generation)
	r.mu.Unlock()
	at := time.Now()
	found := map[string]*message{}
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = k.Key
	}
	event := func(op harmonic.Operation, key string, data []byte) *message {
		return &message{
			Event: pusher.Event{Name: plan.Event(op), Channels: []string{job.channel}, Data: data},
			id:    id, table: plan.ID(), key: key,
		}
	}
	upto, err := r.reader.Rows(ctx, plan.Source(), plan.Columns(), plan.Key(), texts, after, func(row *binlog.Row) error {
		key, err := plan.AppendKey(nil, row)
		if err != nil {
			return err
		}
		sees, err := plan.Sees(r.refillMapper, row, job.channel)
		if err != nil || !sees {
			return err
		}
		h := mapping.Harmonic{Plan: plan, Operation: harmonic.Update, Row: row}
		data, err := h.AppendPayload(nil, id, at)
		if err != nil {
			return err
		}
		found[string(key)] = event(harmonic.Update, string(key), data)
		return nil
	})
	if err != nil {
		return nil, binlog.Position{}, err
	}
	messages := make([]*message, 0, len(keys))
	for _, key := range texts {
		m := found[key]
		if m == nil {
			data, err := plan.AppendGone(nil, id, at, key)
			if err != nil {
				return nil, binlog.Position{}, err
			}
			m = event(harmonic.Delete, key, data)
		}
		messages = append(messages, m)
	}
	return messages, upto, nil
}

// tally waits until as many messages were acknowledged as were added.
type tally struct {
	mu      sync.Mutex
	pending int
	waiting bool
	done    chan struct{}
}

func (t *tally) add() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending++
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
