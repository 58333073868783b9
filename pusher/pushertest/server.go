package pushertest

import (
	"cmp"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The kinds of server, by the names of pusher.server.
const (
	Reverb  = "reverb"
	Soketi  = "soketi"
	Sockudo = "sockudo"
	Pusher  = "pusher" // hosted Pusher
)

// The app of a server whose Options name none.
const (
	DefaultAppID  = "lab"
	DefaultKey    = "labkey"
	DefaultSecret = "labsecret"
)

// Options are how a server is.
type Options struct {
	// Kind is required, one of the constants above.
	Kind string
	// AppID, Key and Secret of its one app; the defaults where empty.
	AppID, Key, Secret string
	// MaxRequestBytes is Reverb's max_request_size; 0: its default.
	MaxRequestBytes int
	// RequestsPerMinute is what a Sockudo takes from one address before it
	// refuses; 0: any number. Its default is "100 requests / 60 s / IP".
	RequestsPerMinute int
	// Observe is called with each request that has come whole, before it is
	// answered, by several goroutines at once.
	Observe func(*Request)
}

// Server is a Pusher-compatible server in memory.
type Server struct {
	front

	// AppID, Key and Secret are those of its app.
	AppID, Key, Secret string

	dialect dialect
	opts    Options

	// publishing keeps the messages of a request together.
	publishing sync.Mutex

	mu      sync.Mutex
	rooms   map[string]*room
	order   []string // names of the rooms, as they were opened; nil: not known
	counter int      // of rooms and sockets
	window  time.Time
	taken   int // requests since window began
}

// dialect is how a kind of server speaks.
type dialect interface {
	// answer does what a request asks.
	answer(s *Server, r *Request) []byte
	// keepsOpen says whether a connection is used for more than one request.
	keepsOpen() bool
	// The frames that it sends to a subscriber.
	subscribed(channel string, members *members) string
	unauthorised(channel string) string
	pong() string
	frame(m message) string
}

// New starts a server on a free port of this machine. To be closed.
func New(opts Options) (*Server, error) {
	s := &Server{
		opts:  opts,
		AppID: cmp.Or(opts.AppID, DefaultAppID), Key: cmp.Or(opts.Key, DefaultKey), Secret: cmp.Or(opts.Secret, DefaultSecret),
		rooms: make(map[string]*room),
	}
	switch opts.Kind {
	case Reverb:
		s.dialect = reverb{}
		s.most = cmp.Or(opts.MaxRequestBytes, 10_000)
		s.overflow = reverb{}.refuse(413, "Payload too large.")
	case Soketi:
		s.dialect = soketi{}
	case Sockudo:
		s.dialect = sockudo{}
	case Pusher:
		s.dialect = hosted{}
	default:
		return nil, fmt.Errorf("%q is no kind of server known here", opts.Kind)
	}
	s.respond, s.upgrade = s.handle, s.socket
	return s, s.open()
}

// Start starts a server that ends with the test.
func Start(tb testing.TB, opts Options) *Server {
	tb.Helper()
	s, err := New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

func (s *Server) handle(r *Request) (answer []byte, keep bool) {
	if s.opts.Observe != nil {
		s.opts.Observe(r)
	}
	return s.dialect.answer(s, r), s.dialect.keepsOpen()
}

// Message is what a subscriber of a channel gets.
type Message struct {
	Channel, Name string
	// Data is the text of the event's data, or the JSON of what is no text.
	Data string
}

// Subscribe has somebody listen to channels until leave is called; deliver,
// which may be nil, gets the messages, one after the other. Who listens by a
// WebSocket does the same.
func (s *Server) Subscribe(deliver func(Message), channels ...string) (leave func()) {
	l := &listener{deliver: func(m message) {
		if deliver != nil {
			deliver(Message{Channel: m.Channel, Name: m.Name, Data: m.text()})
		}
	}}
	for _, channel := range channels {
		s.join(channel, l, nil)
	}
	return func() {
		for _, channel := range channels {
			s.leave(channel, l)
		}
	}
}

// room is a channel that somebody listens to.
type room struct {
	number    int // in the order in which they were opened
	listeners []*listener
	members   members // of a presence channel
}

// listener is who listens to channels.
type listener struct{ deliver func(message) }

// join lets a listener in, who may be a member of a presence channel.
func (s *Server) join(channel string, l *listener, m *member) *members {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[channel]
	if r == nil {
		s.counter++
		r = &room{number: s.counter}
		s.rooms[channel], s.order = r, nil
	}
	r.listeners = append(r.listeners, l)
	if m == nil {
		return nil
	}
	r.members = append(r.members, *m)
	all := slices.Clone(r.members)
	return &all
}

func (s *Server) leave(channel string, l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[channel]
	if r == nil {
		return
	}
	r.members = slices.DeleteFunc(r.members, func(m member) bool { return m.listener == l })
	r.listeners = slices.DeleteFunc(r.listeners, func(other *listener) bool { return other == l })
	if len(r.listeners) == 0 {
		delete(s.rooms, channel)
		s.order = nil
	}
}

// publish delivers messages in order.
func (s *Server) publish(messages []message) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	for _, m := range messages {
		s.mu.Lock()
		var listeners []*listener
		if r := s.rooms[m.Channel]; r != nil {
			listeners = slices.Clone(r.listeners)
		}
		s.mu.Unlock()
		for _, l := range listeners {
			l.deliver(m)
		}
	}
}

// occupied returns the channels that begin with a prefix, in the order in
// which they were opened, each with the JSON that info makes of it.
func (s *Server) occupied(prefix string, info func(channel string, r *room) string) fields {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.order == nil {
		s.order = slices.SortedFunc(maps.Keys(s.rooms), func(a, b string) int { return s.rooms[a].number - s.rooms[b].number })
	}
	var channels fields
	for _, name := range s.order {
		if strings.HasPrefix(name, prefix) {
			channels = append(channels, field{name, info(name, s.rooms[name])})
		}
	}
	return channels
}

// room returns a copy of what is known of a channel; nobody listens to one
// that is not there.
func (s *Server) room(channel string) room {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rooms[channel]; r != nil {
		return room{number: r.number, listeners: slices.Clone(r.listeners), members: slices.Clone(r.members)}
	}
	return room{}
}

// signed says whether a request's signature is right. It is computed as the
// servers do, from the decoded parameters and the body that came; Reverb and
// Soketi look at nothing else, so that they take any key.
func (s *Server) signed(r *Request) bool {
	params := make(map[string]string)
	for name, values := range r.Query {
		params[name] = values[0]
	}
	given := params["auth_signature"]
	delete(params, "auth_signature")
	delete(params, "body_md5")
	if len(r.Body) > 0 {
		sum := md5.Sum(r.Body)
		params["body_md5"] = hex.EncodeToString(sum[:])
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		pairs = append(pairs, name+"="+params[name])
	}
	want := s.sign(r.Method + "\n" + r.Path + "\n" + strings.Join(pairs, "&"))
	return hmac.Equal([]byte(given), []byte(want))
}

// fresh says whether the request was signed not long ago: "auth timestamp
// ±600 s" with hosted Pusher and Sockudo; Reverb and Soketi do not look.
func (r *Request) fresh() bool {
	const most = 600 * time.Second
	seconds, err := strconv.ParseInt(r.param("auth_timestamp"), 10, 64)
	return err == nil && time.Since(time.Unix(seconds, 0)).Abs() <= most
}

func (r *Request) param(name string) string {
	if values := r.Query[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (s *Server) sign(text string) string {
	mac := hmac.New(sha256.New, []byte(s.Secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// route is what a path asks for.
type route struct {
	app       string
	operation string // "" for a path that there is not
	channel   string
}

func (r *Request) route() route {
	parts := strings.Split(strings.TrimPrefix(r.Path, "/"), "/")
	if len(parts) < 3 || parts[0] != "apps" {
		return route{}
	}
	to := route{app: parts[1]}
	switch rest := parts[2:]; {
	case len(rest) == 1 && slices.Contains([]string{"events", "batch_events", "channels"}, rest[0]):
		to.operation = rest[0]
	case len(rest) == 2 && rest[0] == "channels":
		to.operation, to.channel = "channel", rest[1]
	case len(rest) == 3 && rest[0] == "channels" && rest[2] == "users":
		to.operation, to.channel = "users", rest[1]
	case len(rest) == 3 && rest[0] == "users" && rest[2] == "terminate_connections":
		to.operation = "terminate"
	}
	return to
}

// methods are those of the operations.
var methods = map[string]string{
	"events": "POST", "batch_events": "POST", "terminate": "POST",
	"channels": "GET", "channel": "GET", "users": "GET",
}
