package services

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// sqlKinds are the kinds of SQL server.
var sqlKinds = []Kind{MySQL, MariaDB, MariaDB118}

// Every kind goes through the same life.
func TestLife(t *testing.T) {
	type life struct {
		*Server
		write func(ctx context.Context) error // once
		check func(ctx context.Context) error // what was written is there
	}
	nothing := func(context.Context) error { return nil }
	starts := map[string]func(t *testing.T) life{
		"redis": func(t *testing.T) life {
			s, err := StartRedis(t.Context(), RedisOptions{Persist: true, Password: "it's secret"})
			if err != nil {
				t.Fatal(err)
			}
			client := redis.NewClient(&redis.Options{Addr: s.Addr, Password: "it's secret", MaxRetries: -1})
			t.Cleanup(func() { client.Close() })
			return life{
				s.Server,
				func(ctx context.Context) error { return client.Set(ctx, "key", "value", 0).Err() },
				func(ctx context.Context) error { return client.Get(ctx, "key").Err() },
			}
		},
		"soketi": func(t *testing.T) life {
			s, err := StartSoketi(t.Context(), SoketiOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return life{s.Server, nothing, nothing}
		},
	}
	for _, k := range sqlKinds {
		starts[string(k)] = func(t *testing.T) life {
			s, err := StartSQL(t.Context(), k, SQLOptions{})
			if err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open("mysql", s.DSN(""))
			if err != nil {
				t.Fatal(err)
			}
			db.SetMaxIdleConns(-1) // none that has lost its server
			t.Cleanup(func() { db.Close() })
			return life{
				s.Server,
				func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "CREATE DATABASE written")
					return err
				},
				func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "USE written")
					return err
				},
			}
		}
	}
	for name, start := range starts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			stopAtEnd(t, s.Server)
			addr := s.Addr
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			up := func() {
				t.Helper()
				must(s.probe(t.Context()))
				must(s.check(t.Context()))
			}
			down := func() {
				t.Helper()
				if conn, err := net.Dial("tcp", addr); err == nil {
					conn.Close()
					t.Fatal("it still listens")
				}
				<-s.Exited()
			}

			must(s.write(t.Context()))
			up()
			must(s.Restart(t.Context()))
			up()

			must(s.Pause())
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if err := s.probe(ctx); err == nil {
				t.Error("it answers while paused")
			}
			cancel()
			must(s.Resume())
			up()

			exited := s.Exited()
			s.Kill()
			<-exited
			down()
			if err := s.Pause(); err == nil {
				t.Error("pausing a dead server is no error")
			}
			must(s.Restart(t.Context()))
			up()
			must(s.Pause())
			must(s.Terminate(t.Context())) // wakes it
			down()
			must(s.Restart(t.Context()))
			up()
			if s.Addr != addr {
				t.Errorf("the address went from %s to %s", addr, s.Addr)
			}

			must(s.Stop())
			down()
			must(s.Stop())
			if isDir(s.Dir()) {
				t.Errorf("%s is left", s.Dir())
			}
			if err := s.Restart(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "it was stopped") {
				t.Errorf("restart after Stop: got error %v, want it was stopped", err)
			}
		})
	}
}

func TestRedisWithoutPersistForgets(t *testing.T) {
	ownTempDir(t)
	s, err := StartRedis(t.Context(), RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s.Server)
	client := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer client.Close()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Get(t.Context(), "key").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("got %v, want no such key", err)
	}
}

// A server that does not start says why, and leaves nothing.
func TestFailedStart(t *testing.T) {
	ownTempDir(t)
	for k, test := range map[Kind]struct {
		start func() error
		want  string
	}{
		MySQL: {
			func() error {
				_, err := StartMySQL(t.Context(), SQLOptions{Args: []string{"--no-such-flag"}})
				return err
			},
			"unknown option '--no-such-flag'",
		},
		MariaDB: {
			func() error {
				_, err := StartMariaDB(t.Context(), SQLOptions{Args: []string{"--no-such-flag"}})
				return err
			},
			"unknown option '--no-such-flag'",
		},
		Redis: {
			func() error {
				_, err := StartRedis(t.Context(), RedisOptions{Args: []string{"--no-such-flag", "1"}})
				return err
			},
			"Bad directive or wrong number of arguments",
		},
		Soketi: {
			func() error {
				_, err := StartSoketi(t.Context(), SoketiOptions{Settings: map[string]any{"adapter.driver": 7}})
				return err
			},
			"Error",
		},
	} {
		err := test.start()
		if err == nil {
			t.Errorf("%v: no error", k)
			continue
		}
		if got := err.Error(); !strings.HasPrefix(got, "start "+k.String()+": it ended at once: exit status ") || !strings.Contains(got, test.want) {
			t.Errorf("got error %q, want it to hold %q", got, test.want)
		}
	}
}

func TestCancelledStart(t *testing.T) {
	ownTempDir(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := StartMySQL(ctx, SQLOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
}

// ownTempDir makes the test start its servers in a temp folder of its own, and
// checks that nothing is left there.
func ownTempDir(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}
