package relay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
)

// metrics are what the relay counts. docs/OPERATIONS.md has them all in a table,
// which a test compares with what is served. Samples whose labels are known are
// there from the start, so that a rate of the first one is right, too.
type metrics struct {
	transactions, changes, refilled, channelMessages, circuitOpened, unanswered prometheus.Counter
	harmonics, control, requests, setAside, pointers, unroutable, polls         *prometheus.CounterVec
	saved, deadLetters                                                          prometheus.Gauge
	requestTime                                                                 prometheus.Histogram
	latency                                                                     [stages]prometheus.Observer
}

// stage is a place that a change comes to on its way from its commit.
type stage int

const (
	stageRead     stage = iota // its transaction was read to its end
	stageRouted                // a message of it is in the queue
	stageSent                  // that was handed to one who makes requests
	stageAccepted              // the Pusher server has accepted it, or it is set aside
	stages
)

func (s stage) String() string { return [stages]string{"read", "routed", "sent", "accepted"}[s] }

// Buckets of times, in seconds: a change takes some milliseconds on an idle
// machine, and minutes behind a server that is slow or was away.
var (
	latencyBuckets = []float64{.0005, .001, .002, .003, .005, .0075, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300}
	requestBuckets = []float64{.0005, .001, .002, .003, .005, .0075, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}
)

// Values of the label outcome.
const (
	outcomeAccepted = "accepted"
	outcomeComplete = "complete"
	outcomeFailed   = "failed"
)

func newMetrics(r *Relay, reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "chorusd", Name: name, Help: help})
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "chorusd", Name: name, Help: help}, labels)
	}
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "chorusd", Name: "latency_seconds", Buckets: latencyBuckets,
		Help: "Time from a change's commit to each stage of its way; read: once for each transaction, else for each harmonic with recipients.",
	}, []string{"stage"})
	m := &metrics{
		transactions:    counter("transactions_total", "Transactions read from the binary log."),
		changes:         counter("changes_total", "Row changes of mapped tables read from the binary log."),
		refilled:        counter("refilled_total", "Records sent by refills: to channels that were just opened, and to those who see other rows than before."),
		channelMessages: counter("channel_messages_total", "Messages that the Pusher server has accepted, each as often as it has channels."),
		circuitOpened:   counter("circuit_opened_total", "Times that the Pusher server was found to fail, so that one request at a time tried whether it was back."),
		unanswered:      counter("unanswered_total", "Publish requests that were not answered while others were, so that what they held was sent in smaller ones, or set aside."),
		harmonics:       vector("harmonics_total", "Harmonics mapped, whether anybody got them or not.", "table", "operation"),
		control:         vector("control_messages_total", "Control messages made, such as reset and schema, whether anybody got them or not.", "type"),
		requests:        vector("requests_total", "Publish requests by outcome.", "outcome"),
		setAside:        vector("set_aside_total", "Harmonics that could not be published, see chorusd deadletters.", "table"),
		pointers:        vector("pointers_total", "Requests with a pointer in place of a harmonic that is too large for the Pusher server.", "table"),
		unroutable:      vector("unroutable_total", "Scopes of rows whose value cannot stand in a channel's name, by the table in the database.", "table"),
		polls:           vector("polls_total", "Questions to the Pusher server for its active channels, by outcome.", "outcome"),
		saved: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "chorusd", Name: "checkpoint_saved_seconds", Help: "When the checkpoint was last saved, in seconds since the Unix epoch.",
		}),
		deadLetters: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "chorusd", Name: "dead_letters", Help: "Records that are set aside, see chorusd deadletters.",
		}),
		requestTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "chorusd", Name: "request_seconds", Buckets: requestBuckets, Help: "Time that one publish request took, whatever came of it.",
		}),
	}
	for s := range stages {
		m.latency[s] = latency.WithLabelValues(s.String())
	}
	reg.MustRegister(m.transactions, m.changes, m.refilled, m.channelMessages, m.circuitOpened, m.unanswered, m.harmonics, m.control, m.requests, m.setAside,
		m.pointers, m.unroutable, m.polls, m.saved, m.deadLetters, m.requestTime, latency, newStatusCollector(r))
	m.begin(r)
	return m
}

// begin makes the samples whose labels are known.
func (m *metrics) begin(r *Relay) {
	for _, table := range r.mapper.Tables() {
		m.setAside.WithLabelValues(table)
		m.pointers.WithLabelValues(table)
		for _, op := range []harmonic.Operation{harmonic.Create, harmonic.Update, harmonic.Delete} {
			m.harmonics.WithLabelValues(table, op.String())
		}
	}
	for _, source := range r.mapper.Uses().Mapped.Names {
		m.unroutable.WithLabelValues(source.Table)
	}
	for _, pattern := range r.mapper.Uses().Mapped.Patterns {
		m.unroutable.WithLabelValues(pattern.Table)
	}
	types := []string{harmonic.TypeReset, harmonic.TypeReload, harmonic.TypeSchema}
	if r.cfg.ScopeMessages {
		types = append(types, harmonic.TypeScopeGranted, harmonic.TypeScopeRevoked)
	}
	for _, name := range types {
		m.control.WithLabelValues(name)
	}
	m.requests.WithLabelValues(outcomeAccepted)
	for _, class := range []pusher.Class{pusher.Unknown, pusher.Unsent, pusher.Unavailable, pusher.Misconfigured, pusher.Refused} {
		m.requests.WithLabelValues(class.String())
	}
	m.polls.WithLabelValues(outcomeComplete)
	m.polls.WithLabelValues(outcomeFailed)
}

// came notes that something that was committed at a time, in microseconds
// since the Unix epoch, has come to a stage now. The two are different clocks.
func (m *metrics) came(to stage, committed uint64, now time.Time) {
	m.latency[to].Observe(max(0, now.Sub(time.UnixMicro(int64(committed))).Seconds()))
}

// statusCollector serves what Status says, which is asked once each time.
type statusCollector struct {
	relay  *Relay
	gauges []statusGauge
}

type statusGauge struct {
	desc   *prometheus.Desc
	labels []string
	// value is NaN if it is not known.
	value func(Status) float64
}

func newStatusCollector(r *Relay) *statusCollector {
	c := &statusCollector{relay: r}
	gauge := func(name, help string, value func(Status) float64) {
		c.gauges = append(c.gauges, statusGauge{desc: prometheus.NewDesc("chorusd_"+name, help, nil, nil), value: value})
	}
	gauge("lag_seconds", "Age of the oldest committed transaction that is not settled, or of the last word of the database server; 0 when caught up.",
		func(s Status) float64 { return s.Lag.Seconds() })
	gauge("lag_bytes", "Bytes of the binary log that are not read yet, of what there was some seconds ago; NaN while that is not known.", Status.lagBytes)
	gauge("reading_paused", "Whether reading pauses until something of what was read is published.", func(s Status) float64 { return oneIf(s.Paused) })
	gauge("inbox_transactions", "Transactions that were read, or begun to be, and are not routed yet.", func(s Status) float64 { return float64(s.Pending) })
	gauge("inbox_bytes", "Memory that they take.", func(s Status) float64 { return float64(s.InboxBytes) })
	gauge("overflow_bytes", "Bytes of those that are in a file in state_dir.", func(s Status) float64 { return float64(s.OverflowBytes) })
	gauge("queued_harmonics", "Harmonics read and not yet accepted by the Pusher server.", func(s Status) float64 { return float64(s.Queued) })
	gauge("queue_file_bytes", "Bytes of those that are in a file in state_dir.", func(s Status) float64 { return float64(s.QueueFileBytes) })
	gauge("refills", "Refills that are not done.", func(s Status) float64 { return float64(s.Refills) })
	gauge("window_records", "Keys of records that are kept for channels that may just have been opened; at the most channels.window.",
		func(s Status) float64 { return float64(s.Window) })
	gauge("active_channels", "Channels on which somebody listens; to users' own only these are published.", func(s Status) float64 { return float64(s.ActiveChannels) })
	gauge("checkpoint_age_seconds", "Time since the checkpoint in Redis was as far as everything is settled.", func(s Status) float64 { return s.CheckpointAge.Seconds() })
	up := prometheus.NewDesc("chorusd_up", "Whether a part works that /readyz asks for.", []string{"part"}, nil)
	for _, p := range parts {
		c.gauges = append(c.gauges, statusGauge{up, []string{p.name}, func(s Status) float64 { return oneIf(p.works(s)) }})
	}
	return c
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range c.gauges {
		ch <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.relay.Status()
	for _, g := range c.gauges {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(s), g.labels...)
	}
}
