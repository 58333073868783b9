package pusher

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Class is what a failed request means to the one who asked for it.
type Class int

const (
	// Unknown means that the request was sent, wholly or in part, and no
	// complete answer came. The server may have acted on it. Reverb's answer to
	// a request that is too large can look like this, because it closes the
	// connection midway.
	Unknown Class = iota
	// Unsent means that there was no connection: nothing has reached the server.
	Unsent
	// Unavailable means that the server, or something in front of it, says that
	// it cannot now (5xx) or not so fast (429). With 5xx it may have acted.
	Unavailable
	// Misconfigured means that the cause is in the configuration here or at the
	// server: credentials, app, host, TLS, a server that is no Pusher server,
	// a quota. The same request can succeed once an operator has mended it.
	Misconfigured
	// Refused means that the server does not take this content: the same again
	// is refused again.
	Refused
)

func (c Class) String() string {
	switch c {
	case Unsent:
		return "unsent"
	case Unavailable:
		return "unavailable"
	case Misconfigured:
		return "misconfigured"
	case Refused:
		return "refused"
	default:
		return "unknown"
	}
}

// Error is a request that was not answered with success.
type Error struct {
	Op    string // "publish" or "list channels"
	Class Class
	// Status is that of the answer, or the one that the answer's body says if
	// its own was 200; 0 if there was no answer.
	Status int
	// RetryAfter is how long the server asks to wait; 0 if it does not say.
	RetryAfter time.Duration
	// Message is why, in one line: the server's words, if it said something.
	Message string
	// Err is the cause on this side, nil if the server answered. It is the
	// context's cause if the caller's context ended the request.
	Err error
}

// Error has neither URL nor signature in it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %d %s", e.Status, http.StatusText(e.Status))
	}
	switch {
	case e.Message != "":
		b.WriteString(": " + e.Message)
	case e.Err != nil:
		b.WriteString(": " + e.Err.Error())
	}
	if hint := e.hint(); hint != "" {
		b.WriteString("; " + hint)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Retryable says whether the same request can succeed later: at once, after
// the server is back, or after an operator has mended the configuration.
func (e *Error) Retryable() bool { return e.Class != Refused }

// hint names what an operator has to look at.
func (e *Error) hint() string {
	if e.Class == Refused && e.Status == http.StatusRequestEntityTooLarge {
		return "the server takes less than is known here: raise its limit, or lower pusher.max_data_bytes or pusher.max_request_bytes to it"
	}
	if e.Class != Misconfigured {
		return ""
	}
	switch e.Status {
	case http.StatusUnauthorized:
		return "check pusher.key, pusher.secret and this machine's clock"
	case http.StatusForbidden:
		return "see that the app is enabled and within its quota"
	case http.StatusNotFound:
		return "check pusher.app_id and pusher.host"
	default:
		return "check pusher.host and pusher.tls"
	}
}

// asError makes an *Error of what exchange returned. There was a connection or
// not, and ctx may have ended, which is then the cause.
func asError(ctx context.Context, err error, connected bool) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	e := &Error{Class: Unsent, Err: err}
	if connected {
		e.Class = Unknown
	}
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case certificate || noTLS:
		e.Class = Misconfigured
	case connected && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		e.Message = "the connection was closed before the end of the answer"
	}
	return e
}

// statusError makes an *Error of a status that is no success and of what the
// server says about it.
func statusError(status int, text []byte) *Error {
	return &Error{Class: classOf(status, text), Status: status, Message: oneLine(text)}
}

// classOf judges a status. One that is not known to be about the content is
// the operator's: taking it for a refusal would lose events.
func classOf(status int, text []byte) Class {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return Unavailable
	case http.StatusBadRequest:
		if fromProxy(text) {
			return Misconfigured
		}
		return Refused
	case http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return Refused
	}
	if status >= 500 {
		return Unavailable
	}
	return Misconfigured
}

// fromProxy says whether a 400 is a web server's own: nginx and Go answer so
// to a request without TLS on a port with TLS, whatever is in it.
func fromProxy(text []byte) bool {
	s := strings.TrimSpace(string(text))
	return strings.HasPrefix(s, "<") || strings.Contains(s, "HTTPS")
}

const (
	maxErrorBytes = 4 << 10 // of an error's body that are read
	maxMessage    = 200     // runes of Error.Message
)

// authPattern finds what signs a request in a URL that a server repeats.
var authPattern = regexp.MustCompile(`auth_[a-z]+=[^&\s"'<>]*`)

// oneLine makes one line of what a server said.
func oneLine(text []byte) string {
	s := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(text), "?"), func(r rune) bool {
		return r <= ' ' || r == 0x7f
	}), " ")
	s = authPattern.ReplaceAllString(s, redacted)
	if runes := []rune(s); len(runes) > maxMessage {
		s = string(runes[:maxMessage]) + "…"
	}
	return s
}

// retryAfter reads the header of that name: seconds, which Soketi
// gives with a fraction, or a date. 0 if there is none to be understood.
func retryAfter(header string, now time.Time) time.Duration {
	const most = 24 * time.Hour
	if seconds, err := strconv.ParseFloat(header, 64); err == nil && !math.IsNaN(seconds) {
		return time.Duration(min(max(seconds, 0), most.Seconds()) * float64(time.Second))
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), most)
	}
	return 0
}
