package pusher

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Event is what subscribers of its channels get.
type Event struct {
	Name     string
	Channels []string
	// Data is the already encoded text of the event's data, not empty and
	// UTF-8. Subscribers get it as it is, those of encrypted channels once they
	// have decrypted it.
	Data []byte
}

// ErrInvalidEvent is wrapped by the errors about events that no server takes:
// without a name, channels or data, or with a channel that is not valid, or not
// encrypted as it should be.
// Nothing was sent; it is the caller's mistake.
var ErrInvalidEvent = errors.New("invalid event")

// A LimitError says that events exceed a limit of the server. Nothing was sent.
type LimitError struct {
	What  string // what there is too much of
	Size  int
	Limit int
	// Mend names the settings that raise the limit; "" if there are none.
	Mend string
}

func (e *LimitError) Error() string {
	text := fmt.Sprintf("%s: %d, the server takes %d", e.What, e.Size, e.Limit)
	if e.Mend != "" {
		text += "; " + e.Mend
	}
	return text
}

// exceeds returns a *LimitError if size is above a limit that is set; key is
// that of [pusher] for it.
func (c *Client) exceeds(what string, size, limit int, key string) error {
	if limit == 0 || size <= limit {
		return nil
	}
	e := &LimitError{What: what, Size: size, Limit: limit}
	if setting := c.dialect.Setting; setting != "" && strings.HasSuffix(key, "_bytes") {
		e.Mend = fmt.Sprintf("raise %s, and %s with it", setting, key)
	}
	return e
}

// maxNameBytes is the most for the name of a channel or an event.
const maxNameBytes = 200

// channelBytes are those that a channel's name may have.
var channelBytes = func() (allowed [256]bool) {
	for _, b := range []byte("-_=@,.;0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		allowed[b] = true
	}
	return allowed
}()

// ValidChannel says whether a channel can have that name: 1 to 200 of the
// characters that the Pusher protocol allows.
func ValidChannel(name string) bool {
	if name == "" || len(name) > maxNameBytes {
		return false
	}
	for i := range len(name) {
		if !channelBytes[name[i]] {
			return false
		}
	}
	return true
}

// validate returns an error that wraps ErrInvalidEvent if no server takes e, or
// if it would show what is to be encrypted.
func (c *Client) validate(e Event) error {
	switch {
	case e.Name == "" || len(e.Name) > maxNameBytes:
		return fmt.Errorf("%w: a name of %d bytes, 1 to %d are allowed", ErrInvalidEvent, len(e.Name), maxNameBytes)
	case len(e.Channels) == 0:
		return fmt.Errorf("%w %q: no channels", ErrInvalidEvent, e.Name)
	case len(e.Data) == 0:
		return fmt.Errorf("%w %q: no data", ErrInvalidEvent, e.Name)
	case !utf8.Valid(e.Data) || !utf8.ValidString(e.Name):
		return fmt.Errorf("%w %q: not UTF-8", ErrInvalidEvent, e.Name)
	}
	for _, channel := range e.Channels {
		if !ValidChannel(channel) {
			return fmt.Errorf("%w %q: channel name %q", ErrInvalidEvent, e.Name, channel)
		}
		if isEncrypted(channel) != c.cfg.Encrypts() {
			return fmt.Errorf("%w %q: channel %q, which is encrypted exactly if there is pusher.encryption_key", ErrInvalidEvent, e.Name, channel)
		}
	}
	return nil
}

// Fits returns nil if Publish can send the events in one request. Otherwise
// the error is a *LimitError, which is to be mended by sending less at once
// (see Cut), or wraps ErrInvalidEvent.
func (c *Client) Fits(events []Event) error {
	if len(events) == 0 {
		return fmt.Errorf("%w: none given", ErrInvalidEvent)
	}
	for _, e := range events {
		if err := c.validate(e); err != nil {
			return err
		}
	}
	return c.within(events)
}

// within is Fits for events that are valid.
func (c *Client) within(events []Event) error {
	items := 0
	for _, e := range events {
		what := "bytes of an event's data"
		if e.isEncrypted() {
			what = "bytes of an event's data, encrypted"
		}
		if err := c.exceeds(what, e.dataBytes(), c.limits.DataBytes, "pusher.max_data_bytes"); err != nil {
			return err
		}
		items += len(e.Channels)
	}
	var err error
	if len(events) == 1 {
		err = c.exceeds("channels of an event", items, c.limits.Channels, "pusher.max_channels")
	} else {
		err = c.exceeds("events in a batch", items, c.limits.Batch, "pusher.max_batch")
	}
	if err != nil || c.limits.RequestBytes == 0 {
		return err
	}
	return c.exceeds("bytes of the whole request", c.Size(events), c.limits.RequestBytes, "pusher.max_request_bytes")
}

// Cut divides the channels of one event among as few events as fit one request
// each, in order. The error is as that of Fits: a *LimitError says that the
// data is too large for a single channel.
func (c *Client) Cut(e Event) ([]Event, error) {
	if err := c.validate(e); err != nil {
		return nil, err
	}
	fixed := 0
	if c.limits.RequestBytes > 0 {
		fixed = eventSize(Event{Name: e.Name, Channels: e.Channels[:1], Data: e.Data}) - jsonSize(e.Channels[0])
	}
	var pieces []Event
	start, size := 0, fixed
	for i, channel := range e.Channels {
		more := jsonSize(channel) + 1 // and a comma
		full := c.limits.Channels > 0 && i-start == c.limits.Channels ||
			c.limits.RequestBytes > 0 && c.events.size(size+more-1) > c.limits.RequestBytes
		if i > start && full {
			pieces = append(pieces, Event{Name: e.Name, Channels: e.Channels[start:i:i], Data: e.Data})
			start, size = i, fixed
		}
		size += more
	}
	pieces = append(pieces, Event{Name: e.Name, Channels: e.Channels[start:len(e.Channels):len(e.Channels)], Data: e.Data})
	for _, piece := range pieces {
		if err := c.within([]Event{piece}); err != nil {
			return nil, err
		}
	}
	return pieces, nil
}
