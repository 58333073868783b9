package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher/pushertest"
	"github.com/chorusd/chorusd/tools/services"
)

// startFake starts a Pusher server in memory, with the app of a stack.
func startFake(t *testing.T, opts pushertest.Options) *pushertest.Server {
	t.Helper()
	opts.AppID, opts.Key, opts.Secret = services.DefaultAppID, services.DefaultKey, services.DefaultSecret
	return pushertest.Start(t, opts)
}

// TestServerKinds finds out which kind of Pusher server there is, says what it
// takes, and publishes to it.
func TestServerKinds(t *testing.T) {
	t.Parallel()
	for kind, words := range map[string]string{
		pushertest.Reverb:  "the Pusher server is Laravel Reverb and takes 100 channels per event, 10000 bytes per request\n",
		pushertest.Sockudo: "the Pusher server is Sockudo and takes 100 channels per event, 10 events per batch, 102400 bytes of data per event\n",
		"a real Soketi":    "the Pusher server is Soketi and takes 100 channels per event, 10 events per batch, 102400 bytes of data per event\n",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			on := onServers{}
			if kind != "a real Soketi" {
				on.pusher = startFake(t, pushertest.Options{Kind: kind}).Addr()
			}
			s := newStack(t, on, channelTables, channelSchema)
			s.env = []string{"CHORUSD_PUSHER_SERVER=auto"}
			if code, out := s.run(t, "check"); code != 0 || !strings.HasSuffix(out, words) {
				t.Errorf("check exits with %d, and does not say %q:\n%s", code, words, out)
			}
			d := s.start(t)
			c := s.subscribe(t, "chorus.user.7")
			d.awaitActive(t, 1)
			s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')", "UPDATE notes SET body = 'b'")
			c.awaitTexts(t, "chorus.user.7", true,
				`create notes 1 {"id":1,"user_id":7,"body":"a"}`, `update notes 1 {"id":1,"user_id":7,"body":"b"}`)
		})
	}
}

// TestServerFaults has every request for an event go wrong at first, in another
// way each: every record arrives, the last time as it is.
func TestServerFaults(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{pushertest.Reverb, pushertest.Sockudo} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fake := startFake(t, pushertest.Options{Kind: kind})
			s := newStack(t, onServers{pusher: fake.Addr()}, channelTables, channelSchema)
			s.env = []string{"CHORUSD_PUSHER_SERVER=auto"}
			d := s.start(t)
			c := s.subscribe(t, "chorus.user.7")
			d.awaitActive(t, 1)
			faults := []pushertest.Fault{
				pushertest.Half, pushertest.HalfHead, pushertest.Lost, pushertest.LostByReset, pushertest.Reset,
				pushertest.TooFast(1), pushertest.OverQuota, pushertest.Down, pushertest.Slow(nil), pushertest.Stuck(nil),
			}
			// is says whether the last that came of a record is that it is b.
			is := func(record int) bool {
				latest := ""
				for _, text := range c.texts("chorus.user.7") {
					if strings.Fields(text)[2] == fmt.Sprint(record) {
						latest = text
					}
				}
				return strings.HasSuffix(latest, fmt.Sprintf(`notes %[1]d {"id":%[1]d,"user_id":7,"body":"b"}`, record))
			}
			for i, fault := range faults {
				fake.Fail(pushertest.Publish, 1, fault)
				s.db.MustExec(t, fmt.Sprintf("INSERT INTO notes VALUES (%d, 7, 'a')", i), fmt.Sprintf("UPDATE notes SET body = 'b' WHERE id = %d", i))
				eventually(t, "the record arrives as it is", func() bool { return is(i) })
			}
			d.awaitSettled(t, 2*len(faults))
			for i := range faults {
				if !is(i) {
					t.Errorf("what came last of record %d is old", i)
				}
			}
		})
	}
}

// TestUnknownServerKind does not guess, and says what to set.
func TestUnknownServerKind(t *testing.T) {
	t.Parallel()
	fake := startFake(t, pushertest.Options{Kind: pushertest.Pusher}) // not at a host of Pusher's
	s := newStack(t, onServers{pusher: fake.Addr()}, channelTables, channelSchema)
	s.env = []string{"CHORUSD_PUSHER_SERVER=auto"}
	s.refused(t, fake.Addr(), "it is not surely one of", `set pusher.server to the kind that it behaves like, for example server = "pusher"`)
	s.env = []string{"CHORUSD_PUSHER_SERVER=pusher", "CHORUSD_PUSHER_MAX_CHANNELS=7"}
	if code, out := s.run(t, "check"); code != 0 || !strings.Contains(out, "takes 7 channels per event") {
		t.Errorf("check exits with %d:\n%s", code, out)
	}
}

// TestServerTakesLess refuses a limit that is above the server's own, at which
// it would stop.
func TestServerTakesLess(t *testing.T) {
	t.Parallel()
	fake := startFake(t, pushertest.Options{Kind: pushertest.Reverb, MaxRequestBytes: 9000})
	s := newStack(t, onServers{pusher: fake.Addr()}, channelTables, channelSchema)
	s.env = []string{"CHORUSD_PUSHER_SERVER=auto"}
	s.refused(t, fake.Addr(), "it refuses a request of 10000 bytes as too large", "pusher.max_request_bytes", "max_request_size")
	s.env = append(s.env, "CHORUSD_PUSHER_MAX_REQUEST_BYTES=9000")
	s.accepted(t)
}

// TestServerTakesLessMeanwhile has the server take less than before, and reset
// connections instead of saying so, as Reverb may: what is too large together
// comes record by record, of what is too large alone clients get a pointer, and
// other channels go on meanwhile.
func TestServerTakesLessMeanwhile(t *testing.T) {
	t.Parallel()
	const channel, limit = "chorus.user.7", 4000
	fake := startFake(t, pushertest.Options{Kind: pushertest.Reverb})
	s := newStack(t, onServers{pusher: fake.Addr()}, largeTables, "CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, body TEXT)")
	s.env = []string{"CHORUSD_PUSHER_SERVER=auto"}
	d := s.start(t)
	c, other := s.subscribe(t, channel), s.subscribe(t, "chorus.user.8")
	d.awaitActive(t, 2)
	fake.Fail(pushertest.Publish, -1, func(x *pushertest.Exchange) {
		if x.Head.ContentLength > limit {
			x.Reset()
			return
		}
		x.Write(x.Do())
	})
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, REPEAT('a', 900)), (2, 7, REPEAT('b', 900)), (3, 7, REPEAT('x', 5000)), (4, 7, REPEAT('c', 900))")
	for n := 1; d.metric(t, "chorusd_set_aside_total") == 0; n++ {
		s.db.MustExec(t, fmt.Sprintf("INSERT INTO notes VALUES (%d, 8, '')", 100+n))
		other.await(t, "chorus.user.8", n)
	}
	var got []string
	for _, e := range c.await(t, channel, 4) {
		if e.name == harmonic.EventControl {
			got = append(got, "pointer to "+pointed(t, e))
		} else {
			got = append(got, fmt.Sprint(e.harmonic.Operation, " ", string(e.harmonic.RecordID)))
		}
	}
	if want := []string{"create 1", "create 2", "pointer to create notes 3", "create 4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := d.metric(t, "chorusd_unanswered_total"); n < 1 {
		t.Errorf("%v requests are counted as unanswered, want the record at least", n)
	}
	if code, out := s.run(t, "deadletters"); code != 0 || !strings.Contains(out, "1 set aside") || !strings.Contains(out, "see pusher.max_request_bytes") {
		t.Errorf("deadletters exits with %d:\n%s", code, out)
	}
	s.awaitCovered(t)
	d.terminate(t)
}

// TestServerWarnings says what a kind of server makes of the configuration.
func TestServerWarnings(t *testing.T) {
	t.Parallel()
	fake := startFake(t, pushertest.Options{Kind: pushertest.Reverb})
	s := newStack(t, onServers{pusher: fake.Addr()}, channelTables, channelSchema)
	s.env = []string{"CHORUSD_PUSHER_SERVER=reverb", "CHORUSD_WEBHOOKS_LISTEN=" + freeAddr(t)}
	if code, out := s.run(t, "check"); code != 0 || !strings.Contains(out, "Laravel Reverb sends no webhooks") {
		t.Errorf("check exits with %d:\n%s", code, out)
	}

	s.env = []string{"CHORUSD_PUSHER_SERVER=soketi"}
	if code, out := s.run(t, "check"); code != 0 || !strings.Contains(out, `pusher.server is "soketi", and the server answers as "reverb" does`) {
		t.Errorf("check exits with %d:\n%s", code, out)
	}

	limited := startFake(t, pushertest.Options{Kind: pushertest.Sockudo, RequestsPerMinute: 100})
	s.env = []string{"CHORUSD_PUSHER_HOST=" + limited.Addr(), "CHORUSD_PUSHER_SERVER=sockudo"}
	if code, out := s.run(t, "check"); code != 0 || !strings.Contains(out, "X-RateLimit-Limit: 100") || !strings.Contains(out, "rate_limiter.api_rate_limit") {
		t.Errorf("check exits with %d:\n%s", code, out)
	}
}
