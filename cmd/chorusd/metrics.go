package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/chorusd/chorusd/policy"
	"github.com/chorusd/chorusd/pusher"
)

// newRegistry makes a registry with the metrics of the process. docs/OPERATIONS.md
// has all of ours in a table.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "chorusd", Name: "build_info", Help: "1, for its labels."}, []string{"version", "go"})
	info.WithLabelValues(version, runtime.Version()).Set(1)
	registry.MustRegister(info)
	return registry
}

// countersOf makes counters of what a part of the process counts by itself.
func countersOf[S any](part string, stats func() S) func(name, help string, of func(S) int64) prometheus.Collector {
	return func(name, help string, of func(S) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "chorusd", Subsystem: part, Name: name, Help: help},
			func() float64 { return float64(of(stats())) })
	}
}

// registerPublisher has the traffic with the Pusher server served.
func registerPublisher(reg prometheus.Registerer, c *pusher.Client) {
	counter := countersOf("pusher", c.Stats)
	reg.MustRegister(
		counter("sent_bytes_total", "Bytes of the bodies of requests to the Pusher server.", func(s pusher.Stats) int64 { return s.Sent }),
		counter("received_bytes_total", "Bytes of the bodies of its answers.", func(s pusher.Stats) int64 { return s.Received }),
	)
}

// registerPolicies has the metrics of the questions to the app served.
func registerPolicies(reg prometheus.Registerer, c *policy.Client) {
	counter := countersOf("policy", c.Stats)
	reg.MustRegister(
		counter("requests_total", "Requests to the app's policies.", func(s policy.Stats) int64 { return s.Requests }),
		counter("failed_requests_total", "Requests to the app's policies without an answer that could be used.", func(s policy.Stats) int64 { return s.Failed }),
		counter("questions_total", "Pairs of a row and a user that the app was asked about.", func(s policy.Stats) int64 { return s.Pairs }),
		counter("cached_answers_total", "Pairs of a row and a user that needed no request.", func(s policy.Stats) int64 { return s.Cached }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "chorusd", Subsystem: "policy", Name: "up", Help: "Whether the last request to the app's policies was answered.",
		}, func() float64 {
			if c.Up() {
				return 1
			}
			return 0
		}),
	)
}
