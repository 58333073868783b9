package pushertest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// event is one of a request, as it came.
type event struct {
	Name     string
	Channel  string
	Channels []string
	Data     json.RawMessage
	Info     string
}

// message is an event on its way to the subscribers of one channel.
type message struct {
	Channel, Name string
	Data          json.RawMessage
	batch         bool // it came in a batch
}

// text is the data, out of its quotes.
func (m message) text() string {
	var text string
	if json.Unmarshal(m.Data, &text) == nil {
		return text
	}
	return string(m.Data)
}

// channels are those that an event is for.
func (e event) channels() []string {
	if len(e.Channels) == 0 && e.Channel != "" {
		return []string{e.Channel}
	}
	return e.Channels
}

func (e event) messages(batch bool) []message {
	var messages []message
	for _, channel := range e.channels() {
		messages = append(messages, message{Channel: channel, Name: e.Name, Data: e.Data, batch: batch})
	}
	return messages
}

// isEmpty says whether the data is none, or nothing.
func (e event) isEmpty() bool {
	return slices.Contains([]string{"", "null", `""`}, string(e.Data))
}

// size is that of the data as servers measure it: of its text.
func (e event) size() int { return len(message{Data: e.Data}.text()) }

// parseEvents reads the body of a request for one event or for a batch.
func parseEvents(r *Request) (events []event, ok bool) {
	if r.route().operation == "events" {
		events = make([]event, 1)
		return events, json.Unmarshal(r.Body, &events[0]) == nil
	}
	var body struct{ Batch []event }
	err := json.Unmarshal(r.Body, &body)
	return body.Batch, err == nil
}

// asks says whether info, as "subscription_count,user_count", names an attribute.
func asks(info, attribute string) bool { return slices.Contains(strings.Split(info, ","), attribute) }

func isPresence(channel string) bool { return strings.HasPrefix(channel, "presence-") }

// members are those of a presence channel.
type members []member

type member struct {
	listener *listener
	// id and info are JSON, as the member's authorisation has them.
	id, info json.RawMessage
}

// users is the answer to who is there.
func (m members) users() string {
	users := make([]string, len(m))
	for i, one := range m {
		users[i] = fields{{"id", string(one.id)}}.String()
	}
	return fields{{"users", "[" + strings.Join(users, ",") + "]"}}.String()
}

// presence is what hosted Pusher and Reverb tell a new member; of a channel
// without members, which is nil, it is empty.
func (m *members) presence() string {
	if m == nil {
		return "{}"
	}
	return fields{{"presence", fields{
		{"count", strconv.Itoa(len(*m))}, {"ids", m.ids()}, {"hash", m.hash()},
	}.String()}}.String()
}

// ids and hash are what a new member is told of those who are there.
func (m members) ids() string {
	ids := make([]string, len(m))
	for i, one := range m {
		ids[i] = string(one.id)
	}
	return "[" + strings.Join(ids, ",") + "]"
}

func (m members) hash() string {
	var hash fields
	for _, one := range m {
		hash = append(hash, field{strings.Trim(string(one.id), `"`), string(one.info)})
	}
	return hash.String()
}

// fields are those of a JSON object, in order; values are JSON.
type fields []field

type field struct{ name, value string }

func (f fields) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, one := range f {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(one.name) + ":" + one.value)
	}
	b.WriteByte('}')
	return b.String()
}

// quote makes a JSON string of text.
func quote(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= utf8.RuneSelf || r == '"' || r == '\\' }) {
		return `"` + text + `"`
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // of a string it cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}

// now is the time for a header Date.
func now() string { return time.Now().UTC().Format(http.TimeFormat) }
