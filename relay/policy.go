package relay

import (
	"context"
	"slices"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/policy"
	"github.com/chorusd/chorusd/redisstate"
)

// Policies asks the app who may see rows, see policy.Client. What is routed
// cannot wait for that: a change of a table with a policy becomes a job, which
// reads the rows, asks, and sends only what has not changed meanwhile.
type Policies interface {
	Run(ctx context.Context)
	Ask(ctx context.Context, s policy.Subject, rows []policy.Row) []policy.Verdict
}

// Why a selection's records are asked about. Who is denied a record that has
// changed may have had it, and is told that he does not see it.
const (
	askCreated = "created"
	askChanged = "changed"
)

// asking gathers the records of a transaction to be asked about, with the
// channels of those who see them by the rules.
type asking struct {
	table, why string
	keys       []string
	channels   map[string]bool
}

// askedAtOnce is how many records one item of a job names, and gatheredMost how
// many are gathered before jobs are made of them.
const askedAtOnce, gatheredMost = refillChunk, 10 * refillChunk

// gather notes that users have a record coming, if the policy says so.
func (r *Relay) gather(ctx context.Context, t *routed, h *mapping.Harmonic, names []string) error {
	why := askChanged
	if h.Operation == harmonic.Create {
		why = askCreated
	}
	at := slices.IndexFunc(t.asked, func(a *asking) bool { return a.table == h.Plan.ID() && a.why == why })
	if at < 0 {
		at = len(t.asked)
		t.asked = append(t.asked, &asking{table: h.Plan.ID(), why: why, channels: map[string]bool{}})
	}
	a := t.asked[at]
	if n := len(a.keys); n == 0 || a.keys[n-1] != t.key { // variants of one follow each other
		a.keys = append(a.keys, t.key)
	}
	for _, name := range names {
		a.channels[name] = true
	}
	if len(a.keys) < gatheredMost {
		return nil
	}
	return r.askAll(ctx, t)
}

// askAll makes jobs of what was gathered. They are in Redis before the
// transaction is settled.
func (r *Relay) askAll(ctx context.Context, t *routed) error {
	var starts []redisstate.JobStart
	for _, a := range t.asked {
		starts = append(starts, redisstate.JobStart{Channels: sortedNames(a.channels), Items: askItems(a.table, a.why, a.keys)})
	}
	t.asked = nil
	made, err := r.makeJobs(ctx, starts)
	r.list(made)
	return err
}

func askItems(table, why string, keys []string) []redisstate.RecordKey {
	var items []redisstate.RecordKey
	for part := range slices.Chunk(keys, askedAtOnce) {
		items = append(items, selection{Keys: part, Ask: why}.item(table))
	}
	return items
}

func sortedNames(names map[string]bool) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// answers are the app's, by record and user. Who is not in it was not asked for.
type answers struct {
	of map[string]map[mapping.UserKey]policy.Answer
	// tooLarge are records that cannot be asked about.
	tooLarge map[string]*policy.Error
	wait     time.Duration // that the app asks for
}

// askBack asks about the rows of a chunk, for the users of its channels who see
// them by the rules. It is nil for a table without a policy.
func (r *Relay) askBack(ctx context.Context, j *job, what reading, b *back, later map[string]bool) (*answers, error) {
	var subject policy.Subject
	var rows []policy.Row
	err := r.between(ctx, func(ctx context.Context) (err error) {
		subject, rows, err = r.questions(ctx, j, what, b, later)
		return err
	})
	if err != nil || subject == (policy.Subject{}) {
		return nil, err
	}
	a := &answers{of: map[string]map[mapping.UserKey]policy.Answer{}, tooLarge: map[string]*policy.Error{}}
	for i, v := range r.policies.Ask(ctx, subject, rows) {
		of := make(map[mapping.UserKey]policy.Answer, len(v.Answers))
		for n, answer := range v.Answers {
			of[mapping.KeyOf(subject.Tenant, rows[i].Users[n].ID)] = answer
		}
		a.of[rows[i].Key] = of
		if v.Err != nil {
			a.wait = max(a.wait, v.Err.RetryAfter)
			if v.Err.Class == policy.TooLarge {
				a.tooLarge[rows[i].Key] = v.Err
			}
		}
	}
	return a, ctx.Err()
}

// questions are what is to be asked, by what is known between two transactions.
func (r *Relay) questions(ctx context.Context, j *job, what reading, b *back, later map[string]bool) (s policy.Subject, rows []policy.Row, err error) {
	plan, err := r.mapper.PlanOf(what.table, b.shape)
	if err != nil {
		return s, nil, &finalError{err}
	}
	if plan.Policy() == nil {
		return s, nil, nil
	}
	s = subjectOf(plan)
	_, view := r.audience.Views()
	if err := r.learnOf(ctx, plan, b, b.keys, view); err != nil {
		return s, nil, err
	}
	to := r.recipients(view, plan, r.channelsOf(j))
	for _, key := range b.keys {
		row := b.found[key]
		if _, changed := later[key]; changed || row == nil {
			continue
		}
		users, err := r.candidates(plan, view, row, to.users)
		if err != nil {
			return s, nil, &finalError{err}
		}
		if len(users) == 0 {
			continue
		}
		data, err := plan.AppendModel(nil, row)
		if err != nil {
			return s, nil, &finalError{err}
		}
		rows = append(rows, policy.Row{Key: key, Data: data, Users: users})
	}
	return s, rows, nil
}

// subjectOf is what the app is asked about a plan's rows.
func subjectOf(plan *mapping.Plan) policy.Subject {
	p := plan.Policy()
	return policy.Subject{Table: plan.Table(), Tenant: plan.Tenant(), Model: p.Model, Ability: p.Ability}
}

// candidates are the users who see a row by the rules.
func (r *Relay) candidates(plan *mapping.Plan, view mapping.View, row *binlog.Row, users []*mapping.User) ([]policy.User, error) {
	var list []policy.User
	for _, u := range users {
		visible, _, err := plan.Judge(row, view, u)
		if err != nil {
			return nil, err
		}
		if visible {
			_, id := u.Key.Split()
			// An answer holds only as long as nothing is known to have changed.
			list = append(list, policy.User{ID: id, Version: r.insights})
		}
	}
	return list, nil
}

// about is the app's answer about a user who sees a record by the rules. Without a
// policy it is yes.
func (a *answers) about(key string, u *mapping.User) policy.Answer {
	if a == nil {
		return policy.Yes
	}
	return a.of[key][u.Key]
}

// undecided is what of a chunk the app has not answered: records, with the
// channels that have them coming.
type undecided struct {
	keys     []string
	channels map[string]bool
}

func (u *undecided) add(key, channel string) {
	if n := len(u.keys); n == 0 || u.keys[n-1] != key {
		u.keys = append(u.keys, key)
	}
	if u.channels == nil {
		u.channels = map[string]bool{}
	}
	u.channels[channel] = true
}

// Pauses before the app is asked again about what it has not answered.
const minAskAgain, maxAskAgain = time.Second, time.Minute

// askLater makes a job of what the app has not answered, so that the rest of
// the job it is of need not wait. What can never be asked is set aside.
func (r *Relay) askLater(ctx context.Context, j *job, what reading, out *outcome) error {
	if len(out.undecided.keys) == 0 {
		return nil
	}
	keys := out.undecided.keys[:0:0]
	for _, key := range out.undecided.keys {
		cause := out.answers.tooLarge[key]
		if cause == nil {
			keys = append(keys, key)
			continue
		}
		r.log.Error("a record is too large to ask the app about, and is set aside (see chorusd deadletters)", "table", what.table, "key", key, "error", cause)
		err := r.setAside(ctx, redisstate.DeadLetter{
			Table: what.table, Key: key, Channels: sortedNames(out.undecided.channels), Reason: cause.Error(),
		})
		if err != nil {
			return err
		}
	}
	if len(keys) == 0 {
		return nil
	}
	why := askChanged // or they may have had it otherwise
	if what.asked() {
		why = what.selection.Ask
	}
	made, err := r.makeJobs(ctx, []redisstate.JobStart{{Channels: sortedNames(out.undecided.channels), Items: askItems(what.table, why, keys)}})
	if err != nil {
		return err
	}
	wait := max(out.answers.wait, min(maxAskAgain, minAskAgain<<min(j.tries, 10)))
	r.listLater(made, wait)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range made {
		r.listed[m.ID].tries = j.tries + 1
	}
	return nil
}

// denies says whether who is denied a record that was read is told that he does
// not see it: he may have had it.
func (w *reading) denies() bool {
	return w.selection == nil || w.selection.All || w.selection.Ask == askChanged
}

// asked says whether records are read for nothing but to ask the app.
func (w *reading) asked() bool { return w.selection != nil && w.selection.Ask != "" }
