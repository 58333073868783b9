package redisstate

import (
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
	"github.com/chorusd/chorusd/transport"
)

// at is Config.TLS by a way.
func at(way transport.TLS) func(string) (*tls.Config, error) {
	return func(addr string) (*tls.Config, error) {
		to := way
		to.Addr = addr
		return to.Config()
	}
}

// TestTLS is on a Redis that takes nothing but TLS, and clients with a
// certificate of its authority.
func TestTLS(t *testing.T) {
	ours, other := servicestest.NewAuthority(t), servicestest.NewAuthority(t)
	cert, key := ours.Certificate(t, "127.0.0.1")
	way := transport.TLS{Section: "redis", Addr: "127.0.0.1:1", Mode: transport.VerifyIdentity, CA: ours.CA, Cert: cert, Key: key}
	probe, err := way.Config()
	must(t, err)
	c := redisWith(t, services.RedisOptions{TLS: probe, Args: []string{
		"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ours.CA, "--tls-auth-clients", "yes",
	}})
	over := func(change func(*transport.TLS)) Config {
		c, way := c, way
		change(&way)
		c.TLS = at(way)
		return c
	}
	expectProblem(t, check(t, open(t, over(func(*transport.TLS) {}))))
	for name, test := range map[string]struct {
		config Config
		words  []string
	}{
		"another authority":   {over(func(w *transport.TLS) { w.CA = other.CA }), []string{"redis.tls: ", "redis.tls_ca"}},
		"another name":        {over(func(w *transport.TLS) { w.ServerName = "redis.example.com" }), []string{"redis.tls_server_name"}},
		"no certificate":      {over(func(w *transport.TLS) { w.Cert, w.Key = "", "" }), []string{"redis.tls_cert"}},
		"another certificate": {over(func(w *transport.TLS) { w.Cert, w.Key = other.Certificate(t) }), []string{"redis.tls_cert"}},
		"nothing encrypted":   {c, []string{"redis.addr", c.Addr, "redis.tls"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), test.config, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("it opened")
			}
			expectProblem(t, []error{err}, test.words...)
		})
	}
	plain := redisWith(t, services.RedisOptions{})
	plain.TLS = at(transport.TLS{Mode: transport.Required})
	_, err = Open(t.Context(), plain, slog.New(slog.DiscardHandler))
	expectProblem(t, []error{err}, "redis.addr", plain.Addr, "redis.tls")
}

// TestTLSOnSeveral is on a cluster and with Sentinels that take nothing but TLS,
// with names in the certificates that their addresses are checked by.
func TestTLSOnSeveral(t *testing.T) {
	authority := servicestest.NewAuthority(t)
	cert, key := authority.Certificate(t, "127.0.0.1")
	way := transport.TLS{Section: "redis", Mode: transport.VerifyIdentity, CA: authority.CA, Cert: cert, Key: key}
	probe, err := at(way)("127.0.0.1:1")
	must(t, err)
	options := services.RedisOptions{Password: "secret", TLS: probe, Args: []string{
		"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", authority.CA, "--tls-auth-clients", "yes",
	}}
	c := Config{Password: always("secret"), TLS: at(way), Prefix: DefaultPrefix}
	t.Run("cluster", func(t *testing.T) {
		c := c
		c.Cluster = servicestest.StartRedisCluster(t, options).Addrs()[:1]
		must(t, exercise(t.Context(), c))
	})
	t.Run("sentinels", func(t *testing.T) {
		watched := servicestest.StartRedisSentinels(t, services.SentinelOptions{RedisOptions: options, SentinelPassword: "another"})
		c := c
		c.Sentinels, c.Master, c.SentinelPassword = watched.Addrs()[:1], watched.Master, always("another")
		must(t, exercise(t.Context(), c))
	})
}

// TestPasswordThatChanges is asked for the password at every connection.
func TestPasswordThatChanges(t *testing.T) {
	c := redisWith(t, services.RedisOptions{Password: "before"})
	var password atomic.Value
	password.Store("before")
	c.Password = func() string { return password.Load().(string) }
	s := open(t, c)
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("a")))
	must(t, s.client.ConfigSet(t.Context(), "requirepass", "after").Err())
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("b"))) // who is in stays in
	drop := func() { must(t, s.client.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "no").Err()) }
	drop()
	if err := s.SaveCheckpoint(t.Context(), checkpointAt("c")); err == nil || Unreachable(err) {
		t.Errorf("with the password of before: %v", err)
	}
	password.Store("after")
	must(t, s.SaveCheckpoint(t.Context(), checkpointAt("d")))
}
