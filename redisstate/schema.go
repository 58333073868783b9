package redisstate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Notices returns what AddToWindow has kept for everybody, which is under the
// empty stream, with the epochs from fromEpoch on.
func (s *Store) Notices(ctx context.Context, fromEpoch uint64) ([]RecordKey, error) {
	epochs, err := s.epochs(ctx, fmt.Sprint(fromEpoch), "+inf")
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	if len(epochs) == 0 {
		return nil, nil
	}
	answers, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, epoch := range epochs {
			p.ZRangeByLex(ctx, s.keys.epoch+epoch, &redis.ZRangeBy{Min: "[" + separator, Max: "(\x01"})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	var notices []RecordKey
	for _, answer := range answers {
		for _, member := range answer.(*redis.StringSliceCmd).Val() {
			table, key, _ := strings.Cut(member[len(separator):], separator)
			notices = append(notices, RecordKey{Table: table, Key: key})
		}
	}
	return notices, nil
}

// OweReload notes that all clients must load again, for a reason that is
// logged when they are told. It is to be called before the checkpoint that
// makes it necessary is saved; the note stays until ReloadTold.
func (s *Store) OweReload(ctx context.Context, reason string) error {
	if err := s.client.Set(ctx, s.keys.owed, reason, 0).Err(); err != nil {
		return fmt.Errorf("note that clients must load again: %w", err)
	}
	return nil
}

// OwedReload is the reason of the last OweReload; "" without one.
func (s *Store) OwedReload(ctx context.Context) (string, error) {
	reason, err := s.client.Get(ctx, s.keys.owed).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read whether clients must load again: %w", err)
	}
	return reason, nil
}

// ReloadTold takes the note away.
func (s *Store) ReloadTold(ctx context.Context) error {
	if err := s.client.Del(ctx, s.keys.owed).Err(); err != nil {
		return fmt.Errorf("note that clients were told to load again: %w", err)
	}
	return nil
}

// Versions are the versions of the tables' schemas, by the tables' names.
func (s *Store) Versions(ctx context.Context) (map[string]string, error) {
	versions, err := s.client.HGetAll(ctx, s.keys.versions).Result()
	if err != nil {
		return nil, fmt.Errorf("read schema versions: %w", err)
	}
	return versions, nil
}

// SaveVersion replaces the version of a table's schema.
func (s *Store) SaveVersion(ctx context.Context, table, version string) error {
	if err := s.client.HSet(ctx, s.keys.versions, table, version).Err(); err != nil {
		return fmt.Errorf("save the schema version of %s: %w", table, err)
	}
	return nil
}

// Shapes is what SaveShapes kept last; "" without it, or after Forget.
func (s *Store) Shapes(ctx context.Context) (string, error) {
	text, err := s.client.Get(ctx, s.keys.shapes).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read the shapes of tables: %w", err)
	}
	return text, nil
}

// SaveShapes keeps what tables looked like at positions of the binary log.
func (s *Store) SaveShapes(ctx context.Context, text string) error {
	if err := s.client.Set(ctx, s.keys.shapes, text, 0).Err(); err != nil {
		return fmt.Errorf("save the shapes of tables: %w", err)
	}
	return nil
}

// SaveClock keeps the time up to which everything that changes by time alone
// was taken into account. It is not to be after that of the last checkpoint.
func (s *Store) SaveClock(ctx context.Context, at time.Time) error {
	if err := s.client.Set(ctx, s.keys.clock, at.UnixMicro(), 0).Err(); err != nil {
		return fmt.Errorf("save the clock: %w", err)
	}
	return nil
}

// Clock is the time of the last SaveClock, to the microsecond, in UTC; zero if
// there was none.
func (s *Store) Clock(ctx context.Context) (time.Time, error) {
	at, err := s.client.Get(ctx, s.keys.clock).Int64()
	switch {
	case errors.Is(err, redis.Nil):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return time.UnixMicro(at).UTC(), nil
}
