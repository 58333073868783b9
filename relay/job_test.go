package relay

import (
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// TestJobSelects says of which changes a job is told whose rows are still to
// be read: they may be elsewhere when it comes to them.
func TestJobSelects(t *testing.T) {
	parent := &movedParent{Ref: mapping.ParentRef{Table: binlog.TableName{Schema: "app", Table: "posts"}, Key: "[5]"}}
	for _, c := range []struct {
		about   string
		item    redisstate.RecordKey
		streams []mapping.ScopeKey
		want    bool
	}{
		{"of the scope", selection{Scope: "team:3"}.item(""), []mapping.ScopeKey{"team:4", "team:3"}, true},
		{"of the scope in one table", selection{Scope: "team:3"}.item("todos"), []mapping.ScopeKey{"team:3"}, true},
		{"of another scope", selection{Scope: "team:3"}.item(""), []mapping.ScopeKey{"team:1", "user:7"}, false},
		{"below a parent", selection{Parent: parent}.item(""), []mapping.ScopeKey{"team:1"}, false},
		{"beside a record", redisstate.RecordKey{Table: "todos", Key: "[1]"}, []mapping.ScopeKey{"team:1"}, false},
	} {
		r := &Relay{selecting: map[*job]bool{}}
		j := &job{items: []redisstate.JobItem{{RecordKey: c.item}}}
		r.look(j)
		if got := j.selects(c.streams); got != c.want {
			t.Errorf("a change %s: %v, want %v", c.about, got, c.want)
		}
	}
	r := &Relay{selecting: map[*job]bool{}}
	j := &job{items: []redisstate.JobItem{{RecordKey: selection{Parent: parent}.item("todos")}}}
	if r.look(j); len(j.parents) != 1 || j.parents[0].Ref != parent.Ref || !r.selecting[j] {
		t.Errorf("a job with rows below a parent to read has the parents %v", j.parents)
	}
	j.items = nil
	if r.look(j); len(j.parents) != 0 || r.selecting[j] {
		t.Error("a job that has read everything selects rows still")
	}
}
