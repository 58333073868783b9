package redisstate

import (
	"context"
	"errors"
	"fmt"
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

var (
	// ErrNoCheckpoint says that there is none and never was one under this prefix.
	ErrNoCheckpoint = errors.New("no checkpoint was ever saved")
	// ErrCheckpointLost says that there was one and it is gone, so Redis lost
	// data or somebody deleted it. Where to go on is for the operator to say.
	ErrCheckpointLost = errors.New("the checkpoint is gone from redis although one was saved")
	// ErrCheckpointConflict says that another daemon has saved one under this
	// prefix since this one loaded its own.
	ErrCheckpointConflict = errors.New("another chorusd saves its checkpoint under the same prefix")
)

// The answers of save_checkpoint.lua.
const (
	checkpointSaved    = "saved"
	checkpointLost     = "lost"
	checkpointConflict = "conflict"
)

var saveCheckpoint = script("save_checkpoint")

// LoadCheckpoint reads the checkpoint and makes it the one that the next
// SaveCheckpoint replaces. Without one it returns ErrNoCheckpoint, after which
// SaveCheckpoint creates one, or ErrCheckpointLost.
func (s *Store) LoadCheckpoint(ctx context.Context) (Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stored *redis.MapStringStringCmd
	var marked *redis.IntCmd
	_, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		stored, marked = p.HGetAll(ctx, s.keys.checkpoint), p.Exists(ctx, s.keys.marker)
		return nil
	})
	switch {
	case err != nil:
		return Checkpoint{}, fmt.Errorf("load checkpoint: %w", err)
	case len(stored.Val()) == 0 && marked.Val() != 0:
		return Checkpoint{}, ErrCheckpointLost
	case len(stored.Val()) == 0:
		s.base, s.baseWriter, s.kept = 0, "", false
		return Checkpoint{}, ErrNoCheckpoint
	}
	cp, err := decodeCheckpoint(stored.Val())
	if err != nil {
		return Checkpoint{}, fmt.Errorf("load checkpoint %s: %w", s.keys.checkpoint, err)
	}
	s.base, s.baseWriter, s.kept = cp.Version, stored.Val()["writer"], true
	s.last = max(s.last, cp.Version)
	return cp, nil
}

// SaveCheckpoint replaces the checkpoint that this Store loaded or saved last,
// or creates the first one. If that one is no longer there it changes nothing
// and returns ErrCheckpointLost or ErrCheckpointConflict. After an error of the
// network, whether it was saved is unknown; saving again, with a newer
// checkpoint or the same, is safe.
func (s *Store) SaveCheckpoint(ctx context.Context, cp Checkpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++ // never used twice, so that a save that arrives late is known as old
	answer, err := saveCheckpoint.Run(ctx, s.client, []string{s.keys.checkpoint, s.keys.marker},
		s.writer, s.last, s.baseWriter, s.base, s.kept,
		"source", cp.Source, "position", cp.Position, "last_seq", cp.LastSeq, "generation", cp.Generation,
		"mapping", cp.MappingHash, "saved_at", cp.SavedAt.UnixMicro()).Text()
	switch {
	case err != nil:
		return fmt.Errorf("save checkpoint: %w", err)
	case answer == checkpointLost:
		return ErrCheckpointLost
	case answer == checkpointConflict:
		return ErrCheckpointConflict
	case answer != checkpointSaved:
		return fmt.Errorf("save checkpoint: unknown answer %q", answer)
	}
	s.kept = true
	return nil
}

// Forget removes the checkpoint and every sign that there was one, the shapes
// of tables at positions up to it, and the clock, so that the next start is a
// first one. Another daemon under this prefix stops at its next save.
func (s *Store) Forget(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.client.Del(ctx, s.keys.checkpoint, s.keys.marker, s.keys.shapes, s.keys.clock).Err(); err != nil {
		return fmt.Errorf("forget checkpoint: %w", err)
	}
	s.base, s.baseWriter, s.kept = 0, "", false
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
