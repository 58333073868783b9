package audience

import (
	"fmt"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// tableOf makes a table of integers, and of texts where a column starts with "t_".
func tableOf(schema, name string, columns ...string) *binlog.Table {
	t := integers(name, columns...)
	t.Name.Schema = schema
	for i, c := range columns {
		if c[:2] == "t_" {
			t.Columns[i].Kind, t.Columns[i].Charset = binlog.Text, "utf8mb4"
		}
	}
	return t
}

func textRow(t *binlog.Table, values ...string) *binlog.Row {
	out := make([][]byte, len(values))
	for i, v := range values {
		if v != "NULL" {
			out[i] = []byte(v)
		}
	}
	return binlog.TextRow(t, out)
}

func insert(r *binlog.Row) *binlog.Change { return &binlog.Change{Kind: binlog.Insert, After: r} }
func remove(r *binlog.Row) *binlog.Change { return &binlog.Change{Kind: binlog.Delete, Before: r} }
func update(a, b *binlog.Row) *binlog.Change {
	return &binlog.Change{Kind: binlog.Update, Before: a, After: b}
}

func newMapped(t *testing.T, cfg mapping.Config, shapes ...*binlog.Table) (*State, *mapping.Mapper) {
	t.Helper()
	m, wrong := mapping.New(cfg, "app", time.UTC)
	byName := map[binlog.TableName]*binlog.Table{}
	for _, shape := range shapes {
		byName[shape.Name] = shape
	}
	for _, w := range append(wrong, m.Check(byName)...) {
		t.Fatal(w)
	}
	return New(m, Config{}, time.Unix(1_000_000, 0)), m
}

// arrive makes a user live by one channel, with nothing read of it.
func arrive(t *testing.T, s *State, m *mapping.Mapper, channel string) *mapping.User {
	t.Helper()
	template, key, ok := m.UserOf(channel)
	if !ok {
		t.Fatalf("%s is no user's channel", channel)
	}
	l, load := s.Open(key, template, channel)
	if !load {
		t.Fatalf("user %s is known", key)
	}
	arrivals, err := s.Finish(&Loaded{users: []*loaded{{Load: l}}})
	if err != nil || len(arrivals) != 1 {
		t.Fatal(arrivals, err)
	}
	return arrivals[0].User
}

// commit applies changes as one transaction and returns the effects and notes.
func commit(t *testing.T, s *State, changes ...*binlog.Change) (Effects, string) {
	t.Helper()
	s.Begin()
	notes := ""
	for _, c := range changes {
		err := s.Apply(c, func(n Note) error {
			notes += fmt.Sprintf("%s %s;", n.User, n.Scope)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s.Commit(), notes
}

// TestChannelsByAttributes: a channel that is named by an attribute is the
// user's own only while the attribute is that.
func TestChannelsByAttributes(t *testing.T) {
	users := tableOf("app", "users", "id", "team_id", "t_role")
	todos := tableOf("app", "todos", "id", "user_id")
	s, m := newMapped(t, mapping.Config{
		UserChannel: "chorus.{team_id}.user.{id}",
		Users:       mapping.Users{Source: "users", Key: "id", Attributes: []string{"team_id", "t_role"}},
		Tables:      map[string]mapping.Table{"todos": {Fields: []string{"id"}, VisibleTo: mapping.AnyOf("user:{user_id}")}},
	}, users, todos)
	u := arrive(t, s, m, "private-chorus.3.user.7")
	if u.Channels[0] != "" {
		t.Errorf("a user without a row has the channel %q", u.Channels[0])
	}
	mine, other := textRow(users, "7", "3", "editor"), textRow(users, "7", "4", "editor")
	fx, notes := commit(t, s, insert(mine))
	if is := s.users.Get("7", nil).user; is.Channels[0] != "private-chorus.3.user.7" || len(fx.Users) != 1 || notes != "7 ;" {
		t.Errorf("the row is there, the channels are %q, the effects %+v, the notes %s", is.Channels, fx, notes)
	}
	s.Begin()
	if err := s.Apply(update(mine, other), func(Note) error { return nil }); err != nil {
		t.Fatal(err)
	}
	old, now := s.Views()
	if a, b := old.User("7").Channels[0], now.User("7").Channels[0]; a != "private-chorus.3.user.7" || b != "" {
		t.Errorf("the user's team changed: its channel was %q and is %q", a, b)
	}
	if fx := s.Commit(); len(fx.Users) != 1 || fx.Users[0].Was != old.User("7") && fx.Users[0].Is == fx.Users[0].Was {
		t.Errorf("effects %+v", fx)
	}
	if s.Open("7", 0, "private-chorus.4.user.7"); s.users.Get("7", nil).user.Channels[0] != "private-chorus.4.user.7" {
		t.Error("the channel of the new team is not the user's")
	}
	// A client of before comes again and goes, which is nothing to the new one.
	s.Open("7", 0, "private-chorus.3.user.7")
	if s.Close("7", 0, "private-chorus.3.user.7"); s.users.Get("7", nil).user.Channels[0] != "private-chorus.4.user.7" {
		t.Error("another channel took the user's")
	}
	s.Close("7", 0, "private-chorus.3.user.7")
	if s.Close("7", 0, "private-chorus.4.user.7"); s.users.Get("7", nil) != nil {
		t.Error("the user is there without a channel")
	}
}

// TestTenants: users of the same key in two tenants are two, and so are scopes.
func TestTenants(t *testing.T) {
	shapes := []*binlog.Table{
		tableOf("tenant_a", "team_user", "id", "team_id", "user_id"), tableOf("tenant_a", "todos", "id", "team_id", "user_id"),
		tableOf("tenant_b", "team_user", "id", "team_id", "user_id"), tableOf("tenant_b", "todos", "id", "team_id", "user_id"),
	}
	s, m := newMapped(t, mapping.Config{
		UserChannel: "chorus.{@tenant}.user.{id}",
		Scopes:      map[string]mapping.Scope{"team": {Members: []mapping.Members{{Source: "tenant_%.team_user", Scope: "team_id", User: "user_id"}}}},
		Tables: map[string]mapping.Table{"todos": {
			Source: "tenant_%.todos", Fields: []string{"id"}, VisibleTo: mapping.AnyOf("team:{team_id}", "user:{user_id}"),
		}},
	}, shapes...)
	a, b := arrive(t, s, m, "private-chorus.a.user.7"), arrive(t, s, m, "private-chorus.b.user.7")
	_, notes := commit(t, s, insert(textRow(shapes[0], "1", "3", "7")))
	_, now := s.Views()
	if !now.IsMember(a, "a/team:3") || now.IsMember(b, "b/team:3") || now.IsMember(b, "a/team:3") || notes != "a/7 a/team:3;" {
		t.Errorf("members of a's team: %v, of b's: %v; notes %s", now.Members("a/team:3", nil), now.Members("b/team:3", nil), notes)
	}
	if len(now.Everyone("a")) != 1 || now.Everyone("b")[0] != b || now.Members("b/public", nil)[0] != b || len(now.Everyone("")) != 0 {
		t.Errorf("everyone of a: %v, of b: %v", now.Everyone("a"), now.Everyone("b"))
	}
	l := NewLoader(func() *mapping.Mapper { return m }, func() Reader { return nil })
	if got := fmt.Sprint(l.lines[0].rules.tables("a"), withoutTenant(a.Key, a.Tenant)); got != "[tenant_a.team_user]7" {
		t.Errorf("read for a user of a: %s", got)
	}
}

// TestBoundsByTheClock: what holds is judged by the State's clock alone.
func TestBoundsByTheClock(t *testing.T) {
	members := tableOf("app", "team_user", "id", "team_id", "user_id", "expires_at")
	members.Columns[3].Kind = binlog.DateTime
	todos := tableOf("app", "todos", "id", "team_id")
	s, m := newMapped(t, mapping.Config{
		UserChannel: "chorus.user.{id}",
		Scopes: map[string]mapping.Scope{"team": {Members: []mapping.Members{
			{Source: "team_user", Scope: "team_id", User: "user_id", Where: "expires_at == nil or expires_at > now"},
		}}},
		Tables: map[string]mapping.Table{"todos": {Fields: []string{"id"}, VisibleTo: mapping.AnyOf("team:{team_id}")}},
	}, members, todos)
	u := arrive(t, s, m, "private-chorus.user.7")
	end := time.Unix(1_000_100, 0).UTC()
	ends := textRow(members, "1", "3", "7", end.Format(time.DateTime))
	later := textRow(members, "1", "3", "7", end.Add(time.Hour).Format(time.DateTime))
	past := textRow(members, "2", "4", "7", "1970-01-01 00:00:01")
	always := textRow(members, "3", "5", "7", "NULL")
	is := func(scope mapping.ScopeKey) bool {
		_, now := s.Views()
		return now.IsMember(u, scope)
	}
	fx, notes := commit(t, s, insert(ends), insert(past), insert(always))
	if !is("team:3") || is("team:4") || !is("team:5") || len(fx.Memberships) != 2 || notes != "7 team:3;7 team:5;" {
		t.Fatalf("at the start: %+v, notes %s", fx, notes)
	}
	if fx := s.Tick(end.Add(-time.Microsecond)); len(fx.Memberships) != 0 || !is("team:3") {
		t.Errorf("before the end: %+v", fx)
	}
	if fx, notes := commit(t, s, update(ends, later)); len(fx.Memberships) != 0 || notes != "" {
		t.Errorf("a later end: %+v, notes %s", fx, notes)
	}
	if fx := s.Tick(end); len(fx.Memberships) != 0 || !is("team:3") {
		t.Errorf("at the first end: %+v", fx)
	}
	if fx := s.Tick(end.Add(time.Hour)); len(fx.Memberships) != 1 || fx.Memberships[0].Gained || is("team:3") || !is("team:5") {
		t.Errorf("at the end: %+v", fx)
	}
	if fx := s.Tick(end); len(fx.Memberships) != 0 || is("team:3") {
		t.Errorf("the clock went back: %+v", fx)
	}
	if fx, notes := commit(t, s, remove(later)); len(fx.Memberships) != 0 || notes != "" {
		t.Errorf("a row that held no more is gone: %+v, notes %s", fx, notes)
	}
}

// TestRowsThatDoNotFit: a membership that goes and was never there stops.
func TestRowsThatDoNotFit(t *testing.T) {
	for _, values := range [][]int{{1, 3, 7, 1, null}, {1, 3, 7, 1, 500}} {
		s := newState(fakeRules{}, Config{}, time.UnixMicro(0))
		l, _ := s.Open("7", 1, "7")
		if _, err := s.Finish(&Loaded{users: []*loaded{{Load: l}}}); err != nil {
			t.Fatal(err)
		}
		s.Begin()
		if err := s.Apply(change(platformUser, values, nil), func(Note) error { return nil }); err == nil {
			t.Errorf("row %v was taken away", values)
		}
	}
}
