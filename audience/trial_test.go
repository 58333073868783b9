package audience

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// under is a load that was begun.
type under struct {
	load Load
	read *Loaded
	upto int // the state that has to be reached
}

// trial is one run: a State beside a log of states of the database.
type trial struct {
	*State
	t      *testing.T
	r      *rand.Rand
	log    []database
	done   int // transactions that were applied
	now    int
	lead   int // of other clocks before the State's, in microseconds
	opened map[mapping.UserKey][]opening
	loads  map[mapping.UserKey]*under
	late   []*Loaded // of who had left when it was read
	// Both views are asked by the same spots, which stay from step to step.
	scopeSpots map[mapping.ScopeKey]*mapping.Spot
	userSpots  map[mapping.UserKey]*mapping.Spot
}

// spotOf is the spot of a key, or now and then none, so that spots are of any
// age when they are asked.
func spotOf[K comparable](w *trial, spots map[K]*mapping.Spot, key K) *mapping.Spot {
	if w.r.IntN(4) == 0 {
		return nil
	}
	if spots[key] == nil {
		spots[key] = &mapping.Spot{}
	}
	return spots[key]
}

func (w *trial) live(key mapping.UserKey) bool { return w.opened[key] != nil && w.loads[key] == nil }

func TestStateAgainstModel(t *testing.T) {
	runs := 8
	if os.Getenv("TEST_FULL") != "" {
		runs = 300
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		runs = 1
	}
	for n := range runs {
		if !t.Run(fmt.Sprint(seed+uint64(n)), func(t *testing.T) { tryState(t, seed+uint64(n)) }) {
			t.Fatalf("again with SEED=%d", seed+uint64(n))
		}
	}
}

func tryState(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	lead := []int{0, 20, 150}[r.IntN(3)]
	w := &trial{
		State: newState(fakeRules{}, Config{Lead: time.Duration(lead) * time.Microsecond}, time.UnixMicro(0)), t: t, r: r, lead: lead,
		opened: map[mapping.UserKey][]opening{}, loads: map[mapping.UserKey]*under{},
		scopeSpots: map[mapping.ScopeKey]*mapping.Spot{}, userSpots: map[mapping.UserKey]*mapping.Spot{},
	}
	first, rows := database{platformUser: {}, guests: {}, people: {}, posts: {}}, 0
	for range 30 {
		first = first.mutate(w.r, &rows)
	}
	w.log = []database{first}
	for range 60 {
		w.log = append(w.log, w.log[len(w.log)-1].mutate(w.r, &rows))
	}
	for w.done < len(w.log)-1 {
		switch w.r.IntN(8) {
		case 0, 1:
			w.transaction()
		case 2:
			w.tick()
		case 3, 4:
			w.open()
		case 5:
			w.close()
		case 6:
			w.load()
		case 7:
			w.finish()
		}
		w.check(w.log[w.done], w.log[w.done])
	}
	w.Reset("")
	if w.users.Len() > 0 || w.scopes.Len() > 0 || len(w.timers) > 0 || len(w.soon) > 0 || len(w.seats.free) != len(w.seats.users) {
		t.Errorf("nobody is live, but there are %d users, %d scopes, %d timers, in %d scopes somebody soon, %d of %d slots are free",
			w.users.Len(), w.scopes.Len(), len(w.timers), len(w.soon), len(w.seats.free), len(w.seats.users))
	}
}

func (w *trial) transaction() {
	was, is := w.log[w.done], w.log[w.done+1]
	w.Begin()
	noted := map[string]bool{}
	for _, c := range was.changes(is, w.r) {
		err := w.Apply(c, func(n Note) error {
			noted[fmt.Sprint(n.User, " ", n.Scope)] = true
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
		if w.r.IntN(4) == 0 { // reads in the middle make lists that must not last
			old, now := w.Views()
			for s := range somePlatforms + 1 {
				old.Members(scope("platform", s), spotOf(w, w.scopeSpots, scope("platform", s)))
				now.Members(scope("platform", s), spotOf(w, w.scopeSpots, scope("platform", s)))
			}
		}
	}
	for _, ref := range allRefs() {
		if _, known := w.before.Parent(ref); !known && w.r.IntN(2) == 0 {
			w.Put(ref, was.parent(ref))
		}
	}
	w.check(was, is)
	var effects []string
	fx := w.Commit()
	for _, m := range fx.Memberships {
		effects = append(effects, fmt.Sprint(m.User.Key, m.Scope, m.Gained))
	}
	for _, u := range fx.Users {
		effects = append(effects, fmt.Sprint(u.Is.Key, u.Was.Subject.Attributes, u.Is.Subject.Attributes))
	}
	for _, p := range fx.Parents {
		effects = append(effects, fmt.Sprint(p))
	}
	w.done++
	var want []string
	now := time.UnixMicro(int64(w.now))
	for id := range someUsers + 1 {
		key := user(id)
		gone, come := was.scopesOf(key, now), is.scopesOf(key, now)
		want = append(want, turned(key, gone, come)...)
		before, after := was.soonOf(key, now, w.lead), is.soonOf(key, now, w.lead)
		for s := range before {
			if _, still := after[s]; still {
				continue
			}
			if gone[s] == come[s] {
				want = append(want, fmt.Sprint(key, s, come[s]))
			}
			if !noted[fmt.Sprint(key, " ", s)] {
				w.t.Errorf("user %s was soon another in %s, is not, and it was not noted", key, s)
			}
		}
		if a, b := was.attributesOf(key), is.attributesOf(key); !slices.Equal(a, b) {
			want = append(want, fmt.Sprint(key, a, b))
		}
		for s := range maps.Keys(come) {
			if !gone[s] && !noted[fmt.Sprint(key, " ", s)] {
				w.t.Errorf("user %s gained %s and it was not noted", key, s)
			}
		}
		for s := range maps.Keys(gone) {
			if !come[s] && !noted[fmt.Sprint(key, " ", s)] {
				w.t.Errorf("user %s lost %s and it was not noted", key, s)
			}
		}
		if !slices.Equal(was.attributesOf(key), is.attributesOf(key)) && !noted[fmt.Sprint(key, " ")] {
			w.t.Errorf("user %s has other attributes and it was not noted", key)
		}
		if !w.live(key) {
			want = slices.DeleteFunc(want, func(text string) bool { return text[:len(key)] == string(key) })
		}
	}
	for _, ref := range allRefs() {
		if a, b := was.parent(ref), is.parent(ref); fmt.Sprint(a) != fmt.Sprint(b) {
			want = append(want, fmt.Sprint(ParentChange{ref, a, b}))
		}
	}
	slices.Sort(effects)
	slices.Sort(want)
	if !slices.Equal(effects, want) {
		w.t.Errorf("effects of transaction %d: got %q, want %q", w.done, effects, want)
	}
}

func (w *trial) tick() {
	was := time.UnixMicro(int64(w.now))
	w.now += w.r.IntN(20)
	now := time.UnixMicro(int64(w.now))
	var effects, want []string
	for _, m := range w.Tick(now).Memberships {
		effects = append(effects, fmt.Sprint(m.User.Key, m.Scope, m.Gained))
	}
	for id := range someUsers + 1 {
		key := user(id)
		if !w.live(key) {
			continue
		}
		before, after := w.log[w.done].scopesOf(key, was), w.log[w.done].scopesOf(key, now)
		next := w.log[w.done].soonOf(key, now, w.lead)
		for s := range w.log[w.done].soonOf(key, was, w.lead) {
			if _, still := next[s]; !still && before[s] == after[s] { // he was another in between
				want = append(want, fmt.Sprint(key, s, after[s]))
			}
		}
		want = append(want, turned(key, before, after)...)
	}
	slices.Sort(effects)
	slices.Sort(want)
	if !slices.Equal(effects, want) {
		w.t.Errorf("effects of the clock: got %q, want %q", effects, want)
	}
}

// turned are the effects of a user's scopes on what they come to be.
func turned(key mapping.UserKey, before, after map[mapping.ScopeKey]bool) (effects []string) {
	for s := range before {
		if !after[s] {
			effects = append(effects, fmt.Sprint(key, s, false))
		}
	}
	for s := range after {
		if !before[s] {
			effects = append(effects, fmt.Sprint(key, s, true))
		}
	}
	return effects
}

// channel chooses one of the channels that name a user.
func (w *trial) channel() (key mapping.UserKey, template int, name string) {
	key, template = user(1+w.r.IntN(someUsers)), w.r.IntN(2)
	if template == 0 {
		return key, template, fmt.Sprintf("own.%d.%s", w.r.IntN(3), key)
	}
	return key, template, string(key)
}

func (w *trial) open() {
	key, template, name := w.channel()
	l, load := w.Open(key, template, name)
	if load != (w.opened[key] == nil) {
		w.t.Fatalf("user %s is to be loaded: %t", key, load)
	}
	if load {
		w.loads[key] = &under{load: l}
	}
	if o := (opening{template, name}); !slices.Contains(w.opened[key], o) {
		w.opened[key] = append(w.opened[key], o)
	}
}

func (w *trial) close() {
	key, template, name := w.channel()
	w.Close(key, template, name)
	if opened := w.opened[key]; opened != nil {
		if w.opened[key] = without(opened, opening{template, name}); len(w.opened[key]) == 0 {
			delete(w.opened, key)
			if u := w.loads[key]; u != nil && u.read != nil {
				w.late = append(w.late, u.read)
			}
			delete(w.loads, key)
		}
	}
}

// load reads users, each table at some point of the log from here on.
func (w *trial) load() {
	for _, key := range slices.Sorted(maps.Keys(w.loads)) {
		u := w.loads[key]
		point := func() database {
			n := min(w.done+w.r.IntN(10), len(w.log)-1)
			u.upto = max(u.upto, n)
			return w.log[n]
		}
		read := &loaded{Load: u.load}
		for _, p := range []memberPlan{fakeMembers{platformUser}, fakeMembers{guests}, fakeRegions{}} {
			table := people
			if m, ok := p.(fakeMembers); ok {
				table = m.table
			}
			for _, values := range point()[table] {
				r := row(table, values...)
				g, ok, err := grantOf(p, r)
				if err != nil {
					w.t.Fatal(err)
				}
				if ok && g.user == key {
					k, _ := appendRowKey(nil, p, r)
					read.rows = append(read.rows, loadedRow{string(k), g})
				}
			}
		}
		if attributes := point().attributesOf(key); attributes[0] != (filter.Value{}) {
			read.attributes = attributes
		}
		u.read = &Loaded{users: []*loaded{read}}
	}
}

func (w *trial) finish() {
	for _, read := range w.late {
		if arrivals, err := w.Finish(read); err != nil || len(arrivals) > 0 {
			w.t.Errorf("who had left arrived: %v, %v", arrivals, err)
		}
	}
	w.late = nil
	for _, key := range slices.Sorted(maps.Keys(w.loads)) {
		u := w.loads[key]
		if u.read == nil || w.done < u.upto {
			continue
		}
		arrivals, err := w.Finish(u.read)
		if err != nil || len(arrivals) != 1 || arrivals[0].User != w.State.users.Get(key, nil).user {
			w.t.Fatalf("user %s: %v, %v", key, arrivals, err)
		}
		delete(w.loads, key)
	}
}

func allRefs() []mapping.ParentRef {
	var refs []mapping.ParentRef
	for n := range somePosts + 1 {
		refs = append(refs, postRef("", n), postRef("uuid", n))
	}
	return refs
}

// check compares both views with what the database says.
func (w *trial) check(was, is database) {
	w.t.Helper()
	old, now := w.Views()
	if (old == now) != !w.tx.decisive {
		w.t.Error("the views are the same though something was decisive, or are not though nothing was")
	}
	w.checkView("the view before", old, was)
	w.checkView("the view", now, is)
	if w.t.Failed() {
		w.t.FailNow()
	}
}

func (w *trial) checkView(name string, v View, d database) {
	w.t.Helper()
	now := time.UnixMicro(int64(w.now))
	if !v.Now().Equal(now) {
		w.t.Errorf("%s: the clock is at %s, want %s", name, v.Now(), now)
	}
	members, near := map[mapping.ScopeKey][]string{}, map[mapping.ScopeKey][]string{}
	slots := map[int]bool{}
	for id := range someUsers + 1 {
		key := user(id)
		u := v.User(key)
		if (u != nil) != w.live(key) {
			w.t.Errorf("%s: user %s: %v, live %t", name, key, u, w.live(key))
		}
		if got := v.UserAt(key, spotOf(w, w.userSpots, key)); got != u {
			w.t.Errorf("%s: user %s is %v, and %v at a spot", name, key, u, got)
		}
		if u == nil {
			continue
		}
		if slots[u.Slot] || u.Slot > someUsers {
			w.t.Errorf("%s: slot %d of user %s is taken or not small", name, u.Slot, key)
		}
		slots[u.Slot] = true
		if want := d.attributesOf(key); !slices.Equal(u.Subject.Attributes, want) {
			w.t.Errorf("%s: attributes of user %s: got %v, want %v", name, key, u.Subject.Attributes, want)
		}
		for template, got := range u.Channels {
			want, ok := (fakeRules{}).channel(template, u)
			if !ok || !slices.Contains(w.opened[key], opening{template, want}) {
				want = ""
			}
			if got != want {
				w.t.Errorf("%s: channels of user %s: %q, opened are %v", name, key, u.Channels, w.opened[key])
			}
		}
		scopes := d.scopesOf(key, now)
		scopes["public"] = true
		for s := range scopes {
			members[s] = append(members[s], string(key))
		}
		soon := d.soonOf(key, now, w.lead)
		for s, is := range soon {
			near[s] = append(near[s], string(key))
			if !is {
				scopes[s] = false
			}
		}
		if v == &w.after && len(w.Scopes(u)) != len(scopes) {
			w.t.Errorf("%s: scopes of user %s: got %v, want %v", name, key, w.Scopes(u), scopes)
		}
		for _, s := range allScopes() {
			if v.IsMember(u, s) != scopes[s] {
				w.t.Errorf("%s: user %s is a member of %s: %t, want %t", name, key, s, !scopes[s], scopes[s])
			}
			if _, want := soon[s]; v.IsSoon(u, s) != want {
				w.t.Errorf("%s: user %s is soon another in %s: %t, want %t", name, key, s, !want, want)
			}
		}
	}
	for _, s := range allScopes() {
		var got []string
		for _, u := range v.Members(s, spotOf(w, w.scopeSpots, s)) {
			got = append(got, string(u.Key))
			if u != v.User(u.Key) {
				w.t.Errorf("%s: %s has another version of user %s", name, s, u.Key)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, members[s]) {
			w.t.Errorf("%s: members of %s: got %v, want %v", name, s, got, members[s])
		}
		got = nil
		for _, u := range v.Soon(s) {
			got = append(got, string(u.Key))
			if u != v.User(u.Key) {
				w.t.Errorf("%s: soon another in %s is another version of user %s", name, s, u.Key)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, near[s]) {
			w.t.Errorf("%s: soon others in %s are %v, want %v", name, s, got, near[s])
		}
		if len(got) > 0 && !v.AnySoon() {
			w.t.Errorf("%s: nobody is soon another, but %v in %s", name, got, s)
		}
	}
	if len(v.Everyone("")) != len(members["public"]) || len(v.Everyone("acme")) > 0 {
		w.t.Errorf("%s: everyone: %d, of another tenant %d", name, len(v.Everyone("")), len(v.Everyone("acme")))
	}
	for _, ref := range allRefs() {
		if p, known := v.Parent(ref); known && fmt.Sprint(p) != fmt.Sprint(d.parent(ref)) {
			w.t.Errorf("%s: parent %v: got %v, want %v", name, ref, p, d.parent(ref))
		}
	}
}

func allScopes() []mapping.ScopeKey {
	scopes := []mapping.ScopeKey{"public"}
	for n := range somePlatforms + 1 {
		scopes = append(scopes, scope("platform", n), scope("region", n))
	}
	return scopes
}
