package relay

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// TestSelects says for which items the past is kept: those that stand for rows
// which may be elsewhere when it is their turn.
func TestSelects(t *testing.T) {
	parents := &movedParents{Table: binlog.TableName{Schema: "app", Table: "posts"}, Parents: []movedParent{{Key: "[5]"}}}
	for _, c := range []struct {
		item redisstate.RecordKey
		want bool
	}{
		{selection{Scope: "team:3"}.item(""), true},
		{selection{Scope: "team:3", All: true}.item("todos"), true},
		{selection{Parents: parents}.item(""), true},
		{selection{User: "7"}.item(""), false}, // there are jobs for his scopes
		{selection{Keys: []string{"[1]"}, Ask: askChanged}.item("todos"), false},
		{redisstate.RecordKey{Table: "todos", Key: "[1]"}, false},
		{redisstate.RecordKey{Key: `{"reset":{}}`}, false},
	} {
		if got := selects(redisstate.JobItem{RecordKey: c.item}); got != c.want {
			t.Errorf("%s: %v, want %v", c.item.Key, got, c.want)
		}
	}
}

// TestHold: a selection that was worked off is given up when there is no other.
func TestHold(t *testing.T) {
	r := &Relay{selecting: map[*job]bool{}, listed: map[string]*job{}}
	item := redisstate.JobItem{RecordKey: selection{Scope: "team:3"}.item("todos")}
	record := redisstate.JobItem{RecordKey: redisstate.RecordKey{Table: "todos", Key: "[1]"}}
	j := &job{id: "a", items: []redisstate.JobItem{record, item}}
	r.listed[j.id] = j
	r.look(j)
	others := r.hold(j, []redisstate.JobItem{record, item})
	if len(others) != 1 || others[0] != record || len(j.held) != 1 || r.selecting[j] {
		t.Errorf("%d others, %d held, selecting %v", len(others), len(j.held), r.selecting[j])
	}
	j.items = nil
	if r.look(j); r.listed[j.id] == nil {
		t.Error("a job that holds something is given up")
	}
	j.held = nil
	if r.look(j); r.listed[j.id] != nil {
		t.Error("a job with nothing left is kept")
	}
}

// TestMovedParentsShareItems: of a bulk write, a hundred parents are one item.
func TestMovedParentsShareItems(t *testing.T) {
	var changes []audience.ParentChange
	was := func(id int) mapping.Parent {
		if id%2 == 0 {
			return mapping.Parent{}
		}
		return mapping.Parent{Exists: true, Values: []string{strconv.Itoa(id)}}
	}
	const each = 2*movedAtOnce + 1
	for id := range 2 * each {
		for _, table := range []string{"posts", "threads"} {
			ref := mapping.ParentRef{Table: binlog.TableName{Schema: "app", Table: table}, Key: fmt.Sprintf("[%d]", id)}
			changes = append(changes, audience.ParentChange{Ref: ref, Was: was(id)})
		}
	}
	list, keys := moved(changes), map[string]int{}
	for _, m := range list {
		s, err := parseSelection(selection{Parents: m}.item("").Key)
		if err != nil {
			t.Fatal(err)
		}
		keys[s.Parents.Table.Table] += len(s.Parents.Parents)
		there := s.Parents.Parents[0].Was.Exists
		p := newPast()
		if s.Parents.noteIn(p, 0); p.empty() == there {
			t.Errorf("of parents without rows %d are noted; they were there: %v", len(p.parents), there)
		}
		s.Parents.noteIn(p, 1)
		for i, parent := range s.Parents.Parents {
			id, err := strconv.Atoi(strings.Trim(parent.Key, "[]"))
			if err != nil {
				t.Fatal(err)
			}
			if got := p.parents[s.Parents.ref(i)]; len(got) != 1 || !reflect.DeepEqual(got[0], was(id)) {
				t.Errorf("of parent %s is known that it was %v, want %v", parent.Key, got, was(id))
			}
		}
	}
	if len(list) != 2*2*3 || keys["posts"] != 2*each || keys["threads"] != 2*each {
		t.Errorf("%d items name %v", len(list), keys)
	}
}

// TestHalves: no parent is lost or there twice.
func TestHalves(t *testing.T) {
	for n := 2; n < 6; n++ {
		m := &movedParents{Unique: "code"}
		for id := range n {
			m.Parents = append(m.Parents, movedParent{Key: fmt.Sprintf("[%d]", id)})
		}
		halves := m.halves()
		together := slices.Concat(halves[0].Parents, halves[1].Parents)
		if !reflect.DeepEqual(together, m.Parents) || len(halves[0].Parents) != n/2 || halves[0].Unique != "code" || halves[1].Unique != "code" {
			t.Errorf("%d parents become %v and %v", n, halves[0], halves[1])
		}
	}
}
