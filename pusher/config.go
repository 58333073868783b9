package pusher

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Defaults of the keys that have one, see DefaultConfig.
const (
	DefaultServer      = Auto
	DefaultHost        = "127.0.0.1:8080"
	DefaultTimeout     = 5 * time.Second
	DefaultConcurrency = 8
)

// Bounds of what Validate accepts.
const (
	minTimeout      = 100 * time.Millisecond
	maxTimeout      = time.Minute
	maxConcurrency  = 256
	minRequestBytes = 1024 // the headers alone take about 400
	minDataBytes    = 512  // less has no room for any row
)

// Config says which server to talk to and as which app. It can be printed and
// logged: the secret is not shown.
type Config struct {
	// Server is the kind of server, which decides the limits that apply: one of
	// Servers, or Auto. Default DefaultServer.
	Server string `koanf:"server"`
	// Host is "host:port", or "host" for the port that goes with TLS.
	Host string `koanf:"host"`
	// TLS makes requests with https.
	TLS bool `koanf:"tls"`
	// AppID, Key and Secret are the app's credentials, all required.
	AppID  string `koanf:"app_id"`
	Key    string `koanf:"key"`
	Secret Secret `koanf:"secret"`
	// EncryptionKey is the app's master key for end-to-end encryption, base64 of
	// 32 bytes. With it, all events have to be for encrypted channels, without
	// it for others.
	EncryptionKey Secret `koanf:"encryption_key"`
	// Timeout is for one request, from the first byte sent (or the dialling of
	// a connection) to the last byte of the answer. Default DefaultTimeout.
	Timeout time.Duration `koanf:"timeout"`
	// Concurrency is how many requests that publish are in flight at most.
	// Default DefaultConcurrency.
	Concurrency int `koanf:"concurrency"`
	// MaxChannels, MaxBatch, MaxDataBytes and MaxRequestBytes replace what the
	// Limits of the kind of server say, for a server that is set to others, or
	// one behind a proxy that adds headers. 0: the Limits' own.
	MaxChannels     int `koanf:"max_channels"`
	MaxBatch        int `koanf:"max_batch"`
	MaxDataBytes    int `koanf:"max_data_bytes"`
	MaxRequestBytes int `koanf:"max_request_bytes"`
}

// DefaultConfig holds every default; AppID, Key and Secret have none.
func DefaultConfig() Config {
	return Config{
		Server:      DefaultServer,
		Host:        DefaultHost,
		Timeout:     DefaultTimeout,
		Concurrency: DefaultConcurrency,
	}
}

// limits are those of the kind of server, as far as no others are set.
func (c Config) limits() Limits {
	kind := dialects[c.Server].Limits
	channels := cmp.Or(c.MaxChannels, kind.Channels)
	if c.Encrypts() {
		channels = 1 // each channel has a key of its own
	}
	return Limits{
		Channels:     channels,
		Batch:        cmp.Or(c.MaxBatch, kind.Batch),
		DataBytes:    cmp.Or(c.MaxDataBytes, kind.DataBytes),
		RequestBytes: cmp.Or(c.MaxRequestBytes, kind.RequestBytes),
	}
}

// Secret is a string that fmt, slog and encoding/json do not show.
// Convert it to a string to use it.
type Secret string

const redacted = "[redacted]"

// Format hides the secret from every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the secret from package slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret from encoding/json and other encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// A ConfigError is one thing that is wrong with a Config.
type ConfigError struct {
	Key     string // of the configuration file, as "pusher.app_id"
	Problem string // what is wrong
	Mend    string // what to do about it
}

func (e *ConfigError) Error() string { return e.Key + " " + e.Problem + "; " + e.Mend }

// errNotDetected is what New says to a Config for which Detect was not called.
var errNotDetected = &ConfigError{
	Key: "pusher.server", Problem: `is "` + Auto + `", and what the server is was not found out`, Mend: "name its kind",
}

// Anything else in an app's id would change the path of the URL.
var appIDPattern = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)

// Visible ASCII, without what ends a query parameter (& #) or the key in a
// client's authorisation ("key:signature").
var keyPattern = regexp.MustCompile(`^[!"$%'-9;-~]+$`)

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// Validate returns everything that is wrong, each a *ConfigError.
func (c Config) Validate() []error {
	var errs []error
	add := func(key, problem, mend string) {
		errs = append(errs, &ConfigError{Key: "pusher." + key, Problem: problem, Mend: mend})
	}
	env := func(name string) string {
		switch c.Server {
		case "reverb":
			return "REVERB_" + name
		case Auto:
			return "REVERB_" + name + " or PUSHER_" + name
		default:
			return "PUSHER_" + name
		}
	}

	if _, ok := dialects[c.Server]; !ok && c.Server != Auto {
		add("server", fmt.Sprintf("is %q, which is no kind of server known here", c.Server),
			"use one of "+strings.Join(append(Servers(), Auto), ", "))
	}
	if problem := hostProblem(c.Host); problem != "" {
		add("host", problem, `set it to the server's host:port, as "127.0.0.1:8080"`)
	}
	switch {
	case c.AppID == "":
		add("app_id", "is empty", "set it to "+env("APP_ID")+" of the Laravel app's .env")
	case !appIDPattern.MatchString(c.AppID):
		add("app_id", fmt.Sprintf("is %q, which cannot be part of a URL's path", c.AppID),
			"use letters, digits, dot, underscore, tilde and hyphen only")
	}
	switch {
	case c.Key == "":
		add("key", "is empty", "set it to "+env("APP_KEY")+" of the Laravel app's .env")
	case !keyPattern.MatchString(c.Key):
		add("key", fmt.Sprintf("is %q, which cannot be part of a URL's query", c.Key),
			"use visible ASCII without space, #, & and colon")
	}
	switch {
	case c.Secret == "":
		add("secret", "is empty", "set CHORUSD_PUSHER_SECRET (or CHORUSD_PUSHER_SECRET_FILE) to "+
			env("APP_SECRET")+" of the Laravel app's .env")
	case strings.TrimSpace(string(c.Secret)) != string(c.Secret):
		add("secret", "starts or ends with white space", "remove it")
	}
	if _, err := c.EncryptionKey.masterKey(); c.Encrypts() && err != nil {
		add("encryption_key", err.Error(), "set it to encryption_master_key_base64 of the Laravel app's config/broadcasting.php, which `openssl rand -base64 32` makes")
	}
	if c.Timeout < minTimeout || c.Timeout > maxTimeout {
		add("timeout", "is "+c.Timeout.String(), fmt.Sprintf("set it between %v and %v", minTimeout, maxTimeout))
	}
	if c.Concurrency < 1 || c.Concurrency > maxConcurrency {
		add("concurrency", "is "+strconv.Itoa(c.Concurrency), fmt.Sprintf("set it between 1 and %d", maxConcurrency))
	}
	for _, limit := range []struct {
		key                string
		value, least, most int
	}{
		{"max_channels", c.MaxChannels, 1, libraryChannels},
		{"max_batch", c.MaxBatch, 1, math.MaxInt},
		{"max_data_bytes", c.MaxDataBytes, minDataBytes, math.MaxInt},
		{"max_request_bytes", c.MaxRequestBytes, minRequestBytes, math.MaxInt},
	} {
		switch {
		case limit.value > limit.most:
			add(limit.key, "is "+strconv.Itoa(limit.value), fmt.Sprintf("set it to %d at most, or to 0 for the server's own limit", limit.most))
		case limit.value != 0 && limit.value < limit.least:
			add(limit.key, "is "+strconv.Itoa(limit.value), fmt.Sprintf("set it to at least %d, or to 0 for the server's own limit", limit.least))
		}
	}
	return errs
}

// hostProblem says what is wrong with a "host:port" or "host", "" if nothing is.
func hostProblem(hostport string) string {
	switch {
	case hostport == "":
		return "is empty"
	case strings.Contains(hostport, "://"):
		return fmt.Sprintf("is %q: the scheme does not belong there, pusher.tls says it", hostport)
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil { // no port, or no host:port at all
		host, port = strings.Trim(hostport, "[]"), "80"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("is %q, whose port is not a number from 1 to 65535", hostport)
	}
	if !hostPattern.MatchString(host) && net.ParseIP(host) == nil {
		return fmt.Sprintf("is %q, which is not a host and a port", hostport)
	}
	return ""
}
