package main

import (
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/redisstate"
	"github.com/chorusd/chorusd/tools/services"
)

// pointed is the record that a pointer is to, in words, or what other message
// it is.
func pointed(t *testing.T, e received) string {
	t.Helper()
	m, err := harmonic.ParseControl([]byte(e.payload))
	if err != nil {
		t.Fatalf("%s: %v", e.payload, err)
	}
	p, ok := m.(harmonic.Pointer)
	if !ok {
		return m.Type()
	}
	return p.Operation.String() + " " + p.Table + " " + string(p.RecordID)
}

// TestTooLarge has a record that is too large: a client gets a pointer to it,
// and the record itself after a start with a higher limit. A delete comes with
// its key alone.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	const channel = "chorus.user.7"
	s := newStack(t, onServers{}, largeTables, "CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, body VARCHAR(5000))")
	small := []string{"--pusher.max_data_bytes=3000"}
	d := s.start(t, small...)
	c := s.subscribe(t, channel)
	d.awaitActive(t, 1)
	s.db.MustExec(t,
		"INSERT INTO notes VALUES (1, 7, REPEAT('x', 4000)), (2, 7, 'a'), (3, 7, REPEAT('y', 4000))",
		"DELETE FROM notes WHERE id = 3")
	got := c.await(t, channel, 4)
	for i, want := range []string{"create notes 1", `create notes 2 {"id":2,"user_id":7,"body":"a"}`, "create notes 3", `delete notes 3 {"id":3}`} {
		is := inWords(got[i])
		if got[i].name == harmonic.EventControl {
			is = pointed(t, got[i])
		}
		if is != want {
			t.Errorf("event %d is %s, want %s", i, is, want)
		}
	}
	if n := d.metric(t, "chorusd_pointers_total", `table="notes"`); n != 2 {
		t.Errorf("%v pointers are counted, want 2", n)
	}
	if n := d.logged("a record is too large to publish: clients get a pointer to it, and it is set aside (see chorusd deadletters); this is said once per table"); n != 1 {
		t.Errorf("the log says it %d times, want once", n)
	}
	if !strings.Contains(d.output.String(), "raise eventLimits.maxPayloadInKb, and pusher.max_data_bytes with it") {
		t.Error("the log does not say what to raise")
	}
	if code, out := s.run(t, "deadletters"); code != 0 || !strings.Contains(out, "the server takes 3000") || !strings.Contains(out, "2 set aside") {
		t.Errorf("deadletters exits with %d:\n%s", code, out)
	}

	update := `update notes 1 {"id":1,"user_id":7,"body":"` + strings.Repeat("x", 4000) + `"}`
	has := func(text string) bool {
		for _, e := range c.got(channel) {
			if inWords(e) == text {
				return true
			}
		}
		return false
	}
	d.terminate(t)
	d = s.start(t, small...) // nothing is otherwise
	s.db.MustExec(t, "INSERT INTO notes VALUES (4, 7, 'b')")
	eventually(t, "the next record comes", func() bool { return has(`create notes 4 {"id":4,"user_id":7,"body":"b"}`) })
	if has(update) {
		t.Fatal("it was sent, although it is too large")
	}
	d.terminate(t)
	d = s.start(t)
	eventually(t, "what was too large comes after all", func() bool { return has(update) })
	eventually(t, "nothing is set aside any more", func() bool {
		letters, err := s.store(t).DeadLetters(t.Context())
		return err == nil && len(letters) == 0
	})
	d.terminate(t)
}

// TestDeadLettersRetry has what was set aside sent again by a command, as it is
// by then.
func TestDeadLettersRetry(t *testing.T) {
	t.Parallel()
	const channel = "chorus.user.7"
	s := newStack(t, onServers{}, channelTables, channelSchema)
	d := s.start(t)
	c := s.subscribe(t, channel)
	d.awaitActive(t, 1)
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')", "UPDATE notes SET body = 'b'")
	c.await(t, channel, 2)
	s.setAside(t, "notes", "[1]", "private-"+channel)
	s.setAside(t, "notes", "[2]", "private-"+channel) // which is gone by now
	code, out := s.run(t, "deadletters")
	if code != 0 || !strings.Contains(out, "notes  [1]  private-"+channel+"  413: no") || !strings.Contains(out, "2 set aside") {
		t.Errorf("deadletters exits with %d:\n%s", code, out)
	}
	if code, out := s.run(t, "deadletters", "--retry"); code != 0 || !strings.Contains(out, "2 set aside; chorusd sends them again") {
		t.Errorf("deadletters --retry exits with %d:\n%s", code, out)
	}
	got := c.await(t, channel, 4)
	if want := `update notes 1 {"id":1,"user_id":7,"body":"b"}`; inWords(got[2]) != want {
		t.Errorf("sent again is %s, want %s", inWords(got[2]), want)
	}
	if want := `delete notes 2 {"id":2}`; inWords(got[3]) != want {
		t.Errorf("sent again is %s, want %s", inWords(got[3]), want)
	}
	eventually(t, "nothing is set aside any more", func() bool {
		_, out := s.run(t, "deadletters")
		return strings.Contains(out, "0 set aside")
	})
	d.terminate(t)
}

// setAside sets a record aside as chorusd would have that was too large for
// Soketi, so that no start sends it again.
func (s *stack) setAside(t *testing.T, table, key string, channels ...string) {
	t.Helper()
	err := s.store(t).SetAside(t.Context(), redisstate.DeadLetter{
		Table: table, Key: key, Channels: channels, Reason: "413: no", At: time.Now(),
		Limits: "100 channels per event, 10 events per batch, 102400 bytes of data per event",
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestWidestRow: check says which table has a row that is too large, by its key.
func TestWidestRow(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, largeTables, "CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, body VARCHAR(5000))")
		s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a'), (2, 7, REPEAT('x', 4000)), (3, 7, 'b')")
		const warning = "tables.notes: the row with the key [2] is too large for the Pusher server, so clients get a pointer in its place"
		if code, out := s.run(t, "check"); code != 0 || strings.Contains(out, "too large") {
			t.Errorf("check exits with %d:\n%s", code, out)
		}
		code, out := s.run(t, "check", "--pusher.max_data_bytes=3000")
		if code != 0 || !strings.Contains(out, warning) || !strings.Contains(out, "the server takes 3000; raise eventLimits.maxPayloadInKb") || strings.Contains(out, "xxx") {
			t.Errorf("check exits with %d, and does not say %q:\n%s", code, warning, out)
		}
	})
}
