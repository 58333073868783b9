package redisstate

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
)

func entry(stream, key string) WindowEntry {
	return WindowEntry{Stream: stream, Table: "todos", Key: key}
}

// keysOnly is the refill without the starts.
func keysOnly(keys []RecordKey) []string {
	var texts []string
	for _, k := range keys {
		texts = append(texts, k.Table+" "+k.Key)
	}
	return texts
}

func expectRefill(t *testing.T, got []RecordKey, want ...string) {
	t.Helper()
	if !slices.Equal(keysOnly(got), want) {
		t.Fatalf("refill of %q, want %q", keysOnly(got), want)
	}
}

func startOf(t *testing.T, s *Store, channel string, from uint64) []RecordKey {
	t.Helper()
	keys, err := s.StartRefill(t.Context(), channel, from)
	must(t, err)
	return keys
}

func TestRefillTakesTheChannelsRecords(t *testing.T) {
	s := newStore(t)
	must(t, s.AddToWindow(t.Context(), 3, []WindowEntry{entry("user.1", "too early")}))
	must(t, s.AddToWindow(t.Context(), 4, []WindowEntry{
		entry("user.1", `7`), entry("user.1", `"é ☕"`),
		{"user.1", "post_tag", `[3,"a"]`},
		// Names that begin or end alike.
		entry("user.10", `8`), entry("user.", `9`), entry("user", `10`), entry("a.user.1", `11`), entry("user.1\x01", `12`),
	}))
	must(t, s.AddToWindow(t.Context(), 5, []WindowEntry{entry("user.1", `7`), entry("user.1", `13`)}))
	must(t, s.AddToWindow(t.Context(), 6, nil))

	expectRefill(t, startOf(t, s, "user.1", 4), `post_tag [3,"a"]`, `todos "é ☕"`, `todos 13`, `todos 7`)
	expectRefill(t, startOf(t, s, "user.10", 5))
	expectRefill(t, startOf(t, s, "user", 0), `todos 10`)
	expectRefill(t, startOf(t, s, "nobody", 0))

	refills, err := s.Refills(t.Context())
	must(t, err)
	if got, want := slices.Sorted(maps.Keys(refills)), []string{"user", "user.1"}; !slices.Equal(got, want) {
		t.Errorf("refills of %q, want %q", got, want)
	}
}

func TestWindowSizeAndTrim(t *testing.T) {
	c := sharedConfig(t)
	s := open(t, c)
	size := func(from uint64) int {
		t.Helper()
		n, err := s.WindowSize(t.Context(), from)
		must(t, err)
		return n
	}
	if got := size(0); got != 0 {
		t.Errorf("at first: %d", got)
	}
	var many []WindowEntry
	for i := range 2*batch + 5 {
		many = append(many, entry("user.1", fmt.Sprint(i)))
	}
	must(t, s.AddToWindow(t.Context(), 1, many))
	must(t, s.AddToWindow(t.Context(), 1, many[:3]))
	must(t, s.AddToWindow(t.Context(), 2, many[:3]))
	must(t, s.AddToWindow(t.Context(), 12, many[:1]))
	for from, want := range map[uint64]int{0: 2*batch + 9, 1: 2*batch + 9, 2: 4, 3: 1, 12: 1, 13: 0} {
		if got := size(from); got != want {
			t.Errorf("size from %d = %d, want %d", from, got, want)
		}
	}
	must(t, s.TrimWindow(t.Context(), 1))
	if got, want := size(0), 2*batch+9; got != want {
		t.Errorf("after trimming nothing: %d, want %d", got, want)
	}
	must(t, s.TrimWindow(t.Context(), 12))
	if got := size(0); got != 1 {
		t.Errorf("after trimming: %d, want 1", got)
	}
	must(t, s.TrimWindow(t.Context(), 13))
	if left := storedKeys(t, c.Prefix, s.client); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A trim that died between dropping an epoch and dropping it from the index.
func TestTrimAfterACrash(t *testing.T) {
	c := sharedConfig(t)
	s := open(t, c)
	must(t, s.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "1")}))
	must(t, s.client.Unlink(t.Context(), s.keys.epochKey(1)).Err())
	expectRefill(t, startOf(t, s, "user.1", 0))
	must(t, s.TrimWindow(t.Context(), 2))
	if left := storedKeys(t, c.Prefix, s.client); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRefillSurvivesACrash(t *testing.T) {
	c := sharedConfig(t)
	crashed := open(t, c)
	must(t, crashed.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "1"), entry("user.1", "2"), entry("user.2", "3")}))
	started := startOf(t, crashed, "user.1", 1)
	must(t, crashed.RefillDone(t.Context(), "user.1", started[:1]))
	must(t, crashed.TrimWindow(t.Context(), 9))

	s := open(t, c)
	refills, err := s.Refills(t.Context())
	must(t, err)
	if want := map[string][]RecordKey{"user.1": started[1:]}; !reflect.DeepEqual(refills, want) {
		t.Fatalf("refills = %+v, want %+v", refills, want)
	}
	must(t, s.RefillDone(t.Context(), "user.1", refills["user.1"]))
	must(t, s.RefillDone(t.Context(), "user.1", refills["user.1"]))
	if refills, err = s.Refills(t.Context()); err != nil || len(refills) != 0 {
		t.Errorf("refills = %+v, %v, want none", refills, err)
	}
	if left, want := storedKeys(t, c.Prefix, s.client), []string{s.keys.starts}; !slices.Equal(left, want) {
		t.Errorf("left behind: %q, want %q", left, want)
	}
}

// The user left and came back while the first refill was under way, and the
// record changed in between: its end must not end the second one.
func TestRefillAskedForAgain(t *testing.T) {
	s := newStore(t)
	must(t, s.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "1"), entry("user.1", "2")}))
	first := startOf(t, s, "user.1", 1)
	must(t, s.AddToWindow(t.Context(), 2, []WindowEntry{entry("user.1", "1")}))
	second := startOf(t, s, "user.1", 2)
	expectRefill(t, second, "todos 1", "todos 2")

	must(t, s.RefillDone(t.Context(), "user.1", first))
	refills, err := s.Refills(t.Context())
	must(t, err)
	expectRefill(t, refills["user.1"], "todos 1")
	must(t, s.RefillDone(t.Context(), "user.1", second))
	if refills, err = s.Refills(t.Context()); err != nil || len(refills) != 0 {
		t.Errorf("refills = %+v, %v, want none", refills, err)
	}
}

// An answer that is lost makes the caller start again.
func TestStartRefillTwice(t *testing.T) {
	c := sharedConfig(t)
	p := newProxy(t, c.Addr)
	c.Addr = p.listener.Addr().String()
	s := open(t, c)
	must(t, s.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "1")}))
	p.lose.Store(1 + maxRetries)
	if keys, err := s.StartRefill(t.Context(), "user.1", 1); !Unreachable(err) {
		t.Fatalf("StartRefill = %+v, %v, want an error of the network", keys, err)
	}
	keys := startOf(t, s, "user.1", 1)
	expectRefill(t, keys, "todos 1")
	must(t, s.RefillDone(t.Context(), "user.1", keys))
	if refills, err := s.Refills(t.Context()); err != nil || len(refills) != 0 {
		t.Errorf("refills = %+v, %v, want none", refills, err)
	}
}

func TestManyRefills(t *testing.T) {
	s := newStore(t)
	var entries []WindowEntry
	var channels []string
	for i := range batch + 50 {
		channels = append(channels, fmt.Sprintf("user.%d", i))
		if i%2 == 0 {
			entries = append(entries, entry(channels[i], "1"))
		}
	}
	for i := range 2*batch + 50 {
		entries = append(entries, entry("user.0", fmt.Sprint(i)))
	}
	must(t, s.AddToWindow(t.Context(), 1, entries))
	started, err := s.StartRefills(t.Context(), channels, 1)
	must(t, err)
	refills, err := s.Refills(t.Context())
	must(t, err)
	if !reflect.DeepEqual(started, refills) {
		t.Error("what was started is not what is pending")
	}
	if got, want := len(started), len(channels)/2; got != want {
		t.Errorf("%d refills, want %d", got, want)
	}
	if got, want := len(started["user.0"]), 2*batch+50; got != want {
		t.Errorf("%d records, want %d", got, want)
	}
	must(t, s.RefillDone(t.Context(), "user.0", started["user.0"]))
	if refills, err = s.Refills(t.Context()); err != nil || refills["user.0"] != nil || len(refills) != len(started)-1 {
		t.Errorf("%d refills are left, %v", len(refills), err)
	}
}

func TestWindowRefusesNUL(t *testing.T) {
	s := newStore(t)
	for _, e := range []WindowEntry{{"a\x00", "t", "1"}, {"a", "t\x00", "1"}, {"a", "t", "\x001"}} {
		if err := s.AddToWindow(t.Context(), 1, []WindowEntry{e}); err == nil {
			t.Errorf("%q is accepted", e)
		}
	}
}

func TestPrefixesAreApart(t *testing.T) {
	first, second := newStore(t), newStore(t)
	must(t, first.SaveCheckpoint(t.Context(), checkpointAt("a")))
	must(t, first.ReserveSeq(t.Context(), 5))
	must(t, first.RenewChannels(t.Context(), SourcePoll, []string{"user.1"}, noon, 1))
	must(t, first.PollDone(t.Context(), 1, noon))
	must(t, first.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "1")}))
	startOf(t, first, "user.1", 1)
	must(t, first.SetAside(t.Context(), DeadLetter{ID: "x"}))

	_, err := second.LoadCheckpoint(t.Context())
	expectError(t, err, ErrNoCheckpoint)
	seq, errSeq := second.IssuedSeq(t.Context())
	poll, errPoll := second.LastPoll(t.Context())
	size, errSize := second.WindowSize(t.Context(), 0)
	refills, errRefills := second.Refills(t.Context())
	letters, errLetters := second.DeadLetters(t.Context())
	for _, err := range []error{errSeq, errPoll, errSize, errRefills, errLetters} {
		must(t, err)
	}
	if seq != 0 || poll != (Poll{}) || size != 0 || len(refills) != 0 || len(letters) != 0 || len(leases(t, second)) != 0 {
		t.Errorf("the second prefix sees %d, %+v, %d, %+v, %+v", seq, poll, size, refills, letters)
	}
	expectRefill(t, startOf(t, second, "user.1", 0))
}

func BenchmarkAddToWindow(b *testing.B) {
	s := newStore(b)
	entries := make([]WindowEntry, 10_000)
	for i, name := range channelNames(len(entries)) {
		entries[i] = entry(name, fmt.Sprint(i))
	}
	for b.Loop() {
		must(b, s.AddToWindow(b.Context(), 1, entries))
	}
	bytes, err := s.client.MemoryUsage(b.Context(), s.keys.epochKey(1), 1000).Result()
	must(b, err)
	b.ReportMetric(float64(bytes)/float64(len(entries)), "B/record")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/record")
	must(b, s.TrimWindow(b.Context(), 2))
}
