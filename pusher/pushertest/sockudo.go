package pushertest

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// sockudo speaks as Sockudo's source says (src/http_handler.rs and
// src/rate_limiter/middleware.rs, read).
type sockudo struct{}

// keepsOpen is true: "keep-alive: yes".
func (sockudo) keepsOpen() bool { return true }

// The limits of an app, "per app, often 100": event_limits of its config/config.toml.
const (
	sockudoChannels  = 100
	sockudoBatch     = 10
	sockudoDataBytes = 100 * 1024
)

func (sockudo) json(status int, headers, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n"+
		"vary: origin, access-control-request-method, access-control-request-headers\r\naccess-control-allow-origin: *\r\n"+
		"%scontent-length: %d\r\ndate: %s\r\n\r\n%s", status, http.StatusText(status), headers, len(body), now(), body)
}

func (d sockudo) answer(s *Server, r *Request) []byte {
	headers, allowed := s.rate()
	if !allowed {
		return d.json(http.StatusTooManyRequests, headers,
			`{"error":"Too Many Requests","message":"Rate limit exceeded. Please try again later."}`)
	}
	status, body := d.judge(s, r)
	if body == "" {
		return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\ncontent-length: 0\r\ndate: %s\r\n\r\n", status, http.StatusText(status), now())
	}
	return d.json(status, headers, body)
}

// rate counts a request against RequestsPerMinute: "on by default: 100
// requests / 60 s / IP, 429 + Retry-After".
func (s *Server) rate() (headers string, allowed bool) {
	if s.opts.RequestsPerMinute == 0 {
		return "", true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.window) > time.Minute {
		s.window, s.taken = time.Now(), 0
	}
	s.taken++
	left := max(0, s.opts.RequestsPerMinute-s.taken)
	reset := int(time.Until(s.window.Add(time.Minute)).Seconds()) + 1
	headers = fmt.Sprintf("x-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n", s.opts.RequestsPerMinute, left, reset)
	if s.taken > s.opts.RequestsPerMinute {
		return headers + fmt.Sprintf("retry-after: %d\r\n", reset), false
	}
	return headers, true
}

func (d sockudo) judge(s *Server, r *Request) (status int, body string) {
	to := r.route()
	switch {
	case to.operation == "":
		return http.StatusNotFound, ""
	case methods[to.operation] != r.Method:
		return http.StatusMethodNotAllowed, ""
	case to.app != s.AppID:
		return d.refuse(http.StatusNotFound, "Application not found")
	case !r.fresh(), !s.signed(r), r.param("auth_key") != s.Key:
		return d.refuse(http.StatusUnauthorized, "Invalid API signature")
	}
	counts := asks(r.param("info"), "user_count")
	switch to.operation {
	case "events", "batch_events":
		return d.publish(s, r)
	case "channels":
		channels := s.occupied(r.param("filter_by_prefix"), func(string, *room) string { return "{}" })
		return http.StatusOK, fields{{"channels", channels.String()}}.String()
	case "channel":
		if counts && !isPresence(to.channel) {
			return d.refuse(http.StatusBadRequest, "user_count is only available for presence channels")
		}
		return http.StatusOK, fields{{"occupied", strconv.FormatBool(len(s.room(to.channel).listeners) > 0)}}.String()
	case "users":
		return http.StatusOK, s.room(to.channel).members.users()
	default:
		return http.StatusOK, `{"ok":true}`
	}
}

func (sockudo) refuse(status int, text string) (int, string) {
	return status, fields{{"error", quote(text)}}.String()
}

// publish takes a batch event by event: "a late error leaves earlier ones
// published".
func (d sockudo) publish(s *Server, r *Request) (status int, body string) {
	events, ok := parseEvents(r)
	if !ok {
		return d.refuse(http.StatusBadRequest, "Failed to parse the request body as JSON")
	}
	batch := r.route().operation == "batch_events"
	if batch && len(events) > sockudoBatch {
		return d.refuse(http.StatusBadRequest, fmt.Sprintf("Batch size (%d) exceeds limit (%d)", len(events), sockudoBatch))
	}
	for _, e := range events {
		channels := e.channels()
		switch {
		case e.Name == "":
			return d.refuse(http.StatusBadRequest, "Event name is required")
		case e.size() > sockudoDataBytes:
			return d.refuse(http.StatusRequestEntityTooLarge,
				fmt.Sprintf("Event payload size (%d bytes) for event '%s' exceeds limit (%dKB)", e.size(), e.Name, sockudoDataBytes/1024))
		case len(channels) == 0:
			return d.refuse(http.StatusBadRequest, "Request must contain 'channels' (list) or 'channel' (string)")
		case len(channels) > sockudoChannels:
			return d.refuse(http.StatusBadRequest, fmt.Sprintf("Number of channels (%d) exceeds limit (%d)", len(channels), sockudoChannels))
		}
		s.publish(e.messages(batch))
	}
	if batch {
		return http.StatusOK, `{}`
	}
	return http.StatusOK, `{"ok":true}`
}

// Its WebSockets speak as hosted Pusher's.

func (sockudo) subscribed(channel string, m *members) string { return hosted{}.subscribed(channel, m) }

func (sockudo) unauthorised(channel string) string { return hosted{}.unauthorised(channel) }
func (sockudo) pong() string                       { return hosted{}.pong() }
func (sockudo) frame(m message) string             { return hosted{}.frame(m) }
