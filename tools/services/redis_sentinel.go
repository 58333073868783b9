package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Of started Sentinels.
const (
	sentinels        = 3
	sentinelReplicas = 2
	// sentinelTimeout is after how many milliseconds of silence a Sentinel
	// holds a Redis for dead: on a busy machine no living one is silent for so
	// long.
	sentinelTimeout = 3000
)

// SentinelOptions are how servers start that Sentinels watch.
type SentinelOptions struct {
	RedisOptions
	// SentinelPassword, if any, is that of the Sentinels' own default user.
	SentinelPassword string
}

// RedisSentinels are three Sentinels that watch a primary and its two replicas.
// Which of the three is the primary changes when it fails.
type RedisSentinels struct {
	Nodes     []*RedisServer
	Sentinels []*RedisServer
	// Master is what the Sentinels call the primary.
	Master string

	opts SentinelOptions
}

// StartRedisSentinels starts them, as [StartRedis] does each, and returns when
// they know each other. ctx bounds the start only.
func StartRedisSentinels(ctx context.Context, opts SentinelOptions) (*RedisSentinels, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := &RedisSentinels{Master: "app", opts: opts}
	err := s.startAll(ctx)
	if err == nil {
		err = s.meet(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Redis with Sentinels: %w", err), s.Stop())
	}
	return s, nil
}

// Addrs are the addresses of the Sentinels.
func (s *RedisSentinels) Addrs() []string {
	addrs := make([]string, len(s.Sentinels))
	for i, sentinel := range s.Sentinels {
		addrs[i] = sentinel.Addr
	}
	return addrs
}

// Primary returns the present primary, as the first Sentinel sees it.
func (s *RedisSentinels) Primary(ctx context.Context) (*RedisServer, error) {
	client := s.client(s.Sentinels[0].Addr)
	defer client.Close()
	addr, err := client.GetMasterAddrByName(ctx, s.Master).Result()
	if err != nil {
		return nil, fmt.Errorf("ask for the primary: %w", err)
	}
	i := slices.IndexFunc(s.Nodes, func(n *RedisServer) bool { return n.Addr == net.JoinHostPort(addr[0], addr[1]) })
	if i < 0 {
		return nil, fmt.Errorf("the primary is %v, which is none of ours", addr)
	}
	return s.Nodes[i], nil
}

// AwaitAgreement waits until no failover is under way and every Sentinel has the
// same primary. One that has not heard of a failover yet takes a primary of
// before for the present one if that comes back, and has the others copy it.
func (s *RedisSentinels) AwaitAgreement(ctx context.Context) error {
	return poll(ctx, func(ctx context.Context) error {
		primary := ""
		for _, sentinel := range s.Sentinels {
			client := s.client(sentinel.Addr)
			state, err := client.Master(ctx, s.Master).Result()
			if err := errors.Join(err, client.Close()); err != nil {
				return fmt.Errorf("ask a Sentinel for the primary: %w", err)
			}
			if state["flags"] != "master" {
				return fmt.Errorf("a Sentinel says of the primary: %s", state["flags"])
			}
			addr := net.JoinHostPort(state["ip"], state["port"])
			if primary != "" && addr != primary {
				return fmt.Errorf("two Sentinels have the primaries %s and %s", primary, addr)
			}
			primary = addr
		}
		return nil
	})
}

// Stop ends all of them at once and removes their folders.
func (s *RedisSentinels) Stop() error {
	var errs []error
	for _, server := range slices.Concat(s.Sentinels, s.Nodes) {
		errs = append(errs, server.Stop())
	}
	return errors.Join(errs...)
}

// client is one of a Sentinel.
func (s *RedisSentinels) client(addr string) *redis.SentinelClient {
	return redis.NewSentinelClient(&redis.Options{
		Addr: addr, Password: s.opts.SentinelPassword, TLSConfig: s.opts.TLS, Protocol: 2,
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
	})
}

func (s *RedisSentinels) startAll(ctx context.Context) error {
	for range 1 + sentinelReplicas {
		args := []string{"--repl-diskless-sync-delay", "0"}
		if len(s.Nodes) > 0 {
			args = append(args, "--replicaof", "127.0.0.1", strconv.Itoa(s.Nodes[0].Port()))
		}
		if s.opts.TLS != nil {
			args = append(args, "--tls-replication", "yes")
		}
		node, err := newRedis(ctx, s.opts.RedisOptions, args...)
		if err != nil {
			return err
		}
		if err := node.start(ctx); err != nil {
			return err
		}
		s.Nodes = append(s.Nodes, node)
	}
	for range sentinels {
		sentinel, err := s.newSentinel(ctx)
		if err != nil {
			return err
		}
		if err := sentinel.start(ctx); err != nil {
			return err
		}
		s.Sentinels = append(s.Sentinels, sentinel)
	}
	return nil
}

// newSentinel reserves what a Sentinel needs. It rewrites its configuration, so
// that is a file.
func (s *RedisSentinels) newSentinel(ctx context.Context) (*RedisServer, error) {
	prog, err := locateServer(Redis, s.opts.PreferPath)
	if err != nil {
		return nil, err
	}
	server, err := newServer(ctx, Redis)
	if err != nil {
		return nil, err
	}
	port := []string{fmt.Sprintf("port %d", server.Port())}
	if s.opts.TLS != nil {
		port = []string{"port 0", fmt.Sprintf("tls-port %d", server.Port()), "tls-replication yes"}
		for i := 0; i+1 < len(s.opts.Args); i += 2 {
			if name, ok := strings.CutPrefix(s.opts.Args[i], "--tls-"); ok {
				port = append(port, fmt.Sprintf("tls-%s %q", name, s.opts.Args[i+1]))
			}
		}
	}
	lines := slices.Concat(port, []string{
		"bind 127.0.0.1",
		fmt.Sprintf("dir %q", server.Dir()),
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d", s.Master, s.Nodes[0].Port(), sentinels/2+1),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", s.Master, sentinelTimeout),
		fmt.Sprintf("sentinel failover-timeout %s %d", s.Master, 2*sentinelTimeout),
	})
	if s.opts.Password != "" {
		lines = append(lines, fmt.Sprintf("sentinel auth-pass %s %s", s.Master, s.opts.Password))
	}
	if s.opts.SentinelPassword != "" {
		lines = append(lines, "requirepass "+s.opts.SentinelPassword, "sentinel sentinel-pass "+s.opts.SentinelPassword)
	}
	file := filepath.Join(server.Dir(), "sentinel.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	server.argv = append(slices.Clone(prog.argv), file, "--sentinel")
	server.probe = func(ctx context.Context) error {
		return pingRedis(ctx, server.Addr, s.opts.SentinelPassword, s.opts.TLS)
	}
	return &RedisServer{server}, nil
}

// meet waits until each Sentinel knows the others and the replicas, so that
// they can agree on what to do when the primary fails.
func (s *RedisSentinels) meet(ctx context.Context) error {
	for _, sentinel := range s.Sentinels {
		client := s.client(sentinel.Addr)
		defer client.Close()
		err := poll(ctx, func(ctx context.Context) error {
			others, err := client.Sentinels(ctx, s.Master).Result()
			if err != nil {
				return err
			}
			replicas, err := client.Replicas(ctx, s.Master).Result()
			if err != nil {
				return err
			}
			up := 0
			for _, r := range replicas {
				if r["master-link-status"] == "ok" {
					up++
				}
			}
			if len(others) != sentinels-1 || up != sentinelReplicas {
				return fmt.Errorf("a Sentinel knows %d others and %d replicas", len(others), up)
			}
			return client.CkQuorum(ctx, s.Master).Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}
