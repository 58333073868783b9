package pusher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	pusherhttp "github.com/pusher/pusher-http-go/v5"
)

// Client makes requests to one app of one server. Its methods may be called
// concurrently.
type Client struct {
	cfg       Config
	dialect   Dialect
	limits    Limits
	log       *slog.Logger
	transport http.RoundTripper

	events, batches endpoint

	// A line makes one request at a time. Listing has one of its own, so that
	// it never waits behind events that the server is slow to take.
	publishing, listing chan *line

	requests, sent, received, rateLimit atomic.Int64
}

// Options are for what few callers need; the zero value is good.
type Options struct {
	// Transport replaces the connections to the server. It has to add no
	// headers of its own for Size to be exact. Default: one http.Transport
	// that speaks HTTP/1.1 and uses the proxy that the environment names.
	Transport http.RoundTripper
}

// Stats counts since New.
type Stats struct {
	Requests int64 // begun, whatever came of them
	Sent     int64 // bytes of their bodies
	Received int64 // bytes of the answers' bodies
}

// New makes a client; it connects to nothing yet. The error joins all that
// Config.Validate returns; for Auto there has to be what Detect has found. To
// be closed when no longer used.
func New(cfg Config, log *slog.Logger, opts Options) (*Client, error) {
	errs := cfg.Validate()
	if cfg.Server == Auto {
		errs = append(errs, errNotDetected)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c := &Client{
		cfg:        cfg,
		dialect:    dialects[cfg.Server],
		limits:     cfg.limits(),
		log:        log,
		transport:  opts.Transport,
		publishing: make(chan *line, cfg.Concurrency),
		listing:    make(chan *line, 1),
	}
	if c.transport == nil {
		c.transport = newTransport(cfg)
	}
	for range cfg.Concurrency {
		c.publishing <- c.newLine()
	}
	c.listing <- c.newLine()

	sample := Event{Name: "n", Channels: []string{"c"}, Data: []byte("d")}
	var err error
	if c.events, err = c.measure(triggering([]Event{sample})); err != nil {
		return nil, err
	}
	if c.batches, err = c.measure(triggering([]Event{sample, sample})); err != nil {
		return nil, err
	}
	return c, nil
}

// newTransport makes connections that are kept open between requests where the
// server agrees, one for each line at most.
func newTransport(cfg Config) *http.Transport {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// A dial goes on after the request that asked for it was given up.
		DialContext:         (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
		TLSHandshakeTimeout: cfg.Timeout,
		Protocols:           &http1,
		DisableCompression:  true, // answers are tiny, and the header would count
		MaxIdleConnsPerHost: cfg.Concurrency + 1,
		IdleConnTimeout:     time.Minute,
	}
}

// Close closes idle connections. It does not end requests under way: their
// contexts do.
func (c *Client) Close() {
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// Dialect returns what is known of the kind of server.
func (c *Client) Dialect() Dialect { return c.dialect }

// Limits returns what the server takes in one request: what Config sets, and
// else what its kind does.
func (c *Client) Limits() Limits { return c.limits }

// RateLimit is how many requests, or events, the server has said that it takes
// in a time of its own choosing (X-RateLimit-Limit); 0 if it has said nothing.
func (c *Client) RateLimit() int { return int(c.rateLimit.Load()) }

// Stats returns what the client has done so far.
func (c *Client) Stats() Stats {
	return Stats{Requests: c.requests.Load(), Sent: c.sent.Load(), Received: c.received.Load()}
}

// Publish sends the events in exactly one HTTP request, after waiting for one
// of Config.Concurrency turns. A single event goes to all its channels at once;
// several events become a batch, in which an event with n channels is n items,
// in the order given.
//
// A nil error means that the server has accepted all of them. What Fits
// refuses is refused in the same way without sending anything. Every other
// error is an *Error, whose Class says what is known about the events.
func (c *Client) Publish(ctx context.Context, events []Event) error {
	if err := c.Fits(events); err != nil {
		return err
	}
	return c.publish(ctx, events)
}

// publish is Publish without the check of limits.
func (c *Client) publish(ctx context.Context, events []Event) error {
	return c.do(ctx, c.publishing, call{op: "publish", read: readPublished}, triggering(events))
}

// Channels returns the names of the channels that begin with prefix and have a
// subscriber, in no order. Prefix is empty or itself a valid name of a channel.
//
// It is the whole list that the server sent: an answer that breaks off is an
// error. A server that runs on several nodes leaves out what a silent node has
// without saying so, but after Dialect.NodesWait: an answer that begins as late
// is an error, too. Errors are as for Publish.
func (c *Client) Channels(ctx context.Context, prefix string) ([]string, error) {
	var params pusherhttp.ChannelsParams
	if prefix != "" {
		if !ValidChannel(prefix) {
			return nil, fmt.Errorf("list channels: %q is not the beginning of a channel's name", prefix)
		}
		params.FilterByPrefix = &prefix
	}
	list := channelList{prefix: prefix}
	var begun time.Time
	var took time.Duration // until the server began to answer
	job := call{op: "list channels", read: list.read, note: func(*http.Response) { took = time.Since(begun) }}
	err := c.do(ctx, c.listing, job, func(library *pusherhttp.Client) error {
		begun = time.Now()
		_, err := library.Channels(params)
		return err
	})
	if err != nil {
		return nil, err
	}
	if c.dialect.NodesWait > 0 && took >= c.dialect.NodesWait {
		return nil, &Error{
			Op: job.op, Class: Unavailable,
			Message: fmt.Sprintf("the list came after %s, so it may lack the channels of a node that is silent: %s does not wait longer than %s for one",
				took.Round(time.Millisecond), c.dialect.Title, c.dialect.NodesWait),
		}
	}
	return list.names, nil
}

// triggering makes the library send the events.
func triggering(events []Event) func(*pusherhttp.Client) error {
	if len(events) == 1 {
		e := events[0]
		return func(library *pusherhttp.Client) error { return library.TriggerMulti(e.Channels, e.Name, e.Data) }
	}
	var batch []pusherhttp.Event
	for _, e := range events {
		for _, channel := range e.Channels {
			batch = append(batch, pusherhttp.Event{Channel: channel, Name: e.Name, Data: e.Data})
		}
	}
	return func(library *pusherhttp.Client) error {
		_, err := library.TriggerBatch(batch)
		return err
	}
}

// do runs request on a free line. The errors of the request are *Errors.
func (c *Client) do(ctx context.Context, lines chan *line, job call, request func(*pusherhttp.Client) error) error {
	var l *line
	select {
	case l = <-lines:
	case <-ctx.Done():
		return &Error{Op: job.op, Class: Unsent, Err: context.Cause(ctx)}
	}
	defer func() { lines <- l }()

	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errTimeout)
	defer cancel()
	job.ctx = ctx
	l.call = job
	err := request(l.library)
	l.call = call{}

	// http.Client wraps what the round tripper returns in an error that shows
	// the URL, signature included.
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if err != nil {
		return fmt.Errorf("%s: refused before sending: %w", job.op, err)
	}
	return nil
}

// library returns the library's client on top of a round tripper.
func (c *Client) library(rt http.RoundTripper) *pusherhttp.Client {
	return &pusherhttp.Client{
		AppID:  c.cfg.AppID,
		Key:    c.cfg.Key,
		Secret: string(c.cfg.Secret),
		// It encrypts what is for an encrypted channel, and nothing else.
		EncryptionMasterKeyBase64: string(c.cfg.EncryptionKey),
		Host:                      c.cfg.Host,
		Secure:                    c.cfg.TLS,
		HTTPClient:                &http.Client{Transport: rt},
		// Its own limit is that of hosted Pusher; Fits knows the server's.
		OverrideMaxMessagePayloadKB: 1 << 20,
	}
}
