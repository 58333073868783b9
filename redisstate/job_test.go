package redisstate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// textOf writes a job as "a b: todos 1, todos 2", its channels in order.
func textOf(j Job) string {
	items := make([]string, len(j.Items))
	for i, item := range j.Items {
		items[i] = item.Table + " " + item.Key
	}
	return strings.Join(slices.Sorted(slices.Values(j.Channels)), " ") + ": " + strings.Join(items, ", ")
}

func jobsText(jobs []Job) []string {
	var list []string
	for _, j := range jobs {
		list = append(list, textOf(j))
	}
	return list
}

// expectJobs compares all jobs in Redis.
func expectJobs(t *testing.T, s *Store, want ...string) []Job {
	t.Helper()
	jobs, err := s.Jobs(t.Context())
	must(t, err)
	if got := jobsText(jobs); !slices.Equal(got, want) {
		t.Fatalf("jobs are %q, want %q", got, want)
	}
	return jobs
}

func startJobs(t *testing.T, s *Store, starts ...JobStart) []Job {
	t.Helper()
	jobs, err := s.StartJobs(t.Context(), starts)
	must(t, err)
	return jobs
}

func record(key string) RecordKey { return RecordKey{Table: "todos", Key: key} }

func testJobsTakeTheStreamsRecords(t *testing.T, on setup) {
	s := on.store(t)
	must(t, s.AddToWindow(t.Context(), 3, []WindowEntry{entry("platform:3", "too early")}))
	must(t, s.AddToWindow(t.Context(), 4, []WindowEntry{
		entry("platform:3", `7`), entry(`user:"é ☕"`, `"é ☕"`),
		{"platform:3", "post_tag", `[3,"a"]`},
		// Names that begin or end alike.
		entry("platform:30", `8`), entry("platform:", `9`), entry("platform", `10`), entry("a/platform:3", `11`), entry("platform:3\x01", `12`),
		entry("", `for everybody`),
	}))
	must(t, s.AddToWindow(t.Context(), 5, []WindowEntry{entry("platform:3", `7`), entry("platform:3", `13`)}))

	started := startJobs(t, s,
		JobStart{Channels: []string{"user.1", "user.2"}, Streams: []string{"platform:3"}, From: 4},
		JobStart{Channels: []string{"user.1"}, Streams: []string{"nobody", `user:"é ☕"`, "platform"}, From: 4, Items: []RecordKey{{Key: `{"op":"reset"}`}}},
		JobStart{Channels: []string{"user.2"}, Streams: []string{"platform:30"}, From: 5},
		JobStart{Channels: []string{"user.2"}, Streams: []string{"nobody"}},
		JobStart{Channels: []string{"user.3"}, Items: []RecordKey{record("1")}},
	)
	want := []string{
		`user.1 user.2: post_tag [3,"a"], todos 13, todos 7`,
		`user.1:  {"op":"reset"}, todos "é ☕", todos 10`,
		`user.3: todos 1`,
	}
	if got := jobsText(started); !slices.Equal(got, want) {
		t.Errorf("started %q, want %q", got, want)
	}
	jobs := expectJobs(t, s, want...)
	for i := range jobs {
		if jobs[i].ID != started[i].ID || !slices.Equal(jobs[i].Items, started[i].Items) {
			t.Errorf("%+v was started and %+v read", started[i], jobs[i])
		}
	}
	must(t, s.TrimWindow(t.Context(), 9))
	expectJobs(t, s, want...)
}

func testJobGoesWithItsLastItem(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	job := startJobs(t, s, JobStart{Channels: []string{"a"}, Items: []RecordKey{record("page 1"), record("7")}})[0]
	added, err := s.AddToJob(t.Context(), job.ID, []string{"b"}, []RecordKey{record("8")})
	must(t, err)
	expectJobs(t, s, "a b: todos 7, todos page 1, todos 8")
	// A page is done, the next one follows, and a record of it changed.
	next, err := s.JobProgress(t.Context(), job.ID, job.Items[1:], []RecordKey{record("page 2"), record("7")})
	must(t, err)
	expectJobs(t, s, "a b: todos 8, todos 7, todos page 2")
	// 7 was asked for again after it was read.
	_, err = s.JobProgress(t.Context(), job.ID, job.Items[:1], nil)
	must(t, err)
	_, err = s.JobProgress(t.Context(), job.ID, added, nil)
	must(t, err)
	expectJobs(t, s, "a b: todos 7, todos page 2")
	_, err = s.JobProgress(t.Context(), job.ID, next, nil)
	must(t, err)
	expectJobs(t, s)
	// What comes late finds it gone.
	for range 2 {
		again, err := s.JobProgress(t.Context(), job.ID, next, []RecordKey{record("9")})
		if err != nil || again != nil {
			t.Errorf("got %v, %v", again, err)
		}
		if again, err = s.AddToJob(t.Context(), job.ID, []string{"c"}, []RecordKey{record("9")}); err != nil || again != nil {
			t.Errorf("got %v, %v", again, err)
		}
	}
	if left, want := on.keys(t, c), []string{s.keys.starts}; !slices.Equal(left, want) {
		t.Errorf("left behind: %q, want %q", left, want)
	}
}

// testJobsSurviveACrash: after every step a new Store finds what was left, and
// taking that up loses nothing.
func testJobsSurviveACrash(t *testing.T, on setup) {
	var job Job
	var next []JobItem
	steps := []struct {
		do   func(s *Store) error
		left []string
	}{
		{func(s *Store) error {
			return s.AddToWindow(t.Context(), 1, []WindowEntry{entry("public", "1"), entry("public", "2")})
		}, nil},
		{func(s *Store) error {
			jobs, err := s.StartJobs(t.Context(), []JobStart{{Channels: []string{"a"}, Streams: []string{"public"}, Items: []RecordKey{record("page 1")}}})
			if err == nil {
				job = jobs[0]
			}
			return err
		}, []string{"a: todos 1, todos 2, todos page 1"}},
		{func(s *Store) error {
			_, err := s.AddToJob(t.Context(), job.ID, []string{"b"}, nil)
			return err
		}, []string{"a b: todos 1, todos 2, todos page 1"}},
		{func(s *Store) error { return s.TrimWindow(t.Context(), 9) }, []string{"a b: todos 1, todos 2, todos page 1"}},
		{func(s *Store) error {
			_, err := s.JobProgress(t.Context(), job.ID, job.Items[:2], nil)
			return err
		}, []string{"a b: todos page 1"}},
		{func(s *Store) (err error) {
			next, err = s.JobProgress(t.Context(), job.ID, job.Items[2:], []RecordKey{record("page 2")})
			return err
		}, []string{"a b: todos page 2"}},
		{func(s *Store) error {
			_, err := s.JobProgress(t.Context(), job.ID, next, nil)
			return err
		}, nil},
	}
	for crash := range steps {
		c := on.config(t)
		s := open(t, c)
		for _, step := range steps[:crash+1] {
			must(t, step.do(s))
		}
		again := open(t, c)
		for _, j := range expectJobs(t, again, steps[crash].left...) {
			_, err := again.JobProgress(t.Context(), j.ID, j.Items, nil)
			must(t, err)
		}
		expectJobs(t, again)
	}
}

// TestJobsWhoseAnswerIsLost: doing it again makes neither a second job nor a
// lost item.
func TestJobsWhoseAnswerIsLost(t *testing.T) {
	c := sharedConfig(t)
	p := newProxy(t, c.Addr)
	c.Addr = p.listener.Addr().String()
	s := open(t, c)
	must(t, s.AddToWindow(t.Context(), 1, []WindowEntry{entry("public", "1")}))
	starts := []JobStart{{Channels: []string{"a"}, Streams: []string{"public"}, Items: []RecordKey{record("page 1")}}}
	p.lose.Store(1 + maxRetries)
	if jobs, err := s.StartJobs(t.Context(), starts); !Unreachable(err) {
		t.Fatalf("got %+v, %v, want an error of the network", jobs, err)
	}
	job := startJobs(t, s, starts...)[0]
	expectJobs(t, s, "a: todos 1, todos page 1")
	p.lose.Store(1 + maxRetries)
	if _, err := s.JobProgress(t.Context(), job.ID, job.Items, []RecordKey{record("page 2")}); !Unreachable(err) {
		t.Fatalf("got %v, want an error of the network", err)
	}
	next, err := s.JobProgress(t.Context(), job.ID, job.Items, []RecordKey{record("page 2")})
	must(t, err)
	expectJobs(t, s, "a: todos page 2")
	_, err = s.JobProgress(t.Context(), job.ID, next, nil)
	must(t, err)
	expectJobs(t, s)
}

func testLargeJobs(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	var entries []WindowEntry
	var keys []RecordKey
	var channels []string
	for i := range 2*batch + 50 {
		entries = append(entries, entry("public", fmt.Sprint("w", i)))
		keys = append(keys, record(fmt.Sprint("i", i)))
		channels = append(channels, fmt.Sprint("user.", i))
	}
	must(t, s.AddToWindow(t.Context(), 1, entries))
	starts := []JobStart{{Channels: channels, Streams: []string{"public"}, Items: keys}}
	for i := range batch + 50 {
		starts = append(starts, JobStart{Channels: []string{channels[i]}, Streams: []string{fmt.Sprint("user:", i)}})
		if i%2 == 0 {
			starts[i+1].Items = keys[i : i+1]
		}
	}
	started := startJobs(t, s, starts...)
	jobs, err := s.Jobs(t.Context())
	must(t, err)
	for i := range jobs {
		for _, list := range [][]JobItem{jobs[i].Items, started[i].Items} { // in whatever number of additions
			slices.SortFunc(list, func(a, b JobItem) int { return cmp.Compare(a.Key, b.Key) })
		}
		slices.Sort(jobs[i].Channels)
		slices.Sort(started[i].Channels)
		if jobs[i].ID != started[i].ID || !slices.Equal(jobs[i].Channels, started[i].Channels) || !slices.Equal(jobs[i].Items, started[i].Items) {
			t.Fatalf("job %d is not what was started", i)
		}
	}
	if got, want := len(jobs), 1+(batch+50)/2; got != want || len(started) != want {
		t.Errorf("%d jobs, want %d", got, want)
	}
	if got, want := len(jobs[0].Items), 2*len(keys); got != want || len(jobs[0].Channels) != len(channels) {
		t.Errorf("%d items, want %d", got, want)
	}
	added, err := s.JobProgress(t.Context(), jobs[0].ID, jobs[0].Items, keys)
	must(t, err)
	if len(added) != len(keys) {
		t.Errorf("%d items were added", len(added))
	}
	jobs[0].Items = append(jobs[0].Items, added...)
	for _, j := range jobs {
		added, err := s.JobProgress(t.Context(), j.ID, j.Items, nil)
		if err != nil || len(added) > 0 {
			t.Errorf("%v, %v", added, err)
		}
	}
	expectJobs(t, s)
}

func testClock(t *testing.T, on setup) {
	s := on.store(t)
	if at, err := s.Clock(t.Context()); err != nil || !at.IsZero() {
		t.Errorf("at first it is %s, %v", at, err)
	}
	for _, want := range []time.Time{noon.Add(1500 * time.Microsecond), noon} {
		must(t, s.SaveClock(t.Context(), want))
		if at, err := s.Clock(t.Context()); err != nil || !at.Equal(want) {
			t.Errorf("got %s, %v, want %s", at, err, want)
		}
	}
}

func testKeyFingerprint(t *testing.T, on setup) {
	s := on.store(t)
	if got, err := s.KeyFingerprint(t.Context()); err != nil || got != "" {
		t.Errorf("at first it is %q, %v", got, err)
	}
	for _, want := range []string{"a", "b", ""} {
		must(t, s.SaveKeyFingerprint(t.Context(), want))
		if got, err := s.KeyFingerprint(t.Context()); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

// BenchmarkStartJobs starts what 50,000 users who come back at once have coming.
func BenchmarkStartJobs(b *testing.B) {
	s := newStore(b)
	const users = 50_000
	var entries []WindowEntry
	var channels []string
	for i := range users {
		channels = append(channels, fmt.Sprint("private-chorus.user.", i))
		entries = append(entries, entry("public", fmt.Sprint(i)))
	}
	for some := range slices.Chunk(entries, 10*batch) {
		must(b, s.AddToWindow(b.Context(), 1, some))
	}
	for b.Loop() {
		starts := []JobStart{{Channels: channels, Streams: []string{"public"}, From: 1}}
		for i, channel := range channels {
			starts = append(starts, JobStart{Channels: []string{channel}, Streams: []string{fmt.Sprint("user:", i)}, From: 1})
		}
		jobs, err := s.StartJobs(b.Context(), starts)
		must(b, err)
		if len(jobs) != 1 {
			b.Fatalf("%d jobs", len(jobs))
		}
		b.StopTimer()
		_, err = s.JobProgress(b.Context(), jobs[0].ID, jobs[0].Items, nil)
		must(b, err)
		b.StartTimer()
	}
}
