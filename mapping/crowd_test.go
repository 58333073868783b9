package mapping_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
)

// TestCrowds: few users and many, of scopes that share members, get a change
// once each.
func TestCrowds(t *testing.T) {
	table := tableOf("todos", "id", "owner_id", "team_id", "platform_id")
	m := mapperOf(t, scoped(mapping.Table{
		Fields: []string{"id"}, VisibleTo: mapping.AnyOf("user:{owner_id}", "team:{team_id}", "platform:{platform_id}"),
	}))
	before, after := []string{"1", "2", "3", "5"}, []string{"1", "2", "4", "5"}
	for _, users := range []int{1, 8, 24, 60, 200} {
		v := newView(m)
		var had, has, kept []string
		for i := 1; i <= users; i++ {
			id := strconv.Itoa(i)
			stays := i == 2
			var in []mapping.ScopeKey
			for key, every := range map[mapping.ScopeKey]int{"team:3": 2, "team:4": 3, "platform:5": 5} {
				if i%every == 0 {
					in = append(in, key)
					stays = stays || key == "platform:5"
				}
			}
			v.connect(t, mapping.UserKey(id), nil, in...)
			was, is := stays || i%2 == 0, stays || i%3 == 0
			switch {
			case was && is:
				kept = append(kept, id)
			case was:
				had = append(had, id)
			case is:
				has = append(has, id)
			}
		}
		got := map[harmonic.Operation][]string{}
		give := func(h *mapping.Harmonic) error {
			for _, u := range h.Users {
				got[h.Operation] = append(got[h.Operation], u.ID)
			}
			return nil
		}
		route := func(old, now []string) {
			t.Helper()
			clear(got)
			if _, err := m.Route(changeOf(table, old, now), v, v, give); err != nil {
				t.Fatal(err)
			}
		}
		check := func(op harmonic.Operation, want ...string) {
			t.Helper()
			slices.Sort(got[op])
			slices.Sort(want)
			if !slices.Equal(got[op], want) {
				t.Errorf("of %d users, %v get the %s, want %v", users, got[op], op, want)
			}
		}
		route(nil, after)
		check(harmonic.Create, slices.Concat(kept, has)...)
		route(before, after)
		check(harmonic.Delete, had...)
		check(harmonic.Create, has...)
		check(harmonic.Update) // no field has changed
		route(before, []string{"2", "2", "4", "5"})
		check(harmonic.Delete, slices.Concat(kept, had)...)
		check(harmonic.Create, slices.Concat(kept, has)...)
	}
}
