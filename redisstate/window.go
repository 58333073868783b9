package redisstate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// WindowEntry says that a record changed in a way that those who follow Stream
// should have heard of: whoever becomes one of them may have missed it. A
// stream is named for a set of users or for a channel. Table tells the table
// from all others, also from those that clients know by the same name.
type WindowEntry struct {
	Stream, Table string
	Key           string // JSON text
}

// separator parts what a member is made of. None of them can hold it: streams
// are printable ASCII and JSON, MySQL's names exclude it, JSON escapes it.
const separator = "\x00"

// AddToWindow keeps the entries with poll epoch epoch. It is one round trip,
// and adding the same again changes nothing.
func (s *Store) AddToWindow(ctx context.Context, epoch uint64, entries []WindowEntry) error {
	if len(entries) == 0 {
		return nil
	}
	members := make([]redis.Z, len(entries))
	for i, e := range entries {
		if strings.Contains(e.Stream, separator) || strings.Contains(e.Table, separator) || strings.Contains(e.Key, separator) {
			return fmt.Errorf("add to window: %q holds a NUL", e)
		}
		members[i].Member = e.Stream + separator + e.Table + separator + e.Key
	}
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		// The index first: an epoch that it does not name would never be trimmed.
		p.ZAdd(ctx, s.keys.epochs, redis.Z{Score: float64(epoch), Member: epoch})
		for some := range slices.Chunk(members, batch) {
			p.ZAdd(ctx, s.keys.epochKey(epoch), some...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add %d records to window %d: %w", len(entries), epoch, err)
	}
	return nil
}

// TrimWindow drops the epochs before beforeEpoch.
func (s *Store) TrimWindow(ctx context.Context, beforeEpoch uint64) error {
	if err := s.trimWindow(ctx, beforeEpoch); err != nil {
		return fmt.Errorf("trim window before %d: %w", beforeEpoch, err)
	}
	return nil
}

func (s *Store) trimWindow(ctx context.Context, beforeEpoch uint64) error {
	epochs, err := s.epochs(ctx, "-inf", "("+strconv.FormatUint(beforeEpoch, 10))
	if err != nil || len(epochs) == 0 {
		return err
	}
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		// The index last: what a crash leaves is then still named there.
		for _, epoch := range epochs {
			p.Unlink(ctx, s.keys.epoch+epoch)
		}
		for _, epoch := range epochs {
			p.ZRem(ctx, s.keys.epochs, epoch)
		}
		return nil
	})
	return err
}

// epochs returns the epochs with scores from low to high, in Redis's notation.
func (s *Store) epochs(ctx context.Context, low, high string) ([]string, error) {
	//nolint:staticcheck // deprecated for ZRANGE BYSCORE, which Redis 6.0 (Ubuntu 22.04) does not know
	return s.client.ZRangeByScore(ctx, s.keys.epochs, &redis.ZRangeBy{Min: low, Max: high}).Result()
}
