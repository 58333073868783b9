package pusher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chorusd/chorusd/pusher/pushertest"
)

// A server under the conformance suite is a fake or a real one; the suite
// cannot tell which.
type server struct {
	config Config
	// front is where faults are made to happen.
	front interface {
		Fail(operation pushertest.Operation, times int, fault pushertest.Fault)
		Connections() int
	}
	seen *seen
}

// seen are the requests that came.
type seen struct {
	mu       sync.Mutex
	requests []*pushertest.Request
}

func (s *seen) observe(r *pushertest.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
}

// all are those so far, in the order in which they came.
func (s *seen) all() []*pushertest.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// startFake starts a server of some kind in memory.
func startFake(t *testing.T, kind string) server {
	t.Helper()
	seen := &seen{}
	fake := pushertest.Start(t, pushertest.Options{Kind: kind, Observe: seen.observe})
	return server{config: configFor(kind, fake.Addr()), front: fake, seen: seen}
}

func TestFakeReverb(t *testing.T)  { conform(t, startFake(t, pushertest.Reverb)) }
func TestFakeSoketi(t *testing.T)  { conform(t, startFake(t, pushertest.Soketi)) }
func TestFakeSockudo(t *testing.T) { conform(t, startFake(t, pushertest.Sockudo)) }
func TestFakePusher(t *testing.T)  { conform(t, startFake(t, pushertest.Pusher)) }

// tricky is data that every layer of encoding has to bring through unchanged.
const tricky = `{"a":"<b>&\"quotes\" \\ äöü 🎼 ` + "\u2028" + ` \u0000","n":9007199254740993}`

// conform runs the suite.
func conform(t *testing.T, s server) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, server, *Client)
	}{
		{"nobody is connected", nobodyConnected},
		{"one event to one channel", oneChannel},
		{"one event to as many channels as allowed", manyChannels},
		{"a full batch arrives in order", fullBatch},
		{"an event with two channels in a batch", spreadBatch},
		{"the largest event is taken, a larger one is refused", largestEvent},
		{"channels by prefix", channelsByPrefix},
		{"a prefix with every character", oddPrefix},
		{"a wrong secret", wrongSecret},
		{"an unknown app", unknownApp},
		{"a batch above the limit", batchTooLong},
		{"the kind is found", kindIsFound},
		{"requests are as large as computed", exactSizes},
		{"connections are kept open, or not", connectionsKept},
		{"half an answer", halfAnAnswer},
		{"half a list", halfAList},
		{"a reset while the request comes in", resetMidway},
		{"429 with Retry-After", tooFast},
		{"a quota that is used up", overQuota},
		{"a proxy whose server is away", down},
		{"a slow answer", slowAnswer},
		{"an answer that nobody waits for", lateAnswer},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, s, newClient(t, s.config)) })
	}
}

func publish(t *testing.T, c *Client, events ...Event) {
	t.Helper()
	if err := c.Publish(t.Context(), events); err != nil {
		t.Fatal(err)
	}
}

func wantMessage(t *testing.T, got, want message) {
	t.Helper()
	if got != want {
		t.Errorf("a subscriber got %+v, want %+v", got, want)
	}
}

func nobodyConnected(t *testing.T, _ server, c *Client) {
	for _, prefix := range []string{"", "private-chorus."} {
		if got, err := c.Channels(t.Context(), prefix); err != nil || len(got) != 0 {
			t.Errorf("Channels(%q) = %q, %v; want none", prefix, got, err)
		}
	}
	// An event for nobody is accepted all the same.
	publish(t, c, Event{Name: "e", Channels: []string{"private-a"}, Data: []byte("{}")})
}

func oneChannel(t *testing.T, s server, c *Client) {
	inbox := subscribe(t, s.config, "private-chorus.user.1")
	publish(t, c, Event{Name: "harmonic.created", Channels: []string{"private-chorus.user.1"}, Data: []byte(tricky)})
	wantMessage(t, inbox.next(t), message{"private-chorus.user.1", "harmonic.created", tricky})
}

func manyChannels(t *testing.T, s server, c *Client) {
	var channels []string
	for i := range c.Limits().Channels {
		channels = append(channels, fmt.Sprintf("private-many.%d", i))
	}
	inbox := subscribe(t, s.config, channels...)
	publish(t, c, Event{Name: "e", Channels: channels, Data: []byte(tricky)})
	var got []string
	for range channels {
		m := inbox.next(t)
		wantMessage(t, m, message{m.Channel, "e", tricky})
		got = append(got, m.Channel)
	}
	slices.Sort(got)
	slices.Sort(channels)
	if !slices.Equal(got, channels) {
		t.Errorf("messages arrived on %q, want %q", got, channels)
	}

	channels = append(channels, "private-one-too-many")
	err := c.Publish(t.Context(), []Event{{Name: "e", Channels: channels, Data: []byte("{}")}})
	if limit, ok := errors.AsType[*LimitError](err); !ok || limit.Size != len(channels) {
		t.Errorf("with one channel more: %v, want a LimitError", err)
	}
}

func fullBatch(t *testing.T, s server, c *Client) {
	n := c.Limits().Batch
	if n == 0 {
		n = 25 // bytes are the limit
	}
	inbox := subscribe(t, s.config, "private-a", "private-b")
	var events []Event
	for i := range n {
		events = append(events, Event{
			Name:     fmt.Sprint("e", i),
			Channels: []string{[]string{"private-a", "private-b"}[i%2]},
			Data:     []byte(tricky),
		})
	}
	publish(t, c, events...)
	for i, e := range events {
		wantMessage(t, inbox.next(t), message{e.Channels[0], fmt.Sprint("e", i), tricky})
	}
}

func spreadBatch(t *testing.T, s server, c *Client) {
	inbox := subscribe(t, s.config, "private-a", "private-b")
	publish(t, c,
		Event{Name: "first", Channels: []string{"private-a", "private-b"}, Data: []byte("1")},
		Event{Name: "second", Channels: []string{"private-a"}, Data: []byte("2")})
	wantMessage(t, inbox.next(t), message{"private-a", "first", "1"})
	wantMessage(t, inbox.next(t), message{"private-b", "first", "1"})
	wantMessage(t, inbox.next(t), message{"private-a", "second", "2"})
}

func largestEvent(t *testing.T, s server, c *Client) {
	event := Event{Name: "e", Channels: []string{"private-a"}}
	// The first size that does not fit, by bisection.
	low, high := 1, 1<<20
	for low < high {
		mid := (low + high) / 2
		event.Data = bytes.Repeat([]byte("x"), mid)
		if c.Fits([]Event{event}) == nil {
			low = mid + 1
		} else {
			high = mid
		}
	}
	inbox := subscribe(t, s.config, "private-a")
	event.Data = bytes.Repeat([]byte("x"), low-1)
	publish(t, c, event)
	wantMessage(t, inbox.next(t), message{"private-a", "e", string(event.Data)})

	event.Data = append(event.Data, 'x')
	before := c.Stats().Requests
	err := c.Publish(t.Context(), []Event{event})
	if _, ok := errors.AsType[*LimitError](err); !ok {
		t.Errorf("one byte more: %v, want a LimitError", err)
	}
	if c.Stats().Requests != before {
		t.Error("a request was made for an event that is too large")
	}
	wantError(t, c.publish(t.Context(), []Event{event}), Refused, http.StatusRequestEntityTooLarge)
}

// awaitNobody waits until the server has seen all subscribers leave, those of
// the cases before.
func awaitNobody(t *testing.T, c *Client) {
	t.Helper()
	within(t, 10*time.Second, "nobody is subscribed", func() bool {
		got, err := c.Channels(t.Context(), "")
		return err == nil && len(got) == 0
	})
}

func channelsByPrefix(t *testing.T, s server, c *Client) {
	awaitNobody(t, c)
	inbox := subscribe(t, s.config, "private-chorus.user.1", "private-chorus.user.2", "news")
	for prefix, want := range map[string][]string{
		"":                      {"news", "private-chorus.user.1", "private-chorus.user.2"},
		"private-chorus.":       {"private-chorus.user.1", "private-chorus.user.2"},
		"private-chorus.user.2": {"private-chorus.user.2"},
		"nothing":               nil,
	} {
		got, err := c.Channels(t.Context(), prefix)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Channels(%q) = %q, %v; want %q", prefix, got, err, want)
		}
	}

	inbox.leave()
	awaitNobody(t, c)
}

func oddPrefix(t *testing.T, s server, c *Client) {
	name := "private-Az09_=@,.;-x"
	if !ValidChannel(name) {
		t.Fatalf("%q is no valid channel", name)
	}
	inbox := subscribe(t, s.config, name, "private-other")
	for _, prefix := range []string{name, strings.TrimSuffix(name, "-x")} {
		got, err := c.Channels(t.Context(), prefix)
		if err != nil || !slices.Equal(got, []string{name}) {
			t.Errorf("Channels(%q) = %q, %v; want %q", prefix, got, err, name)
		}
	}
	publish(t, c, Event{Name: "e", Channels: []string{name}, Data: []byte("1")})
	wantMessage(t, inbox.next(t), message{name, "e", "1"})
	before := c.Stats().Requests
	if _, err := c.Channels(t.Context(), "a&info=user_count"); err == nil {
		t.Error("a prefix with & is accepted")
	}
	if c.Stats().Requests != before {
		t.Error("a request was made for a prefix that cannot be")
	}
}

func wrongSecret(t *testing.T, s server, _ *Client) {
	s.config.Secret += "x"
	rejectedEverywhere(t, newClient(t, s.config), http.StatusUnauthorized)
}

func unknownApp(t *testing.T, s server, _ *Client) {
	s.config.AppID = "nope"
	rejectedEverywhere(t, newClient(t, s.config), http.StatusNotFound)
}

func rejectedEverywhere(t *testing.T, c *Client, status int) {
	t.Helper()
	e := Event{Name: "e", Channels: []string{"private-a"}, Data: []byte("{}")}
	wantError(t, c.Publish(t.Context(), []Event{e}), Misconfigured, status)
	wantError(t, c.Publish(t.Context(), []Event{e, e}), Misconfigured, status)
	_, err := c.Channels(t.Context(), "")
	wantError(t, err, Misconfigured, status)
}

func batchTooLong(t *testing.T, s server, c *Client) {
	var events []Event
	for range 11 {
		events = append(events, Event{Name: "e", Channels: []string{"private-a"}, Data: []byte("{}")})
	}
	if c.Limits().Batch == 0 {
		publish(t, c, events...)
		return
	}
	if _, ok := errors.AsType[*LimitError](c.Publish(t.Context(), events)); !ok {
		t.Error("a batch of 11 gives no LimitError")
	}
	inbox := subscribe(t, s.config, "private-a")
	wantError(t, c.publish(t.Context(), events), Refused, http.StatusBadRequest)
	publish(t, c, Event{Name: "after", Channels: []string{"private-a"}, Data: []byte("1")})
	wantMessage(t, inbox.next(t), message{"private-a", "after", "1"})
}

// kindIsFound has the server's kind found out by its answers. Hosted Pusher is
// known by its name alone.
func kindIsFound(t *testing.T, s server, _ *Client) {
	cfg := s.config
	cfg.Server = Auto
	got, err := Detect(t.Context(), cfg, silent, Options{})
	if s.config.Server == pushertest.Pusher {
		if _, ok := errors.AsType[*UnknownServerError](err); !ok {
			t.Errorf("Detect() = %q, %v; want an UnknownServerError", got, err)
		}
		return
	}
	if err != nil || got != s.config.Server {
		t.Errorf("Detect() = %q, %v; want %q", got, err, s.config.Server)
	}
	cfg.Secret += "x"
	_, err = Detect(t.Context(), cfg, silent, Options{})
	wantError(t, err, Misconfigured, http.StatusUnauthorized)
}

func exactSizes(t *testing.T, s server, c *Client) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		var events []Event
		for range 1 + rnd.IntN(4) {
			e := Event{Name: "e<" + strings.Repeat("n", rnd.IntN(5)), Data: []byte(strings.Repeat(tricky, 1+rnd.IntN(20)))}
			for i := range 1 + rnd.IntN(3) {
				e.Channels = append(e.Channels, fmt.Sprint("private-", rnd.IntN(1000), ".", i))
			}
			events = append(events, e)
		}
		if c.Fits(events) != nil {
			continue
		}
		publish(t, c, events...)
		requests := s.seen.all()
		if got, want := c.Size(events), requests[len(requests)-1].Bytes; got != want {
			t.Fatalf("Size of %d events = %d, the request has %d bytes", len(events), got, want)
		}
	}
}

// connectionsKept counts connections: "HTTP/1.0, one request per connection"
// is Reverb's way, and Soketi's.
func connectionsKept(t *testing.T, s server, c *Client) {
	const requests = 5
	want := requests
	if s.config.Server == pushertest.Sockudo || s.config.Server == pushertest.Pusher {
		want = 1
	}
	before := s.front.Connections()
	for range requests {
		publish(t, c, anEvent...)
	}
	if got := s.front.Connections() - before; got != want {
		t.Errorf("%d connections for %d requests, want %d", got, requests, want)
	}
}

// halfAnAnswer has an answer break off in several places, after the event was
// delivered: its outcome is unknown.
func halfAnAnswer(t *testing.T, s server, _ *Client) {
	inbox := subscribe(t, s.config, "private-a")
	for _, fault := range []pushertest.Fault{pushertest.Half, pushertest.HalfHead, pushertest.Lost, pushertest.LostByReset} {
		s.front.Fail(pushertest.Publish, 1, fault)
		c := newClient(t, s.config) // whose first request is not made again on another connection
		wantError(t, c.Publish(t.Context(), anEvent), Unknown, 0)
		wantMessage(t, inbox.next(t), message{"private-a", "e", "{}"})
		publish(t, c, Event{Name: "after", Channels: []string{"private-a"}, Data: []byte("1")})
		wantMessage(t, inbox.next(t), message{"private-a", "after", "1"})
	}
}

// halfAList has the list of channels break off: none of it may be believed.
func halfAList(t *testing.T, s server, c *Client) {
	awaitNobody(t, c)
	subscribe(t, s.config, "private-a", "private-b")
	for _, fault := range []pushertest.Fault{pushertest.Half, pushertest.HalfHead, pushertest.Lost} {
		s.front.Fail(pushertest.List, 1, fault)
		c := newClient(t, s.config)
		got, err := c.Channels(t.Context(), "private-")
		wantError(t, err, Unknown, 0)
		if got != nil {
			t.Errorf("the list is %q", got)
		}
		if got, err = c.Channels(t.Context(), "private-"); err != nil || len(got) != 2 {
			t.Errorf("then the list is %q, %v", got, err)
		}
	}
}

// resetMidway is Reverb's 413 where it does not arrive. Nothing is known of it,
// and nothing was done.
func resetMidway(t *testing.T, s server, c *Client) {
	inbox := subscribe(t, s.config, "private-a")
	s.front.Fail(pushertest.Publish, 1, pushertest.Reset)
	large := Event{Name: "e", Channels: []string{"private-a"}, Data: bytes.Repeat([]byte("x"), 9000)}
	wantError(t, c.Publish(t.Context(), []Event{large}), Unknown, 0)
	publish(t, c, Event{Name: "after", Channels: []string{"private-a"}, Data: []byte("1")})
	wantMessage(t, inbox.next(t), message{"private-a", "after", "1"})
}

// refused makes a request that is answered otherwise, and one that is not.
func refused(t *testing.T, s server, c *Client, fault pushertest.Fault, class Class, status int) *Error {
	t.Helper()
	inbox := subscribe(t, s.config, "private-a")
	s.front.Fail(pushertest.Publish, 1, fault)
	e := failure(t, c.Publish(t.Context(), anEvent), class, status)
	publish(t, c, Event{Name: "after", Channels: []string{"private-a"}, Data: []byte("1")})
	wantMessage(t, inbox.next(t), message{"private-a", "after", "1"})
	return e
}

func tooFast(t *testing.T, s server, c *Client) {
	e := refused(t, s, c, pushertest.TooFast(3), Unavailable, http.StatusTooManyRequests)
	if e.RetryAfter != 3*time.Second {
		t.Errorf("RetryAfter = %v, want 3s", e.RetryAfter)
	}
}

func overQuota(t *testing.T, s server, c *Client) {
	e := refused(t, s, c, pushertest.OverQuota, Misconfigured, http.StatusForbidden)
	if !strings.Contains(e.Error(), "quota") {
		t.Errorf("error %q says nothing of a quota", e)
	}
}

func down(t *testing.T, s server, c *Client) {
	_ = refused(t, s, c, pushertest.Down, Unavailable, http.StatusBadGateway)
}

// slowAnswer comes after the event, and in time.
func slowAnswer(t *testing.T, s server, c *Client) {
	inbox := subscribe(t, s.config, "private-a")
	until := make(chan struct{})
	s.front.Fail(pushertest.Publish, 1, pushertest.Slow(until))
	answered := make(chan error, 1)
	go func() { answered <- c.Publish(t.Context(), anEvent) }()
	wantMessage(t, inbox.next(t), message{"private-a", "e", "{}"})
	close(until)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// lateAnswer has not come, or half of it has not, when the caller gives up.
func lateAnswer(t *testing.T, s server, c *Client) {
	inbox := subscribe(t, s.config, "private-a")
	for _, fault := range []pushertest.Fault{pushertest.Slow(nil), pushertest.Stuck(nil)} {
		s.front.Fail(pushertest.Publish, 1, fault)
		ctx, giveUp := context.WithCancel(t.Context())
		answered := make(chan error, 1)
		go func() { answered <- c.Publish(ctx, anEvent) }()
		wantMessage(t, inbox.next(t), message{"private-a", "e", "{}"})
		giveUp()
		if e := failure(t, <-answered, Unknown, 0); !errors.Is(e, context.Canceled) {
			t.Errorf("error %q is no context.Canceled", e)
		}
	}
	publish(t, c, Event{Name: "after", Channels: []string{"private-a"}, Data: []byte("1")})
	wantMessage(t, inbox.next(t), message{"private-a", "after", "1"})
}

func wantError(t *testing.T, err error, class Class, status int) {
	t.Helper()
	_ = failure(t, err, class, status)
}

// failure checks an *Error, and that it tells nobody how to sign a request.
func failure(t *testing.T, err error, class Class, status int) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error %v (%T), want an *Error of class %v", err, err, class)
	}
	if e.Class != class || e.Status != status {
		t.Errorf("error %q has class %v and status %d, want %v and %d", e, e.Class, e.Status, class, status)
	}
	if e.Retryable() != (class != Refused) {
		t.Errorf("error %q of class %v: Retryable() is %v", e, class, e.Retryable())
	}
	for _, secret := range []string{"auth_", "labsecret", "labkey", "http://"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("error %q contains %q", err, secret)
		}
	}
	return e
}

// within waits for something to become true.
func within(t *testing.T, most time.Duration, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(most)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", most, what)
		}
	}
}
