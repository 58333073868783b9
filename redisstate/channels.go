package redisstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// How a channel was seen to be active.
const (
	SourcePoll    = "poll"
	SourceWebhook = "webhook"
)

// Lease says that a channel counts as active until Expires. Times are to the
// millisecond, UTC.
type Lease struct {
	Channel string
	Since   time.Time // when it was first seen, while its lease was not removed
	Seen    time.Time // when it was last seen
	Expires time.Time
	Source  string // how it was last seen
}

var (
	renewChannels = plainScript("renew_channels")
	shortenLease  = plainScript("shorten_lease")
	removeExpired = plainScript("remove_expired")
)

// renewalsAtOnce is how many leases one round trip renews: few enough that the
// answer comes well within ioTimeout.
const renewalsAtOnce = 20 * batch

// RenewChannels notes that the channels were seen active at now, so that their
// leases run until now+ttl. New ones get a lease.
func (s *Store) RenewChannels(ctx context.Context, source string, names []string, now time.Time, ttl time.Duration) error {
	keys := []string{s.keys.leases}
	for many := range slices.Chunk(names, renewalsAtOnce) {
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for some := range slices.Chunk(many, batch) {
				args := make([]any, 0, 3+len(some))
				args = append(args, now.UnixMilli(), now.Add(ttl).UnixMilli(), source)
				for _, name := range some {
					args = append(args, name)
				}
				renewChannels.Eval(ctx, p, keys, args...)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("renew %d channels: %w", len(names), err)
		}
	}
	return nil
}

// ShortenLease lets the channel's lease end at until if it would last longer. A
// channel without a lease stays without.
func (s *Store) ShortenLease(ctx context.Context, name string, until time.Time) error {
	err := shortenLease.Run(ctx, s.client, []string{s.keys.leases}, name, until.UnixMilli()).Err()
	if err != nil {
		return fmt.Errorf("shorten lease of %s: %w", name, err)
	}
	return nil
}

// Channels returns all leases, expired ones too unless they were removed, in no
// order: whether an expired lease still counts depends on whether the polls
// work, which the caller knows.
func (s *Store) Channels(ctx context.Context) ([]Lease, error) {
	var leases []Lease
	err := s.eachLease(ctx, func(some []Lease) error {
		leases = append(leases, some...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read channels: %w", err)
	}
	// A hash that grows while it is read may show an element twice.
	slices.SortFunc(leases, func(a, b Lease) int { return strings.Compare(a.Channel, b.Channel) })
	return slices.CompactFunc(leases, func(a, b Lease) bool { return a.Channel == b.Channel }), nil
}

// RemoveExpired removes the leases that ended before now and returns how many.
// It reads all leases, so once per lease's length is often enough.
func (s *Store) RemoveExpired(ctx context.Context, now time.Time) (int, error) {
	removed := 0
	err := s.eachLease(ctx, func(some []Lease) error {
		args := []any{now.UnixMilli()}
		for _, lease := range some {
			if lease.Expires.Before(now) {
				args = append(args, lease.Channel)
			}
		}
		if len(args) == 1 {
			return nil
		}
		n, err := removeExpired.Run(ctx, s.client, []string{s.keys.leases}, args...).Int()
		removed += n
		return err
	})
	if err != nil {
		return removed, fmt.Errorf("remove expired channels: %w", err)
	}
	return removed, nil
}

func (s *Store) eachLease(ctx context.Context, f func([]Lease) error) error {
	var cursor uint64
	for {
		pairs, next, err := s.client.HScan(ctx, s.keys.leases, cursor, "", batch).Result()
		if err != nil {
			return err
		}
		leases := make([]Lease, 0, len(pairs)/2)
		for pair := range slices.Chunk(pairs, 2) {
			lease, err := decodeLease(pair[0], pair[1])
			if err != nil {
				return err
			}
			leases = append(leases, lease)
		}
		if err := f(leases); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func decodeLease(channel, value string) (Lease, error) {
	parts := strings.SplitN(value, " ", 4)
	if len(parts) != 4 {
		return Lease{}, fmt.Errorf("lease of %s is %q", channel, value)
	}
	var times [3]time.Time
	for i := range times {
		ms, err := strconv.ParseInt(parts[i], 10, 64)
		if err != nil {
			return Lease{}, fmt.Errorf("lease of %s is %q", channel, value)
		}
		times[i] = time.UnixMilli(ms).UTC()
	}
	return Lease{Channel: channel, Since: times[0], Seen: times[1], Expires: times[2], Source: parts[3]}, nil
}

// Poll is a complete poll of the Pusher server: all channels active at some
// moment after StartedAt were seen.
type Poll struct {
	Epoch     uint64
	StartedAt time.Time // to the microsecond, UTC
}

// PollDone notes the last complete poll.
func (s *Store) PollDone(ctx context.Context, epoch uint64, startedAt time.Time) error {
	err := s.apply(ctx, command{"HSET", s.keys.poll, "epoch", epoch, "started_at", startedAt.UnixMicro()})
	if err != nil {
		return fmt.Errorf("note poll %d: %w", epoch, err)
	}
	return nil
}

// LastPoll is the last complete poll; the zero Poll if there was none.
func (s *Store) LastPoll(ctx context.Context) (Poll, error) {
	var stored *redis.MapStringStringCmd
	if err := s.read(ctx, func(p redis.Pipeliner) { stored = p.HGetAll(ctx, s.keys.poll) }); err != nil {
		return Poll{}, fmt.Errorf("read last poll: %w", err)
	}
	fields := stored.Val()
	if len(fields) == 0 {
		return Poll{}, nil
	}
	epoch, errEpoch := strconv.ParseUint(fields["epoch"], 10, 64)
	startedAt, errTime := strconv.ParseInt(fields["started_at"], 10, 64)
	if err := errors.Join(errEpoch, errTime); err != nil {
		return Poll{}, fmt.Errorf("read last poll from %s: %w", s.keys.poll, err)
	}
	return Poll{Epoch: epoch, StartedAt: time.UnixMicro(startedAt).UTC()}, nil
}
