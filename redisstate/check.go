package redisstate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/chorusd/chorusd/transport"
)

// Check returns everything about this Redis that chorusd cannot work with, and
// what could not be looked at and may be wrong, each naming what to change and
// how. It writes one key and removes it.
func (s *Store) Check(ctx context.Context) (problems, warnings []error) {
	if err := s.tryOut(ctx); err != nil {
		problems = append(problems, s.explain(err))
		if Unreachable(err) {
			return problems, nil
		}
	}
	var mu sync.Mutex
	err := s.eachNode(ctx, func(addr string, policy string, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case Unreachable(err):
			warnings = append(warnings, fmt.Errorf("redis.%s: Redis at %s cannot be asked whether it may evict keys: %w; run CONFIG GET maxmemory-policy there", s.cfg.key(), addr, err))
		case err != nil:
			problems = append(problems, s.explain(err))
		case policy == "":
			problems = append(problems, fmt.Errorf("redis.%s: Redis at %s tells its maxmemory-policy neither by CONFIG GET nor by INFO memory; allow one of them", s.cfg.key(), addr))
		case strings.HasPrefix(policy, "allkeys-"):
			// Our keys have no time to live, so the volatile-* policies spare them.
			problems = append(problems, fmt.Errorf("redis.%s: Redis at %s may evict chorusd's keys when its memory is full (maxmemory-policy is %s); "+
				"run CONFIG SET maxmemory-policy noeviction there, and set it in redis.conf too", s.cfg.key(), addr, policy))
		}
	})
	if err != nil {
		problems = append(problems, s.explain(err))
	}
	return problems, warnings
}

var probe = script("probe")

// tryOut does what the daemon will do, on a key that it removes.
func (s *Store) tryOut(ctx context.Context) error {
	_, err := s.ask(ctx, probe, []string{s.keys.probe})
	if err == nil {
		_, err = s.get(ctx, s.keys.probe)
	}
	if Final(err) {
		return nil // it works; what is in it is not the question
	}
	return err
}

// eachNode calls found with the eviction policy of each server that has our
// keys or may come to have them: the replicas, too, and all of a cluster. It
// may do so from several goroutines.
func (s *Store) eachNode(ctx context.Context, found func(addr, policy string, err error)) error {
	look := func(addr string, node redis.Cmdable) {
		policy, err := evictionPolicy(ctx, node)
		found(addr, policy, err)
	}
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		return client.ForEachShard(ctx, func(_ context.Context, node *redis.Client) error {
			look(node.Options().Addr, node)
			return nil
		})
	default:
		look(s.cfg.Where(), client)
	}
	replicas, err := s.replicas(ctx)
	for _, addr := range replicas {
		node := s.cfg.node(addr)
		look(addr, node)
		_ = node.Close() // what was to be known is known
	}
	return err
}

// replicas are the addresses of those that the Sentinels may make the primary;
// none without Sentinels.
func (s *Store) replicas(ctx context.Context) ([]string, error) {
	var errs []error
	for _, addr := range s.cfg.Sentinels {
		sentinel := s.cfg.sentinel(addr)
		list, err := sentinel.Replicas(ctx, s.cfg.Master).Result()
		_ = sentinel.Close()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var replicas []string
		for _, replica := range list {
			replicas = append(replicas, net.JoinHostPort(replica["ip"], replica["port"]))
		}
		return replicas, nil
	}
	return nil, errors.Join(errs...)
}

// evictionPolicy asks CONFIG, and INFO where CONFIG is not allowed, as on most
// managed servers; "" if neither tells.
func evictionPolicy(ctx context.Context, node redis.Cmdable) (string, error) {
	const name = "maxmemory-policy"
	config, err := node.ConfigGet(ctx, name).Result()
	if err == nil && config[name] != "" {
		return config[name], nil
	}
	if Unreachable(err) {
		return "", err
	}
	info, err := node.Info(ctx, "memory").Result()
	if Unreachable(err) || isForbidden(err) {
		return "", err
	}
	for line := range strings.Lines(info) {
		if policy, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); ok {
			return policy, nil
		}
	}
	return "", nil
}

// The commands that an ACL user must be allowed: those that are always used,
// and those that a database other than 0, and a cluster, need beside them.
const (
	commands        = "ping multi exec eval evalsha get set del unlink exists incr hget hset hsetnx hmget hgetall hlen hexists hdel hincrby hscan sadd smembers zadd zrem zscore zrange zrangebyscore zrangebylex info config|get"
	databaseCommand = "select"
	clusterCommands = "cluster|slots asking"
)

// rule is what an ACL user needs, in the language of ACL SETUSER.
func (c Config) rule() string {
	words := strings.Fields(commands)
	if c.DB > 0 {
		words = append(words, databaseCommand)
	}
	if len(c.Cluster) > 0 {
		words = append(words, strings.Fields(clusterCommands)...)
	}
	for i := range words {
		words[i] = "+" + words[i]
	}
	return strings.Join(slices.Insert(words, 0, "~"+c.pattern()), " ")
}

// sentinelRule is what an ACL user of a Sentinel needs.
const sentinelRule = "+ping +sentinel|get-master-addr-by-name +sentinel|sentinels +sentinel|replicas +subscribe &+switch-master &+replica-reconf-done"

// explain adds to an error of Redis which key of the configuration, or which
// statement, mends it.
func (s *Store) explain(err error) error {
	var answer redis.Error
	key, where, text := s.cfg.key(), s.cfg.Where(), err.Error()
	if strings.Contains(text, "all sentinels specified in configuration are unreachable") {
		if mended := s.explainSentinels(err); mended != nil {
			return mended
		}
	}
	switch mend := transport.Mend("redis", err); {
	case mend != "":
		return fmt.Errorf("redis.tls: no encrypted connection to Redis at %s: %w; %s", where, err, mend)
	case !errors.As(err, &answer):
		return fmt.Errorf("redis.%s: cannot use Redis at %s: %w; start it there or set %[1]s to where it runs; "+
			"see that redis.tls says whether that port speaks TLS, and redis.tls_cert has the client certificate if it demands one", key, where, err)
	case redis.IsAuthError(err):
		return fmt.Errorf("redis.password: Redis at %s refuses the login: %w; set CHORUSD_REDIS_PASSWORD, and redis.username for an ACL user", where, err)
	case strings.Contains(text, "DB index is out of range"):
		return fmt.Errorf("redis.db: Redis at %s has no such database: %w; write db = 0 or raise databases in redis.conf", where, err)
	case isForbidden(err):
		return fmt.Errorf("redis.username: Redis at %s forbids what chorusd needs: %w; run ACL SETUSER <username> %s", where, err, s.cfg.rule())
	case redis.IsReadOnlyError(err):
		return fmt.Errorf("redis.%s: Redis at %s is a replica: %w; set addr to its primary, or sentinels to those that know it", key, where, err)
	case strings.HasPrefix(text, "MOVED "):
		return fmt.Errorf("redis.%s: Redis at %s is a node of a Redis Cluster: %w; write cluster = [%[2]q] instead", key, where, err)
	case strings.Contains(text, "cluster support disabled"):
		return fmt.Errorf("redis.cluster: Redis at %s is no Redis Cluster: %w; write addr instead, for one server", where, err)
	case strings.HasPrefix(text, "ERR unknown command"):
		return fmt.Errorf("redis.%s: Redis at %s does not know a command: %w; it has to be Redis 6.0 or later, and Sentinels belong in sentinels", key, where, err)
	}
	return fmt.Errorf("redis.%s: Redis at %s cannot be used: %w", key, where, err)
}

// isForbidden tells whether an ACL is in the way, of a request itself or of what
// a script does.
func isForbidden(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "NOPERM ") || // also in what EXEC tells
		strings.Contains(text, "The user executing the script can't") || strings.Contains(text, "ACL failure in script")
}

// explainSentinels is explain where no Sentinel has named the primary; nil if
// their answers do not say why.
func (s *Store) explainSentinels(err error) error {
	where := strings.Join(s.cfg.Sentinels, ", ")
	switch {
	case redis.IsAuthError(err):
		return fmt.Errorf("redis.sentinel_password: the Sentinels %s refuse the login: %w; set CHORUSD_REDIS_SENTINEL_PASSWORD, and redis.sentinel_username for an ACL user", where, err)
	case isForbidden(err):
		return fmt.Errorf("redis.sentinel_username: the Sentinels %s forbid what chorusd needs: %w; run ACL SETUSER <username> %s on each", where, err, sentinelRule)
	case errors.Is(err, redis.Nil):
		return fmt.Errorf("redis.sentinel_master: the Sentinels %s know no primary called %q: %w; write its name in their sentinel.conf (sentinel monitor NAME …)", where, s.cfg.Master, err)
	case strings.Contains(err.Error(), "ERR unknown command"):
		return fmt.Errorf("redis.sentinels: no Sentinels answer at %s: %w; write the address of a Redis itself as addr", where, err)
	}
	return nil
}
