package services

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pusher/pusher-http-go/v5"
)

func startSoketi(t *testing.T, opts SoketiOptions) *SoketiServer {
	t.Helper()
	s, err := StartSoketi(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s.Server)
	return s
}

// Credentials, webhooks and settings reach the server.
func TestSoketiOptions(t *testing.T) {
	type call struct{ event, channel string }
	calls := make(chan call, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		mac := hmac.New(sha256.New, []byte("s"))
		mac.Write(body)
		if got, want := r.Header.Get("X-Pusher-Signature"), hex.EncodeToString(mac.Sum(nil)); got != want {
			t.Errorf("signature: got %s, want %s", got, want)
		}
		var message struct {
			Events []struct{ Name, Channel string }
		}
		if err := json.Unmarshal(body, &message); err != nil {
			t.Error(err)
			return
		}
		for _, e := range message.Events {
			calls <- call{e.Name, e.Channel}
		}
	}))
	defer hook.Close()
	s := startSoketi(t, SoketiOptions{
		AppID: "7", Key: "k", Secret: "s",
		Webhooks: []Webhook{{URL: hook.URL}},
		Settings: map[string]any{"cors.origin": []string{"https://example.test"}},
	})

	client := pusher.Client{AppID: "7", Key: "k", Secret: "s", Host: s.Addr, HTTPClient: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
	if err := client.Trigger("room", "event", "data"); err != nil {
		t.Errorf("trigger: %v", err)
	}
	resp, err := client.HTTPClient.Get("http://" + s.Addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got, want := resp.Header.Get("Access-Control-Allow-Origin"), "https://example.test"; got != want {
		t.Errorf("allowed origin: got %q, want %q", got, want)
	}

	socket := subscribe(t, s, "room")
	expect := func(want call) {
		t.Helper()
		select {
		case got := <-calls:
			if got != want {
				t.Errorf("webhook: got %v, want %v", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no webhook %v", want)
		}
	}
	expect(call{"channel_occupied", "room"})
	socket.Close()
	expect(call{"channel_vacated", "room"})
}

func TestSoketiVersion(t *testing.T) {
	if want := `"@soketi/soketi": "` + soketiVersion + `"`; !strings.Contains(string(soketiPackage), want) {
		t.Errorf("package.json lacks %s", want)
	}
}

// Under another Node it would start, and open no WebSocket.
func TestSoketiNeedsItsNode(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "node"), []byte("#!/bin/sh\necho v22.1.0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	want := "start Soketi 1.6.1: it needs Node 20, and the PATH has Node 22"
	if _, err := StartSoketi(t.Context(), SoketiOptions{}); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// subscribe opens a WebSocket connection and subscribes to a public channel.
func subscribe(t *testing.T, s *SoketiServer, channel string) io.Closer {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "GET /app/%s?protocol=7 HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", s.Key, s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: got %s", resp.Status)
	}
	if got := textFrame(t, answers); !strings.Contains(got, "pusher:connection_established") {
		t.Fatalf("got %s, want pusher:connection_established", got)
	}
	message := fmt.Sprintf(`{"event":"pusher:subscribe","data":{"channel":%q}}`, channel)
	// A final text frame, masked with zeros; its length fits 7 bits.
	frame := append([]byte{0x81, 0x80 | byte(len(message)), 0, 0, 0, 0}, message...)
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	if got := textFrame(t, answers); !strings.Contains(got, "subscription_succeeded") {
		t.Fatalf("got %s, want subscription_succeeded", got)
	}
	return conn
}

// textFrame reads an unmasked WebSocket frame of less than 64 KiB.
func textFrame(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatal(err)
	}
	size := uint16(head[1])
	if size == 126 {
		if err := binary.Read(r, binary.BigEndian, &size); err != nil {
			t.Fatal(err)
		}
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		t.Fatal(err)
	}
	return string(text)
}
