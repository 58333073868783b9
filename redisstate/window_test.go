package redisstate

import (
	"fmt"
	"slices"
	"testing"
)

func entry(stream, key string) WindowEntry {
	return WindowEntry{Stream: stream, Table: "todos", Key: key}
}

// testTrim: what is dropped is not in later jobs, and leaves no key behind.
func testTrim(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	expect := func(from uint64, want int) {
		t.Helper()
		jobs := startJobs(t, s, JobStart{Channels: []string{"user.1"}, Streams: []string{"user.1"}, From: from})
		got := 0
		for _, j := range jobs {
			got += len(j.Items)
			_, err := s.JobProgress(t.Context(), j.ID, j.Items, nil)
			must(t, err)
		}
		if got != want {
			t.Errorf("%d records from %d on, want %d", got, from, want)
		}
	}
	expect(0, 0)
	var many []WindowEntry
	for i := range 2*batch + 5 {
		many = append(many, entry("user.1", fmt.Sprint(i)))
	}
	must(t, s.AddToWindow(t.Context(), 1, many))
	must(t, s.AddToWindow(t.Context(), 1, many[:3]))
	must(t, s.AddToWindow(t.Context(), 2, many[:3]))
	must(t, s.AddToWindow(t.Context(), 12, many[:1]))
	must(t, s.AddToWindow(t.Context(), 14, nil))
	for from, want := range map[uint64]int{0: len(many), 1: len(many), 2: 3, 3: 1, 12: 1, 13: 0} {
		expect(from, want)
	}
	must(t, s.TrimWindow(t.Context(), 1))
	expect(0, len(many))
	must(t, s.TrimWindow(t.Context(), 12))
	expect(0, 1)
	must(t, s.TrimWindow(t.Context(), 13))
	if left, want := on.keys(t, c), []string{s.keys.starts}; !slices.Equal(left, want) {
		t.Errorf("left behind: %q, want %q", left, want)
	}
}

// A trim that died between dropping an epoch and dropping it from the index.
func testTrimAfterACrash(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	must(t, s.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "1")}))
	must(t, s.client.Unlink(t.Context(), s.keys.epochKey(1)).Err())
	startJobs(t, s, JobStart{Channels: []string{"user.1"}, Streams: []string{"user.1"}})
	expectJobs(t, s)
	must(t, s.TrimWindow(t.Context(), 2))
	if left := on.keys(t, c); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func testWindowRefusesNUL(t *testing.T, on setup) {
	s := on.store(t)
	for _, e := range []WindowEntry{{"a\x00", "t", "1"}, {"a", "t\x00", "1"}, {"a", "t", "\x001"}} {
		if err := s.AddToWindow(t.Context(), 1, []WindowEntry{e}); err == nil {
			t.Errorf("%q is accepted", e)
		}
	}
}

func testPrefixesAreApart(t *testing.T, on setup) {
	first, second := on.store(t), on.store(t)
	must(t, first.SaveCheckpoint(t.Context(), checkpointAt("a")))
	must(t, first.ReserveSeq(t.Context(), 5))
	must(t, first.RenewChannels(t.Context(), SourcePoll, []string{"user.1"}, noon, 1))
	must(t, first.PollDone(t.Context(), 1, noon))
	must(t, first.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "1")}))
	startJobs(t, first, JobStart{Channels: []string{"user.1"}, Streams: []string{"user.1"}})
	must(t, first.SetAside(t.Context(), DeadLetter{ID: "x"}))

	_, err := second.LoadCheckpoint(t.Context())
	expectError(t, err, ErrNoCheckpoint)
	seq, errSeq := second.IssuedSeq(t.Context())
	poll, errPoll := second.LastPoll(t.Context())
	letters, errLetters := second.DeadLetters(t.Context())
	for _, err := range []error{errSeq, errPoll, errLetters} {
		must(t, err)
	}
	if seq != 0 || poll != (Poll{}) || len(letters) != 0 || len(leases(t, second)) != 0 {
		t.Errorf("the second prefix sees %d, %+v, %+v", seq, poll, letters)
	}
	expectJobs(t, second)
	startJobs(t, second, JobStart{Channels: []string{"user.1"}, Streams: []string{"user.1"}})
	expectJobs(t, second)
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
