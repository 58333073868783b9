package audience

import (
	"maps"
	"testing"
)

// TestPlaces: few or many, they are what a map would have.
func TestPlaces(t *testing.T) {
	groups := make([]*group, 2*fewPlaces)
	for i := range groups {
		groups[i] = &group{}
	}
	for _, size := range []int{0, 5, fewPlaces, fewPlaces + 1} {
		p, want := newPlaces(size), map[*group]place{}
		check := func() {
			t.Helper()
			if got := maps.Collect(p.all()); !maps.Equal(got, want) || p.len() != len(want) {
				t.Fatalf("there are %d, %v, want %v", p.len(), got, want)
			}
			for _, g := range groups {
				at, is := p.get(g)
				if wanted, there := want[g]; at != wanted || is != there {
					t.Fatalf("a place is %v, %v, want %v, %v", at, is, wanted, there)
				}
			}
		}
		for round := range 3 {
			for i, g := range groups {
				at := place{index: uint32(i), rows: uint32(round + 1)}
				p.set(g, at)
				want[g] = at
				check()
			}
			for i, g := range groups {
				if (i+round)%3 > 0 {
					p.remove(g)
					delete(want, g)
					p.remove(g)
					check()
				}
			}
		}
	}
}
