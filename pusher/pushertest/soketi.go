package pushertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// soketi speaks as Soketi 1.6.1 does, recorded in ../testdata.
type soketi struct{}

// keepsOpen is false: "keep-alive: no".
func (soketi) keepsOpen() bool { return false }

// head is that of an answer. The status of most is 200, whatever they say.
func (soketi) head(status int, kind string, length int) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nAccess-Control-Allow-Origin: *\r\n"+
		"Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n"+
		"Access-Control-Allow-Headers: Origin, Content-Type, X-Auth-Token, X-Requested-With, Accept, Authorization, X-CSRF-TOKEN, XSRF-TOKEN, X-Socket-Id\r\n"+
		"%sConnection: close\r\nDate: %s\r\nuWebSockets: 20\r\nContent-Length: %d\r\n\r\n",
		status, http.StatusText(status), kind, now(), length)
}

func (d soketi) json(body string) []byte {
	return append(d.head(http.StatusOK, "Content-Type: application/json\r\n", len(body)), body...)
}

// refuse is an error, with status 200.
func (d soketi) refuse(code int, text string) []byte {
	return d.json(fields{{"error", quote(text)}, {"code", strconv.Itoa(code)}}.String())
}

func (d soketi) answer(s *Server, r *Request) []byte {
	to := r.route()
	switch {
	case to.operation == "" || methods[to.operation] != r.Method:
		return d.head(http.StatusNotFound, "", 0)
	case to.app != s.AppID:
		return d.refuse(http.StatusNotFound, "The app "+to.app+" could not be found.")
	// What is no JSON is taken for an empty object, which has another signature.
	case !s.signed(r), r.Method == http.MethodPost && !json.Valid(r.Body):
		return d.refuse(http.StatusUnauthorized, "The secret authentication failed")
	}
	switch to.operation {
	case "events", "batch_events":
		return d.publish(s, r)
	case "channels":
		channels := s.occupied(r.param("filter_by_prefix"), func(_ string, r *room) string { return d.info(*r).String() })
		return d.json(fields{{"channels", channels.String()}}.String())
	case "channel":
		room := s.room(to.channel)
		info := d.info(room)
		if isPresence(to.channel) {
			info = append(info, field{"user_count", strconv.Itoa(len(room.members))})
		}
		return d.json(info.String())
	case "users":
		if !isPresence(to.channel) {
			return d.refuse(http.StatusBadRequest, "The channel must be a presence channel.")
		}
		return d.json(s.room(to.channel).members.users())
	default:
		return d.json(`{"ok":true}`)
	}
}

// info is what it says of a channel, whatever it is asked.
func (soketi) info(r room) fields {
	return fields{
		{"subscription_count", strconv.Itoa(len(r.listeners))},
		{"occupied", strconv.FormatBool(len(r.listeners) > 0)},
	}
}

// publish takes "all or nothing" of a batch.
func (d soketi) publish(s *Server, r *Request) []byte {
	events, ok := parseEvents(r)
	if !ok {
		return d.refuse(http.StatusBadRequest, "The received data is incorrect")
	}
	batch := r.route().operation == "batch_events"
	if batch && len(events) > 10 {
		return d.refuse(http.StatusBadRequest, "Cannot batch-send more than 10 messages at once")
	}
	var messages []message
	for _, e := range events {
		switch {
		case e.Name == "" || len(e.channels()) == 0 || e.isEmpty():
			return d.refuse(http.StatusBadRequest, "The received data is incorrect")
		case len(e.channels()) > 100:
			return d.refuse(http.StatusBadRequest, "Cannot broadcast to more than 100 channels at once")
		case e.size() > 100*1024:
			return d.refuse(http.StatusRequestEntityTooLarge, "The event data should be less than 100 KB.")
		}
		messages = append(messages, e.messages(batch)...)
	}
	s.publish(messages)
	return d.json(`{"ok":true}`)
}

func (soketi) subscribed(channel string, m *members) string {
	f := fields{{"event", `"pusher_internal:subscription_succeeded"`}, {"channel", quote(channel)}}
	if m != nil {
		f = append(f, field{"data", quote(fields{{"presence", fields{
			{"ids", m.ids()}, {"hash", m.hash()}, {"count", strconv.Itoa(len(*m))},
		}.String()}}.String())})
	}
	return f.String()
}

func (soketi) unauthorised(channel string) string {
	return fields{
		{"event", `"pusher:subscription_error"`},
		{"channel", quote(channel)},
		{"data", `{"type":"AuthError","error":"The connection is unauthorized.","status":401}`},
	}.String()
}

func (soketi) pong() string { return `{"event":"pusher:pong","data":{}}` }

func (soketi) frame(m message) string {
	return fields{{"event", quote(m.Name)}, {"channel", quote(m.Channel)}, {"data", string(m.Data)}}.String()
}
