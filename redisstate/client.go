package redisstate

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// An outage must be noticed within seconds, and a healthy Redis answers the
// largest request made here within a fraction of one.
const (
	dialTimeout = 2 * time.Second
	ioTimeout   = 3 * time.Second
	// One retry bridges a connection that died while idle; every request here
	// may be executed twice.
	maxRetries = 1
	// A cluster's node may send to another one, which may have failed.
	maxRedirects = 3
	poolSize     = 8
)

// client makes the connections' pool; nothing is connected yet.
func (c Config) client() redis.UniversalClient {
	o := &redis.UniversalOptions{
		Addrs:  []string{c.Addr},
		Dialer: c.dial,
		DB:     c.DB,

		CredentialsProvider: func() (string, string) { return c.Username, text(c.Password) },
		Protocol:            2,

		DialTimeout:           dialTimeout,
		DialerRetries:         1,
		ReadTimeout:           ioTimeout,
		WriteTimeout:          ioTimeout,
		MaxRetries:            maxRetries,
		ContextTimeoutEnabled: true,
		PoolSize:              poolSize,
		PipelinePoolSize:      -1, // no pool of its own, whose buffers would be large

		// Courtesies that older servers and strict ACLs answer with errors.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	switch {
	case len(c.Cluster) > 0:
		o.Addrs = c.Cluster
		o.MaxRetries, o.MaxRedirects = 0, maxRedirects
		cluster := o.Cluster()
		// Those ask with COMMAND, and all of a Store's keys are in one slot.
		cluster.DisableRoutingPolicies = true
		return redis.NewClusterClient(cluster)
	case len(c.Sentinels) > 0:
		o.Addrs, o.MasterName = c.Sentinels, c.Master
		o.SentinelUsername, o.SentinelPassword = c.SentinelUsername, text(c.SentinelPassword)
		return redis.NewFailoverClient(o.Failover())
	}
	return redis.NewClient(o.Simple())
}

// sentinel is a client of one Sentinel.
func (c Config) sentinel(addr string) *redis.SentinelClient {
	return redis.NewSentinelClient(&redis.Options{
		Addr: addr, Dialer: c.dial, Username: c.SentinelUsername, Password: text(c.SentinelPassword),
		DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, MaxRetries: maxRetries,
		ContextTimeoutEnabled: true, DisableIdentity: true,
	})
}

// node is a client of one server, whatever c says of where Redis is.
func (c Config) node(addr string) redis.UniversalClient {
	c.Addr, c.Cluster, c.Sentinels = addr, nil, nil
	return c.client()
}

// dial opens a connection, encrypted if that is wanted.
func (c Config) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var encryption *tls.Config
	if c.TLS != nil {
		var err error
		if encryption, err = c.TLS(addr); err != nil {
			return nil, err
		}
	}
	if encryption == nil {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return (&tls.Dialer{Config: encryption}).DialContext(ctx, network, addr)
}
