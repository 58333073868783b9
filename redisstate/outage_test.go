package redisstate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// Redis is killed and comes back with its data: calls fail meanwhile, the log
// says it once each way, and nothing is lost.
func TestOutage(t *testing.T) {
	server := servicestest.StartRedis(t, services.RedisOptions{Persist: true})
	var log lines
	s, err := Open(t.Context(), Config{Addr: server.Addr, Prefix: DefaultPrefix}, textLogger(&log))
	must(t, err)
	defer s.Close()
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("before")))
	must(t, s.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "1")}))

	for range 2 {
		server.Kill()
		cancelled, cancel := context.WithCancel(t.Context())
		for range 3 {
			if err := s.SaveCheckpoint(t.Context(), checkpointAt("during")); !Unreachable(err) {
				t.Fatalf("error = %v, want one of the network", err)
			}
			if err := s.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "2")}); !Unreachable(err) {
				t.Fatalf("error = %v, want one of the network", err)
			}
		}
		cancel() // says nothing about Redis, so it must not count as back
		if _, err := s.LastPoll(cancelled); !errors.Is(err, context.Canceled) {
			t.Fatalf("error = %v, want %v", err, context.Canceled)
		}
		must(t, server.Restart(t.Context()))
		eventually(t, "save the checkpoint again", func(ctx context.Context) bool {
			return s.SaveCheckpoint(ctx, checkpointAt("after")) == nil
		})
		jobs := startJobs(t, s, JobStart{Channels: []string{"user.1"}, Streams: []string{"user.1"}, From: 1})
		if got, want := jobsText(jobs), []string{"user.1: todos 1"}; !slices.Equal(got, want) {
			t.Errorf("started %q, want %q", got, want)
		}
	}
	text := log.String()
	for _, line := range []string{"redis is unreachable", "redis is back"} {
		if n := strings.Count(text, line); n != 2 {
			t.Errorf("the log says %d times that %s, want 2:\n%s", n, line, text)
		}
	}
}

// A Redis that came back empty is noticed at the next save.
func TestOutageWithoutPersistence(t *testing.T) {
	server := servicestest.StartRedis(t, services.RedisOptions{})
	s := open(t, Config{Addr: server.Addr, Prefix: DefaultPrefix})
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("before")))
	must(t, server.Restart(t.Context()))
	eventually(t, "learn that the checkpoint is gone", func(ctx context.Context) bool {
		return errors.Is(s.SaveCheckpoint(ctx, checkpointAt("after")), ErrStateLost)
	})
}

func TestCloseTwice(t *testing.T) {
	s := open(t, sharedConfig(t))
	must(t, s.Close())
	must(t, s.Close())
	if _, err := s.LastPoll(t.Context()); err == nil {
		t.Error("a closed Store answers")
	}
}
