package pusher

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	occupied = `{"time_ms":1795372199123,"events":[{"name":"channel_occupied","channel":"private-a"}]}`
	vacated  = `{"time_ms":1795372199123,"events":[{"name":"channel_vacated","channel":"private-a"}]}`
)

// run runs the callback until the test ends.
func run(t *testing.T, hooks *Webhooks) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- hooks.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// hook is a request as a server would send it.
func hook(body string) *http.Request {
	req := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(body))
	req.Header.Set("X-Pusher-Key", "labkey")
	mac := hmac.New(sha256.New, []byte("labsecret"))
	mac.Write([]byte(body))
	req.Header.Set("X-Pusher-Signature", hex.EncodeToString(mac.Sum(nil)))
	return req
}

func status(hooks *Webhooks, req *http.Request) int {
	rec := httptest.NewRecorder()
	hooks.ServeHTTP(rec, req)
	return rec.Code
}

func TestWebhooks(t *testing.T) {
	got := make(chan []WebhookEvent, 10)
	hooks := NewWebhooks("labkey", "labsecret", silent, func(_ context.Context, events []WebhookEvent) { got <- events })
	run(t, hooks)
	at := time.UnixMilli(1795372199123)
	for _, tt := range []struct {
		name, body string
		want       []WebhookEvent
	}{
		{"occupied", occupied, []WebhookEvent{{ChannelOccupied, "private-a", at}}},
		{"vacated", vacated, []WebhookEvent{{ChannelVacated, "private-a", at}}},
		{
			"several, among others", `{"time_ms":1795372199123,"events":[
			{"name":"client_event","channel":"private-a","event":"client-x","data":{"an":["object"]},"socket_id":"1.2"},
			{"name":"channel_vacated","channel":"private-b"},
			{"name":"member_added","channel":"presence-a","user_id":7},
			{"name":"channel_occupied"}, {"name":3,"channel":"x"}, "?", null, 5,
			{"name":"of tomorrow","channel":{"also":"new"}},
			{"name":"channel_occupied","channel":"private-c","extra":[{}]}]}`,
			[]WebhookEvent{{ChannelVacated, "private-b", at}, {ChannelOccupied, "private-c", at}},
		},
		{"no time", `{"events":[{"name":"channel_occupied","channel":"a"}]}`, []WebhookEvent{{Name: ChannelOccupied, Channel: "a"}}},
		{"another time", `{"time_ms":"soon","events":[{"name":"channel_occupied","channel":"a"}]}`, []WebhookEvent{{Name: ChannelOccupied, Channel: "a"}}},
		{"nothing of interest", `{"time_ms":1,"events":[{"name":"cache_miss","channel":"cache-a"}]}`, nil},
		{"nothing", `{"time_ms":1}`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code := status(hooks, hook(tt.body)); code != http.StatusOK {
				t.Fatalf("status %d", code)
			}
			// One that is always handed on shows that nothing else was.
			if code := status(hooks, hook(occupied)); code != http.StatusOK {
				t.Fatalf("status %d", code)
			}
			if tt.want != nil {
				if events := <-got; !reflect.DeepEqual(events, tt.want) {
					t.Errorf("got %+v, want %+v", events, tt.want)
				}
			}
			if events := <-got; len(events) != 1 || events[0].Channel != "private-a" {
				t.Errorf("got %+v as well", events)
			}
		})
	}
}

func TestWebhooksRefused(t *testing.T) {
	hooks := NewWebhooks("labkey", "labsecret", silent, func(_ context.Context, events []WebhookEvent) {
		t.Errorf("the callback gets %+v", events)
	})
	run(t, hooks)
	change := func(f func(*http.Request)) *http.Request {
		req := hook(occupied)
		f(req)
		return req
	}
	for _, tt := range []struct {
		name string
		req  *http.Request
		want int
	}{
		{"GET", change(func(r *http.Request) { r.Method = http.MethodGet }), 405},
		{"no key", change(func(r *http.Request) { r.Header.Del("X-Pusher-Key") }), 401},
		{"another key", change(func(r *http.Request) { r.Header.Set("X-Pusher-Key", "other") }), 401},
		{"no signature", change(func(r *http.Request) { r.Header.Del("X-Pusher-Signature") }), 401},
		{"the signature of another body", change(func(r *http.Request) {
			r.Header.Set("X-Pusher-Signature", hook(vacated).Header.Get("X-Pusher-Signature"))
		}), 401},
		{"half a signature", change(func(r *http.Request) {
			r.Header.Set("X-Pusher-Signature", r.Header.Get("X-Pusher-Signature")[:32])
		}), 401},
		{"a signature that is no hex", change(func(r *http.Request) { r.Header.Set("X-Pusher-Signature", "zz") }), 401},
		{"no JSON", hook("events"), 400},
		{"half of it", hook(occupied[:40]), 400},
		{"events that are no list", hook(`{"events":{"name":"channel_occupied","channel":"a"}}`), 400},
		{"too large", hook(`{"events":[]}` + strings.Repeat(" ", maxWebhookBytes)), 413},
	} {
		if got := status(hooks, tt.req); got != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, got, tt.want)
		}
	}
}

// The server is answered while the callback is stuck, until too many wait.
func TestWebhooksDoNotWait(t *testing.T) {
	var log strings.Builder
	working, goOn := make(chan struct{}), make(chan struct{})
	calls := make(chan string, 2*webhookQueue)
	hooks := NewWebhooks("labkey", "labsecret", textLog(&log), func(_ context.Context, events []WebhookEvent) {
		if events[0].Name == ChannelVacated {
			close(working)
			<-goOn
		}
		calls <- events[0].Name
	})
	run(t, hooks)
	if got := status(hooks, hook(vacated)); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	<-working
	for i := range webhookQueue {
		if got := status(hooks, hook(occupied)); got != http.StatusOK {
			t.Fatalf("status %d for webhook %d", got, i)
		}
	}
	for range 3 {
		if got := status(hooks, hook(occupied)); got != http.StatusServiceUnavailable {
			t.Errorf("status %d with a full queue", got)
		}
	}
	if n := strings.Count(log.String(), "webhook refused"); n != 1 {
		t.Errorf("the same refusal is logged %d times:\n%s", n, log.String())
	}
	close(goOn)
	for range webhookQueue + 1 {
		<-calls
	}
	if got := status(hooks, hook(occupied)); got != http.StatusOK {
		t.Errorf("status %d after the callback has caught up", got)
	}
	<-calls
}

func FuzzWebhook(f *testing.F) {
	for _, s := range []string{occupied, vacated, `{"time_ms":null,"events":[null,{"name":{}},{"name":"channel_occupied","channel":7}]}`, "null", "[]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := parseWebhook(body)
		if err != nil && events != nil {
			t.Error("events and an error")
		}
		for _, e := range events {
			if e.Channel == "" || e.Name != ChannelOccupied && e.Name != ChannelVacated {
				t.Errorf("event %+v", e)
			}
		}
	})
}
