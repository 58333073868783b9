package redisstate

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func leases(t *testing.T, s *Store) []Lease {
	t.Helper()
	all, err := s.Channels(t.Context())
	must(t, err)
	return all
}

func testLeases(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	if got := leases(t, s); len(got) != 0 {
		t.Fatalf("at first: %+v", got)
	}
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	must(t, s.RenewChannels(t.Context(), SourcePoll, []string{"private-a", "private-b"}, at(0), 15*time.Second))
	must(t, s.RenewChannels(t.Context(), SourceWebhook, []string{"private-b", "private-c"}, at(5), 15*time.Second))
	must(t, s.RenewChannels(t.Context(), SourcePoll, nil, at(6), 15*time.Second))
	must(t, s.ShortenLease(t.Context(), "private-c", at(7)))
	must(t, s.ShortenLease(t.Context(), "private-a", at(60)))
	must(t, s.ShortenLease(t.Context(), "private-unknown", at(1)))
	want := []Lease{
		{"private-a", at(0), at(0), at(15), SourcePoll},
		{"private-b", at(0), at(5), at(20), SourceWebhook},
		{"private-c", at(5), at(5), at(7), SourceWebhook},
	}
	if got := leases(t, open(t, c)); !reflect.DeepEqual(got, want) {
		t.Errorf("leases\n%+v, want\n%+v", got, want)
	}

	// Expired leases stay until they are removed: while polls fail they count.
	if n, err := s.RemoveExpired(t.Context(), at(15)); err != nil || n != 1 {
		t.Errorf("RemoveExpired = %d, %v, want 1", n, err)
	}
	if got := leases(t, s); !reflect.DeepEqual(got, want[:2]) {
		t.Errorf("leases\n%+v, want\n%+v", got, want[:2])
	}

	// One that expired but was not removed goes on; one that was removed is new.
	must(t, s.RenewChannels(t.Context(), SourcePoll, []string{"private-a", "private-c"}, at(30), 15*time.Second))
	got := leases(t, s)
	if got[0].Since != at(0) || got[2].Since != at(30) {
		t.Errorf("since %v and %v, want %v and %v", got[0].Since, got[2].Since, at(0), at(30))
	}
}

// Between the look at a lease and its removal it may have been renewed.
func testRemovalLooksAgain(t *testing.T, on setup) {
	s := on.store(t)
	must(t, s.RenewChannels(t.Context(), SourcePoll, []string{"private-a", "private-b"}, noon, time.Second))
	must(t, s.RenewChannels(t.Context(), SourceWebhook, []string{"private-b"}, noon.Add(time.Minute), time.Second))
	n, err := removeExpired.Run(t.Context(), s.client, []string{s.keys.leases},
		noon.Add(30*time.Second).UnixMilli(), "private-a", "private-b", "private-gone").Int()
	if err != nil || n != 1 {
		t.Errorf("removed %d, %v, want 1", n, err)
	}
	if got := leases(t, s); len(got) != 1 || got[0].Channel != "private-b" {
		t.Errorf("left %+v", got)
	}
}

func channelNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("private-chorus.user.01a2044a-c617-7000-8000-%012d", i)
	}
	return names
}

func testManyChannels(t *testing.T, on setup) {
	s := on.store(t)
	names := channelNames(renewalsAtOnce + batch + 1)
	must(t, s.RenewChannels(t.Context(), SourcePoll, names, noon, time.Second))
	must(t, s.RenewChannels(t.Context(), SourcePoll, names[:batch], noon.Add(time.Minute), time.Second))
	got := leases(t, s)
	if len(got) != len(names) {
		t.Fatalf("%d leases, want %d", len(got), len(names))
	}
	for i, lease := range got {
		if lease.Channel != names[i] || lease.Since != noon {
			t.Fatalf("lease %d is %+v", i, lease)
		}
	}
	n, err := s.RemoveExpired(t.Context(), noon.Add(30*time.Second))
	if want := len(names) - batch; err != nil || n != want {
		t.Errorf("RemoveExpired = %d, %v, want %d", n, err, want)
	}
	if left := leases(t, s); !slices.EqualFunc(left, names[:batch], func(l Lease, n string) bool { return l.Channel == n }) {
		t.Errorf("%d left, want the %d that were renewed", len(left), batch)
	}
}

func testDamagedLease(t *testing.T, on setup) {
	for _, value := range []string{"", "1 2", "1 2 x poll"} {
		s := on.store(t)
		must(t, s.client.HSet(t.Context(), s.keys.leases, "private-a", value).Err())
		if got, err := s.Channels(t.Context()); err == nil {
			t.Errorf("%q reads as %+v", value, got)
		}
	}
}

func testPolls(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	if poll, err := s.LastPoll(t.Context()); err != nil || poll != (Poll{}) {
		t.Errorf("at first: %+v, %v", poll, err)
	}
	for epoch := uint64(1); epoch < 3; epoch++ {
		want := Poll{Epoch: epoch, StartedAt: noon.Add(time.Duration(epoch) * 1001 * time.Microsecond)}
		must(t, s.PollDone(t.Context(), want.Epoch, want.StartedAt))
		if poll, err := open(t, c).LastPoll(t.Context()); err != nil || poll != want {
			t.Errorf("LastPoll = %+v, %v, want %+v", poll, err, want)
		}
	}
}

func BenchmarkRenew100kChannels(b *testing.B) {
	s := newStore(b)
	names := channelNames(100_000)
	now := noon
	must(b, s.RenewChannels(b.Context(), SourcePoll, names, now, 15*time.Second))
	for b.Loop() {
		now = now.Add(5 * time.Second)
		must(b, s.RenewChannels(b.Context(), SourcePoll, names, now, 15*time.Second))
	}
	bytes, err := s.client.MemoryUsage(b.Context(), s.keys.leases, 1000).Result()
	must(b, err)
	b.ReportMetric(float64(bytes)/float64(len(names)), "B/channel")
	must(b, s.client.Unlink(b.Context(), s.keys.leases).Err())
}

func BenchmarkRead100kChannels(b *testing.B) {
	s := newStore(b)
	must(b, s.RenewChannels(b.Context(), SourcePoll, channelNames(100_000), noon, 15*time.Second))
	for b.Loop() {
		if _, err := s.Channels(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	must(b, s.client.Unlink(b.Context(), s.keys.leases).Err())
}
