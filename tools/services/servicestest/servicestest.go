// Package servicestest gives tests the servers of package services.
//
// A package whose tests use shared servers has
//
//	func TestMain(m *testing.M) { servicestest.Main(m) }
//
// A shared server starts when a test first asks for it and serves the whole
// test binary; each test has a database of its own on it. A test that takes a
// server away, or wants other settings, starts its own. All are gone when the
// tests end.
package servicestest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/go-sql-driver/mysql" // for sql.Open
	"go.uber.org/goleak"

	"github.com/chorusd/chorusd/tools/services"
)

// Main runs a package's tests, stops the shared servers, and fails if a
// goroutine is left.
func Main(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(stopsShared{m}, options...)
}

type stopsShared struct{ m *testing.M }

func (s stopsShared) Run() int {
	code := s.m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// StartSQL starts a server of kind k that is stopped when the test ends.
func StartSQL(t testing.TB, k services.Kind, opts services.SQLOptions) *services.SQLServer {
	t.Helper()
	s, err := services.StartSQL(t.Context(), k, opts)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s.Server)
	return s
}

// StartRedis starts a Redis server that is stopped when the test ends.
func StartRedis(t testing.TB, opts services.RedisOptions) *services.RedisServer {
	t.Helper()
	s, err := services.StartRedis(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s.Server)
	return s
}

// StartRedisCluster starts a Redis Cluster that is stopped when the test ends.
func StartRedisCluster(t testing.TB, opts services.RedisOptions) *services.RedisCluster {
	t.Helper()
	c, err := services.StartRedisCluster(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, node := range c.Nodes {
			logTail(t, node.Server)
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// StartRedisSentinels starts Redis with Sentinels, all of which are stopped when
// the test ends.
func StartRedisSentinels(t testing.TB, opts services.SentinelOptions) *services.RedisSentinels {
	t.Helper()
	s, err := services.StartRedisSentinels(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, server := range slices.Concat(s.Nodes, s.Sentinels) {
			logTail(t, server.Server)
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// StartSoketi starts a Soketi server that is stopped when the test ends.
func StartSoketi(t testing.TB, opts services.SoketiOptions) *services.SoketiServer {
	t.Helper()
	s, err := services.StartSoketi(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s.Server)
	return s
}

// stopAtEnd stops s when the test ends. If the test failed, it shows what the
// server said last.
func stopAtEnd(t testing.TB, s *services.Server) {
	t.Helper()
	t.Cleanup(func() {
		logTail(t, s)
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// logTail shows what a server said last if the test has failed.
func logTail(t testing.TB, s *services.Server) {
	t.Helper()
	if t.Failed() {
		t.Logf("the end of the log of %v at %s:\n%s", s.Kind, s.Addr, s.LogTail())
	}
}

// Database is an empty database of a test's own, dropped when the test ends.
type Database struct {
	*sql.DB // connections of user root to it, with parseTime off
	Name    string
	Server  *services.SQLServer
}

// databases numbers the databases of this process.
var databases atomic.Int64

// NewDatabase creates a database on the shared server of kind k.
func NewDatabase(t testing.TB, k services.Kind) *Database {
	t.Helper()
	return CreateDatabase(t, SharedSQL(t, k))
}

// CreateDatabase creates a database on server s.
func CreateDatabase(t testing.TB, s *services.SQLServer) *Database {
	t.Helper()
	name := fmt.Sprintf("test%d", databases.Add(1))
	db, err := sql.Open("mysql", s.DSN(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	d := &Database{DB: db, Name: name, Server: s}
	d.onServer(t, "CREATE DATABASE "+name)
	// A test of a server that went away for good has nothing to drop.
	t.Cleanup(func() { _ = d.execOnServer(context.Background(), "DROP DATABASE "+name) })
	return d
}

// DSN returns the go-sql-driver data source name of user root on the database.
func (d *Database) DSN(params ...string) string { return d.Server.DSN(d.Name, params...) }

// MustExec executes statements one after the other, each on any connection. An
// error ends the test.
func (d *Database) MustExec(t testing.TB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := d.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// KillConnections ends those of a user and returns how many there were.
func (d *Database) KillConnections(t testing.TB, user string) int {
	t.Helper()
	list, err := d.QueryContext(t.Context(), "SELECT id FROM information_schema.processlist WHERE user = ?", user)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	var ids []int
	for list.Next() {
		var id int
		if err := list.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		_, _ = d.ExecContext(t.Context(), fmt.Sprintf("KILL %d", id)) // it may have ended
	}
	return len(ids)
}

func (d *Database) onServer(t testing.TB, statement string) {
	t.Helper()
	if err := d.execOnServer(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (d *Database) execOnServer(ctx context.Context, statement string) error {
	db, err := sql.Open("mysql", d.Server.DSN(""))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, statement)
	return err
}

// RedisDatabase is an empty numbered database of a test's own.
type RedisDatabase struct {
	Addr   string
	Number int
	Server *services.RedisServer
}

// redisDatabases numbers the databases on the shared Redis server.
var redisDatabases atomic.Int64

// NewRedisDatabase returns a database on the shared Redis server.
func NewRedisDatabase(t testing.TB) *RedisDatabase {
	t.Helper()
	s := SharedRedis(t)
	n := int(redisDatabases.Add(1)) - 1
	if n >= services.RedisDatabases {
		t.Fatalf("more than %d tests want a Redis database", services.RedisDatabases)
	}
	return &RedisDatabase{Addr: s.Addr, Number: n, Server: s}
}

// shared are the servers of this test binary.
var shared struct {
	sync.Mutex
	sql   map[services.Kind]*services.SQLServer
	redis *services.RedisServer
}

// SharedSQL returns the test binary's server of kind k, with default options.
func SharedSQL(t testing.TB, k services.Kind) *services.SQLServer {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if s := shared.sql[k]; s != nil {
		return s
	}
	s, err := services.StartSQL(t.Context(), k, services.SQLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if shared.sql == nil {
		shared.sql = make(map[services.Kind]*services.SQLServer)
	}
	shared.sql[k] = s
	return s
}

// SharedRedis returns the test binary's Redis server, with default options.
func SharedRedis(t testing.TB) *services.RedisServer {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.redis != nil {
		return shared.redis
	}
	s, err := services.StartRedis(t.Context(), services.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	shared.redis = s
	return s
}

func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	var errs []error
	for _, s := range shared.sql {
		errs = append(errs, s.Stop())
	}
	if shared.redis != nil {
		errs = append(errs, shared.redis.Stop())
	}
	return errors.Join(errs...)
}
