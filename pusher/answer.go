package pusher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
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
	dec := newDecoder(r, maxPublishedBytes)
	body, err := dec.ReadValue()
	if err != nil {
		return dec.judge(err)
	}
	if body[0] != '{' {
		return noPusher("no JSON object")
	}
	var v verdict
	if err := json.Unmarshal(body, &v); err != nil {
		return noPusher(err.Error())
	}
	if err := v.err(); err != nil {
		return err
	}
	return dec.end()
}

// channelList reads the answer to a request for channels:
// {"channels":{"a":{…},"b":{…}}}, or {"channels":[]} as PHP writes an empty map.
type channelList struct {
	prefix string
	names  []string
	found  bool // there was a list
}

// read takes the body of a 2xx answer as it arrives, which can be megabytes:
// of what was read nothing is kept but the names.
func (l *channelList) read(r io.Reader) error {
	dec := newDecoder(r, maxListBytes)
	if err := dec.expect('{'); err != nil {
		return err
	}
	var v verdict
	for dec.PeekKind() != '}' {
		key, err := dec.ReadToken()
		if err != nil {
			return dec.judge(err)
		}
		switch key.String() {
		case "channels":
			err = l.readChannels(dec)
		case "error":
			err = dec.value(&v.Error)
		case "code":
			err = dec.value(&v.Code)
		default:
			err = dec.skip()
		}
		if err != nil {
			return err
		}
	}
	if err := dec.expect('}'); err != nil {
		return err
	}
	if err := v.err(); err != nil {
		return err
	}
	if !l.found {
		return noPusher("an answer without a list of channels")
	}
	return dec.end()
}

func (l *channelList) readChannels(dec *decoder) error {
	opening, err := dec.ReadToken()
	if err != nil {
		return dec.judge(err)
	}
	l.found = true
	switch opening.Kind() {
	case '[':
		return dec.expect(']')
	case '{':
	default:
		return noPusher("channels that are " + opening.String())
	}
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return dec.judge(err)
		}
		// A server that does not know the parameter sends all of them.
		if name := token.String(); strings.HasPrefix(name, l.prefix) {
			l.names = append(l.names, name)
		}
		if err := dec.skip(); err != nil {
			return err
		}
	}
	return dec.expect('}')
}

// decoder reads an answer token by token, as it arrives. The errors of its own
// methods are judged.
type decoder struct {
	*jsontext.Decoder
	body *body
}

func newDecoder(r io.Reader, limit int64) *decoder {
	body := &body{r: http.MaxBytesReader(nil, io.NopCloser(r), limit)}
	return &decoder{
		Decoder: jsontext.NewDecoder(body, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
		body:    body,
	}
}

// body keeps why it could not be read on.
type body struct {
	r   io.Reader
	err error
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// judge tells an answer that breaks off, which may be the network's doing,
// from one that no Pusher server gives. A nil error stays nil.
func (d *decoder) judge(err error) error {
	large, tooLarge := errors.AsType[*http.MaxBytesError](d.body.err)
	switch {
	case err == nil:
		return nil
	case tooLarge:
		return noPusher(fmt.Sprintf("more than %d bytes", large.Limit))
	case d.body.err != nil:
		return d.body.err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	default:
		return noPusher(err.Error())
	}
}

// value reads a value of any kind.
func (d *decoder) value(into any) error {
	value, err := d.ReadValue()
	if err == nil {
		err = json.Unmarshal(value, into)
	}
	return d.judge(err)
}

// skip reads a value that nobody wants.
func (d *decoder) skip() error { return d.judge(d.SkipValue()) }

// expect reads a token and returns an error if it is of another kind.
func (d *decoder) expect(want jsontext.Kind) error {
	got, err := d.ReadToken()
	if err != nil {
		return d.judge(err)
	}
	if got.Kind() != want {
		return noPusher(fmt.Sprintf("%v where %v belongs", got.Kind(), want))
	}
	return nil
}

// end returns an error if anything but white space is left.
func (d *decoder) end() error {
	switch _, err := d.ReadToken(); {
	case errors.Is(err, io.EOF) && d.body.err == nil:
		return nil
	case err != nil:
		return d.judge(err)
	default:
		return noPusher("more than one JSON value")
	}
}

func noPusher(problem string) *Error {
	return &Error{Class: Misconfigured, Message: "not the answer of a Pusher server: " + oneLine([]byte(problem))}
}
