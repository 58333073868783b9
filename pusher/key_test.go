package pusher

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

func clientOf(t *testing.T, host, key string) *Client {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Server, cfg.Host, cfg.AppID, cfg.Key, cfg.Secret = "soketi", host, services.DefaultAppID, key, services.DefaultSecret
	c, err := New(cfg, slog.New(slog.DiscardHandler), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestKnowsKey(t *testing.T) {
	soketi := servicestest.StartSoketi(t, services.SoketiOptions{})
	for key, want := range map[string]bool{services.DefaultKey: true, "another-key": false} {
		got, err := clientOf(t, soketi.Addr, key).KnowsKey(t.Context())
		if err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", key, got, err, want)
		}
	}
}

// TestKnowsKeyByTheFirstFrame is on what other servers say.
func TestKnowsKeyByTheFirstFrame(t *testing.T) {
	for frame, want := range map[string]struct{ knows, tells bool }{
		`{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}`:    {true, true},
		`{"event":"pusher:error","data":"{\"code\":4001,\"message\":\"no such app\"}"}`: {false, true}, // Reverb
		`{"event":"pusher:error","data":{"code":4001,"message":"no such app"}}`:         {false, true},
		`{"event":"pusher:error","data":{"code":4009,"message":"origin"}}`:              {false, false},
		`{"event":"pusher:error","data":"?"}`:                                           {false, false},
		`hello`:                                                                         {false, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Write(r.Context(), websocket.MessageText, []byte(frame))
			_ = conn.Close(websocket.StatusNormalClosure, "")
		}))
		knows, err := clientOf(t, server.Listener.Addr().String(), "k").KnowsKey(t.Context())
		if knows != want.knows || (err == nil) != want.tells {
			t.Errorf("%s: %v, %v", frame, knows, err)
		}
		server.Close()
	}
	none := httptest.NewServer(http.NotFoundHandler())
	defer none.Close()
	if _, err := clientOf(t, none.Listener.Addr().String(), "k").KnowsKey(t.Context()); err == nil {
		t.Error("a server without WebSockets tells")
	}
}
