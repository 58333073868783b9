package relay

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/chorusd/chorusd/audience"
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
	// changes is the number of the last transaction that changed any of it, and
	// size how many changes are kept.
	changes uint64
	size    int
	// memberships say whether a user was in a scope, attributes which ones he
	// had, and parents what they were.
	memberships map[mapping.ScopeKey]map[mapping.UserKey]former[bool]
	attributes  map[mapping.UserKey]former[[]filter.Value]
	parents     map[mapping.ParentRef]former[mapping.Parent]
	// unsure are memberships that may have been otherwise or not, and unknown
	// the users of whom nobody knows which attributes they had.
	unsure  map[mapping.ScopeKey]map[mapping.UserKey]bool
	unknown map[mapping.UserKey]bool
}

// newPast makes one that goes on counting after a change.
func newPast(changes uint64) *past {
	return &past{
		changes:     changes,
		memberships: map[mapping.ScopeKey]map[mapping.UserKey]former[bool]{},
		attributes:  map[mapping.UserKey]former[[]filter.Value]{},
		parents:     map[mapping.ParentRef]former[mapping.Parent]{},
		unsure:      map[mapping.ScopeKey]map[mapping.UserKey]bool{},
		unknown:     map[mapping.UserKey]bool{},
	}
}

func (p *past) empty() bool {
	return len(p.memberships)+len(p.attributes)+len(p.parents)+len(p.unsure)+len(p.unknown) == 0
}

// former is what something was before each of its changes, in their order.
type former[T any] []state[T]

type state[T any] struct {
	until uint64 // the change that ended it
	was   T
}

// add notes what it was before a change; a change that is known stays as it is.
func (f former[T]) add(change uint64, was T) former[T] {
	i, known := f.find(change)
	if known {
		return f
	}
	return slices.Insert(f, i, state[T]{change, was})
}

// note has one of the past's things note what it was before a change.
func note[T any](p *past, f former[T], change uint64, was T) former[T] {
	longer := f.add(change, was)
	p.size += len(longer) - len(f)
	return longer
}

// find is the place of a change, and whether it is one of its own.
func (f former[T]) find(change uint64) (at int, known bool) {
	return slices.BinarySearchFunc(f, change, func(s state[T], change uint64) int { return cmp.Compare(s.until, change) })
}

// at is what it was after all changes up to a moment, or before them if moment
// is 0; other is false if that is what it is. Last is the last of those changes
// that is one of its own; 0 if there is none.
func (f former[T]) at(moment uint64) (was T, other bool, last uint64) {
	i, ends := f.find(moment)
	if ends {
		i++
	}
	if i > 0 {
		last = f[i-1].until
	}
	if i == len(f) {
		return was, false, last
	}
	return f[i].was, true, last
}

// membership notes one that a change gave or took. If the user was soon another,
// an app may have read by what he is now before the change.
func (p *past) membership(change uint64, m audience.Membership) {
	p.crossed(change, m.Scope, m.User.Key, m.Gained)
	if m.Soon {
		p.doubt(m.Scope, m.User.Key)
	}
}

// crossed notes that a change made a user a member of a scope, or took him out.
func (p *past) crossed(change uint64, scope mapping.ScopeKey, user mapping.UserKey, gained bool) {
	of := p.memberships[scope]
	if of == nil {
		of = map[mapping.UserKey]former[bool]{}
		p.memberships[scope] = of
	}
	of[user] = note(p, of[user], change, !gained)
}

// doubt notes that a user may have become a member of a scope, or be none any more.
func (p *past) doubt(scope mapping.ScopeKey, user mapping.UserKey) {
	if p.unsure[scope] == nil {
		p.unsure[scope] = map[mapping.UserKey]bool{}
	}
	if !p.unsure[scope][user] {
		p.unsure[scope][user] = true
		p.size++
	}
}

// lose notes that nobody knows which attributes a user had.
func (p *past) lose(user mapping.UserKey) {
	if !p.unknown[user] {
		p.unknown[user] = true
		p.size++
	}
}

// had notes the attributes that a user had before a change.
func (p *past) had(change uint64, user mapping.UserKey, attributes []filter.Value) {
	p.attributes[user] = note(p, p.attributes[user], change, attributes)
}

// led notes what a parent was before a change.
func (p *past) led(change uint64, ref mapping.ParentRef, was mapping.Parent) {
	p.parents[ref] = note(p, p.parents[ref], change, was)
}

// others are the users of whom something was otherwise or may have been: who is
// in one of some scopes, or a user's attributes.
func (p *past) others(scopes []mapping.ScopeKey) map[mapping.UserKey]bool {
	list := map[mapping.UserKey]bool{}
	for _, scope := range scopes {
		for user := range p.memberships[scope] {
			list[user] = true
		}
		for user := range p.unsure[scope] {
			list[user] = true
		}
	}
	for user := range p.attributes {
		list[user] = true
	}
	for user := range p.unknown {
		list[user] = true
	}
	return list
}

// pastView is a view of one moment of the past after the other, from now on
// backwards, see next: all that anybody can have was given to him at one of
// them. Only those are taken between which something has changed that was
// looked at, so a row takes as many as there were changes of what it hangs on.
type pastView struct {
	audience.View
	past *past
	// moment is the last change that has happened by it, and earlier the last
	// one up to then of what was looked at; 0 if there is none.
	moment, earlier uint64
	// clock is another one than that of now, by which all moments are taken once
	// more; zero if there is none. Then says that they are.
	clock time.Time
	then  bool
	// members says that memberships are those of the moment, and not of now;
	// where nobody knows, or an app's clock decides, there was one unless it is
	// to be for sure.
	members, sure bool
}

// latest is the moment after all changes.
const latest = math.MaxUint64

// pastOf is the view by which a row was seen.
func (r *Relay) pastOf(plan *mapping.Plan, row *binlog.Row, view audience.View) *pastView {
	v := &pastView{View: view, past: r.past, moment: latest}
	if told, ok := r.crossed(plan, row, view.Now()); ok {
		v.clock = told
	} else if ahead, ok := r.ahead(plan, row, view.Now()); ok {
		v.clock = ahead
	}
	return v
}

// begin begins again at now.
func (v *pastView) begin(members, sure bool) {
	v.moment, v.earlier, v.then, v.members, v.sure = latest, 0, false, members, sure
}

// next takes the moment before; false says that there is none.
func (v *pastView) next() bool {
	switch {
	case v.earlier > 0:
		v.moment, v.earlier = v.earlier-1, 0
	case !v.clock.IsZero() && !v.then:
		v.moment, v.then = latest, true
	default:
		return false
	}
	return true
}

// was looks at what something was at the moment.
func was[T any](v *pastView, f former[T]) (was T, other bool) {
	was, other, last := f.at(v.moment)
	v.earlier = max(v.earlier, last)
	return was, other
}

func (v *pastView) Parent(ref mapping.ParentRef) (p mapping.Parent, known bool) {
	if p, other := was(v, v.past.parents[ref]); other {
		return p, true
	}
	return v.View.Parent(ref)
}

func (v *pastView) Now() time.Time {
	if v.then {
		return v.clock
	}
	return v.View.Now()
}

func (v *pastView) IsMember(u *mapping.User, scope mapping.ScopeKey) bool {
	if !v.members {
		return v.View.IsMember(u, scope)
	}
	if v.past.unsure[scope][u.Key] || v.IsSoon(u, scope) {
		return !v.sure
	}
	if is, other := was(v, v.past.memberships[scope][u.Key]); other {
		return is
	}
	return v.View.IsMember(u, scope)
}

// user is a user with the attributes of the moment.
func (v *pastView) user(u *mapping.User) *mapping.User {
	attributes, other := was(v, v.past.attributes[u.Key])
	if !other {
		return u
	}
	then := *u
	then.Subject.Attributes = attributes
	return &then
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
		r.past = newPast(r.past.changes)
	}
}

// pastKept is how many changes of the past are kept, some tens of MB.
const pastKept = 100_000

// boundPast forgets a past that has become too long, since refills that select
// rows are pending all the time: whoever may have a row by it is told, with the
// transaction of a page, to load the row's table again. By then the selections
// that came to be before are done with as well.
func (r *Relay) boundPast(ctx context.Context, page *page) error {
	if r.past.size <= r.pastKept {
		return nil
	}
	tables := r.tablesOfPast()
	r.log.Warn("who sees what has changed so often while refills were under way that it is kept no longer; clients load tables again",
		"changes", r.past.size, "tables", tables)
	for _, table := range tables {
		if err := r.tellReload(ctx, page, table); err != nil {
			return err
		}
	}
	r.past = newPast(r.past.changes)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.listed {
		j.told = page
	}
	return nil
}

// tablesOfPast are the IDs of those with rows that somebody may have by the past.
func (r *Relay) tablesOfPast() []string {
	set := map[string]bool{}
	add := func(tables []string) {
		for _, table := range tables {
			set[table] = true
		}
	}
	kinds := map[mapping.ParentRef]bool{}
	for ref := range r.past.parents {
		ref.Key = ""
		kinds[ref] = true
	}
	for ref := range kinds {
		add(r.mapper.TablesBelow(ref))
	}
	for scope := range r.past.memberships {
		add(r.mapper.TablesIn(scope))
	}
	for scope := range r.past.unsure {
		add(r.mapper.TablesIn(scope))
	}
	tenants := map[string]bool{}
	for user := range r.past.attributes {
		tenants[user.Tenant()] = true
	}
	for user := range r.past.unknown {
		tenants[user.Tenant()] = true
	}
	for tenant := range tenants {
		add(r.mapper.TablesOfTenant(tenant))
	}
	return slices.Sorted(maps.Keys(set))
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
			s.Parents.noteIn(r.past)
		}
		for _, user := range users {
			if s.Scope != "" {
				r.past.doubt(s.Scope, user)
			}
			if s.All || s.User != "" {
				r.past.lose(user)
			}
		}
	}
}
