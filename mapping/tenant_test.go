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

// perTenant is a table by pattern with nothing wrong.
func perTenant() mapping.Table {
	return mapping.Table{
		Source: "tenant_%.tasks", Fields: []string{"id", "user_id", "title"},
		VisibleTo:   mapping.AnyOf("user:{user_id}", "channel:tenant.{@tenant}.board.{board_id}"),
		UserChannel: "chorus.{@tenant}.user.{id}",
	}
}

func tenantTable(database string) *binlog.Table {
	t := tableOf("tasks", "id", "user_id", "board_id", "title")
	t.Name.Schema = database
	return t
}

func TestTenantsAreToldApart(t *testing.T) {
	m, wrong := mapping.New(mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{
		"todos": perTenant(), "plans": with(func(t *mapping.Table) { t.Source = "tenant_a.tasks" }),
	}}, "app", time.UTC)
	if len(wrong) > 0 {
		t.Fatal(texts(wrong))
	}
	if got, want := fmt.Sprint(m.Sources(), m.Patterns()), "[tenant_a.tasks] [tenant_%.tasks]"; got != want {
		t.Errorf("sources %s, want %s", got, want)
	}
	for database, want := range map[string]string{
		"tenant_a": "a.user.7 tenant.a.board.3", "tenant_B-2": "B-2.user.7 tenant.B-2.board.3",
		// Their names could make up another's channel, or are none.
		"tenant_a.user": "", "tenant_": "", "tenant_a b": "", "tenant_ä": "",
		// Others are not mapped.
		"app": "none", "tenants_a": "none",
	} {
		table := tenantTable(database)
		if got := m.TablesOf(table.Name); want == "none" != (len(got) == 0) {
			t.Errorf("%s has the tables %v", database, got)
		}
		var channels []string
		unroutable, err := routeToNobody(m, &binlog.Change{Kind: binlog.Insert, After: row(table, "1", "7", "3", "x")}, func(h *mapping.Harmonic) error {
			if h.Plan.Table() == "plans" {
				return nil
			}
			if id := "todos@" + database; h.Plan.ID() != id || h.Plan.Table() != "todos" || m.NameOf(id) != "todos" {
				t.Errorf("%s: ID %s of %s", database, h.Plan.ID(), h.Plan.Table())
			}
			if source, ok := m.SourceOf(h.Plan.ID()); !ok || source != table.Name {
				t.Errorf("%s comes from %s", h.Plan.ID(), source)
			}
			for _, name := range slices.Concat(h.Absent, h.Shared) {
				channels = append(channels, strings.TrimPrefix(strings.TrimPrefix(name, "private-"), "chorus."))
			}
			return nil
		})
		wantLost := 0
		if want == "" {
			wantLost = 2
		}
		if got := strings.Join(channels, " "); err != nil || got != strings.TrimPrefix(want, "none") || unroutable != wantLost {
			t.Errorf("%s: got %q, %d unroutable, %v; want %q, %d", database, got, unroutable, err, want, wantLost)
		}
	}
}

// TestControlMessagesStayWithTheirTenant: what is told of one tenant's table
// reaches that tenant's channels only.
func TestControlMessagesStayWithTheirTenant(t *testing.T) {
	m, wrong := mapping.New(mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{
		"todos": perTenant(), "users": good(),
	}}, "app", time.UTC)
	if len(wrong) > 0 {
		t.Fatal(texts(wrong))
	}
	for _, c := range []struct {
		id, channel string
		want        bool
	}{
		{"todos@tenant_a", "private-chorus.a.user.7", true},
		{"todos@tenant_a", "private-tenant.a.board.1", true},
		{"todos@tenant_a", "private-chorus.b.user.7", false},
		{"todos@tenant_a", "private-chorus.a.user", false},
		{"todos@tenant_a", "private-chorus.user.7", false},
		{"todos@tenant_b", "private-chorus.a.user.7", false},
		{"todos@other_a", "private-chorus.a.user.7", false},
		{"todos", "private-chorus.a.user.7", false},
		{"users", "private-chorus.a.user.7", false},
		{"users", "private-chorus.user.7", true},
		{"", "private-chorus.a.user.7", true},
		{"", "private-chorus.user.7", true},
		{"", "private-other.7", false},
	} {
		if got := m.Reaches(c.id, c.channel); got != c.want {
			t.Errorf("%q reaches %s: %v, want %v", c.id, c.channel, got, c.want)
		}
	}
	if !m.Syncs("todos@tenant_a", []string{"x", "TITLE"}) || m.Syncs("todos@tenant_a", []string{"board_id"}) || m.Syncs("todos", []string{"title"}) {
		t.Error("the columns of a table by pattern are not those of its rule")
	}
	for _, gone := range []string{"todos", "todos@", "todos@other_a", "users@tenant_a", "x@tenant_a"} {
		if _, ok := m.SourceOf(gone); ok || m.NameOf(gone) != "" {
			t.Errorf("%q is a table", gone)
		}
	}
}

func TestTenantsThatCouldMixAreRefused(t *testing.T) {
	change := func(change func(*mapping.Table)) mapping.Table {
		t := perTenant()
		change(&t)
		return t
	}
	visible := func(entries ...string) mapping.Table {
		return change(func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf(entries...) })
	}
	const mixed = `todos.visible_to: a channel by "channel:x.{@tenant}.{board_id}" can be one of another tenant by "channel:x.{user_id}.{@tenant}" of table %q: let {@tenant} stand in the same place of both`
	for name, c := range map[string]struct {
		tables map[string]mapping.Table
		want   []string
	}{
		"users without a tenant": {map[string]mapping.Table{"todos": change(func(t *mapping.Table) { t.UserChannel = "" })}, []string{
			`todos.visible_to: "user:{user_id}": the user channel is the same in every tenant, so users would get rows of others: write user_channel = "chorus.{@tenant}.user.{id}"`,
		}},
		"model's channels": {map[string]mapping.Table{"todos": change(func(t *mapping.Table) {
			t.UserChannel, t.Broadcast, t.Model = "", "model", `App\Models\Todo`
		})}, []string{
			`todos.visible_to: "user:{user_id}": the user channel is the same in every tenant, so users would get rows of others: write user_channel = "chorus.{@tenant}.user.{id}"`,
		}},
		"a channel without a tenant": {map[string]mapping.Table{"todos": visible("user:{user_id}", "channel:board.{board_id}")}, []string{
			`todos.visible_to: "channel:board.{board_id}" is the same channel in every tenant, so they would get each other's rows: put {@tenant} into it, like "channel:tenant.{@tenant}.board.{board_id}"`,
		}},
		"a tenant without an end": {map[string]mapping.Table{"todos": visible("channel:x.{@tenant}-{board_id}")}, []string{
			`todos.visible_to: "channel:x.{@tenant}-{board_id}": where the tenant ends and the next value begins cannot be told: put a dot between them, as in "tenant.{@tenant}.{board_id}"`,
		}},
		"two places": {map[string]mapping.Table{"todos": visible("channel:x.{@tenant}.{board_id}", "channel:x.{user_id}.{@tenant}")}, []string{
			fmt.Sprintf(mixed, "todos"),
			`todos.visible_to: a channel by "channel:x.{user_id}.{@tenant}" can be one of another tenant by "channel:x.{@tenant}.{board_id}" of table "todos": let {@tenant} stand in the same place of both`,
		}},
		"two places of two tables": {map[string]mapping.Table{"todos": visible("channel:x.{@tenant}.{board_id}"), "zones": visible("channel:x.{user_id}.{@tenant}")}, []string{
			fmt.Sprintf(mixed, "zones"),
			`zones.visible_to: a channel by "channel:x.{user_id}.{@tenant}" can be one of another tenant by "channel:x.{@tenant}.{board_id}" of table "todos": let {@tenant} stand in the same place of both`,
		}},
		"the tenant as a user": {map[string]mapping.Table{"todos": visible("user:{@tenant}")}, []string{
			`todos.visible_to: "user:{@tenant}": behind "user" has to stand one column or path in braces, like "user:{user_id}"`,
		}},
		"a tenant of one database": {map[string]mapping.Table{"todos": change(func(t *mapping.Table) { t.Source = "tenant_a.tasks" })}, []string{
			`todos.visible_to: "user:{user_id}": the user channel has {@tenant}, and the source is one database's: give this table a user_channel without it, like "chorus.user.{id}"`,
			`todos.visible_to: "channel:tenant.{@tenant}.board.{board_id}" has {@tenant}, and the source is one database's: take it out, or make the source a pattern, like "tenant_%.todos"`,
		}},
		"a name like a tenant's": {map[string]mapping.Table{"todos": perTenant(), "todos@tenant_a": good()}, []string{
			`todos@tenant_a.source: the table's name has an @ in it, by which tenants' tables are told apart: give it another name`,
		}},
		"a broken source": {map[string]mapping.Table{"todos": change(func(t *mapping.Table) { t.Source = "tenant_%_%.tasks" })}, []string{
			`todos.source: "tenant_%_%.tasks" has more than one %, so which part names the tenant cannot be told: leave one`,
		}},
		"all is well": {map[string]mapping.Table{
			"todos": perTenant(),
			"zones": visible("channel:tenant.{@tenant}.board.{board_id}", "channel:{@tenant}-zone.{board_id}", "channel:everybody-{@tenant}"),
			"users": good(),
		}, nil},
	} {
		if got := problems(mapping.Config{UserChannel: userTemplate, Tables: c.tables}); !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", name, strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
		}
	}
}

// TestOneTenantsProblemStandsForAll: thousands of tenants have the same.
func TestOneTenantsProblemStandsForAll(t *testing.T) {
	m, wrong := mapping.New(mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{"todos": perTenant()}}, "app", time.UTC)
	if len(wrong) > 0 {
		t.Fatal(texts(wrong))
	}
	tables := map[binlog.TableName]*binlog.Table{}
	for _, database := range []string{"tenant_a", "tenant_b", "tenant_c"} {
		table := tenantTable(database)
		if database != "tenant_a" {
			table.Columns = table.Columns[:3]
		}
		tables[table.Name] = table
	}
	want := []string{`todos.fields: table tenant_b.tasks has no column "title": it has id, user_id, board_id`}
	if got := texts(m.Check(tables)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
