package pusher

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chorusd/chorusd/pusher/pushertest"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestLiveSoketi runs the suite over a real server, with a proxy before it for
// the faults.
func TestLiveSoketi(t *testing.T) {
	soketi := servicestest.StartSoketi(t, services.SoketiOptions{})
	seen := &seen{}
	proxy := pushertest.StartProxy(t, soketi.Addr, seen.observe)
	cfg := liveConfig(soketi)
	cfg.Host = proxy.Addr()
	conform(t, server{config: cfg, front: proxy, seen: seen})
}

// TestLiveRateLimit has Soketi refuse more than an event a second: with status
// 200, and without Retry-After, which comes with success only.
func TestLiveRateLimit(t *testing.T) {
	soketi := servicestest.StartSoketi(t, services.SoketiOptions{Settings: map[string]any{
		"appManager.array.apps": []map[string]any{{
			"id": services.DefaultAppID, "key": services.DefaultKey, "secret": services.DefaultSecret, "enabled": true,
			"maxConnections": -1, "maxBackendEventsPerSecond": 1, "maxClientEventsPerSecond": -1, "maxReadRequestsPerSecond": -1,
			"webhooks": []any{},
		}},
	}})
	c := newClient(t, liveConfig(soketi))
	var err error
	within(t, 10*time.Second, "an event is one too many", func() bool {
		err = c.Publish(t.Context(), anEvent)
		return err != nil
	})
	if e := failure(t, err, Unavailable, http.StatusTooManyRequests); e.RetryAfter != 0 {
		t.Errorf("RetryAfter = %v", e.RetryAfter)
	}
	if got := c.RateLimit(); got != 1 {
		t.Errorf("RateLimit() = %d, want 1", got)
	}
}

// TestLiveRestart has what a publisher sees of a server that goes and comes back.
func TestLiveRestart(t *testing.T) {
	soketi := servicestest.StartSoketi(t, services.SoketiOptions{})
	cfg := liveConfig(soketi)
	cfg.Timeout = time.Second
	c := newClient(t, cfg)
	publish(t, c, anEvent...)

	if err := soketi.Pause(); err != nil {
		t.Fatal(err)
	}
	wantError(t, c.Publish(t.Context(), anEvent), Unknown, 0)
	if err := soketi.Resume(); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "events are taken again", func() bool { return c.Publish(t.Context(), anEvent) == nil })

	soketi.Kill()
	wantError(t, c.Publish(t.Context(), anEvent), Unsent, 0)
	if err := soketi.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, c, anEvent...)
}

// TestLiveWebhooks has Soketi report the first and the last subscriber.
func TestLiveWebhooks(t *testing.T) {
	got := make(chan WebhookEvent, 100)
	hooks := NewWebhooks(services.DefaultKey, services.DefaultSecret, silent, func(_ context.Context, events []WebhookEvent) {
		for _, e := range events {
			got <- e
		}
	})
	run(t, hooks)
	ts := httptest.NewServer(hooks)
	defer ts.Close()
	soketi := servicestest.StartSoketi(t, services.SoketiOptions{
		ClientMessages: true,
		Webhooks: []services.Webhook{{
			URL:        ts.URL,
			EventTypes: []string{"channel_occupied", "channel_vacated", "client_event"},
		}},
	})
	next := func() WebhookEvent {
		t.Helper()
		select {
		case e := <-got:
			return e
		case <-time.After(10 * time.Second):
			t.Fatal("no webhook arrives")
			return WebhookEvent{}
		}
	}

	inbox := subscribe(t, liveConfig(soketi), "private-chorus.user.1")
	e := next()
	if e.Name != ChannelOccupied || e.Channel != "private-chorus.user.1" {
		t.Errorf("the webhook says %+v, want the channel occupied", e)
	}
	if age := time.Since(e.Time); age < -time.Second || age > 10*time.Second {
		t.Errorf("the webhook is from %v, that is %v ago", e.Time, age)
	}
	inbox.send(t, `{"event":"client-typing","channel":"private-chorus.user.1","data":{"an":"object"}}`)
	inbox.leave()
	if e := next(); e.Name != ChannelVacated || e.Channel != "private-chorus.user.1" {
		t.Errorf("the webhook says %+v, want the channel vacated", e)
	}
}

func liveConfig(s *services.SoketiServer) Config {
	cfg := configFor("soketi", s.Addr)
	cfg.AppID, cfg.Key, cfg.Secret = s.AppID, s.Key, Secret(s.Secret)
	return cfg
}

// message is what a subscriber of a channel gets.
type message struct{ Channel, Name, Data string }

// subscribed is a connection that is subscribed to channels.
type subscribed struct {
	messages <-chan message
	leave    func()
	send     func(t *testing.T, frame string)
}

// next returns the next message.
func (s subscribed) next(t *testing.T) message {
	t.Helper()
	select {
	case m := <-s.messages:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no message arrives")
		return message{}
	}
}

// socket is a WebSocket connection to a Pusher-compatible server, with just
// enough of both protocols to subscribe.
type socket struct {
	conn net.Conn
	in   *bufio.Reader
}

// subscribe connects and subscribes to channels; it returns when it has.
func subscribe(t *testing.T, cfg Config, channels ...string) subscribed {
	t.Helper()
	conn, err := net.Dial("tcp", cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	s := &socket{conn: conn, in: bufio.NewReader(conn)}
	messages := make(chan message, 1000)
	var reading sync.WaitGroup
	leave := sync.OnceFunc(func() {
		_ = conn.Close()
		reading.Wait()
	})
	t.Cleanup(leave)

	fmt.Fprintf(conn, "GET /app/%s?protocol=7 HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n", cfg.Key, cfg.Host)
	for line := ""; line != "\r\n"; {
		if line, err = s.in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	var hello struct {
		SocketID string `json:"socket_id"`
	}
	first, err := s.read()
	if err != nil || json.Unmarshal([]byte(first.Data), &hello) != nil {
		t.Fatalf("the server greets with %+v, %v", first, err)
	}
	for _, channel := range channels {
		s.send(t, fmt.Sprintf(`{"event":"pusher:subscribe","data":{"channel":%q,"auth":%q}}`,
			channel, cfg.authorise(hello.SocketID, channel)))
	}
	for waiting := slices.Clone(channels); len(waiting) > 0; {
		m, err := s.read()
		if err != nil || m.Name != "pusher_internal:subscription_succeeded" {
			t.Fatalf("the server answers a subscription with %+v, %v", m, err)
		}
		waiting = slices.DeleteFunc(waiting, func(channel string) bool { return channel == m.Channel })
	}
	reading.Go(func() {
		for {
			m, err := s.read()
			if err != nil {
				return
			}
			if !strings.HasPrefix(m.Name, "pusher") {
				messages <- m
			}
		}
	})
	return subscribed{messages: messages, leave: leave, send: s.send}
}

// authorise signs a subscription as a Laravel app does for its users.
func (c Config) authorise(socketID, channel string) string {
	mac := hmac.New(sha256.New, []byte(c.Secret))
	mac.Write([]byte(socketID + ":" + channel))
	return c.Key + ":" + hex.EncodeToString(mac.Sum(nil))
}

// read returns what the next frame says.
func (s *socket) read() (message, error) {
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return message{}, err
	}
	size := uint64(head[1] & 0x7f)
	if more := map[uint64]int{126: 2, 127: 8}[size]; more > 0 {
		var wide [8]byte
		if _, err := io.ReadFull(s.in, wide[8-more:]); err != nil {
			return message{}, err
		}
		size = binary.BigEndian.Uint64(wide[:])
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(s.in, payload); err != nil {
		return message{}, err
	}
	if opcode := head[0] & 0x0f; opcode != 1 {
		return message{}, fmt.Errorf("a frame of kind %d", opcode)
	}
	var frame struct{ Event, Channel, Data string }
	if err := json.Unmarshal(payload, &frame); err != nil {
		return message{}, err
	}
	return message{Channel: frame.Channel, Name: frame.Event, Data: frame.Data}, nil
}

// send sends a text frame, masked as a client's has to be.
func (s *socket) send(t *testing.T, text string) {
	t.Helper()
	frame := []byte{0x81, 0x80 | 126}
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(text)))
	mask := make([]byte, 4)
	_, _ = rand.Read(mask)
	frame = append(frame, mask...)
	for i := range len(text) {
		frame = append(frame, text[i]^mask[i%4])
	}
	if _, err := s.conn.Write(frame); err != nil {
		t.Fatal(err)
	}
}
