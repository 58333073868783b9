package pusher

import (
	"io"
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// textLog is a logger for tests that look at the log.
func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// silent is a logger for tests that do not look at the log.
var silent = slog.New(slog.DiscardHandler)

// newClient makes a client that is closed with the test.
func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg, silent, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// configFor is a valid configuration for a server of some kind at an address.
func configFor(server, addr string) Config {
	cfg := DefaultConfig()
	cfg.Server, cfg.Host = server, addr
	cfg.AppID, cfg.Key, cfg.Secret = "lab", "labkey", "labsecret"
	return cfg
}
