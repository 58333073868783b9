package mapping_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

func TestMemberPlans(t *testing.T) {
	table := tableOf("team_user", "id", "team_id", "user_id", "role", "until")
	table.Columns[4].Kind = binlog.DateTime
	cfg := scoped(good())
	cfg.Scopes["team"].Members[0].Where = `role in ["admin", "editor"] and (until == nil or until > now)`
	cfg.Scopes["company"] = mapping.Scope{Members: []mapping.Members{{Source: "team_user", Scope: "role", User: "user_id"}}}
	m := mapperOf(t, cfg)
	plans, err := m.MemberPlans(table)
	if err != nil || len(plans) != 2 {
		t.Fatal(plans, err)
	}
	company, team := plans[0], plans[1]
	if company.ID() == team.ID() {
		t.Errorf("both are %s", team.ID())
	}
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		plan *mapping.MemberPlan
		row  []string
		want string
	}{
		{company, []string{"1", "3", "7", `a"b`, "NULL"}, `company:"a\"b" 7`},
		{company, []string{"1", "3", "7", "NULL", "NULL"}, ``},
		{company, []string{"1", "3", "NULL", "a", "NULL"}, ``},
		{team, []string{"1", "3", "7", "admin", "NULL"}, `team:3 7`},
		{team, []string{"1", "3", "7", "reader", "NULL"}, ``},
		{team, []string{"1", "3", "7", "NULL", "NULL"}, ``},
		{team, []string{"1", "3", "7", "admin", "2026-11-22 12:00:00"}, ` until 2026-11-22T12:00:00Z`},
		{team, []string{"1", "3", "7", "admin", "2026-11-22 12:00:01"}, `team:3 7 until 2026-11-22T12:00:01Z`},
	} {
		r := row(table, c.row...)
		scope, user, ok, err := c.plan.Of(r, noon)
		got := ""
		if ok {
			got = fmt.Sprint(scope, " ", user)
		}
		if at, ok := c.plan.Crosses(r); ok {
			got += " until " + at.UTC().Format(time.RFC3339)
		}
		if got != c.want || err != nil {
			t.Errorf("%v: got %q, %v, want %q", c.row, got, err, c.want)
		}
	}
	was, is := row(table, "1", "3", "7", "admin", "NULL"), row(table, "1", "3", "7", "editor", "NULL")
	for _, c := range []struct {
		before, after *binlog.Row
		want          bool
	}{{was, is, true}, {was, was, false}, {nil, is, true}, {is, nil, true}, {was, row(table, "2", "3", "7", "admin", "NULL"), false}} {
		if got := team.Decisive(&binlog.Change{Before: c.before, After: c.after}); got != c.want {
			t.Errorf("a change is decisive: %v", got)
		}
	}
}

func TestUsers(t *testing.T) {
	cfg := scoped(mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("user:{user_id}")})
	cfg.UserChannel = "chorus.{role}.user.{id}"
	m := mapperOf(t, cfg)
	const channel = "private-chorus.admin.user.7"
	if _, key, ok := m.UserOf(channel); ok {
		t.Errorf("before any table is known, %s is %s's", channel, key)
	}
	table := tableOf("users", "id", "name", "role", "region")
	plan, err := m.UserPlan(table)
	if err != nil {
		t.Fatal(err)
	}
	key, attributes, err := plan.Of(row(table, "7", "Ann", "admin", "NULL"))
	if err != nil || key != "7" || len(attributes) != 2 {
		t.Fatal(key, attributes, err)
	}
	u, err := m.NewUser(key, attributes)
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := m.Channel(0, u); !ok || name != channel || m.Templates() != 1 {
		t.Errorf("channel %s, %v of %d", name, ok, m.Templates())
	}
	for name, want := range map[string]string{
		channel: "7", "private-chorus.x.user.18446744073709551615": "18446744073709551615", "private-chorus.x.user.07": "", "private-chorus.x.user.a": "",
		"private-chorus.user.7": "", "chorus.admin.user.7": "", "private-chorus.x.user.-1": "-1", "private-chorus.x.user.-": "",
	} {
		if _, key, _ := m.UserOf(name); string(key) != want {
			t.Errorf("%s is %q's, want %q", name, key, want)
		}
	}
	if stranger, err := m.NewUser("8", nil); err != nil {
		t.Error(err)
	} else if name, ok := m.Channel(0, stranger); ok {
		t.Errorf("a user without a role has the channel %s", name)
	}
	for _, bad := range []mapping.UserKey{"", "a", `"a`, "acme/"} {
		if u, err := m.NewUser(bad, nil); err == nil {
			t.Errorf("key %s is of %+v", bad, u)
		}
	}
}

// TestPaths follows parents of all kinds.
func TestPaths(t *testing.T) {
	table := tableOf("todos", "id", "org_id", "post_id", "code", "commentable_id", "commentable_type")
	posts := tableOf("posts", "id", "platform_id", "owner_id", "owner_type", "code")
	threads := tableOf("threads", "org_id", "thread_id", "team_id")
	posts.Unique = append(posts.Unique, []int{4})
	threads.Key, threads.Unique = []int{0, 1}, [][]int{{0, 1}}
	cases := []struct {
		name, entry string
		row         []string
		parents     map[string]*binlog.Row // by "table unique key"; nil is none
		want        string                 // streams
	}{
		{
			"one hop", "platform:{post_id -> posts.platform_id}",
			[]string{"1", "2", "5", "c", "NULL", "NULL"},
			map[string]*binlog.Row{"posts  [5]": row(posts, "5", "3", "NULL", "NULL", "c")},
			"platform:3",
		},
		{
			"no such parent", "platform:{post_id -> posts.platform_id}",
			[]string{"1", "2", "5", "c", "NULL", "NULL"},
			map[string]*binlog.Row{"posts  [5]": nil},
			"",
		},
		{
			"a NULL on the way", "platform:{post_id -> posts.platform_id}",
			[]string{"1", "2", "5", "c", "NULL", "NULL"},
			map[string]*binlog.Row{"posts  [5]": row(posts, "5", "NULL", "NULL", "NULL", "c")},
			"",
		},
		{
			"another key", "user:{code -> posts(code).owner_id}",
			[]string{"1", "2", "5", `c"`, "NULL", "NULL"},
			map[string]*binlog.Row{`posts code ["c\""]`: row(posts, "5", "3", "8", "NULL", `c"`)},
			"user:8",
		},
		{
			"a composite key", "team:{org_id, post_id -> threads.team_id}",
			[]string{"1", "2", "5", "c", "NULL", "NULL"},
			map[string]*binlog.Row{"threads  [2,5]": row(threads, "2", "5", "9")},
			"team:9",
		},
		{
			"through a composite key", "team:{post_id -> posts.platform_id, owner_id -> threads.team_id}",
			[]string{"1", "2", "5", "c", "NULL", "NULL"},
			map[string]*binlog.Row{"posts  [5]": row(posts, "5", "3", "4", "NULL", "c"), "threads  [3,4]": row(threads, "3", "4", "9")},
			"team:9",
		},
		{
			"morphs", `platform:{commentable(App\Models\Post) -> posts.platform_id}`,
			[]string{"1", "2", "5", "c", "6", `App\Models\Post`},
			map[string]*binlog.Row{"posts  [6]": row(posts, "6", "3", "NULL", "NULL", "c")},
			"platform:3",
		},
		{"morphs of another type", `platform:{commentable(App\Models\Post) -> posts.platform_id}`, []string{"1", "2", "5", "c", "6", `App\Models\Note`}, nil, ""},
		{"morphs without a parent", `team:{commentable(team)}`, []string{"1", "2", "5", "c", "6", "team"}, nil, "team:6"},
		{
			"morphs of a parent", `team:{post_id -> posts.owner(team)}`,
			[]string{"1", "2", "5", "c", "6", "x"},
			map[string]*binlog.Row{"posts  [5]": row(posts, "5", "3", "4", "team", "c")},
			"team:4",
		},
		{
			"morphs of a parent of another type", `team:{post_id -> posts.owner(team)}`,
			[]string{"1", "2", "5", "c", "6", "x"},
			map[string]*binlog.Row{"posts  [5]": row(posts, "5", "3", "4", "user", "c")},
			"",
		},
		{
			"in a channel", "channel:org.{post_id -> posts.platform_id}.{org_id}",
			[]string{"1", "2", "5", "c", "6", "x"},
			map[string]*binlog.Row{"posts  [5]": row(posts, "5", "3", "4", "user", "c")},
			"channel:private-org.3.2",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := mapperOf(t, scoped(mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf(c.entry)}))
			if wrong := m.Check(tables(table, posts, threads)); len(wrong) > 0 {
				t.Fatal(texts(wrong))
			}
			plan, err := m.PlanOf("todos", table)
			if err != nil {
				t.Fatal(err)
			}
			v := newView(m)
			r := row(table, c.row...)
			asked := 0
			for {
				refs, err := plan.Needs(nil, r, v)
				if err != nil {
					t.Fatal(err)
				}
				if len(refs) == 0 {
					break
				}
				if _, err := streamsOf(plan, r, v); err == nil {
					t.Error("a row was judged without its parent")
				}
				for _, ref := range refs {
					asked++
					found, ok := c.parents[ref.Table.Table+" "+ref.Unique+" "+ref.Key]
					if !ok {
						t.Fatalf("%+v is needed", ref)
					}
					v.parents[ref] = mapping.Parent{}
					if found == nil {
						continue
					}
					p, err := m.ParentPlan(found.Table)
					if err != nil {
						t.Fatal(err)
					}
					if refs, err := p.Refs(found); err != nil || !slices.Contains(refs, ref) {
						t.Errorf("the parent is found by %v, %v, not by %v", refs, err, ref)
					}
					if _, err := p.Key(ref); err != nil {
						t.Error(err)
					}
					if v.parents[ref], err = p.Parent(found); err != nil {
						t.Fatal(err)
					}
				}
			}
			streams, err := streamsOf(plan, r, v)
			var list []string
			for _, s := range streams {
				list = append(list, string(s))
			}
			if got := strings.Join(list, " "); got != c.want || err != nil || asked != len(c.parents) {
				t.Errorf("got %q, %v after %d parents, want %q after %d", got, err, asked, c.want, len(c.parents))
			}
		})
	}
}

// streamsOf are the names under which a row's changes are kept.
func streamsOf(p *mapping.Plan, r *binlog.Row, v mapping.View) ([]mapping.ScopeKey, error) {
	var s mapping.Sight
	err := p.See(&s, r, v)
	return s.Streams, err
}

// TestJudge is what refills ask.
func TestJudge(t *testing.T) {
	table := tableOf("todos", "id", "team_id", "region", "salary")
	rule := mapping.Table{
		Fields: []string{"id", "salary"}, VisibleTo: mapping.AnyOf("team:{team_id}"), Where: `user.region == region and salary != "0"`,
		Columns: map[string]mapping.Column{"salary": {VisibleIf: `user.role == "hr"`}},
	}
	m := mapperOf(t, scoped(rule))
	plan, err := m.PlanOf("todos", table)
	if err != nil {
		t.Fatal(err)
	}
	v := newView(m)
	v.connect(t, "1", text("hr", "eu"), "team:3")
	v.connect(t, "2", text("dev", "eu"))
	v.connect(t, "3", text("dev", "eu"), "team:3")
	v.connect(t, "4", text("dev", "us"), "team:3")
	for _, c := range []struct {
		user             mapping.UserKey
		salary           string
		visible, reaches bool
		variant          mapping.Variant
	}{
		{"1", "100", true, true, 1},
		{"2", "100", false, false, 0},
		{"3", "100", true, true, 0},
		{"4", "100", false, true, 0}, // but for his region
		{"1", "0", false, false, 0},
	} {
		r := row(table, "1", "3", "eu", c.salary)
		visible, variant, err := plan.Judge(r, v, v.User(c.user))
		if visible != c.visible || variant != c.variant || err != nil {
			t.Errorf("%+v: got %v, %d, %v", c, visible, variant, err)
		}
		if reaches, err := plan.Reaches(r, v, v.User(c.user)); reaches != c.reaches || err != nil {
			t.Errorf("%+v: in his scopes is %v, %v", c, reaches, err)
		}
		var s mapping.Sight
		if err := plan.See(&s, r, v); err != nil || slices.Contains(s.Users, v.User(c.user)) != c.visible {
			t.Errorf("%+v: %d users see it, %v", c, len(s.Users), err)
		}
	}
}

// TestByAttributes: also of conditions that are about the user's key as well.
func TestByAttributes(t *testing.T) {
	table := tableOf("todos", "id", "team_id", "region", "salary")
	for _, c := range []struct {
		where, visibleIf string
		want             bool
	}{
		{"", "", false},
		{`region == "eu"`, `user.id == id`, false},
		{`user.region == region`, "", true},
		{"", `user.id == id or user.role == "hr"`, true},
	} {
		rule := mapping.Table{Fields: []string{"id", "salary"}, VisibleTo: mapping.AnyOf("team:{team_id}"), Where: c.where}
		if c.visibleIf != "" {
			rule.Columns = map[string]mapping.Column{"salary": {VisibleIf: c.visibleIf}}
		}
		plan, err := mapperOf(t, scoped(rule)).PlanOf("todos", table)
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.ByAttributes(); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestTenantsDoNotMeet: the same keys of two tenants are not the same.
func TestTenantsDoNotMeet(t *testing.T) {
	m := mapperOf(t, mapping.Config{
		UserChannel: "chorus.{@tenant}.user.{id}",
		Users:       mapping.Users{Source: "tenant_%.users", Key: "id", Attributes: []string{"role"}},
		Scopes:      map[string]mapping.Scope{"team": {Members: []mapping.Members{{Source: "tenant_%.team_user", Scope: "team_id", User: "user_id"}}}},
		Tables: map[string]mapping.Table{"todos": {
			Source: "tenant_%.todos", Fields: []string{"id"}, Where: `user.role != "x"`,
			VisibleTo: mapping.AnyOf("team:{team_id}", "user:{user_id}", "public", "team:{post_id -> posts.team_id}"),
		}},
	})
	v := newView(m)
	of := func(tenant string, t *binlog.Table) *binlog.Table {
		t.Name.Schema = "tenant_" + tenant
		return t
	}
	members := of("a", tableOf("team_user", "id", "team_id", "user_id"))
	plans, err := m.MemberPlans(members)
	if err != nil {
		t.Fatal(err)
	}
	scope, user, _, err := plans[0].Of(row(members, "1", "3", "7"), testAt)
	if scope != "a/team:3" || user != "a/7" || err != nil {
		t.Error(scope, user, err)
	}
	v.connect(t, user, text("dev"), scope)
	v.connect(t, "b/7", text("dev"), "b/team:3")
	for _, tenant := range []string{"a", "b"} {
		table := of(tenant, tableOf("todos", "id", "team_id", "user_id", "post_id"))
		c := &binlog.Change{Kind: binlog.Insert, After: row(table, "1", "3", "7", "5")}
		refs, err := m.Needs(nil, c, v, v)
		if want := (mapping.ParentRef{Table: binlog.TableName{Schema: "tenant_" + tenant, Table: "posts"}, Key: "[5]"}); err != nil || !slices.Equal(refs, []mapping.ParentRef{want}) {
			t.Errorf("needs %v, %v", refs, err)
		}
		v.parents[refs[0]] = mapping.Parent{Exists: true, Values: []string{"4"}}
		if got, want := routed(t, m, c, v, v), []string{"create 1 to " + tenant + `/7: {"id":1}`}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		plan, err := m.PlanOf("todos@tenant_"+tenant, table)
		if err != nil {
			t.Fatal(err)
		}
		streams, err := streamsOf(plan, c.After, v)
		if want := fmt.Sprintf("[%s/team:3 %s/user:7 %s/public %s/team:4]", tenant, tenant, tenant, tenant); fmt.Sprint(streams) != want || err != nil {
			t.Errorf("streams %v, %v, want %s", streams, err, want)
		}
	}
	if name, ok := m.Channel(0, v.User("b/7")); !ok || name != "private-chorus.b.user.7" {
		t.Error(name, ok)
	}
	if _, key, ok := m.UserOf("private-chorus.b.user.7"); !ok || key != "b/7" {
		t.Error(key, ok)
	}
	if got, want := m.MemberTables("c"), (binlog.TableName{Schema: "tenant_c", Table: "team_user"}); !slices.Equal(got, []binlog.TableName{want}) {
		t.Error(got)
	}
}
