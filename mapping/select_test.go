package mapping_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

func TestSelections(t *testing.T) {
	m := mapperOf(t, scoped(mapping.Table{Fields: []string{"id"}, VisibleTo: []mapping.Alternative{
		{"user:{owner_id}"},
		{"team:{team_id}", "platform:{post_id -> posts.platform_id}"},
		{`team:{commentable(App\Post) -> posts(code).thread_id -> threads.team_id}`},
		{"team:{team_id}"},
	}}))
	plan, err := m.PlanOf("todos", tableOf("todos", "id", "owner_id", "team_id", "post_id", "commentable_id", "commentable_type"))
	if err != nil {
		t.Fatal(err)
	}
	app := func(name string) binlog.TableName { return binlog.TableName{Schema: "app", Table: name} }
	morph := binlog.Reference{Columns: []string{"commentable_id"}, TypeColumn: "commentable_type", TypeText: `App\Post`}
	column := func(name string) binlog.Reference { return binlog.Reference{Columns: []string{name}} }
	for key, want := range map[mapping.ScopeKey][]binlog.Selection{
		`user:7`:     {{Reference: column("owner_id"), In: `[7]`}},
		`platform:3`: {{Reference: column("post_id"), Via: []binlog.Hop{{Table: app("posts"), Reference: column("platform_id")}}, In: `[3]`}},
		`team:"a"`: {
			{Reference: column("team_id"), In: `["a"]`},
			{Reference: morph, Via: []binlog.Hop{{Table: app("posts"), Key: []string{"code"}, Reference: column("thread_id")}, {Table: app("threads"), Reference: column("team_id")}}, In: `["a"]`},
		},
		`public`: nil, `other:1`: nil, `acme/team:3`: nil,
	} {
		if got := plan.Selections(key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", key, got, want)
		}
	}
	for ref, want := range map[mapping.ParentRef][]binlog.Selection{
		{Table: app("posts"), Key: `[5]`}:                 {{Reference: column("post_id"), In: `[5]`}},
		{Table: app("posts"), Unique: "code", Key: `[5]`}: {{Reference: morph, In: `[5]`}},
		{Table: app("threads"), Key: `[9]`}:               {{Reference: morph, Via: []binlog.Hop{{Table: app("posts"), Key: []string{"code"}, Reference: column("thread_id")}}, In: `[9]`}},
		{Table: app("others"), Key: `[9]`}:                nil,
	} {
		if got := plan.Children(ref, nil); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: got %+v, want %+v", ref, got, want)
		}
	}
	open := mapperOf(t, scoped(mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("public")}))
	if plan, err = open.PlanOf("todos", tableOf("todos", "id")); err != nil {
		t.Fatal(err)
	}
	if got := plan.Selections("public"); !reflect.DeepEqual(got, []binlog.Selection{{}}) {
		t.Errorf("public: %+v", got)
	}
}

// TestTablesOfSelections: a refill reads those tables alone that can have rows
// of what it is of, and of the tenant alone.
func TestTablesOfSelections(t *testing.T) {
	perTenant := func(table string, entries ...string) mapping.Table {
		return mapping.Table{
			Source: "tenant_%." + table, Fields: []string{"id"}, VisibleTo: mapping.AnyOf(entries...), UserChannel: "chorus.{@tenant}.user.{id}",
		}
	}
	cfg := scoped(mapping.Table{Fields: []string{"id"}, VisibleTo: []mapping.Alternative{
		{"public"}, {"user:{owner_id}", "team:{post_id -> posts.team_id}"},
	}})
	cfg.Scopes["board"] = mapping.Scope{Members: []mapping.Members{{Source: "tenant_%.board_user", Scope: "board_id", User: "user_id"}}}
	cfg.Tables["notes"] = mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("platform:{platform_id}", "channel:team.{post_code -> posts(code).team_id}")}
	cfg.Tables["cards"] = perTenant("cards", "board:{list_id -> lists.board_id}", "public")
	cfg.Tables["tasks"] = perTenant("tasks", "board:{board_id}", "user:{user_id}")
	m := mapperOf(t, cfg)
	for key, want := range map[mapping.ScopeKey][]string{
		"public": {"todos"}, "user:7": {"todos"}, "team:3": {"todos"}, "platform:3": {"notes"},
		"acme/public": {"cards@tenant_acme"}, "acme/user:7": {"tasks@tenant_acme"}, "acme/board:3": {"cards@tenant_acme", "tasks@tenant_acme"},
		"board:3": nil, "acme/team:3": nil, "acme/other:3": nil, "channel:private-team.3": nil,
	} {
		if got := m.TablesIn(key); !slices.Equal(got, want) {
			t.Errorf("rows of %s are in %v, want %v", key, got, want)
		}
	}
	posts, lists := binlog.TableName{Schema: "app", Table: "posts"}, binlog.TableName{Schema: "tenant_acme", Table: "lists"}
	for ref, want := range map[mapping.ParentRef][]string{
		{Table: posts, Key: "[5]"}:                                               {"todos"},
		{Table: posts, Unique: "code", Key: "[5]"}:                               {"notes"},
		{Table: lists, Key: "[5]"}:                                               {"cards@tenant_acme"},
		{Table: lists, Unique: "code", Key: "[5]"}:                               nil,
		{Table: binlog.TableName{Schema: "app", Table: "lists"}, Key: "[5]"}:     nil,
		{Table: binlog.TableName{Schema: "tenant_a", Table: "posts"}, Key: `[]`}: nil,
	} {
		if got := m.TablesBelow(ref); !slices.Equal(got, want) {
			t.Errorf("rows below %+v are in %v, want %v", ref, got, want)
		}
	}
	for tenant, want := range map[string][]string{"": {"notes", "todos"}, "acme": {"cards@tenant_acme", "tasks@tenant_acme"}} {
		if got := m.TablesOfTenant(tenant); !slices.Equal(got, want) {
			t.Errorf("tenant %q has %v, want %v", tenant, got, want)
		}
	}
	for table, want := range map[string]string{
		"app.users": `[""] []`, "app.team_user": `[""] []`, "app.posts": `[] [""]`, "app.todos": `[] []`,
		"tenant_acme.board_user": `["acme"] []`, "tenant_acme.lists": `[] ["acme"]`, "tenant_acme.users": `[] []`,
	} {
		schema, name, _ := strings.Cut(table, ".")
		of := binlog.TableName{Schema: schema, Table: name}
		if got := fmt.Sprintf("%q %q", m.UsersBy(of), m.ParentsBy(of)); got != want {
			t.Errorf("%s decides for the users and the rows of %s, want %s", table, got, want)
		}
	}
}
