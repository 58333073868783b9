package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
)

// delivery is an event as a channel's subscribers got it.
type delivery struct {
	channel string
	harmonic.Harmonic
	row     todo
	control harmonic.Control // in place of a harmonic
}

func (d delivery) String() string {
	return fmt.Sprintf("%s %s %s %s", strings.TrimPrefix(d.channel, "private-"), d.Operation, d.RecordID, d.row.V)
}

// server is a Pusher server, in memory, with a client on every occupied
// channel that keeps rows as Chorus's does.
type server struct {
	t      testing.TB
	world  *world
	limits pusher.Limits

	mu        sync.Mutex
	occupied  map[string]map[int]todo // and what its client has
	delivered []delivery
	flying    map[string]bool // channels with a request in flight
	requests  int
	// answer decides what becomes of a request: nil is success. Deliver says
	// whether it has reached the subscribers all the same.
	answer func(ctx context.Context, events []pusher.Event) (deliver bool, err error)
	// listing answers polls in place of the list, if it is set.
	listing func(ctx context.Context) error
	// sees says what a client may see when it loads again.
	sees func(channel string, d todo) bool
}

func newServer(t testing.TB, w *world) *server {
	t.Helper()
	return &server{
		t: t, world: w, limits: pusher.Limits{Batch: 10, Channels: 100, DataBytes: 10_000},
		occupied: map[string]map[int]todo{}, flying: map[string]bool{},
		sees: func(channel string, d todo) bool {
			return userChannel(d.User) == channel || d.Team != 0 && teamChannel(d.Team) == channel
		},
	}
}

// subscribe has a client load a user's rows and subscribe.
func (s *server) subscribe(user int) {
	s.occupy(userChannel(user), s.world.seen(user))
}

// occupy has a client subscribe that has some rows.
func (s *server) occupy(channel string, rows map[int]todo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.occupied[channel] = rows
}

func (s *server) unsubscribe(user int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.occupied, userChannel(user))
}

// has is what the user's client has.
func (s *server) has(user int) map[int]todo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.occupied[userChannel(user)])
}

// on lists what was delivered on a channel, in order.
func (s *server) on(channel string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, d := range s.delivered {
		if d.channel == channel {
			if d.control != nil {
				out = append(out, d.control.Type())
				continue
			}
			out = append(out, fmt.Sprintf("%s %s %s", d.Operation, d.RecordID, d.row.V))
		}
	}
	return out
}

func (s *server) onAnswer(answer func(ctx context.Context, events []pusher.Event) (bool, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// hold has requests wait until pass is called, and those after it answered at
// once. Begun gets a token when one waits.
func (s *server) hold() (begun <-chan struct{}, pass func()) {
	waits, passed := make(chan struct{}, 1), make(chan struct{})
	s.onAnswer(func(ctx context.Context, _ []pusher.Event) (bool, error) {
		select {
		case waits <- struct{}{}:
		default:
		}
		select {
		case <-passed:
			return true, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	})
	return waits, func() { close(passed) }
}

func (s *server) onListing(listing func(ctx context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listing = listing
}

// Publish implements Publisher.
func (s *server) Publish(ctx context.Context, events []pusher.Event) error {
	if err := s.fits(events); err != nil {
		return err
	}
	s.mu.Lock()
	s.requests++
	var channels []string
	for _, e := range events {
		channels = append(channels, e.Channels...)
	}
	slices.Sort(channels)
	channels = slices.Compact(channels)
	for _, name := range channels {
		if s.flying[name] {
			s.t.Errorf("two requests are in flight on %s", name)
		}
		s.flying[name] = true
	}
	answer := s.answer
	s.mu.Unlock()

	deliver, err := true, error(nil)
	if answer != nil {
		if deliver, err = answer(ctx, events); err == nil {
			deliver = true
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range channels {
		s.flying[name] = false
	}
	if deliver {
		for _, e := range events {
			s.deliver(e)
		}
	}
	return err
}

// deliver gives an event to the subscribers of its channels; s.mu is held.
func (s *server) deliver(e pusher.Event) {
	switch e.Name {
	case harmonic.EventControl:
		s.control(e)
		return
	case probeName: // on a channel that nobody is on
		return
	}
	h, err := harmonic.Parse(e.Data)
	if err != nil {
		s.t.Errorf("published %s: %v", e.Data, err)
		return
	}
	var d todo
	if err := json.Unmarshal(h.Data, &d); err != nil {
		s.t.Errorf("published %s: %v", h.Data, err)
	}
	id, err := strconv.Atoi(string(h.RecordID))
	if err != nil {
		s.t.Errorf("published record %s: %v", h.RecordID, err)
	}
	for _, name := range e.Channels {
		s.delivered = append(s.delivered, delivery{channel: name, Harmonic: h, row: d})
		rows := s.occupied[name]
		switch {
		case rows == nil:
		case h.Operation == harmonic.Delete:
			delete(rows, id)
		default:
			rows[id] = d
		}
	}
}

// control gives a control message to the subscribers of its channels; s.mu is held.
func (s *server) control(e pusher.Event) {
	c, err := harmonic.ParseControl(e.Data)
	if err != nil {
		s.t.Errorf("published %s: %v", e.Data, err)
	}
	for _, name := range e.Channels {
		s.delivered = append(s.delivered, delivery{channel: name, control: c})
		rows := s.occupied[name]
		switch c := c.(type) {
		case harmonic.ScopeRevoked:
			for _, of := range c.Rows {
				maps.DeleteFunc(rows, func(_ int, d todo) bool { return fmt.Sprint(d.Team) == string(of.Where[0].Value) })
			}
		case harmonic.Reset:
			clear(rows)
		case harmonic.Reload, harmonic.Schema:
			clear(rows)
			for id, d := range s.world.all() {
				if rows != nil && s.sees(name, d) {
					rows[id] = d
				}
			}
		}
	}
}

// Packing implements Publisher.
func (s *server) Packing() pusher.Packing {
	return pusher.Packing{Items: s.limits.Batch, Bytes: math.MaxInt, Spread: s.limits.Batch - 1}
}

// fits is what pusher.Client's Fits says.
func (s *server) fits(events []pusher.Event) error {
	items := 0
	for _, e := range events {
		items += len(e.Channels)
	}
	if len(events) > 1 && items > s.limits.Batch {
		return &pusher.LimitError{What: "events in a batch", Size: items, Limit: s.limits.Batch}
	}
	for _, e := range events {
		if len(e.Data) > s.limits.DataBytes {
			return &pusher.LimitError{What: "bytes of an event's data", Size: len(e.Data), Limit: s.limits.DataBytes}
		}
	}
	return nil
}

// Cut implements Publisher.
func (s *server) Cut(e pusher.Event) ([]pusher.Event, error) {
	var out []pusher.Event
	for some := range slices.Chunk(e.Channels, s.limits.Channels) {
		piece := e
		piece.Channels = some
		out = append(out, piece)
	}
	return out, s.fits(out[:1])
}

// Limits implements Publisher.
func (s *server) Limits() pusher.Limits { return s.limits }

// Channels implements Publisher.
func (s *server) Channels(ctx context.Context, prefix string) ([]string, error) {
	s.mu.Lock()
	listing := s.listing
	s.mu.Unlock()
	if listing != nil && strings.HasPrefix(userChannel(0), prefix) { // once a poll
		if err := listing(ctx); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.occupied {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, nil
}

// sortedRows is for messages.
func sortedRows(rows map[int]todo) []todo {
	return slices.SortedFunc(maps.Values(rows), func(a, b todo) int { return cmp.Compare(a.ID, b.ID) })
}
