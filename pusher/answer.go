package pusher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	// maxPublishedBytes bounds the answer to events, a few bytes without the
	// "info" that is never asked for.
	maxPublishedBytes = 64 << 10
	// maxListBytes bounds the list of channels, at 73 bytes or so each.
	maxListBytes = 256 << 20
)

// verdict is how an answer with status 200 can still say no. Soketi says so
// most of the time.
type verdict struct {
	Error json.RawMessage `json:"error"`
	Code  int             `json:"code"`
	OK    *bool           `json:"ok"`
}

// err returns an *Error if the answer is a no.
func (v verdict) err() error {
	if v.Error == nil && v.Code < 400 && (v.OK == nil || *v.OK) {
		return nil
	}
	var text string
	if json.Unmarshal(v.Error, &text) != nil {
		text = string(v.Error)
	}
	if v.Code < 400 || v.Code > 599 {
		return &Error{Class: Unknown, Message: "an answer with status 200 that says no: " + oneLine([]byte(text))}
	}
	return statusError(v.Code, []byte(text))
}

// readPublished judges the body of a 2xx answer to events: {} (Pusher, Reverb),
// {"ok":true} (Soketi) or {"batch":…} with whatever in it.
func readPublished(r io.Reader) error {
	dec := json.NewDecoder(bounded(r, maxPublishedBytes))
	var body json.RawMessage
	if err := dec.Decode(&body); err != nil {
		return badAnswer(err)
	}
	if body[0] != '{' {
		return noPusher("no JSON object")
	}
	var v verdict
	if err := json.Unmarshal(body, &v); err != nil {
		return badAnswer(err)
	}
	if err := v.err(); err != nil {
		return err
	}
	return end(dec)
}

// channelList reads the answer to a request for channels:
// {"channels":{"a":{…},"b":{…}}}, or {"channels":[]} as PHP writes an empty map.
type channelList struct {
	prefix string
	names  []string
	found  bool // there was a list
}

// read takes the body of a 2xx answer, piece by piece: it can be megabytes.
func (l *channelList) read(r io.Reader) error {
	dec := json.NewDecoder(bounded(r, maxListBytes))
	if err := expect(dec, json.Delim('{')); err != nil {
		return err
	}
	var v verdict
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return badAnswer(err)
		}
		switch key {
		case "channels":
			err = l.readChannels(dec)
		case "error":
			err = badAnswer(dec.Decode(&v.Error))
		case "code":
			err = badAnswer(dec.Decode(&v.Code))
		default:
			err = skip(dec)
		}
		if err != nil {
			return err
		}
	}
	if err := expect(dec, json.Delim('}')); err != nil {
		return err
	}
	if err := v.err(); err != nil {
		return err
	}
	if !l.found {
		return noPusher("an answer without a list of channels")
	}
	return end(dec)
}

func (l *channelList) readChannels(dec *json.Decoder) error {
	opening, err := dec.Token()
	if err != nil {
		return badAnswer(err)
	}
	l.found = true
	switch opening {
	case json.Delim('['):
		return expect(dec, json.Delim(']'))
	case json.Delim('{'):
	default:
		return noPusher(fmt.Sprintf("channels that are %v", opening))
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return badAnswer(err)
		}
		if err := skip(dec); err != nil {
			return err
		}
		// A server that does not know the parameter sends all of them.
		if name := name.(string); strings.HasPrefix(name, l.prefix) {
			l.names = append(l.names, name)
		}
	}
	return expect(dec, json.Delim('}'))
}

// expect reads a token and returns an error if it is another one.
func expect(dec *json.Decoder, want json.Delim) error {
	got, err := dec.Token()
	if err != nil {
		return badAnswer(err)
	}
	if got != want {
		return noPusher(fmt.Sprintf("%v where %v belongs", got, want))
	}
	return nil
}

// end returns an error if anything but white space is left.
func end(dec *json.Decoder) error {
	switch _, err := dec.Token(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return badAnswer(err)
	default:
		return noPusher("more than one JSON value")
	}
}

// bounded makes reading more than limit bytes an error.
func bounded(r io.Reader, limit int64) io.Reader {
	return http.MaxBytesReader(nil, io.NopCloser(r), limit)
}

// skip reads a value.
func skip(dec *json.Decoder) error {
	var value json.RawMessage
	return badAnswer(dec.Decode(&value))
}

// badAnswer tells an answer that breaks off, which may be the network's doing,
// from one that no Pusher server gives. A nil error stays nil.
func badAnswer(err error) error {
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, kind := errors.AsType[*json.UnmarshalTypeError](err)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return noPusher(fmt.Sprintf("more than %d bytes", large.Limit))
	}
	if syntax || kind {
		return noPusher(err.Error())
	}
	return err
}

func noPusher(problem string) *Error {
	return &Error{Class: Misconfigured, Message: "not the answer of a Pusher server: " + oneLine([]byte(problem))}
}
