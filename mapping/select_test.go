package mapping_test

import (
	"reflect"
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
		if got := plan.Children(ref); !reflect.DeepEqual(got, want) {
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
