package relay

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
	"github.com/chorusd/chorusd/redisstate"
)

// sights is a view in memory: of users, whose keys are their names, the scopes
// that each is in, those in which he is soon another, and parents' rows.
type sights struct {
	users   map[mapping.UserKey]*mapping.User
	in      map[mapping.UserKey][]mapping.ScopeKey
	soon    map[mapping.UserKey][]mapping.ScopeKey
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

func (v *sights) IsSoon(u *mapping.User, scope mapping.ScopeKey) bool {
	return slices.Contains(v.soon[u.Key], scope)
}

func (v *sights) Soon(scope mapping.ScopeKey) (list []*mapping.User) {
	for _, u := range v.users {
		if v.IsSoon(u, scope) {
			list = append(list, u)
		}
	}
	return list
}

func (v *sights) AnySoon() bool { return len(v.soon) > 0 }

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
			past: func(p *past, _ *sights) { p.crossed(1, "team:9", "2", false) },
		},
		{
			about: "somebody left the team", gone: "2",
			past: func(p *past, _ *sights) { p.crossed(1, "team:3", "2", false) },
		},
		{
			about: "somebody left it and is back", come: "1",
			past: func(p *past, _ *sights) {
				p.crossed(1, "team:3", "1", false)
				p.crossed(2, "team:3", "1", true)
			},
		},
		{
			about: "somebody was in it for a time", gone: "2",
			past: func(p *past, _ *sights) {
				p.crossed(1, "team:3", "2", true)
				p.crossed(2, "team:3", "2", false)
			},
		},
		{
			about: "whether somebody joined or left, nobody knows", gone: "2", come: "1",
			past: func(p *past, _ *sights) {
				p.doubt("team:3", "1")
				p.doubt("team:3", "2")
			},
		},
		{
			about: "somebody joined it", come: "1",
			past: func(p *past, _ *sights) { p.crossed(1, "team:3", "1", true) },
		},
		{
			about: "somebody left and the filter hides the row", where: `kind == "news" and user.role == "admin"`,
			past: func(p *past, _ *sights) { p.crossed(1, "team:3", "2", false) }, nothing: true,
		},
		{
			about: "somebody left who was in the role", where: `user.role == "admin"`, gone: "2",
			past: func(p *past, _ *sights) {
				p.crossed(1, "team:3", "2", false)
				p.had(2, "2", []filter.Value{filter.OfText("admin")})
			},
		},
		{
			about: "somebody was in the role before he was in the team", where: `user.role == "admin"`, nothing: true,
			past: func(p *past, _ *sights) {
				p.had(1, "2", []filter.Value{filter.OfText("admin")})
				p.crossed(2, "team:3", "2", true)
				p.crossed(3, "team:3", "2", false)
			},
		},
		{
			about: "somebody in the team was in the role, and who is in it is told again", where: `user.role == "admin"`, gone: "4",
			past: func(p *past, v *sights) {
				v.connect("4", "dev", "team:3")
				p.had(1, "4", []filter.Value{filter.OfText("admin")})
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
				p.led(1, parentOf(posts, "5"), leading("7"))
			},
		},
		{
			about: "the post moved, and then the thread that it was in, and the one that it is in", gone: "2 4", come: "1",
			past: func(p *past, v *sights) {
				v.parents[parentOf(threads, "7")] = leading("10")
				v.in["2"] = []mapping.ScopeKey{"team:9"}
				v.connect("4", "dev", "team:11")
				v.connect("5", "dev", "team:10") // to which the thread went when the post was elsewhere
				p.led(1, parentOf(posts, "5"), leading("7"))
				p.led(2, parentOf(threads, "7"), leading("9"))
				p.led(3, parentOf(threads, "8"), leading("11"))
			},
		},
		{
			about: "who was in the team of the thread that the post was in has left", gone: "2", come: "1",
			past: func(p *past, v *sights) {
				v.parents[parentOf(threads, "7")] = leading("9")
				p.led(1, parentOf(posts, "5"), leading("7"))
				p.crossed(2, "team:9", "2", false)
			},
		},
		{
			about: "who joined the team of the thread that the post was in came too late", come: "1",
			past: func(p *past, v *sights) {
				v.parents[parentOf(threads, "7")] = leading("9")
				v.in["2"] = []mapping.ScopeKey{"team:9"}
				p.led(1, parentOf(posts, "5"), leading("7"))
				p.crossed(2, "team:9", "2", true)
			},
		},
		{
			about: "there was no post", come: "1",
			past: func(p *past, _ *sights) { p.led(1, parentOf(posts, "5"), mapping.Parent{}) },
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
			past: func(p *past, _ *sights) { p.crossed(1, "team:3", "2", false) },
		},
	} {
		t.Run(c.about, func(t *testing.T) {
			m := notesMapper(t, c.where)
			v := noteSights(now)
			v.connect("3", "dev", "team:99")
			r := &Relay{mapper: m, past: newPast(0), timers: newTimers(now.Add(-c.late))}
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
					sure, err := r.pastOf(plan, row, v).surelyHas(plan, row, u, variant)
					if want := !strings.Contains(c.come, string(u.Key)); err != nil || sure != want {
						t.Errorf("a refill is sure that user %s has it: %v, want %v (%v)", u.Key, sure, want, err)
					}
					continue
				}
				had, err := r.pastOf(plan, row, v).had(plan, row, u)
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
			r := &Relay{mapper: m, past: newPast(0), timers: newTimers(now)}
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

// TestWhereaboutsOfUsersWhoAreSoonOthers: by an app's clock, which is ahead, a
// user is in the team already, or is not there any more, when a row of it is
// another one. Post 5 is of team 3, with user 1; post 6 of team 9, with 2 and 4;
// post 8 of team 10, with 4; post 7 of a team without users, as 5 is in none.
func TestWhereaboutsOfUsersWhoAreSoonOthers(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const from = "expires_at == nil or expires_at <= now"
	teams := func(user mapping.UserKey, scopes ...mapping.ScopeKey) map[mapping.UserKey][]mapping.ScopeKey {
		return map[mapping.UserKey][]mapping.ScopeKey{user: scopes}
	}
	for _, c := range []struct {
		about         string
		soon, later   map[mapping.UserKey][]mapping.ScopeKey // before the transaction, and after it
		before, after string                                 // the row's post; empty: there is no row
		timed         bool                                   // the row is of soon as well
		left          mapping.UserKey                        // the team, while a refill for it is pending
		moved         bool                                   // post 5, from another thread of the team, while a refill for that is pending
		joined        mapping.UserKey                        // that team, after the post has moved to nobody's while a refill for that is pending
		gone, come    string
	}{
		{about: "the row is gone", soon: teams("2", "team:3"), before: "5", gone: "2"},
		{about: "it goes with the membership", soon: teams("2", "team:3"), later: teams(""), before: "5", gone: "2"},
		{about: "it is there", soon: teams("2", "team:3"), before: "5", after: "5"},
		{about: "it moves to nobody's", soon: teams("2", "team:3"), before: "5", after: "7", gone: "2"},
		{about: "it moves to where the user soon is, too", soon: teams("5", "team:3", "team:9"), before: "5", after: "6"},
		{about: "it moves to where the user is", soon: teams("2", "team:3"), before: "5", after: "6", come: "2"},
		{about: "the membership is none any more", soon: teams("2", "team:3"), later: teams(""), before: "5", after: "5", gone: "2"},
		{about: "the user was in the other team alone", soon: teams("2", "team:10"), before: "5"},
		{about: "the user is soon nobody, and the row moves to where he stays", soon: teams("4", "team:9"), before: "6", after: "8", come: "4"},
		{about: "the row is of soon as well, and is gone", soon: teams("2", "team:3"), before: "5", timed: true, gone: "1 2"},
		{about: "the row is of soon as well", soon: teams("2", "team:3"), before: "5", timed: true, after: "5"},
		{about: "somebody has just left, and the row is of soon", left: "4", before: "5", timed: true, after: "5", gone: "4"},
		{about: "the post has moved", soon: teams("2", "team:10"), moved: true, before: "5", after: "5"},
		{about: "the post has moved, and the user is soon nobody", soon: teams("1", "team:3"), moved: true, before: "5", after: "5", come: "1"},
		{about: "the post has moved away, and then it was time", joined: "2", before: "7", after: "7", gone: "1 2"},
		{about: "somebody has just left as well", soon: teams("2", "team:3"), left: "4", before: "5", gone: "2 4"},
	} {
		t.Run(c.about, func(t *testing.T) {
			m := notesMapper(t, from)
			view := func(soon map[mapping.UserKey][]mapping.ScopeKey) *sights {
				v := &sights{users: map[mapping.UserKey]*mapping.User{}, in: map[mapping.UserKey][]mapping.ScopeKey{}, soon: soon, now: now, parents: map[mapping.ParentRef]mapping.Parent{
					parentOf(posts, "5"): leading("5"), parentOf(threads, "5"): leading("3"),
					parentOf(threads, "15"): leading("3"),
					parentOf(posts, "6"):    leading("6"), parentOf(threads, "6"): leading("9"),
					parentOf(posts, "7"): leading("7"), parentOf(threads, "7"): leading("99"),
					parentOf(posts, "8"): leading("8"), parentOf(threads, "8"): leading("10"),
				}}
				v.connect("1", "admin", "team:3")
				v.connect("2", "dev", "team:9")
				v.connect("4", "dev", "team:10", "team:9")
				v.connect("5", "dev")
				return v
			}
			still := c.later == nil
			if still {
				c.later = c.soon
			}
			image := func(post string, v *sights) imageOf {
				if post == "" {
					return imageOf{nil, v}
				}
				values := [][]byte{[]byte("1"), []byte(post), []byte("x"), nil}
				if c.timed {
					values[3] = []byte("2026-11-23 12:00:01")
				}
				return imageOf{binlog.TextRow(notes, values), v}
			}
			r := &Relay{mapper: m, past: newPast(0), timers: newTimers(now)}
			r.timers.add("notes")
			if c.left != "" {
				r.past.crossed(1, "team:3", c.left, false)
			}
			if c.joined != "" {
				r.past.led(1, parentOf(posts, "7"), leading("5"))
				r.past.membership(2, audience.Membership{User: &mapping.User{Key: c.joined}, Scope: "team:3", Gained: true, Soon: true})
			}
			if c.moved {
				r.past.led(1, parentOf(posts, "5"), leading("15"))
			}
			plan, err := m.PlanOf("notes", notes)
			if err != nil {
				t.Fatal(err)
			}
			before, after := image(c.before, view(c.soon)), image(c.after, view(c.later))
			w, _, err := r.whereabouts(plan, before, after)
			if err != nil {
				t.Fatal(err)
			}
			if gone, come := names(w.gone), names(w.come); gone != c.gone || come != c.come {
				t.Errorf("gone from %q and come to %q, want %q and %q", gone, come, c.gone, c.come)
			}
			if !still || c.before != c.after {
				return
			}
			for _, u := range after.view.(*sights).users {
				if sees, _, err := plan.Judge(after.row, after.view, u); sees || err != nil {
					continue
				}
				gone, err := r.isGone(plan, before.row, r.pastOf(plan, before.row, before.view), after, u)
				if want := strings.Contains(c.gone, string(u.Key)); err != nil || gone != want {
					t.Errorf("a refill takes user %s for one who may have it, and is to be told: %v, want %v (%v)", u.Key, gone, want, err)
				}
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

// TestRemember: what jobs of an earlier run say of parents is known in the order
// in which they changed, in whichever order the jobs are; and counting goes on.
func TestRemember(t *testing.T) {
	r := &Relay{past: newPast(0), mapper: notesMapper(t, "")}
	ref := parentOf(posts, "5")
	for _, change := range []uint64{6, 5} {
		moved := moved([]audience.ParentChange{{Ref: ref, Was: leading(strconv.FormatUint(change, 10))}}, change)
		r.remember([]redisstate.JobItem{{RecordKey: selection{Parents: moved[0]}.item("")}}, []string{whoever})
	}
	want := former[mapping.Parent]{{5, leading("5")}, {6, leading("6")}}
	if got := r.past.parents[ref]; !reflect.DeepEqual(got, want) || r.past.changes != 6 {
		t.Errorf("the parent was %v, and the last change is %d; want %v and 6", got, r.past.changes, want)
	}
}

// TestPastView: of the parents that a judgement comes upon, all are as they were
// at one moment, and moments are left out at which only others changed.
func TestPastView(t *testing.T) {
	p := newPast(0)
	v := &sights{parents: map[mapping.ParentRef]mapping.Parent{}}
	for _, id := range []string{"1", "2", "3"} {
		v.parents[parentOf(posts, id)] = leading("0")
	}
	p.led(4, parentOf(posts, "1"), leading("2"))
	p.led(1, parentOf(posts, "1"), leading("1")) // a later one may be known first
	p.led(4, parentOf(posts, "1"), leading("3")) // is known
	p.led(2, parentOf(posts, "2"), leading("1"))
	p.led(4, parentOf(posts, "2"), leading("2"))
	p.led(3, parentOf(posts, "4"), leading("1")) // nobody looks at it
	told := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		clock time.Time
		want  []string
	}{
		{time.Time{}, []string{"0 0 0 0", "2 2 0 2", "2 1 0 2", "1 1 0 1"}},
		{told, []string{"0 0 0 0", "2 2 0 2", "2 1 0 2", "1 1 0 1", "0 0 0 0 told", "2 2 0 2 told", "2 1 0 2 told", "1 1 0 1 told"}},
	} {
		w := &pastView{View: v, past: p, clock: c.clock}
		for range 2 { // it can begin again
			w.begin(false, false)
			var got []string
			for more := true; more; more = w.next() {
				var values []string
				for _, id := range []string{"1", "2", "3", "1"} {
					parent, _ := w.Parent(parentOf(posts, id))
					values = append(values, parent.Values[0])
				}
				if w.Now().Equal(told) {
					values = append(values, "told")
				}
				got = append(got, strings.Join(values, " "))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		}
	}
}
