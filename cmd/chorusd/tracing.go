package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/chorusd/chorusd/relay"
)

// tracing sends the journeys of some transactions as OpenTelemetry traces. It
// is a relay.Tracer.
type tracing struct {
	ratio    float64
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// tracesPath is where OTLP receivers take traces by convention.
const tracesPath = "/v1/traces"

// newTracing makes one that connects when there is something to send; to be
// closed. The library reads the variables OTEL_… for what cfg does not say.
func newTracing(ctx context.Context, cfg tracingConfig, log *slog.Logger) (*tracing, error) {
	endpoint, err := url.Parse(cfg.Endpoint)
	if err != nil {
		panic(err) // loadConfig has checked it
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = tracesPath
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("OpenTelemetry's library complains", "error", err) }))
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint.String()))
	if err != nil {
		return nil, fmt.Errorf("set up tracing: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "chorusd"), attribute.String("service.version", version)),
		resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, fmt.Errorf("set up tracing: %w; see OTEL_RESOURCE_ATTRIBUTES", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&sender{SpanExporter: exporter, log: log}),
		sdktrace.WithResource(about), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	return &tracing{ratio: cfg.SampleRatio, provider: provider, tracer: provider.Tracer("github.com/chorusd/chorusd")}, nil
}

// tracingPatience is how long the end of the process waits for the last traces.
const tracingPatience = 2 * time.Second

// close sends what is left; ctx may have ended.
func (t *tracing) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracingPatience)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // what failed was said by sender
}

// Wanted implements relay.Tracer.
func (t *tracing) Wanted() bool { return rand.Float64() < t.ratio }

// Trace implements relay.Tracer: one span for the transaction, and in it one for
// each part of its way.
func (t *tracing) Trace(j relay.Journey) {
	committed := j.Point.At()
	if committed.After(j.Read) { // by the database server's clock
		committed = j.Read
	}
	ctx, whole := t.tracer.Start(context.Background(), "transaction", trace.WithTimestamp(committed), trace.WithAttributes(
		attribute.String("chorusd.position", fmt.Sprintf("%s:%d", j.Point.File, j.Point.Offset)),
		attribute.String("chorusd.gtid", j.Point.GTID()),
		attribute.Int("chorusd.requests", len(j.Requests)+j.MoreRequests),
	))
	part := func(name string, from, to time.Time, options ...trace.SpanStartOption) {
		_, span := t.tracer.Start(ctx, name, append(options, trace.WithTimestamp(from))...)
		span.End(trace.WithTimestamp(to))
	}
	part("read", committed, j.Read)
	part("wait", j.Read, j.Routing)
	part("route", j.Routing, j.Routed)
	for _, q := range j.Requests {
		part("publish", q.Begun, q.Ended, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.Int("chorusd.messages", q.Messages), attribute.Int("chorusd.channels", q.Channels)))
	}
	whole.End(trace.WithTimestamp(j.Settled))
}

// sender is an exporter that says once when traces are lost and once when they
// are not any more.
type sender struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
}

// ExportSpans implements sdktrace.SpanExporter.
func (s *sender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := s.SpanExporter.ExportSpans(ctx, spans)
	switch failed := err != nil; {
	case failed == s.failing.Swap(failed):
	case failed:
		s.log.Warn("cannot send traces, which are lost until it works", "error", err)
	default:
		s.log.Info("sending traces again")
	}
	return nil // the library would say it each time
}
