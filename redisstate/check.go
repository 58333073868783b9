package redisstate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/chorusd/chorusd/transport"
)

// Check returns everything about this Redis that chorusd cannot work with, each
// naming what to change and how. It writes one key and removes it.
func (s *Store) Check(ctx context.Context) []error {
	if err := s.client.Ping(ctx).Err(); err != nil {
		return []error{s.explain(err)}
	}
	var problems []error
	if err := s.tryOut(ctx); err != nil {
		problems = append(problems, s.explain(err))
	}
	policy, err := s.evictionPolicy(ctx)
	switch {
	case err != nil:
		problems = append(problems, s.explain(err))
	case policy == "":
		problems = append(problems, fmt.Errorf("redis.addr: Redis at %s tells its maxmemory-policy neither by CONFIG GET nor by INFO memory; allow one of them", s.addr))
	case strings.HasPrefix(policy, "allkeys-"):
		// Our keys have no time to live, so the volatile-* policies spare them.
		problems = append(problems, fmt.Errorf("redis.addr: Redis at %s may evict chorusd's keys when its memory is full (maxmemory-policy is %s); "+
			"run CONFIG SET maxmemory-policy noeviction, and set it in redis.conf too", s.addr, policy))
	}
	return problems
}

// tryOut does what the daemon will do: write, run a script, remove.
func (s *Store) tryOut(ctx context.Context) error {
	if err := s.client.Set(ctx, s.keys.probe, "1", 0).Err(); err != nil {
		return err
	}
	if err := reserveSeq.Run(ctx, s.client, []string{s.keys.seq}, 0).Err(); err != nil {
		return err
	}
	return s.client.Unlink(ctx, s.keys.probe).Err()
}

// evictionPolicy asks CONFIG, and INFO where CONFIG is not allowed, as on most
// managed servers; "" if neither tells.
func (s *Store) evictionPolicy(ctx context.Context) (string, error) {
	const name = "maxmemory-policy"
	config, err := s.client.ConfigGet(ctx, name).Result()
	if err == nil && config[name] != "" {
		return config[name], nil
	}
	if Unreachable(err) {
		return "", err
	}
	info, err := s.client.Info(ctx, "memory").Result()
	if Unreachable(err) || redis.IsPermissionError(err) {
		return "", err
	}
	for line := range strings.Lines(info) {
		if policy, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); ok {
			return policy, nil
		}
	}
	return "", nil
}

// explain adds to an error of Redis which key of the configuration, or which
// statement, mends it.
func (s *Store) explain(err error) error {
	var answer redis.Error
	text := err.Error()
	switch mend := transport.Mend("redis", err); {
	case mend != "":
		return fmt.Errorf("redis.tls: no encrypted connection to Redis at %s: %w; %s", s.addr, err, mend)
	case !errors.As(err, &answer):
		return fmt.Errorf("redis.addr: cannot use Redis at %s: %w; start it there or set addr to where it runs; "+
			"see that redis.tls says whether that port speaks TLS, and redis.tls_cert has the client certificate if it demands one", s.addr, err)
	case redis.IsAuthError(err):
		return fmt.Errorf("redis.password: Redis at %s refuses the login: %w; set CHORUSD_REDIS_PASSWORD, and redis.username for an ACL user", s.addr, err)
	case strings.Contains(text, "DB index is out of range"):
		return fmt.Errorf("redis.db: Redis at %s has no such database: %w; write db = 0 or raise databases in redis.conf", s.addr, err)
	case redis.IsPermissionError(err):
		prefix := strings.TrimSuffix(s.keys.probe, "{state}:probe")
		return fmt.Errorf("redis.username: Redis at %s forbids what chorusd needs: %w; run ACL SETUSER <username> ~%s* +@read +@write +@connection +@transaction +@scripting +info +config|get",
			s.addr, err, prefix)
	case redis.IsReadOnlyError(err):
		return fmt.Errorf("redis.addr: Redis at %s is a replica: %w; set addr to its primary", s.addr, err)
	}
	return fmt.Errorf("redis.addr: Redis at %s cannot be used: %w", s.addr, err)
}
