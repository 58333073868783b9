package relay

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Status is how the relay does.
type Status struct {
	// Reading says that the database server was heard of lately, or that
	// reading pauses by itself.
	Reading bool `json:"reading"`
	// ChannelsKnown says that a poll of the active channels was completed lately.
	ChannelsKnown bool `json:"channels_known"`
	// Publishing says that publish requests do not fail all the time, see circuit.
	Publishing bool `json:"publishing"`
	// Saving says that the last write to Redis did not fail.
	Saving bool `json:"saving"`
	// Leading says that no other chorusd may have requests under way.
	Leading bool `json:"leading"`
	// Stuck says that nothing has gone forward for long although there is
	// something to do and all of the above works, which is a mistake of chorusd.
	Stuck bool `json:"stuck"`
	// Lag is the age of the oldest transaction that is not settled, or of
	// the last word of the database server; 0 when caught up.
	Lag        time.Duration `json:"-"`
	LagSeconds float64       `json:"lag_seconds"`
	// LagBytes is how much of the binary log is not read yet, of what there
	// was at the last look; nil if that is not known.
	LagBytes *uint64 `json:"lag_bytes"`
	// Paused says that reading waits until some of what was read is published.
	Paused   bool   `json:"paused"`
	Position string `json:"position"`
	Queued   int    `json:"queued"`
	// Pending counts transactions that were read and are not routed yet, and
	// Refills what is still to be sent of what channels missed: 0 when
	// nothing is under way.
	Pending int `json:"pending"`
	Refills int `json:"refills"`
	// InboxBytes is the memory that the pending take, and OverflowBytes what
	// is of them in a file.
	InboxBytes    int   `json:"inbox_bytes"`
	OverflowBytes int64 `json:"overflow_bytes"`
	// QueueFileBytes is how much of what is queued is in a file.
	QueueFileBytes int64 `json:"queue_file_bytes"`
	// Window is how many keys are kept for channels that come.
	Window         int `json:"window"`
	ActiveChannels int `json:"active_channels"`
	// CheckpointAge is the time since Redis had everything that is settled.
	CheckpointAge time.Duration `json:"-"`

	heard time.Time
}

// part is something that has to work for harmonics to reach those who are there.
type part struct {
	name  string
	works func(Status) bool
	// problem is what it is when it does not.
	problem func(Status, time.Time) string
}

var parts = []part{
	{"database", func(s Status) bool { return s.Reading }, func(s Status, now time.Time) string {
		if s.heard.IsZero() {
			return "the database server was not heard of yet"
		}
		return fmt.Sprintf("the database server was not heard of for %s", now.Sub(s.heard).Round(time.Second))
	}},
	{"channels", func(s Status) bool { return s.ChannelsKnown }, func(Status, time.Time) string {
		return "the Pusher server has not said lately which channels are active"
	}},
	{"pusher", func(s Status) bool { return s.Publishing }, func(Status, time.Time) string {
		return "publish requests to the Pusher server fail"
	}},
	{"redis", func(s Status) bool { return s.Saving }, func(Status, time.Time) string {
		return "the last write to Redis failed"
	}},
	{"leader", func(s Status) bool { return s.Leading }, func(Status, time.Time) string {
		return "nothing is published while another chorusd may do so: the one before has ended only just, or Redis has not said lately that this one leads"
	}},
}

// Ready says whether harmonics reach those who are there.
func (s Status) Ready() bool {
	for _, p := range parts {
		if !p.works(s) {
			return false
		}
	}
	return true
}

// Problems say why it is not ready, a line for each part: "redis: the last
// write to Redis failed".
func (s Status) Problems() []string {
	var list []string
	for _, p := range parts {
		if !p.works(s) {
			list = append(list, p.name+": "+p.problem(s, time.Now()))
		}
	}
	return list
}

// lagBytes is LagBytes for metrics.
func (s Status) lagBytes() float64 {
	if s.LagBytes == nil {
		return math.NaN()
	}
	return float64(*s.LagBytes)
}

// silence is how long a healthy server may say nothing: it is asked for a
// heartbeat every second.
const silence = 5 * time.Second

// Status tells how the relay does right now.
func (r *Relay) Status() Status {
	now := time.Now()
	s := Status{Publishing: r.circuit.closed(), Saving: !r.unsaved.Load(), Leading: r.lead.Holds(), Stuck: r.vigil.isStuck(), Queued: r.queue.depth(), Window: r.window.size()}
	if ns := r.heard.Load(); ns > 0 {
		s.heard = time.Unix(0, ns)
	}
	if ns := r.checkpointed.Load(); ns > 0 {
		s.CheckpointAge = max(0, now.Sub(time.Unix(0, ns)))
	}
	s.Pending, s.InboxBytes, s.OverflowBytes, s.Paused = r.inbox.load()
	s.QueueFileBytes = r.queue.fileBytes()
	s.Reading = s.Paused || now.Sub(s.heard) < silence
	s.Position, _ = r.ledger.settled()
	r.mu.Lock()
	s.ChannelsKnown, s.ActiveChannels, s.Refills = !r.unknown, len(r.active), len(r.listed)+int(r.activating.Load())+r.timers.pending()
	r.mu.Unlock()
	if n, ok := r.behind(); ok {
		s.LagBytes = &n
	}
	s.Lag = max(0, r.lag(now, &s))
	s.LagSeconds = s.Lag.Seconds()
	return s
}

// lag is Status.Lag.
func (r *Relay) lag(now time.Time, s *Status) time.Duration {
	at, ok := r.ledger.oldest()
	if !ok {
		at, ok = r.inbox.oldest()
	}
	switch read := r.readTo.Load(); {
	case ok:
		return now.Sub(at)
	case s.LagBytes != nil && *s.LagBytes > 0 && read > 0: // what is next is not older
		return now.Sub(time.UnixMicro(read))
	case !s.Reading && !s.heard.IsZero():
		return now.Sub(s.heard)
	}
	return 0
}

// vigil notices that nothing goes forward any more.
type vigil struct {
	steps atomic.Uint64 // taken by anything
	seen  uint64        // steps at the last look
	// still counts the looks at which there was something to do, all worked,
	// and no step was taken since the look before.
	still atomic.Int64
}

// stuckAfter is for how many looks, one each checkpointInterval, nothing may go
// forward: ten minutes, many times what anything takes that is given a time.
const stuckAfter = int64(10 * time.Minute / checkpointInterval)

// step notes that something went forward.
func (v *vigil) step() { v.steps.Add(1) }

// look is for one goroutine. waits says whether there is something to do.
func (v *vigil) look(waits func() bool) {
	steps := v.steps.Load()
	if steps != v.seen || !waits() {
		v.seen = steps
		v.still.Store(0)
		return
	}
	v.still.Add(1)
}

func (v *vigil) isStuck() bool { return v.still.Load() >= stuckAfter }

// waits says whether something was read that is not settled, though nothing
// that it may wait for is away.
func (r *Relay) waits() bool {
	_, unsettled := r.ledger.oldest()
	return (unsettled || r.inbox.pending() > 0) && r.Status().Ready()
}
