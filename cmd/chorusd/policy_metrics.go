package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chorusd/chorusd/policy"
)

// registerPolicies has the metrics of the questions to the app served.
func registerPolicies(reg prometheus.Registerer, c *policy.Client) {
	counter := func(name, help string, of func(policy.Stats) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "chorusd", Subsystem: "policy", Name: name, Help: help},
			func() float64 { return float64(of(c.Stats())) })
	}
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
