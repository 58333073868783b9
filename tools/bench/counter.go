package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// counter is a client that counts what comes and does little else with it, so
// that it can be told of far more than an app's.
type counter struct {
	conn  *websocket.Conn
	ended chan struct{}
	err   error // why reading ended; to be read after ended

	mu    sync.Mutex
	count *count
}

// count is of the messages of some consecutive records.
type count struct {
	from        *counter
	first       int   // record
	each        int   // messages of one
	missing     []int // of each record
	left        int
	began, last time.Time
	all         chan struct{} // closed when none is left
}

func newCounter(ctx context.Context, to app, channels []string) (*counter, error) {
	conn, err := connect(ctx, to, channels)
	if err != nil {
		return nil, err
	}
	c := &counter{conn: conn, ended: make(chan struct{})}
	go c.read()
	return c, nil
}

// close ends the connection and waits for the end of reading.
func (c *counter) close() error {
	_ = c.conn.CloseNow()
	<-c.ended
	return nil
}

func (c *counter) read() {
	defer close(c.ended)
	ctx := context.Background() // close ends it
	var frame bytes.Buffer
	for c.err == nil {
		_, r, err := c.conn.Reader(ctx)
		if err == nil {
			frame.Reset()
			_, err = frame.ReadFrom(r)
		}
		if err != nil {
			c.err = err
			return
		}
		c.err = c.take(ctx, frame.Bytes())
	}
}

// recordMark is what stands before a record's key in the text of a harmonic that
// is inside of a JSON string.
const recordMark = `\"record_id\":`

func (c *counter) take(ctx context.Context, frame []byte) error {
	_, rest, found := bytes.Cut(frame, []byte(recordMark))
	switch {
	case found:
		end := bytes.IndexByte(rest, ',')
		id, err := strconv.Atoi(string(rest[:max(end, 0)]))
		if err != nil {
			return fmt.Errorf("the message %s: %w", frame, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.count.note(id, time.Now())
	case bytes.Contains(frame, []byte(`"pusher:ping"`)):
		return c.conn.Write(ctx, websocket.MessageText, []byte(`{"event":"pusher:pong"}`))
	case bytes.Contains(frame, []byte(`"pusher:error"`)):
		return fmt.Errorf("the server says %s", frame)
	}
	return nil
}

// expect begins to count so many messages of each of n records; what comes of
// others, or once more, is passed over.
func (c *counter) expect(first, n, each int) *count {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count = &count{from: c, first: first, each: each, missing: make([]int, n), left: n * each, all: make(chan struct{})}
	for i := range c.count.missing {
		c.count.missing[i] = each
	}
	return c.count
}

func (n *count) note(id int, at time.Time) {
	if n == nil || id < n.first || id >= n.first+len(n.missing) || n.missing[id-n.first] == 0 {
		return
	}
	if n.began.IsZero() {
		n.began = at
	}
	n.last = at
	n.missing[id-n.first]--
	if n.left--; n.left == 0 {
		close(n.all)
	}
}

// rate waits for all of them and returns how many came in a second, from the
// first to the last.
func (n *count) rate(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*settling)
	defer cancel()
	select {
	case <-n.all:
		return float64(len(n.missing)*n.each) / n.last.Sub(n.began).Seconds(), nil
	case <-n.from.ended:
		return 0, fmt.Errorf("the client's connection ended: %w", n.from.err)
	case <-ctx.Done():
		n.from.mu.Lock()
		defer n.from.mu.Unlock()
		return 0, fmt.Errorf("%d of %d messages have not come: %w", n.left, len(n.missing)*n.each, ctx.Err())
	}
}
