package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/chorusd/chorusd/harmonic"
)

// client is a browser's end: it subscribes to channels over the Pusher
// protocol, records every event, and when the connection breaks it connects
// and subscribes again, as pusher-js does.
type client struct {
	stack    *stack
	secrets  *channelSecrets // to decrypt with; nil: what comes is not encrypted
	channels []string
	leave    func() // leaves for good, and may be called twice

	connections atomic.Int32 // that were established

	inbox  sync.Mutex
	unread [][]byte // events

	mu       sync.Mutex
	events   map[string][]received // by channel; only appended to
	joined   map[string]bool       // channels of the connection at hand
	problems []error
}

// received is one event as a client gets it.
type received struct {
	channel, name string
	payload       string
	harmonic      harmonic.Harmonic // where the event is one
}

// frame is a message of the Pusher protocol.
type frame struct {
	Event   string          `json:"event"`
	Channel string          `json:"channel,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// reconnectPause is that of pusher-js.
const reconnectPause = time.Second

// subscribe connects a client and returns when it has joined the channels,
// which are named without "private-".
func (s *stack) subscribe(t *testing.T, channels ...string) *client {
	t.Helper()
	return s.subscribeWith(t, nil, channels...)
}

// subscribeWith is subscribe for a client that decrypts, on encrypted channels.
func (s *stack) subscribeWith(t *testing.T, secrets *channelSecrets, channels ...string) *client {
	t.Helper()
	c := &client{stack: s, secrets: secrets, events: map[string][]received{}}
	for _, name := range channels {
		c.channels = append(c.channels, c.prefix()+name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		defer close(left)
		c.stay(ctx)
	}()
	c.leave = func() {
		cancel()
		<-left
	}
	t.Cleanup(func() {
		c.leave()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.read()
		for _, err := range c.problems {
			t.Errorf("client of %v: %v", channels, err)
		}
	})
	c.awaitJoined(t)
	return c
}

func (c *client) prefix() string {
	if c.secrets != nil {
		return "private-encrypted-"
	}
	return "private-"
}

func (c *client) awaitJoined(t *testing.T) {
	t.Helper()
	eventually(t, fmt.Sprintf("a client has joined %v", c.channels), c.hasJoined)
}

// hasJoined says whether the client is on all its channels.
func (c *client) hasJoined() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.joined) == len(c.channels)
}

// stay keeps the client connected until ctx ends.
func (c *client) stay(ctx context.Context) {
	for ctx.Err() == nil {
		_ = c.connect(ctx) // connections break: that is what tests do to them
		c.mu.Lock()
		c.joined = nil
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(reconnectPause):
		}
	}
}

// connect makes one connection and takes its events until it breaks.
func (c *client) connect(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	url := fmt.Sprintf("ws://%s/app/%s?protocol=7&client=chorusd-test&version=1", c.stack.pusher, c.stack.key)
	conn, _, err := websocket.Dial(dialing, url, nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	c.connections.Add(1)
	conn.SetReadLimit(1 << 20)
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		if err := c.take(ctx, conn, message); err != nil {
			return err
		}
	}
}

// take takes a message. Events are put aside unread: Soketi drops what a client
// is too slow for.
func (c *client) take(ctx context.Context, conn *websocket.Conn, message []byte) error {
	if !bytes.HasPrefix(message, []byte(`{"event":"pusher`)) {
		c.inbox.Lock()
		defer c.inbox.Unlock()
		c.unread = append(c.unread, message)
		return nil
	}
	var f frame
	if err := json.Unmarshal(message, &f); err != nil {
		return err
	}
	switch f.Event {
	case "pusher:connection_established":
		var established struct {
			SocketID string `json:"socket_id"`
		}
		if err := json.Unmarshal([]byte(text(f.Data)), &established); err != nil {
			return err
		}
		for _, name := range c.channels {
			if err := wsjson.Write(ctx, conn, c.subscription(name, established.SocketID)); err != nil {
				return err
			}
		}
	case "pusher:ping":
		return wsjson.Write(ctx, conn, frame{Event: "pusher:pong"})
	case "pusher_internal:subscription_succeeded":
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.joined == nil {
			c.joined = map[string]bool{}
		}
		c.joined[f.Channel] = true
	default: // pusher:error, pusher:subscription_error
		c.mu.Lock()
		defer c.mu.Unlock()
		c.problems = append(c.problems, fmt.Errorf("%s: %s", f.Event, f.Data))
	}
	return nil
}

// subscription joins a private channel with the signature that Laravel's
// /broadcasting/auth would give.
func (c *client) subscription(channel, socketID string) any {
	if c.secrets != nil {
		c.secrets.ask(channel)
	}
	mac := hmac.New(sha256.New, []byte(c.stack.secret))
	mac.Write([]byte(socketID + ":" + channel))
	return map[string]any{
		"event": "pusher:subscribe",
		"data":  map[string]string{"channel": channel, "auth": c.stack.key + ":" + hex.EncodeToString(mac.Sum(nil))},
	}
}

// text undoes the JSON string that Pusher's data is wrapped in.
func text(data json.RawMessage) string {
	var s string
	if json.Unmarshal(data, &s) != nil {
		return string(data)
	}
	return s
}

// read records what was put aside. c.mu is held.
func (c *client) read() {
	c.inbox.Lock()
	unread := c.unread
	c.unread = nil
	c.inbox.Unlock()
	for _, message := range unread {
		var f frame
		err := json.Unmarshal(message, &f)
		e := received{channel: f.Channel, name: f.Event, payload: text(f.Data)}
		if err == nil && c.secrets != nil && !c.secrets.decrypt(&e) {
			continue
		}
		unread := c.secrets == nil && strings.HasPrefix(f.Channel, "private-encrypted-")
		if err == nil && f.Event == harmonic.EventCreated && !unread {
			e.harmonic, err = harmonic.Parse([]byte(e.payload))
		}
		if err == nil && !slices.Contains(c.channels, f.Channel) {
			err = fmt.Errorf("an event on %s, which was not subscribed", f.Channel)
		}
		if err != nil {
			c.problems = append(c.problems, err)
		}
		c.events[f.Channel] = append(c.events[f.Channel], e)
	}
}

// got is what came so far on a channel, which is named without its prefix.
func (c *client) got(channel string) []received {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read()
	return c.events[c.prefix()+channel]
}

// await waits until as many events have come on a channel and returns them.
func (c *client) await(t *testing.T, channel string, n int) []received {
	t.Helper()
	eventually(t, fmt.Sprintf("%d events on %s", n, channel), func() bool { return len(c.got(channel)) >= n })
	return c.got(channel)
}
