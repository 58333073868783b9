package relay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	transactions, changes, refilled                    prometheus.Counter
	harmonics, control, requests, setAside, unroutable *prometheus.CounterVec
	channels, saved                                    prometheus.Gauge
}

func newMetrics(r *Relay, reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "chorusd", Name: name, Help: help})
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "chorusd", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "chorusd", Name: name, Help: help})
	}
	m := &metrics{
		transactions: counter("transactions_total", "Transactions read from the binary log."),
		changes:      counter("changes_total", "Row changes of mapped tables read from the binary log."),
		refilled:     counter("refilled_total", "Records sent to channels that were just opened."),
		harmonics:    vector("harmonics_total", "Harmonics mapped, whether anybody got them or not.", "table", "operation"),
		control:      vector("control_messages_total", "Control messages made, such as reset and schema, whether anybody got them or not.", "type"),
		requests:     vector("requests_total", "Publish requests by outcome.", "outcome"),
		setAside:     vector("set_aside_total", "Harmonics that could not be published, see chorusd deadletters.", "table"),
		unroutable:   vector("unroutable_total", "Scopes of rows whose value cannot stand in a channel's name.", "table"),
		channels:     gauge("active_channels", "Channels on which somebody listens; to users' own only these are published."),
		saved:        gauge("checkpoint_saved_seconds", "When the checkpoint was last saved, in seconds since the Unix epoch."),
	}
	reg.MustRegister(m.transactions, m.changes, m.refilled, m.harmonics, m.control, m.requests, m.setAside, m.unroutable, m.channels, m.saved,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "chorusd", Name: "lag_seconds",
			Help: "Age of the oldest committed transaction that is not settled, or of the last word of the database server; 0 when caught up.",
		}, func() float64 { return r.Status().Lag.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "chorusd", Name: "queued_harmonics", Help: "Harmonics read and not yet accepted by the Pusher server.",
		}, func() float64 { return float64(r.queue.depth()) }),
	)
	return m
}

// Status is how the relay does.
type Status struct {
	// Reading says that the database server was heard of lately.
	Reading bool `json:"reading"`
	// ChannelsKnown says that a poll of the active channels was completed lately.
	ChannelsKnown bool `json:"channels_known"`
	// Publishing says that the last publish request did not fail.
	Publishing bool `json:"publishing"`
	// Saving says that the last write to Redis did not fail.
	Saving bool `json:"saving"`
	// Lag is the age of the oldest transaction that is not settled, or of
	// the last word of the database server; 0 when caught up.
	Lag        time.Duration `json:"-"`
	LagSeconds float64       `json:"lag_seconds"`
	Position   string        `json:"position"`
	Queued     int           `json:"queued"`
	// Pending counts transactions that were read and are not routed yet, and
	// Refills what is still to be sent of what channels missed: 0 when
	// nothing is under way.
	Pending        int `json:"pending"`
	Refills        int `json:"refills"`
	ActiveChannels int `json:"active_channels"`
}

// Ready says whether harmonics reach those who are there.
func (s Status) Ready() bool { return s.Reading && s.ChannelsKnown && s.Publishing && s.Saving }

// silence is how long a healthy server may say nothing: it is asked for a
// heartbeat every second.
const silence = 5 * time.Second

// Status tells how the relay does right now.
func (r *Relay) Status() Status {
	now := time.Now()
	heard := time.Unix(0, r.heard.Load())
	s := Status{Reading: now.Sub(heard) < silence, Publishing: r.link.isUp(), Saving: !r.unsaved.Load(), Queued: r.queue.depth(), Pending: r.inbox.pending()}
	s.Position, _ = r.ledger.settled()
	r.mu.Lock()
	s.ChannelsKnown, s.ActiveChannels, s.Refills = !r.unknown, len(r.active), len(r.listed)+int(r.activating.Load())+r.timers.pending()
	r.mu.Unlock()
	at, ok := r.ledger.oldest()
	if !ok {
		at, ok = r.inbox.oldest()
	}
	if ok {
		s.Lag = max(0, now.Sub(at))
	} else if !s.Reading && r.heard.Load() > 0 {
		s.Lag = now.Sub(heard)
	}
	s.LagSeconds = s.Lag.Seconds()
	return s
}
