package mapping_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/chorusd/chorusd/mapping"
)

// TestIndex holds what two indexes find, by spots that were filled at any time
// and by either, against maps.
func TestIndex(t *testing.T) {
	const keys, spots = 8, 4
	type thing struct{ n int }
	r := rand.New(rand.NewPCG(1, 2))
	indexes := []mapping.Index[int, thing]{mapping.NewIndex[int, thing](), mapping.NewIndex[int, thing]()}
	want := []map[int]*thing{{}, {}}
	var at [keys][spots]mapping.Spot
	for n := range 20_000 {
		i, key := r.IntN(len(indexes)), r.IntN(keys)
		switch r.IntN(8) {
		case 0:
			v := &thing{n}
			indexes[i].Put(key, v)
			want[i][key] = v
		case 1:
			indexes[i].Delete(key)
			delete(want[i], key)
		default:
			var spot *mapping.Spot
			if s := r.IntN(spots + 1); s < spots {
				spot = &at[key][s]
			}
			if got := indexes[i].Get(key, spot); got != want[i][key] {
				t.Fatalf("step %d: key %d of index %d: got %v, want %v", n, key, i, got, want[i][key])
			}
		}
		if indexes[i].Len() != len(want[i]) {
			t.Fatalf("step %d: %d keys, want %d", n, indexes[i].Len(), len(want[i]))
		}
		for key, v := range indexes[i].All() {
			if want[i][key] != v {
				t.Fatalf("step %d: key %d of index %d leads to %v, want %v", n, key, i, v, want[i][key])
			}
		}
	}
}

// TestRouteWhileUsersComeAndGo: the same row is routed again and again, to who
// is there at that time.
func TestRouteWhileUsersComeAndGo(t *testing.T) {
	m := mapperOf(t, scoped(mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("user:{owner_id}", "team:{team_id}")}))
	v := newView(m)
	change := changeOf(tableOf("todos", "id", "owner_id", "team_id"), nil, []string{"1", "7", "3"})
	check := func(want ...string) {
		t.Helper()
		got := []string{}
		_, err := m.Route(change, v, v, func(h *mapping.Harmonic) error {
			for _, u := range h.Users {
				got = append(got, u.ID)
			}
			return nil
		})
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("routed to %v, want %v; %v", got, want, err)
		}
	}
	check()
	v.connect(t, "8", nil, "team:4")
	check()
	v.connect(t, "9", nil, "team:3", "team:4")
	check("9")
	v.connect(t, "7", nil)
	check("7", "9")
	v.members.Delete("team:3")
	check("7")
	v.users.Delete("7")
	check()
}

// TestManyKeys routes rows of more keys than are remembered, again and again.
func TestManyKeys(t *testing.T) {
	m := mapperOf(t, scoped(mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("user:{owner_id}", "team:{team_id}", "platform:{platform_id}")}))
	v, table := newView(m), tableOf("todos", "id", "owner_id", "team_id", "platform_id")
	const users = 30
	for i := range users {
		v.connect(t, mapping.UserKey(strconv.Itoa(i)), nil, mapping.ScopeKey(fmt.Sprint("team:", 1000*i)), mapping.ScopeKey(fmt.Sprint("platform:", i)))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 50_000 {
		owner, team, platform := r.Uint64N(users*500), r.Uint64N(users*1000), r.Uint64N(users*100)
		if r.IntN(10) == 0 {
			owner += 1 << 63
		}
		want := []string{}
		for _, user := range []struct {
			id uint64
			is bool
		}{{owner, true}, {team / 1000, team%1000 == 0}, {platform, true}} {
			if id := strconv.FormatUint(user.id, 10); user.is && user.id < users && !slices.Contains(want, id) {
				want = append(want, id)
			}
		}
		var got []string
		change := changeOf(table, nil, []string{"1", strconv.FormatUint(owner, 10), strconv.FormatUint(team, 10), strconv.FormatUint(platform, 10)})
		_, err := m.Route(change, v, v, func(h *mapping.Harmonic) error {
			for _, u := range h.Users {
				got = append(got, u.ID)
			}
			return nil
		})
		slices.Sort(want)
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Fatalf("a row of user %d, team %d and platform %d is routed to %v, want %v; %v", owner, team, platform, got, want, err)
		}
	}
}
