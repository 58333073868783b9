package relay

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// letters are what is set aside.
func (r *rig) letters() []redisstate.DeadLetter {
	r.t.Helper()
	letters, err := r.store.DeadLetters(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return letters
}

// controls are the control messages that a channel got.
func (s *server) controls(channel string) (list []harmonic.Control) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.delivered {
		if d.channel == channel && d.control != nil {
			list = append(list, d.control)
		}
	}
	return list
}

// TestTooLargeRecordIsPointedTo: in place of a record that is too large, clients
// are told where it is, and it is set aside; of one that is deleted the key is
// enough.
func TestTooLargeRecordIsPointedTo(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7), big(2, 7, 20_000), put(3, 7))
	r.caughtUp()
	r.commit(big(2, 7, 30_000), del(2))
	r.caughtUp()
	r.commit(big(4, 7, 20_000))
	r.commit(big(4, 8, 20_000))
	r.caughtUp()
	got, want := r.on(userChannel(7)), []string{"create 1 v1", "pointer", "create 3 v2", "delete 2 ", "pointer", "delete 4 "}
	if !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	var pointed []string
	for _, c := range append(r.controls(userChannel(7)), r.controls(userChannel(8))...) {
		p := c.(harmonic.Pointer)
		pointed = append(pointed, fmt.Sprint(p.Operation, " ", p.Table, " ", string(p.RecordID)))
		if p.ID.Seq() == 0 || p.ID.Generation() != testGeneration {
			t.Errorf("a pointer with id %v", p.ID)
		}
	}
	if want := []string{"create todos 2", "create todos 4", "create todos 4"}; !slices.Equal(pointed, want) {
		t.Errorf("pointers to %q, want %q", pointed, want)
	}
	for _, l := range r.letters() {
		if want := map[string][]string{"[2]": {userChannel(7)}, "[4]": {userChannel(7), userChannel(8)}}; !slices.Equal(l.Channels, want[l.Key]) ||
			l.Limits != r.limits.String() || !strings.Contains(l.Reason, "20213, the server takes 10000") {
			t.Errorf("set aside %+v", l)
		}
	}
	for _, name := range []string{"chorusd_pointers_total", "chorusd_set_aside_total"} {
		if n := r.sample(name, "todos").GetCounter().GetValue(); n != 3 {
			t.Errorf("%s is %v, want 3", name, n)
		}
	}
}

// TestRecordIDs are as in harmonics.
func TestRecordIDs(t *testing.T) {
	for key, want := range map[string]string{`[3]`: `3`, `["a,b]"]`: `"a,b]"`, `[3,"a"]`: `[3,"a"]`} {
		if got := string(recordID(key)); got != want {
			t.Errorf("key %s becomes %s, want %s", key, got, want)
		}
	}
}

// TestServerThatTakesLess says 413 to what fits the limits that are configured:
// clients get a pointer as well.
func TestServerThatTakesLess(t *testing.T) {
	r := newRig(t)
	r.onAnswer(func(_ context.Context, events []pusher.Event) (bool, error) {
		for _, e := range events {
			if len(e.Data) > 1000 {
				return false, errRefused
			}
		}
		return true, nil
	})
	r.start()
	r.commit(put(1, 7), big(2, 7, 2000), put(3, 7))
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"create 1 v1", "pointer", "create 3 v2"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if l := r.letters(); len(l) != 1 || l[0].Key != "[2]" || l[0].Limits == "" || !strings.Contains(l[0].Reason, "lower pusher.max_data_bytes or pusher.max_request_bytes") {
		t.Errorf("set aside %+v, want [2] with what to change", l)
	}
}

// refusing makes the server refuse every event of a record, until it is told
// otherwise.
func (r *rig) refusing(record int) *atomic.Bool {
	refuses := &atomic.Bool{}
	refuses.Store(true)
	r.onAnswer(func(_ context.Context, events []pusher.Event) (bool, error) {
		for _, e := range events {
			if refuses.Load() && strings.Contains(string(e.Data), fmt.Sprintf(`"record_id":%d,`, record)) {
				return false, &pusher.Error{Op: "publish", Class: pusher.Refused, Status: 422, Message: "no"}
			}
		}
		return true, nil
	})
	return refuses
}

// TestDeadLettersAreSentAgain when an operator wants it, as they are then: a
// record that is refused still is listed still, others overwrite nothing.
func TestDeadLettersAreSentAgain(t *testing.T) {
	r := newRig(t)
	refuses := r.refusing(2)
	r.subscribe(7)
	r.start()
	r.poll()
	r.commit(put(1, 7), put(2, 7))
	r.caughtUp()
	retry := func() {
		t.Helper()
		if err := r.store.AskRetry(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it was sent again", func() bool {
			asked, err := r.store.RetryAsked(t.Context())
			return err == nil && !asked
		})
		r.caughtUp()
	}
	if got := r.letters(); len(got) != 1 || got[0].Key != "[2]" || got[0].Limits != "" {
		t.Fatalf("set aside %+v, want [2]", got)
	}
	retry()
	if got := r.letters(); len(got) != 1 || got[0].Key != "[2]" {
		t.Fatalf("set aside %+v, want [2] still", got)
	}
	counted := func() float64 { return r.sample("chorusd_dead_letters", "").GetGauge().GetValue() }
	eventually(t, "it is counted", func() bool { return counted() == 1 })
	refuses.Store(false)
	r.commit(put(2, 7)) // newer than what was set aside
	r.caughtUp()
	r.same(7)
	retry()
	r.same(7)
	if got := r.letters(); len(got) != 0 {
		t.Errorf("set aside %+v, want nothing", got)
	}
	eventually(t, "nothing is counted", func() bool { return counted() == 0 })
	got := r.on(userChannel(7))
	if want := []string{"create 1 v1", "update 2 v3", "update 2 v3"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// TestDeadLettersAtTheStart: what was refused is tried once more, and what was
// too large if the limits are others.
func TestDeadLettersAtTheStart(t *testing.T) {
	r := newRig(t)
	refuses := r.refusing(2)
	r.subscribe(7)
	r.start()
	r.poll()
	r.commit(put(1, 7), put(2, 7), big(3, 7, 20_000))
	r.caughtUp()
	listed := func() (keys []string) {
		for _, l := range r.letters() {
			keys = append(keys, l.Key)
		}
		slices.Sort(keys)
		return keys
	}
	if got, want := listed(), []string{"[2]", "[3]"}; !slices.Equal(got, want) {
		t.Fatalf("set aside are %q, want %q", got, want)
	}
	refuses.Store(false)
	for _, step := range []struct {
		bytes int
		left  []string
	}{{10_000, []string{"[3]"}}, {30_000, nil}} {
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.limits.DataBytes = step.bytes
		r.start()
		r.poll()
		eventually(t, fmt.Sprintf("with %d bytes %q are left", step.bytes, step.left), func() bool { return slices.Equal(listed(), step.left) })
	}
	eventually(t, "the client has all", func() bool { return reflect.DeepEqual(r.has(7), r.seen(7)) })
}

// TestChannelsOfOtherRules: what an earlier run had to send to channels that the
// rules do not name any more, as it encrypted, is sent to the others alone.
func TestChannelsOfOtherRules(t *testing.T) {
	const other = "private-encrypted-chorus.user.7"
	r := newRig(t)
	r.subscribe(7)
	r.start()
	r.poll()
	r.commit(put(1, 7), put(2, 7))
	r.caughtUp()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	both := []string{other, userChannel(7)}
	store := r.open()
	for _, channels := range [][]string{both, {other}} {
		_, err := store.StartJobs(t.Context(), []redisstate.JobStart{{Channels: channels, Items: []redisstate.RecordKey{{Table: "todos", Key: "[1]"}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for key, channels := range map[string][]string{"[2]": both, "[1]": {other}} {
		if err := store.SetAside(t.Context(), redisstate.DeadLetter{Table: "todos", Key: key, Channels: channels, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	store.Close()
	r.occupy(other, map[int]todo{})
	r.start()
	r.poll()
	eventually(t, "the letters and the jobs are gone", func() bool {
		jobs, err := r.store.Jobs(t.Context())
		return err == nil && len(jobs) == 0 && len(r.letters()) == 0
	})
	r.caughtUp()
	got := r.on(userChannel(7))
	for _, want := range []string{"update 1 v1", "update 2 v2"} {
		if !slices.Contains(got, want) {
			t.Errorf("published %q, want %q among it", got, want)
		}
	}
	if got := r.on(other); len(got) != 0 {
		t.Errorf("published %q on %s", got, other)
	}
}

// TestDeadLettersOfMany are for all who see the record then, and those that are
// not named have the table loaded again.
func TestDeadLettersOfMany(t *testing.T) {
	r := newRig(t)
	r.subscribe(7)
	r.subscribe(8)
	r.start()
	r.poll()
	r.commit(put(1, 7), put(2, 8))
	r.caughtUp()
	r.occupy(userChannel(7), map[int]todo{})
	ask := func(l redisstate.DeadLetter) {
		t.Helper()
		l.At = time.Now()
		if err := r.store.SetAside(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if err := r.store.AskRetry(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is sent again", func() bool { return len(r.letters()) == 0 })
		r.caughtUp()
	}
	before := len(r.on(userChannel(8)))
	ask(redisstate.DeadLetter{Table: "todos", Key: "[1]", Many: true})
	r.same(7)
	if got := r.on(userChannel(8))[before:]; len(got) != 0 {
		t.Errorf("user 8 is told %q of a record that is not his", got)
	}
	ask(redisstate.DeadLetter{Table: "todos"})
	for _, user := range []int{7, 8} {
		if got := r.on(userChannel(user)); got[len(got)-1] != harmonic.TypeReload {
			t.Errorf("user %d got %q, want a reload at the end", user, got)
		}
	}
	before = len(r.on(userChannel(7)))
	ask(redisstate.DeadLetter{Table: "gone"})
	if got := r.on(userChannel(7))[before:]; len(got) != 0 {
		t.Errorf("of a table that is not mapped any more clients are told %q", got)
	}
}
