package pusher

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

// codeUnknownApp is what a server says to a client with a key that it does not
// know: https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/#error-codes
const codeUnknownApp = 4001

// KnowsKey asks the server as a browser would, whether it knows the app's key:
// some look at the id and the signature of requests alone, so that with a
// wrong key everything works but webhooks and the authorisation of clients.
// The error says that the server did not tell: its WebSockets may be at
// another address than its HTTP API.
func (c *Client) KnowsKey(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errTimeout)
	defer cancel()
	address := url.URL{
		Scheme: "http", Host: c.cfg.Host, Path: "/app/" + c.cfg.Key, RawQuery: "protocol=7&client=chorusd&version=1",
	}
	if c.cfg.TLS {
		address.Scheme = "https"
	}
	conn, _, err := websocket.Dial(ctx, address.String(), &websocket.DialOptions{ //nolint:bodyclose // Dial closes it
		HTTPClient: &http.Client{Transport: c.transport},
	})
	if err != nil {
		return false, fmt.Errorf("open a WebSocket to %s: %w", c.cfg.Host, err)
	}
	defer func() { _ = conn.CloseNow() }()
	_, text, err := conn.Read(ctx)
	if err != nil {
		return false, fmt.Errorf("read from the WebSocket of %s: %w", c.cfg.Host, err)
	}
	var first struct {
		Event string `json:"event"`
		Data  any    `json:"data"` // an object, or one as text
	}
	if err := json.Unmarshal(text, &first); err != nil {
		return false, fmt.Errorf("read from the WebSocket of %s: %w", c.cfg.Host, err)
	}
	switch first.Event {
	case "pusher:connection_established":
		return true, nil
	case "pusher:error":
		if errorCode(first.Data) == codeUnknownApp {
			return false, nil
		}
	}
	return false, fmt.Errorf("the WebSocket of %s begins with %q", c.cfg.Host, first.Event)
}

// errorCode is the code in the data of a pusher:error; 0 if there is none.
func errorCode(data any) int {
	if text, ok := data.(string); ok {
		if json.Unmarshal([]byte(text), &data) != nil {
			return 0
		}
	}
	fields, _ := data.(map[string]any)
	code, _ := fields["code"].(float64)
	return int(code)
}
