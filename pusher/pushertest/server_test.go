package pushertest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// request is a signed one.
func request(s *Server, at time.Time, method, operation, params, body string) string {
	path := "/apps/" + s.AppID + "/" + operation
	query := fmt.Sprintf("auth_key=%s&auth_timestamp=%d&auth_version=1.0", s.Key, at.Unix())
	if body != "" {
		query += "&body_md5=" + md5Of(body)
	}
	query += params
	query += "&auth_signature=" + mac(s.Secret, method+"\n"+path+"\n"+query)
	return fmt.Sprintf("%s %s?%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, path, query, len(body), body)
}

// wantStatus looks at the status line of an answer.
func wantStatus(t *testing.T, answer string, status int) {
	t.Helper()
	if line, _, _ := strings.Cut(answer, "\r\n"); !strings.Contains(line, fmt.Sprint(" ", status, " ")) {
		t.Errorf("the answer is %q, want status %d", line, status)
	}
}

// "auth timestamp: ±600 s, not checked, not checked, ±600 s".
func TestClocks(t *testing.T) {
	for kind, status := range map[string]int{Reverb: 200, Soketi: 200, Sockudo: 401, Pusher: 401} {
		t.Run(kind, func(t *testing.T) {
			s := Start(t, Options{Kind: kind})
			for _, off := range []time.Duration{-11 * time.Minute, 11 * time.Minute} {
				wantStatus(t, ask(t, s, request(s, time.Now().Add(off), "GET", "channels", "", "")), status)
			}
			wantStatus(t, ask(t, s, request(s, time.Now().Add(-9*time.Minute), "GET", "channels", "", "")), http.StatusOK)
		})
	}
}

// "batch atomicity: –, all checked first, all or nothing, a late error leaves
// earlier ones published".
func TestBatchWithALateError(t *testing.T) {
	for kind, want := range map[string]int{Reverb: 0, Soketi: 0, Sockudo: 1, Pusher: 0} {
		t.Run(kind, func(t *testing.T) {
			s := Start(t, Options{Kind: kind})
			got := 0
			defer s.Subscribe(func(Message) { got++ }, "news")()
			body := `{"batch":[{"name":"e","channel":"news","data":"1"},{"channel":"news","data":"2"}]}`
			answer := ask(t, s, request(s, time.Now(), "POST", "batch_events", "", body))
			if strings.Contains(answer, `"ok"`) || strings.HasSuffix(answer, "\r\n{}") {
				t.Errorf("the answer is %q", answer)
			}
			if got != want {
				t.Errorf("%d events were published, want %d", got, want)
			}
		})
	}
}

// "on by default: 100 requests / 60 s / IP, 429 + Retry-After".
func TestSockudoLimitsRequests(t *testing.T) {
	s := Start(t, Options{Kind: Sockudo, RequestsPerMinute: 2})
	list := func() string { return ask(t, s, request(s, time.Now(), "GET", "channels", "", "")) }
	if answer := list(); !strings.Contains(answer, "x-ratelimit-remaining: 1\r\n") {
		t.Errorf("the first answer is %q", answer)
	}
	wantStatus(t, list(), http.StatusOK)
	answer := list()
	wantStatus(t, answer, http.StatusTooManyRequests)
	if !strings.Contains(answer, "retry-after: 60\r\n") && !strings.Contains(answer, "retry-after: 5") {
		t.Errorf("the third answer is %q, and does not say when to come again", answer)
	}
}

// Faults happen to requests of their kind, as often as they were to, and no
// more when they are mended.
func TestFaults(t *testing.T) {
	s := Start(t, Options{Kind: Pusher})
	list := request(s, time.Now(), "GET", "channels", "", "")
	event := request(s, time.Now(), "POST", "events", "", `{"name":"e","channel":"news","data":"1"}`)
	s.Fail(List, 1, TooFast(1))
	wantStatus(t, ask(t, s, event), http.StatusOK)
	wantStatus(t, ask(t, s, list), http.StatusTooManyRequests)
	wantStatus(t, ask(t, s, list), http.StatusOK)
	s.Fail(Publish, -1, Down)
	for range 3 {
		wantStatus(t, ask(t, s, event), http.StatusBadGateway)
	}
	s.Mend()
	wantStatus(t, ask(t, s, event), http.StatusOK)
}

// A proxy changes nothing.
func TestProxy(t *testing.T) {
	for _, kind := range []string{Reverb, Soketi, Sockudo, Pusher} {
		t.Run(kind, func(t *testing.T) {
			s := Start(t, Options{Kind: kind})
			sizes := make(chan int, 2)
			p := StartProxy(t, s.Addr(), func(r *Request) { sizes <- r.Bytes })
			text := request(s, time.Now(), "GET", "channels", "", "")
			direct, through := ask(t, s, text), ask(t, p, text)
			date := strings.NewReplacer("date:", "Date:")
			if undated(date.Replace(direct)) != undated(date.Replace(through)) {
				t.Errorf("through the proxy comes %q, want %q", through, direct)
			}
			if size := <-sizes; size != len(text) {
				t.Errorf("the proxy saw a request of %d bytes, want %d", size, len(text))
			}
			p.Fail(List, 1, Half)
			if got := cutShort(t, p, text); got >= len(direct) {
				t.Errorf("%d bytes of half an answer of %d came", got, len(direct))
			}
		})
	}
}

func TestUnknownKind(t *testing.T) {
	if _, err := New(Options{Kind: "ably"}); err == nil {
		t.Error("a server of an unknown kind starts")
	}
}
