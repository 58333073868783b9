package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/chorusd/chorusd/harmonic"
)

// subscriber is a client of the Pusher protocol on one WebSocket:
// https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/
// It takes note of when harmonics arrive.
type subscriber struct {
	conn  *websocket.Conn
	ended chan struct{}
	err   error // why reading ended; to be read after ended

	mu       sync.Mutex
	arriving *arrivals
}

// frame is a message of the protocol. Data is a JSON string in what the server
// sends and an object in what the client sends.
type frame struct {
	Event   string          `json:"event"`
	Channel string          `json:"channel,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// open reads the data that is inside of the JSON string.
func (f *frame) open(into any) error {
	var text string
	if err := json.Unmarshal(f.Data, &text); err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

// subscribe connects and subscribes to private channels.
func subscribe(ctx context.Context, to app, channels []string) (*subscriber, error) {
	conn, err := connect(ctx, to, channels)
	if err != nil {
		return nil, err
	}
	s := &subscriber{conn: conn, ended: make(chan struct{})}
	go s.read()
	return s, nil
}

// connect opens a WebSocket that is subscribed to private channels.
func connect(ctx context.Context, to app, channels []string) (*websocket.Conn, error) {
	conn, _, err := websocket.Dial(ctx, "ws://"+to.addr+"/app/"+to.key+"?protocol=7&client=bench", nil) //nolint:bodyclose // of a WebSocket there is none
	if err != nil {
		return nil, err
	}
	if err := join(ctx, conn, to, channels); err != nil {
		_ = conn.CloseNow()
		return nil, err
	}
	return conn, nil
}

// join subscribes, signing as the app would.
func join(ctx context.Context, conn *websocket.Conn, to app, channels []string) error {
	var hello frame
	var socket struct {
		ID string `json:"socket_id"`
	}
	if err := wsjson.Read(ctx, conn, &hello); err != nil {
		return err
	}
	if err := hello.open(&socket); err != nil || hello.Event != "pusher:connection_established" {
		return fmt.Errorf("the server greets with %s %s", hello.Event, hello.Data)
	}
	for _, channel := range channels {
		mac := hmac.New(sha256.New, []byte(to.secret))
		mac.Write([]byte(socket.ID + ":" + channel))
		data, err := json.Marshal(map[string]string{
			"channel": channel, "auth": to.key + ":" + hex.EncodeToString(mac.Sum(nil)),
		})
		if err != nil {
			return err
		}
		if err := wsjson.Write(ctx, conn, frame{Event: "pusher:subscribe", Data: data}); err != nil {
			return err
		}
		var answer frame
		if err := wsjson.Read(ctx, conn, &answer); err != nil {
			return err
		}
		if answer.Event != "pusher_internal:subscription_succeeded" {
			return fmt.Errorf("channel %s: %s %s", channel, answer.Event, answer.Data)
		}
	}
	return nil
}

// close ends the connection and waits for the end of reading.
func (s *subscriber) close() error {
	_ = s.conn.CloseNow()
	<-s.ended
	return nil
}

// read takes what comes until the connection ends.
func (s *subscriber) read() {
	defer close(s.ended)
	ctx := context.Background() // close ends it
	for {
		var f frame
		if s.err = wsjson.Read(ctx, s.conn, &f); s.err != nil {
			return
		}
		switch f.Event {
		case harmonic.EventCreated:
			s.err = s.callback(&f, time.Now())
		case "pusher:ping":
			s.err = wsjson.Write(ctx, s.conn, frame{Event: "pusher:pong"})
		case "pusher:error":
			s.err = fmt.Errorf("the server says %s", f.Data)
		}
		if s.err != nil {
			return
		}
	}
}

// callback takes note of one event. The time was taken where an app's own
// callback would be called.
func (s *subscriber) callback(f *frame, at time.Time) error {
	var body string
	if err := json.Unmarshal(f.Data, &body); err != nil {
		return err
	}
	h, err := harmonic.Parse([]byte(body))
	if err != nil {
		return err
	}
	id, err := strconv.Atoi(string(h.RecordID))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arriving.note(id, at, []byte(body))
	return nil
}

// arrivals are when the harmonics of consecutive records came, and their text.
type arrivals struct {
	from   *subscriber
	first  int // record
	times  []time.Time
	bodies [][]byte
	left   int
	all    chan struct{} // closed when none is left
}

// expect begins to take note of n records; what comes of others is passed over.
func (s *subscriber) expect(first, n int) *arrivals {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arriving = &arrivals{
		from: s, first: first, times: make([]time.Time, n), bodies: make([][]byte, n), left: n, all: make(chan struct{}),
	}
	return s.arriving
}

// note counts the first arrival of each record.
func (a *arrivals) note(id int, at time.Time, body []byte) {
	if a == nil || id < a.first || id >= a.first+len(a.times) || !a.times[id-a.first].IsZero() {
		return
	}
	a.times[id-a.first], a.bodies[id-a.first] = at, body
	a.left--
	if a.left == 0 {
		close(a.all)
	}
}

// wait returns the times of all arrivals.
func (a *arrivals) wait(ctx context.Context) ([]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	select {
	case <-a.all:
		return a.times, nil
	case <-a.from.ended:
		return nil, fmt.Errorf("the client's connection ended: %w", a.from.err)
	case <-ctx.Done():
		a.from.mu.Lock()
		defer a.from.mu.Unlock()
		return nil, fmt.Errorf("%d of %d events have not come: %w", a.left, len(a.times), ctx.Err())
	}
}
