package mapping_test

import (
	"slices"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

func TestPolicyIsChecked(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*mapping.Table)
		want string
	}{
		{"another", func(t *mapping.Table) { t.Authorize = "rails" }, `todos.authorize: "rails" is not "laravel", which is all there is`},
		{"no model", func(t *mapping.Table) { t.Authorize = "laravel" }, `todos.model: missing: authorize = "laravel" needs the class whose policy is asked, like 'App\Models\Todo'`},
		{"ability alone", func(t *mapping.Table) { t.Ability = "list" }, `todos.ability: nobody is asked for it: add authorize = "laravel", or take it out`},
		{"a shared channel", func(t *mapping.Table) {
			t.Authorize, t.Model, t.VisibleTo = "laravel", "Todo", mapping.AnyOf("channel:all")
		}, `todos.authorize: who hears "channel:all" is for Laravel to say, and all who do get the same: take one of the two out, or map the table twice`},
	} {
		table := mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("public")}
		tt.set(&table)
		_, wrong := mapping.New(scoped(table), "app", time.UTC)
		if got := texts(wrong); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Of a table with a policy, those who may see the row by the rules are given
// with each change of any column: the policy may look at it.
func TestRouteWithAPolicy(t *testing.T) {
	table := tableOf("todos", "id", "owner_id", "title", "locked")
	m := mapperOf(t, scoped(mapping.Table{
		Fields: []string{"id", "title"}, VisibleTo: mapping.AnyOf("user:{owner_id}"), Authorize: "laravel", Model: `App\Models\Todo`,
	}))
	plans, err := m.Plans(table)
	if err != nil {
		t.Fatal(err)
	}
	if got := *plans[0].Policy(); got != (mapping.Policy{Model: `App\Models\Todo`, Ability: "view"}) {
		t.Errorf("the policy is %+v", got)
	}
	if got := len(plans[0].Columns()); got != len(table.Columns) {
		t.Errorf("%d columns are read", got)
	}
	v := newView(m)
	v.connect(t, "7", nil)
	for _, tt := range []struct {
		name          string
		before, after []string
		want          []string
	}{
		{"a column that clients do not get", []string{"1", "7", "tea", "no"}, []string{"1", "7", "tea", "yes"}, []string{`update 1 to 7: {"id":1,"title":"tea"}`}},
		{"no column", []string{"1", "7", "tea", "no"}, []string{"1", "7", "tea", "no"}, nil},
		{"to one who is not there", []string{"1", "7", "tea", "no"}, []string{"1", "8", "tea", "no"}, []string{`delete 1 to 7: {"id":1,"title":"tea"}`, `update 1 to `, `create 1 to `}},
	} {
		if got := routed(t, m, changeOf(table, tt.before, tt.after), v, v); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestModel(t *testing.T) {
	table := tableOf("todos", "id", "title", "none")
	column := func(name string, kind binlog.Kind) {
		table.Columns = append(table.Columns, binlog.Column{Name: name, Kind: kind, Charset: "utf8mb4", SQLType: "decimal(4,2)"})
	}
	column("done", binlog.Integer)
	column("price", binlog.Decimal)
	column("rate", binlog.Double)
	column("meta", binlog.JSON)
	column("at", binlog.DateTime)
	column("seen", binlog.Timestamp)
	column("photo", binlog.Binary)
	m := mapperOf(t, scoped(mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("public"), Authorize: "laravel", Model: "Todo", Ability: "read"}))
	plans, err := m.Plans(table)
	if err != nil {
		t.Fatal(err)
	}
	got, err := plans[0].AppendModel(nil, row(table, "1", `te"a`, "NULL", "0", "12.50", "0.5", `{"a": 1}`, "2026-03-29 08:00:00", "2026-03-29 08:00:00", "\x00\x01\x02"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":1,"title":"te\"a","none":null,"done":0,"price":"12.50","rate":0.5,"meta":"{\"a\":1}","at":"2026-03-29 08:00:00",` +
		`"seen":"2026-03-29T08:00:00.000000Z","photo":{"base64":"AAEC"}}`
	if string(got) != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}
