package pusher

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Names of the webhook events that are handed on.
const (
	ChannelOccupied = "channel_occupied" // a channel got its first subscriber
	ChannelVacated  = "channel_vacated"  // a channel lost its last subscriber
)

// WebhookEvent is a server's notice about one channel. It is a hint: notices
// get lost, come late, and those of a server on several nodes can be false.
type WebhookEvent struct {
	Name    string // ChannelOccupied or ChannelVacated
	Channel string
	Time    time.Time // by the server's clock; zero if it did not say
}

const (
	maxWebhookBytes = 1 << 20
	// webhookQueue is how many requests can wait for the callback.
	webhookQueue = 1024
)

// Webhooks is an http.Handler for the webhooks of one app. It answers a
// request before anything is done with it, because Soketi does nothing else
// while it waits, and hands the events to a callback in the order of arrival.
// Run has to run for that. When the callback falls too far behind, requests
// are answered with 503; a server that retries will send them again.
type Webhooks struct {
	key    string
	secret []byte
	log    *slog.Logger
	fn     func(context.Context, []WebhookEvent)
	queue  chan []WebhookEvent

	refusal atomic.Value // string: why the last request was refused, "" if it was not
}

// NewWebhooks makes a handler that accepts what the app's secret has signed.
// Its Run calls fn with the events of one request at a time.
func NewWebhooks(key string, secret Secret, log *slog.Logger, fn func(context.Context, []WebhookEvent)) *Webhooks {
	return &Webhooks{
		key:    key,
		secret: []byte(secret),
		log:    log,
		fn:     fn,
		queue:  make(chan []WebhookEvent, webhookQueue),
	}
}

// Run calls the callback for what arrives, until ctx ends, and returns why it
// did. What is still waiting then is dropped.
func (w *Webhooks) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case events := <-w.queue:
			w.fn(ctx, events)
		}
	}
}

// ServeHTTP answers 200 to every webhook that is signed with the app's secret,
// also to those whose events are of no interest.
func (w *Webhooks) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		rw.Header().Set("Allow", http.MethodPost)
		http.Error(rw, "only POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, req.Body, maxWebhookBytes))
	if err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		w.refuse(rw, req, status, "the body cannot be read")
		return
	}
	if !w.signed(req.Header, body) {
		w.refuse(rw, req, http.StatusUnauthorized, "not signed with the key and secret of the app")
		return
	}
	events, err := parseWebhook(body)
	if err != nil {
		w.refuse(rw, req, http.StatusBadRequest, err.Error())
		return
	}
	if len(events) > 0 {
		select {
		case w.queue <- events:
		default:
			w.refuse(rw, req, http.StatusServiceUnavailable, "too many are waiting")
			return
		}
	}
	w.refusal.Store("")
	rw.WriteHeader(http.StatusOK)
}

// refuse answers with an error and logs it, unless the last request was
// refused for the same reason.
func (w *Webhooks) refuse(rw http.ResponseWriter, req *http.Request, status int, reason string) {
	if w.refusal.Swap(reason) != reason {
		w.log.WarnContext(req.Context(), "webhook refused",
			slog.Int("status", status), slog.String("reason", reason), slog.String("from", req.RemoteAddr))
	}
	http.Error(rw, reason, status)
}

// signed says whether a body comes from somebody who has the app's secret.
func (w *Webhooks) signed(header http.Header, body []byte) bool {
	signature, err := hex.DecodeString(header.Get("X-Pusher-Signature"))
	if err != nil || header.Get("X-Pusher-Key") != w.key {
		return false
	}
	mac := hmac.New(sha256.New, w.secret)
	mac.Write(body)
	return hmac.Equal(signature, mac.Sum(nil))
}

// parseWebhook returns the events about channels in the body of a webhook:
//
//	{"time_ms":1795372199000,"events":[{"name":"channel_occupied","channel":"private-a"}]}
//
// Events of other kinds are left out, whatever they look like: in those of
// clients "data" may be anything.
func parseWebhook(body []byte) ([]WebhookEvent, error) {
	var payload struct {
		Time   json.RawMessage   `json:"time_ms"`
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &payload); err != nil {
		return nil, fmt.Errorf("read webhook: %w", err)
	}
	var at time.Time
	if ms, err := strconv.ParseInt(string(payload.Time), 10, 64); err == nil {
		at = time.UnixMilli(ms)
	}
	var events []WebhookEvent
	for _, raw := range payload.Events {
		var e struct {
			Name    string `json:"name"`
			Channel string `json:"channel"`
		}
		if json.Unmarshal(raw, &e) != nil || e.Channel == "" {
			continue
		}
		if e.Name == ChannelOccupied || e.Name == ChannelVacated {
			events = append(events, WebhookEvent{Name: e.Name, Channel: e.Channel, Time: at})
		}
	}
	return events, nil
}
