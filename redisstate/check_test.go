package redisstate

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

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

func TestCheckAcceptsAndLeavesNothing(t *testing.T) {
	c := sharedConfig(t)
	s := open(t, c)
	expectProblem(t, s.Check(t.Context()))
	if left := storedKeys(t, c.Prefix, s.client); len(left) != 0 {
		t.Errorf("left behind: %q", left)
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
			expectProblem(t, open(t, redisWith(t, services.RedisOptions{Args: test.args})).Check(t.Context()), test.words...)
		})
	}
}

func TestCheckReplica(t *testing.T) {
	s := open(t, redisWith(t, services.RedisOptions{Args: []string{"--replicaof", "127.0.0.1", "1"}}))
	expectProblem(t, s.Check(t.Context()), "redis.addr", "replica", "primary")
}

func TestCheckPermissions(t *testing.T) {
	c := redisWith(t, services.RedisOptions{})
	admin := open(t, c)
	user := func(rules ...any) Config {
		args := append([]any{"ACL", "SETUSER", "app", "reset", "on", ">secret"}, rules...)
		must(t, admin.client.Do(t.Context(), args...).Err())
		u := c
		u.Username, u.Password = "app", always("secret")
		return u
	}
	// What the message tells the operator to run must be enough.
	u := user("~"+c.Prefix+"*", "+@read", "+@write", "+@connection", "+@transaction", "+@scripting", "+info", "+config|get")
	s := open(t, u)
	expectProblem(t, s.Check(t.Context()))
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("a")))
	must(t, s.RenewChannels(t.Context(), SourcePoll, []string{"user.1"}, noon, 1))
	must(t, s.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "1")}))
	jobs := startJobs(t, s, JobStart{Channels: []string{"user.1"}, Streams: []string{"user.1"}})
	_, err := s.JobProgress(t.Context(), jobs[0].ID, jobs[0].Items, nil)
	must(t, err)
	_, err = s.ServerID(t.Context())
	must(t, err)

	s = open(t, user("~other:*", "+@all"))
	expectProblem(t, s.Check(t.Context()), "redis.username", "ACL SETUSER", "~"+c.Prefix+"*")
	s = open(t, user("~*", "+@all", "-@scripting"))
	expectProblem(t, s.Check(t.Context()), "redis.username", "+@scripting")
	s = open(t, user("~*", "+@all", "-config", "-info"))
	expectProblem(t, s.Check(t.Context()), "redis.username", "+info")
}

func TestOpenExplains(t *testing.T) {
	free := redisWith(t, services.RedisOptions{})
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
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis.sock")
	c := redisWith(t, services.RedisOptions{Args: []string{"--unixsocket", socket}})
	c.Addr = socket
	expectProblem(t, open(t, c).Check(t.Context()))
}
