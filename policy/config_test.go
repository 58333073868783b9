package policy

import (
	"strings"
	"testing"
	"time"
)

func TestBadConfig(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"no URL", func(c *Config) { c.URL = "" }, `laravel.authorize_url: is missing; set it to the address of the app's callback, as "https://app.example.com/chorusd/authorize"`},
		{"a path", func(c *Config) { c.URL = "/chorusd" }, `laravel.authorize_url: is "/chorusd", which is no address of HTTP; write it as "https://app.example.com/chorusd/authorize"`},
		{"a broken one", func(c *Config) { c.URL = "https://a:b:c" }, `laravel.authorize_url: is no URL; write it as "https://app.example.com/chorusd/authorize"`},
		{"a password", func(c *Config) { c.URL = "https://me:pw@app.example/" }, `laravel.authorize_url: has a user or a password in it, which would show in logs; take it out, the signature says who asks`},
		{"a fragment", func(c *Config) { c.URL = "https://app.example/#a" }, `laravel.authorize_url: is "https://app.example/#a", whose part behind # is never sent; take it out`},
		{"http", func(c *Config) { c.URL = "http://app.example/" }, `laravel.authorize_url: is "http://app.example/", and whole rows would cross the network unencrypted; use https, or set laravel.allow_http = true for a network that you trust`},
		{"no secret", func(c *Config) { c.Secret = nil }, "laravel.secret: is missing, with which requests and answers are signed; make one with `openssl rand -hex 32` and set it here (CHORUSD_LARAVEL_SECRET or CHORUSD_LARAVEL_SECRET_FILE) and in the app (CHORUSD_SECRETS)"},
		{"a short secret", func(c *Config) { c.Secret = func() string { return "hunter2" } }, "laravel.secret: has 7 bytes, and could be guessed from one request; take at least 32, made with `openssl rand -hex 32`"},
		{"white space", func(c *Config) { c.Secret = func() string { return secret + "\n" } }, `laravel.secret: starts or ends with white space; remove it`},
		{"no time", func(c *Config) { c.Timeout = 0 }, `laravel.timeout: is 0s; set it between 100ms and 1m0s`},
		{"a long cache", func(c *Config) { c.CacheTTL = time.Hour }, `laravel.cache_ttl: is 1h0m0s; set it between 0s, which asks every time, and 10m0s`},
		{"no concurrency", func(c *Config) { c.Concurrency = 0 }, `laravel.concurrency: is 0; set it between 1 and 64`},
		{"few bytes", func(c *Config) { c.MaxRequestBytes = 1000 }, `laravel.max_request_bytes: is 1000; set it to 65536 at least`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := configOf("https://app.example/")
			tt.set(&cfg)
			errs := cfg.Validate()
			if len(errs) != 1 || errs[0].Error() != tt.want {
				t.Fatalf("got  %v\nwant [%s]", errs, tt.want)
			}
			if _, err := New(cfg, silent, Options{}); err == nil || err.Error() != tt.want {
				t.Errorf("New() = %v", err)
			}
			if strings.Contains(errs[0].Error(), "hunter2") || strings.Contains(errs[0].Error(), secret) {
				t.Error("it shows the secret")
			}
		})
	}
}

func TestGoodAddresses(t *testing.T) {
	for _, url := range []string{"http://localhost:8000/a", "http://127.0.0.1/a", "http://[::1]:80/a", "https://app.example/a?b=c"} {
		if errs := configOf(url).Validate(); len(errs) > 0 {
			t.Errorf("%s: %v", url, errs)
		}
	}
	cfg := configOf("http://app:8000/a")
	cfg.AllowHTTP = true
	if errs := cfg.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}
