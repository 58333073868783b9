package pusher

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/pusher/pushertest"
)

// masterKey is an encryption key of tests: base64 of 32 times a byte.
func masterKey(b byte) Secret {
	return Secret(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)))
}

// encrypting is a server whose publisher encrypts, and the publisher.
func encrypting(t *testing.T, kind string) (server, *Client) {
	t.Helper()
	s := startFake(t, kind)
	s.config.EncryptionKey = masterKey(1)
	return s, newClient(t, s.config)
}

const aSecret = "private-encrypted-chorus.user.7"

// TestEncryptedSizes: a request is exactly as large as computed, and what
// subscribers of it get is theirs to decrypt.
func TestEncryptedSizes(t *testing.T) {
	for _, kind := range Servers() {
		t.Run(kind, func(t *testing.T) {
			s, c := encrypting(t, kind)
			rnd := rand.New(rand.NewPCG(1, 2))
			inbox := subscribe(t, s.config, aSecret, aSecret+"7")
			for round := range 60 {
				var events []Event
				for range 1 + rnd.IntN(4) {
					e := Event{Name: "e<" + strings.Repeat("n", rnd.IntN(5)), Channels: []string{aSecret}}
					if rnd.IntN(2) == 0 {
						e.Channels = []string{aSecret + "7"}
					}
					e.Data = fmt.Appendf(nil, "%d %s", round, strings.Repeat(tricky, rnd.IntN(20))+strings.Repeat("x", rnd.IntN(4)))
					events = append(events, e)
				}
				publish(t, c, events...)
				requests := s.seen.all()
				if got, want := c.Size(events), requests[len(requests)-1].Bytes; got != want {
					t.Fatalf("Size of %d events = %d, the request has %d bytes", len(events), got, want)
				}
				for _, e := range events {
					got := inbox.next(t)
					if len(got.Data) != e.dataBytes() {
						t.Errorf("the data has %d bytes, %d are computed", len(got.Data), e.dataBytes())
					}
					text, err := pushertest.Decrypt(string(masterKey(1)), got.Channel, got.Data)
					if err != nil || got.Channel != e.Channels[0] || string(text) != string(e.Data) {
						t.Errorf("%s gets %q, %v; want %q on %s", got.Channel, text, err, e.Data, e.Channels[0])
					}
					if _, err := pushertest.Decrypt(string(masterKey(2)), got.Channel, got.Data); err == nil {
						t.Error("it can be read by another key")
					}
				}
			}
		})
	}
}

// TestLargestEncryptedEvent: what just fits is taken, and with one byte more it
// is refused here, as the server would.
func TestLargestEncryptedEvent(t *testing.T) {
	for _, kind := range Servers() {
		t.Run(kind, func(t *testing.T) {
			_, c := encrypting(t, kind)
			e := Event{Name: "e", Channels: []string{aSecret}, Data: []byte("x")}
			for c.Fits([]Event{e}) == nil {
				e.Data = append(e.Data, bytes.Repeat([]byte("x"), 1000)...)
			}
			for c.Fits([]Event{e}) != nil {
				e.Data = e.Data[1:]
			}
			publish(t, c, e)

			e.Data = append(e.Data, 'x')
			before := c.Stats().Requests
			_, err := c.Cut(e)
			limit, ok := errors.AsType[*LimitError](c.Publish(t.Context(), []Event{e}))
			if !ok || err == nil || c.Stats().Requests != before {
				t.Fatalf("one byte more: %v, want a LimitError and no request", err)
			}
			if want := "bytes of an event's data, encrypted"; limit.Limit < 10_000 || limit.What != want && kind != "reverb" {
				t.Errorf("the error says %q, want %q", limit.What, want)
			}
			err = c.publish(t.Context(), []Event{e})
			if refused, ok := errors.AsType[*Error](err); !ok || refused.Status != 413 {
				t.Errorf("the server says %v, want 413", err)
			}
		})
	}
}

// TestFullEncryptedBatch fills batches by Packing, to the byte as far as base64
// allows, whatever the number of digits of the body's length.
func TestFullEncryptedBatch(t *testing.T) {
	for limit := minRequestBytes; limit < 1300; limit++ {
		cfg := configFor("reverb", "127.0.0.1:1")
		cfg.MaxRequestBytes, cfg.EncryptionKey = limit, masterKey(1)
		c := newClient(t, cfg)
		p := c.Packing()
		first := Event{Name: "e", Channels: []string{aSecret}, Data: []byte(`<"first">`)}
		rest := Event{Name: "e", Channels: []string{aSecret}, Data: []byte("x")}
		taken := func() int { return first.ItemBytes() + rest.ItemBytes() + 2*len(aSecret) }
		for taken() <= p.Bytes {
			if err := c.Fits([]Event{first, rest}); err != nil {
				t.Fatalf("of %d bytes, %d are filled: %v", p.Bytes, taken(), err)
			}
			rest.Data = append(rest.Data, 'x')
		}
		if c.Fits([]Event{first, rest}) == nil {
			t.Fatalf("of %d bytes, %d are filled, and it fits", p.Bytes, taken())
		}
	}
}

// TestCutEncrypted: each recipient is an event, which shares batches with others.
func TestCutEncrypted(t *testing.T) {
	for _, kind := range Servers() {
		_, c := encrypting(t, kind)
		if got := c.Limits(); got.Channels != 1 || !strings.HasPrefix(got.String(), "1 channel per event") {
			t.Errorf("%s: the limits are %s", kind, got)
		}
		e := Event{Name: "e", Channels: []string{aSecret, aSecret + "1", aSecret + "2"}, Data: []byte("1")}
		if _, ok := errors.AsType[*LimitError](c.Fits([]Event{e})); !ok {
			t.Errorf("%s: an event for several channels is taken", kind)
		}
		pieces, err := c.Cut(e)
		if err != nil || len(pieces) != 3 {
			t.Fatalf("%s: %d pieces, %v; want 3", kind, len(pieces), err)
		}
		for i, piece := range pieces {
			if !slices.Equal(piece.Channels, e.Channels[i:i+1]) || !c.Packing().Shares(piece) {
				t.Errorf("%s: piece %d is for %q", kind, i, piece.Channels)
			}
		}
		publish(t, c, pieces...)
		if got := c.Stats().Requests; got != 1 {
			t.Errorf("%s: %d requests, want one batch", kind, got)
		}
	}
}

// TestNothingInClear: with a key nothing is sent to other channels, and without
// one nothing to encrypted ones.
func TestNothingInClear(t *testing.T) {
	_, with := encrypting(t, pushertest.Soketi)
	without := newClient(t, configFor("soketi", "127.0.0.1:1"))
	for _, tt := range []struct {
		c        *Client
		channels []string
	}{
		{with, []string{"private-chorus.user.7"}},
		{with, []string{"private-encrypted"}},
		{with, []string{"Private-encrypted-a"}},
		{with, []string{aSecret, "private-chorus.user.7"}},
		{without, []string{aSecret}},
		{without, []string{"private-chorus.user.7", aSecret}},
	} {
		e := Event{Name: "e", Channels: tt.channels, Data: []byte("1")}
		for _, events := range [][]Event{{e}, {e, e}} {
			if err := tt.c.Publish(t.Context(), events); !errors.Is(err, ErrInvalidEvent) {
				t.Errorf("%q: %v, want ErrInvalidEvent", tt.channels, err)
			}
		}
		if _, err := tt.c.Cut(e); !errors.Is(err, ErrInvalidEvent) {
			t.Errorf("cut for %q: %v, want ErrInvalidEvent", tt.channels, err)
		}
	}
	if n := with.Stats().Requests + without.Stats().Requests; n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

// TestEncryptedCheck: what a start asks of a server works with a key, too.
func TestEncryptedCheck(t *testing.T) {
	for _, kind := range []string{pushertest.Reverb, pushertest.Soketi, pushertest.Sockudo} {
		s, c := encrypting(t, kind)
		if found, err := Detect(t.Context(), s.config, silent, Options{}); err != nil || found != kind {
			t.Errorf("%s: found %q, %v", kind, found, err)
		}
		if err := c.TryLargest(t.Context()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		subscribe(t, s.config, aSecret, "private-chorus.user.8")
		if got, err := c.Channels(t.Context(), encryptedPrefix); err != nil || !slices.Equal(got, []string{aSecret}) {
			t.Errorf("%s: the channels are %q, %v", kind, got, err)
		}
	}
}

func TestKeyFingerprint(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range []Secret{"", masterKey(0), masterKey(1)} {
		got := Config{EncryptionKey: key}.KeyFingerprint()
		if seen[got] || (got == "") != (key == "") || got != (Config{EncryptionKey: key}).KeyFingerprint() {
			t.Errorf("the fingerprint is %q", got)
		}
		seen[got] = true
	}
}

func TestEncryptionKeyIsNotShown(t *testing.T) {
	cfg := configFor("reverb", "127.0.0.1:8080")
	cfg.EncryptionKey = masterKey(7) + "x"
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%s %v %+v %#v %v", text, cfg, cfg, cfg, cfg.Validate())
	if strings.Contains(shown, string(masterKey(7))[:10]) {
		t.Errorf("the key is shown: %s", shown)
	}
}
