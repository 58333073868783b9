package mapping_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// view is a View that a test fills in.
type view struct {
	mapper  *mapping.Mapper
	users   mapping.Index[mapping.UserKey, mapping.User]
	members mapping.Index[mapping.ScopeKey, []*mapping.User]
	parents map[mapping.ParentRef]mapping.Parent
	now     time.Time
}

func newView(m *mapping.Mapper) *view {
	return &view{
		mapper: m, users: mapping.NewIndex[mapping.UserKey, mapping.User](),
		members: mapping.NewIndex[mapping.ScopeKey, []*mapping.User](), parents: map[mapping.ParentRef]mapping.Parent{},
		now: testAt,
	}
}

// connect adds a user, who is a member of the scopes.
func (v *view) connect(t testing.TB, key mapping.UserKey, attributes []filter.Value, scopes ...mapping.ScopeKey) {
	t.Helper()
	u, err := v.mapper.NewUser(key, attributes)
	if err != nil {
		t.Fatal(err)
	}
	u.Slot = v.users.Len()
	v.users.Put(key, u)
	for _, s := range scopes {
		list := append(v.Members(s, nil), u)
		v.members.Put(s, &list)
	}
}

func (v *view) User(key mapping.UserKey) *mapping.User { return v.users.Get(key, nil) }

func (v *view) UserAt(key mapping.UserKey, at *mapping.Spot) *mapping.User {
	return v.users.Get(key, at)
}

func (v *view) Members(key mapping.ScopeKey, at *mapping.Spot) []*mapping.User {
	if list := v.members.Get(key, at); list != nil {
		return *list
	}
	return nil
}

func (v *view) Everyone(tenant string) []*mapping.User {
	var list []*mapping.User
	for _, u := range v.users.All() {
		if u.Tenant == tenant {
			list = append(list, u)
		}
	}
	return list
}

func (v *view) IsMember(u *mapping.User, key mapping.ScopeKey) bool {
	return slices.Contains(v.Members(key, nil), u)
}

func (v *view) Parent(ref mapping.ParentRef) (mapping.Parent, bool) {
	p, ok := v.parents[ref]
	return p, ok
}

func (v *view) Now() time.Time { return v.now }

// routed are the harmonics of a change, as "create [7] to 1, 2: {data}". Those
// that share the position of the one before begin with "+".
func routed(t testing.TB, m *mapping.Mapper, c *binlog.Change, old, now mapping.View) []string {
	t.Helper()
	var lines []string
	_, err := m.Route(c, old, now, func(h *mapping.Harmonic) error {
		payload, err := h.AppendPayload(nil, testID, testAt)
		if err != nil {
			return err
		}
		w, err := harmonic.Parse(payload)
		if err != nil {
			return err
		}
		var to []string
		for _, u := range h.Users {
			to = append(to, string(u.Key))
		}
		slices.Sort(to)
		for _, name := range h.Shared {
			to = append(to, "#"+strings.TrimPrefix(name, "private-"))
		}
		for _, name := range h.Absent {
			to = append(to, "?"+strings.TrimPrefix(name, "private-"))
		}
		line := fmt.Sprintf("%s %s to %s", h.Operation, w.RecordID, strings.Join(to, " "))
		if len(to) > 0 {
			line += ": " + string(w.Data)
		}
		if !h.First {
			line = "+" + line
		}
		if h.First && len(h.Streams) == 0 || !h.First && len(h.Streams) > 0 {
			line += fmt.Sprintf(" in %d streams", len(h.Streams))
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func changeOf(table *binlog.Table, before, after []string) *binlog.Change {
	c := &binlog.Change{Kind: binlog.Update}
	if before != nil {
		c.Before = row(table, before...)
	} else {
		c.Kind = binlog.Insert
	}
	if after != nil {
		c.After = row(table, after...)
	} else {
		c.Kind = binlog.Delete
	}
	return c
}

// scoped is a configuration with two membership scopes and attributes.
func scoped(table mapping.Table) mapping.Config {
	return mapping.Config{
		UserChannel: userTemplate,
		Users:       mapping.Users{Source: "users", Key: "id", Attributes: []string{"role", "region"}},
		Scopes: map[string]mapping.Scope{
			"team":     {Members: []mapping.Members{{Source: "team_user", Scope: "team_id", User: "user_id"}}},
			"platform": {Members: []mapping.Members{{Source: "platform_user", Scope: "platform_id", User: "user_id"}}},
		},
		Masks:  mapping.Masks{Secret: "s"},
		Tables: map[string]mapping.Table{"todos": table},
	}
}

func mapperOf(t testing.TB, cfg mapping.Config) *mapping.Mapper {
	t.Helper()
	m, wrong := mapping.New(cfg, "app", time.UTC)
	if len(wrong) > 0 {
		t.Fatal(texts(wrong))
	}
	return m
}

func text(values ...string) []filter.Value {
	list := make([]filter.Value, len(values))
	for i, v := range values {
		list[i] = filter.OfText(v)
	}
	return list
}

func TestRoute(t *testing.T) {
	table := tableOf("todos", "id", "owner_id", "team_id", "platform_id", "title", "region", "salary", "email")
	base := []string{"1", "7", "3", "5", "tea", "eu", "100", "ann@example.com"}
	change := func(column int, value string) []string {
		out := slices.Clone(base)
		out[column] = value
		return out
	}
	type rule = func(*mapping.Table)
	visible := func(alternatives ...mapping.Alternative) rule {
		return func(t *mapping.Table) { t.VisibleTo = alternatives }
	}
	one := func(entries ...string) mapping.Alternative { return entries }
	cases := []struct {
		name          string
		rule          rule
		before, after []string
		want          []string
	}{
		{"members", visible(one("team:{team_id}")), nil, base, []string{`create 1 to 1 2: {"id":1,"title":"tea"}`}},
		{"members of none", visible(one("team:{team_id}")), nil, change(2, "4"), []string{`create 1 to `}},
		{"a key that is NULL", visible(one("team:{team_id}")), nil, change(2, "NULL"), nil},
		{"a title", visible(one("team:{team_id}")), change(4, "coffee"), base, []string{`update 1 to 1 2: {"id":1,"title":"tea"}`}},
		{"nothing that clients get", visible(one("team:{team_id}")), change(6, "7"), base, nil},
		{"another team", visible(one("team:{team_id}")), change(2, "9"), base, []string{
			`delete 1 to 3: {"id":1,"title":"tea"}`, `create 1 to 1: {"id":1,"title":"tea"}`,
		}},
		{"another team and title", visible(one("team:{team_id}")), []string{"1", "7", "9", "5", "coffee", "eu", "100", ""}, base, []string{
			`delete 1 to 3: {"id":1,"title":"coffee"}`, `update 1 to 2: {"id":1,"title":"tea"}`, `create 1 to 1: {"id":1,"title":"tea"}`,
		}},
		{"any of", visible(one("team:{team_id}"), one("platform:{platform_id}"), one("user:{owner_id}")), nil, base, []string{
			`create 1 to 1 2 4 7: {"id":1,"title":"tea"}`,
		}},
		{"all of", visible(one("team:{team_id}", "platform:{platform_id}")), nil, base, []string{`create 1 to 2: {"id":1,"title":"tea"}`}},
		{"all of, one lost", visible(one("team:{team_id}", "platform:{platform_id}")), base, change(3, "6"), []string{
			`delete 1 to 2: {"id":1,"title":"tea"}`, `create 1 to `,
		}},
		{"all of, a user", visible(one("user:{owner_id}", "team:{team_id}")), nil, change(1, "2"), []string{`create 1 to 2: {"id":1,"title":"tea"}`}},
		{"all of, a user of another", visible(one("user:{owner_id}", "team:{team_id}")), nil, base, []string{`create 1 to `}},
		{"public", visible(one("public")), base, nil, []string{`delete 1 to 1 2 3 4 7: {"id":1,"title":"tea"}`}},
		{"public and a scope", visible(one("public", "team:{team_id}")), nil, base, []string{`create 1 to 1 2: {"id":1,"title":"tea"}`}},
		{"shared", visible(one("channel:team.{team_id}"), one("team:{team_id}")), nil, base, []string{`create 1 to 1 2 #team.3: {"id":1,"title":"tea"}`}},
		{"shared, moved", visible(one("channel:team.{team_id}")), base, change(2, "4"), []string{
			`delete 1 to #team.3: {"id":1,"title":"tea"}`, `create 1 to #team.4: {"id":1,"title":"tea"}`,
		}},
		{"own, absent", visible(one("user:{owner_id}")), nil, change(1, "8"), []string{`create 1 to ?chorus.user.8: {"id":1,"title":"tea"}`}},
		{"own, from one to another", visible(one("user:{owner_id}")), base, change(1, "8"), []string{
			`delete 1 to 7: {"id":1,"title":"tea"}`, `create 1 to ?chorus.user.8: {"id":1,"title":"tea"}`,
		}},
		{"another key", visible(one("team:{team_id}")), base, change(0, "2"), []string{
			`delete 1 to 1 2: {"id":1,"title":"tea"}`, `create 2 to 1 2: {"id":2,"title":"tea"}`,
		}},

		{"filtered", func(r *mapping.Table) { r.Where = `title != "tea"` }, nil, base, nil},
		{"into the filter", func(r *mapping.Table) { r.Where = `title == "tea"` }, change(4, "coffee"), base, []string{`create 1 to 1 2: {"id":1,"title":"tea"}`}},
		{"out of the filter", func(r *mapping.Table) { r.Where = `title == "coffee"` }, change(4, "coffee"), base, []string{`delete 1 to 1 2: {"id":1,"title":"coffee"}`}},
		{"filtered by attribute", func(r *mapping.Table) { r.Where = `user.region == region` }, nil, base, []string{`create 1 to 1: {"id":1,"title":"tea"}`}},
		{"moved by attribute", func(r *mapping.Table) { r.Where = `user.region == region` }, base, change(5, "us"), []string{
			`delete 1 to 1: {"id":1,"title":"tea"}`, `create 1 to 2: {"id":1,"title":"tea"}`,
		}},
		{"filtered by key", func(r *mapping.Table) { r.Where = `user.id == owner_id` }, nil, change(1, "2"), []string{`create 1 to 2: {"id":1,"title":"tea"}`}},

		{"variants", func(r *mapping.Table) {
			r.Fields = []string{"id", "salary"}
			r.Columns = map[string]mapping.Column{"salary": {VisibleIf: `user.role == "hr"`}}
		}, nil, base, []string{`create 1 to 1: {"id":1,"salary":"100"}`, `+create 1 to 2: {"id":1}`}},
		{"a field that one sees", func(r *mapping.Table) {
			r.Fields = []string{"id", "salary"}
			r.Columns = map[string]mapping.Column{"salary": {VisibleIf: `user.role == "hr"`}}
		}, change(6, "50"), base, []string{`update 1 to 1: {"id":1,"salary":"100"}`}},
		{"a field that one sees from now on", func(r *mapping.Table) {
			r.Fields = []string{"id", "salary"}
			r.Columns = map[string]mapping.Column{"salary": {VisibleIf: `user.id == owner_id`}}
		}, base, change(1, "2"), []string{`update 1 to 2: {"id":1,"salary":"100"}`}},
		{"masks", func(r *mapping.Table) {
			r.Fields = []string{"id", "email"}
			r.Columns = map[string]mapping.Column{"email": {Mask: "email", UnmaskedIf: `user.role == "hr"`}}
		}, nil, base, []string{`create 1 to 1: {"id":1,"email":"ann@example.com"}`, `+create 1 to 2: {"id":1,"email":"a***@example.com"}`}},
		{"a mask that looks the same", func(r *mapping.Table) {
			r.Fields = []string{"id", "email"}
			r.Columns = map[string]mapping.Column{"email": {Mask: "email", UnmaskedIf: `user.role == "hr"`}}
		}, change(7, "amy@example.com"), base, []string{`update 1 to 1: {"id":1,"email":"ann@example.com"}`}},
		{"a mask for all", func(r *mapping.Table) {
			r.Fields = []string{"id", "email"}
			r.Columns = map[string]mapping.Column{"email": {Mask: "fixed:hidden"}}
		}, change(7, "amy@example.com"), base, []string{`update 1 to `}},
		{"renamed and made", func(r *mapping.Table) {
			r.Fields = []string{"id", "owner", "kind", "label"}
			r.Columns = map[string]mapping.Column{"owner": {Column: "owner_id"}, "kind": {Value: `"todo"`}, "label": {Value: `title + " " + upper(region)`}}
		}, nil, base, []string{`create 1 to 1 2: {"id":1,"owner":7,"kind":"todo","label":"tea EU"}`}},
		{"a value that comes out the same", func(r *mapping.Table) {
			r.Fields = []string{"id", "label"}
			r.Columns = map[string]mapping.Column{"label": {Value: `lower(title)`}}
		}, change(4, "TEA"), base, []string{`update 1 to `}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			table1 := mapping.Table{Fields: []string{"id", "title"}, VisibleTo: mapping.AnyOf("team:{team_id}")}
			c.rule(&table1)
			m := mapperOf(t, scoped(table1))
			v := newView(m)
			v.connect(t, "1", text("hr", "eu"), "team:3")
			v.connect(t, "2", text("dev", "us"), "team:3", "team:9", "platform:5")
			v.connect(t, "3", text("dev", "us"), "team:9")
			v.connect(t, "4", nil, "platform:5")
			v.connect(t, "7", nil)
			for range 2 { // the same again
				if got := routed(t, m, changeOf(table, c.before, c.after), v, v); !slices.Equal(got, c.want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
				}
			}
		})
	}
}
