package redisstate

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
)

// Defaults of Config.
const (
	DefaultAddr   = "127.0.0.1:6379"
	DefaultPrefix = "chorusd"
)

// exampleSentinel is an address at Sentinel's own default port, for messages.
const exampleSentinel = "127.0.0.1:26379"

// Config says which Redis to use, and how: one server, a cluster, or the
// primary that Sentinels name. Its printed forms hide the passwords.
type Config struct {
	// Addr is host:port or the absolute path of a Unix socket. It is not
	// looked at where Cluster or Sentinels are given.
	Addr string
	// Cluster are nodes of a Redis Cluster, host:port each. One is enough to
	// find the others; those that are given are asked in turn.
	Cluster []string
	// Sentinels are asked for the primary that they call Master, host:port
	// each. One is enough to find the others.
	Sentinels []string
	Master    string
	// SentinelUsername is an ACL user of the Sentinels themselves.
	SentinelUsername string
	// SentinelPassword returns the Sentinels' own password; it is asked by
	// Open alone. It may be nil.
	SentinelPassword func() string `json:"-"`
	// Username is an ACL user; "" is Redis's default user.
	Username string
	// Password returns the password; it is asked at every connection. It may
	// be nil.
	Password func() string `json:"-"`
	// TLS returns how connections to an address are encrypted, those to
	// Sentinels too; it is asked at every connection. It may be nil: not at all.
	TLS func(addr string) (*tls.Config, error) `json:"-"`
	// DB is the number of the logical database.
	DB int
	// Prefix is in every key, in braces. Two daemons with different prefixes
	// share a Redis without seeing each other.
	Prefix string
}

// Validate returns everything that is wrong with c, each naming the key and
// what to write instead.
func (c Config) Validate() []error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, list := range []struct {
		key, example string
		addrs        []string
	}{{"cluster", DefaultAddr, c.Cluster}, {"sentinels", exampleSentinel, c.Sentinels}} {
		for _, addr := range list.addrs {
			if !isHostPort(addr) {
				report(`redis.%s: %q is not host:port; write for example %[1]s = [%[3]q]`, list.key, addr, list.example)
			}
		}
	}
	cluster, sentinels := len(c.Cluster) > 0, len(c.Sentinels) > 0
	switch {
	case cluster && sentinels:
		report(`redis.sentinels: is set, and redis.cluster too; keep cluster for a Redis Cluster, which has no Sentinels, or sentinels for the others`)
	case !cluster && !sentinels && !strings.HasPrefix(c.Addr, "/") && !isHostPort(c.Addr):
		report(`redis.addr: %q is neither host:port nor the path of a Unix socket; write for example addr = %q`, c.Addr, DefaultAddr)
	case sentinels && c.Master == "":
		report(`redis.sentinel_master: is missing; write the name by which the Sentinels know the primary, for example sentinel_master = "mymaster"`)
	case !sentinels && c.Master != "":
		report(`redis.sentinel_master: is set, but redis.sentinels is empty; write their addresses, for example sentinels = [%q]`, exampleSentinel)
	}
	if c.DB < 0 {
		report(`redis.db: %d is negative; Redis numbers its databases from 0, so write db = 0`, c.DB)
	} else if c.DB > 0 && cluster {
		report(`redis.db: is %d, but a Redis Cluster has no database but 0; write db = 0, and give each app a prefix of its own`, c.DB)
	}
	if c.Prefix == "" {
		report(`redis.prefix: is empty, so chorusd's keys could meet others; write for example prefix = %q`, DefaultPrefix)
	}
	// Braces would end the cluster hash tag that keeps our keys together.
	if strings.ContainsFunc(c.Prefix, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '{' || r == '}' }) {
		report(`redis.prefix: %q contains a space, a control character or a brace; write for example prefix = %q`, c.Prefix, DefaultPrefix)
	}
	return problems
}

func isHostPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// Where names the Redis for people: "127.0.0.1:6379", "the cluster of a:1, b:2",
// "mymaster of the Sentinels a:1, b:2".
func (c Config) Where() string {
	switch {
	case len(c.Cluster) > 0:
		return "the cluster of " + strings.Join(c.Cluster, ", ")
	case len(c.Sentinels) > 0:
		return c.Master + " of the Sentinels " + strings.Join(c.Sentinels, ", ")
	}
	return c.Addr
}

// key is that of the configuration which says where Redis is.
func (c Config) key() string {
	switch {
	case len(c.Cluster) > 0:
		return "cluster"
	case len(c.Sentinels) > 0:
		return "sentinels"
	}
	return "addr"
}

// String is c without the passwords.
func (c Config) String() string {
	return fmt.Sprintf("{Addr:%s Username:%s Password:%s DB:%d Prefix:%s}", c.Where(), c.Username, redacted(c.Password), c.DB, c.Prefix)
}

// GoString is String, for %#v.
func (c Config) GoString() string { return "redisstate.Config" + c.String() }

// LogValue is c without the passwords, for slog.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("addr", c.Where()), slog.String("username", c.Username), slog.String("password", redacted(c.Password)),
		slog.Int("db", c.DB), slog.String("prefix", c.Prefix))
}

func redacted(password func() string) string {
	if text(password) == "" {
		return ""
	}
	return "***"
}

// text is what a function gives that may be nil.
func text(f func() string) string {
	if f == nil {
		return ""
	}
	return f()
}
