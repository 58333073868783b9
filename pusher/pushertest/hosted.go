package pushertest

import (
	"fmt"
	"net/http"
	"strconv"
)

// hosted speaks as hosted Pusher does by its documentation,
// https://pusher.com/docs/channels/library_auth_reference/rest-api: errors are
// a status and a line of text, whose words are not its own here.
type hosted struct{}

// keepsOpen is true: "keep-alive: yes".
func (hosted) keepsOpen() bool { return true }

func (hosted) write(status int, kind, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nDate: %s\r\n\r\n%s",
		status, http.StatusText(status), kind, len(body), now(), body)
}

func (d hosted) json(body string) []byte { return d.write(http.StatusOK, "application/json", body) }

func (d hosted) refuse(status int, text string) []byte {
	return d.write(status, "text/plain; charset=utf-8", text+"\n")
}

func (d hosted) answer(s *Server, r *Request) []byte {
	to := r.route()
	switch {
	case to.operation == "" || methods[to.operation] != r.Method:
		return d.refuse(http.StatusNotFound, "Not found")
	case to.app != s.AppID:
		return d.refuse(http.StatusNotFound, "Unknown app")
	case r.param("auth_key") != s.Key:
		return d.refuse(http.StatusUnauthorized, "Unknown auth_key")
	case !r.fresh():
		return d.refuse(http.StatusUnauthorized, "Timestamp expired")
	case !s.signed(r):
		return d.refuse(http.StatusUnauthorized, "Invalid signature")
	}
	counts := asks(r.param("info"), "user_count")
	switch to.operation {
	case "events", "batch_events":
		return d.publish(s, r)
	case "channels":
		if counts && !isPresence(r.param("filter_by_prefix")) {
			return d.refuse(http.StatusBadRequest, "user_count may only be requested for presence channels")
		}
		channels := s.occupied(r.param("filter_by_prefix"), func(string, *room) string { return "{}" })
		return d.json(fields{{"channels", channels.String()}}.String())
	case "channel":
		if counts && !isPresence(to.channel) {
			return d.refuse(http.StatusBadRequest, "Cannot retrieve the user count unless the channel is a presence channel")
		}
		return d.json(fields{{"occupied", strconv.FormatBool(len(s.room(to.channel).listeners) > 0)}}.String())
	case "users":
		return d.json(s.room(to.channel).members.users())
	default:
		return d.json(`{}`)
	}
}

// publish keeps to "channels per event 100", "data per event 10 KB → 413" and
// "events per batch 10".
func (d hosted) publish(s *Server, r *Request) []byte {
	events, ok := parseEvents(r)
	batch := r.route().operation == "batch_events"
	switch {
	case !ok:
		return d.refuse(http.StatusBadRequest, "Invalid JSON")
	case batch && len(events) > 10:
		return d.refuse(http.StatusBadRequest, "Batch too large (> 10)")
	}
	var messages []message
	for _, e := range events {
		switch {
		case e.Name == "" || len(e.channels()) == 0 || e.isEmpty():
			return d.refuse(http.StatusBadRequest, "Missing required parameter")
		case len(e.channels()) > 100:
			return d.refuse(http.StatusBadRequest, "Cannot trigger an event on more than 100 channels")
		case e.size() > 10*1024:
			return d.refuse(http.StatusRequestEntityTooLarge, "The data content of this event exceeds the allowed maximum (10240 bytes)")
		}
		messages = append(messages, e.messages(batch)...)
	}
	s.publish(messages)
	return d.json(`{}`)
}

func (hosted) subscribed(channel string, m *members) string {
	return fields{
		{"event", `"pusher_internal:subscription_succeeded"`}, {"channel", quote(channel)}, {"data", quote(m.presence())},
	}.String()
}

func (hosted) unauthorised(channel string) string {
	return fields{
		{"event", `"pusher:subscription_error"`},
		{"channel", quote(channel)},
		{"data", `{"type":"AuthError","error":"The connection is unauthorized.","status":401}`},
	}.String()
}

func (hosted) pong() string { return `{"event":"pusher:pong","data":{}}` }

func (hosted) frame(m message) string {
	return fields{{"event", quote(m.Name)}, {"channel", quote(m.Channel)}, {"data", string(m.Data)}}.String()
}
