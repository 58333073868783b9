package pushertest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// hijacker lends a connection to the library for WebSockets.
type hijacker struct {
	x      *Exchange
	header http.Header
}

func (h *hijacker) Header() http.Header { return h.header }

func (h *hijacker) Write(p []byte) (int, error) { return h.x.conn.Write(p) }

func (h *hijacker) WriteHeader(status int) {
	fmt.Fprintf(h.x.conn, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = h.header.Write(h.x.conn)
	_, _ = h.x.conn.Write([]byte("\r\n"))
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.x.conn, bufio.NewReadWriter(h.x.buffered, bufio.NewWriter(h.x.conn)), nil
}

// session is one WebSocket's.
type session struct {
	server *Server
	conn   *websocket.Conn
	id     string
	joined map[string]*listener
}

// socket serves a WebSocket until it ends.
func (s *Server) socket(x *Exchange) {
	conn, err := websocket.Accept(&hijacker{x: x, header: http.Header{}}, x.Head, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // of the origin: anybody may come
	})
	if err != nil {
		return // it has answered
	}
	defer func() { _ = conn.CloseNow() }()
	key, _ := strings.CutPrefix(x.Head.URL.Path, "/app/")
	s.mu.Lock()
	s.counter++
	id := fmt.Sprintf("%d.%d", 1000+s.counter, 2000+s.counter)
	s.mu.Unlock()
	session := &session{server: s, conn: conn, id: id, joined: make(map[string]*listener)}
	if key != s.Key {
		// 4001: https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/#error-codes
		session.send(`{"event":"pusher:error","data":"{\"code\":4001,\"message\":\"Application does not exist\"}"}`)
		_ = conn.Close(4001, "")
		return
	}
	session.serve(s.life)
}

func (c *session) serve(ctx context.Context) {
	defer func() {
		for channel, l := range c.joined {
			c.server.leave(channel, l)
		}
	}()
	hello := fields{{"socket_id", quote(c.id)}, {"activity_timeout", "30"}}
	c.send(fields{{"event", `"pusher:connection_established"`}, {"data", quote(hello.String())}}.String())
	for {
		_, text, err := c.conn.Read(ctx)
		if err != nil {
			return
		}
		var frame struct {
			Event string
			Data  struct {
				Channel, Auth string
				ChannelData   string `json:"channel_data"`
			}
		}
		if json.Unmarshal(text, &frame) != nil {
			continue // a client event whose data is no object
		}
		switch frame.Event {
		case "pusher:ping":
			c.send(c.server.dialect.pong())
		case "pusher:subscribe":
			c.subscribe(frame.Data.Channel, frame.Data.Auth, frame.Data.ChannelData)
		case "pusher:unsubscribe":
			c.server.leave(frame.Data.Channel, c.joined[frame.Data.Channel])
			delete(c.joined, frame.Data.Channel)
		}
	}
}

// subscribe lets the client listen to a channel, if the app has let it.
func (c *session) subscribe(channel, auth, data string) {
	if strings.HasPrefix(channel, "private-") || isPresence(channel) {
		text := c.id + ":" + channel
		if data != "" {
			text += ":" + data
		}
		if auth != c.server.Key+":"+c.server.sign(text) {
			c.send(c.server.dialect.unauthorised(channel))
			return
		}
	}
	l := &listener{deliver: func(m message) { c.send(c.server.dialect.frame(m)) }}
	var who *member
	if isPresence(channel) {
		var user struct {
			ID   json.RawMessage `json:"user_id"`
			Info json.RawMessage `json:"user_info"`
		}
		_ = json.Unmarshal([]byte(data), &user) // it is signed
		who = &member{listener: l, id: user.ID, info: user.Info}
	}
	c.joined[channel] = l
	c.server.publishing.Lock() // the first frame of a channel says that it is one
	defer c.server.publishing.Unlock()
	c.send(c.server.dialect.subscribed(channel, c.server.join(channel, l, who)))
}

func (c *session) send(frame string) {
	_ = c.conn.Write(c.server.life, websocket.MessageText, []byte(frame)) // reading tells of the end
}
