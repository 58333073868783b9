package redisstate

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func checkpointAt(position string) Checkpoint {
	return Checkpoint{
		Source: "uuid-1", Position: position, LastSeq: 1795368339789123, Generation: 1<<62 - 1,
		MappingHash: "abc", SavedAt: time.Date(2026, 11, 22, 17, 25, 39, 123456000, time.UTC),
	}
}

func expectError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error = %v, want %v", err, want)
	}
}

func expectPosition(t *testing.T, s *Store, want string) {
	t.Helper()
	cp, err := s.LoadCheckpoint(t.Context())
	must(t, err)
	if cp.Position != want {
		t.Fatalf("position = %q, want %q", cp.Position, want)
	}
}

func testCheckpointRoundTrip(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	_, err := s.LoadCheckpoint(t.Context())
	expectError(t, err, ErrNoCheckpoint)
	for version := int64(1); version <= 3; version++ {
		want := checkpointAt(fmt.Sprintf("mysql-bin.000042:%d \x00\xff", version))
		must(t, s.SaveCheckpoint(t.Context(), want))
		got, err := open(t, c).LoadCheckpoint(t.Context())
		must(t, err)
		want.Version = version
		if got != want {
			t.Errorf("loaded %+v, want %+v", got, want)
		}
	}
}

func testCheckpointOfEmptyFields(t *testing.T, on setup) {
	s := on.store(t)
	must(t, s.SaveCheckpoint(t.Context(), Checkpoint{SavedAt: time.UnixMicro(0).UTC()}))
	got, err := s.LoadCheckpoint(t.Context())
	must(t, err)
	if want := (Checkpoint{SavedAt: time.UnixMicro(0).UTC(), Version: 1}); got != want {
		t.Errorf("loaded %+v, want %+v", got, want)
	}
}

func testCheckpointLost(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("a")))
	must(t, s.client.Del(t.Context(), s.keys.checkpoint).Err())

	expectError(t, s.SaveCheckpoint(t.Context(), checkpointAt("b")), ErrStateLost)
	successor := open(t, c)
	expectError(t, successor.SaveCheckpoint(t.Context(), checkpointAt("b")), ErrStateLost)
	_, err := successor.LoadCheckpoint(t.Context())
	expectError(t, err, ErrStateLost)

	must(t, successor.Forget(t.Context()))
	_, err = successor.LoadCheckpoint(t.Context())
	expectError(t, err, ErrNoCheckpoint)
	must(t, successor.SaveCheckpoint(t.Context(), checkpointAt("c")))
	expectPosition(t, open(t, c), "c")
}

// A Redis that came back empty has lost the marker too; the daemon that was
// running must not take that for a first run.
func testCheckpointLostWithEverythingElse(t *testing.T, on setup) {
	for name, begin := range map[string]func(*testing.T, Config) *Store{
		"saved": func(t *testing.T, c Config) *Store {
			s := open(t, c)
			must(t, s.SaveCheckpoint(t.Context(), checkpointAt("a")))
			return s
		},
		"loaded": func(t *testing.T, c Config) *Store {
			must(t, open(t, c).SaveCheckpoint(t.Context(), checkpointAt("a")))
			s := open(t, c)
			expectPosition(t, s, "a")
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, on.config(t))
			must(t, s.client.Del(t.Context(), s.keys.checkpoint, s.keys.token).Err())
			expectError(t, s.SaveCheckpoint(t.Context(), checkpointAt("b")), ErrStateLost)
		})
	}
}

func testForgetStopsTheOther(t *testing.T, on setup) {
	c := on.config(t)
	running := open(t, c)
	must(t, running.SaveCheckpoint(t.Context(), checkpointAt("a")))
	must(t, open(t, c).Forget(t.Context()))
	expectError(t, running.SaveCheckpoint(t.Context(), checkpointAt("b")), ErrStateLost)
}

// The connection breaks after Redis has saved and before it could say so, on
// any number of saves in a row: no save is lost, and none refused.
func TestSaveWhoseAnswerIsLost(t *testing.T) {
	for lost := int32(1); lost <= 5; lost++ {
		c := sharedConfig(t)
		p := newProxy(t, c.Addr)
		direct := c
		c.Addr = p.listener.Addr().String()
		s := open(t, c)
		must(t, s.SaveCheckpoint(t.Context(), checkpointAt("0")))

		p.lose.Store(lost)
		failed := 0
		for i := 1; ; i++ {
			position := fmt.Sprint(i)
			err := s.SaveCheckpoint(t.Context(), checkpointAt(position))
			if err == nil {
				expectPosition(t, open(t, direct), position)
				break
			}
			if !Unreachable(err) {
				t.Fatalf("%d lost: %v", lost, err)
			}
			// What an operator would find had the daemon died just here.
			expectPosition(t, open(t, direct), position)
			failed++
		}
		if want := int(lost) / (1 + maxRetries); failed != want {
			t.Errorf("%d lost: %d saves failed, want %d", lost, failed, want)
		}
	}
}

// The same when the very first save is concerned: it must not find its own
// checkpoint and take it for somebody else's.
func TestFirstSaveWhoseAnswerIsLost(t *testing.T) {
	c := sharedConfig(t)
	warm := open(t, c) // so that Redis knows the script
	must(t, warm.SaveCheckpoint(t.Context(), checkpointAt("warm")))
	must(t, warm.Forget(t.Context()))

	p := newProxy(t, c.Addr)
	direct := c
	c.Addr = p.listener.Addr().String()
	s := open(t, c)
	_, err := s.LoadCheckpoint(t.Context())
	expectError(t, err, ErrNoCheckpoint)
	p.lose.Store(1 + maxRetries)
	if err := s.SaveCheckpoint(t.Context(), checkpointAt("1")); !Unreachable(err) {
		t.Fatalf("error = %v, want one of the network", err)
	}
	expectPosition(t, open(t, direct), "1")
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("2")))
	expectPosition(t, open(t, direct), "2")
}

// A request that lay in a broken connection's buffer and is executed late must
// not put the checkpoint back.
func testOvertakenSave(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	for _, position := range []string{"1", "2", "3"} {
		must(t, s.SaveCheckpoint(t.Context(), checkpointAt(position)))
	}
	answer, err := s.change(t.Context(), saveCheckpoint, []string{s.keys.token, s.keys.checkpoint},
		s.writer, 2, true, "", "position", "2")
	must(t, err)
	if !reflect.DeepEqual(answer, []any{checkpointOvertaken}) {
		t.Errorf("answer = %v, want %q", answer, checkpointOvertaken)
	}
	expectPosition(t, open(t, c), "3")
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("4")))
}

func testDamagedCheckpoint(t *testing.T, on setup) {
	s := on.store(t)
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("a")))
	must(t, s.client.HSet(t.Context(), s.keys.checkpoint, "last_seq", "many").Err())
	if _, err := s.LoadCheckpoint(t.Context()); err == nil || !strings.Contains(err.Error(), s.keys.checkpoint) {
		t.Errorf("error = %v, want one that names %s", err, s.keys.checkpoint)
	}
}

func testSeqCeilingOnlyRises(t *testing.T, on setup) {
	c := on.config(t)
	s := open(t, c)
	const seq = 1795368339789123
	for _, step := range []struct{ reserve, want uint64 }{
		{0, 0}, {seq, seq}, {seq - 1, seq}, {9, seq}, {seq + 1, seq + 1}, {1<<53 - 1, 1<<53 - 1}, {seq, 1<<53 - 1},
	} {
		must(t, s.ReserveSeq(t.Context(), step.reserve))
		got, err := open(t, c).IssuedSeq(t.Context())
		must(t, err)
		if got != step.want {
			t.Fatalf("after ReserveSeq(%d): %d, want %d", step.reserve, got, step.want)
		}
	}
}

func testForgetKeepsTheSeqCeiling(t *testing.T, on setup) {
	s := on.store(t)
	must(t, s.ReserveSeq(t.Context(), 7))
	must(t, s.Forget(t.Context()))
	if seq, err := s.IssuedSeq(t.Context()); err != nil || seq != 7 {
		t.Errorf("IssuedSeq = %d, %v, want 7", seq, err)
	}
}

func testServerID(t *testing.T, on setup) {
	c := on.config(t)
	id, err := open(t, c).ServerID(t.Context())
	must(t, err)
	if id < firstServerID {
		t.Errorf("server id %d is below %d", id, firstServerID)
	}
	s := open(t, c)
	if again, err := s.ServerID(t.Context()); err != nil || again != id {
		t.Errorf("second ServerID = %d, %v, want %d", again, err, id)
	}
	if other, err := on.store(t).ServerID(t.Context()); err != nil || other == id {
		t.Errorf("another prefix has server id %d, %v", other, err)
	}
	must(t, s.client.Set(t.Context(), s.keys.serverID, "4294967296", 0).Err())
	if _, err := s.ServerID(t.Context()); err == nil || !strings.Contains(err.Error(), s.keys.serverID) {
		t.Errorf("error = %v, want one that names %s", err, s.keys.serverID)
	}
}
