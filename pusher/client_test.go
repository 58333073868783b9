package pusher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestConcurrentPublishers has more publishers than lines: each request
// arrives whole, each publisher gets the answer to its own, and no more than
// Config.Concurrency are under way.
func TestConcurrentPublishers(t *testing.T) {
	const publishers, each, concurrency = 8, 25, 3
	var inFlight, most atomic.Int64
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := inFlight.Add(1)
		defer inFlight.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		var event struct{ Name, Data string }
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			t.Error(err)
		}
		// The answer depends on the request: a publisher would notice another's.
		if event.Name == "refuse" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprintf(w, "{%q:[]}", event.Data)
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer ts.Close()
	cfg := configFor("pusher", ts.Listener.Addr().String())
	cfg.Concurrency = concurrency
	c := newClient(t, cfg)

	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				data := fmt.Sprintf("<%d.%d>", p, i)
				name := []string{"accept", "refuse"}[i%2]
				err := c.Publish(t.Context(), []Event{{Name: name, Channels: []string{"private-a"}, Data: []byte(data)}})
				if name == "accept" && err != nil {
					t.Errorf("%s: %v", data, err)
				}
				if name == "refuse" && (err == nil || !strings.Contains(err.Error(), data)) {
					t.Errorf("%s: error %v is not the answer to it", data, err)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > concurrency {
		t.Errorf("%d requests at once, want %d at most", most.Load(), concurrency)
	}
	if got := c.Stats().Requests; got != publishers*each {
		t.Errorf("%d requests for %d publishings", got, publishers*each)
	}
}

// While all lines are busy, a publisher waits as long as its context lets it,
// and channels can be listed.
func TestBusyLines(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"channels":{"private-a":{}}}`)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, `{}`)
	}))
	defer ts.Close()
	cfg := configFor("pusher", ts.Listener.Addr().String())
	cfg.Concurrency = 1
	c := newClient(t, cfg)

	first := make(chan error, 1)
	go func() { first <- c.Publish(t.Context(), anEvent) }()
	<-arrived

	if got, err := c.Channels(t.Context(), ""); err != nil || len(got) != 1 {
		t.Errorf("Channels() = %q, %v; want one", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() { second <- c.Publish(ctx, anEvent) }()
	cancel()
	e := failure(t, <-second, Unsent, 0)
	if !errors.Is(e, context.Canceled) {
		t.Errorf("error %q is no context.Canceled", e)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// Servers that keep connections open get many requests over one.
func TestConnectionsAreUsedAgain(t *testing.T) {
	var connections atomic.Int64
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/batch_events") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "no\n")
			return
		}
		_, _ = io.WriteString(w, "{}\n")
	}))
	ts.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	ts.Start()
	defer ts.Close()
	c := newClient(t, configFor("pusher", ts.Listener.Addr().String()))
	for range 10 {
		if err := c.Publish(t.Context(), anEvent); err != nil {
			t.Fatal(err)
		}
		wantError(t, c.Publish(t.Context(), []Event{anEvent[0], anEvent[0]}), Refused, 400)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 20 requests one after the other", n)
	}
}

// A server that closes idle connections does so without warning. Requests that
// meet it are no errors.
func TestConnectionsThatDie(t *testing.T) {
	c := newClient(t, answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	for i := range 300 {
		if err := c.Publish(t.Context(), anEvent); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

// What the request must have, and must not have, for Reverb.
func TestRequest(t *testing.T) {
	requests := make(chan *http.Request, 1)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		requests <- r
		_, _ = io.WriteString(w, "{}")
	}))
	defer ts.Close()
	cfg := configFor("reverb", ts.Listener.Addr().String())
	cfg.Key = "a+b/c=%41"
	c := newClient(t, cfg)
	if err := c.Publish(t.Context(), anEvent); err != nil {
		t.Fatal(err)
	}
	r := <-requests
	body, _ := io.ReadAll(r.Body)
	if r.ContentLength != int64(len(body)) || len(r.TransferEncoding) > 0 {
		t.Errorf("Content-Length %d and encoding %v for %d bytes", r.ContentLength, r.TransferEncoding, len(body))
	}
	if want := `{"channels":["private-a"],"data":"{}","name":"e"}`; string(body) != want {
		t.Errorf("body %s, want %s", body, want)
	}
	if _, ok := r.Header["Idempotency-Key"]; ok {
		t.Error("the request has an Idempotency-Key")
	}
	if got := r.URL.Query().Get("auth_key"); got != cfg.Key {
		t.Errorf("the server reads the key as %q, want %q", got, cfg.Key)
	}
	stats := c.Stats()
	if stats != (Stats{Requests: 1, Sent: int64(len(body)), Received: 2}) {
		t.Errorf("%+v, want one request with %d bytes and an answer with 2", stats, len(body))
	}
}

// The log tells of each request at level debug, and nothing that is secret.
func TestLog(t *testing.T) {
	var buf bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg := answering(t, "HTTP/1.1 401 Unauthorized\r\n\r\nno")
	c, err := New(cfg, log, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantError(t, c.Publish(t.Context(), anEvent), Misconfigured, 401)
	log.Debug("config", "config", cfg, "secret", cfg.Secret)
	for _, want := range []string{`"op":"publish"`, `"status":401`, redacted} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, buf.String())
		}
	}
	for _, secret := range []string{"labsecret", "auth_"} {
		if strings.Contains(buf.String(), secret) {
			t.Errorf("the log contains %q:\n%s", secret, buf.String())
		}
	}
}

func TestInvalidEvents(t *testing.T) {
	c := newClient(t, configFor("reverb", "127.0.0.1:1"))
	long := strings.Repeat("x", 201)
	for name, events := range map[string][]Event{
		"none":                 {},
		"no name":              {{Channels: []string{"a"}, Data: []byte("1")}},
		"a long name":          {{Name: long, Channels: []string{"a"}, Data: []byte("1")}},
		"no channels":          {{Name: "e", Data: []byte("1")}},
		"no data":              {{Name: "e", Channels: []string{"a"}}},
		"data not UTF-8":       {{Name: "e", Channels: []string{"a"}, Data: []byte{0xff}}},
		"name not UTF-8":       {{Name: "\xff", Channels: []string{"a"}, Data: []byte("1")}},
		"an empty channel":     {{Name: "e", Channels: []string{""}, Data: []byte("1")}},
		"a channel with space": {{Name: "e", Channels: []string{"a b"}, Data: []byte("1")}},
		"a line end":           {{Name: "e", Channels: []string{"a\n"}, Data: []byte("1")}},
		"a long channel":       {{Name: "e", Channels: []string{long}, Data: []byte("1")}},
		"an encrypted channel": {{Name: "e", Channels: []string{"private-encrypted-a"}, Data: []byte("1")}},
		"the second of two":    {anEvent[0], {Name: "e", Channels: []string{"a", "b c"}, Data: []byte("1")}},
	} {
		if err := c.Publish(t.Context(), events); !errors.Is(err, ErrInvalidEvent) {
			t.Errorf("%s: %v, want ErrInvalidEvent", name, err)
		}
	}
	if n := c.Stats().Requests; n != 0 {
		t.Errorf("%d requests were made", n)
	}
}
