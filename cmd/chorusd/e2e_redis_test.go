package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// emptyRedis has an operator's hand slip.
func emptyRedis(t *testing.T, server *services.RedisServer) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer client.Close()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// saysWhatToDo wants chorusd to have ended over Redis, with the choices.
func (d *daemon) saysWhatToDo(t *testing.T, words ...string) {
	t.Helper()
	if code := d.exitCode(t); code != exitConfig {
		t.Errorf("chorusd exits with %d, want %d", code, exitConfig)
	}
	for _, words := range append(words, "on_lost_state") {
		if !strings.Contains(d.output.String(), words) {
			t.Errorf("chorusd does not say %q", words)
		}
	}
}

// awaitOne waits until there is such an event on a channel.
func (c *client) awaitOne(t *testing.T, channel, want string) {
	t.Helper()
	eventually(t, "there is "+want, func() bool { return slices.Contains(c.texts(channel), want) })
}

// withoutControls are the events of a channel that are harmonics, each once, as
// texts.
func (c *client) withoutControls(channel string) []string {
	return firstOfEach(slices.DeleteFunc(c.texts(channel), func(s string) bool { return strings.Contains(s, `"type":"reload"`) }))
}

func firstOfEach(texts []string) []string {
	var first []string
	for _, text := range texts {
		if !slices.Contains(first, text) {
			first = append(first, text)
		}
	}
	return first
}

// TestRedisEmptiedStops: without a word about what else to do, chorusd stops
// when Redis is emptied, although nothing is written to the database, and does
// not start again; then it is told what to do.
func TestRedisEmptiedStops(t *testing.T) {
	t.Parallel()
	server := servicestest.StartRedis(t, services.RedisOptions{})
	s := newStack(t, onServers{redis: server}, channelTables, channelSchema)
	d := s.start(t)
	c := s.subscribe(t, "chorus.user.7")
	d.awaitActive(t, 1)
	emptyRedis(t, server)
	d.saysWhatToDo(t, "redis has lost what chorusd kept there", "--start-over --mysql.start=now")
	s.launch(t).saysWhatToDo(t, "says that a checkpoint was saved", s.redis.Prefix, "--start-over --mysql.start=now")
	if got := c.got("chorus.user.7"); len(got) != 0 {
		t.Errorf("the client got %v", got)
	}
	d = s.start(t, "--redis.on_lost_state=reload")
	c.awaitReloads(t, "chorus.user.7", 1)
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')")
	c.awaitOne(t, "chorus.user.7", `create notes 1 {"id":1,"user_id":7,"body":"a"}`)
	d.terminate(t)
	d = s.start(t)
	s.db.MustExec(t, "DELETE FROM notes")
	c.awaitOne(t, "chorus.user.7", `delete notes 1 {"id":1,"user_id":7,"body":"a"}`)
	d.terminate(t)
}

// TestRedisEmptiedReloads: chorusd goes on where it was. Whoever is there gets
// every change, and is told to load again.
func TestRedisEmptiedReloads(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		server := servicestest.StartRedis(t, services.RedisOptions{})
		s := newStack(t, onServers{kind: kind, redis: server}, channelTables, channelSchema)
		d := s.start(t, "--redis.on_lost_state=reload")
		c := s.subscribe(t, "chorus.user.7")
		d.awaitActive(t, 1)
		s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')")
		c.await(t, "chorus.user.7", 1)
		before := c.got("chorus.user.7")[0].harmonic.ID
		for round := 1; round <= 2; round++ {
			emptyRedis(t, server)
			s.db.MustExec(t, "UPDATE notes SET body = CONCAT(body, '!')")
			c.awaitReloads(t, "chorus.user.7", round)
			s.db.MustExec(t, "UPDATE notes SET body = CONCAT(body, '?')")
		}
		want := []string{
			`create notes 1 {"id":1,"user_id":7,"body":"a"}`,
			`update notes 1 {"id":1,"user_id":7,"body":"a!"}`, `update notes 1 {"id":1,"user_id":7,"body":"a!?"}`,
			`update notes 1 {"id":1,"user_id":7,"body":"a!?!"}`, `update notes 1 {"id":1,"user_id":7,"body":"a!?!?"}`,
		}
		eventually(t, "every change has come", func() bool { return len(c.withoutControls("chorus.user.7")) >= len(want) })
		if got := c.withoutControls("chorus.user.7"); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		last := c.got("chorus.user.7")[len(c.got("chorus.user.7"))-1]
		if last.name == harmonic.EventCreated && (last.harmonic.ID.Seq() <= before.Seq() || last.harmonic.ID.Generation() == before.Generation()) {
			t.Errorf("after the loss there is %s, which is not above %s in another generation", last.harmonic.ID, before)
		}
		d.awaitReady(t)
		d.terminate(t)
	})
}

// TestRedisReplaced starts chorusd where another one has begun anew: it is not
// taken for its own state.
func TestRedisReplaced(t *testing.T) {
	t.Parallel()
	server := servicestest.StartRedis(t, services.RedisOptions{})
	s := newStack(t, onServers{redis: server}, channelTables, channelSchema)
	s.start(t).terminate(t)
	c := s.subscribe(t, "chorus.user.7")
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'missed')")
	emptyRedis(t, server)
	elsewhere := "--state_dir=" + t.TempDir()
	s.start(t, elsewhere).terminate(t)
	s.launch(t).saysWhatToDo(t, "another Redis", "--redis.on_lost_state=reload")
	d := s.start(t, "--redis.on_lost_state=reload")
	c.awaitReloads(t, "chorus.user.7", 1)
	d.terminate(t)
	d = s.start(t) // it is its own by now
	s.db.MustExec(t, "INSERT INTO notes VALUES (2, 7, 'b')")
	c.awaitOne(t, "chorus.user.7", `create notes 2 {"id":2,"user_id":7,"body":"b"}`)
	d.terminate(t)
}

// TestRedisWithoutItsLastWrites restarts Redis as it was at a snapshot, under a
// running chorusd: it goes on from there, and nobody misses anything.
func TestRedisWithoutItsLastWrites(t *testing.T) {
	t.Parallel()
	server := servicestest.StartRedis(t, services.RedisOptions{})
	s := newStack(t, onServers{redis: server}, channelTables, channelSchema)
	c := s.subscribe(t, "chorus.user.7")
	d := s.start(t, "--channels.poll_interval=1h", "--channels.lease=2h")
	d.awaitActive(t, 1)
	late := s.subscribe(t, "chorus.user.8") // whom the next poll will see
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')")
	c.await(t, "chorus.user.7", 1)
	d.awaitSettled(t, 1)
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	if err := client.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	client.Close()
	// What is kept for user 8 is lost, and the checkpoint with it.
	s.db.MustExec(t, "INSERT INTO notes VALUES (2, 8, 'b')", "INSERT INTO notes VALUES (3, 7, 'c')")
	c.await(t, "chorus.user.7", 2)
	d.awaitSettled(t, 3)
	server.Kill()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is noticed", func() bool {
		return d.logged("redis has come back without its last writes; going on from the checkpoint that it has") == 1
	})
	d.awaitReady(t)
	var ids []harmonic.ID
	eventually(t, "what came since is sent again", func() bool {
		ids = nil
		for _, e := range c.got("chorus.user.7") {
			if strings.HasPrefix(inWords(e), "create notes 3 ") {
				ids = append(ids, e.harmonic.ID)
			}
		}
		return len(ids) > 1
	})
	if ids[0] != ids[1] {
		t.Errorf("a change is sent again as %s, it was %s", ids[1], ids[0])
	}
	eventually(t, "user 8 has what was kept for him", func() bool { // live by then, or refilled
		return slices.ContainsFunc(late.texts("chorus.user.8"), func(s string) bool {
			return strings.HasSuffix(s, ` notes 2 {"id":2,"user_id":8,"body":"b"}`)
		})
	})
	c.awaitReloads(t, "chorus.user.7", 0)
	d.terminate(t)
}

// TestRedisFailover kills the Redis that has the keys under load, on a cluster
// and with Sentinels. Nothing is lost, and nothing comes out of order.
func TestRedisFailover(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (redisConfig, func(key string) (*services.RedisServer, error)){
		"cluster": func(t *testing.T) (redisConfig, func(string) (*services.RedisServer, error)) {
			cluster := servicestest.StartRedisCluster(t, services.RedisOptions{})
			return redisConfig{Cluster: cluster.Addrs()[:2]}, func(key string) (*services.RedisServer, error) { return cluster.Owner(t.Context(), key) }
		},
		"sentinels": func(t *testing.T) (redisConfig, func(string) (*services.RedisServer, error)) {
			watched := servicestest.StartRedisSentinels(t, services.SentinelOptions{SentinelPassword: "secret"})
			return redisConfig{Sentinels: watched.Addrs()[:2], SentinelMaster: watched.Master, SentinelPassword: "secret"},
				func(string) (*services.RedisServer, error) { return watched.Primary(t.Context()) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, owner := start(t)
			on := onServers{sql: servicestest.StartSQL(t, services.MySQL, services.SQLOptions{}), several: config}
			s := newStack(t, on, loadTables, loadSchema, loadCommits)
			s.env = append(s.env, "CHORUSD_REDIS_SENTINEL_PASSWORD="+string(config.SentinelPassword))
			l := newLoad(t, s, 7, 8)
			d := s.start(t)
			c := s.subscribe(t, "chorus.user.7", loadPlatform)
			d.awaitActive(t, 2)
			stop := l.run(t)
			l.awaitCommits(t, 20)
			key := "{" + s.redis.Prefix + "}:token"
			first, err := owner(key)
			if err != nil {
				t.Fatal(err)
			}
			first.Kill()
			eventually(t, "another Redis has taken over", func() bool {
				next, err := owner(key)
				return err == nil && next != first
			})
			l.awaitCommits(t, 20)
			stop()
			d.awaitReady(t)
			l.arrived(t, c, c.resident())
			// The Redis that took over may lack the last writes: then chorusd
			// notices that, and goes on from the checkpoint that it has.
			eventually(t, "the checkpoint covers all that was committed", func() bool {
				_, at, err := s.tryCheckpoint(t)
				return err == nil && lastTransaction(t, at.GTIDs)-l.before == l.committed()
			})
			d.terminate(t)
			var at place
			eventually(t, "the checkpoint can be read", func() bool { // not every node may know yet who has taken over
				var err error
				_, at, err = s.tryCheckpoint(t)
				return err == nil
			})
			if covered := lastTransaction(t, at.GTIDs) - l.before; covered != l.committed() {
				t.Errorf("the checkpoint covers %d transactions, want all %d", covered, l.committed())
			}
		})
	}
}
