package pusher

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	pusherhttp "github.com/pusher/pusher-http-go/v5"
)

// Size returns the number of bytes of the HTTP request, headers included, that
// Publish sends for the events. It is exact unless a proxy is in between.
func (c *Client) Size(events []Event) int {
	if len(events) == 1 {
		return c.events.size(eventSize(events[0]))
	}
	return c.batches.size(batchSize(events))
}

// endpoint is what requests to one path have in common.
type endpoint struct {
	head int // bytes before the body, without the digits of Content-Length
}

func (e endpoint) size(body int) int { return e.head + len(strconv.Itoa(body)) + body }

// eventSize is the length of the body that pusher-http-go makes of one event.
func eventSize(e Event) int {
	size := len(`{"channels":[],"data":,"name":}`) + e.dataSize() + jsonSize(e.Name)
	for _, channel := range e.Channels {
		size += jsonSize(channel) + len(",")
	}
	if len(e.Channels) > 0 {
		size -= len(",")
	}
	return size
}

// batchSize is the length of the body that pusher-http-go makes of a batch, in
// which an event is repeated for each of its channels.
func batchSize(events []Event) int {
	size := len(emptyBatch) - len(",")
	for _, e := range events {
		each := e.ItemBytes()
		for _, channel := range e.Channels {
			size += each + len(channel)
		}
	}
	return size
}

const emptyBatch = `{"batch":[]}`

// ItemBytes is how much of a batch the item of each of its channels takes,
// without the channel's name, of which nothing has to be escaped.
func (e Event) ItemBytes() int {
	return len(`{"channel":"","name":,"data":},`) + jsonSize(e.Name) + e.dataSize()
}

// jsonSize is the length of s as encoding/json writes it by default: with
// quotes, and with <, >, &, U+2028 and U+2029 escaped.
func jsonSize[T string | []byte](s T) int {
	size := len(`""`)
	for i := 0; i < len(s); {
		if n := int(jsonBytes[s[i]]); n > 0 {
			size += n
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
		if r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			size += escaped
		} else {
			size += n
		}
		i += n
	}
	return size
}

// escaped is the length of a character that JSON has by its number.
const escaped = len(`\u0000`)

// jsonBytes are how many bytes encoding/json writes for an ASCII character; 0
// for what begins no such.
var jsonBytes = func() (sizes [256]uint8) {
	for b := range byte(utf8.RuneSelf) {
		switch {
		case b == '"' || b == '\\' || b == '\b' || b == '\f' || b == '\n' || b == '\r' || b == '\t':
			sizes[b] = 2
		case b < ' ' || b == '<' || b == '>' || b == '&':
			sizes[b] = uint8(escaped)
		default:
			sizes[b] = 1
		}
	}
	return sizes
}()

// measure has the library make a request and returns what of its size does not
// depend on the body. A timestamp, a digest and a signature have fixed lengths.
func (c *Client) measure(request func(*pusherhttp.Client) error) (endpoint, error) {
	var scale scale
	library := c.library(&scale)
	if err := request(library); err != nil {
		return endpoint{}, fmt.Errorf("measure a request: %w", err)
	}
	body := int(scale.body)
	return endpoint{head: int(scale.total) - body - len(strconv.Itoa(body))}, nil
}

// scale is a round tripper that sends nothing and notes how much it would be.
type scale struct{ total, body int64 }

func (s *scale) RoundTrip(req *http.Request) (*http.Response, error) {
	s.body = req.ContentLength
	if err := prepare(req).Write((*countWriter)(&s.total)); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK,
		Body:       io.NopCloser(strings.NewReader(emptyAnswer)),
		Request:    req,
	}, nil
}

type countWriter int64

func (w *countWriter) Write(p []byte) (int, error) {
	*w += countWriter(len(p))
	return len(p), nil
}
