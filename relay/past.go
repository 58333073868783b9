package relay

import (
	"slices"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
	"github.com/chorusd/chorusd/redisstate"
)

// past is what users and parents were when refills that select rows came to be,
// for as long as any of those is pending. Until then nobody can say of a row
// whether a user has it: he may have been told by what is now, or still hold
// what he was told by what was. The goroutine that routes owns it.
type past struct {
	// left and joined are the users who are members of a scope no longer, and
	// who were none before.
	left, joined map[mapping.ScopeKey]map[mapping.UserKey]bool
	// attributes are those that users had, and unknown the users of whom that
	// is not known.
	attributes map[mapping.UserKey][][]filter.Value
	unknown    map[mapping.UserKey]bool
	parents    map[mapping.ParentRef][]mapping.Parent
}

func newPast() *past {
	return &past{
		left: map[mapping.ScopeKey]map[mapping.UserKey]bool{}, joined: map[mapping.ScopeKey]map[mapping.UserKey]bool{},
		attributes: map[mapping.UserKey][][]filter.Value{}, unknown: map[mapping.UserKey]bool{},
		parents: map[mapping.ParentRef][]mapping.Parent{},
	}
}

func (p *past) empty() bool {
	return len(p.left)+len(p.joined)+len(p.attributes)+len(p.unknown)+len(p.parents) == 0
}

func note[K comparable](of map[K]map[mapping.UserKey]bool, key K, user mapping.UserKey) {
	if of[key] == nil {
		of[key] = map[mapping.UserKey]bool{}
	}
	of[key][user] = true
}

// crossed notes that a user became a member of a scope, or is none any more.
func (p *past) crossed(scope mapping.ScopeKey, user mapping.UserKey, gained bool) {
	if gained {
		note(p.joined, scope, user)
	} else {
		note(p.left, scope, user)
	}
}

// had notes the attributes that a user had.
func (p *past) had(user mapping.UserKey, attributes []filter.Value) {
	if !slices.ContainsFunc(p.attributes[user], func(o []filter.Value) bool { return slices.Equal(o, attributes) }) {
		p.attributes[user] = append(p.attributes[user], attributes)
	}
}

// led notes what a parent was.
func (p *past) led(ref mapping.ParentRef, was mapping.Parent) {
	same := func(o mapping.Parent) bool { return o.Exists == was.Exists && slices.Equal(o.Values, was.Values) }
	if !slices.ContainsFunc(p.parents[ref], same) {
		p.parents[ref] = append(p.parents[ref], was)
	}
}

// users are those who had other attributes, or may have had.
func (p *past) users(give func(mapping.UserKey)) {
	for user := range p.attributes {
		give(user)
	}
	for user := range p.unknown {
		if _, given := p.attributes[user]; !given {
			give(user)
		}
	}
}

// pastView is a view by which some of what was still is. Of parents it takes
// one combination after the other, see next; of memberships all that there
// were, if it is wide, and else only those that there were all along.
type pastView struct {
	mapping.View
	past  *past
	clock time.Time // another one than that of now; zero if there is none
	wide  bool
	picks []pick
	// other says that by it something was not as it is.
	other bool
}

// pick is which of several states of a parent is taken, or with no parent named
// which clock; the first is that of the view below.
type pick struct {
	ref    mapping.ParentRef
	at, of int
}

// atClock is a view by another clock.
type atClock struct {
	mapping.View
	clock time.Time
}

func (v atClock) Now() time.Time { return v.clock }

// pastOf is the view by which a row was seen.
func (r *Relay) pastOf(plan *mapping.Plan, row *binlog.Row, view mapping.View) *pastView {
	v := &pastView{View: view, past: r.past, wide: true}
	if told, ok := r.crossed(plan, row, view.Now()); ok {
		v.clock = told
	}
	return v
}

// next takes the next combination of those that the judging of one row has come
// upon; false says that there is none.
func (v *pastView) next() bool {
	for len(v.picks) > 0 {
		last := &v.picks[len(v.picks)-1]
		if last.at++; last.at < last.of {
			return true
		}
		v.picks = v.picks[:len(v.picks)-1]
	}
	return false
}

// pick is the state to take of a thing that has so many.
func (v *pastView) pick(ref mapping.ParentRef, of int) int {
	for _, p := range v.picks {
		if p.ref == ref {
			return p.at
		}
	}
	v.picks = append(v.picks, pick{ref, 0, of})
	return 0
}

func (v *pastView) Parent(ref mapping.ParentRef) (p mapping.Parent, known bool) {
	were := v.past.parents[ref]
	if len(were) == 0 {
		return v.View.Parent(ref)
	}
	v.other = true
	if at := v.pick(ref, 1+len(were)); at > 0 {
		return were[at-1], true
	}
	return v.View.Parent(ref)
}

func (v *pastView) Now() time.Time {
	if v.clock.IsZero() {
		return v.View.Now()
	}
	v.other = true
	if v.pick(mapping.ParentRef{}, 2) > 0 {
		return v.clock
	}
	return v.View.Now()
}

func (v *pastView) IsMember(u *mapping.User, scope mapping.ScopeKey) bool {
	is := v.View.IsMember(u, scope)
	left, joined := v.past.left[scope][u.Key], v.past.joined[scope][u.Key]
	v.other = v.other || left || joined
	if v.wide {
		return is || left
	}
	return is && !joined
}

func (v *pastView) Members(scope mapping.ScopeKey, at *mapping.Spot) []*mapping.User {
	members := v.View.Members(scope, at)
	left, joined := v.past.left[scope], v.past.joined[scope]
	if len(left)+len(joined) == 0 {
		return members
	}
	v.other = true
	if !v.wide {
		return slices.DeleteFunc(slices.Clone(members), func(u *mapping.User) bool { return joined[u.Key] })
	}
	members = slices.Clone(members)
	for user := range left {
		if u := v.User(user); u != nil && !v.View.IsMember(u, scope) {
			members = append(members, u)
		}
	}
	return members
}

// settled says whether nothing is pending any more for which the past is kept.
func (r *Relay) settled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.selecting) == 0 && r.making == 0
}

// forgetPast forgets it when nothing needs it any more. It is called between
// two transactions.
func (r *Relay) forgetPast() {
	if !r.past.empty() && r.settled() {
		r.past = newPast()
	}
}

// remember takes up what the selections of jobs say of the past: whether a
// scope was given to the job's users or taken from them, they do not say, nor
// which attributes somebody had.
func (r *Relay) remember(items []redisstate.JobItem, channels []string) {
	var users []mapping.UserKey
	for _, name := range channels {
		if _, user, ok := r.mapper.UserOf(name); ok {
			users = append(users, user)
		}
	}
	for _, item := range items {
		if !isSelection(item.Key) {
			continue
		}
		s, err := parseSelection(item.Key)
		if err != nil {
			continue // who works it off says so
		}
		if s.Parents != nil {
			s.Parents.noteIn(r.past, 0)
		}
		for _, user := range users {
			if s.Scope != "" {
				r.past.crossed(s.Scope, user, true)
				r.past.crossed(s.Scope, user, false)
			}
			if s.All || s.User != "" {
				r.past.unknown[user] = true
			}
		}
	}
}
