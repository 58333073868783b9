package pusher

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	pusherhttp "github.com/pusher/pusher-http-go/v5"
)

// An UnknownServerError says that a server's answers are not surely those of
// one of the kinds that are known.
type UnknownServerError struct {
	answers answers
}

func (e *UnknownServerError) Error() string {
	return fmt.Sprintf("it is not surely one of %s: it answers %s and %s; set pusher.server to the kind that it behaves like, for example server = %q",
		strings.Join(Servers(), ", "), e.answers.list, e.answers.channel, "pusher")
}

// answers are those to Detect's requests.
type answers struct{ list, channel probed }

// probed is one answer.
type probed struct {
	status       int
	body         string // in one line
	cacheControl string
}

func (p probed) String() string { return fmt.Sprintf("%d %s", p.status, p.body) }

// hostedDomains are those under which hosted Pusher's hosts are.
var hostedDomains = []string{".pusher.com", ".pusherapp.com"}

// Detect finds out which kind of server is at cfg.Host, whatever cfg.Server
// says, and returns its name for Config.Server. Hosted Pusher is known by its
// host. Of others two things are asked that change nothing: which channels there
// are with a random prefix, and what one such channel is like. The answers have
// to be those of exactly one kind, else it is an *UnknownServerError. Other
// errors are as those of Channels.
func Detect(ctx context.Context, cfg Config, log *slog.Logger, opts Options) (string, error) {
	host, _, err := net.SplitHostPort(cfg.Host)
	if err != nil {
		host = cfg.Host
	}
	for _, domain := range hostedDomains {
		if strings.HasSuffix(strings.ToLower(host), domain) {
			return "pusher", nil
		}
	}
	cfg.Server = "pusher" // nothing is sent to which its limits apply
	c, err := New(cfg, log, opts)
	if err != nil {
		return "", err
	}
	defer c.Close()
	got, err := c.probe(ctx, "private-"+strings.ToLower(rand.Text()))
	if err != nil {
		return "", err
	}
	var found []string
	for _, name := range Servers() {
		if m := dialects[name].marks; m != nil && m.fit(got) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		return "", &UnknownServerError{answers: got}
	}
	return found[0], nil
}

// probe asks about a channel that nobody listens to.
func (c *Client) probe(ctx context.Context, channel string) (got answers, err error) {
	if got.list, err = c.ask(ctx, func(library *pusherhttp.Client) error {
		_, err := library.Channels(pusherhttp.ChannelsParams{FilterByPrefix: &channel})
		return err
	}); err != nil {
		return got, err
	}
	counts := "user_count"
	got.channel, err = c.ask(ctx, func(library *pusherhttp.Client) error {
		_, err := library.Channel(channel, pusherhttp.ChannelParams{Info: &counts})
		return err
	})
	// What is refused now is so for what was asked.
	if e, ok := errors.AsType[*Error](err); ok && e.Status != 0 && (e.Class == Refused || e.Class == Misconfigured) {
		return answers{list: got.list, channel: probed{status: e.Status, body: e.Message}}, nil
	}
	return got, err
}

// ask makes a request and returns its answer.
func (c *Client) ask(ctx context.Context, request func(*pusherhttp.Client) error) (got probed, err error) {
	note := func(answer *http.Response) {
		got.status, got.cacheControl = answer.StatusCode, answer.Header.Get("Cache-Control")
	}
	read := func(body io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(body, maxErrorBytes))
		if err != nil {
			return err
		}
		got.body = oneLine(text)
		if len(text) == maxErrorBytes {
			return nil // more than any answer that is known
		}
		return readPublished(bytes.NewReader(text))
	}
	err = c.do(ctx, c.listing, call{op: "find out the kind of server", read: read, note: note}, request)
	return got, err
}

// TryLargest asks whether the server takes a request of Limits.RequestBytes,
// where it can be asked without publishing anything: by an event for a channel
// that nobody knows, without the name that it has to have. The error says that
// the server, or a proxy before it, takes less. nil does not mean that it takes
// as much, since there may be no asking, or no answer.
func (c *Client) TryLargest(ctx context.Context) error {
	size := c.limits.RequestBytes
	if !c.dialect.ReadsFirst || size == 0 {
		return nil
	}
	// It is no encrypted channel, as data can have any size there.
	nameless := Event{Channels: []string{"private-" + strings.ToLower(rand.Text())}}
	room := size - c.Size([]Event{nameless}) - 10 // Content-Length gets more digits
	if room < 0 {
		return c.exceeds("bytes of the smallest request", size-room, size, "pusher.max_request_bytes")
	}
	nameless.Data = bytes.Repeat([]byte("x"), room)
	for {
		larger := Event{Channels: nameless.Channels, Data: append(nameless.Data, 'x')}
		if c.Size([]Event{larger}) > size {
			break
		}
		nameless = larger
	}
	for range 2 {
		e, ok := errors.AsType[*Error](c.publish(ctx, []Event{nameless}))
		if !ok || e.Status != http.StatusRequestEntityTooLarge && !closedByServer(e) {
			return nil // a connection that breaks off once may be chance
		}
	}
	return fmt.Errorf("it refuses a request of %d bytes as too large; lower pusher.max_request_bytes to what it takes with the headers of proxies, or raise %s",
		size, c.dialect.Setting)
}

// closedByServer says whether the connection ended before there was an answer.
// net.ErrClosed is what a writer sees whose reader has met the end.
func closedByServer(e *Error) bool {
	return e.Class == Unknown && slices.ContainsFunc(
		[]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed},
		func(end error) bool { return errors.Is(e, end) })
}
