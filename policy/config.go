package policy

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Defaults of the keys that have one.
const (
	DefaultTimeout     = 5 * time.Second
	DefaultCacheTTL    = 10 * time.Second
	DefaultConcurrency = 4
	// DefaultMaxRequestBytes is below nginx's client_max_body_size of 1m.
	DefaultMaxRequestBytes = 1_000_000
)

// Bounds of what Validate accepts.
const (
	minTimeout      = 100 * time.Millisecond
	maxTimeout      = time.Minute
	maxCacheTTL     = 10 * time.Minute
	maxConcurrency  = 64
	minRequestBytes = 64 << 10
	minSecret       = 32 // bytes
)

// Config is how to ask the app: the section [laravel] of the configuration.
type Config struct {
	// URL is that of the callback, without user information.
	URL string
	// AllowHTTP accepts http to another machine than this one.
	AllowHTTP bool
	// Secret gives the key that both sides sign with; it is asked at every
	// request, so that a rotated one needs no restart.
	Secret func() string
	// Timeout bounds one question, with all its tries.
	Timeout time.Duration
	// CacheTTL is how long an answer about one version of a row holds; 0: not
	// at all.
	CacheTTL time.Duration
	// Concurrency is how many requests are under way at most.
	Concurrency int
	// MaxRequestBytes bounds the body of one request.
	MaxRequestBytes int
}

// Validate returns everything that is wrong, each starting with its key:
// "laravel.secret: …". The secret is never in it.
func (c Config) Validate() []error {
	var wrong []error
	report := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("laravel."+key+": "+format, args...))
	}
	if problem := urlProblem(c.URL, c.AllowHTTP); problem != "" {
		report("authorize_url", "%s", problem)
	}
	switch secret := c.secret(); {
	case secret == "":
		report("secret", "is missing, with which requests and answers are signed; make one with `openssl rand -hex 32` and set it here (CHORUSD_LARAVEL_SECRET or CHORUSD_LARAVEL_SECRET_FILE) and in the app (CHORUSD_SECRETS)")
	case strings.TrimSpace(secret) != secret:
		report("secret", "starts or ends with white space; remove it")
	case len(secret) < minSecret:
		report("secret", "has %d bytes, and could be guessed from one request; take at least %d, made with `openssl rand -hex 32`", len(secret), minSecret)
	}
	if c.Timeout < minTimeout || c.Timeout > maxTimeout {
		report("timeout", "is %s; set it between %s and %s", c.Timeout, minTimeout, maxTimeout)
	}
	if c.CacheTTL < 0 || c.CacheTTL > maxCacheTTL {
		report("cache_ttl", "is %s; set it between 0s, which asks every time, and %s", c.CacheTTL, maxCacheTTL)
	}
	if c.Concurrency < 1 || c.Concurrency > maxConcurrency {
		report("concurrency", "is %d; set it between 1 and %d", c.Concurrency, maxConcurrency)
	}
	if c.MaxRequestBytes < minRequestBytes {
		report("max_request_bytes", "is %d; set it to %d at least", c.MaxRequestBytes, minRequestBytes)
	}
	return wrong
}

func (c Config) secret() string {
	if c.Secret == nil {
		return ""
	}
	return c.Secret()
}

// urlProblem says what is wrong with the callback's address and what mends it.
func urlProblem(text string, allowHTTP bool) string {
	const example = `"https://app.example.com/chorusd/authorize"`
	if text == "" {
		return "is missing; set it to the address of the app's callback, as " + example
	}
	u, err := url.Parse(text)
	if err != nil {
		return "is no URL; write it as " + example
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return fmt.Sprintf("is %q, which is no address of HTTP; write it as %s", u.Redacted(), example)
	case u.User != nil:
		return "has a user or a password in it, which would show in logs; take it out, the signature says who asks"
	case u.Fragment != "":
		return fmt.Sprintf("is %q, whose part behind # is never sent; take it out", u.Redacted())
	case u.Scheme == "http" && !allowHTTP && !loopback(u.Hostname()):
		return fmt.Sprintf("is %q, and whole rows would cross the network unencrypted; use https, or set laravel.allow_http = true for a network that you trust", u.Redacted())
	}
	return ""
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
