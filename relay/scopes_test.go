package relay

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// newScopeRig makes a rig whose clients are told of scopes by messages. Todos
// of a team are its members', who are those that a todo "member" names.
func newScopeRig(t *testing.T, fields ...string) *rig {
	t.Helper()
	r := newRig(t)
	r.cfg.ScopeMessages = true
	r.mapper = func(t testing.TB) *mapping.Mapper {
		t.Helper()
		m, problems := mapping.New(mapping.Config{
			UserChannel: "chorus.user.{id}",
			Scopes: map[string]mapping.Scope{"team": {Members: []mapping.Members{
				{Source: "todos", Scope: "team_id", User: "user_id", Where: `v == "member"`},
			}}},
			Tables: map[string]mapping.Table{"todos": {Fields: fields, VisibleTo: mapping.AnyOf("team:{team_id}", "user:{user_id}")}},
		}, "app", time.UTC)
		problems = append(problems, m.Check(map[binlog.TableName]*binlog.Table{todos.Name: todos})...)
		for _, p := range problems {
			t.Fatal(p)
		}
		return m
	}
	return r
}

func member(id, user, team int) todo { return todo{ID: id, User: user, Team: team, V: "member"} }

// mine is what user 7 is to have.
func (r *rig) mine() map[int]todo {
	rows := r.all()
	teams := map[int]bool{}
	for _, d := range rows {
		if d.User == 7 && d.V == "member" {
			teams[d.Team] = true
		}
	}
	maps.DeleteFunc(rows, func(_ int, d todo) bool { return d.User != 7 && !teams[d.Team] })
	return rows
}

// told are the messages to user 7 after the first n: the last one for each
// record, since others may come again, and all others.
func (r *rig) told(n int) []string { return sorted(slices.Compact(sorted(r.on(userChannel(7))[n:]))) }

// TestScopeThatIsLostIsOneMessage: to a client that is there, and to one that
// comes back. It keeps what it sees by another entry.
func TestScopeThatIsLostIsOneMessage(t *testing.T) {
	r := newScopeRig(t, "id", "user_id", "team_id", "v")
	r.commit(member(100, 7, 3), member(101, 7, 4), shared(1, 3), shared(2, 3), todo{ID: 3, User: 7, Team: 3}, shared(4, 4))
	r.occupy(userChannel(7), r.mine())
	r.start()
	r.poll()
	r.caughtUp()
	check := func(when string, from int, want ...string) {
		t.Helper()
		r.caughtUp()
		if got := r.told(from); !slices.Equal(got, sorted(want)) {
			t.Errorf("%s: told %q, want %q", when, got, want)
		}
		if got, want := r.has(7), r.mine(); !maps.Equal(got, want) {
			t.Errorf("%s: the client has %v, the database %v", when, sortedRows(got), sortedRows(want))
		}
	}
	at := len(r.on(userChannel(7)))
	r.commit(del(100))
	check("lost", at, "delete 100 member", "scope-revoked", "update 3 v3")

	at = len(r.on(userChannel(7)))
	r.commit(member(100, 7, 3))
	check("gained", at, "create 100 member", "scope-granted", "update 1 v1", "update 2 v2")

	had := r.has(7)
	r.unsubscribe(7)
	eventually(t, "the channel lapses", func() bool {
		r.poll()
		return !r.isActive(7)
	})
	at = len(r.on(userChannel(7)))
	r.commit(del(100), shared(1, 5))
	r.occupy(userChannel(7), had)
	r.poll()
	check("lost while away", at, "delete 100 ", "delete 1 ", "scope-revoked", "update 3 v3")
}

// TestScopeThatIsLostOverARestart: the process ends after the message and
// before what follows it.
func TestScopeThatIsLostOverARestart(t *testing.T) {
	r := newScopeRig(t, "id", "user_id", "team_id", "v")
	r.commit(member(100, 7, 3), shared(1, 3), todo{ID: 3, User: 7, Team: 3})
	r.occupy(userChannel(7), r.mine())
	r.start()
	r.poll()
	r.caughtUp()
	reached, open := r.gate("page")
	defer open()
	r.commit(del(100))
	<-reached
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := r.has(7); len(got) != 0 {
		t.Errorf("the client has %v, want nothing but what follows", sortedRows(got))
	}
	r.onStep(nil)
	r.start()
	r.poll()
	r.caughtUp()
	if got, want := r.has(7), r.mine(); !maps.Equal(got, want) {
		t.Errorf("the client has %v, the database %v", sortedRows(got), sortedRows(want))
	}
}

// TestRowsThatCannotBeDescribed: clients do not get the column that says whose
// rows are, so each is taken away by its key.
func TestRowsThatCannotBeDescribed(t *testing.T) {
	r := newScopeRig(t, "id", "user_id", "v")
	r.commit(member(100, 7, 3), shared(1, 3), shared(2, 3))
	r.start()
	r.subscribe(7)
	r.poll()
	r.caughtUp()
	at := len(r.on(userChannel(7)))
	r.commit(del(100))
	r.caughtUp()
	if got, want := r.told(at), []string{"delete 1 ", "delete 100 member", "delete 2 ", "scope-revoked"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// TestPastIsBounded: while a refill does not come to its end, a user joins a
// team and leaves it, again and again. What is kept of that is bounded: now and
// then he is told to load again, and refills from before that are given up.
func TestPastIsBounded(t *testing.T) {
	const kept, turns = 10, 20
	r := newScopeRig(t, "id", "user_id", "team_id", "v")
	r.cfg.ScopeMessages, r.past = false, kept
	r.sees = func(_ string, d todo) bool {
		_, mine := r.mine()[d.ID]
		return mine
	}
	r.commit(member(100, 7, 3), shared(1, 3), shared(2, 3))
	r.occupy(userChannel(7), r.mine())
	r.start()
	r.poll()
	r.caughtUp()
	var pages atomic.Int32
	reached, open := make(chan struct{}), make(chan struct{})
	r.onStep(func(ctx context.Context, name string) error {
		if name != "page" {
			return nil
		}
		if pages.Add(1) > 1 {
			return nil
		}
		close(reached)
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	r.commit(del(100))
	<-reached
	for range turns {
		r.commit(member(100, 7, 3))
		r.commit(del(100))
	}
	r.commit(member(100, 7, 3))
	eventually(t, "all is routed and accepted", func() bool {
		at, _ := r.relay.ledger.settled()
		return at == position(r.head()).String()
	})
	err := r.relay.between(t.Context(), func(context.Context) error {
		if size := r.relay.past.size; size > kept {
			t.Errorf("%d changes are kept, want at most %d", size, kept)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	reloads := 0
	for _, text := range r.on(userChannel(7)) {
		if text == "reload" {
			reloads++
		}
	}
	if want := (2 + 2*turns) / (kept + 1); reloads != want {
		t.Errorf("told to load again %d times, want %d", reloads, want)
	}
	close(open)
	r.caughtUp()
	if n := pages.Load(); n > 1+kept {
		t.Errorf("%d pages were read, of refills in place of which the user was told to load again, too", n)
	}
	if got, want := r.has(7), r.mine(); !maps.Equal(got, want) {
		t.Errorf("the client has %v, the database %v", sortedRows(got), sortedRows(want))
	}
	if jobs, err := r.store.Jobs(t.Context()); err != nil || len(jobs) > 0 {
		t.Errorf("in Redis there are still %v, %v", jobs, err)
	}
}
