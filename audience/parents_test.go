package audience

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/mapping"
)

// TestParentsAreBounded: those that were used last stay, by number and by bytes.
func TestParentsAreBounded(t *testing.T) {
	s := newState(fakeRules{}, Config{Parents: 3, ParentBytes: 10_000}, time.Now())
	_, v := s.Views()
	known := func(want ...int) {
		t.Helper()
		for n := range 6 {
			// not by the view, which would be a use
			_, is := s.parents.byRef[postRef("", n)]
			if should := slices.Contains(want, n); is != should {
				t.Errorf("parent %d is known: %t, want %t", n, is, should)
			}
		}
	}
	for n := range 3 {
		s.Put(postRef("", n), mapping.Parent{})
	}
	v.Parent(postRef("", 0))
	s.Put(postRef("", 3), mapping.Parent{Exists: true, Values: []string{"1"}})
	known(0, 2, 3)
	s.Put(postRef("", 2), mapping.Parent{Exists: true, Values: []string{strings.Repeat("x", 8_000)}})
	known(0, 2, 3)
	s.Put(postRef("", 4), mapping.Parent{Exists: true, Values: []string{strings.Repeat("x", 5_000)}})
	known(4)
	if p, ok := v.Parent(postRef("", 4)); !ok || !p.Exists || s.parents.bytes < 5_000 || s.parents.bytes > 6_000 {
		t.Errorf("%d bytes are counted", s.parents.bytes)
	}
	s.Forget(posts.Name)
	known()
	if s.parents.bytes != 0 || s.parents.order.Len() != 0 {
		t.Errorf("%d bytes of nothing", s.parents.bytes)
	}
}

// TestParentsOfATransaction: what the log says goes before what was read, and
// both views know it, however little room there is.
func TestParentsOfATransaction(t *testing.T) {
	s := newState(fakeRules{}, Config{Parents: 1}, time.Now())
	s.Begin()
	for n := range 5 {
		if err := s.Apply(change(posts, []int{n, null, 1}, []int{n, 100 + n, 2}), nil); err != nil {
			t.Fatal(err)
		}
	}
	s.Put(postRef("", 0), mapping.Parent{}) // was read too late
	old, now := s.Views()
	for n := range 5 {
		was, _ := old.Parent(postRef("", n))
		is, _ := now.Parent(postRef("", n))
		none, known := old.Parent(postRef("uuid", 100+n))
		if len(was.Values) != 1 || was.Values[0] != "1" || is.Values[0] != "2" || none.Exists || !known {
			t.Errorf("parent %d was %v, is %v, by its new key was %v (%t)", n, was, is, none, known)
		}
	}
	if fx := s.Commit(); len(fx.Parents) != 10 || s.parents.order.Len() != 1 {
		t.Errorf("%d effects, %d kept", len(fx.Parents), s.parents.order.Len())
	}
}

// TestManyParentsOfATransaction: of more than are kept, none is known to be
// what it was, before or after; they are read, as they are after it.
func TestManyParentsOfATransaction(t *testing.T) {
	s := newState(fakeRules{}, Config{Changed: 4}, time.Now())
	for n := range 5 {
		s.Put(postRef("", n), mapping.Parent{Exists: true, Values: []string{"1"}})
	}
	s.Begin()
	for n := range 5 {
		if err := s.Apply(change(posts, []int{n, 100 + n, 1}, []int{n, 100 + n, 2}), nil); err != nil {
			t.Fatal(err)
		}
	}
	old, now := s.Views()
	if old == now {
		t.Error("both views are the same")
	}
	for n := range 5 {
		was, known := old.Parent(postRef("", n))
		is, _ := now.Parent(postRef("", n))
		if should := n < 2; known != should || should && (was.Values[0] != "1" || is.Values[0] != "2") {
			t.Errorf("parent %d was %v (%t) and is %v", n, was, known, is)
		}
	}
	s.Put(postRef("", 4), mapping.Parent{Exists: true, Values: []string{"2"}})
	if is, known := now.Parent(postRef("", 4)); !known || is.Values[0] != "2" {
		t.Errorf("parent 4 was read, and is %v", is)
	}
	if fx := s.Commit(); len(fx.Lost) != 2 || len(fx.Parents) != 0 {
		t.Errorf("effects: %+v", fx)
	}
	s.Begin()
	if fx := s.Commit(); len(fx.Lost) != 0 {
		t.Error("the next transaction has lost something, too")
	}
}
