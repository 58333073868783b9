package pushertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// reverb speaks as Reverb 1.10.2 does, recorded in ../testdata.
type reverb struct{}

// keepsOpen is false: "keep-alive: no (HTTP/1.0, one request per connection)".
func (reverb) keepsOpen() bool { return false }

// json is an answer of a controller, with the headers that Symfony writes.
func (reverb) json(status int, body string) []byte {
	text := http.StatusText(status)
	if status == http.StatusUnprocessableEntity {
		text = "Unprocessable Content"
	}
	return fmt.Appendf(nil, "HTTP/1.0 %d %s\r\nCache-Control:  no-cache, private\r\nContent-Length: %d\r\n"+
		"Content-Type:   application/json\r\nDate:           %s\r\n\r\n%s", status, text, len(body), now(), body)
}

// refuse is an answer of the server around the controllers.
func (reverb) refuse(status int, text string) []byte { return reverb{}.refuseWith(status, "", text) }

func (reverb) refuseWith(status int, header, text string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n%s\r\n%s", status, http.StatusText(status), header, text)
}

func (d reverb) answer(s *Server, r *Request) []byte {
	to := r.route()
	switch {
	case to.operation == "":
		return d.refuse(http.StatusNotFound, "Not found.")
	case methods[to.operation] != r.Method:
		return d.refuseWith(http.StatusMethodNotAllowed, "Allow: "+methods[to.operation]+"\r\n", "Method not allowed.")
	case to.app != s.AppID:
		return d.refuse(http.StatusNotFound, "No matching application for ID ["+to.app+"].")
	case r.chunked, !s.signed(r): // "a chunked body gets 401"
		return d.refuse(http.StatusUnauthorized, "Authentication signature invalid.")
	}
	info := r.param("info")
	switch to.operation {
	case "events", "batch_events":
		return d.publish(s, r)
	case "channels":
		channels := s.occupied(r.param("filter_by_prefix"), func(channel string, r *room) string {
			return d.info(channel, *r, info).String()
		})
		if len(channels) == 0 {
			return d.json(http.StatusOK, `{"channels":[]}`) // PHP's empty map
		}
		return d.json(http.StatusOK, fields{{"channels", channels.String()}}.String())
	case "channel":
		room := s.room(to.channel)
		occupied := fields{{"occupied", strconv.FormatBool(len(room.listeners) > 0)}}
		return d.json(http.StatusOK, append(occupied, d.info(to.channel, room, info)...).String())
	case "users":
		return d.json(http.StatusOK, s.room(to.channel).members.users())
	default:
		return d.refuse(http.StatusInternalServerError, "Internal server error.")
	}
}

// info has what is asked about a channel, as far as it has it.
func (reverb) info(channel string, r room, info string) fields {
	var f fields
	if asks(info, "user_count") && isPresence(channel) {
		f = append(f, field{"user_count", strconv.Itoa(len(r.members))})
	}
	if asks(info, "subscription_count") && !isPresence(channel) && len(r.listeners) > 0 {
		f = append(f, field{"subscription_count", strconv.Itoa(len(r.listeners))})
	}
	return f
}

// publish checks all events before it publishes one: "batch atomicity: all
// checked first".
func (d reverb) publish(s *Server, r *Request) []byte {
	events, ok := parseEvents(r)
	if !ok {
		return d.refuse(http.StatusInternalServerError, "Internal server error.")
	}
	batch := r.route().operation == "batch_events"
	var problems fields
	if len(events) == 0 {
		problems = d.required("batch", "")
	}
	for i, e := range events {
		prefix := ""
		if batch {
			prefix = fmt.Sprintf("batch.%d.", i)
		}
		problems = append(problems, d.problems(e, prefix)...)
	}
	if len(problems) > 0 {
		return d.json(http.StatusUnprocessableEntity, problems.String())
	}
	var messages []message
	var infos []string
	asked := false
	for _, e := range events {
		messages = append(messages, e.messages(batch)...)
		asked = asked || e.Info != ""
		if batch {
			infos = append(infos, d.info(e.Channel, s.room(e.Channel), e.Info).String())
		}
	}
	s.publish(messages)
	switch {
	case batch && asked:
		return d.json(http.StatusOK, `{"batch":[`+strings.Join(infos, ",")+`]}`)
	case batch:
		return d.json(http.StatusOK, `{"batch":{}}`)
	case asked:
		var channels fields
		for _, channel := range events[0].channels() {
			channels = append(channels, field{channel, d.info(channel, s.room(channel), events[0].Info).String()})
		}
		return d.json(http.StatusOK, fields{{"channels", channels.String()}}.String())
	default:
		return d.json(http.StatusOK, `{}`)
	}
}

// problems is what Laravel's validation says of an event.
func (d reverb) problems(e event, prefix string) fields {
	var problems fields
	if e.Name == "" {
		problems = append(problems, d.required("name", prefix)...)
	}
	var text string
	switch {
	case e.isEmpty():
		problems = append(problems, d.required("data", prefix)...)
	case json.Unmarshal(e.Data, &text) != nil:
		problems = append(problems, field{prefix + "data", `["The ` + prefix + `data field must be a string."]`})
	}
	return problems
}

func (reverb) required(name, prefix string) fields {
	return fields{{prefix + name, `["The ` + prefix + name + ` field is required."]`}}
}

func (reverb) subscribed(channel string, m *members) string {
	return fields{
		{"event", `"pusher_internal:subscription_succeeded"`}, {"data", quote(m.presence())}, {"channel", quote(channel)},
	}.String()
}

func (reverb) unauthorised(string) string {
	return fields{{"event", `"pusher:error"`}, {"data", quote(`{"code":4009,"message":"Connection is unauthorized"}`)}}.String()
}

func (reverb) pong() string { return `{"event":"pusher:pong"}` }

func (reverb) frame(m message) string {
	if m.batch {
		return fields{{"event", quote(m.Name)}, {"channel", quote(m.Channel)}, {"data", string(m.Data)}}.String()
	}
	return fields{{"event", quote(m.Name)}, {"data", string(m.Data)}, {"channel", quote(m.Channel)}}.String()
}
