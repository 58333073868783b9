package pusher

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/pusher/pushertest"
)

func TestLimits(t *testing.T) {
	for server, want := range map[string]Limits{
		"pusher":  {Channels: 100, Batch: 10, DataBytes: 10_240},
		"reverb":  {Channels: 100, RequestBytes: 10_000},
		"soketi":  {Channels: 100, Batch: 10, DataBytes: 102_400},
		"sockudo": {Channels: 100, Batch: 10, DataBytes: 102_400},
	} {
		cfg := configFor(server, "127.0.0.1:1")
		if got := newClient(t, cfg).Limits(); got != want {
			t.Errorf("limits of %s are %+v, want %+v", server, got, want)
		}
		for _, set := range []struct{ own, limit *int }{
			{&cfg.MaxChannels, &want.Channels},
			{&cfg.MaxBatch, &want.Batch},
			{&cfg.MaxDataBytes, &want.DataBytes},
			{&cfg.MaxRequestBytes, &want.RequestBytes},
		} {
			*set.own = *set.limit/2 + 2000
			if set.own == &cfg.MaxChannels {
				*set.own = 7
			}
			*set.limit = *set.own
			if got := newClient(t, cfg).Limits(); got != want {
				t.Errorf("limits of %s with its own are %+v, want %+v", server, got, want)
			}
		}
	}
}

func TestLimitsInWords(t *testing.T) {
	for server, want := range map[string]string{
		"reverb": "100 channels per event, 10000 bytes per request",
		"soketi": "100 channels per event, 10 events per batch, 102400 bytes of data per event",
	} {
		if got := dialects[server].Limits.String(); got != want {
			t.Errorf("%s takes %q, want %q", server, got, want)
		}
	}
}

// TestDialects has what a table of dialects must be for Detect to be sure.
func TestDialects(t *testing.T) {
	for _, name := range Servers() {
		d := dialects[name]
		if d.Name != name || d.Title == "" {
			t.Errorf("%s is named %q, %q", name, d.Name, d.Title)
		}
		for _, other := range Servers() {
			if m := dialects[other].marks; other != name && d.marks != nil && m != nil && *d.marks == *m {
				t.Errorf("%s and %s answer alike", name, other)
			}
		}
	}
}

func TestHostedPusherIsKnownByItsName(t *testing.T) {
	for host, want := range map[string]bool{
		"api-eu.pusher.com:443": true, "API.pusherapp.com": true, "pusher.com.example.org:80": false, "notpusher.com:80": false,
	} {
		cfg := configFor(Auto, host)
		refuse := Options{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, net.ErrClosed })}
		got, err := Detect(t.Context(), cfg, silent, refuse)
		if (got == "pusher") != want || (err == nil) != want {
			t.Errorf("%s: Detect() = %q, %v", host, got, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestDetectDoesNotGuess has answers that are nearly those of a known server.
func TestDetectDoesNotGuess(t *testing.T) {
	const symfony = "no-cache, private"
	for name, tt := range map[string]struct {
		list, channel, cache string
		status               int // of the second answer
		unknown              bool
	}{
		"Reverb behind a proxy":             {list: `{"channels":[]}`, channel: `{"occupied":false}`, cache: symfony, status: 200},
		"PHP, but not Symfony":              {list: `{"channels":[]}`, channel: `{"occupied":false}`, status: 200, unknown: true},
		"an object where Reverb has a list": {list: `{"channels":{}}`, channel: `{"occupied":false}`, cache: symfony, status: 200, unknown: true},
		"Soketi, more verbose":              {list: `{"channels":{}}`, channel: `{"subscription_count":0,"occupied":false,"x":1}`, status: 200, unknown: true},
		"Sockudo in other words":            {list: `{"channels":{}}`, channel: `{"error":"no"}`, status: 400, unknown: true},
		"Sockudo with another status":       {list: `{"channels":{}}`, channel: `{"error":"user_count is only available for presence channels"}`, status: 422, unknown: true},
		"no single channels":                {list: `{"channels":{}}`, channel: `not found`, status: 404, unknown: true},
		"one that knows no prefix":          {list: `{"channels":{"a":{}}}`, channel: `{"occupied":false}`, status: 200, unknown: true},
		"one with many channels":            {list: `{"channels":{` + strings.Repeat(`"private-0123456789":{},`, 1000), channel: `{}`, status: 200, unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.cache != "" {
					w.Header().Set("Cache-Control", tt.cache)
				}
				text := tt.list
				if !strings.HasSuffix(r.URL.Path, "/channels") {
					w.WriteHeader(tt.status)
					text = tt.channel
				}
				_, _ = w.Write([]byte(text))
			}))
			defer ts.Close()
			got, err := Detect(t.Context(), configFor(Auto, ts.Listener.Addr().String()), silent, Options{})
			if !tt.unknown {
				if err != nil || got != "reverb" {
					t.Errorf("Detect() = %q, %v, want reverb", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), `set pusher.server to the kind that it behaves like, for example server = "pusher"`) {
				t.Errorf("Detect() = %q, %v; want the line to set", got, err)
			}
		})
	}
}

// TestTryLargest has servers that take what is said of them, and less. No
// subscriber gets anything.
func TestTryLargest(t *testing.T) {
	for name, tt := range map[string]struct {
		takes  int
		faults []pushertest.Fault
		less   bool
	}{
		"as much":                  {takes: 10_000},
		"one byte less":            {takes: 9_999, less: true},
		"much less":                {takes: 5_000, less: true},
		"answers that do not come": {takes: 10_000, faults: []pushertest.Fault{pushertest.Reset, pushertest.Reset}, less: true},
		"a connection that breaks": {takes: 10_000, faults: []pushertest.Fault{pushertest.LostByReset}},
		"a proxy with no server":   {takes: 10_000, faults: []pushertest.Fault{pushertest.Down}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := &seen{}
			fake := pushertest.Start(t, pushertest.Options{Kind: pushertest.Reverb, MaxRequestBytes: tt.takes, Observe: seen.observe})
			for _, fault := range tt.faults {
				fake.Fail(pushertest.Publish, 1, fault)
			}
			err := newClient(t, configFor("reverb", fake.Addr())).TryLargest(t.Context())
			const want = "it refuses a request of 10000 bytes as too large; lower pusher.max_request_bytes to what it takes with the headers of proxies, or raise max_request_size in config/reverb.php"
			if (err != nil) != tt.less || err != nil && err.Error() != want {
				t.Errorf("TryLargest() = %v", err)
			}
			for _, r := range seen.all() {
				if r.Bytes != 10_000 || !strings.Contains(string(r.Body), `"name":""`) {
					t.Errorf("a request of %d bytes: %.100s", r.Bytes, r.Body)
				}
			}
		})
	}
	for _, kind := range []string{pushertest.Soketi, pushertest.Sockudo, pushertest.Pusher} {
		s := startFake(t, kind)
		cfg := s.config
		cfg.MaxRequestBytes = 5000
		if err := newClient(t, cfg).TryLargest(t.Context()); err != nil || len(s.seen.all()) > 0 {
			t.Errorf("%s: %v after %d requests", kind, err, len(s.seen.all()))
		}
	}
}

// The sizes at which Content-Length gets a digit have no request of that very
// size; the next smaller one is not above.
func TestTryLargestOfAnySize(t *testing.T) {
	for size := 1200; size < 1600; size++ {
		seen := &seen{}
		fake := pushertest.Start(t, pushertest.Options{Kind: pushertest.Reverb, MaxRequestBytes: size, Observe: seen.observe})
		cfg := configFor("reverb", fake.Addr())
		cfg.MaxRequestBytes = size
		err := newClient(t, cfg).TryLargest(t.Context())
		if requests := seen.all(); err != nil || len(requests) != 1 || requests[0].Bytes < size-1 {
			t.Fatalf("%d bytes: %v after %d requests", size, err, len(requests))
		}
	}
	cfg := configFor("reverb", "127.0.0.1:1")
	cfg.Key, cfg.MaxRequestBytes = strings.Repeat("k", 1000), minRequestBytes
	if _, ok := errors.AsType[*LimitError](newClient(t, cfg).TryLargest(t.Context())); !ok {
		t.Error("a request without any data is too large, and no LimitError says so")
	}
}

// TestRateLimitIsTold has a Sockudo say how many requests it takes, and refuse
// more.
func TestRateLimitIsTold(t *testing.T) {
	fake := pushertest.Start(t, pushertest.Options{Kind: pushertest.Sockudo, RequestsPerMinute: 2})
	c := newClient(t, configFor("sockudo", fake.Addr()))
	for range 2 {
		publish(t, c, anEvent...)
	}
	if got := c.RateLimit(); got != 2 {
		t.Errorf("RateLimit() = %d, want 2", got)
	}
	e := failure(t, c.Publish(t.Context(), anEvent), Unavailable, http.StatusTooManyRequests)
	if e.RetryAfter <= 0 || e.RetryAfter.Minutes() > 1 {
		t.Errorf("RetryAfter = %v, want a part of a minute", e.RetryAfter)
	}
}
