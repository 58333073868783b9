package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chorusd/chorusd/relay"
)

// admin tells how chorusd does, from the start of the process to its end. It
// changes nothing, and shows users' data to this machine alone.
type admin struct {
	process *prometheus.Registry
	// running is the run at hand; nil while its servers are looked at.
	running atomic.Pointer[running]
	// leader is the name of who leads while this process stands by; nil else.
	leader atomic.Pointer[string]
	// leads is 1 while this process leads.
	leads prometheus.Gauge
	// stopping is closed when the process was told to end.
	stopping <-chan struct{}
	pulse    pulse
	profiles bool
}

// running is what one run tells by.
type running struct {
	relay    *relay.Relay
	registry *prometheus.Registry
}

func newAdmin(ctx context.Context, cfg adminConfig) *admin {
	registry := newRegistry()
	leads := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "chorusd", Name: "leader", Help: "1 while this process leads, 0 while it starts or stands by.",
	})
	registry.MustRegister(leads)
	return &admin{process: registry, leads: leads, stopping: ctx.Done(), profiles: cfg.Pprof}
}

// health is the answer of /readyz and /status.
type health struct {
	Ready bool `json:"ready"`
	// Problems say why not, a line each: "redis: the last write to Redis failed".
	Problems []string `json:"problems"`
	// StandingBy names the one that leads, while this one stands by for it.
	StandingBy string `json:"standing_by,omitempty"`
	// Status is left out while nothing runs.
	*relay.Status
}

func (a *admin) health() health {
	run := a.running.Load()
	if leader := a.leader.Load(); leader != nil {
		return health{Ready: true, Problems: []string{}, StandingBy: *leader}
	}
	if run == nil {
		return health{Problems: []string{"starting: the servers are looked at; the log says if one cannot be reached"}}
	}
	s := run.relay.Status()
	h := health{Ready: s.Ready(), Problems: append([]string{}, s.Problems()...), Status: &s}
	select {
	case <-a.stopping:
		h.Ready, h.Problems = false, append(h.Problems, "stopping: what was read is published, and nothing more is read")
	default:
	}
	return h
}

// adminTimeout bounds what is asked for, but for profiles, which take as long
// as they are told to.
const adminTimeout = 10 * time.Second

// profilesPath is where what the runtime tells of itself is, if that is asked for.
const profilesPath = "/debug/pprof/"

// handler answers the requests.
func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		h, code := a.health(), http.StatusOK
		if !h.Ready {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, h)
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, a.health()) })
	mux.HandleFunc("GET "+explainPath, func(w http.ResponseWriter, req *http.Request) {
		run := a.running.Load()
		if run == nil {
			if leader := a.leader.Load(); leader != nil {
				http.Error(w, "this chorusd stands by; ask the one that leads: "+*leader, http.StatusServiceUnavailable)
				return
			}
			http.Error(w, "chorusd is starting, ask again", http.StatusServiceUnavailable)
			return
		}
		explainHandler(run.relay.Explain)(w, req)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, req *http.Request) {
		all := prometheus.Gatherers{a.process}
		if run := a.running.Load(); run != nil {
			all = append(all, run.registry)
		}
		promhttp.HandlerFor(all, promhttp.HandlerOpts{}).ServeHTTP(w, req)
	})
	if a.profiles {
		mux.HandleFunc("GET "+profilesPath, pprof.Index)
		mux.HandleFunc("GET "+profilesPath+"profile", pprof.Profile)
		mux.HandleFunc("GET "+profilesPath+"trace", pprof.Trace)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		deadline := time.Now().Add(adminTimeout)
		if strings.HasPrefix(req.URL.Path, profilesPath) {
			deadline = time.Time{}
		}
		_ = http.NewResponseController(w).SetWriteDeadline(deadline) // a connection that is gone says so at writing
		mux.ServeHTTP(w, req)
	})
}

// serve answers until ctx ends.
func (a *admin) serve(ctx context.Context, l net.Listener) error {
	return serve(ctx, l, &http.Server{Handler: a.handler(), ReadHeaderTimeout: adminTimeout, IdleTimeout: time.Minute})
}

// pulsePatience is how long the relay may take to say how it does, for which it
// needs each of its locks for a moment.
const pulsePatience = 5 * time.Second

// healthz says whether a restart would not help.
func (a *admin) healthz(w http.ResponseWriter, req *http.Request) {
	run := a.running.Load()
	stuck := false
	answered := a.pulse.feel(req.Context(), func() { stuck = run != nil && run.relay.Status().Stuck })
	switch {
	case !answered:
		http.Error(w, "stuck: the relay does not say how it does", http.StatusServiceUnavailable)
	case stuck:
		http.Error(w, "stuck: nothing has gone forward for long, though there is something to do and all servers answer", http.StatusServiceUnavailable)
	default:
		_, _ = io.WriteString(w, "ok\n")
	}
}

// pulse finds out whether something answers. Of questions that are not
// answered one is under way at most.
type pulse struct {
	mu sync.Mutex
	// asked is closed when the question under way is answered; nil: there is none.
	asked chan struct{}
}

// feel says whether ask returns in time; then it has been called.
func (p *pulse) feel(ctx context.Context, ask func()) bool {
	timer := time.NewTimer(pulsePatience)
	defer timer.Stop()
	for {
		p.mu.Lock()
		asked, mine := p.asked, p.asked == nil
		if mine {
			asked = make(chan struct{})
			p.asked = asked
			go func() {
				ask()
				p.mu.Lock()
				p.asked = nil
				p.mu.Unlock()
				close(asked)
			}()
		}
		p.mu.Unlock()
		select {
		case <-asked:
			if mine {
				return true
			}
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(v)
}
