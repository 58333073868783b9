package redisstate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// RecordKey names a record to refill.
type RecordKey struct {
	Table string
	Key   string // JSON text
	// Start tells which StartRefill asked for it last. RefillDone leaves the
	// record alone if another one has asked since.
	Start uint64
}

var (
	startRefill = script("start_refill")
	refillDone  = script("refill_done")
)

// StartRefill copies what the window holds for the channel from fromEpoch on to
// the channel's refill, where it survives crashes until RefillDone, and returns
// all that the refill then has to send, what an earlier one left included. Call
// it once nothing is being added to the window for this channel any more, and
// before the channel's lease is made: else a crash or a late entry is a gap.
func (s *Store) StartRefill(ctx context.Context, channel string, fromEpoch uint64) ([]RecordKey, error) {
	refills, err := s.StartRefills(ctx, []string{channel}, fromEpoch)
	return refills[channel], err
}

// StartRefills is StartRefill of many channels with few round trips. Channels
// that have nothing to send are not in its result. After an error, some may
// have been started; starting them again is safe.
func (s *Store) StartRefills(ctx context.Context, channels []string, fromEpoch uint64) (map[string][]RecordKey, error) {
	refills := map[string][]RecordKey{}
	for some := range slices.Chunk(channels, batch) {
		answers, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, channel := range some {
				startRefill.Eval(ctx, p, []string{s.keys.epochs, s.keys.refills, s.keys.starts, s.keys.refill + channel},
					channel, fromEpoch, s.keys.epoch)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("start refill of %d channels: %w", len(channels), err)
		}
		for i, answer := range answers {
			flat, err := answer.(*redis.Cmd).StringSlice()
			if err != nil {
				return nil, fmt.Errorf("start refill of %s: %w", some[i], err)
			}
			if len(flat) == 0 {
				continue
			}
			if refills[some[i]], err = decodeRefill(flat); err != nil {
				return nil, fmt.Errorf("start refill of %s: %w", some[i], err)
			}
		}
	}
	return refills, nil
}

// Refills returns what all refills have still to send, by channel. A start of
// the daemon takes it up.
func (s *Store) Refills(ctx context.Context) (map[string][]RecordKey, error) {
	channels, err := s.client.SMembers(ctx, s.keys.refills).Result()
	if err != nil {
		return nil, fmt.Errorf("read refills: %w", err)
	}
	refills := make(map[string][]RecordKey, len(channels))
	for some := range slices.Chunk(channels, batch) {
		answers, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, channel := range some {
				p.HGetAll(ctx, s.keys.refill+channel)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read refills: %w", err)
		}
		for i, answer := range answers {
			var flat []string
			for member, start := range answer.(*redis.MapStringStringCmd).Val() {
				flat = append(flat, member, start)
			}
			if refills[some[i]], err = decodeRefill(flat); err != nil {
				return nil, fmt.Errorf("read refill of %s: %w", some[i], err)
			}
		}
	}
	return refills, nil
}

// RefillDone takes the records out of the channel's refill, since they were
// sent or need not be, except those that a later StartRefill has asked for
// again. Keys are those that StartRefill or Refills returned.
func (s *Store) RefillDone(ctx context.Context, channel string, keys []RecordKey) error {
	for some := range slices.Chunk(keys, batch) {
		args := make([]any, 0, 1+2*len(some))
		args = append(args, channel)
		for _, k := range some {
			args = append(args, k.Table+separator+k.Key, k.Start)
		}
		err := refillDone.Run(ctx, s.client, []string{s.keys.refills, s.keys.refill + channel}, args...).Err()
		if err != nil {
			return fmt.Errorf("end refill of %d records on %s: %w", len(keys), channel, err)
		}
	}
	return nil
}

// decodeRefill reads member, start, member, start, … and sorts by table and key.
func decodeRefill(flat []string) ([]RecordKey, error) {
	keys := make([]RecordKey, 0, len(flat)/2)
	for pair := range slices.Chunk(flat, 2) {
		table, key, ok := strings.Cut(pair[0], separator)
		start, err := strconv.ParseUint(pair[1], 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("it holds %q", pair)
		}
		keys = append(keys, RecordKey{Table: table, Key: key, Start: start})
	}
	slices.SortFunc(keys, func(a, b RecordKey) int {
		return strings.Compare(a.Table+separator+a.Key, b.Table+separator+b.Key)
	})
	return keys, nil
}
