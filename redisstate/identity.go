package redisstate

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

var reserveSeq = script("reserve_seq")

// ReserveSeq raises the ceiling of issued positions to upTo; it never lowers
// it. A position is issued only after a ceiling at or above it was reserved.
func (s *Store) ReserveSeq(ctx context.Context, upTo uint64) error {
	if _, err := s.change(ctx, reserveSeq, []string{s.keys.seq}, upTo); err != nil {
		return fmt.Errorf("reserve positions up to %d: %w", upTo, err)
	}
	return nil
}

// IssuedSeq is the ceiling: every position ever issued is at or below it, 0 if
// none was.
func (s *Store) IssuedSeq(ctx context.Context) (uint64, error) {
	text, err := s.get(ctx, s.keys.seq)
	var seq uint64
	if err == nil && text != "" {
		seq, err = strconv.ParseUint(text, 10, 64)
	}
	if err != nil {
		return 0, fmt.Errorf("read issued positions: %w", err)
	}
	return seq, nil
}

// firstServerID keeps generated ids clear of those that people give by hand.
const firstServerID = 1 << 24

// ServerID is the id under which the daemon registers as a replica: drawn at
// random once and kept, since MariaDB ends the older of two connections with
// the same one.
func (s *Store) ServerID(ctx context.Context) (uint32, error) {
	var b [4]byte
	rand.Read(b[:]) // never fails
	id := max(binary.BigEndian.Uint32(b[:]), firstServerID)
	var kept *redis.StringCmd
	_, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.SetNX(ctx, s.keys.serverID, id, 0)
		kept = p.Get(ctx, s.keys.serverID)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("keep server id: %w", err)
	}
	stored, err := kept.Uint64()
	if err != nil || stored == 0 || stored > 1<<32-1 {
		return 0, fmt.Errorf("%s holds %q, which is no server id; delete that key", s.keys.serverID, kept.Val())
	}
	return uint32(stored), nil
}
