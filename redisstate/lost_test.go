package redisstate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// begun is a Store with a checkpoint at "0", and its token.
func begun(t *testing.T, c Config) (*Store, string) {
	t.Helper()
	s := open(t, c)
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("0")))
	if s.Token() == "" {
		t.Fatal("the first checkpoint makes no token")
	}
	return s, s.Token()
}

func TestToken(t *testing.T) {
	on := onSingle(t)
	c := on.config(t)
	s := open(t, c)
	_, err := s.LoadCheckpoint(t.Context())
	expectError(t, err, ErrNoCheckpoint)
	if token := s.Token(); token != "" {
		t.Errorf("before the first checkpoint the token is %s", token)
	}
	s, token := begun(t, c)
	must(t, s.Forget(t.Context()))
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("1")))
	again := open(t, c)
	expectPosition(t, again, "1")
	for name, s := range map[string]*Store{"the first Store": s, "another": again} {
		if s.Token() != token {
			t.Errorf("the token of %s is %s, want %s", name, s.Token(), token)
		}
	}
	if _, other := begun(t, on.config(t)); other == token {
		t.Error("two prefixes have the same token")
	}
}

// everything is all that is in a database, by its key.
func everything(t *testing.T, client *redis.Client) map[string]string {
	t.Helper()
	keys, err := client.Keys(t.Context(), "*").Result()
	must(t, err)
	all := map[string]string{}
	for _, key := range keys {
		all[key], err = client.Dump(t.Context(), key).Result()
		must(t, err)
	}
	return all
}

// TestStateLost empties Redis, or puts another state in its place, under a
// Store: whatever is asked says so, and nothing is changed.
func TestStateLost(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, Config){
		"emptied":  func(*testing.T, Config) {},
		"replaced": func(t *testing.T, c Config) { begun(t, c) },
	} {
		t.Run(name, func(t *testing.T) {
			on := onSingle(t)
			s, _ := begun(t, on.Config)
			for _, use := range uses {
				must(t, use.do(t.Context(), s))
			}
			client := admin(t, on.nodes[0])
			must(t, client.FlushAll(t.Context()).Err())
			lose(t, on.Config)
			before := everything(t, client)
			for _, use := range uses {
				if use.name == "LoadCheckpoint" { // begins with what there is
					continue
				}
				if err := use.do(t.Context(), s); !errors.Is(err, ErrStateLost) || !Final(err) || Unreachable(err) {
					t.Errorf("%s: %v, want %v", use.name, err, ErrStateLost)
				}
			}
			after := everything(t, client)
			for key := range after {
				if after[key] != before[key] {
					t.Errorf("%s was changed", key)
				}
			}
			if len(after) != len(before) {
				t.Errorf("%d keys are left of %d", len(after), len(before))
			}
		})
	}
}

// TestCheckpointWithoutToken is a Redis of which a part was restored.
func TestCheckpointWithoutToken(t *testing.T) {
	on := onSingle(t)
	s, _ := begun(t, on.Config)
	must(t, s.client.Del(t.Context(), s.keys.token).Err())
	s = open(t, on.Config)
	_, err := s.LoadCheckpoint(t.Context())
	expectError(t, err, ErrStateLost)
	must(t, s.Forget(t.Context()))
	_, err = open(t, on.Config).LoadCheckpoint(t.Context())
	expectError(t, err, ErrNoCheckpoint)
}

// TestWritesLostOfOne has a Redis come back as it was at its last snapshot:
// whatever is asked says so, nothing is changed, and another Store goes on.
func TestWritesLostOfOne(t *testing.T) {
	on := onSingle(t)
	for _, last := range uses {
		if !last.changes {
			continue
		}
		t.Run(last.name, func(t *testing.T) {
			client := admin(t, on.nodes[0])
			must(t, client.FlushAll(t.Context()).Err())
			s, token := begun(t, on.Config)
			must(t, s.AddToWindow(t.Context(), 1, []WindowEntry{entry("user.1", "kept")}))
			_, err := s.StartJobs(t.Context(), []JobStart{{ID: "job", Channels: []string{"user.1"}, Items: []RecordKey{record("1")}}})
			must(t, err)
			must(t, client.Save(t.Context()).Err())
			must(t, last.do(t.Context(), s)) // the one write that is lost
			on.nodes[0].Kill()
			must(t, on.nodes[0].Restart(t.Context()))
			before := everything(t, client)
			for _, use := range uses {
				if use.name == "LoadCheckpoint" {
					continue
				}
				if err := use.do(t.Context(), s); !errors.Is(err, ErrWritesLost) || !Final(err) || Unreachable(err) {
					t.Errorf("%s: %v, want %v", use.name, err, ErrWritesLost)
				}
			}
			for key, value := range everything(t, client) {
				if before[key] != value {
					t.Errorf("%s was changed", key)
				}
			}
			next := open(t, on.Config)
			expectPosition(t, next, "0")
			if next.Token() != token {
				t.Error("the token is another one")
			}
			expectJobs(t, next, "user.1: todos 1")
			must(t, next.SaveCheckpoint(t.Context(), checkpointAt("1")))
		})
	}
}

// history is what a Store was told to keep, one position after the other: a
// record in the window, then the checkpoint.
type history struct {
	*Store
	cfg  Config
	kept int // positions that were answered
}

// write keeps the next position, and tries until it is answered.
func (h *history) write(t *testing.T) error {
	t.Helper()
	try := func(write func(context.Context) error) (err error) {
		eventually(t, "redis takes a write", func(ctx context.Context) bool {
			err = write(ctx)
			return err == nil || Final(err)
		})
		return err
	}
	key := fmt.Sprint(h.kept + 1)
	if err := try(func(ctx context.Context) error { return h.AddToWindow(ctx, 1, []WindowEntry{entry("user.1", key)}) }); err != nil {
		return err
	}
	if err := try(func(ctx context.Context) error { return h.SaveCheckpoint(ctx, checkpointAt(key)) }); err != nil {
		return err
	}
	h.kept++
	return nil
}

// reopen goes on from the checkpoint that Redis has, which is after least
// positions. The window has every record up to it.
func (h *history) reopen(t *testing.T, least int) {
	t.Helper()
	h.Store = open(t, h.cfg)
	var cp Checkpoint
	eventually(t, "the checkpoint can be read", func(ctx context.Context) bool {
		var err error
		cp, err = h.LoadCheckpoint(ctx)
		return err == nil
	})
	_, err := fmt.Sscan(cp.Position, &h.kept)
	must(t, err)
	if h.kept < least {
		t.Errorf("the checkpoint is at %d, %d were kept", h.kept, least)
	}
	jobs := startJobs(t, h.Store, JobStart{Channels: []string{"user.1"}, Streams: []string{"user.1"}})
	got := map[string]bool{}
	for _, item := range jobs[0].Items {
		got[item.Key] = true
	}
	for i := range h.kept {
		if key := fmt.Sprint(i + 1); !got[key] {
			t.Errorf("the checkpoint is at %d, and the record of %s is lost", h.kept, key)
		}
	}
	_, err = h.JobProgress(t.Context(), jobs[0].ID, jobs[0].Items, nil)
	must(t, err)
}

// several are the set-ups in which another server takes over.
var several = []string{"cluster", "sentinels"}

// TestFailover kills the server that has the keys while they are written, twice
// over, and starts it again. What was answered is there, or it is said that it
// is not, and then the checkpoint is from before.
func TestFailover(t *testing.T) {
	for _, name := range several {
		t.Run(name, func(t *testing.T) {
			on := setups[name](t)
			var log lines
			c := on.config(t)
			s, err := Open(t.Context(), c, textLogger(&log))
			must(t, err)
			defer s.Close()
			must(t, s.SaveCheckpoint(t.Context(), checkpointAt("0")))
			h := &history{Store: s, cfg: c}
			for range 2 {
				for range 20 {
					must(t, h.write(t))
				}
				owner := on.owner(t, s.keys.token)
				owner.Kill()
				for n := 0; n < 20; {
					switch err := h.write(t); {
					case err == nil:
						n++
					case errors.Is(err, ErrWritesLost):
						t.Log("the replica was behind")
						h.reopen(t, 1)
					default:
						t.Fatal(err)
					}
				}
				if next := on.owner(t, s.keys.token); next == owner {
					t.Error("nobody has taken over")
				}
				h.reopen(t, h.kept)
				on.agree(t) // else it may become the primary again, empty
				must(t, owner.Restart(t.Context()))
				on.allow(t, c.Username, c.rule()) // which it had in memory
				awaitReplicas(t, on, s.keys.token)
			}
			for _, line := range []string{"redis is unreachable", "redis is back"} {
				if !strings.Contains(log.String(), line) {
					t.Errorf("the log does not say that %s:\n%s", line, log.String())
				}
			}
		})
	}
}

// TestWritesLost has a replica take over that lacks the last writes.
func TestWritesLost(t *testing.T) {
	for _, name := range several {
		t.Run(name, func(t *testing.T) {
			on := setups[name](t)
			c := on.config(t)
			s, _ := begun(t, c)
			h := &history{Store: s, cfg: c}
			for range 5 {
				must(t, h.write(t))
			}
			owner := on.owner(t, s.keys.token)
			primary := admin(t, owner)
			if n, err := primary.Wait(t.Context(), 1, 0).Result(); err != nil || n == 0 {
				t.Fatalf("%d replicas have it: %v", n, err)
			}
			// The others are frozen, and their connections closed, so that
			// nothing waits for them anywhere.
			for _, node := range on.nodes {
				if node != owner {
					must(t, node.Pause())
				}
			}
			must(t, primary.ClientKillByFilter(t.Context(), "TYPE", "replica").Err())
			for range 3 {
				must(t, h.write(t))
			}
			owner.Kill()
			for _, node := range on.nodes {
				if node != owner {
					must(t, node.Resume())
				}
			}
			eventually(t, "it is noticed that writes are lost", func(ctx context.Context) bool {
				err := s.Verify(ctx)
				if Final(err) && !errors.Is(err, ErrWritesLost) {
					t.Fatal(err)
				}
				return Final(err)
			})
			if err := h.write(t); !errors.Is(err, ErrWritesLost) {
				t.Errorf("a write: %v, want %v", err, ErrWritesLost)
			}
			h.reopen(t, 5)
			if h.kept != 5 {
				t.Errorf("the checkpoint is at %d, want 5", h.kept)
			}
			must(t, h.write(t))
		})
	}
}

// TestSlotThatMoves has an operator move the slot to another node of the cluster
// while it is written, as a user with the documented rule.
func TestSlotThatMoves(t *testing.T) {
	on := onCluster(t)
	c := on.config(t)
	s, _ := begun(t, c)
	lead(t, s, "first")
	h := &history{Store: s, cfg: c}
	must(t, h.write(t))
	key := s.keys.token
	source := on.owner(t, key)
	target := source
	for i := 0; target == source; i++ {
		target = on.owner(t, fmt.Sprint("another", i))
	}
	from, to := admin(t, source), admin(t, target)
	slot, err := from.ClusterKeySlot(t.Context(), key).Result()
	must(t, err)
	fromID, err := from.Do(t.Context(), "CLUSTER", "MYID").Text()
	must(t, err)
	toID, err := to.Do(t.Context(), "CLUSTER", "MYID").Text()
	must(t, err)
	must(t, to.Do(t.Context(), "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID).Err())
	must(t, from.Do(t.Context(), "CLUSTER", "SETSLOT", slot, "MIGRATING", toID).Err())
	must(t, h.write(t)) // all of its keys are still there
	move := []any{"MIGRATE", "127.0.0.1", target.Port(), "", 0, 5000, "KEYS"}
	for _, name := range on.keys(t, c) {
		move = append(move, name)
	}
	must(t, from.Do(t.Context(), move...).Err())
	must(t, h.write(t)) // all of them are elsewhere, and it is sent there
	// A key that there is not may be anywhere still: that is to be waited for.
	if _, err := s.IssuedSeq(t.Context()); !Unreachable(err) {
		t.Errorf("IssuedSeq: %v, want an error that passes", err)
	}
	must(t, to.Do(t.Context(), "CLUSTER", "SETSLOT", slot, "NODE", toID).Err())
	must(t, from.Do(t.Context(), "CLUSTER", "SETSLOT", slot, "NODE", toID).Err())
	must(t, h.write(t))
	must(t, second(s.IssuedSeq(t.Context())))
	if owner := on.owner(t, key); owner != target {
		t.Errorf("the owner is %s, want %s", owner.Addr, target.Addr)
	}
	h.reopen(t, 4)
}

// awaitReplicas waits until the owner of a key has a replica again.
func awaitReplicas(t *testing.T, on setup, key string) {
	t.Helper()
	eventually(t, "there is a replica again", func(ctx context.Context) bool {
		n, err := admin(t, on.owner(t, key)).Wait(ctx, 1, 100).Result()
		return err == nil && n > 0
	})
}

// TestSentinelsThatForget: that nobody knows the primary any more is not taken
// for a Redis without the key.
func TestSentinelsThatForget(t *testing.T) {
	on := onSentinels(t)
	s, _ := begun(t, on.config(t))
	must(t, s.ReserveSeq(t.Context(), 7))
	for _, addr := range on.watchers {
		sentinel := on.sentinel(addr)
		must(t, sentinel.Remove(t.Context(), on.Master).Err())
		must(t, sentinel.Close())
	}
	must(t, admin(t, on.nodes[0]).ClientKillByFilter(t.Context(), "TYPE", "normal").Err())
	eventually(t, "the connections are gone", func(ctx context.Context) bool {
		seq, err := s.IssuedSeq(ctx)
		if err == nil && seq != 7 {
			t.Fatalf("IssuedSeq = %d, want 7 or an error", seq)
		}
		return err != nil
	})
	_, err := Open(t.Context(), on.Config, slog.New(slog.DiscardHandler))
	expectProblem(t, []error{err}, "redis.sentinel_master")
}
