package redisstate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

func redisWith(t *testing.T, options services.RedisOptions) Config {
	t.Helper()
	return Config{Addr: servicestest.StartRedis(t, options).Addr, Password: always(options.Password), Prefix: DefaultPrefix}
}

func always(password string) func() string { return func() string { return password } }

// expectProblem checks that one of errs holds all the words, and that there is
// none if there are no words.
func expectProblem(t *testing.T, errs []error, words ...string) {
	t.Helper()
	if len(words) == 0 {
		if len(errs) > 0 {
			t.Errorf("problems: %v", errs)
		}
		return
	}
	for _, err := range errs {
		missing := false
		for _, word := range words {
			missing = missing || !strings.Contains(err.Error(), word)
		}
		if !missing {
			return
		}
	}
	t.Errorf("no problem with %q in %v", words, errs)
}

// check is what is wrong with a Store's Redis; nothing may be left unknown.
func check(t *testing.T, s *Store) []error {
	t.Helper()
	problems, warnings := s.Check(t.Context())
	expectProblem(t, warnings)
	return problems
}

func TestCheckAcceptsAndLeavesNothing(t *testing.T) {
	for name, start := range setups {
		t.Run(name, func(t *testing.T) {
			on := start(t)
			c := on.config(t)
			expectProblem(t, check(t, open(t, c)))
			if left := on.keys(t, c); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
			// Each node has to keep the keys, and is named if it does not.
			for _, node := range on.nodes {
				must(t, admin(t, node).ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
				problems := check(t, open(t, c))
				if len(problems) != 1 {
					t.Errorf("there are %d problems, want 1: %v", len(problems), problems)
				}
				where := node.Addr
				if name == "sentinels" && node == on.owner(t, "") {
					where = on.Where()
				}
				expectProblem(t, problems, where, "allkeys-lru", "redis."+on.key())
				must(t, admin(t, node).ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
			}
		})
	}
}

// TestCheckReplicaThatIsDown is no problem, but nobody knows how it would be.
func TestCheckReplicaThatIsDown(t *testing.T) {
	on := onSentinels(t)
	s := on.store(t)
	for _, node := range on.nodes {
		if node != on.owner(t, "") {
			node.Kill()
			problems, warnings := s.Check(t.Context())
			expectProblem(t, problems)
			expectProblem(t, warnings, node.Addr, "CONFIG GET maxmemory-policy")
			return
		}
	}
}

func TestCheckEvictionPolicy(t *testing.T) {
	noConfig := []string{"--rename-command", "CONFIG", ""}
	for _, test := range []struct {
		name  string
		args  []string
		words []string
	}{
		{"may evict", []string{"--maxmemory-policy", "allkeys-lru"}, []string{"redis.addr", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction"}},
		{"spares keys without time to live", []string{"--maxmemory-policy", "volatile-lfu"}, nil},
		{"may evict, CONFIG forbidden", append(noConfig, "--maxmemory-policy", "allkeys-random"), []string{"allkeys-random"}},
		{"good, CONFIG forbidden", noConfig, nil},
		{"not told", append(noConfig, "--rename-command", "INFO", "HIDDEN"), []string{"redis.addr", "maxmemory-policy", "INFO memory"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			expectProblem(t, check(t, open(t, redisWith(t, services.RedisOptions{Args: test.args}))), test.words...)
		})
	}
}

func TestCheckReplica(t *testing.T) {
	s := open(t, redisWith(t, services.RedisOptions{Args: []string{"--replicaof", "127.0.0.1", "1"}}))
	expectProblem(t, check(t, s), "redis.addr", "replica", "primary")
}

// exercise does everything that a Store can, on an empty Redis.
func exercise(ctx context.Context, c Config) error {
	s, err := Open(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer s.Close()
	if problems, warnings := s.Check(ctx); len(problems)+len(warnings) > 0 {
		return errors.Join(append(problems, warnings...)...)
	}
	l, err := s.Lead(ctx, candidate("first"), Leader{})
	if err != nil {
		return err
	}
	if err := errors.Join(l.renew(ctx), second(s.Leader(ctx)), s.SaveCheckpoint(ctx, checkpointAt("a"))); err != nil {
		return err
	}
	for _, use := range uses {
		if err := use.do(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", use.name, err)
		}
	}
	return errors.Join(s.Forget(ctx), s.ReloadTold(ctx), l.Resign(ctx, false), l.Resign(ctx, true))
}

// uses are all uses of a Store but those of leases and the last ones.
var uses = []struct {
	name string
	do   func(context.Context, *Store) error
	// changes says that it does.
	changes bool
}{
	{"LoadCheckpoint", func(ctx context.Context, s *Store) error { return second(s.LoadCheckpoint(ctx)) }, false},
	{"SaveCheckpoint", func(ctx context.Context, s *Store) error { return s.SaveCheckpoint(ctx, checkpointAt("b")) }, true},
	{"Verify", func(ctx context.Context, s *Store) error { return s.Verify(ctx) }, false},
	{"ReserveSeq", func(ctx context.Context, s *Store) error { return s.ReserveSeq(ctx, 7) }, true},
	{"IssuedSeq", func(ctx context.Context, s *Store) error { return second(s.IssuedSeq(ctx)) }, false},
	{"AddToWindow", func(ctx context.Context, s *Store) error {
		return s.AddToWindow(ctx, 1, []WindowEntry{entry("user.1", "1"), {Key: "{}"}})
	}, true},
	{"Notices", func(ctx context.Context, s *Store) error { return second(s.Notices(ctx, 0)) }, false},
	{"StartJobs", func(ctx context.Context, s *Store) error {
		return second(s.StartJobs(ctx, []JobStart{{ID: "job", Channels: []string{"user.1"}, Streams: []string{"user.1"}, Items: []RecordKey{record("2")}}}))
	}, true},
	{"StartJobs of the window", func(ctx context.Context, s *Store) error {
		return second(s.StartJobs(ctx, []JobStart{{ID: "another", Streams: []string{"user.1"}}}))
	}, true},
	{"AddToJob", func(ctx context.Context, s *Store) error {
		return second(s.AddToJob(ctx, "job", []string{"user.2"}, []RecordKey{record("3")}))
	}, true},
	{"Jobs", func(ctx context.Context, s *Store) error { return second(s.Jobs(ctx)) }, false},
	{"JobProgress", func(ctx context.Context, s *Store) error {
		jobs, err := s.Jobs(ctx)
		for _, j := range jobs {
			err = errors.Join(err, second(s.JobProgress(ctx, j.ID, j.Items, nil)))
		}
		return err
	}, false},
	{"TrimWindow", func(ctx context.Context, s *Store) error { return s.TrimWindow(ctx, 2) }, false},
	{"PollDone", func(ctx context.Context, s *Store) error { return s.PollDone(ctx, 2, noon) }, true},
	{"LastPoll", func(ctx context.Context, s *Store) error { return second(s.LastPoll(ctx)) }, false},
	{"OweReload", func(ctx context.Context, s *Store) error { return s.OweReload(ctx, "why") }, true},
	{"OwedReload", func(ctx context.Context, s *Store) error { return second(s.OwedReload(ctx)) }, false},
	{"ReloadTold", func(ctx context.Context, s *Store) error { return s.ReloadTold(ctx) }, true},
	{"SaveKeyFingerprint", func(ctx context.Context, s *Store) error { return s.SaveKeyFingerprint(ctx, "x") }, true},
	{"KeyFingerprint", func(ctx context.Context, s *Store) error { return second(s.KeyFingerprint(ctx)) }, false},
	{"SaveVersion", func(ctx context.Context, s *Store) error { return s.SaveVersion(ctx, "todos", "1") }, true},
	{"Versions", func(ctx context.Context, s *Store) error { return second(s.Versions(ctx)) }, false},
	{"SaveShapes", func(ctx context.Context, s *Store) error { return s.SaveShapes(ctx, "x") }, true},
	{"Shapes", func(ctx context.Context, s *Store) error { return second(s.Shapes(ctx)) }, false},
	{"SaveClock", func(ctx context.Context, s *Store) error { return s.SaveClock(ctx, noon) }, true},
	{"Clock", func(ctx context.Context, s *Store) error { return second(s.Clock(ctx)) }, false},
	{"SetAside", func(ctx context.Context, s *Store) error { return s.SetAside(ctx, DeadLetter{ID: "x"}) }, true},
	{"DeadLetters", func(ctx context.Context, s *Store) error { return second(s.DeadLetters(ctx)) }, false},
	{"CountDeadLetters", func(ctx context.Context, s *Store) error { return second(s.CountDeadLetters(ctx)) }, false},
	{"RemoveLetters", func(ctx context.Context, s *Store) error {
		letters, err := s.DeadLetters(ctx)
		return errors.Join(err, s.RemoveLetters(ctx, letters))
	}, false},
	{"AskRetry", func(ctx context.Context, s *Store) error { return s.AskRetry(ctx) }, false},
	{"RetryAsked", func(ctx context.Context, s *Store) error { return second(s.RetryAsked(ctx)) }, false},
	{"RetryDone", func(ctx context.Context, s *Store) error { return s.RetryDone(ctx) }, false},
}

func second[T any](_ T, err error) error { return err }

// exerciseLeases is exercise for what is not held against the token.
func exerciseLeases(ctx context.Context, c Config) error {
	s, err := Open(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer s.Close()
	_, errID := s.ServerID(ctx)
	return errors.Join(errID,
		s.RenewChannels(ctx, SourcePoll, []string{"user.1"}, noon, time.Second),
		s.ShortenLease(ctx, "user.1", noon),
		second(s.Channels(ctx)),
		second(s.RemoveExpired(ctx, noon.Add(time.Minute))))
}

// TestLeastPermissions: the rule that is documented is enough, and each word of
// it is needed.
func TestLeastPermissions(t *testing.T) {
	documented, err := os.ReadFile("../docs/OPERATIONS.md")
	must(t, err)
	if rule := (Config{Prefix: DefaultPrefix}).rule(); !strings.Contains(string(documented), rule) {
		t.Errorf("docs/OPERATIONS.md has not the rule\n%s", rule)
	}
	on := onSingle(t)
	for _, word := range append(strings.Fields(commands), "", "~", "info config|get") {
		c := on.config(t)
		rule := strings.Fields(c.rule())
		rule = slices.DeleteFunc(rule, func(w string) bool { return slices.Contains(strings.Fields(word), w[1:]) || word == "~" && w[0] == '~' })
		on.allow(t, c.Username, strings.Join(rule, " "))
		err := errors.Join(exercise(t.Context(), c), exerciseLeases(t.Context(), c))
		switch {
		case word == "" || word == "info" || word == "config|get": // one of these two is enough
			if err != nil {
				t.Errorf("without %q: %v", word, err)
			}
		case err == nil:
			t.Errorf("%q is not needed", word)
		case !strings.Contains(err.Error(), "redis.username"): // Check or Open says it
			t.Errorf("without %q: %v", word, err)
		}
	}
	// The message tells the operator what to run.
	c := on.config(t)
	on.allow(t, c.Username, "~* +@all -@scripting")
	expectProblem(t, check(t, open(t, c)), "redis.username", "ACL SETUSER", c.rule())
	on.allow(t, c.Username, "~other:* +@all")
	expectProblem(t, check(t, open(t, c)), "redis.username", "~{"+c.Prefix+"}:*")
	c.DB = 3
	if _, err := Open(t.Context(), c, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	on.allow(t, c.Username, (Config{Prefix: c.Prefix}).rule())
	_, err = Open(t.Context(), c, slog.New(slog.DiscardHandler))
	expectProblem(t, []error{err}, "redis.username", "+select")
}

func TestOpenExplains(t *testing.T) {
	free := redisWith(t, services.RedisOptions{})
	cluster := onCluster(t)
	watched := servicestest.StartRedisSentinels(t, services.SentinelOptions{SentinelPassword: "secret"})
	sentinels := Config{Sentinels: watched.Addrs(), Master: watched.Master, SentinelPassword: always("secret"), Prefix: DefaultPrefix}
	locked := redisWith(t, services.RedisOptions{Password: "secret"})
	with := func(c Config, change func(*Config)) Config { change(&c); return c }
	for _, test := range []struct {
		name   string
		config Config
		words  []string
	}{
		{"nobody there", with(free, func(c *Config) { c.Addr = "127.0.0.1:1" }), []string{"redis.addr", "127.0.0.1:1", "refused"}},
		{"no password", with(locked, func(c *Config) { c.Password = nil }), []string{"redis.password", "NOAUTH", "CHORUSD_REDIS_PASSWORD"}},
		{"wrong password", with(locked, func(c *Config) { c.Password = always("guess") }), []string{"redis.password", "WRONGPASS", "CHORUSD_REDIS_PASSWORD"}},
		{"no such database", with(free, func(c *Config) { c.DB = 4711 }), []string{"redis.db", "db = 0"}},
		{"a cluster that is none", with(free, func(c *Config) { c.Cluster = []string{c.Addr} }), []string{"redis.cluster", "addr", "cluster support disabled"}},
		{"nobody of a cluster", with(free, func(c *Config) { c.Cluster = []string{"127.0.0.1:1", "127.0.0.1:2"} }), []string{"redis.cluster", "127.0.0.1:1, 127.0.0.1:2", "refused"}},
		{"Sentinels that are none", with(sentinels, func(c *Config) { c.Sentinels, c.SentinelPassword = []string{free.Addr}, nil }), []string{"redis.sentinels", "addr", free.Addr}},
		{"nobody of the Sentinels", with(sentinels, func(c *Config) { c.Sentinels = []string{"127.0.0.1:1"} }), []string{"redis.sentinels", "127.0.0.1:1", "refused"}},
		{"a primary that no Sentinel knows", with(sentinels, func(c *Config) { c.Master = "other" }), []string{"redis.sentinel_master", `"other"`, "sentinel monitor"}},
		{"Sentinels without password", with(sentinels, func(c *Config) { c.SentinelPassword = nil }), []string{"redis.sentinel_password", "NOAUTH", "CHORUSD_REDIS_SENTINEL_PASSWORD"}},
		{"Sentinels with a wrong password", with(sentinels, func(c *Config) { c.SentinelPassword = always("guess") }), []string{"redis.sentinel_password", "WRONGPASS"}},
		{"invalid", Config{DB: -1}, []string{"redis.addr", "redis.db", "redis.prefix"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open(t.Context(), test.config, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("it opened")
			}
			expectProblem(t, []error{err}, test.words...)
			if strings.Contains(err.Error(), "guess") {
				t.Errorf("the password is in %v", err)
			}
		})
	}
	open(t, locked)
	open(t, sentinels)
	// These say so only when they are used.
	expectProblem(t, check(t, open(t, with(free, func(c *Config) { c.Addr = cluster.Cluster[0] }))), "redis.addr", "cluster = [")
	expectProblem(t, check(t, open(t, with(sentinels, func(c *Config) {
		c.Addr, c.Sentinels, c.Master, c.Password = c.Sentinels[0], nil, "", c.SentinelPassword
	}))), "redis.addr", "sentinels")
}

// TestSentinelsAsAnACLUser is with the least that they must allow.
func TestSentinelsAsAnACLUser(t *testing.T) {
	watched := servicestest.StartRedisSentinels(t, services.SentinelOptions{SentinelPassword: "secret"})
	allow := func(rule string) {
		for _, sentinel := range watched.Sentinels {
			args := []any{"ACL", "SETUSER", "app", "reset", "on", ">own"}
			for word := range strings.FieldsSeq(rule) {
				args = append(args, word)
			}
			client := redis.NewClient(&redis.Options{Addr: sentinel.Addr, Password: "secret", Protocol: 2, DisableIdentity: true})
			must(t, client.Do(t.Context(), args...).Err())
			must(t, client.Close())
		}
	}
	c := Config{Sentinels: watched.Addrs()[:1], Master: watched.Master, SentinelUsername: "app", SentinelPassword: always("own"), Prefix: DefaultPrefix}
	allow(sentinelRule)
	must(t, exercise(t.Context(), c))
	allow("+ping")
	_, err := Open(t.Context(), c, slog.New(slog.DiscardHandler))
	expectProblem(t, []error{err}, "redis.sentinel_username", sentinelRule)
	documented, err := os.ReadFile("../docs/OPERATIONS.md")
	must(t, err)
	if !strings.Contains(string(documented), sentinelRule) {
		t.Errorf("docs/OPERATIONS.md has not the rule\n%s", sentinelRule)
	}
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis.sock")
	c := redisWith(t, services.RedisOptions{Args: []string{"--unixsocket", socket}})
	c.Addr = socket
	expectProblem(t, check(t, open(t, c)))
}
