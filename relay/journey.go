package relay

import (
	"slices"
	"sync"
	"time"

	"github.com/chorusd/chorusd/binlog"
)

// Tracer takes the journeys of some transactions.
type Tracer interface {
	// Wanted says whether that of the next transaction is one of them.
	Wanted() bool
	// Trace takes a journey that has ended; it does not wait for anything.
	Trace(j Journey)
}

// Journey is how a transaction went from its commit to where all that came of
// it was accepted. It tells nothing of rows or of who gets them.
type Journey struct {
	// Point is where the transaction ends in the log; its Time is that of the
	// commit, by the database server's clock.
	Point binlog.Point
	// Read is when it was read to its end, Routing and Routed when it began and
	// ended to be routed, and Settled when the last of what came of it was
	// accepted, kept for those who come, or set aside.
	Read, Routing, Routed, Settled time.Time
	// Requests are the first ones that something of it was in, at most
	// requestsTraced, and MoreRequests how many came after them.
	Requests     []Request
	MoreRequests int
}

// Request is one to the Pusher server, with all its tries. What is too large
// for one is several, told as one.
type Request struct {
	Begun, Ended time.Time
	// Messages are those in it, also of other transactions, and Channels theirs.
	Messages, Channels int
}

// requestsTraced is how many requests of a transaction are traced one by one.
const requestsTraced = 100

// journey is a Journey under way. A nil one takes everything and tells nothing.
type journey struct {
	tracer Tracer
	mu     sync.Mutex
	Journey
}

// embark begins the journey of a transaction, if it is wanted.
func (r *Relay) embark(a *arrival) *journey {
	if r.tracer == nil || !r.tracer.Wanted() {
		return nil
	}
	return &journey{tracer: r.tracer, Journey: Journey{Point: a.point, Read: a.read, Routing: time.Now()}}
}

// routed notes that all harmonics of it are on their way.
func (j *journey) routed() {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.Routed = time.Now()
}

// sent notes that something of it was in a request that has ended.
func (j *journey) sent(q Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.Requests) == requestsTraced {
		j.MoreRequests++
		return
	}
	j.Requests = append(j.Requests, q)
}

// end gives it away, unless nobody got anything.
func (j *journey) end() {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.Requests) > 0 {
		j.Settled = time.Now()
		j.tracer.Trace(j.Journey)
	}
}

// traced notes a request of a batch with the journeys that are in it, each once.
func traced(batch []*message, begun time.Time) {
	var journeys []*journey
	for _, m := range batch {
		if p, ok := m.owner.(*page); ok && p.journey != nil && !slices.Contains(journeys, p.journey) {
			journeys = append(journeys, p.journey)
		}
	}
	if len(journeys) == 0 {
		return
	}
	q := Request{Begun: begun, Ended: time.Now(), Messages: len(batch)}
	for _, m := range batch {
		q.Channels += len(m.Channels)
	}
	for _, j := range journeys {
		j.sent(q)
	}
}
