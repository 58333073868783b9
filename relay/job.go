package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// job is a refill: some channels have it coming to be told the present state
// of some records. It is in Redis until the last of them was sent. r.mu is held
// for all but its id.
type job struct {
	id       string
	channels []string
	items    []redisstate.JobItem
	// due is when its turn may come, after so many tries to have the app asked.
	due   time.Time
	tries int
	// scopes and parents are those whose rows are still to be read.
	scopes  []mapping.ScopeKey
	parents []*movedParent
}

// look finds out what rows a job has still to read. r.mu is held.
func (r *Relay) look(j *job) {
	j.scopes, j.parents = nil, nil
	for _, item := range j.items {
		if !isSelection(item.Key) {
			continue
		}
		switch s, err := parseSelection(item.Key); {
		case err != nil:
		case s.Parent != nil:
			j.parents = append(j.parents, s.Parent)
		case s.Scope != "":
			j.scopes = append(j.scopes, s.Scope)
		}
	}
	if len(j.scopes)+len(j.parents) > 0 {
		r.selecting[j] = true
	} else {
		delete(r.selecting, j)
	}
}

// selection is an item that stands for many records.
type selection struct {
	// Scope is whose rows are meant: of all tables if the item names none.
	// Who is no member of it any more is told of all that he does not see.
	Scope mapping.ScopeKey `json:"scope,omitempty"`
	// Parent is one that leads elsewhere than it did: the rows whose paths lead
	// through it are meant, and whoever sees one by now and did not, or did and
	// does not.
	Parent *movedParent `json:"parent,omitempty"`
	// User is whose attributes have changed, for all rows of his scopes: he is
	// told of each that he does not see.
	User mapping.UserKey `json:"user,omitempty"`
	All  bool            `json:"all,omitempty"`
	// Part numbers the ways in which a table's rows are in the scope, and From
	// is where its next page begins.
	Part int    `json:"part,omitempty"`
	From string `json:"from,omitempty"`
	// Keys are records that have changed while they were sent, in place of a page.
	Keys []string `json:"keys,omitempty"`
	// Ask says why the app is asked about them; empty: it is not the reason.
	Ask string `json:"ask,omitempty"`
}

// selectionHead is what tells an item that is a selection from others.
const selectionHead = `{"rows":`

func (s selection) item(table string) redisstate.RecordKey {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // texts and numbers only
	}
	return redisstate.RecordKey{Table: table, Key: selectionHead + string(text) + "}"}
}

func parseSelection(text string) (s selection, err error) {
	rest, _ := strings.CutPrefix(text, selectionHead)
	err = json.Unmarshal([]byte(strings.TrimSuffix(rest, "}")), &s)
	return s, err
}

func isSelection(key string) bool { return strings.HasPrefix(key, selectionHead) }

// isControl tells a control message's text from a record's key, which is an
// array, and from a selection.
func isControl(key string) bool { return strings.HasPrefix(key, "{") && !isSelection(key) }

// refillChunk is how many records are read at once.
const refillChunk = 200

// makeJobs makes jobs in Redis.
func (r *Relay) makeJobs(ctx context.Context, starts []redisstate.JobStart) (made []redisstate.Job, err error) {
	if len(starts) == 0 {
		return nil, nil
	}
	err = r.persist(ctx, func(ctx context.Context) (err error) {
		made, err = r.state.StartJobs(ctx, starts)
		return err
	})
	return made, err
}

// resumeRefills takes up what an earlier run had still to send.
func (r *Relay) resumeRefills(ctx context.Context) error {
	made, err := r.state.Jobs(ctx)
	if err != nil {
		return fmt.Errorf("read the refills that were under way: %w", err)
	}
	r.list(made)
	return nil
}

func (r *Relay) list(made []redisstate.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range made {
		j := &job{id: m.ID, channels: m.Channels, items: m.Items}
		r.jobs = append(r.jobs, j)
		r.listed[j.id] = j
		r.look(j)
	}
	r.wakeJobs()
}

// wakeJobs has the goroutine that refills look for work.
func (r *Relay) wakeJobs() {
	select {
	case r.jobWake <- struct{}{}:
	default:
	}
}

// wakeLater has it look again when a job is due.
func (r *Relay) wakeLater(after time.Duration) { time.AfterFunc(after, r.wakeJobs) }

// nextJob is the one whose turn it is; nil if there is none, or if nobody
// knows yet who is there.
func (r *Relay) nextJob() *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.jobs) == 0 || !r.polled {
		return nil
	}
	now := time.Now()
	at := slices.IndexFunc(r.jobs, func(j *job) bool { return !now.Before(j.due) })
	if at < 0 {
		return nil
	}
	j := r.jobs[at]
	r.jobs = slices.Delete(r.jobs, at, at+1)
	return j
}

// refillAll works through the jobs, a chunk of each at a time, until ctx ends,
// which returns nil.
func (r *Relay) refillAll(ctx context.Context) error {
	defer r.reader.Close()
	for {
		j := r.nextJob()
		if j == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-r.jobWake:
			}
			continue
		}
		err := r.refillSome(ctx, j)
		if ended(ctx) {
			return nil // its items are in Redis still
		}
		if err != nil {
			return fmt.Errorf("refill: %w", err)
		}
		r.mu.Lock()
		if len(j.items) > 0 {
			r.jobs = append(r.jobs, j)
		} else {
			delete(r.listed, j.id)
		}
		r.mu.Unlock()
	}
}

// refillSome sends what comes next of a job: control messages first, then
// records, then pages of selections.
func (r *Relay) refillSome(ctx context.Context, j *job) error {
	items, wanted := r.pick(j)
	if len(items) == 0 {
		return nil
	}
	var again []redisstate.RecordKey
	var err error
	first := items[0]
	switch {
	case !wanted:
	case isControl(first.Key):
		err = r.refillControls(ctx, j, items)
	case isSelection(first.Key):
		again, err = r.refillSelection(ctx, j, first)
	default:
		again, err = r.refillRecords(ctx, j, first.Table, items)
	}
	if err != nil {
		return err
	}
	return r.progress(ctx, j, items, again)
}

// whoever is the channel of jobs that are for all whom it concerns.
const whoever = ""

// anybody says whether one of the job's channels is active still. Who comes
// back later gets what he missed then. r.mu is held.
func (r *Relay) anybody(j *job) bool {
	return slices.ContainsFunc(j.channels, func(name string) bool { _, ok := r.active[name]; return ok || name == whoever })
}

// pick chooses the items that come next, which can be sent together; wanted is
// false if all are to be given up.
func (r *Relay) pick(j *job) (items []redisstate.JobItem, wanted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.polled && !r.anybody(j) {
		return slices.Clone(j.items), false
	}
	var controls, records, selections []redisstate.JobItem
	for _, item := range j.items {
		switch {
		case isControl(item.Key):
			controls = append(controls, item)
		case isSelection(item.Key):
			if len(selections) == 0 {
				selections = append(selections, item)
			}
		case len(records) == 0 || len(records) < refillChunk && item.Table == records[0].Table:
			records = append(records, item)
		}
	}
	switch {
	case len(controls) > 0:
		return controls, true
	case len(records) > 0:
		return records, true
	}
	return selections, true
}

// progress takes items off a job that were sent, and adds others.
func (r *Relay) progress(ctx context.Context, j *job, done []redisstate.JobItem, again []redisstate.RecordKey) error {
	var added []redisstate.JobItem
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		added, err = r.state.JobProgress(ctx, j.id, done, again)
		return err
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	j.items = slices.DeleteFunc(j.items, func(i redisstate.JobItem) bool { return slices.Contains(done, i) })
	j.put(added)
	r.look(j)
	return nil
}

// put adds items, in place of the same that were there.
func (j *job) put(items []redisstate.JobItem) {
	for _, item := range items {
		at := slices.IndexFunc(j.items, func(i redisstate.JobItem) bool { return i.RecordKey == item.RecordKey })
		if at < 0 {
			j.items = append(j.items, item)
			continue
		}
		j.items[at] = item
	}
}

// capture has the jobs that are to read the rows of a scope read a record by
// its key that was among them and has changed: it may be there no longer when
// they come to it.
func (r *Relay) capture(ctx context.Context, t *routed, table string) error {
	r.mu.Lock()
	var jobs []*job
	for j := range r.selecting {
		if j.selects(t.streams) {
			jobs = append(jobs, j)
		}
	}
	r.mu.Unlock()
	for _, j := range jobs {
		var added []redisstate.JobItem
		err := r.persist(ctx, func(ctx context.Context) (err error) {
			added, err = r.state.AddToJob(ctx, j.id, nil, []redisstate.RecordKey{{Table: table, Key: t.key}})
			return err
		})
		if err != nil {
			return err
		}
		r.mu.Lock()
		j.put(added)
		r.mu.Unlock()
	}
	return nil
}

// selects says whether a job has rows of one of the streams to read.
func (j *job) selects(streams []mapping.ScopeKey) bool {
	return slices.ContainsFunc(j.scopes, func(s mapping.ScopeKey) bool { return slices.Contains(streams, s) })
}

// chunk is what is being read for a job, as it is at some point after the one
// at which it began. Its methods do nothing on nil; r.mu is held for them.
type chunk struct {
	table string
	job   *job
	// later are the records that have changed since, and whether all of the
	// channels were told so. They are not sent as they were read; those of
	// which somebody was not told are read again.
	later map[string]bool
}

// changed notes that a record changes.
func (c *chunk) changed(table, key string) {
	if c != nil && c.table == table {
		c.later[key] = false
	}
}

// told notes that a message is on its way.
func (c *chunk) told(m *message) {
	const compared = 8
	if c == nil || c.table != m.table || len(c.job.channels) > compared {
		return
	}
	if !slices.ContainsFunc(c.job.channels, func(name string) bool { return !slices.Contains(m.Channels, name) }) {
		c.later[m.key] = true
	}
}

// joined notes that a job has more channels: none of them was told.
func (c *chunk) joined(j *job) {
	if c == nil || c.job != j {
		return
	}
	for key := range c.later {
		c.later[key] = false
	}
}

// drop gives up the jobs that wait for their turn and have no active channel.
func (r *Relay) drop(ctx context.Context) error {
	r.mu.Lock()
	var dropped []*job
	r.jobs = slices.DeleteFunc(r.jobs, func(j *job) bool {
		if r.anybody(j) {
			return false
		}
		dropped = append(dropped, j)
		return true
	})
	r.mu.Unlock()
	for _, j := range dropped {
		for items := r.itemsOf(j); len(items) > 0; items = r.itemsOf(j) {
			if err := r.progress(ctx, j, items, nil); err != nil {
				return err
			}
		}
		r.mu.Lock()
		delete(r.listed, j.id)
		r.mu.Unlock()
	}
	return nil
}

// itemsOf are what a job has still to send.
func (r *Relay) itemsOf(j *job) []redisstate.JobItem {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(j.items)
}

// channelsOf are those that a job is for; the list is nobody's to change.
func (r *Relay) channelsOf(j *job) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return j.channels
}
