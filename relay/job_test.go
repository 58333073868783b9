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
	list, keys := moved(changes, 7), map[string]int{}
	for _, m := range list {
		s, err := parseSelection(selection{Parents: m}.item("").Key)
		if err != nil {
			t.Fatal(err)
		}
		keys[s.Parents.Table.Table] += len(s.Parents.Parents)
		p := newPast(0)
		s.Parents.noteIn(p)
		for i, parent := range s.Parents.Parents {
			id, err := strconv.Atoi(strings.Trim(parent.Key, "[]"))
			if err != nil {
				t.Fatal(err)
			}
			if got := p.parents[s.Parents.ref(i)]; !reflect.DeepEqual(got, former[mapping.Parent]{{7, was(id)}}) {
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

// TestGatherParents: what waits for the same reading is read with it, and
// nothing else.
func TestGatherParents(t *testing.T) {
	parents := func(table, unique string, there bool, keys ...string) *movedParents {
		m := &movedParents{Table: binlog.TableName{Schema: "app", Table: table}, Unique: unique}
		for _, key := range keys {
			m.Parents = append(m.Parents, movedParent{key, mapping.Parent{Exists: there}, 1})
		}
		return m
	}
	var many []string
	for i := range movedAtOnce - 2 {
		many = append(many, fmt.Sprintf("[%d]", 100+i))
	}
	item := func(s selection, table string) redisstate.JobItem {
		return redisstate.JobItem{RecordKey: s.item(table)}
	}
	first := selection{Parents: parents("posts", "", true, "[1]"), Part: 1}
	of := func(m *movedParents) redisstate.JobItem { return item(selection{Parents: m, Part: 1}, "notes") }
	alike := []redisstate.JobItem{of(parents("posts", "", true, "[2]", "[1]")), of(parents("posts", "", true, many[1:]...))}
	r := &Relay{jobs: []*job{
		{id: "a", items: []redisstate.JobItem{
			item(first, "notes"), // itself
			alike[0],
			of(parents("threads", "", true, "[3]")),
			of(parents("posts", "code", true, "[3]")),
			of(parents("posts", "", false, "[3]")),
			item(selection{Parents: parents("posts", "", true, "[3]"), Part: 2}, "notes"),
			item(selection{Parents: parents("posts", "", true, "[3]"), Part: 1}, "files"),
			item(selection{Parents: parents("posts", "", true, "[3]"), Part: 1, From: "[9]"}, "notes"),
			item(selection{Parents: parents("posts", "", true, "[3]"), Part: 1, Keys: []string{"[9]"}}, "notes"),
			of(parents("posts", "", true, "[6]", "[7]").halves()[0]),
			item(selection{Scope: "team:3"}, "notes"),
			{RecordKey: redisstate.RecordKey{Table: "notes", Key: "[3]"}},
		}},
		{id: "b", items: []redisstate.JobItem{of(parents("posts", "", true, many...)), alike[1]}}, // too many, and just not
		{id: "c", items: []redisstate.JobItem{of(parents("posts", "", true, "[4]", "[5]"))}},
	}}
	s := first
	others := r.gatherParents(item(first, "notes"), &s)
	var got []redisstate.JobItem
	for _, o := range others {
		got = append(got, o.item)
	}
	if !reflect.DeepEqual(got, alike) || others[0].job.id != "a" || others[1].job.id != "b" {
		t.Errorf("gathered %d items, not the right %d", len(got), len(alike))
	}
	if n := len(s.Parents.Parents); n != 3+len(many)-1 || len(first.Parents.Parents) != 1 || s.Part != 1 {
		t.Errorf("%d parents are read, and the item that they were added to has %d", n, len(first.Parents.Parents))
	}
	for about, s := range map[string]selection{
		"of a page":    {Parents: first.Parents, From: "[9]"},
		"of records":   {Parents: first.Parents, Keys: []string{"[9]"}},
		"of a scope":   {Scope: "team:3"},
		"of a half":    {Parents: parents("posts", "", true, "[1]", "[2]").halves()[1]},
		"of the most":  {Parents: parents("posts", "", true, append(many, "[1]", "[2]")...)},
		"asked for no": {Parents: first.Parents, Ask: askChanged},
	} {
		if others := r.gatherParents(item(s, "notes"), &s); others != nil {
			t.Errorf("a selection %s gathers %v", about, others)
		}
	}
}
