package relay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// newTimedScopeRig makes a rig of which nothing runs yet. Todos of a team are
// its members', who are those that a todo "member" names while a condition
// holds.
func newTimedScopeRig(t *testing.T, where string) *rig {
	t.Helper()
	r := newRig(t)
	r.mapper = func(t testing.TB) *mapping.Mapper {
		t.Helper()
		m, problems := mapping.New(mapping.Config{
			UserChannel: "chorus.user.{id}",
			Scopes: map[string]mapping.Scope{"team": {Members: []mapping.Members{
				{Source: "todos", Scope: "team_id", User: "user_id", Where: `v == "member" and (` + where + ")"},
			}}},
			Tables: map[string]mapping.Table{"todos": {Fields: []string{"id", "v"}, VisibleTo: mapping.AnyOf("team:{team_id}"), Where: `v != "member"`}},
		}, "app", time.UTC)
		problems = append(problems, m.Check(map[binlog.TableName]*binlog.Table{todos.Name: todos})...)
		for _, p := range problems {
			t.Fatal(p)
		}
		return m
	}
	return r
}

// TestMembershipsThatAnAppReadsBefore: the app's clock is past a time of user
// 7's membership, the log's is not yet, and until it is, rows change.
func TestMembershipsThatAnAppReadsBefore(t *testing.T) {
	until := func(due int) todo { return todo{ID: 100, User: 7, Team: 3, V: "member", Due: due} }
	moved := todo{ID: 1, Team: 4, V: "v1"}
	for _, c := range []struct {
		about, where string
		changes      []todo
		clock        int // when they have been told; 0: it stands
		want         []string
	}{
		{about: "a row goes", where: fromDue, changes: []todo{del(1)}, want: []string{"delete 1 "}},
		{about: "a row moves", where: fromDue, changes: []todo{moved}, want: []string{"delete 1 "}},
		{about: "a row changes", where: fromDue, changes: []todo{{ID: 1, Team: 3, V: "new"}}},
		{about: "and then it is time", where: fromDue, changes: []todo{{ID: 1, Team: 3, V: "new"}}, clock: 60, want: []string{"update 1 new", "update 2 v2"}},
		{about: "the membership goes", where: fromDue, changes: []todo{del(100)}, want: []string{"delete 1 ", "delete 2 "}},
		{about: "it is put off", where: fromDue, changes: []todo{until(70)}, want: []string{"delete 1 ", "delete 2 "}},
		{about: "both go", where: fromDue, changes: []todo{del(100), del(1)}, want: []string{"delete 1 ", "delete 2 "}},
		{about: "it would have ended, and does not", where: untilDue, changes: []todo{until(70)}, want: []string{"update 1 v1", "update 2 v2"}},
		{about: "another one begins", where: untilDue, changes: []todo{{ID: 101, User: 7, Team: 3, V: "member"}}, want: []string{"update 1 v1", "update 2 v2"}},
	} {
		for _, there := range []bool{true, false} {
			if !there && (c.clock > 0 || len(c.want) == 0) {
				continue // who comes is told that he does not see it, whether or not he has it
			}
			t.Run(fmt.Sprintf("%s, there %t", c.about, there), func(t *testing.T) {
				t.Parallel()
				r := newTimedScopeRig(t, c.where)
				r.commit(until(60), todo{ID: 1, Team: 3, V: "v1"}, todo{ID: 2, Team: 3, V: "v2"})
				if there {
					r.subscribe(7)
				}
				r.start()
				r.poll()
				r.pass(59)
				r.caughtUp()
				r.poll() // what was kept before is not of the next
				r.poll()
				at := len(r.on(userChannel(7)))
				r.commit(c.changes...)
				r.caughtUp()
				if !there {
					r.subscribe(7)
					r.poll()
					r.caughtUp()
				}
				if c.clock > 0 {
					r.pass(c.clock)
					r.caughtUp()
				}
				if got := r.told(at); !slices.Equal(got, c.want) {
					t.Errorf("told %q, want %q", got, c.want)
				}
			})
		}
	}
}
