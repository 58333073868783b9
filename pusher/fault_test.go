package pusher

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

var anEvent = []Event{{Name: "e", Channels: []string{"private-a"}, Data: []byte("{}")}}

// answering is a server that reads each request and answers with raw bytes,
// closing the connection after them.
func answering(t *testing.T, raw string) Config {
	return configFor("soketi", serve(t, func(conn net.Conn) {
		if readRequest(conn) == nil {
			_, _ = io.WriteString(conn, raw)
		}
	}))
}

// serve handles connections to a free port, each in its own goroutine, until
// the test ends.
func serve(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

func readRequest(conn net.Conn) error {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
}

// TestAnswers has what a server, or something in front of it, can answer.
func TestAnswers(t *testing.T) {
	ok := func(body string) string { return "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body }
	for _, tt := range []struct {
		name       string
		raw        string
		class      Class
		status     int
		retryAfter time.Duration
		text       string // in the error
	}{
		{
			"too fast", "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nslow",
			Unavailable, 429, 3 * time.Second, "429 Too Many Requests: slow",
		},
		{
			"too fast, in Soketi's way", "HTTP/1.1 200 OK\r\nRetry-After: 0.25\r\nConnection: close\r\n\r\n" + `{"error":"Too many requests.","code":429}`,
			Unavailable, 429, 250 * time.Millisecond, "Too many requests.",
		},
		{"closing", ok(`{"error":"A server error has occurred.","code":500}`), Unavailable, 500, 0, "A server error"},
		{
			"restarting behind nginx", "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 29\r\n\r\n<html>502\r\nBad\tGateway</html>",
			Unavailable, 502, 0, "<html>502 Bad Gateway</html>",
		},
		{"quota", "HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nno more", Misconfigured, 403, 0, "no more; see that the app is enabled and within its quota"},
		{"clock", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\n\r\nexpired", Misconfigured, 401, 0, "check pusher.key, pusher.secret and this machine's clock"},
		{"moved", "HTTP/1.1 301 Moved\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", Misconfigured, 301, 0, "check pusher.host and pusher.tls"},
		{"TLS wanted", "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", Misconfigured, 400, 0, "HTTPS"},
		{"TLS wanted, by nginx", "HTTP/1.0 400 Bad Request\r\n\r\n<html>The plain HTTP request was sent to HTTPS port", Misconfigured, 400, 0, "HTTPS port"},
		{"bad request", "HTTP/1.0 400 Bad Request\r\n\r\nBad request.", Refused, 400, 0, "Bad request."},
		{"unheard of", "HTTP/1.0 418 Teapot\r\n\r\n", Misconfigured, 418, 0, "418"},
		{"a page", ok("<!doctype html><title>Laravel</title>"), Misconfigured, 0, 0, "not the answer of a Pusher server"},
		{"null", ok("null"), Misconfigured, 0, 0, "not the answer of a Pusher server"},
		{"a list", ok("[]"), Misconfigured, 0, 0, "not the answer of a Pusher server"},
		{"two values", ok("{}{}"), Misconfigured, 0, 0, "not the answer of a Pusher server"},
		{"a number for an error", ok(`{"error":7,"code":"x"}`), Misconfigured, 0, 0, "not the answer of a Pusher server"},
		{"endless", ok(`{"a":"` + strings.Repeat("x", maxPublishedBytes)), Misconfigured, 0, 0, "more than 65536 bytes"},
		{"no, without a code", ok(`{"error":{"why":"?"}}`), Unknown, 0, 0, `says no: {"why":"?"}`},
		{"not ok", ok(`{"ok":false}`), Unknown, 0, 0, "says no"},
		{"nothing", ok(""), Unknown, 0, 0, "closed before the end of the answer"},
		{"half a body", ok(`{"o`), Unknown, 0, 0, "closed before the end of the answer"},
		{"half a body of known length", "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + `{"ok"`, Unknown, 0, 0, "closed before the end of the answer"},
		{"a body short of its length", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + `{"ok":true}`, Unknown, 0, 0, "closed before the end of the answer"},
		{"half a head", "HTTP/1.1 200 OK\r\n", Unknown, 0, 0, "closed before the end of the answer"},
		{"no HTTP", "\x15\x03\x01\x00\x02\x02\x16\r\n", Unknown, 0, 0, "malformed HTTP"},
		{
			"the URL in the answer", "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nno GET /apps/1/events?x=1&auth_signature=00ff00&y=2 here",
			Misconfigured, 404, 0, "&[redacted]&y=2 here",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, answering(t, tt.raw))
			e := failure(t, c.Publish(t.Context(), anEvent), tt.class, tt.status)
			if e.RetryAfter != tt.retryAfter {
				t.Errorf("RetryAfter = %v, want %v", e.RetryAfter, tt.retryAfter)
			}
			if !strings.Contains(e.Error(), tt.text) {
				t.Errorf("error %q does not contain %q", e, tt.text)
			}
			if !strings.HasPrefix(e.Error(), "publish: ") {
				t.Errorf("error %q does not begin with what was tried", e)
			}
		})
	}
}

// TestGoodAnswers has those that mean success, from every kind of server.
func TestGoodAnswers(t *testing.T) {
	for name, raw := range map[string]string{
		"Pusher":                     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"Soketi":                     "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + `{"ok":true}`,
		"Reverb, batch":              "HTTP/1.0 200 OK\r\nContent-Length: 12\r\n\r\n" + `{"batch":{}}`,
		"with info":                  "HTTP/1.0 200 OK\r\n\r\n" + `{"batch":[{"subscription_count":1}]}`,
		"until the connection ends":  "HTTP/1.0 200 OK\r\n\r\n{}\n",
		"accepted":                   "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}",
		"chunked":                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"channels that are no map":   "HTTP/1.0 200 OK\r\n\r\n" + `{"channels":[]}`,
		"after a provisional answer": "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, answering(t, raw))
			for _, events := range [][]Event{anEvent, {anEvent[0], anEvent[0]}} {
				if err := c.Publish(t.Context(), events); err != nil {
					t.Errorf("publish %d events: %v", len(events), err)
				}
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	c := newClient(t, configFor("reverb", addr))
	wantError(t, c.Publish(t.Context(), anEvent), Unsent, 0)
	_, err = c.Channels(t.Context(), "")
	wantError(t, err, Unsent, 0)
}

// Reverb closes the connection while a request that is too large still comes
// in. That can reach the client before the answer does.
func TestConnectionResetMidway(t *testing.T) {
	cfg := configFor("soketi", serve(t, func(conn net.Conn) {
		_, _ = io.ReadFull(conn, make([]byte, 500))
		_ = conn.(*net.TCPConn).SetLinger(0) // reset
	}))
	c := newClient(t, cfg)
	large := Event{Name: "e", Channels: []string{"private-a"}, Data: make([]byte, 100*1024)}
	for i := range large.Data {
		large.Data[i] = 'x'
	}
	wantError(t, c.Publish(t.Context(), []Event{large}), Unknown, 0)
}

func TestNoAnswerInTime(t *testing.T) {
	for name, start := range map[string]string{
		"nothing":     "",
		"half a head": "HTTP/1.1 200 OK\r\nConte",
		"half a body": "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + `{"ok"`,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := configFor("soketi", serve(t, func(conn net.Conn) {
				_ = readRequest(conn)
				_, _ = io.WriteString(conn, start)
				_, _ = io.Copy(io.Discard, conn) // until the client gives up
			}))
			cfg.Timeout = minTimeout
			e := failure(t, newClient(t, cfg).Publish(t.Context(), anEvent), Unknown, 0)
			if !errors.Is(e, context.DeadlineExceeded) {
				t.Errorf("error %q is no context.DeadlineExceeded", e)
			}
			if want := "publish: no answer within 100ms (pusher.timeout)"; e.Error() != want {
				t.Errorf("error %q, want %q", e, want)
			}
		})
	}
}

func TestCallerGivesUp(t *testing.T) {
	arrived := make(chan struct{})
	c := newClient(t, configFor("soketi", serve(t, func(conn net.Conn) {
		_ = readRequest(conn)
		arrived <- struct{}{}
		_, _ = io.Copy(io.Discard, conn)
	})))
	why := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-arrived
		cancel(why)
	}()
	e := failure(t, c.Publish(ctx, anEvent), Unknown, 0)
	if !errors.Is(e, why) {
		t.Errorf("error %q is not %q", e, why)
	}
	// And before anything was sent.
	e = failure(t, c.Publish(ctx, anEvent), Unsent, 0)
	if !errors.Is(e, why) {
		t.Errorf("error %q is not %q", e, why)
	}
}

func TestTLS(t *testing.T) {
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "{}")
	}))
	ts.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	ts.StartTLS()
	defer ts.Close()
	cfg := configFor("pusher", ts.Listener.Addr().String())

	// Without TLS on a port with it.
	wantError(t, newClient(t, cfg).Publish(t.Context(), anEvent), Misconfigured, 400)

	cfg.TLS = true
	e := failure(t, newClient(t, cfg).Publish(t.Context(), anEvent), Misconfigured, 0)
	if !strings.Contains(e.Error(), "certificate") {
		t.Errorf("error %q says nothing about the certificate", e)
	}
	trusting, err := New(cfg, silent, Options{Transport: ts.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	defer trusting.Close()
	if err := trusting.Publish(t.Context(), anEvent); err != nil {
		t.Error(err)
	}

	// With TLS on a port without it.
	cfg = configFor("pusher", serve(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
	}))
	cfg.TLS = true
	wantError(t, newClient(t, cfg).Publish(t.Context(), anEvent), Misconfigured, 0)
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 17, 25, 39, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"120":                           2 * time.Minute,
		"0.532":                         532 * time.Millisecond,
		"-5":                            0,
		"soon":                          0,
		"NaN":                           0,
		"1e300":                         24 * time.Hour,
		"Sun, 22 Nov 2026 17:25:49 GMT": 10 * time.Second,
		"Sun, 22 Nov 2026 17:25:29 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", header, got, want)
		}
	}
}
