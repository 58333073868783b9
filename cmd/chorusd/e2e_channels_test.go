package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

const (
	channelTables = `
[tables.notes]
fields = ["id", "user_id", "body"]
visible_to = ["user:{user_id}"]
`
	channelSchema = "CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, body VARCHAR(20))"
)

// awaitPoll waits until a poll that begins from now on is complete.
func (s *stack) awaitPoll(t *testing.T) {
	t.Helper()
	store := s.store(t)
	now := time.Now()
	eventually(t, "a poll is complete", func() bool {
		last, err := store.LastPoll(t.Context())
		return err == nil && last.StartedAt.After(now)
	})
}

// awaitActive waits until chorusd knows of so many channels.
func (d *daemon) awaitActive(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the channels are active", func() bool { return d.metric(t, "chorusd_active_channels") == float64(n) })
}

// awaitSettled waits until chorusd has read n harmonics and is done with them.
func (d *daemon) awaitSettled(t *testing.T, n int) {
	t.Helper()
	eventually(t, "what was read is settled", func() bool {
		return d.metric(t, "chorusd_harmonics_total") == float64(n) && d.metric(t, "chorusd_queued_harmonics") == 0
	})
}

// texts are what a client got on a channel, in words.
func (c *client) texts(channel string) []string {
	var texts []string
	for _, e := range c.got(channel) {
		texts = append(texts, inWords(e))
	}
	return texts
}

// awaitTexts waits until as many events came as are wanted, and compares;
// without order, repeats do not count.
func (c *client) awaitTexts(t *testing.T, channel string, ordered bool, want ...string) {
	t.Helper()
	if !ordered {
		slices.Sort(want)
	}
	var got []string
	eventually(t, fmt.Sprintf("%d events on %s", len(want), channel), func() bool {
		got = c.texts(channel)
		if !ordered {
			slices.Sort(got)
			got = slices.Compact(got)
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", channel, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// gone is a delete of a refill, which has the key alone.
var gone = regexp.MustCompile(`^delete \w+ \d+ \{"id":\d+\}$`)

// harmonics are the texts without those of refills and without control
// messages, in tests without updates of their own.
func (c *client) harmonics(channel string) []string {
	return slices.DeleteFunc(c.texts(channel), func(s string) bool {
		return strings.HasPrefix(s, "update ") || strings.HasPrefix(s, harmonic.EventControl) || gone.MatchString(s)
	})
}

// awaitHarmonics waits until as many harmonics came as are wanted, and compares.
func (c *client) awaitHarmonics(t *testing.T, channel string, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d harmonics on %s", len(want), channel), func() bool { return len(c.harmonics(channel)) >= len(want) })
	if got := c.harmonics(channel); !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", channel, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestFirstSighting has what changed between the last poll that lacked a
// channel and its sighting arrive, as it is then, and nothing older. Until
// then nothing is published to it.
func TestFirstSighting(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, channelTables, channelSchema)
		polled := []string{"--channels.poll_interval=3s", "--channels.lease=6s"}
		d := s.start(t, polled...)
		s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'old'), (2, 7, 'to change'), (3, 7, 'to delete'), (4, 7, 'to move')")
		d.awaitSettled(t, 4)
		s.awaitPoll(t)
		s.awaitPoll(t)

		s.db.MustExec(t,
			"UPDATE notes SET body = 'changed' WHERE id = 2",
			"DELETE FROM notes WHERE id = 3",
			"UPDATE notes SET user_id = 8 WHERE id = 4", // a delete and a create
			"INSERT INTO notes VALUES (5, 7, 'new')",
			"UPDATE notes SET body = 'newer' WHERE id = 5",
		)
		d.awaitSettled(t, 4+6)
		if n := d.metric(t, "chorusd_requests_total"); n != 0 {
			t.Errorf("chorusd made %v requests for channels that nobody listens on", n)
		}
		c := s.subscribe(t, "chorus.user.7")
		want := []string{
			`update notes 2 {"id":2,"user_id":7,"body":"changed"}`,
			`update notes 5 {"id":5,"user_id":7,"body":"newer"}`,
			`delete notes 3 {"id":3}`,
			`delete notes 4 {"id":4}`,
		}
		c.awaitTexts(t, "chorus.user.7", false, want...)
		// From now on it is live, and nothing else was on its way.
		s.db.MustExec(t, "INSERT INTO notes VALUES (6, 7, 'live')")
		c.awaitTexts(t, "chorus.user.7", false, append(want, `create notes 6 {"id":6,"user_id":7,"body":"live"}`)...)
		last := ""
		for _, e := range c.got("chorus.user.7") {
			if id := e.harmonic.ID.String(); id < last {
				t.Errorf("the id %s comes after %s", id, last)
			} else {
				last = id
			}
		}

		code, out := s.run(t, "channels")
		line := ""
		for l := range strings.Lines(out) {
			if strings.HasPrefix(l, "private-chorus.user.7 ") {
				line = l
			}
		}
		if fields := strings.Fields(line); code != 0 || len(fields) < 5 || fields[4] != "poll" || !strings.Contains(out, "1 active channels") {
			t.Errorf("channels exits with %d and prints\n%s", code, out)
		} else if age, err := time.ParseDuration(fields[1]); err != nil || age > recent {
			t.Errorf("the channel's age is %s (%v)", fields[1], err)
		}
	})
}

// TestRefillSurvivesKill kills chorusd after it has seen a channel and before
// it could read the rows for it.
func TestRefillSurvivesKill(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, channelTables, channelSchema)
		polled := []string{"--channels.poll_interval=3s", "--channels.lease=6s"}
		d := s.start(t, polled...)
		s.awaitPoll(t)
		s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a'), (2, 7, 'b')")
		d.awaitSettled(t, 2)
		// Nobody else can read the table from here on.
		locking, err := s.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer locking.Close()
		if _, err := locking.ExecContext(t.Context(), "LOCK TABLES notes WRITE"); err != nil {
			t.Fatal(err)
		}
		c := s.subscribe(t, "chorus.user.7")
		store := s.store(t)
		eventually(t, "the channel is seen", func() bool {
			jobs, err := store.Jobs(t.Context())
			return err == nil && len(jobs) == 1 && slices.Equal(jobs[0].Channels, []string{"private-chorus.user.7"}) && len(jobs[0].Items) == 2
		})
		d.kill(t)
		if got := c.texts("chorus.user.7"); len(got) != 0 {
			t.Fatalf("the refill came already: %v", got)
		}
		if _, err := locking.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
			t.Fatal(err)
		}
		d = s.start(t, polled...)
		c.awaitTexts(t, "chorus.user.7", false,
			`update notes 1 {"id":1,"user_id":7,"body":"a"}`, `update notes 2 {"id":2,"user_id":7,"body":"b"}`)
		eventually(t, "the refill is done", func() bool {
			jobs, err := store.Jobs(t.Context())
			return err == nil && len(jobs) == 0
		})
		d.terminate(t)
	})
}

// TestWebhooks has Soketi tell of a channel long before the next poll.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	listen := freeAddr(t)
	soketi := servicestest.StartSoketi(t, services.SoketiOptions{Webhooks: []services.Webhook{{URL: "http://" + listen + "/hooks"}}})
	s := newStack(t, onServers{soketi: soketi}, channelTables, channelSchema)
	d := s.start(t, "--webhooks.listen="+listen, "--webhooks.path=/hooks", "--channels.poll_interval=1h", "--channels.lease=2h")
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a'), (2, 8, 'theirs')")
	d.awaitSettled(t, 2)
	if n := d.metric(t, "chorusd_requests_total"); n != 0 {
		t.Errorf("chorusd made %v requests for channels that nobody listens on", n)
	}
	c := s.subscribe(t, "chorus.user.7")
	c.awaitTexts(t, "chorus.user.7", true, `update notes 1 {"id":1,"user_id":7,"body":"a"}`)
	s.db.MustExec(t, "DELETE FROM notes WHERE id = 1")
	c.awaitTexts(t, "chorus.user.7", true, `update notes 1 {"id":1,"user_id":7,"body":"a"}`, `delete notes 1 {"id":1,"user_id":7,"body":"a"}`)
	code, out := s.run(t, "channels")
	if code != 0 || !strings.Contains(out, "private-chorus.user.7") || !strings.Contains(out, "webhook") || strings.Contains(out, "user.8") {
		t.Errorf("channels exits with %d and prints\n%s", code, out)
	}
	// It leaves: its lease ends at once, and a poll will confirm that.
	c.leave()
	eventually(t, "the channel's lease has ended", func() bool {
		_, out := s.run(t, "channels")
		return strings.Contains(out, "ended")
	})
}
