package oracle

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// event is one that was published to a channel.
type event struct {
	Channel string
	Name    string
	Data    string
	// heard says that somebody listened.
	heard bool
}

// Pusher plays a Pusher server that speaks like Soketi: it records what is
// published, in order, and answers slowly or not at all now and then.
type Pusher struct {
	listener net.Listener
	server   http.Server
	serving  sync.WaitGroup

	mu       sync.Mutex
	occupied map[string]bool
	events   []event
	troubled bool
}

// NewPusher starts one; it is to be closed.
func NewPusher() (*Pusher, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Pusher{listener: listener, occupied: map[string]bool{}, troubled: true}
	p.server.Handler = p
	p.serving.Go(func() { _ = p.server.Serve(listener) }) // until Close
	return p, nil
}

// Close ends it.
func (p *Pusher) Close() error {
	err := p.server.Close()
	p.serving.Wait()
	return err
}

// Addr is its host and port.
func (p *Pusher) Addr() string { return p.listener.Addr().String() }

// enter has somebody listen on a channel.
func (p *Pusher) enter(channel string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.occupied[channel] = true
}

// leave ends that.
func (p *Pusher) leave(channel string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.occupied, channel)
}

// take returns what was published since it was last called.
func (p *Pusher) take() []event {
	p.mu.Lock()
	defer p.mu.Unlock()
	events := p.events
	p.events = nil
	return events
}

// trouble says whether answers may be slow or missing.
func (p *Pusher) trouble(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.troubled = on
}

// ServeHTTP answers as the HTTP API does.
func (p *Pusher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fate := p.fate()
	if fate < 0.01 {
		http.Error(w, "in trouble", http.StatusInternalServerError)
		return
	}
	answer := map[string]any{"ok": true}
	_, operation, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/apps/"), "/")
	switch r.Method + " " + operation {
	case "GET channels":
		answer = map[string]any{"channels": p.channels(r.URL.Query().Get("filter_by_prefix"))}
	case "POST events":
		var one struct {
			Name     string
			Channels []string
			Data     string
		}
		if err := json.NewDecoder(r.Body).Decode(&one); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, channel := range one.Channels {
			p.deliver(event{Channel: channel, Name: one.Name, Data: one.Data})
		}
	case "POST batch_events":
		var many struct{ Batch []event }
		if err := json.NewDecoder(r.Body).Decode(&many); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, e := range many.Batch {
			p.deliver(e)
		}
		answer = map[string]any{"batch": []any{}}
	default:
		http.NotFound(w, r)
		return
	}
	if fate < 0.02 {
		panic(http.ErrAbortHandler) // accepted, and the answer is lost
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

// fate draws what becomes of a request, after it was slow or not.
func (p *Pusher) fate() float64 {
	p.mu.Lock()
	troubled := p.troubled
	p.mu.Unlock()
	if !troubled {
		return 1
	}
	if rand.Float64() < 0.05 {
		<-time.After(rand.N(20 * time.Millisecond))
	}
	return rand.Float64()
}

func (p *Pusher) channels(prefix string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	channels := map[string]any{}
	for channel := range p.occupied {
		if strings.HasPrefix(channel, prefix) {
			channels[channel] = map[string]any{"subscription_count": 1, "occupied": true}
		}
	}
	return channels
}

func (p *Pusher) deliver(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.heard = p.occupied[e.Channel]
	p.events = append(p.events, e)
}
