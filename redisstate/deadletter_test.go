package redisstate

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func testDeadLetters(t *testing.T, on setup) {
	s := on.store(t)
	if got, err := s.DeadLetters(t.Context()); err != nil || len(got) != 0 {
		t.Fatalf("at first: %+v, %v", got, err)
	}
	first := DeadLetter{Table: "todos", Key: `[3,"a"]`, Channels: []string{"private-user.1"}, ID: "1", Reason: "413: too large", At: noon}
	second := DeadLetter{Table: "todos", Key: `7`, Channels: channelNames(maxLetterTarget + 1), ID: "2", Reason: strings.Repeat("é", maxReason), At: noon}
	must(t, s.SetAside(t.Context(), first))
	must(t, s.SetAside(t.Context(), second))
	got, err := s.DeadLetters(t.Context())
	must(t, err)
	second.Channels, second.Reason = second.Channels[:maxLetterTarget], second.Reason[:maxReason]
	if want := []DeadLetter{second, first}; !reflect.DeepEqual(got, want) {
		t.Errorf("dead letters\n%+v, want\n%+v", got, want)
	}
}

func testReasonIsCutBetweenCharacters(t *testing.T, on setup) {
	s := on.store(t)
	must(t, s.SetAside(t.Context(), DeadLetter{Reason: "x" + strings.Repeat("é", maxReason)}))
	got, err := s.DeadLetters(t.Context())
	must(t, err)
	if reason := got[0].Reason; len(reason) != maxReason-1 || !utf8.ValidString(reason) || strings.Contains(reason, "\uFFFD") {
		t.Errorf("reason of %d bytes: %q", len(reason), reason)
	}
}

func testDeadLettersAreBounded(t *testing.T, on setup) {
	s := on.store(t)
	const extra = 3
	for i := range MaxDeadLetters + extra {
		must(t, s.SetAside(t.Context(), DeadLetter{ID: fmt.Sprint(i)}))
	}
	got, err := s.DeadLetters(t.Context())
	must(t, err)
	if len(got) != MaxDeadLetters || got[0].ID != fmt.Sprint(MaxDeadLetters+extra-1) || got[MaxDeadLetters-1].ID != fmt.Sprint(extra) {
		t.Errorf("%d letters, from %s to %s", len(got), got[0].ID, got[len(got)-1].ID)
	}
}
