package redisstate

import (
	"context"
	"fmt"
	"strconv"
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
	kept := make([]*redis.StringSliceCmd, len(epochs))
	err = s.read(ctx, func(p redis.Pipeliner) {
		for i, epoch := range epochs {
			kept[i] = p.ZRangeByLex(ctx, s.keys.epoch+epoch, &redis.ZRangeBy{Min: "[" + separator, Max: "(\x01"})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	var notices []RecordKey
	for _, some := range kept {
		for _, member := range some.Val() {
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
	if err := s.apply(ctx, command{"SET", s.keys.owed, reason}); err != nil {
		return fmt.Errorf("note that clients must load again: %w", err)
	}
	return nil
}

// OwedReload is the reason of the last OweReload; "" without one.
func (s *Store) OwedReload(ctx context.Context) (string, error) {
	reason, err := s.get(ctx, s.keys.owed)
	if err != nil {
		return "", fmt.Errorf("read whether clients must load again: %w", err)
	}
	return reason, nil
}

// ReloadTold takes the note away.
func (s *Store) ReloadTold(ctx context.Context) error {
	if err := s.apply(ctx, command{"DEL", s.keys.owed}); err != nil {
		return fmt.Errorf("note that clients were told to load again: %w", err)
	}
	return nil
}

// SaveKeyFingerprint keeps the fingerprint of the key that messages to clients
// are encrypted with; "" if they are not.
func (s *Store) SaveKeyFingerprint(ctx context.Context, fingerprint string) error {
	if err := s.apply(ctx, command{"SET", s.keys.fingerprint, fingerprint}); err != nil {
		return fmt.Errorf("save the fingerprint of the encryption key: %w", err)
	}
	return nil
}

// KeyFingerprint is that of the last SaveKeyFingerprint; "" if there was none.
func (s *Store) KeyFingerprint(ctx context.Context) (string, error) {
	fingerprint, err := s.get(ctx, s.keys.fingerprint)
	if err != nil {
		return "", fmt.Errorf("read the fingerprint of the encryption key: %w", err)
	}
	return fingerprint, nil
}

// Versions are the versions of the tables' schemas, by the tables' names.
func (s *Store) Versions(ctx context.Context) (map[string]string, error) {
	var stored *redis.MapStringStringCmd
	if err := s.read(ctx, func(p redis.Pipeliner) { stored = p.HGetAll(ctx, s.keys.versions) }); err != nil {
		return nil, fmt.Errorf("read schema versions: %w", err)
	}
	return stored.Val(), nil
}

// SaveVersion replaces the version of a table's schema.
func (s *Store) SaveVersion(ctx context.Context, table, version string) error {
	if err := s.apply(ctx, command{"HSET", s.keys.versions, table, version}); err != nil {
		return fmt.Errorf("save the schema version of %s: %w", table, err)
	}
	return nil
}

// Shapes is what SaveShapes kept last; "" without it, or after Forget.
func (s *Store) Shapes(ctx context.Context) (string, error) {
	text, err := s.get(ctx, s.keys.shapes)
	if err != nil {
		return "", fmt.Errorf("read the shapes of tables: %w", err)
	}
	return text, nil
}

// SaveShapes keeps what tables looked like at positions of the binary log.
func (s *Store) SaveShapes(ctx context.Context, text string) error {
	if err := s.apply(ctx, command{"SET", s.keys.shapes, text}); err != nil {
		return fmt.Errorf("save the shapes of tables: %w", err)
	}
	return nil
}

// SaveClock keeps the time up to which everything that changes by time alone
// was taken into account. It is not to be after that of the last checkpoint.
func (s *Store) SaveClock(ctx context.Context, at time.Time) error {
	if err := s.apply(ctx, command{"SET", s.keys.clock, at.UnixMicro()}); err != nil {
		return fmt.Errorf("save the clock: %w", err)
	}
	return nil
}

// Clock is the time of the last SaveClock, to the microsecond, in UTC; zero if
// there was none.
func (s *Store) Clock(ctx context.Context) (time.Time, error) {
	text, err := s.get(ctx, s.keys.clock)
	if err == nil && text == "" {
		return time.Time{}, nil
	}
	var at int64
	if err == nil {
		at, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return time.UnixMicro(at).UTC(), nil
}
