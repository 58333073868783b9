package mapping_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/mapping"
)

// TestRowsIn: rows of a scope can be described by fields that everybody gets as
// the columns are, and by all entries of a table or none.
func TestRowsIn(t *testing.T) {
	visible := func(fields string, change func(*mapping.Table), entries ...string) mapping.Table {
		table := mapping.Table{Fields: strings.Fields(fields), VisibleTo: mapping.AnyOf(entries...)}
		if change != nil {
			change(&table)
		}
		return table
	}
	column := func(name string, c mapping.Column) func(*mapping.Table) {
		return func(t *mapping.Table) { t.Columns = map[string]mapping.Column{name: c} }
	}
	cfg := scoped(visible("id team_id guest_team", nil, "user:{owner_id}", "team:{team_id}", "team:{guest_team}"))
	cfg.Tables["renamed"] = visible("id team", column("team", mapping.Column{Column: "team_id"}), "team:{team_id}")
	cfg.Tables["masked"] = visible("id team_id", column("team_id", mapping.Column{Mask: "fixed:x"}), "team:{team_id}")
	cfg.Tables["secret"] = visible("id team_id", column("team_id", mapping.Column{VisibleIf: "user.id == 1"}), "team:{team_id}")
	cfg.Tables["cast"] = visible("id team_id", func(t *mapping.Table) { t.Casts = map[string]string{"team_id": "string"} }, "team:{team_id}")
	cfg.Tables["unsynced"] = visible("id", nil, "team:{team_id}")
	cfg.Tables["below"] = visible("id team_id", nil, "team:{team_id}", "team:{post_id -> posts.team_id}")
	cfg.Tables["echo"] = visible("id team_id", func(t *mapping.Table) { t.Payload = "data" }, "team:{team_id}")
	cfg.Tables["other"] = visible("id platform_id", nil, "platform:{platform_id}")
	m := mapperOf(t, cfg)
	var got []string
	for _, of := range m.RowsIn("team:3") {
		got = append(got, fmt.Sprintf("%s.%s=%s", of.ID, of.Field, of.Value))
	}
	want := []string{"below.=", "cast.=", "masked.=", "renamed.team=3", "secret.=", "todos.team_id=3", "todos.guest_team=3", "unsynced.="}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for key, want := range map[mapping.ScopeKey]string{"team:3": "team:3", "acme/team:3": "team:3", `team:"a/b"`: `team:"a/b"`, "acme/public": "public"} {
		if got := key.Name(); got != want {
			t.Errorf("%s is %q to clients, want %q", key, got, want)
		}
	}
}
