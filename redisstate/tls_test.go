package redisstate

import (
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
	"github.com/chorusd/chorusd/transport"
)

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
	way.Addr = c.Addr
	over := func(change func(*transport.TLS)) Config {
		c, way := c, way
		change(&way)
		c.TLS = way.Config
		return c
	}
	expectProblem(t, open(t, over(func(*transport.TLS) {})).Check(t.Context()))
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
	plain.TLS = transport.TLS{Addr: plain.Addr, Mode: transport.Required}.Config
	_, err = Open(t.Context(), plain, slog.New(slog.DiscardHandler))
	expectProblem(t, []error{err}, "redis.addr", plain.Addr, "redis.tls")
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
