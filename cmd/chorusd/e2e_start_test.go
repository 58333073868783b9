package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// dump is all that is in a stack's Redis database.
func (s *stack) dump(t *testing.T) map[string]string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.redis.Addr, DB: s.redis.DB})
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, key := range keys {
		if all[key], err = client.Dump(t.Context(), key).Result(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// forget removes keys from a stack's Redis database.
func (s *stack) forget(t *testing.T, pattern string) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.redis.Addr, DB: s.redis.DB})
	defer client.Close()
	keys, err := client.Keys(t.Context(), pattern).Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("no key is like %s (%v)", pattern, err)
	}
	if err := client.Del(t.Context(), keys...).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestCheckpointLost takes the checkpoint away. chorusd does not guess where to
// go on: it stops with the choices, and each of them works.
func TestCheckpointLost(t *testing.T) {
	for _, lost := range []string{"*checkpoint", "*"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, onServers{}, channelTables, channelSchema)
			d := s.start(t)
			c := s.subscribe(t, "chorus.user.7")
			d.awaitActive(t, 1)
			s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')")
			first := c.await(t, "chorus.user.7", 1)[0].harmonic.ID
			d.terminate(t)
			s.db.MustExec(t, "INSERT INTO notes VALUES (2, 7, 'b')")

			s.forget(t, lost)
			before := s.dump(t)
			d = s.launch(t)
			if code := d.exitCode(t); code != exitConfig {
				t.Errorf("without the checkpoint chorusd exits with %d, want %d", code, exitConfig)
			}
			for _, words := range []string{"--start-over --mysql.start=earliest", "--start-over --mysql.start=now", "backup", s.redis.Prefix} {
				if !strings.Contains(d.output.String(), words) {
					t.Errorf("the choices lack %q", words)
				}
			}
			after := s.dump(t)
			for key := range after {
				// What the check of Redis itself wrote is gone again.
				if before[key] != after[key] && !strings.HasSuffix(key, "server-id") {
					t.Errorf("chorusd changed %s", key)
				}
			}
			if got := c.texts("chorus.user.7"); len(got) != 1 {
				t.Errorf("chorusd published without a checkpoint: %v", got)
			}

			// From the start of the log: everything again, under higher ids
			// where Redis still knows those issued, and under another
			// generation anyway.
			d = s.start(t, "--start-over", "--mysql.start=earliest")
			want := []string{
				`create notes 1 {"id":1,"user_id":7,"body":"a"}`,
				`create notes 1 {"id":1,"user_id":7,"body":"a"}`, `create notes 2 {"id":2,"user_id":7,"body":"b"}`,
			}
			c.awaitHarmonics(t, "chorus.user.7", want...)
			eventually(t, "the client is told to load again", func() bool {
				return slices.ContainsFunc(c.texts("chorus.user.7"), func(s string) bool { return strings.Contains(s, `"type":"reload"`) })
			})
			again := slices.DeleteFunc(slices.Clone(c.got("chorus.user.7")), func(e received) bool { return e.name == harmonic.EventControl })
			if id := again[1].harmonic.ID; id.Generation() == first.Generation() {
				t.Error("starting over keeps the generation")
			} else if lost == "*checkpoint" && id.Seq() <= first.Seq() {
				t.Errorf("starting over issues %s, not above %s", id, first)
			}
			d.terminate(t)
			// And what was started over goes on like any other.
			d = s.start(t)
			s.db.MustExec(t, "DELETE FROM notes WHERE id = 2")
			want = append(want, `delete notes 2 {"id":2,"user_id":7,"body":"b"}`)
			c.awaitHarmonics(t, "chorus.user.7", want...)
			d.terminate(t)
			// From now: what is in the log already stays there.
			s.db.MustExec(t, "INSERT INTO notes VALUES (3, 7, 'skipped')")
			s.start(t, "--start-over", "--mysql.start=now")
			s.db.MustExec(t, "INSERT INTO notes VALUES (4, 7, 'new')")
			c.awaitHarmonics(t, "chorus.user.7", append(want, `create notes 4 {"id":4,"user_id":7,"body":"new"}`)...)
		})
	}
}

// TestCheckpointLostWhileRunning empties Redis under a running chorusd.
func TestCheckpointLostWhileRunning(t *testing.T) {
	t.Parallel()
	s := newStack(t, onServers{}, channelTables, channelSchema)
	d := s.start(t)
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')")
	d.awaitSettled(t, 1)
	s.forget(t, "*")
	s.db.MustExec(t, "INSERT INTO notes VALUES (2, 7, 'b')")
	if code := d.exitCode(t); code != exitConfig || !strings.Contains(d.output.String(), "--start-over") {
		t.Errorf("chorusd exits with %d, want %d and the choices", code, exitConfig)
	}
}

// TestFirstRun begins where mysql.start says, and only the first run does.
func TestFirstRun(t *testing.T) {
	for start, want := range map[string][]string{
		"now":      {"create notes 2"},
		"earliest": {"create notes 1", "update notes 1", "create notes 2"},
	} {
		t.Run(start, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, onServers{}, channelTables, channelSchema)
			c := s.subscribe(t, "chorus.user.7")
			s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')", "UPDATE notes SET body = 'b'")
			d := s.start(t, "--mysql.start="+start)
			s.db.MustExec(t, "INSERT INTO notes VALUES (2, 7, 'c')")
			firstWords := func() []string {
				var got []string
				for _, text := range c.texts("chorus.user.7") {
					words, _, _ := strings.Cut(text, " {")
					got = append(got, words)
				}
				return got
			}
			c.await(t, "chorus.user.7", len(want))
			if got := firstWords(); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			d.terminate(t)
			// The other start says nothing any more.
			d = s.start(t, "--mysql.start=earliest")
			s.db.MustExec(t, "DELETE FROM notes WHERE id = 2")
			want = append(slices.Clone(want), "delete notes 2")
			c.await(t, "chorus.user.7", len(want))
			if got := firstWords(); !slices.Equal(got, want) {
				t.Errorf("after a restart: got %q, want %q", got, want)
			}
			d.terminate(t)
		})
	}
}

// TestStartThatIsNotThere asks for starts that the binlog does not have: run
// and check refuse them, and starting over forgets nothing for one.
func TestStartThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := newStack(t, onServers{}, channelTables, channelSchema)
	const wrong = "--mysql.start=nothing.000001:4"
	for _, command := range []string{"check", "run"} {
		code, out := s.run(t, command, wrong)
		if code == 0 || (command == "run" && code != exitConfig) {
			t.Errorf("%s %s exits with %d", command, wrong, code)
		}
		if !strings.Contains(out, `mysql.start = "nothing.000001:4": the server has no binary log file of that name; it has `) {
			t.Errorf("%s does not say what there is", command)
		}
	}
	s.start(t).terminate(t)
	before := s.dump(t)
	d := s.launch(t, "--start-over", wrong)
	if code := d.exitCode(t); code != exitConfig {
		t.Errorf("run --start-over %s exits with %d, want %d", wrong, code, exitConfig)
	}
	for key, value := range s.dump(t) {
		if before[key] != value {
			t.Errorf("chorusd changed %s", key)
		}
	}
	// A place that is there, after the checkpoint's.
	var file string
	var offset uint64
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'skipped')")
	if err := s.db.QueryRowContext(t.Context(), "SHOW BINARY LOG STATUS").Scan(&file, &offset, new(string), new(string), new(string)); err != nil {
		t.Fatal(err)
	}
	s.db.MustExec(t, "INSERT INTO notes VALUES (2, 7, 'read')")
	c := s.subscribe(t, "chorus.user.7")
	s.start(t, "--start-over", fmt.Sprintf("--mysql.start=%s:%d", file, offset))
	// What is live may come before the message to load again, which then
	// says more than it has to.
	c.awaitHarmonics(t, "chorus.user.7", `create notes 2 {"id":2,"user_id":7,"body":"read"}`)
	c.awaitReloads(t, "chorus.user.7", 1)
}

// TestSharedRedis runs two apps on one Redis, each with a prefix of its own.
func TestSharedRedis(t *testing.T) {
	t.Parallel()
	redisServer := servicestest.StartRedis(t, services.RedisOptions{})
	var stacks [2]*stack
	var daemons [2]*daemon
	var clients [2]*client
	for i := range stacks {
		s := newStack(t, onServers{redis: redisServer}, channelTables, channelSchema)
		s.redis.Prefix = fmt.Sprintf("app%d", i)
		s.configure(t, channelTables)
		stacks[i], daemons[i], clients[i] = s, s.start(t), s.subscribe(t, "chorus.user.7")
		daemons[i].awaitActive(t, 1)
	}
	for i, s := range stacks {
		s.db.MustExec(t, fmt.Sprintf("INSERT INTO notes VALUES (%d, 7, 'x')", i+1))
	}
	for i, c := range clients {
		c.await(t, "chorus.user.7", 1)
		if id := string(c.got("chorus.user.7")[0].harmonic.RecordID); id != fmt.Sprint(i+1) {
			t.Errorf("app %d got record %s", i, id)
		}
	}
	daemons[0].terminate(t)
	// The first app forgets everything; the second goes on.
	stacks[0].forget(t, "{app0}:*")
	stacks[1].db.MustExec(t, "DELETE FROM notes")
	clients[1].awaitHarmonics(t, "chorus.user.7", `create notes 2 {"id":2,"user_id":7,"body":"x"}`, `delete notes 2 {"id":2,"user_id":7,"body":"x"}`)
	daemons[1].terminate(t)
	if code := stacks[0].launch(t).exitCode(t); code != exitConfig {
		t.Errorf("the app that lost its keys exits with %d, want %d", code, exitConfig)
	}
}

// TestTerminatedUnderLoad stops chorusd while rows change: it says goodbye in
// time, and the next run repeats no harmonic.
func TestTerminatedUnderLoad(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, loadTables, loadSchema, loadCommits)
		l := newUncountedLoad(t, s, 7)
		d := s.start(t)
		c := s.subscribe(t, "chorus.user.7", loadPlatform)
		d.awaitActive(t, 2)
		stop := l.run(t)
		for range 3 {
			l.awaitCommits(t, 30)
			d.terminate(t)
			d = s.start(t)
		}
		l.awaitCommits(t, 30)
		stop()
		for channel, user := range map[string]int{loadPlatform: 0, "chorus.user.7": 7} {
			want := l.of(user)
			if got := accounted(t, c, channel, want); got != len(want) {
				t.Errorf("%s: %d events for %d changes, though every stop was graceful", channel, got, len(want))
			}
		}
	})
}

// TestTerminatedWhilePusherServerIsAway cannot publish what it has read; it
// stops in time all the same, and the next run publishes it.
func TestTerminatedWhilePusherServerIsAway(t *testing.T) {
	t.Parallel()
	soketi := servicestest.StartSoketi(t, services.SoketiOptions{})
	s := newStack(t, onServers{soketi: soketi}, loadTables, loadSchema, loadCommits)
	d := s.start(t)
	c := s.subscribe(t, loadPlatform)
	if err := soketi.Pause(); err != nil {
		t.Fatal(err)
	}
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 3, 1)")
	eventually(t, "the request has failed", func() bool { return d.logged(lostPublisher) == 1 })
	d.terminate(t)
	if err := soketi.Resume(); err != nil {
		t.Fatal(err)
	}
	c.leave() // the frozen server may yet deliver what it was sent before
	c = s.subscribe(t, loadPlatform)
	s.start(t)
	c.awaitHarmonics(t, loadPlatform, `create notes 1 {"id":1,"user_id":7,"version":1}`)
}

// TestMappingChanged goes on with ids above all that were issued.
func TestMappingChanged(t *testing.T) {
	t.Parallel()
	s := newStack(t, onServers{}, channelTables, channelSchema)
	d := s.start(t)
	c := s.subscribe(t, "chorus.user.7")
	d.awaitActive(t, 1)
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')")
	c.await(t, "chorus.user.7", 1)
	d.kill(t)
	s.configure(t, strings.Replace(channelTables, `"user_id", `, "", 1))
	store := s.store(t)
	issued, err := store.IssuedSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.db.MustExec(t, "UPDATE notes SET body = 'b'")
	eventually(t, "the update has come", func() bool {
		got := c.texts("chorus.user.7")
		return got[len(got)-1] == `update notes 1 {"id":1,"body":"b"}`
	})
	// The message of the changed schema stands before the first change.
	got := slices.DeleteFunc(slices.Clone(c.got("chorus.user.7")), func(e received) bool { return e.name == harmonic.EventControl })
	for _, e := range got[1:] {
		if seq := uint64(e.harmonic.ID.Seq()); seq <= issued {
			t.Errorf("%s has position %d, not above %d", inWords(e), seq, issued)
		}
	}
	if got[0].harmonic.ID.Generation() != got[len(got)-1].harmonic.ID.Generation() {
		t.Error("another mapping is not another generation")
	}
}

// TestAwayAtStart starts chorusd before its servers: check says what is
// missing, run waits for it.
func TestAwayAtStart(t *testing.T) {
	t.Parallel()
	on := onServers{
		sql:    servicestest.StartSQL(t, services.MariaDB, services.SQLOptions{}),
		redis:  servicestest.StartRedis(t, services.RedisOptions{}),
		soketi: servicestest.StartSoketi(t, services.SoketiOptions{}),
	}
	s := newStack(t, on, channelTables, channelSchema)
	servers := []*services.Server{on.sql.Server, on.redis.Server, on.soketi.Server}
	for _, server := range servers {
		server.Kill()
	}
	code, out := s.run(t, "check")
	if code != exitFailure {
		t.Errorf("check exits with %d, want %d", code, exitFailure)
	}
	for _, server := range servers {
		if !strings.Contains(out, server.Addr) {
			t.Errorf("check does not name %v at %s:\n%s", server.Kind, server.Addr, out)
		}
	}
	d := s.launch(t)
	eventually(t, "chorusd waits", func() bool { return d.logged("waiting for servers that cannot be reached") == 1 })
	if code, body := d.get(t, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, `"starting: `) {
		t.Errorf("/readyz answers %d %s", code, body)
	}
	if code, body := d.get(t, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d %s", code, body)
	}
	for _, server := range servers {
		if d.hasExited() {
			t.Fatal("chorusd does not wait for its servers")
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d.awaitReady(t)
	c := s.subscribe(t, "chorus.user.7")
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')")
	c.await(t, "chorus.user.7", 1)

	// And waiting can be ended.
	d.terminate(t)
	on.redis.Kill()
	d = s.launch(t)
	eventually(t, "chorusd waits", func() bool { return d.logged("waiting for servers that cannot be reached") == 1 })
	d.terminate(t)
}

// TestAdmin asks the admin address.
func TestAdmin(t *testing.T) {
	t.Parallel()
	s := newStack(t, onServers{}, channelTables, channelSchema)
	d := s.start(t)
	c := s.subscribe(t, "chorus.user.7")
	d.awaitActive(t, 1)
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a'), (2, 8, 'b')")
	c.await(t, "chorus.user.7", 1)
	d.awaitSettled(t, 2)
	if code, body := d.get(t, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz answers %d %q", code, body)
	}
	_, status := d.get(t, "/status")
	for _, field := range []string{`"reading": true`, `"channels_known": true`, `"publishing": true`, `"saving": true`, `"leading": true`, `"lag_seconds": `, `"lag_bytes": `, `"position": `, `"active_channels": 1`} {
		if !strings.Contains(status, field) {
			t.Errorf("/status lacks %s:\n%s", field, status)
		}
	}
	if code, ready := d.get(t, "/readyz"); code != http.StatusOK || !strings.Contains(ready, `"reading": true`) || !strings.Contains(ready, `"problems": []`) {
		t.Errorf("/readyz answers %d\n%s", code, ready)
	}
	for name, want := range map[string]float64{
		"chorusd_changes_total": 2, "chorusd_harmonics_total": 2, "chorusd_active_channels": 1,
		"chorusd_lag_seconds": 0, "chorusd_queued_harmonics": 0, "chorusd_reading_paused": 0, "chorusd_inbox_transactions": 0,
		"chorusd_latency_seconds_count": 1 + 3*1, // a transaction, and a harmonic at each stage after that
		"chorusd_up":                    5, "chorusd_leader": 1, "chorusd_channel_messages_total": 1, "chorusd_request_seconds_count": 1, "chorusd_build_info": 1,
	} {
		if got := d.metric(t, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	eventually(t, "all of the log is read", func() bool { return d.metric(t, "chorusd_lag_bytes") == 0 })
	if n := d.metric(t, "chorusd_pusher_sent_bytes_total"); n < 50 {
		t.Errorf("%v bytes sent to the Pusher server", n)
	}
	if n := d.metric(t, "chorusd_checkpoint_age_seconds"); n > recent.Seconds() {
		t.Errorf("the checkpoint is %v s old", n)
	}
	if n := d.metric(t, "chorusd_checkpoint_saved_seconds"); time.Since(time.Unix(int64(n), 0)) > recent {
		t.Errorf("the checkpoint was saved at %v", n)
	}
	if code, _ := d.get(t, "/"); code != http.StatusNotFound {
		t.Errorf("/ answers %d", code)
	}
	// A second one by mistake ends before it changes anything.
	second := s.launch(t)
	if code := second.exitCode(t); code != exitFailure || !strings.Contains(second.output.String(), "admin.listen") {
		t.Errorf("a second chorusd exits with %d", code)
	}
	d.signal(t, syscall.SIGINT)
	if code := d.exitCode(t); code != 0 {
		t.Errorf("after SIGINT chorusd exits with %d", code)
	}
}
