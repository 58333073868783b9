package relay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// sights is a view in memory: of users, whose keys are their names, the scopes
// that each is in, and parents' rows.
type sights struct {
	users   map[mapping.UserKey]*mapping.User
	in      map[mapping.UserKey][]mapping.ScopeKey
	parents map[mapping.ParentRef]mapping.Parent
	now     time.Time
}

func (v *sights) User(key mapping.UserKey) *mapping.User { return v.users[key] }
func (v *sights) UserAt(key mapping.UserKey, _ *mapping.Spot) *mapping.User {
	return v.User(key)
}
func (v *sights) Everyone(string) []*mapping.User { return nil }
func (v *sights) Now() time.Time                  { return v.now }

func (v *sights) IsMember(u *mapping.User, scope mapping.ScopeKey) bool {
	return slices.Contains(v.in[u.Key], scope)
}

func (v *sights) Members(scope mapping.ScopeKey, _ *mapping.Spot) (list []*mapping.User) {
	for _, u := range v.users {
		if v.IsMember(u, scope) {
			list = append(list, u)
		}
	}
	return list
}

func (v *sights) Parent(ref mapping.ParentRef) (mapping.Parent, bool) {
	p, known := v.parents[ref]
	return p, known
}

// connect adds a user of a role with scopes.
func (v *sights) connect(key, role string, scopes ...mapping.ScopeKey) {
	u := &mapping.User{Slot: len(v.users), Channels: []string{"private-chorus.user." + key}, Key: mapping.UserKey(key), ID: key}
	u.Subject = filter.User{ID: filter.OfInt(int64(u.Slot)), Attributes: []filter.Value{filter.OfText(role)}}
	v.users[u.Key], v.in[u.Key] = u, scopes
}

// notes are rows that hang on posts, which hang on threads, which are a team's.
var (
	notes = &binlog.Table{
		Name: binlog.TableName{Schema: "app", Table: "notes"},
		Columns: []binlog.Column{
			{Name: "id", Kind: binlog.Integer},
			{Name: "post_id", Kind: binlog.Integer},
			{Name: "kind", Kind: binlog.Text, Charset: "utf8mb4"},
			{Name: "expires_at", Kind: binlog.DateTime, Nullable: true},
		},
		Key: []int{0}, Unique: [][]int{{0}},
	}
	posts   = related("posts", "thread_id")
	threads = related("threads", "team_id")
	members = &binlog.Table{
		Name:    binlog.TableName{Schema: "app", Table: "team_user"},
		Columns: []binlog.Column{{Name: "team_id", Kind: binlog.Integer}, {Name: "user_id", Kind: binlog.Integer}},
		Key:     []int{0, 1}, Unique: [][]int{{0, 1}},
	}
	people = &binlog.Table{
		Name:    binlog.TableName{Schema: "app", Table: "users"},
		Columns: []binlog.Column{{Name: "id", Kind: binlog.Integer}, {Name: "role", Kind: binlog.Text, Charset: "utf8mb4"}},
		Key:     []int{0}, Unique: [][]int{{0}},
	}
)

func related(name, column string) *binlog.Table {
	return &binlog.Table{
		Name:    binlog.TableName{Schema: "app", Table: name},
		Columns: []binlog.Column{{Name: "id", Kind: binlog.Integer}, {Name: column, Kind: binlog.Integer}},
		Key:     []int{0}, Unique: [][]int{{0}},
	}
}

func parentOf(t *binlog.Table, id string) mapping.ParentRef {
	return mapping.ParentRef{Table: t.Name, Key: "[" + id + "]"}
}

// leading is a parent's row that leads to a key.
func leading(to string) mapping.Parent { return mapping.Parent{Exists: true, Values: []string{to}} }

// TestWhereabouts: who is told of a row, by what was while refills are pending.
func TestWhereabouts(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		about      string
		where      string
		expires    string
		late       time.Duration // of what everybody was told, behind now
		past       func(*past, *sights)
		gone, come string
		nothing    bool
	}{
		{about: "nothing was otherwise", past: func(*past, *sights) {}, nothing: true},
		{
			about: "somebody left another team", nothing: true,
			past: func(p *past, _ *sights) { p.crossed("team:9", "2", false) },
		},
		{
			about: "somebody left the team", gone: "2",
			past: func(p *past, _ *sights) { p.crossed("team:3", "2", false) },
		},
		{
			about: "somebody left it and is back", nothing: true,
			past: func(p *past, _ *sights) { p.crossed("team:3", "1", false) },
		},
		{
			about: "somebody joined it", come: "1",
			past: func(p *past, _ *sights) { p.crossed("team:3", "1", true) },
		},
		{
			about: "somebody left and the filter hides the row", where: `kind == "news" and user.role == "admin"`,
			past: func(p *past, _ *sights) { p.crossed("team:3", "2", false) }, nothing: true,
		},
		{
			about: "somebody left who was in the role", where: `user.role == "admin"`, gone: "2",
			past: func(p *past, _ *sights) {
				p.crossed("team:3", "2", false)
				p.had("2", []filter.Value{filter.OfText("admin")})
			},
		},
		{
			about: "somebody in the team was in the role, and who is in it is told again", where: `user.role == "admin"`, gone: "4",
			past: func(p *past, v *sights) {
				v.connect("4", "dev", "team:3")
				p.had("4", []filter.Value{filter.OfText("admin")})
			},
		},
		{
			about: "nobody knows in which role somebody was", where: `user.role == "admin"`, gone: "4",
			past: func(p *past, v *sights) {
				v.connect("4", "dev", "team:3")
				p.unknown["4"], p.unknown["2"] = true, true // 2 was never in the team
			},
		},
		{
			about: "the post was in another team's thread", gone: "2", come: "1",
			past: func(p *past, v *sights) {
				v.parents[parentOf(threads, "7")] = leading("9")
				v.in["2"] = []mapping.ScopeKey{"team:9"}
				p.led(parentOf(posts, "5"), leading("7"))
			},
		},
		{
			about: "the post moved, and then the thread that it was in, and the one that it is in", gone: "2 4", come: "1",
			past: func(p *past, v *sights) {
				v.parents[parentOf(threads, "7")] = leading("10")
				v.in["2"] = []mapping.ScopeKey{"team:9"}
				v.connect("4", "dev", "team:11")
				v.connect("5", "dev", "team:12")
				p.led(parentOf(posts, "5"), leading("7"))
				p.led(parentOf(threads, "7"), leading("9"))
				p.led(parentOf(threads, "8"), leading("11"))
			},
		},
		{
			about: "who was in the team of the thread that the post was in has left", gone: "2", come: "1",
			past: func(p *past, v *sights) {
				v.parents[parentOf(threads, "7")] = leading("9")
				p.led(parentOf(posts, "5"), leading("7"))
				p.crossed("team:9", "2", false)
			},
		},
		{
			about: "there was no post", come: "1",
			past: func(p *past, _ *sights) { p.led(parentOf(posts, "5"), mapping.Parent{}) },
		},
		{
			about: "the clock has passed the row's end", where: "expires_at > now", expires: "2026-11-23 11:59:59", gone: "1", late: 2 * time.Second,
			past: func(*past, *sights) {},
		},
		{
			about: "and had passed it before", where: "expires_at > now", expires: "2026-11-23 11:59:59", late: time.Second / 2, nothing: true,
			past: func(*past, *sights) {},
		},
		{
			about: "the clock has passed the row's end, and before that one has left the team", where: "expires_at > now", expires: "2026-11-23 11:59:59",
			late: 2 * time.Second, gone: "1 2",
			past: func(p *past, _ *sights) { p.crossed("team:3", "2", false) },
		},
	} {
		t.Run(c.about, func(t *testing.T) {
			m := notesMapper(t, c.where)
			v := noteSights(now)
			v.connect("3", "dev", "team:99")
			r := &Relay{mapper: m, past: newPast(), timers: newTimers(now.Add(-c.late))}
			r.timers.add("notes")
			r.timers.tick(now)
			c.past(r.past, v)
			plan, err := m.PlanOf("notes", notes)
			if err != nil {
				t.Fatal(err)
			}
			var expires []byte
			if c.expires != "" {
				expires = []byte(c.expires)
			}
			row := binlog.TextRow(notes, [][]byte{[]byte("1"), []byte("5"), []byte("x"), expires})
			refs, err := r.pastNeeds(nil, plan, row, v)
			if err != nil || len(refs) > 0 {
				t.Fatalf("the parents %v are to be known, %v", refs, err)
			}
			w, ok, err := r.whereabouts(plan, imageOf{row, v}, imageOf{row, v})
			if err != nil {
				t.Fatal(err)
			}
			if gone, come := names(w.gone), names(w.come); ok == c.nothing || gone != c.gone || come != c.come {
				t.Errorf("told: %v; gone from %q and come to %q, want %q and %q", ok, gone, come, c.gone, c.come)
			}
			for _, u := range v.users {
				sees, variant, err := plan.Judge(row, v, u)
				if err != nil {
					t.Fatal(err)
				}
				if sees {
					sure, err := r.surelyHas(plan, row, v, u, variant)
					if want := !strings.Contains(c.come, string(u.Key)); err != nil || sure != want {
						t.Errorf("a refill is sure that user %s has it: %v, want %v (%v)", u.Key, sure, want, err)
					}
					continue
				}
				had, err := r.hadIt(plan, row, v, u)
				if want := strings.Contains(c.gone, string(u.Key)); err != nil || had != want {
					t.Errorf("a refill takes user %s for one who may have it: %v, want %v (%v)", u.Key, had, want, err)
				}
			}
		})
	}
}

// TestWhereaboutsOfRowsThatAnAppReadsBefore: an app whose clock is ahead has
// shown a row, which is another one, or gone, before it is time.
func TestWhereaboutsOfRowsThatAnAppReadsBefore(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const from, until = "expires_at <= now", "expires_at > now"
	for _, c := range []struct {
		about, where  string
		before, after string // when its time is; empty: there is no row
		gone, come    string
		nothing       bool
	}{
		{about: "it is gone", where: from, before: "2026-11-23 12:00:01", gone: "1"},
		{about: "it is put off", where: from, before: "2026-11-23 12:00:01", after: "2026-11-23 13:00:00", gone: "1"},
		{about: "it is soon as well", where: from, before: "2026-11-23 12:00:01", after: "2026-11-23 12:00:02"},
		{about: "it is there", where: from, before: "2026-11-23 12:00:01", after: "2026-11-23 12:00:00", come: "1"},
		{about: "it was not to be seen soon", where: from, before: "2026-11-23 12:00:03", nothing: true},
		{about: "it has ended for the app", where: until, before: "2026-11-23 12:00:01", after: "2026-11-23 13:00:00", come: "1"},
	} {
		t.Run(c.about, func(t *testing.T) {
			m := notesMapper(t, c.where)
			v := noteSights(now)
			r := &Relay{mapper: m, past: newPast(), timers: newTimers(now)}
			r.timers.add("notes")
			plan, err := m.PlanOf("notes", notes)
			if err != nil {
				t.Fatal(err)
			}
			image := func(at string) imageOf {
				if at == "" {
					return imageOf{nil, v}
				}
				return imageOf{binlog.TextRow(notes, [][]byte{[]byte("1"), []byte("5"), []byte("x"), []byte(at)}), v}
			}
			w, ok, err := r.whereabouts(plan, image(c.before), image(c.after))
			if err != nil {
				t.Fatal(err)
			}
			if gone, come := names(w.gone), names(w.come); ok == c.nothing || gone != c.gone || come != c.come {
				t.Errorf("told: %v; gone from %q and come to %q, want %q and %q", ok, gone, come, c.gone, c.come)
			}
		})
	}
}

// noteSights is a view in which note 1 hangs on post 5, that on thread 8, and
// that is team 3's, of whom user 1 is one and user 2 is none.
func noteSights(now time.Time) *sights {
	v := &sights{users: map[mapping.UserKey]*mapping.User{}, in: map[mapping.UserKey][]mapping.ScopeKey{}, now: now, parents: map[mapping.ParentRef]mapping.Parent{
		parentOf(posts, "5"): leading("8"), parentOf(threads, "8"): leading("3"),
	}}
	v.connect("1", "admin", "team:3")
	v.connect("2", "dev")
	return v
}

// notesMapper maps notes for those of the team that their path leads to.
func notesMapper(t *testing.T, where string) *mapping.Mapper {
	t.Helper()
	m, problems := mapping.New(mapping.Config{
		UserChannel: "chorus.user.{id}",
		Users:       mapping.Users{Source: "users", Key: "id", Attributes: []string{"role"}},
		Scopes:      map[string]mapping.Scope{"team": {Members: []mapping.Members{{Source: "team_user", Scope: "team_id", User: "user_id"}}}},
		Tables: map[string]mapping.Table{"notes": {
			Fields: []string{"id", "kind"}, Where: where,
			VisibleTo: mapping.AnyOf("team:{post_id -> posts.thread_id -> threads.team_id}"),
		}},
	}, "app", time.UTC)
	tables := map[binlog.TableName]*binlog.Table{}
	for _, t := range []*binlog.Table{notes, posts, threads, members, people} {
		tables[t.Name] = t
	}
	for _, p := range append(problems, m.Check(tables)...) {
		t.Fatal(p)
	}
	return m
}

// names are the users' keys, in order.
func names(users []*mapping.User) string {
	var list []string
	for _, u := range users {
		list = append(list, string(u.Key))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// TestPastView: of each parent that a judgement comes upon, every state is
// taken with every one of the others, and of no other parent.
func TestPastView(t *testing.T) {
	p := newPast()
	v := &sights{parents: map[mapping.ParentRef]mapping.Parent{}}
	for _, id := range []string{"1", "2", "3"} {
		v.parents[parentOf(posts, id)] = leading("0")
	}
	p.led(parentOf(posts, "1"), leading("1"))
	p.led(parentOf(posts, "1"), leading("2"))
	p.led(parentOf(posts, "1"), leading("2")) // once
	p.led(parentOf(posts, "2"), leading("1"))
	p.led(parentOf(posts, "4"), leading("1"))
	var got []string
	for w, first := (&pastView{View: v, past: p, wide: true}), true; first || w.next(); first = false {
		var values []string
		for _, id := range []string{"1", "2", "3", "1"} {
			parent, _ := w.Parent(parentOf(posts, id))
			values = append(values, parent.Values[0])
		}
		got = append(got, strings.Join(values, " "))
	}
	want := []string{"0 0 0 0", "0 1 0 0", "1 0 0 1", "1 1 0 1", "2 0 0 2", "2 1 0 2"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
