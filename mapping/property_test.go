package mapping_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
)

// record is a row of the property test; "" is NULL.
type record struct{ id, owner, team, platform, post, title, region, salary, at string }

func (r *record) row(t *binlog.Table) *binlog.Row {
	if r == nil {
		return nil
	}
	values := []string{r.id, r.owner, r.team, r.platform, r.post, r.title, r.region, r.salary, r.at}
	for i, v := range values {
		if v == "" {
			values[i] = "NULL"
		}
	}
	return row(t, values...)
}

// person is a user of it.
type person struct{ id, role, region string }

// world is all that there is at one time, in the plainest form.
type world struct {
	people  map[string]person
	members map[string][]string  // "team 3" → users
	posts   map[string][2]string // id → platform, thread
	threads map[string]string    // id → team
}

// Ways to say who sees a row, each with its own meaning.
var (
	entries = map[string]func(w *world, r *record, p person) bool{
		"user:{owner_id}":        func(_ *world, r *record, p person) bool { return r.owner == p.id },
		"team:{team_id}":         func(w *world, r *record, p person) bool { return w.in("team", r.team, p) },
		"platform:{platform_id}": func(w *world, r *record, p person) bool { return w.in("platform", r.platform, p) },
		"public":                 func(*world, *record, person) bool { return true },
		"platform:{post_id -> posts.platform_id}": func(w *world, r *record, p person) bool {
			return w.in("platform", w.posts[r.post][0], p)
		},
		"team:{post_id -> posts.thread_id -> threads.team_id}": func(w *world, r *record, p person) bool {
			return w.in("team", w.threads[w.posts[r.post][1]], p)
		},
	}
	wheres = map[string]func(r *record, p person) bool{
		"":                               func(*record, person) bool { return true },
		`title != "bb"`:                  func(r *record, _ person) bool { return r.title != "" && r.title != "bb" },
		`title == nil or region == "eu"`: func(r *record, _ person) bool { return r.title == "" || r.region == "eu" },
		`at <= now`:                      func(r *record, _ person) bool { return r.at != "" && r.at <= "2026-11-22 17:25:39" },
		`(at == nil or at > now) and team_id != 2`: func(r *record, _ person) bool {
			return (r.at == "" || r.at > "2026-11-22 17:25:39") && r.team != "" && r.team != "2"
		},
		`user.role == "admin" or user.id == owner_id`: func(r *record, p person) bool { return p.role == "admin" || r.owner == p.id },
		`user.region == region and title != nil`:      func(r *record, p person) bool { return r.region != "" && p.region == r.region && r.title != "" },
		`not (user.id == owner_id)`:                   func(r *record, p person) bool { return r.owner != "" && r.owner != p.id },
	}
	columns = map[string]struct {
		column mapping.Column
		shows  func(r *record, p person, value string) (string, bool)
	}{
		"hidden by role": {mapping.Column{VisibleIf: `user.role == "admin"`}, func(_ *record, p person, v string) (string, bool) {
			return v, p.role == "admin"
		}},
		"hidden by owner": {mapping.Column{VisibleIf: `user.id == owner_id or salary == nil`}, func(r *record, p person, v string) (string, bool) {
			return v, r.owner == p.id || r.salary == ""
		}},
		"masked": {mapping.Column{Mask: "truncate:1", UnmaskedIf: `user.role == "admin" and region == user.region`}, func(r *record, p person, v string) (string, bool) {
			if p.role == "admin" && r.region != "" && r.region == p.region || v == "" {
				return v, true
			}
			return v[:1], true
		}},
		"fixed": {mapping.Column{Value: `"x"`}, func(*record, person, string) (string, bool) { return "x", true }},
		"plain": {mapping.Column{}, func(_ *record, _ person, v string) (string, bool) { return v, true }},
	}
)

func (w *world) in(scope, key string, p person) bool {
	return key != "" && slices.Contains(w.members[scope+" "+key], p.id)
}

// random rules, worlds and rows.
type random struct{ *rand.Rand }

func (r random) of(list ...string) string { return list[r.IntN(len(list))] }

func (r random) id() string { return r.of("", "1", "2", "3") }

func (r random) record(id string) *record {
	return &record{
		id: id, owner: r.id(), team: r.id(), platform: r.id(), post: r.id(), title: r.of("", "a", "aa", "bb"),
		region: r.of("", "eu", "us"), salary: r.of("", "100", "150"), at: r.of("", "2026-11-22 17:00:00", "2026-11-22 18:00:00"),
	}
}

// change changes some columns of a record, perhaps none.
func (r random) change(from *record) *record {
	to, other := *from, r.record(from.id)
	for _, take := range []func(){
		func() { to.owner = other.owner }, func() { to.team = other.team }, func() { to.platform = other.platform },
		func() { to.post = other.post }, func() { to.title = other.title }, func() { to.region = other.region },
		func() { to.salary = other.salary }, func() { to.at = other.at }, func() { to.id = r.of("1", "2") },
	} {
		if r.IntN(4) == 0 {
			take()
		}
	}
	return &to
}

func (r random) world() *world {
	w := &world{people: map[string]person{}, members: map[string][]string{}, posts: map[string][2]string{}, threads: map[string]string{}}
	for i := range 4 {
		id := strconv.Itoa(i + 1)
		w.people[id] = person{id, r.of("admin", "dev"), r.of("eu", "us")}
		for _, scope := range []string{"team", "platform"} {
			for _, key := range []string{"1", "2", "3"} {
				if r.IntN(2) == 0 {
					w.members[scope+" "+key] = append(w.members[scope+" "+key], id)
				}
			}
		}
	}
	for _, id := range []string{"1", "2"} { // there is no post or thread 3
		w.posts[id] = [2]string{r.id(), r.id()}
		w.threads[id] = r.id()
	}
	return w
}

// view is the world as a View, of those who are connected.
func (w *world) view(t *testing.T, m *mapping.Mapper, connected []string) *view {
	t.Helper()
	v := newView(m)
	for _, id := range connected {
		p := w.people[id]
		var scopes []mapping.ScopeKey
		for key, members := range w.members {
			if slices.Contains(members, id) {
				scopes = append(scopes, mapping.ScopeKey(strings.Replace(key, " ", ":", 1)))
			}
		}
		v.connect(t, mapping.UserKey(id), text(p.role, p.region), scopes...)
	}
	parent := func(table, id string, values []string, exists bool) {
		ref := mapping.ParentRef{Table: binlog.TableName{Schema: "app", Table: table}, Key: "[" + id + "]"}
		v.parents[ref] = mapping.Parent{Exists: exists, Values: values}
	}
	for _, id := range []string{"1", "2", "3"} {
		post, there := w.posts[id]
		thread := w.threads[id]
		parent("posts", id, post[:], there)
		parent("threads", id, []string{thread}, there)
	}
	return v
}

// TestRouteAgainstEachUser: who gets what of a change is what each user sees
// of the row before and after, one by one. Which positions it takes does not
// depend on who is connected.
func TestRouteAgainstEachUser(t *testing.T) {
	table := tableOf("todos", "id", "owner_id", "team_id", "platform_id", "post_id", "title", "region", "salary", "at")
	table.Columns[8].Kind = binlog.DateTime
	seed := rand.Uint64()
	r := random{rand.New(rand.NewPCG(seed, 1))}
	for n := range 400 {
		rule := r.rule()
		m := mapperOf(t, rule.config())
		for range 15 {
			before, after := r.record("1"), r.record("1")
			switch r.IntN(5) {
			case 0:
				before = nil
			case 1:
				after = nil
			default:
				after = r.change(before)
			}
			old := r.world()
			now := old
			if r.IntN(2) == 0 {
				now = r.world()
			}
			c := &binlog.Change{Kind: binlog.Update, Before: before.row(table), After: after.row(table)}
			got, positions := perUser(t, m, c, old, now, sorted(old.people))
			want, idle := rule.expected(before, after, old, now)
			got = slices.DeleteFunc(got, func(line string) bool { return slices.Contains(idle, line) })
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, rule %d: %+v\n%+v\n%+v\nold %+v\nnow %+v\ngot\n%s\nwant\n%s",
					seed, n, rule, before, after, old, now, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if _, alone := perUser(t, m, c, old, now, nil); !slices.Equal(alone, positions) {
				t.Fatalf("seed %d, rule %d: with users the positions are %v, without %v", seed, n, positions, alone)
			}
		}
	}
}

// randomRule says who sees what of a row, by the names of entries, wheres and columns.
type randomRule struct {
	visible              []mapping.Alternative
	where, title, salary string
}

func (r random) rule() *randomRule {
	rule := &randomRule{where: r.of(sorted(wheres)...), title: r.of(sorted(columns)...), salary: r.of(sorted(columns)...)}
	for range 1 + r.IntN(3) {
		a := mapping.Alternative{r.of(sorted(entries)...)}
		if other := r.of(sorted(entries)...); r.IntN(3) == 0 && other != a[0] {
			a = append(a, other)
		}
		rule.visible = append(rule.visible, a)
	}
	return rule
}

func (rule *randomRule) config() mapping.Config {
	cfg := scoped(mapping.Table{
		Fields: []string{"id", "title", "salary"}, VisibleTo: rule.visible, Where: rule.where,
		Columns: map[string]mapping.Column{"title": columns[rule.title].column, "salary": columns[rule.salary].column},
	})
	// What is known of parents is the columns that paths take, in the order of
	// use, so that a table before takes all of them.
	cfg.Tables["all"] = mapping.Table{Source: "other", Fields: []string{"id"}, VisibleTo: mapping.AnyOf(
		"platform:{post_id -> posts.platform_id}", "team:{post_id -> posts.thread_id -> threads.team_id}",
	)}
	return cfg
}

func (rule *randomRule) sees(w *world, row *record, p person) bool {
	return row != nil && wheres[rule.where](row, p) && slices.ContainsFunc(rule.visible, func(a mapping.Alternative) bool {
		return !slices.ContainsFunc(a, func(e string) bool { return !entries[e](w, row, p) })
	})
}

func (rule *randomRule) data(row *record, p person) string {
	text := `{"id":` + row.id
	for _, f := range []struct{ name, how, value string }{{"title", rule.title, row.title}, {"salary", rule.salary, row.salary}} {
		value, there := columns[f.how].shows(row, p, f.value)
		if value = strconv.Quote(value); value == `""` {
			value = "null"
		}
		if there {
			text += fmt.Sprintf(",%q:%s", f.name, value)
		}
	}
	return text + "}"
}

// expected is what each user has to get of a change. idle are updates that may
// be given as well: by another variant that looks the same.
func (rule *randomRule) expected(before, after *record, old, now *world) (want, idle []string) {
	for _, id := range sorted(old.people) {
		was, is := old.people[id], now.people[id]
		had, has := rule.sees(old, before, was), rule.sees(now, after, is)
		kept := had && has && before.id == after.id
		if had && !kept {
			want = append(want, fmt.Sprintf("%s delete %s", id, rule.data(before, was)))
		}
		switch {
		case kept && rule.data(before, was) == rule.data(after, is):
			idle = append(idle, fmt.Sprintf("%s update %s", id, rule.data(after, is)))
		case kept:
			want = append(want, fmt.Sprintf("%s update %s", id, rule.data(after, is)))
		case has:
			want = append(want, fmt.Sprintf("%s create %s", id, rule.data(after, is)))
		}
	}
	return want, idle
}

// perUser routes a change for those who are connected.
func perUser(t *testing.T, m *mapping.Mapper, c *binlog.Change, old, now *world, connected []string) (got []string, positions []harmonic.Operation) {
	t.Helper()
	before := old.view(t, m, connected)
	after := before
	if now != old {
		after = now.view(t, m, connected)
	}
	refs, err := m.Needs(nil, c, before, after)
	if err != nil || len(refs) > 0 {
		t.Fatalf("needs %v, %v", refs, err)
	}
	_, err = m.Route(c, before, after, func(h *mapping.Harmonic) error {
		if h.First {
			positions = append(positions, h.Operation)
		} else if n := len(positions); n == 0 || positions[n-1] != h.Operation {
			t.Errorf("%s has no first", h.Operation)
		}
		payload, err := h.AppendPayload(nil, testID, testAt)
		if err != nil {
			return err
		}
		w, err := harmonic.Parse(payload)
		for _, u := range h.Users {
			got = append(got, fmt.Sprintf("%s %s %s", u.ID, h.Operation, w.Data))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
	return got, positions
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
