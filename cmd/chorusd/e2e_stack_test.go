package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/redisstate"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// stack is the servers of one test and the configuration of a chorusd for them.
type stack struct {
	db     *servicestest.Database
	redis  redisConfig
	soketi *services.SoketiServer // nil if it is another Pusher server
	pusher string                 // address of the Pusher server
	// app, key and secret are those of the test's own Pusher app.
	app, key, secret string
	user             string // the database user of chorusd
	dir              string
	admin            string
	config           string   // path of config.toml
	env              []string // goes over the rest of the environment
	passwordFile     string   // of the database user; empty: it is in the environment
}

// password is that of chorusd's database users.
const password = "it's a \"secret\""

// onServers chooses a stack's servers; those left out are shared with other tests.
type onServers struct {
	kind  services.Kind // of database, MySQL if empty
	sql   *services.SQLServer
	redis *services.RedisServer
	// several is Redis with Sentinels, or a cluster.
	several redisConfig
	soketi  *services.SoketiServer
	pusher  string // address of a Pusher server instead of Soketi
}

// newStack makes a stack. tables is the TOML of the mapping; sql makes its tables.
func newStack(t *testing.T, on onServers, tables string, sql ...string) *stack {
	t.Helper()
	s := &stack{dir: t.TempDir(), admin: freeAddr(t)}
	if on.kind == "" {
		on.kind = services.MySQL
	}
	if on.sql == nil {
		on.sql = servicestest.SharedSQL(t, on.kind)
	}
	s.db = servicestest.CreateDatabase(t, on.sql)
	s.db.MustExec(t, sql...)
	switch {
	case len(on.several.Cluster)+len(on.several.Sentinels) > 0:
		s.redis = on.several
	case on.redis != nil:
		s.redis.Addr = on.redis.Addr
	default:
		shared := servicestest.NewRedisDatabase(t)
		s.redis = redisConfig{Addr: shared.Addr, DB: shared.Number}
	}
	s.redis.Prefix = "app:"
	s.soketi, s.pusher = on.soketi, on.pusher
	s.app, s.key, s.secret = services.DefaultAppID, services.DefaultKey, services.DefaultSecret
	if s.pusher == "" {
		if s.soketi == nil {
			s.soketi = sharedSoketi(t)
			s.app, s.key, s.secret = nextApp()
		}
		s.pusher = s.soketi.Addr
	}
	s.user = "chorusd_" + s.db.Name
	s.db.MustExec(t,
		fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", s.user, strings.ReplaceAll(password, "'", "''")),
		fmt.Sprintf("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '%s'@'%%'", s.user),
		fmt.Sprintf("GRANT SELECT ON %s.* TO '%s'@'%%'", s.db.Name, s.user),
	)
	s.configure(t, tables)
	return s
}

// configure writes the configuration with the given mapping.
func (s *stack) configure(t *testing.T, tables string) {
	t.Helper()
	s.config = filepath.Join(s.dir, "config.toml")
	text := fmt.Sprintf(`state_dir = %q
[mysql]
addr = %q
user = %q
database = %q
[redis]
%s
db = %d
prefix = %q
[pusher]
server = "soketi"
host = %q
app_id = %q
key = %q
timeout = "2s"
[channels]
poll_interval = "200ms"
lease = "1s"
[admin]
listen = %q
[log]
format = "json"
%s`, filepath.Join(s.dir, "state"), s.db.Server.Addr, s.user, s.db.Name, s.redis.address(), s.redis.DB, s.redis.Prefix,
		s.pusher, s.app, s.key, s.admin, tables)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// address is how the configuration names a Redis.
func (c redisConfig) address() string {
	switch {
	case len(c.Cluster) > 0:
		return "cluster = " + tomlValue(c.Cluster)
	case len(c.Sentinels) > 0:
		return fmt.Sprintf("sentinels = %s\nsentinel_master = %q", tomlValue(c.Sentinels), c.SentinelMaster)
	}
	return fmt.Sprintf("addr = %q", c.Addr)
}

// environ is the environment of chorusd: this process's without settings of
// chorusd, and the secrets.
func (s *stack) environ() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CHORUSD_") {
			env = append(env, v)
		}
	}
	if s.passwordFile != "" {
		env = append(env, "CHORUSD_MYSQL_PASSWORD_FILE="+s.passwordFile)
	} else {
		env = append(env, "CHORUSD_MYSQL_PASSWORD="+password)
	}
	return append(append(env, "CHORUSD_PUSHER_SECRET="+s.secret), s.env...)
}

// store opens what chorusd keeps in Redis.
func (s *stack) store(t *testing.T) *redisstate.Store {
	t.Helper()
	store, err := redisstate.Open(t.Context(), s.redis.store(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// place is a checkpoint's position.
type place struct {
	GTIDs  string
	File   string
	Offset uint64
}

// checkpoint is the position that chorusd would go on from.
func (s *stack) checkpoint(t *testing.T) (redisstate.Checkpoint, place) {
	t.Helper()
	cp, at, err := s.tryCheckpoint(t)
	if err != nil {
		t.Fatal(err)
	}
	return cp, at
}

// tryCheckpoint is checkpoint where Redis may not be there.
func (s *stack) tryCheckpoint(t *testing.T) (cp redisstate.Checkpoint, at place, err error) {
	t.Helper()
	store, err := redisstate.Open(t.Context(), s.redis.store(), slog.New(slog.DiscardHandler))
	if err != nil {
		return cp, at, err
	}
	defer store.Close()
	if cp, err = store.LoadCheckpoint(t.Context()); err != nil {
		return cp, at, err
	}
	return cp, at, json.Unmarshal([]byte(cp.Position), &at)
}

// awaitCovered waits until the checkpoint covers all that the log holds now.
func (s *stack) awaitCovered(t *testing.T) {
	t.Helper()
	server, err := binlog.Inspect(t.Context(), binlog.Config{
		Addr: s.db.Server.Addr, User: "root", Password: func() string { return "" }, Location: time.UTC,
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the checkpoint covers all that was committed", func() bool {
		cp, _ := s.checkpoint(t)
		at, err := binlog.ParsePosition(cp.Position)
		if err != nil {
			t.Fatal(err)
		}
		return at.Covers(server.Current)
	})
}

// ports are handed out from below those that systems give to outgoing
// connections, and below those of package services, so that the address of a
// chorusd that is down for a moment is not taken.
var ports atomic.Int32

func freeAddr(t *testing.T) string {
	t.Helper()
	const first, last = 12000, 19999
	for range last - first {
		addr := fmt.Sprintf("127.0.0.1:%d", first+(os.Getpid()*37+int(ports.Add(1)))%(last-first))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Fatal("no free port")
	return ""
}

// soketiApps are the apps of the shared Soketi: one for each test, so that
// they do not see each other's channels.
const soketiApps = 64

// soketi is shared by the tests that run at the moment.
var soketi struct {
	sync.Mutex
	server *services.SoketiServer
	users  int
}

var appsUsed atomic.Int32

func nextApp() (id, key, secret string) {
	n := appsUsed.Add(1) % soketiApps
	return fmt.Sprintf("app%d", n), fmt.Sprintf("key%d", n), fmt.Sprintf("secret%d", n)
}

// sharedSoketi returns a Soketi that is stopped when the last test at hand
// that uses it ends.
func sharedSoketi(t *testing.T) *services.SoketiServer {
	t.Helper()
	soketi.Lock()
	defer soketi.Unlock()
	if soketi.users == 0 {
		apps := make([]map[string]any, soketiApps)
		for i := range apps {
			apps[i] = map[string]any{
				"id": fmt.Sprintf("app%d", i), "key": fmt.Sprintf("key%d", i), "secret": fmt.Sprintf("secret%d", i),
				"enabled": true, "maxConnections": -1, "maxBackendEventsPerSecond": -1,
				"maxClientEventsPerSecond": -1, "maxReadRequestsPerSecond": -1, "webhooks": []any{},
			}
		}
		server, err := services.StartSoketi(context.WithoutCancel(t.Context()), services.SoketiOptions{
			Settings: map[string]any{"appManager.array.apps": apps},
		})
		if err != nil {
			t.Fatal(err)
		}
		soketi.server = server
	}
	soketi.users++
	t.Cleanup(func() {
		soketi.Lock()
		defer soketi.Unlock()
		if soketi.users--; soketi.users == 0 {
			if err := soketi.server.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	return soketi.server
}
