package pusher

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const badEncryptionKey = "pusher.encryption_key is not base64 of 32 bytes; set it to encryption_master_key_base64 of the Laravel app's config/broadcasting.php, which `openssl rand -base64 32` makes"

func TestBadConfig(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"server", func(c *Config) { c.Server = "ably" }, `pusher.server is "ably", which is no kind of server known here; use one of pusher, reverb, sockudo, soketi, auto`},
		{"no host", func(c *Config) { c.Host = "" }, `pusher.host is empty; set it to the server's host:port, as "127.0.0.1:8080"`},
		{"a URL", func(c *Config) { c.Host = "http://localhost:8080" }, `pusher.host is "http://localhost:8080": the scheme does not belong there, pusher.tls says it; set it to the server's host:port, as "127.0.0.1:8080"`},
		{"a path", func(c *Config) { c.Host = "localhost:8080/app" }, `pusher.host is "localhost:8080/app", whose port is not a number from 1 to 65535; set it to the server's host:port, as "127.0.0.1:8080"`},
		{"port 0", func(c *Config) { c.Host = "localhost:0" }, `pusher.host is "localhost:0", whose port is not a number from 1 to 65535; set it to the server's host:port, as "127.0.0.1:8080"`},
		{"only a port", func(c *Config) { c.Host = ":8080" }, `pusher.host is ":8080", which is not a host and a port; set it to the server's host:port, as "127.0.0.1:8080"`},
		{"a space", func(c *Config) { c.Host = "local host" }, `pusher.host is "local host", which is not a host and a port; set it to the server's host:port, as "127.0.0.1:8080"`},
		{"no app", func(c *Config) { c.AppID = "" }, `pusher.app_id is empty; set it to REVERB_APP_ID of the Laravel app's .env`},
		{"no app, Soketi", func(c *Config) { c.Server, c.AppID = "soketi", "" }, `pusher.app_id is empty; set it to PUSHER_APP_ID of the Laravel app's .env`},
		{"no app, any server", func(c *Config) { c.Server, c.AppID = Auto, "" }, `pusher.app_id is empty; set it to REVERB_APP_ID or PUSHER_APP_ID of the Laravel app's .env`},
		{"a path for an app", func(c *Config) { c.AppID = "a/b" }, `pusher.app_id is "a/b", which cannot be part of a URL's path; use letters, digits, dot, underscore, tilde and hyphen only`},
		{"no key", func(c *Config) { c.Key = "" }, `pusher.key is empty; set it to REVERB_APP_KEY of the Laravel app's .env`},
		{"two keys", func(c *Config) { c.Key = "a&b" }, `pusher.key is "a&b", which cannot be part of a URL's query; use visible ASCII without space, #, & and colon`},
		{"no secret", func(c *Config) { c.Secret = "" }, `pusher.secret is empty; set CHORUSD_PUSHER_SECRET (or CHORUSD_PUSHER_SECRET_FILE) to REVERB_APP_SECRET of the Laravel app's .env`},
		{"a line end in the secret", func(c *Config) { c.Secret = "labsecret\n" }, `pusher.secret starts or ends with white space; remove it`},
		{"an encryption key that is no base64", func(c *Config) { c.EncryptionKey = "base64:" + masterKey(1) }, badEncryptionKey},
		{"a short encryption key", func(c *Config) { c.EncryptionKey = masterKey(1)[:40] }, badEncryptionKey},
		{"an encryption key of other bytes", func(c *Config) { c.EncryptionKey = "AAAA" + masterKey(1) }, badEncryptionKey},
		{"an encryption key as it is", func(c *Config) { c.EncryptionKey = "0123456789abcdef0123456789abcdef" }, badEncryptionKey},
		{"no time", func(c *Config) { c.Timeout = 0 }, `pusher.timeout is 0s; set it between 100ms and 1m0s`},
		{"too much time", func(c *Config) { c.Timeout = time.Hour }, `pusher.timeout is 1h0m0s; set it between 100ms and 1m0s`},
		{"no concurrency", func(c *Config) { c.Concurrency = 0 }, `pusher.concurrency is 0; set it between 1 and 256`},
		{"too much concurrency", func(c *Config) { c.Concurrency = 1000 }, `pusher.concurrency is 1000; set it between 1 and 256`},
		{"negative channels", func(c *Config) { c.MaxChannels = -1 }, `pusher.max_channels is -1; set it to at least 1, or to 0 for the server's own limit`},
		{"many channels", func(c *Config) { c.MaxChannels = 101 }, `pusher.max_channels is 101; set it to 100 at most, or to 0 for the server's own limit`},
		{"a negative batch", func(c *Config) { c.MaxBatch = -1 }, `pusher.max_batch is -1; set it to at least 1, or to 0 for the server's own limit`},
		{"little data", func(c *Config) { c.MaxDataBytes = 100 }, `pusher.max_data_bytes is 100; set it to at least 512, or to 0 for the server's own limit`},
		{"negative bytes", func(c *Config) { c.MaxRequestBytes = -1 }, `pusher.max_request_bytes is -1; set it to at least 1024, or to 0 for the server's own limit`},
		{"few bytes", func(c *Config) { c.MaxRequestBytes = 100 }, `pusher.max_request_bytes is 100; set it to at least 1024, or to 0 for the server's own limit`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := configFor("reverb", "127.0.0.1:8080")
			tt.set(&cfg)
			errs := cfg.Validate()
			if len(errs) != 1 || errs[0].Error() != tt.want {
				t.Fatalf("got  %v\nwant [%s]", errs, tt.want)
			}
			if _, ok := errors.AsType[*ConfigError](errs[0]); !ok {
				t.Errorf("it is a %T", errs[0])
			}
			if cfg.Server == Auto {
				return // New wants what Detect has found
			}
			if _, err := New(cfg, silent, Options{}); err == nil || err.Error() != tt.want {
				t.Errorf("New() = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	if got := len(Config{}.Validate()); got != 7 {
		t.Errorf("%d problems with an empty Config, want 7: %v", got, Config{}.Validate())
	}
	if got := len(DefaultConfig().Validate()); got != 3 {
		t.Errorf("%d problems with the default Config, want the credentials only: %v", got, DefaultConfig().Validate())
	}
}

func TestNewDoesNotDetect(t *testing.T) {
	_, err := New(configFor(Auto, "127.0.0.1:8080"), silent, Options{})
	if want := `pusher.server is "auto", and what the server is was not found out; name its kind`; err == nil || err.Error() != want {
		t.Errorf("New() = %v, want %s", err, want)
	}
}

func TestGoodHosts(t *testing.T) {
	for _, host := range []string{"127.0.0.1:8080", "localhost:80", "api-eu.pusher.com", "[::1]:6001", "[::1]", "my_reverb:8080"} {
		cfg := configFor("reverb", host)
		if errs := cfg.Validate(); len(errs) > 0 {
			t.Errorf("%s: %v", host, errs)
			continue
		}
		newClient(t, cfg) // the library can make a URL of it
	}
}

func TestSecretIsNotShown(t *testing.T) {
	cfg := configFor("reverb", "127.0.0.1:8080")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{cfg, &cfg, cfg.Secret, []any{cfg}} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, "labsecret") || strings.Contains(text, fmt.Sprintf("%x", "labsecret")) {
				t.Errorf("%s of a %T shows the secret: %s", verb, value, text)
			}
		}
	}
	if text, err := json.Marshal(cfg); err != nil || strings.Contains(string(text), "labsecret") {
		t.Errorf("JSON %s, %v", text, err)
	}
}
