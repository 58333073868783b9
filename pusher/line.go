package pusher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	pusherhttp "github.com/pusher/pusher-http-go/v5"
)

// line is one client of the library with the round tripper under it. It makes
// one request at a time, which is what lets the round tripper know the context
// and the purpose of a request: the library passes on neither.
type line struct {
	client  *Client
	library *pusherhttp.Client
	call    call // the one under way
}

// call is what the round tripper needs to know of a request.
type call struct {
	ctx context.Context //nolint:containedctx // the library has no other way for it
	op  string
	// read takes the body of a 2xx answer and judges it.
	read func(io.Reader) error
	// note, if there is one, looks at the rest of it before.
	note func(*http.Response)
}

func (c *Client) newLine() *line {
	l := &line{client: c}
	l.library = c.library(l)
	return l
}

// emptyAnswer is what the library is given for every good answer. It parses as
// each of the answers it expects, while the servers' own do not always.
const emptyAnswer = "{}"

// errTimeout is the cause of a request's context when Config.Timeout ended it.
var errTimeout = fmt.Errorf("pusher.timeout: %w", context.DeadlineExceeded)

// RoundTrip sends one request and reads its answer to the end. Every error is
// an *Error; a response means that the server did what was asked.
func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	c, call := l.client, l.call
	begin := time.Now()

	var connected atomic.Bool
	ctx := httptrace.WithClientTrace(call.ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	c.requests.Add(1)
	c.sent.Add(req.ContentLength)
	status, err := l.exchange(prepare(req).WithContext(ctx))
	if err != nil {
		e := asError(call.ctx, err, connected.Load())
		e.Op = call.op
		if errors.Is(e.Err, errTimeout) {
			e.Message = "no answer within " + c.cfg.Timeout.String() + " (pusher.timeout)"
		}
		status, err = e.Status, e
	}
	c.log.LogAttrs(call.ctx, slog.LevelDebug, "request to the Pusher server",
		slog.String("op", call.op), slog.Int64("bytes", req.ContentLength),
		slog.Int("status", status), slog.Duration("took", time.Since(begin)))
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK,
		Body:       io.NopCloser(strings.NewReader(emptyAnswer)),
		Request:    req,
	}, nil
}

// exchange sends req and has the answer read.
func (l *line) exchange(req *http.Request) (status int, err error) {
	resp, err := l.client.transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	if most, err := strconv.Atoi(resp.Header.Get("X-Ratelimit-Limit")); err == nil {
		l.client.rateLimit.Store(int64(most))
	}
	body := &countReader{r: resp.Body, n: &l.client.received}
	defer func() {
		// What is left is a line end at most; read, so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, body, maxErrorBytes)
		_ = resp.Body.Close()
	}()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		text, _ := io.ReadAll(io.LimitReader(body, maxErrorBytes))
		err = statusError(resp.StatusCode, text)
	} else {
		if l.call.note != nil {
			l.call.note(resp)
		}
		err = l.call.read(body)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return resp.StatusCode, err
}

// prepare returns a copy of the library's request with its query escaped: the
// library signs the parameters as they are, as it should, but then also sends
// them so.
//
// It also lets http.Transport repeat the request on another connection if a
// server closes one that was kept open just when it is used again. The header
// for that is not sent when it has no values.
func prepare(req *http.Request) *http.Request {
	req = req.Clone(req.Context())
	req.Header["Idempotency-Key"] = []string{}
	params := strings.Split(req.URL.RawQuery, "&")
	for i, param := range params {
		name, value, _ := strings.Cut(param, "=")
		params[i] = name + "=" + url.QueryEscape(value)
	}
	req.URL.RawQuery = strings.Join(params, "&")
	return req
}

// countReader adds what is read to a counter.
type countReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
