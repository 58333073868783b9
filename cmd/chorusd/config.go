package main

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/policy"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
	"github.com/chorusd/chorusd/transport"
)

// Config is everything that an operator can set. The tag koanf is the key in
// the TOML file; the variable CHORUSD_<SECTION>_<KEY> and the flag
// --section.key follow from it, see configKeys. Defaults are in defaultConfig,
// and config.toml.example tells when to change them.
type Config struct {
	StateDir string         `koanf:"state_dir"`
	MySQL    mysqlConfig    `koanf:"mysql"`
	Redis    redisConfig    `koanf:"redis"`
	Pusher   pusher.Config  `koanf:"pusher"`
	Channels channelsConfig `koanf:"channels"`
	Webhooks webhooksConfig `koanf:"webhooks"`
	Admin    adminConfig    `koanf:"admin"`
	Tracing  tracingConfig  `koanf:"tracing"`
	Log      logConfig      `koanf:"log"`
	Masks    masksConfig    `koanf:"masks"`
	Laravel  laravelConfig  `koanf:"laravel"`
	rules

	origins origins
	// secretFiles are the files that secrets came from, by key.
	secretFiles map[string]string
}

type mysqlConfig struct {
	// Addr is host:port, or the absolute path of a Unix socket.
	Addr     string `koanf:"addr"`
	User     string `koanf:"user"`
	Password Secret `koanf:"password"`
	Database string `koanf:"database"`
	// TablePrefix is put before the names of tables without a source.
	TablePrefix string    `koanf:"table_prefix"`
	TLS         tlsConfig `koanf:",squash"`
	// Timezone is an IANA zone name in which DATETIME columns are to be read.
	Timezone string `koanf:"timezone"`
	// Start is where a first run begins; see binlog.ParseStart.
	Start string `koanf:"start"`
	// OnLostPosition is what to do where the binary log does not go on from
	// the checkpoint: "stop", or "reload" all clients and go on from now.
	OnLostPosition string `koanf:"on_lost_position"`
	// ServerID is the replica id; 0 chooses a random one.
	ServerID uint32 `koanf:"server_id"`
}

type redisConfig struct {
	// Addr is host:port, or the absolute path of a Unix socket. Cluster or
	// Sentinels, host:port each, stand in its place.
	Addr      string   `koanf:"addr"`
	Cluster   []string `koanf:"cluster"`
	Sentinels []string `koanf:"sentinels"`
	// SentinelMaster is what the Sentinels call the primary.
	SentinelMaster   string    `koanf:"sentinel_master"`
	SentinelUsername string    `koanf:"sentinel_username"`
	SentinelPassword Secret    `koanf:"sentinel_password"`
	Username         string    `koanf:"username"`
	Password         Secret    `koanf:"password"`
	DB               int       `koanf:"db"`
	TLS              tlsConfig `koanf:",squash"`
	// Prefix is in every key; two apps on one Redis need two prefixes.
	Prefix string `koanf:"prefix"`
	// OnLostState is what to do when Redis has lost what was kept there:
	// "stop", or have all clients "reload" and go on.
	OnLostState string `koanf:"on_lost_state"`
}

// store is the section as redisstate takes it.
func (c redisConfig) store() redisstate.Config {
	store := redisstate.Config{
		Addr:             c.Addr,
		Cluster:          c.Cluster,
		Sentinels:        c.Sentinels,
		Master:           c.SentinelMaster,
		SentinelUsername: c.SentinelUsername,
		SentinelPassword: func() string { return string(c.SentinelPassword) },
		Username:         c.Username,
		Password:         func() string { return string(c.Password) },
		DB:               c.DB,
		Prefix:           c.Prefix,
	}
	if c.TLS.Mode != transport.Disabled {
		store.TLS = func(addr string) (*tls.Config, error) { return c.TLS.of("redis", addr).Config() }
	}
	return store
}

// where names the Redis for people.
func (c redisConfig) where() string { return c.store().Where() }

// servers are the addresses that the configuration names.
func (c redisConfig) servers() []string {
	switch {
	case len(c.Cluster) > 0:
		return c.Cluster
	case len(c.Sentinels) > 0:
		return c.Sentinels
	}
	return []string{c.Addr}
}

type channelsConfig struct {
	// User is the template of a user's channel, without "private-" or
	// "private-encrypted-".
	User string `koanf:"user"`
	// PollInterval is the time between two questions for occupied channels.
	PollInterval time.Duration `koanf:"poll_interval"`
	// Lease is how long a channel stays active after it was last seen.
	Lease time.Duration `koanf:"lease"`
	// Window is the most keys kept for channels that may just have been opened.
	Window int `koanf:"window"`
	// Revocations says how clients are told that a scope is lost.
	Revocations string `koanf:"revocations"`
}

// The choices of channels.revocations.
const (
	revocationsRows    = "rows"    // a delete for each row
	revocationsMessage = "message" // a message that describes them
)

type masksConfig struct {
	// Secret is the key of the mask "hash".
	Secret Secret `koanf:"secret"`
}

// laravelConfig is how the app is asked about tables with authorize.
type laravelConfig struct {
	// AuthorizeURL is that of the app's callback; empty: there is none.
	AuthorizeURL string `koanf:"authorize_url"`
	// AllowHTTP accepts http to another machine.
	AllowHTTP bool `koanf:"allow_http"`
	// Secret is what both sides sign with.
	Secret Secret `koanf:"secret"`
	// Timeout bounds one request, with all its tries.
	Timeout time.Duration `koanf:"timeout"`
	// CacheTTL is how long an answer about one version of a row holds.
	CacheTTL time.Duration `koanf:"cache_ttl"`
	// Concurrency is how many requests are under way at most.
	Concurrency int `koanf:"concurrency"`
	// MaxRequestBytes bounds the body of one request.
	MaxRequestBytes int `koanf:"max_request_bytes"`
}

// policies is the section as the package policy takes it.
func (c laravelConfig) policies(secret func() string) policy.Config {
	return policy.Config{
		URL: c.AuthorizeURL, AllowHTTP: c.AllowHTTP, Secret: secret, Timeout: c.Timeout,
		CacheTTL: c.CacheTTL, Concurrency: c.Concurrency, MaxRequestBytes: c.MaxRequestBytes,
	}
}

type webhooksConfig struct {
	// Listen is host:port; empty: off.
	Listen string `koanf:"listen"`
	Path   string `koanf:"path"`
}

type adminConfig struct {
	// Listen is host:port; empty: off.
	Listen string `koanf:"listen"`
	// Pprof serves profiles there, too.
	Pprof bool `koanf:"pprof"`
}

type tracingConfig struct {
	// Endpoint is the URL of an OTLP receiver over HTTP; empty: off.
	Endpoint string `koanf:"endpoint"`
	// SampleRatio is how many of the transactions are traced.
	SampleRatio float64 `koanf:"sample_ratio"`
}

type logConfig struct {
	Level  string `koanf:"level"`
	Format string `koanf:"format"`
}

// defaultConfig is the lowest layer. StateDir stays empty here, since its
// default depends on the environment (see defaultStateDir).
func defaultConfig() Config {
	return Config{
		MySQL: mysqlConfig{
			Addr:           "127.0.0.1:3306",
			User:           "chorusd",
			TLS:            tlsConfig{Mode: transport.Disabled},
			Timezone:       "UTC",
			Start:          binlog.StartNow,
			OnLostPosition: onLostStop,
		},
		Redis: redisConfig{
			Addr:   redisstate.DefaultAddr,
			Prefix: redisstate.DefaultPrefix,
			TLS:    tlsConfig{Mode: transport.Disabled},

			OnLostState: onLostStop,
		},
		Pusher: pusher.DefaultConfig(),
		Channels: channelsConfig{
			User:         "chorus.user.{id}",
			PollInterval: 5 * time.Second,
			Lease:        15 * time.Second,
			Window:       100_000,
			Revocations:  revocationsRows,
		},
		Laravel: laravelConfig{
			Timeout:         policy.DefaultTimeout,
			CacheTTL:        policy.DefaultCacheTTL,
			Concurrency:     policy.DefaultConcurrency,
			MaxRequestBytes: policy.DefaultMaxRequestBytes,
		},
		Webhooks: webhooksConfig{Path: "/webhooks"},
		Admin:    adminConfig{Listen: "127.0.0.1:9187"},
		Tracing:  tracingConfig{SampleRatio: 0.01},
		Log:      logConfig{Level: "info", Format: "text"},
	}
}

// loadConfig lays the file at path over the defaults, the environment (as of
// os.Environ) over the file, and the flags that were given over both. flags
// may be nil; it is a set that bindFlags was called on.
//
// Every layer is checked by itself before it is laid on, so that the error,
// of type problems, tells everything that is wrong, each with the place where
// it was written.
func loadConfig(path string, environ []string, flags *pflag.FlagSet) (Config, error) {
	l := &loader{
		path:    path,
		keys:    configKeys(),
		origins: origins{"": origin{source: sourceFile, name: path}},
		refused: map[string]bool{},
	}
	merged := koanf.New(".")
	if err := merged.Load(confmap.Provider(l.defaults(), "."), nil); err != nil {
		return Config{}, fmt.Errorf("load defaults: %w", err)
	}

	file, rules, readable := l.readFile()
	for _, layer := range []koanf.Provider{file, l.environment(environ), l.flags(flags)} {
		if err := merged.Load(layer, nil); err != nil {
			return Config{}, fmt.Errorf("merge configuration: %w", err)
		}
	}

	var cfg Config
	if err := merged.Unmarshal("", &cfg); err != nil {
		return Config{}, fmt.Errorf("decode configuration: %w", err)
	}
	cfg.rules = rules
	cfg.origins, cfg.secretFiles = l.origins, l.secretFiles
	if cfg.StateDir == "" {
		cfg.StateDir = defaultStateDir(environ)
	}
	// Without a readable file everything required would be missing too.
	if readable {
		l.validate(cfg)
	}
	return cfg, l.problems.err()
}

// defaultStateDir follows systemd and then the XDG base directories. It is
// empty where the environment names no home.
func defaultStateDir(environ []string) string {
	env := make(map[string]string, len(environ))
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	// systemd lists all of a unit's state directories, separated by colons.
	if first, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":"); first != "" {
		return first
	}
	// The XDG specification has relative paths ignored.
	if xdg := env["XDG_STATE_HOME"]; filepath.IsAbs(xdg) {
		return filepath.Join(xdg, "chorusd")
	}
	if home := env["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "chorusd")
	}
	return ""
}

// mapping is what the package of that name takes of the configuration.
func (c Config) mapping() mapping.Config {
	return mapping.Config{
		Tables: c.Tables, Users: c.Users, Scopes: c.Scopes, Masks: mapping.Masks{Secret: string(c.Masks.Secret)},
		Encrypted: c.Pusher.Encrypts(), UserChannel: c.Channels.User, TablePrefix: c.MySQL.TablePrefix,
	}
}

// asksLaravel says whether the app's policies are asked about some table.
func (c Config) asksLaravel() bool {
	for _, t := range c.Tables {
		if t.Authorize != "" {
			return true
		}
	}
	return false
}

// at is where key, such as "tables.todos.fields", was set, or else the nearest
// section around it, for messages about values that only a server can judge.
func (c Config) at(key string) origin { return c.origins.at(key) }
