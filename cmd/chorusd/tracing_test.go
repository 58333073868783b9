package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/relay"
)

// receiver takes traces as a collector of OpenTelemetry does.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []*otlp.Span
	raw    bytes.Buffer // all that was received
	about  []string     // attributes of who sent
	paths  []string
	broken bool // it answers 400, which is not tried again
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.paths = append(r.paths, req.URL.Path)
		if r.broken {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body, err := io.ReadAll(req.Body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil {
			t.Error(err)
		}
		r.raw.Write(body)
		for _, part := range sent.GetResourceSpans() {
			for _, a := range part.GetResource().GetAttributes() {
				r.about = append(r.about, a.GetKey()+"="+a.GetValue().GetStringValue())
			}
			for _, scope := range part.GetScopeSpans() {
				r.spans = append(r.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

// received describes the spans, the whole of each trace first.
func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, s := range r.spans {
		text := s.GetName()
		if parent := hex.EncodeToString(s.GetParentSpanId()); parent != "" {
			of := slices.IndexFunc(r.spans, func(o *otlp.Span) bool {
				return hex.EncodeToString(o.GetSpanId()) == parent && bytes.Equal(o.GetTraceId(), s.GetTraceId())
			})
			if of < 0 {
				text += " of nothing"
			} else {
				text += " of " + r.spans[of].GetName()
			}
		}
		list = append(list, fmt.Sprintf("%s %v", text, time.Duration(s.GetEndTimeUnixNano()-s.GetStartTimeUnixNano())))
	}
	slices.Sort(list)
	return list
}

func TestTrace(t *testing.T) {
	r := newReceiver(t)
	tr, err := newTracing(t.Context(), tracingConfig{Endpoint: r.URL, SampleRatio: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	after := func(ms int) time.Time { return at.Add(time.Duration(ms) * time.Millisecond) }
	if !tr.Wanted() {
		t.Error("not wanted, though all are")
	}
	tr.Trace(relay.Journey{
		Point: binlog.Point{Time: uint64(at.UnixMicro()), File: "binlog.000007", Offset: 42},
		Read:  after(2), Routing: after(3), Routed: after(8), Settled: after(40),
		Requests: []relay.Request{{Begun: after(5), Ended: after(9), Messages: 3, Channels: 100}, {Begun: after(9), Ended: after(40), Messages: 1, Channels: 1}},
	})
	tr.close(t.Context())
	want := []string{"publish of transaction 31ms", "publish of transaction 4ms", "read of transaction 2ms", "route of transaction 5ms", "transaction 40ms", "wait of transaction 1ms"}
	if got := r.received(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !slices.Contains(r.about, "service.name=chorusd") || r.paths[0] != tracesPath {
		t.Errorf("sent to %s by %q", r.paths, r.about)
	}
	for _, text := range []string{"binlog.000007:42", "chorusd.channels"} {
		if !strings.Contains(r.raw.String(), text) {
			t.Errorf("%q is not in what was sent", text)
		}
	}
}

// TestClocksDiffer: the database server's may be ahead.
func TestClocksDiffer(t *testing.T) {
	r := newReceiver(t)
	tr, err := newTracing(t.Context(), tracingConfig{Endpoint: r.URL, SampleRatio: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tr.Trace(relay.Journey{Point: binlog.Point{Time: uint64(now.Add(time.Hour).UnixMicro())}, Read: now, Routing: now, Routed: now, Settled: now.Add(time.Second)})
	tr.close(t.Context())
	if got, want := r.received(), []string{"read of transaction 0s", "route of transaction 0s", "transaction 1s", "wait of transaction 0s"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTracesAreLost says so once, and once when they are not any more.
func TestTracesAreLost(t *testing.T) {
	r := newReceiver(t)
	var said output
	tr, err := newTracing(t.Context(), tracingConfig{Endpoint: r.URL + "/otlp", SampleRatio: 1}, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range []bool{false, true, true, false, false} {
		r.mu.Lock()
		r.broken = broken
		r.mu.Unlock()
		tr.Trace(relay.Journey{})
		if err := tr.provider.ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	tr.close(context.Background())
	text := said.String()
	if strings.Count(text, "cannot send traces") != 1 || strings.Count(text, "sending traces again") != 1 {
		t.Errorf("the log says\n%s", text)
	}
	if n := len(r.received()); n != 3*4 || r.paths[0] != "/otlp" {
		t.Errorf("%d spans at %q, want 12", n, r.paths)
	}
}

// TestTracesOfTheDaemon: what it traces begins at the commit and ends when the
// Pusher server has accepted the change, and tells nobody what that is.
func TestTracesOfTheDaemon(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	s := newStack(t, onServers{}, channelTables, channelSchema)
	s.env = append(s.env, "OTEL_SERVICE_NAME=chorusd-of-a-test")
	d := s.start(t, "--tracing.endpoint="+r.URL, "--tracing.sample_ratio=1")
	c := s.subscribe(t, "chorus.user.7654321")
	d.awaitActive(t, 1)
	begun := time.Now()
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7654321, 'a secret')")
	c.await(t, "chorus.user.7654321", 1)
	d.terminate(t) // which sends what is left
	ended := time.Now()
	var names []string
	for _, text := range r.received() {
		names = append(names, text[:strings.LastIndexByte(text, ' ')])
	}
	if want := []string{"publish of transaction", "read of transaction", "route of transaction", "transaction", "wait of transaction"}; !slices.Equal(names, want) {
		t.Fatalf("got %q, want %q", names, want)
	}
	for _, span := range r.spans {
		from, to := time.Unix(0, int64(span.GetStartTimeUnixNano())), time.Unix(0, int64(span.GetEndTimeUnixNano()))
		if from.Before(begun.Add(-time.Millisecond)) || to.Before(from) || to.After(ended) {
			t.Errorf("%s from %s to %s, between %s and %s", span.GetName(), from, to, begun, ended)
		}
	}
	for _, text := range []string{"a secret", "7654321"} {
		if strings.Contains(r.raw.String(), text) {
			t.Errorf("%q was sent with the traces", text)
		}
	}
	if !slices.Contains(r.about, "service.name=chorusd-of-a-test") {
		t.Errorf("sent by %q", r.about)
	}
}
