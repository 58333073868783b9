package redisstate

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// candidate is one whose requests take no time.
func candidate(name string) Candidate {
	return Candidate{Name: name, App: "shop", Process: "process of " + name, Ended: func(string) bool { return false }}
}

// lead has a Store lead, after whoever does.
func lead(t *testing.T, s *Store, name string) *Leadership {
	t.Helper()
	last, err := s.Leader(t.Context())
	must(t, err)
	l, err := s.Lead(t.Context(), candidate(name), last)
	must(t, err)
	if l == nil {
		t.Fatalf("%s does not come to lead", name)
	}
	return l
}

func expectLeader(t *testing.T, s *Store, want string) {
	t.Helper()
	leader, err := s.Leader(t.Context())
	must(t, err)
	if leader.Name != want || leader.Leads() != (want != "") {
		t.Errorf("%q leads (%v), want %q", leader.Name, leader.Leads(), want)
	}
}

func ignored(Leader) error { return nil }

func testOneOfManyLeads(t *testing.T, on setup) {
	c := on.config(t)
	const daemons = 8
	var wg sync.WaitGroup
	leads, errs := make([]*Leadership, daemons), make([]error, daemons)
	for i := range daemons {
		s := open(t, c)
		wg.Go(func() { leads[i], errs[i] = s.Lead(t.Context(), candidate(fmt.Sprint(i)), Leader{}) })
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	var leader []string
	for i, l := range leads {
		if l != nil {
			leader = append(leader, fmt.Sprint(i))
		}
	}
	if len(leader) != 1 {
		t.Fatalf("%v lead, want one", leader)
	}
	expectLeader(t, open(t, c), leader[0])
}

// Whatever a leader is told to do after another one has taken over, it does not.
func testDeposedLeaderChangesNothing(t *testing.T, on setup) {
	c := on.config(t)
	first, second := open(t, c), open(t, c)
	l := lead(t, first, "first")
	must(t, l.renew(t.Context()))
	must(t, first.SaveCheckpoint(t.Context(), checkpointAt("1")))
	lead(t, second, "second")
	expectPosition(t, second, "1")
	must(t, second.SaveCheckpoint(t.Context(), checkpointAt("2")))

	for _, use := range uses {
		if use.name == "LoadCheckpoint" { // begins with what there is
			continue
		}
		if err := use.do(t.Context(), first); !errors.Is(err, ErrDeposed) || !Final(err) || Unreachable(err) {
			t.Errorf("%s: error = %v, want %v", use.name, err, ErrDeposed)
		}
	}
	expectError(t, l.renew(t.Context()), ErrDeposed)
	expectError(t, l.Resign(t.Context(), true), ErrDeposed)
	expectLeader(t, second, "second")
	expectPosition(t, second, "2")
}

func testLeaderThatIsSilent(t *testing.T, on setup) {
	c := on.config(t)
	lead(t, open(t, c), "first")
	second := open(t, c)
	var waitedFor []string
	last, err := second.AwaitVacancy(t.Context(), candidate("second"), func(l Leader) error {
		waitedFor = append(waitedFor, l.Name)
		return nil
	})
	must(t, err)
	if want := []string{"first"}; !reflect.DeepEqual(waitedFor, want) {
		t.Errorf("it waited for %q, want %q", waitedFor, want)
	}
	l, err := second.Lead(t.Context(), Candidate{Name: "second", Request: time.Hour}, last)
	must(t, err)
	if !l.Holds() {
		t.Error("it waits for requests that were over before")
	}
	expectLeader(t, second, "second")
}

func testLeaderThatHasEnded(t *testing.T, on setup) {
	c := on.config(t)
	lead(t, open(t, c), "first")
	s, after := open(t, c), candidate("second")
	after.Request = time.Hour // so that it would not come to silence
	after.Ended = func(process string) bool { return process == "process of first" }
	last, err := s.AwaitVacancy(t.Context(), after, ignored)
	must(t, err)
	l, err := s.Lead(t.Context(), after, last)
	must(t, err)
	if l.Holds() {
		t.Error("requests are made while those of the one that has ended may be acted on")
	}
}

func testLeaderThatResigns(t *testing.T, on setup) {
	for clean, holds := range map[bool]bool{true: true, false: false} {
		c := on.config(t)
		must(t, lead(t, open(t, c), "first").Resign(t.Context(), clean))
		s, after := open(t, c), candidate("second")
		after.Request = time.Hour
		last, err := s.AwaitVacancy(t.Context(), after, ignored)
		must(t, err)
		l, err := s.Lead(t.Context(), after, last)
		must(t, err)
		if l.Holds() != holds {
			t.Errorf("after a clean end (%v) the next one makes requests: %v, want %v", clean, l.Holds(), holds)
		}
	}
}

// The answer may be lost, and the leader may renew between the look and the try.
func testLeadIsTakenOnce(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	for range 2 {
		l, err := s.Lead(t.Context(), Candidate{Name: "first", Request: time.Hour}, Leader{})
		must(t, err)
		if l == nil || !l.Holds() {
			t.Fatal("it does not lead at once")
		}
	}
	other := open(t, c)
	last, err := other.Leader(t.Context())
	must(t, err)
	_, err = s.ask(t.Context(), renewLeader, []string{s.keys.leader})
	must(t, err)
	l, err := other.Lead(t.Context(), candidate("second"), last)
	must(t, err)
	if l != nil {
		t.Error("it has taken over from one that has renewed since")
	}
}

// TestWatch: a leader is silent once it was seen unchanged for long enough.
func TestWatch(t *testing.T) {
	c := candidate("second")
	c.Request = 5 * time.Second
	w := watch{candidate: c}
	leader := Leader{holder: "a", renewed: "1"}
	now := time.Now()
	look := func(after time.Duration, want bool) {
		t.Helper()
		now = now.Add(after)
		leader := leader
		if vacant := w.look(now, &leader); vacant != want || leader.silent != (vacant && leader.Leads()) {
			t.Errorf("%v after the last change vacant is %v, silent %v", now.Sub(w.since), vacant, leader.silent)
		}
	}
	look(0, false)
	look(c.silence()-1, false)
	leader.renewed = "2"
	look(0, false)
	look(c.silence()-1, false)
	w.lookAway() // and it could not renew meanwhile
	look(time.Hour, false)
	look(c.silence(), true)
	leader = Leader{}
	look(0, true)
}

// TestHold: requests end before another one may lead, and begin when those of
// the one before have ended.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Candidate{Request: 5 * time.Second}
		l := &Leadership{candidate: c, opens: time.Now().Add(c.Request), changed: make(chan struct{})}
		begun := time.Now()
		l.extend(begun)
		if l.Holds() {
			t.Error("it holds while requests of the one before are under way")
		}
		go func() {
			for range c.Request / renewInterval {
				<-time.After(renewInterval)
				l.extend(time.Now())
			}
		}()
		must(t, l.Hold(t.Context()))
		if waited := time.Since(begun); waited != c.Request {
			t.Errorf("it waited for %v, want %v", waited, c.Request)
		}
		renewed := time.Now()
		l.extend(renewed)
		<-time.After(2 * renewInterval)
		if !l.Holds() {
			t.Error("it does not hold to the last moment")
		}
		<-time.After(time.Nanosecond)
		if l.Holds() {
			t.Error("a request may end when another one leads")
		}
		if over := renewed.Add(c.silence()); time.Now().Add(c.Request).Before(over.Add(-leaderSlack)) {
			t.Error("it gives up earlier than it has to")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		expectError(t, l.Hold(ctx), context.DeadlineExceeded)
		go l.extend(time.Now())
		must(t, l.Hold(t.Context()))
		l.lose(ErrDeposed)
		expectError(t, l.Hold(t.Context()), ErrDeposed)
	})
}

// TestKeepLeading: as long as it is kept, nobody else comes to lead; then
// somebody does, and it ends.
func TestKeepLeading(t *testing.T) {
	c := sharedConfig(t)
	first, second := open(t, c), open(t, c)
	l := lead(t, first, "first")
	kept := make(chan error, 1)
	go func() { kept <- l.Keep(t.Context()) }()
	eventually(t, "it renews", func(ctx context.Context) bool {
		leader, err := second.Leader(ctx)
		must(t, err)
		return leader.renewed > "1"
	})
	if !l.Holds() {
		t.Error("it does not hold")
	}
	lead(t, second, "second")
	expectError(t, <-kept, ErrDeposed)
	expectError(t, l.Hold(t.Context()), ErrDeposed)
}
