package redisstate

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Checkpoint is the resume point of the daemon that tails.
type Checkpoint struct {
	Source      string // identity of the server that Position is of
	Position    string
	LastSeq     uint64 // highest position in the order of harmonics up to there
	Generation  uint64
	MappingHash string
	SavedAt     time.Time // to the microsecond

	// Version counts the saves. LoadCheckpoint fills it in; SaveCheckpoint
	// ignores it, since the Store knows its own.
	Version int64
}

// ErrNoCheckpoint says that there is none and never was one under this prefix.
var ErrNoCheckpoint = errors.New("no checkpoint was ever saved")

// The answers of save_checkpoint.lua.
const (
	checkpointSaved     = "saved"
	checkpointLost      = "lost"
	checkpointOvertaken = "overtaken" // by a later save of this Store
)

var saveCheckpoint = script("save_checkpoint")

// LoadCheckpoint reads the checkpoint. From then on every method but those for
// leases returns ErrStateLost or ErrWritesLost where Redis has not all that it had
// then and that was written since. Without a checkpoint it returns
// ErrNoCheckpoint, after which SaveCheckpoint creates one, or ErrStateLost.
func (s *Store) LoadCheckpoint(ctx context.Context) (Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stored, token *redis.MapStringStringCmd
	answers, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		stored, token = p.HGetAll(ctx, s.keys.checkpoint), p.HGetAll(ctx, s.keys.token)
		return nil
	})
	if err := reason(answers, err); err != nil {
		return Checkpoint{}, fmt.Errorf("load checkpoint: %w", err)
	}
	id, marked := token.Val()["id"], token.Val()["checkpointed"] != ""
	mark, err := strconv.ParseInt(cmp.Or(token.Val()["mark"], "0"), 10, 64)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("load checkpoint: %s: %w", s.keys.token, err)
	}
	s.token.set(id, mark)
	switch saved := len(stored.Val()) > 0; {
	case saved != marked, saved && id == "":
		return Checkpoint{}, ErrStateLost
	case !saved:
		s.kept = false
		return Checkpoint{}, ErrNoCheckpoint
	}
	cp, err := decodeCheckpoint(stored.Val())
	if err != nil {
		return Checkpoint{}, fmt.Errorf("load checkpoint %s: %w", s.keys.checkpoint, err)
	}
	s.last, s.kept = max(s.last, cp.Version), true
	return cp, nil
}

// SaveCheckpoint replaces the checkpoint, or creates the first one. If that which
// this Store has loaded or saved is no longer there, or another one leads, it
// changes nothing and returns ErrStateLost, ErrWritesLost or ErrDeposed. After an
// error of the network, whether it was saved is unknown; saving again, with a
// newer checkpoint or the same, is safe.
func (s *Store) SaveCheckpoint(ctx context.Context, cp Checkpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++ // never used twice, so that a save that arrives late is known as old
	answer, err := s.change(ctx, saveCheckpoint, []string{s.keys.token, s.keys.checkpoint},
		s.writer, s.last, s.kept, rand.Text(),
		"source", cp.Source, "position", cp.Position, "last_seq", cp.LastSeq, "generation", cp.Generation,
		"mapping", cp.MappingHash, "saved_at", cp.SavedAt.UnixMicro())
	if err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	words, _ := answer.([]any)
	switch {
	case slices.Equal(words, []any{checkpointLost}):
		return ErrStateLost
	case len(words) != 2 || words[0] != checkpointSaved:
		return fmt.Errorf("save checkpoint: unknown answer %v", answer)
	}
	s.token.found(words[1].(string))
	s.kept = true
	return nil
}

// Forget removes the checkpoint and every sign that there was one, the shapes
// of tables at positions up to it, and the clock, so that the next start is a
// first one. The token stays.
func (s *Store) Forget(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.apply(ctx, command{"HDEL", s.keys.token, "checkpointed"},
		command{"DEL", s.keys.checkpoint}, command{"DEL", s.keys.shapes}, command{"DEL", s.keys.clock})
	if err != nil {
		return fmt.Errorf("forget checkpoint: %w", err)
	}
	s.kept = false
	return nil
}

func decodeCheckpoint(fields map[string]string) (Checkpoint, error) {
	cp := Checkpoint{Source: fields["source"], Position: fields["position"], MappingHash: fields["mapping"]}
	var errs [4]error
	var savedAt int64
	cp.LastSeq, errs[0] = strconv.ParseUint(fields["last_seq"], 10, 64)
	cp.Generation, errs[1] = strconv.ParseUint(fields["generation"], 10, 64)
	savedAt, errs[2] = strconv.ParseInt(fields["saved_at"], 10, 64)
	cp.Version, errs[3] = strconv.ParseInt(fields["version"], 10, 64)
	cp.SavedAt = time.UnixMicro(savedAt).UTC()
	return cp, errors.Join(errs[:]...)
}
