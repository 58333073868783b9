package audience

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// database is all rows, by the table and a number that each row keeps.
type database map[*binlog.Table]map[int][]int

func (d database) clone() database {
	next := database{}
	for t, rows := range d {
		next[t] = maps.Clone(rows) // rows are not changed in place
	}
	return next
}

// changes are those of a transaction from d to next, in any order.
func (d database) changes(next database, r *rand.Rand) []*binlog.Change {
	var list []*binlog.Change
	for _, t := range []*binlog.Table{platformUser, guests, people, posts} {
		for n, before := range d[t] {
			if after := next[t][n]; !slices.Equal(before, after) {
				list = append(list, change(t, before, after))
			}
		}
		for n, after := range next[t] {
			if _, was := d[t][n]; !was {
				list = append(list, change(t, nil, after))
			}
		}
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// scopesOf are those that a user is a member of by rows of a kind.
func (d database) scopesOf(key mapping.UserKey, now time.Time) map[mapping.ScopeKey]bool {
	scopes := map[mapping.ScopeKey]bool{}
	for _, p := range []memberPlan{fakeMembers{platformUser}, fakeMembers{guests}} {
		for _, values := range d[p.(fakeMembers).table] {
			if scope, u, ok, _ := p.Of(row(p.(fakeMembers).table, values...), now); ok && u == key {
				scopes[scope] = true
			}
		}
	}
	for _, values := range d[people] {
		if scope, u, ok, _ := (fakeRegions{}).Of(row(people, values...), now); ok && u == key {
			scopes[scope] = true
		}
	}
	return scopes
}

// soonOf are the scopes that a user is in by one clock up to a lead after now,
// and not by another, and whether he is in them now.
func (d database) soonOf(key mapping.UserKey, now time.Time, lead int) map[mapping.ScopeKey]bool {
	is, soon := d.scopesOf(key, now), map[mapping.ScopeKey]bool{}
	for _, t := range []*binlog.Table{platformUser, guests} {
		for _, values := range d[t] {
			at := time.UnixMicro(int64(values[4]))
			if values[4] == null || !at.After(now) || at.After(now.Add(time.Duration(lead)*time.Microsecond)) {
				continue
			}
			then := d.scopesOf(key, at)
			for _, s := range allScopes() {
				if is[s] != then[s] {
					soon[s] = is[s]
				}
			}
		}
	}
	return soon
}

func (d database) attributesOf(key mapping.UserKey) []filter.Value {
	for _, values := range d[people] {
		if u, attributes, _ := (fakeUsers{}).Of(row(people, values...)); u == key {
			return attributes
		}
	}
	return []filter.Value{{}}
}

func (d database) parent(ref mapping.ParentRef) mapping.Parent {
	for _, values := range d[posts] {
		r := row(posts, values...)
		if refs, _ := (fakePosts{}).Refs(r); slices.Contains(refs, ref) {
			p, _ := (fakePosts{}).Parent(r)
			return p
		}
	}
	return mapping.Parent{}
}

const (
	someUsers, somePlatforms, someRegions, somePosts = 8, 4, 2, 6
	horizon                                          = 400 // of the clock
)

// mutate makes the next state by some random statements.
func (d database) mutate(r *rand.Rand, rows *int) database {
	next := d.clone()
	for range 1 + r.IntN(4) {
		t := []*binlog.Table{platformUser, guests, people, posts}[r.IntN(4)]
		values := func() []int {
			bound := null
			if r.IntN(2) == 0 {
				bound = r.IntN(horizon)
			}
			switch t {
			case people:
				return []int{1 + r.IntN(someUsers), r.IntN(3), []int{null, 1, 2}[r.IntN(3)]}
			case posts:
				return []int{1 + r.IntN(somePosts), []int{null, 1, 2, 3, 4}[r.IntN(5)], r.IntN(3)}
			}
			return []int{1 + r.IntN(20), 1 + r.IntN(somePlatforms), 1 + r.IntN(someUsers), min(1, r.IntN(4)), bound}
		}
		free := func(values []int, but int) bool {
			for n, other := range next[t] {
				if n != but && (other[0] == values[0] || t == posts && other[1] == values[1] && values[1] != null) {
					return false
				}
			}
			return true
		}
		numbers := slices.Sorted(maps.Keys(next[t]))
		switch what := r.IntN(5); {
		case what == 0 || len(numbers) == 0:
			if v := values(); free(v, -1) {
				*rows++
				next[t][*rows] = v
			}
		case what == 1:
			delete(next[t], numbers[r.IntN(len(numbers))])
		case what == 2 && len(numbers) > 1: // two rows swap their keys
			i, j := numbers[r.IntN(len(numbers))], numbers[r.IntN(len(numbers))]
			a, b := slices.Clone(next[t][i]), slices.Clone(next[t][j])
			a[0], b[0] = b[0], a[0]
			if t == posts {
				a[1], b[1] = b[1], a[1]
			}
			next[t][i], next[t][j] = a, b
		default:
			n := numbers[r.IntN(len(numbers))]
			v, fresh := slices.Clone(next[t][n]), values()
			for i := range v {
				if r.IntN(2) == 0 {
					v[i] = fresh[i]
				}
			}
			if free(v, n) {
				next[t][n] = v
			}
		}
	}
	return next
}
