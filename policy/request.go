package policy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// errTimeout is the cause of a context that Config.Timeout ended.
var errTimeout = fmt.Errorf("no answer in time (laravel.timeout): %w", context.DeadlineExceeded)

// answer asks the app until it answers, or the time of the batch is over, and
// delivers what came of it to those who wait.
func (c *Client) answer(running context.Context, b *batch) {
	ctx, cancel := context.WithTimeoutCause(running, c.cfg.Timeout, errTimeout)
	defer cancel()
	body := appendRequest(make([]byte, 0, b.bytes), b)
	for n := 0; ; n++ {
		if e := c.breaker.allow(time.Now()); e != nil {
			b.fail(e)
			return
		}
		asked := time.Now()
		r, e := c.try(ctx, b, body)
		c.breaker.result(e, running.Err() == nil, time.Now())
		if e == nil {
			c.deliver(b, r, asked)
			return
		}
		c.failed.Add(1)
		if running.Err() != nil {
			b.fail(e)
			return
		}
		c.outage.begun(c.log, e)
		if e.Class != Unavailable || !pause(ctx, max(backoff(n), e.RetryAfter)) {
			b.fail(e)
			return
		}
	}
}

// pause waits; false if ctx ends before, and then at once.
func pause(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// fail leaves all of a batch unknown.
func (b *batch) fail(e *Error) {
	for _, p := range b.pieces {
		p.ask.deliver(p, nil, e)
	}
}

// deliver gives each piece its answers and keeps them for a while.
func (c *Client) deliver(b *batch, r reply, asked time.Time) {
	now := time.Now()
	var broken *Error
	answers, errs := make([][]Answer, len(b.pieces)), make([]*Error, len(b.pieces))
	for i, p := range b.pieces {
		var err error
		if answers[i], err = readLetters(r.Answers[i], len(p.users)); err != nil {
			errs[i] = &Error{Class: Misconfigured, Status: http.StatusOK, Message: err.Error()}
			broken = errs[i]
		}
		row := &p.ask.rows[p.row]
		for j, answer := range answers[i] {
			if answer == Unknown && errs[i] == nil {
				errs[i] = c.undecidedError(b.subject, r.Message)
			}
			c.cache.put(keyOf(b.subject, row.Key, p.ask.versions[p.row], row.Users[p.users[j]]), answer, asked, now)
		}
	}
	// Who asked finds all of this noted.
	if broken != nil {
		c.failed.Add(1)
		c.outage.begun(c.log, broken)
	} else {
		c.outage.ended(c.log)
	}
	for i, p := range b.pieces {
		p.ask.deliver(p, answers[i], errs[i])
	}
}

// undecidedError is for what the app answers with "?". It is logged once a
// table.
func (c *Client) undecidedError(s Subject, message string) *Error {
	if message == "" {
		message = "it does not say why"
	}
	e := &Error{Class: Undecided, Message: "the app does not know: " + oneLine(message, c.cfg.secret())}
	if _, again := c.undecided.LoadOrStore(s.Table, true); !again {
		c.log.Warn("the app's policy fails for some rows, and nothing is sent of them until it knows; this is said once per table",
			"table", s.Table, "error", e)
	}
	return e
}

// try makes one request and reads its answer. The error is for the request as
// a whole; single rows can still be without answers.
func (c *Client) try(ctx context.Context, b *batch, body []byte) (reply, *Error) {
	if body == nil {
		body = appendRequest(nil, b)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), bytes.NewReader(body))
	if err != nil {
		return reply{}, &Error{Class: Misconfigured, Err: err}
	}
	secret := c.cfg.secret()
	nonce, signature := signRequest(req, body, secret, time.Now())
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "chorusd")

	c.requests.Add(1)
	begun := time.Now()
	resp, err := c.http.Do(req)
	status := 0
	defer func() {
		c.log.LogAttrs(ctx, slog.LevelDebug, "request to the app's policies",
			slog.Int("rows", len(b.pieces)), slog.Int("pairs", b.pairs), slog.Int("bytes", len(body)),
			slog.Int("status", status), slog.Duration("took", time.Since(begun)))
	}()
	if err != nil {
		return reply{}, failed(ctx, err)
	}
	defer resp.Body.Close()
	status = resp.StatusCode
	if status != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
		return reply{}, statusError(resp, oneLine(string(text), secret, signature, nonce))
	}
	limit := answerBytes(b)
	answer, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return reply{}, failed(ctx, err)
	}
	wrong := func(format string, args ...any) (reply, *Error) {
		return reply{}, &Error{Class: Misconfigured, Status: status, Message: fmt.Sprintf(format, args...)}
	}
	switch got := resp.Header.Get(headerSignature); {
	case int64(len(answer)) > limit:
		return wrong("its answer is longer than %d bytes; see that laravel.authorize_url is the app's callback", limit)
	case got == "":
		return wrong("its answer is not signed; see that laravel.authorize_url is the app's callback")
	case !signed(got, answer, secret, nonce):
		return wrong("the signature of its answer is wrong; see that laravel.secret is one of the app's, and that nothing on the way changes answers")
	}
	r, err := readReply(answer, len(b.pieces))
	if err != nil {
		return wrong("%v", err)
	}
	return r, nil
}

// failed makes an error of a request without an answer.
func failed(ctx context.Context, err error) *Error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	// url.Error repeats the address, whose query may hold something private.
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &Error{Class: Misconfigured, Message: "see that the app's certificate is valid and names the host of laravel.authorize_url", Err: err}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &Error{Class: Unavailable, Message: "the connection was closed before the end of the answer", Err: err}
	}
	return &Error{Class: Unavailable, Err: err}
}

// outage says once when the app goes away and once when it is back.
type outage struct{ lost atomic.Bool }

func (o *outage) begun(log *slog.Logger, e *Error) {
	if !o.lost.Swap(true) {
		log.Warn("the app's policies do not answer; rows of tables with authorize wait until they do", "class", e.Class.String(), "error", e)
	}
}

func (o *outage) ended(log *slog.Logger) {
	if o.lost.Swap(false) {
		log.Info("the app's policies answer again")
	}
}
