package relay

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chorusd/chorusd/mapping"
)

// The conditions of these tests.
const (
	fromDue  = "due_at == nil or due_at <= now"
	untilDue = "due_at == nil or due_at > now"
)

// newTimed makes a rig of which nothing runs yet, with a bound in its
// condition. Users 7 and 8 are there from the start.
func newTimed(t *testing.T, where string) *rig {
	t.Helper()
	r := newRig(t)
	r.shape = todos
	r.mapper = func(t testing.TB) *mapping.Mapper {
		t.Helper()
		return mapperOf(t, mapping.Table{
			Fields: []string{"id", "user_id", "v"}, VisibleTo: mapping.AnyOf("user:{user_id}"), Where: where,
		})
	}
	r.subscribe(7)
	r.subscribe(8)
	return r
}

// begin runs a relay until it has nothing to do.
func (r *rig) begin() {
	r.t.Helper()
	r.start()
	r.poll()
	r.pass(r.clock)
	r.caughtUp()
}

// pass lets the time pass until so many seconds after epochTime.
func (r *rig) pass(clock int) {
	r.t.Helper()
	r.quiet(clock)
	eventually(r.t, "the clock is there", func() bool { return !r.relay.timers.now().Before(inSeconds(clock)) })
}

// wasTold checks what a user was told.
func (r *rig) wasTold(user int, want ...string) {
	r.t.Helper()
	if got := r.on(userChannel(user)); !slices.Equal(got, want) {
		r.t.Errorf("user %d was told %q, want %q", user, got, want)
	}
}

func TestClockBringsRows(t *testing.T) {
	t.Parallel()
	r := newTimed(t, fromDue)
	r.begin()
	r.commit(put(1, 7), due(2, 7, 60), due(3, 8, 60), due(4, 7, 120), due(5, 9, 60))
	r.caughtUp()
	r.wasTold(7, "create 1 v1")
	r.pass(59)
	r.caughtUp()
	r.wasTold(7, "create 1 v1")
	r.pass(60)
	r.caughtUp()
	r.wasTold(7, "create 1 v1", "update 2 v2")
	r.wasTold(8, "update 3 v3")
	// The time of a transaction moves the clock, too, but never back.
	r.commit(put(6, 8))
	r.pass(121)
	r.caughtUp()
	r.wasTold(7, "create 1 v1", "update 2 v2", "update 4 v4")
	r.wasTold(8, "update 3 v3", "create 6 v6")
	r.wasTold(9)
}

// TestClockOfOthersTransactions: where other tables change all the time, the
// log has no end to wait at.
func TestClockOfOthersTransactions(t *testing.T) {
	t.Parallel()
	r := newTimed(t, fromDue)
	r.begin()
	r.commit(due(1, 7, 60), due(2, 7, 120))
	r.elsewhere(59)
	r.caughtUp()
	r.wasTold(7)
	r.elsewhere(61)
	r.caughtUp()
	r.wasTold(7, "update 1 v1")
}

func TestClockTakesRows(t *testing.T) {
	t.Parallel()
	r := newTimed(t, untilDue)
	r.begin()
	r.commit(put(1, 7), due(2, 7, 60), due(3, 8, 60), due(4, 7, 120))
	r.pass(60)
	r.caughtUp()
	r.wasTold(7, "create 1 v1", "create 2 v2", "create 4 v4", "delete 2 ")
	r.wasTold(8, "create 3 v3", "delete 3 ")
	// Of a row that nobody sees any more, its change tells nobody either.
	r.commit(due(2, 7, 59), del(3))
	r.caughtUp()
	r.wasTold(8, "create 3 v3", "delete 3 ")
	r.wasTold(7, "create 1 v1", "create 2 v2", "create 4 v4", "delete 2 ")
}

// TestClockOfALogReadLate: while more is to be read, the time of the day is not
// what rows are judged by.
func TestClockOfALogReadLate(t *testing.T) {
	t.Parallel()
	r := newTimed(t, fromDue)
	r.begin()
	r.commit(due(1, 7, 60))
	r.commit(due(1, 7, 3600))
	r.pass(61)
	r.caughtUp()
	r.wasTold(7)
}

// TestClockOverARestart: what it crosses while nobody reads is told by the next
// run, and what was told before is not told again.
func TestClockOverARestart(t *testing.T) {
	t.Parallel()
	r := newTimed(t, fromDue)
	r.begin()
	r.commit(due(1, 7, 60), due(2, 7, 120), due(3, 8, 180))
	r.pass(60)
	r.caughtUp()
	r.wasTold(7, "update 1 v1")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if clock := r.savedClock(); !clock.Equal(inSeconds(60)) {
		t.Errorf("the clock is saved as %s, want %s", clock, inSeconds(60))
	}
	r.quiet(150)
	r.begin()
	r.wasTold(7, "update 1 v1", "update 2 v2")
	r.wasTold(8)
	r.pass(180)
	r.caughtUp()
	r.wasTold(8, "update 3 v3")
}

// savedClock is what Redis holds.
func (r *rig) savedClock() time.Time {
	r.t.Helper()
	store := r.open()
	defer store.Close()
	clock, err := store.Clock(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return clock
}

// TestClockIsSavedBehindWhatIsTold: a crash before rows were accepted has them
// told by the next run.
func TestClockIsSavedBehindWhatIsTold(t *testing.T) {
	t.Parallel()
	r := newTimed(t, fromDue)
	r.begin()
	r.commit(due(1, 7, 60))
	r.caughtUp()
	reached, open := r.gate("page")
	defer open()
	r.pass(60)
	<-reached
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if clock := r.savedClock(); !clock.Before(inSeconds(60)) {
		t.Errorf("the clock is saved as %s, and nobody was told yet", clock)
	}
	r.onStep(nil)
	r.begin()
	r.wasTold(7, "update 1 v1")
}

// TestAbsentUsersAndTheClock: who comes back gets what the clock brought and
// took meanwhile; with a full window he is told to load again.
func TestAbsentUsersAndTheClock(t *testing.T) {
	for _, window := range []int{1000, 0} {
		t.Run(fmt.Sprint("window ", window), func(t *testing.T) {
			t.Parallel()
			r := newTimed(t, fromDue)
			r.unsubscribe(7)
			r.begin()
			r.commit(due(1, 7, 60), due(2, 8, 60))
			r.caughtUp()
			r.poll() // it may have been begun before the commit, whose own keys are kept from then on
			r.poll()
			r.relay.mu.Lock()
			r.relay.cfg.Window = window
			r.relay.mu.Unlock()
			r.pass(60)
			r.caughtUp()
			r.wasTold(8, "update 2 v2")
			r.subscribe(7)
			r.poll()
			r.caughtUp()
			want := []string{"update 1 v1"}
			if window == 0 {
				want = []string{"reload"}
			}
			r.wasTold(7, want...)
		})
	}
}

// TestRowsThatChangeWhileTheClockCrosses: what was read for a timer is not what
// is sent of a row that has changed since.
func TestRowsThatChangeWhileTheClockCrosses(t *testing.T) {
	for _, tt := range []struct {
		where  string
		change todo
		want   []string
	}{
		{untilDue, del(1), []string{"create 1 v1", "delete 1 "}},
		{untilDue, due(1, 7, 1), []string{"create 1 v1", "delete 1 "}},
		{untilDue, due(1, 7, 3600), []string{"create 1 v1", "create 1 v2"}},
		{untilDue, due(1, 8, 3600), []string{"create 1 v1", "delete 1 "}},
		{fromDue, due(1, 7, 1), []string{"update 1 v2"}},
		{fromDue, todo{ID: 1, User: 7, Due: 1, V: "v1"}, []string{"update 1 v1"}},
		{fromDue, due(1, 7, 3600), []string{"delete 1 v1"}},
	} {
		t.Run(fmt.Sprintf("%s, %+v", tt.where, tt.change), func(t *testing.T) {
			t.Parallel()
			r := newTimed(t, tt.where)
			r.begin()
			r.commit(due(1, 7, 60))
			r.caughtUp()
			reached, open := r.gate("page")
			defer open()
			r.pass(60)
			<-reached
			r.commit(tt.change)
			eventually(t, "the change is settled", func() bool {
				at, _ := r.relay.ledger.settled()
				return at == position(r.head()).String()
			})
			open()
			r.caughtUp()
			r.wasTold(7, tt.want...)
		})
	}
}

// TestManyRowsAtOnce: they are read by pages, between which other jobs have
// their turn.
func TestManyRowsAtOnce(t *testing.T) {
	t.Parallel()
	r := newTimed(t, fromDue)
	r.begin()
	const rows = 2*pageRows + 50
	var list []todo
	var want []string
	for n := range rows {
		list = append(list, due(1+n, 7, 60))
		want = append(want, fmt.Sprintf("update %d v%d", 1+n, 1+n))
	}
	r.commit(list...)
	r.caughtUp()
	before := len(r.readings())
	r.pass(60)
	r.caughtUp()
	r.wasTold(7, want...)
	if n := len(r.readings()) - before; n != 4 {
		t.Errorf("%d pages were read, want 3 of rows and one ahead", n)
	}
}

// readings are the points after which rows were asked for.
func (w *world) readings() []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.reads)
}

// TestTimers: when they go off.
func TestTimers(t *testing.T) {
	wall := time.Now()
	ts := newTimers(time.Time{})
	ts.add("a")
	if !ts.tick(inSeconds(0)) {
		t.Error("the first time is nothing to do for")
	}
	off := func(want string) *timer {
		t.Helper()
		one, _ := ts.take(wall)
		if one == nil && want == "" || one != nil && one.table == want {
			return one
		}
		t.Fatalf("timer %+v goes off, want %q", one, want)
		return nil
	}
	a := off("a")
	if a.sweep.told != inSeconds(0) || a.sweep.upto != inSeconds(0) {
		t.Errorf("at first it reads %+v", a.sweep)
	}
	// A row that is written meanwhile counts.
	ts.ahead("a", inSeconds(0), inSeconds(30))
	ts.done(a, "", inSeconds(40), wall)
	if ts.tick(inSeconds(29)) || !ts.tick(inSeconds(30)) {
		t.Error("it does not go off at the bound of a row that was written")
	}
	if one, wait := ts.take(wall); one != nil || wait != sweepRest {
		t.Errorf("it goes off again after %s", wait)
	}
	wall = wall.Add(sweepRest)
	ts.add("b")
	// They take turns.
	b := off("b")
	ts.done(b, "x", time.Time{}, wall)
	a = off("a")
	ts.done(a, "x", time.Time{}, wall)
	ts.done(off("b"), "", inSeconds(1000), wall)
	ts.done(off("a"), "", inSeconds(1000), wall)
	off("")
	if n := ts.pending(); n != 0 {
		t.Errorf("%d are pending", n)
	}
	if told := ts.settled(); told != inSeconds(30) {
		t.Errorf("everybody was told up to %s", told)
	}
	ts.tick(inSeconds(60))
	if told := ts.settled(); told != inSeconds(30) {
		t.Errorf("everybody was told up to %s", told)
	}
	if at := ts.of["a"].next; at != inSeconds(30).Add(sweepAhead) {
		t.Errorf("without a bound in sight it goes off at %s", at)
	}
	ts.remove("a")
	ts.remove("b")
	if told := ts.settled(); told != inSeconds(60) {
		t.Errorf("without timers everybody was told up to %s", told)
	}
}
