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

// AddToWindow keeps the entries with poll epoch epoch. Adding the same again
// changes nothing; after an error, some may have been added.
func (s *Store) AddToWindow(ctx context.Context, epoch uint64, entries []WindowEntry) error {
	for some := range slices.Chunk(entries, batch) {
		members := make(command, 0, 2+2*len(some))
		members = append(members, "ZADD", s.keys.epochKey(epoch))
		for _, e := range some {
			if strings.Contains(e.Stream, separator) || strings.Contains(e.Table, separator) || strings.Contains(e.Key, separator) {
				return fmt.Errorf("add to window: %q holds a NUL", e)
			}
			members = append(members, 0, e.Stream+separator+e.Table+separator+e.Key)
		}
		if err := s.apply(ctx, command{"ZADD", s.keys.epochs, epoch, epoch}, members); err != nil {
			return fmt.Errorf("add %d records to window %d: %w", len(entries), epoch, err)
		}
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
	for some := range slices.Chunk(epochs, batch) {
		var drop []command
		for _, epoch := range some {
			drop = append(drop, command{"UNLINK", s.keys.epoch + epoch}, command{"ZREM", s.keys.epochs, epoch})
		}
		if err := s.apply(ctx, drop...); err != nil {
			return err
		}
	}
	return nil
}

// epochs returns the epochs with scores from low to high, in Redis's notation.
func (s *Store) epochs(ctx context.Context, low, high string) ([]string, error) {
	var stored *redis.StringSliceCmd
	err := s.read(ctx, func(p redis.Pipeliner) {
		// Not ZRANGE BYSCORE, which Redis 6.0 (Ubuntu 22.04) does not know.
		stored = p.ZRangeByScore(ctx, s.keys.epochs, &redis.ZRangeBy{Min: low, Max: high})
	})
	return stored.Val(), err
}
