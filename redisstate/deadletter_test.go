package redisstate

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// setAside keeps letters, one after the other, a second apart.
func setAside(t *testing.T, s *Store, letters ...DeadLetter) {
	t.Helper()
	for i, l := range letters {
		l.At = noon.Add(time.Duration(i) * time.Second)
		must(t, s.SetAside(t.Context(), l))
	}
}

func deadLetters(t *testing.T, s *Store) []DeadLetter {
	t.Helper()
	letters, err := s.DeadLetters(t.Context())
	must(t, err)
	return letters
}

func testDeadLetters(t *testing.T, on setup) {
	s := on.store(t)
	if got := deadLetters(t, s); len(got) != 0 {
		t.Fatalf("at first: %+v", got)
	}
	many := channelNames(MaxLetterChannels + 1)
	setAside(t, s,
		DeadLetter{Table: "todos", Key: `[3,"a"]`, Channels: []string{"private-user.1"}, ID: "1", Reason: "422: no", Limits: "10 bytes"},
		DeadLetter{Table: "todos", Key: `[7]`, Channels: many[1:], ID: "2", Reason: strings.Repeat("é", maxReason), Limits: "10 bytes"},
		DeadLetter{Table: "notes", Key: `[7]`, Channels: many[:1], ID: "3", Limits: "10 bytes"},
		// Of one record there is one letter.
		DeadLetter{Table: "todos", Key: `[3,"a"]`, Channels: []string{"private-user.0", "private-user.1"}, ID: "4", Reason: "why", Limits: "20 bytes"},
		DeadLetter{Table: "todos", Key: `[7]`, Channels: many[:1], ID: "5", Reason: "why"},
	)
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	want := []DeadLetter{
		{Table: "todos", Key: `[7]`, Many: true, ID: "5", Reason: "why", At: at(4)},
		{Table: "todos", Key: `[3,"a"]`, Channels: []string{"private-user.0", "private-user.1"}, ID: "4", Reason: "why", Limits: "20 bytes", At: at(3)},
		{Table: "notes", Key: `[7]`, Channels: many[:1], ID: "3", Limits: "10 bytes", At: at(2)},
	}
	if got := deadLetters(t, s); !reflect.DeepEqual(got, want) {
		t.Errorf("dead letters\n%+v, want\n%+v", got, want)
	}
}

func testReasonIsCutBetweenCharacters(t *testing.T, on setup) {
	s := on.store(t)
	setAside(t, s, DeadLetter{Reason: "x" + strings.Repeat("é", maxReason)})
	if reason := deadLetters(t, s)[0].Reason; len(reason) != maxReason-1 || !utf8.ValidString(reason) || strings.Contains(reason, "\uFFFD") {
		t.Errorf("reason of %d bytes: %q", len(reason), reason)
	}
}

// testDeadLettersAreBounded: beyond the bound, nothing disappears, but the
// records are not named.
func testDeadLettersAreBounded(t *testing.T, on setup) {
	s := on.store(t)
	letters := make([]DeadLetter, MaxDeadLetters, MaxDeadLetters+4)
	for i := range letters {
		letters[i] = DeadLetter{Table: "todos", Key: fmt.Sprintf("[%d]", i), Channels: []string{"a"}, Reason: "first"}
	}
	letters = append(letters,
		DeadLetter{Table: "todos", Key: "[-1]", Channels: []string{"a"}, Reason: "beyond"},
		DeadLetter{Table: "notes", Key: "[-1]", Channels: []string{"a"}, Reason: "beyond"},
		DeadLetter{Table: "todos", Key: "[-2]", Channels: []string{"a"}, Reason: "last"},
		DeadLetter{Table: "todos", Key: "[3]", Channels: []string{"b"}, Reason: "known"},
	)
	setAside(t, s, letters...)
	got := deadLetters(t, s)
	if len(got) != MaxDeadLetters+2 {
		t.Fatalf("%d letters, want %d and one for each of two tables", len(got), MaxDeadLetters)
	}
	for i, want := range []DeadLetter{
		{Table: "todos", Key: "[3]", Channels: []string{"a", "b"}, Reason: "known"},
		{Table: "todos", Many: true, Reason: "last"},
		{Table: "notes", Many: true, Reason: "beyond"},
	} {
		got[i].At = time.Time{}
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("letter %d is %+v, want %+v", i, got[i], want)
		}
	}
}

// testLettersAreRemoved, except those that were set aside again meanwhile.
func testLettersAreRemoved(t *testing.T, on setup) {
	s := on.store(t)
	letter := func(key, channel string) DeadLetter {
		return DeadLetter{Table: "todos", Key: key, Channels: []string{channel}, At: noon}
	}
	for _, key := range []string{"[1]", "[2]", "[3]"} {
		must(t, s.SetAside(t.Context(), letter(key, "a")))
	}
	listed := slices.DeleteFunc(deadLetters(t, s), func(l DeadLetter) bool { return l.Key == "[3]" })
	must(t, s.SetAside(t.Context(), letter("[2]", "b")))
	for range 2 { // the second time there is nothing to do
		must(t, s.RemoveLetters(t.Context(), listed))
	}
	got := deadLetters(t, s)
	if len(got) != 2 || got[0].Key != "[2]" || got[1].Key != "[3]" {
		t.Errorf("left are %+v, want [2] and [3]", got)
	}
	if n, err := s.CountDeadLetters(t.Context()); err != nil || n != len(got) {
		t.Errorf("%d are counted, %v; want %d", n, err, len(got))
	}
}

// testRetryIsAsked by another process, whether or not a daemon runs.
func testRetryIsAsked(t *testing.T, on setup) {
	daemon := on.store(t)
	other := open(t, daemon.cfg)
	asked := func(want bool) {
		t.Helper()
		if got, err := daemon.RetryAsked(t.Context()); err != nil || got != want {
			t.Errorf("asked: %v, %v; want %v", got, err, want)
		}
	}
	must(t, daemon.SaveCheckpoint(t.Context(), checkpointAt("a")))
	_, mark := daemon.token.held()
	asked(false)
	must(t, other.AskRetry(t.Context()))
	asked(true)
	must(t, daemon.RetryDone(t.Context()))
	asked(false)
	must(t, daemon.Verify(t.Context()))
	if _, now := daemon.token.held(); now != mark {
		t.Errorf("the mark rose from %d to %d: another process's writes could hide the loss of one", mark, now)
	}
}
