package services

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// RedisOptions are how a Redis server starts.
type RedisOptions struct {
	// Persist keeps the data over [Server.Restart] and [Server.Kill], in an
	// append-only file that is synced at every write. Otherwise a Redis starts
	// empty each time.
	Persist bool
	// Password, if any, of the default user, and by which replicas log in.
	Password string
	// TLS, if any, is how to reach the server, which then takes nothing but
	// TLS; Args have its certificate, "--tls-cert-file", "cert.pem".
	TLS *tls.Config
	// Args are further settings, "--maxmemory", "10mb"; they win.
	Args []string
	// PreferPath uses the machine's own redis-server, if it has one.
	PreferPath bool
}

// RedisDatabases is how many numbered databases a started Redis has.
const RedisDatabases = 4096

// RedisServer is a Redis server of one's own.
type RedisServer struct {
	*Server
}

// StartRedis starts a Redis server. ctx bounds the start only.
func StartRedis(ctx context.Context, opts RedisOptions) (*RedisServer, error) {
	s, err := newRedis(ctx, opts, "--databases", strconv.Itoa(RedisDatabases))
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// newRedis reserves what a Redis server needs; the caller owes start or remove.
func newRedis(ctx context.Context, opts RedisOptions, args ...string) (*RedisServer, error) {
	prog, err := locateServer(Redis, opts.PreferPath)
	if err != nil {
		return nil, err
	}
	s, err := newServer(ctx, Redis)
	if err != nil {
		return nil, err
	}
	listen := []string{"--port", strconv.Itoa(s.Port())}
	if opts.TLS != nil {
		listen = []string{"--port", "0", "--tls-port", strconv.Itoa(s.Port())}
	}
	s.argv = slices.Concat(prog.argv, listen, []string{
		"--bind", "127.0.0.1",
		"--dir", s.Dir(),
		"--save", "",
		"--daemonize", "no",
	}, args)
	if opts.Persist {
		s.argv = append(s.argv, "--appendonly", "yes", "--appendfsync", "always")
	}
	if opts.Password != "" {
		s.argv = append(s.argv, "--requirepass", opts.Password, "--masterauth", opts.Password)
	}
	s.argv = append(s.argv, opts.Args...)
	s.probe = func(ctx context.Context) error { return pingRedis(ctx, s.Addr, opts.Password, opts.TLS) }
	return &RedisServer{s}, nil
}

// client is one of the server's default user; the caller closes it.
func (o RedisOptions) client(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, Password: o.Password, TLSConfig: o.TLS, Protocol: 2,
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, PoolSize: 1, PipelinePoolSize: -1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// pingRedis asks for a PONG, in the protocol's inline form: go-redis would
// write of each refusal to stderr.
func pingRedis(ctx context.Context, addr, password string, encryption *tls.Config) error {
	dial := new(net.Dialer).DialContext
	if encryption != nil {
		dial = (&tls.Dialer{Config: encryption}).DialContext
	}
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	answers := bufio.NewReader(conn)
	ask := func(command, want string) error {
		if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
			return err
		}
		answer, err := answers.ReadString('\n')
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(answer); got != want {
			return fmt.Errorf("redis answered %q", got) // -LOADING, for one
		}
		return nil
	}
	if password != "" {
		if err := ask("AUTH "+strconv.Quote(password), "+OK"); err != nil {
			return err
		}
	}
	return ask("PING", "+PONG")
}
