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
	DefaultPrefix = "chorusd:"
)

// Config says which Redis to use, and how. Its printed forms hide the password.
type Config struct {
	// Addr is host:port or the absolute path of a Unix socket.
	Addr string `koanf:"addr"`
	// Username is an ACL user; "" is Redis's default user.
	Username string `koanf:"username"`
	// Password returns the password; it is asked at every connection. It may
	// be nil.
	Password func() string `json:"-"`
	// TLS returns how connections are encrypted; it is asked at every
	// connection. It may be nil: not at all.
	TLS func() (*tls.Config, error) `json:"-"`
	// DB is the number of the logical database.
	DB int `koanf:"db"`
	// Prefix begins every key. Two daemons with different prefixes share a
	// Redis without seeing each other.
	Prefix string `koanf:"prefix"`
}

// Validate returns everything that is wrong with c, each naming the key and
// what to write instead.
func (c Config) Validate() []error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !validAddr(c.Addr) {
		report(`redis.addr: %q is neither host:port nor the path of a Unix socket; write for example addr = %q`, c.Addr, DefaultAddr)
	}
	if c.DB < 0 {
		report(`redis.db: %d is negative; Redis numbers its databases from 0, so write db = 0`, c.DB)
	}
	if c.Prefix == "" {
		report(`redis.prefix: is empty, so chorusd's keys could meet others; write for example prefix = %q`, DefaultPrefix)
	}
	// Braces would move the cluster hash tag that keeps our keys together.
	if strings.ContainsFunc(c.Prefix, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '{' || r == '}' }) {
		report(`redis.prefix: %q contains a space, a control character or a brace; write for example prefix = %q`, c.Prefix, DefaultPrefix)
	}
	return problems
}

func validAddr(addr string) bool {
	if strings.HasPrefix(addr, "/") {
		return true
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// String is c without the password.
func (c Config) String() string {
	return fmt.Sprintf("{Addr:%s Username:%s Password:%s DB:%d Prefix:%s}", c.Addr, c.Username, c.redacted(), c.DB, c.Prefix)
}

// GoString is String, for %#v.
func (c Config) GoString() string { return "redisstate.Config" + c.String() }

// LogValue is c without the password, for slog.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("addr", c.Addr), slog.String("username", c.Username), slog.String("password", c.redacted()),
		slog.Int("db", c.DB), slog.String("prefix", c.Prefix))
}

func (c Config) redacted() string {
	if c.Password == nil || c.Password() == "" {
		return ""
	}
	return "***"
}
