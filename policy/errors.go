package policy

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Class is what an unknown answer means to the one who asked.
type Class int

const (
	// Unavailable means that the app does not answer, or not in time, or says
	// that it cannot now. The same question can be answered later.
	Unavailable Class = iota
	// Misconfigured means that the cause is in the configuration here or in
	// the app: address, secret, clock, a callback that breaks the protocol.
	// The same question can be answered once an operator has mended it.
	Misconfigured
	// Undecided means that the app answered, and that it does not know either:
	// a policy failed.
	Undecided
	// TooLarge means that the row alone does not fit a request. The same
	// question is never answered.
	TooLarge
)

func (c Class) String() string {
	switch c {
	case Misconfigured:
		return "misconfigured"
	case Undecided:
		return "undecided"
	case TooLarge:
		return "too large"
	default:
		return "unavailable"
	}
}

// Error is why answers are unknown. It has neither secret nor signature in it.
type Error struct {
	Class Class
	// Status is that of the app's answer; 0 if there was none.
	Status int
	// RetryAfter is how long the app asks to wait; 0 if it does not say.
	RetryAfter time.Duration
	// Message is why, in one line, and what mends it.
	Message string
	// Err is the cause on this side; nil if the app answered.
	Err error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("ask the app's policies")
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// ended is the error of a question whose context ended.
func ended(ctx context.Context) *Error {
	return &Error{Class: Unavailable, Err: context.Cause(ctx)}
}

// statusHints say what mends an answer with a status, where that is known.
var statusHints = map[int]string{
	http.StatusUnauthorized:          "see that laravel.secret is one of the app's, and that both clocks are right",
	http.StatusForbidden:             "see that nothing in front of the app keeps chorusd out",
	http.StatusNotFound:              "see that laravel.authorize_url is the app's callback",
	http.StatusMethodNotAllowed:      "see that laravel.authorize_url is the app's callback, which takes POST",
	http.StatusRequestEntityTooLarge: "raise what the web server takes (nginx: client_max_body_size, PHP: post_max_size), or lower laravel.max_request_bytes",
	419:                              "take the callback's path out of the app's CSRF protection", // Laravel's own
}

// statusError makes an error of an answer that is no success.
func statusError(resp *http.Response, text string) *Error {
	e := &Error{Class: Misconfigured, Status: resp.StatusCode, Message: text}
	switch s := resp.StatusCode; {
	case s >= 500, s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s == http.StatusTooEarly:
		e.Class, e.RetryAfter = Unavailable, retryAfter(resp.Header.Get("Retry-After"), time.Now())
	case s >= 300 && s < 400:
		e.Message = "it redirects, which is not followed; set laravel.authorize_url to the callback itself"
	}
	hint := statusHints[e.Status]
	if skew, ok := skewOf(resp, time.Now()); ok && e.Status == http.StatusUnauthorized {
		hint = fmt.Sprintf("the app's clock differs by %s; set the clocks of both machines by NTP", skew)
	}
	e.Message = strings.Trim(e.Message+"; "+hint, "; ")
	return e
}

// skewOf says by how much the clock of one who answered differs, if that is
// more than its Date header and the way of the answer explain.
func skewOf(resp *http.Response, now time.Time) (time.Duration, bool) {
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, false
	}
	skew := now.Sub(at).Abs().Round(time.Second)
	return skew, skew > Tolerance/2
}

// retryAfter reads the header of that name: seconds or a date. 0 if there is
// none to be understood.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(header, 64); err == nil && !math.IsNaN(seconds) {
		return time.Duration(min(max(seconds, 0), maxOpen.Seconds()) * float64(time.Second))
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), maxOpen)
	}
	return 0
}

const (
	maxErrorBytes = 4 << 10 // of an error's body that are read
	maxMessage    = 200     // runes of what the app says
)

// oneLine makes one line of what the app said, without what must not show.
func oneLine(text string, secrets ...string) string {
	for _, s := range slices.DeleteFunc(secrets, func(s string) bool { return s == "" }) {
		text = strings.ReplaceAll(text, s, "[redacted]")
	}
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool {
		return r <= ' ' || r == 0x7f
	}), " ")
	if runes := []rune(text); len(runes) > maxMessage {
		text = string(runes[:maxMessage]) + "…"
	}
	return text
}
