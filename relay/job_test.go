package relay

import (
	"fmt"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// TestSelects says for which items the past is kept: those that stand for rows
// which may be elsewhere when it is their turn.
func TestSelects(t *testing.T) {
	parent := &movedParent{Ref: mapping.ParentRef{Table: binlog.TableName{Schema: "app", Table: "posts"}, Key: "[5]"}}
	for _, c := range []struct {
		item redisstate.RecordKey
		want bool
	}{
		{selection{Scope: "team:3"}.item(""), true},
		{selection{Scope: "team:3", All: true}.item("todos"), true},
		{selection{Parent: parent}.item(""), true},
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

// TestInsertedParentsShareItems: of a bulk insert, hundreds of parents are one item.
func TestInsertedParentsShareItems(t *testing.T) {
	var refs []mapping.ParentRef
	for id := range 2*insertedAtOnce + 1 {
		for _, table := range []string{"posts", "threads"} {
			refs = append(refs, mapping.ParentRef{Table: binlog.TableName{Schema: "app", Table: table}, Key: fmt.Sprintf("[%d]", id)})
		}
	}
	keys, items := map[string]int{}, inserted(refs)
	for _, item := range items {
		s, err := parseSelection(item.Key)
		if err != nil {
			t.Fatal(err)
		}
		keys[s.Parent.Ref.Table.Table] += 1 + len(s.Parent.More)
		p := newPast()
		if s.Parent.noteIn(p, 0); !p.empty() {
			t.Error("parents without rows are noted")
		}
		if s.Parent.noteIn(p, 1); len(p.parents) != 1+len(s.Parent.More) {
			t.Errorf("%d of %d parents are noted", len(p.parents), 1+len(s.Parent.More))
		}
	}
	if len(items) != 6 || keys["posts"] != len(refs)/2 || keys["threads"] != len(refs)/2 {
		t.Errorf("%d items name %v", len(items), keys)
	}
}
