package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Answer says whether a user may see a row.
type Answer uint8

// The answers. The zero value is the one that sends nothing.
const (
	Unknown Answer = iota
	No
	Yes
)

func (a Answer) String() string { return [...]string{"unknown", "no", "yes"}[a] }

// Subject is what rows are asked about; those of one can share a request.
type Subject struct {
	// Table is its name as clients know it.
	Table string
	// Tenant is whose table and users it is about; empty: there are no tenants.
	Tenant string
	// Model is the Eloquent class, Ability that of its policy.
	Model, Ability string
}

// Row is one that is asked about. What it refers to must never change: a
// request can outlast the question.
type Row struct {
	// Key is the JSON array of the key's values.
	Key string
	// Data is the JSON object of all columns, as the database driver would
	// give them to the model. Rows with the same data are the same version.
	Data []byte
	// Users are the candidates, each once.
	Users []User
}

// User is one who may or may not see a row.
type User struct {
	// ID is the JSON text of the key: 7 or "01J…".
	ID string
	// Version changes when what the daemon knows of the user does; no answer
	// is taken from the cache over such a change.
	Version uint64
}

// Verdict is what came of asking about one row.
type Verdict struct {
	// Answers are those about Row.Users, in their order.
	Answers []Answer
	// Err says why some are Unknown; nil exactly if none is.
	Err *Error
}

// Client asks one app. Its methods may be called concurrently.
type Client struct {
	cfg       Config
	url       *url.URL
	transport http.RoundTripper
	http      *http.Client
	queue     *queue
	cache     *cache
	breaker   breaker
	outage    outage
	undecided sync.Map // tables of which the log has said that the app does not know

	requests, failed, pairs, hits atomic.Int64
	log                           *slog.Logger
}

// Stats counts since New.
type Stats struct {
	Requests int64 // begun, whatever came of them
	Failed   int64 // of those, without an answer that could be used
	Pairs    int64 // of rows and users that were asked about
	Cached   int64 // pairs that needed no request
}

// Options are for what few callers need; the zero value is good.
type Options struct {
	// Transport replaces the connections to the app.
	Transport http.RoundTripper
}

// New makes a client; it connects to nothing yet. The error joins all that
// Config.Validate returns.
func New(cfg Config, log *slog.Logger, opts Options) (*Client, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("laravel.authorize_url: %w", err)
	}
	c := &Client{
		cfg: cfg, url: u, log: log, transport: opts.Transport,
		queue: newQueue(cfg.MaxRequestBytes), cache: newCache(cfg.CacheTTL),
	}
	if c.transport == nil {
		c.transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
			TLSHandshakeTimeout: cfg.Timeout,
			DisableCompression:  true, // what is signed is the body as it comes
			MaxIdleConnsPerHost: cfg.Concurrency,
			IdleConnTimeout:     time.Minute,
		}
	}
	c.http = &http.Client{
		Transport: c.transport,
		// A redirect would take the rows elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Run makes the requests of those who ask, until ctx ends; then what is not
// answered is unknown. It returns when no request is under way any more.
func (c *Client) Run(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	var workers sync.WaitGroup
	for range c.cfg.Concurrency {
		workers.Go(func() {
			for b := c.queue.take(); b != nil; b = c.queue.take() {
				c.answer(ctx, b)
			}
		})
	}
	<-ctx.Done()
	for _, p := range c.queue.close() {
		p.ask.deliver(p, nil, ended(ctx))
	}
	workers.Wait()
}

// Ask asks whether users may see rows. It waits for the answers, or until ctx
// ends, and returns a verdict for each row in any case. What is in the cache is
// not asked again; the rest goes in as few requests as can be, together with
// what others ask meanwhile, each bounded by Config.Timeout.
func (c *Client) Ask(ctx context.Context, s Subject, rows []Row) []Verdict {
	a := &ask{subject: s, rows: rows, versions: make([]string, len(rows)), verdicts: make([]Verdict, len(rows)), done: make(chan struct{})}
	var pieces []*piece
	now := time.Now()
	for i := range rows {
		row := &rows[i]
		a.versions[i] = versionOf(row.Data)
		a.verdicts[i].Answers = make([]Answer, len(row.Users))
		var open []int
		for j, u := range row.Users {
			answer := c.cache.get(keyOf(s, row.Key, a.versions[i], u), now)
			a.verdicts[i].Answers[j] = answer
			if answer == Unknown {
				open = append(open, j)
			}
		}
		c.hits.Add(int64(len(row.Users) - len(open)))
		c.pairs.Add(int64(len(open)))
		cut, err := c.cut(a, i, open)
		a.verdicts[i].Err = err
		pieces = append(pieces, cut...)
	}
	if a.pending = len(pieces); len(pieces) == 0 {
		return a.verdicts
	}
	if !c.queue.push(pieces) {
		return a.end(&Error{Class: Unavailable, Err: context.Canceled})
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		c.queue.withdraw(a)
	}
	return a.end(ended(ctx))
}

// cut makes pieces of what is open of a row, each of which fits a request.
func (c *Client) cut(a *ask, row int, open []int) ([]*piece, *Error) {
	var pieces []*piece
	for len(open) > 0 {
		n := min(len(open), MaxUsers)
		for {
			p := &piece{ask: a, row: row, users: open[:n]}
			if newBatch(a.subject).add(p, c.cfg.MaxRequestBytes) {
				pieces = append(pieces, p)
				break
			}
			if n == 1 {
				return nil, &Error{Class: TooLarge, Message: fmt.Sprintf(
					"row %s of %s has %d bytes, which laravel.max_request_bytes = %d does not take; raise it, and what the app's web server takes",
					a.rows[row].Key, a.subject.Table, len(a.rows[row].Data), c.cfg.MaxRequestBytes)}
			}
			n = (n + 1) / 2
		}
		open = open[n:]
	}
	return pieces, nil
}

// Check asks about nothing, once, to see that the app answers and that both
// sides have the same secret.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errTimeout)
	defer cancel()
	defer c.http.CloseIdleConnections()
	if _, err := c.try(ctx, newBatch(Subject{}), nil); err != nil {
		return err
	}
	return nil
}

// Stats returns what the client has done so far.
func (c *Client) Stats() Stats {
	return Stats{Requests: c.requests.Load(), Failed: c.failed.Load(), Pairs: c.pairs.Load(), Cached: c.hits.Load()}
}

// Up says whether the last request was answered.
func (c *Client) Up() bool { return !c.outage.lost.Load() }
