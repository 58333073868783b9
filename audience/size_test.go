package audience

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/chorusd/chorusd/mapping/filter"
)

// crowd opens users and makes them live with so many memberships each, in
// scopes of about the same size. Keys are those of 10,000,000 rows.
func crowd(t testing.TB, s *State, users, memberships, scopes int) {
	t.Helper()
	const batch = 500
	r := rand.New(rand.NewPCG(1, 2))
	for first := 0; first < users; first += batch {
		in := &Loaded{}
		for n := first; n < min(users, first+batch); n++ {
			key := user(1_000_000 + 9*n)
			l, load := s.Open(key, 1, fmt.Sprintf("private-chorus.user.%s", key))
			if !load {
				t.Fatalf("user %s is known", key)
			}
			read := &loaded{Load: l, attributes: []filter.Value{filter.OfText("editor"), filter.OfInt(int64(n % 100))}}
			for range memberships {
				id := r.IntN(10_000_000)
				read.rows = append(read.rows, loadedRow{
					fmt.Sprintf("platform_user [%d]", id),
					grant{user: key, scope: scope("platform", id%scopes)},
				})
			}
			in.users = append(in.users, read)
		}
		if _, err := s.Finish(in); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMemory: what connected users with 20 memberships each take; with TEST_FULL
// 50,000 of them.
func TestMemory(t *testing.T) {
	const memberships = 20
	users := 10_000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	sizes := []int{100_000}
	if os.Getenv("TEST_FULL") != "" {
		users, sizes = 50_000, []int{20, 2_000, 500_000}
	}
	most := uint64(users) * 5 << 10
	for _, scopes := range sizes {
		before := heap()
		s := newState(fakeRules{}, Config{}, time.UnixMicro(0))
		crowd(t, s, users, memberships, scopes)
		used := heap() - before
		t.Logf("%d users with %d memberships in %d scopes take %.1f MiB, %d bytes a membership",
			users, memberships, scopes, float64(used)/(1<<20), used/uint64(users*memberships))
		if used > most {
			t.Errorf("that is more than %d MiB", most>>20)
		}
		runtime.KeepAlive(s)
	}
}

func BenchmarkView(b *testing.B) {
	s := newState(fakeRules{}, Config{}, time.UnixMicro(0))
	crowd(b, s, 10_000, 20, 20)
	_, now := s.Views()
	all := now.Everyone("")
	b.Run("IsMember", func(b *testing.B) {
		key := scope("platform", 7)
		for n := range b.N {
			now.IsMember(all[n%len(all)], key)
		}
	})
	b.Run("Members", func(b *testing.B) {
		key := scope("platform", 7)
		for range b.N {
			now.Members(key, nil)
		}
	})
	b.Run("Apply", func(b *testing.B) { // a user joins a scope of 10,000 and leaves it
		_, others := s.Views()
		members := len(others.Members(scope("platform", 1), nil))
		b.ReportMetric(float64(members), "members")
		none := func(Note) error { return nil }
		for n := range b.N {
			values := []int{n, 1, 1_000_000 + 9*(n%10_000), 1, null}
			for _, c := range [][2][]int{{nil, values}, {values, nil}} {
				s.Begin()
				if err := s.Apply(change(platformUser, c[0], c[1]), none); err != nil {
					b.Fatal(err)
				}
				s.Commit()
			}
		}
	})
	b.Run("ApplyAndLookBack", func(b *testing.B) {
		none := func(Note) error { return nil }
		for n := range b.N {
			values := []int{n, 1, 2_000_000 + 9*(n%10_000), 1, null}
			s.Begin()
			if err := s.Apply(change(platformUser, nil, values), none); err != nil {
				b.Fatal(err)
			}
			old, _ := s.Views()
			old.Members(scope("platform", 1), nil)
			s.Commit()
		}
	})
}
