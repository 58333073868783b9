package policy

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chorusd/chorusd/policy/policytest"
)

// tap keeps the last request as it was sent.
type tap struct {
	app  *policytest.App
	last *http.Request
	body []byte
}

func (l *tap) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	l.last, l.body = req.Clone(req.Context()), body
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	return l.app.RoundTrip(req)
}

// again sends the last request once more, changed.
func (l *tap) again(t *testing.T, change func(*http.Request), body []byte) (status int, text string) {
	t.Helper()
	req := l.last.Clone(t.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	change(req)
	resp, err := l.app.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// One who has seen a request can neither repeat nor change it, nor send it to
// another path.
func TestRequestCannotBeReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &tap{app: newApp()}
		c, err := New(configOf("https://app.example/chorusd/authorize?app=1"), silent, Options{Transport: l})
		if err != nil {
			t.Fatal(err)
		}
		run(t, c)
		if answer, err := mayView(t, c); answer != Yes {
			t.Fatal(err)
		}
		header := func(name, value string) func(*http.Request) {
			return func(req *http.Request) { req.Header.Set(name, value) }
		}
		for _, tt := range []struct {
			name   string
			change func(*http.Request)
			body   []byte
			want   string
		}{
			{"as it was", func(*http.Request) {}, l.body, "replay"},
			{"the body", func(*http.Request) {}, bytes.ReplaceAll(l.body, []byte("7"), []byte("8")), "signature"},
			{"the nonce", header(headerNonce, strings.Repeat("0", 32)), l.body, "signature"},
			{"the timestamp", header(headerTimestamp, "1"), l.body, "signature"},
			{"the path", func(req *http.Request) { req.URL.Path = "/" }, l.body, "signature"},
			{"the query", func(req *http.Request) { req.URL.RawQuery = "app=2" }, l.body, "signature"},
			{"the method", func(req *http.Request) { req.Method = http.MethodPut }, l.body, "signature"},
			{"no signature", func(req *http.Request) { req.Header.Del(headerSignature) }, l.body, "signature"},
			{"another key", header(headerKey, KeyID("another")), l.body, "key"},
		} {
			status, text := l.again(t, tt.change, tt.body)
			if status != http.StatusUnauthorized || !strings.Contains(text, `"error":"`+tt.want+`"`) {
				t.Errorf("%s: %d %s, want 401 for %s", tt.name, status, text, tt.want)
			}
		}
		<-time.After(3 * Tolerance)
		if _, text := l.again(t, func(*http.Request) {}, l.body); !strings.Contains(text, `"error":"clock"`) {
			t.Errorf("when its nonce is forgotten: %s", text)
		}
	})
}

func TestClockSkew(t *testing.T) {
	for skew, want := range map[time.Duration]Answer{
		Tolerance - time.Minute: Yes, time.Minute - Tolerance: Yes,
		Tolerance + time.Minute: Unknown, -Tolerance - time.Minute: Unknown,
	} {
		synctest.Test(t, func(t *testing.T) {
			app := newApp()
			app.Clock = func() time.Time { return time.Now().Add(skew) }
			answer, err := mayView(t, start(t, app))
			if answer != want {
				t.Errorf("%s: %s, %v", skew, answer, err)
			}
			if want == Unknown && !strings.Contains(err.Error(), "the app's clock differs by 6m0s; set the clocks of both machines by NTP") {
				t.Errorf("%s: %v", skew, err)
			}
		})
	}
}

// The app learns the new secret, then chorusd does, then the app forgets the
// old one, and no answer is missing.
func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := strings.Repeat("next", 8)
		var mu sync.Mutex
		current := secret
		app := newApp()
		c := start(t, app, func(c *Config) {
			c.CacheTTL = 0
			c.Secret = func() string {
				mu.Lock()
				defer mu.Unlock()
				return current
			}
		})
		step := func(what string, want Answer, secrets ...string) {
			t.Helper()
			app.Secrets = secrets
			if answer, err := mayView(t, c); answer != want {
				t.Errorf("%s: %s, %v", what, answer, err)
			}
		}
		step("before", Yes, secret)
		step("both in the app", Yes, secret, next)
		mu.Lock()
		current = next
		mu.Unlock()
		step("the new one here", Yes, secret, next)
		step("the new one alone", Yes, next)
		step("the old one alone", Unknown, secret)
	})
}

func TestSecretsAreNotShown(t *testing.T) {
	var log bytes.Buffer
	var signatures []string
	for _, fault := range append(policytest.Faults(), policytest.None) {
		synctest.Test(t, func(t *testing.T) {
			l := &tap{app: newApp()}
			l.app.Fault = func(int) policytest.Fault { return fault }
			l.app.Policy = func(*policytest.Request, *policytest.Row, string) string { return "?" }
			handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
			c, err := New(configOf("https://app.example/authorize?token=topsecret"), slog.New(handler), Options{Transport: l})
			if err != nil {
				t.Fatal(err)
			}
			run(t, c)
			_, e := mayView(t, c)
			fmt.Fprintln(&log, e)
			signatures = append(signatures, l.last.Header.Get(headerSignature))
		})
	}
	// What a server says may repeat what it was sent.
	said := oneLine("bad signature "+signatures[0]+" of "+secret, secret, signatures[0])
	for _, s := range append(signatures, secret, "topsecret") {
		if strings.Contains(log.String()+said, s) {
			t.Errorf("%s shows in\n%s%s", s, log.String(), said)
		}
	}
	if n := strings.Count(log.String(), "level=DEBUG"); n < len(policytest.Faults()) {
		t.Errorf("%d lines of debugging:\n%s", n, log.String())
	}
}
