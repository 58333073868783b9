package pusher

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func FuzzJSONSize(f *testing.F) {
	for _, s := range []string{"", "a", tricky, "\x00\x1f\x7f<>&'\"\\\b\f\n\r\t", "\xff\xc3", "\u2028\u2029\ufffd", "é\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := jsonSize(s); got != len(encoded) {
			t.Errorf("jsonSize(%q) = %d, want %d", s, got, len(encoded))
		}
		if got := jsonSize([]byte(s)); got != len(encoded) {
			t.Errorf("jsonSize([]byte(%q)) = %d, want %d", s, got, len(encoded))
		}
	})
}

func TestCut(t *testing.T) {
	var channels []string
	for i := range 250 {
		channels = append(channels, fmt.Sprintf("private-chorus.user.019bd1f8-6c1f-7000-8000-%012d", i))
	}
	for server, most := range map[string]int{"reverb": 9, "soketi": 3} {
		t.Run(server, func(t *testing.T) {
			c := newClient(t, configFor(server, "127.0.0.1:1"))
			sizes := []int{1, 500, 8000}
			for i := range 70 { // so that some piece fits to the byte
				sizes = append(sizes, 5000+i)
			}
			for _, data := range sizes {
				e := Event{Name: "e", Channels: channels, Data: []byte(strings.Repeat("<", 1) + strings.Repeat("x", data-1))}
				pieces, err := c.Cut(e)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for i, piece := range pieces {
					if err := c.Fits([]Event{piece}); err != nil {
						t.Errorf("piece %d does not fit: %v", i, err)
					}
					if piece.Name != e.Name || string(piece.Data) != string(e.Data) {
						t.Errorf("piece %d is another event", i)
					}
					got = append(got, piece.Channels...)
					if i > 0 { // it would not have fitted into the one before
						joined := piece
						joined.Channels = append(slices.Clone(pieces[i-1].Channels), piece.Channels[0])
						if c.Fits([]Event{joined}) == nil {
							t.Errorf("piece %d could have begun earlier", i)
						}
					}
				}
				if !slices.Equal(got, channels) {
					t.Error("the pieces do not have the channels in order")
				}
				if data == 5000 && len(pieces) > most {
					t.Errorf("%d pieces, want %d at most", len(pieces), most)
				}
			}
		})
	}

	c := newClient(t, configFor("reverb", "127.0.0.1:1"))
	_, err := c.Cut(Event{Name: "e", Channels: channels[:1], Data: []byte(strings.Repeat("x", 9800))})
	if limit, ok := errors.AsType[*LimitError](err); !ok || limit.Limit != 10_000 {
		t.Errorf("data that is too large: %v, want a LimitError", err)
	}
	if want := "raise max_request_size in config/reverb.php, and pusher.max_request_bytes with it"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %q does not end with %q", err, want)
	}
	if _, err := c.Cut(Event{Name: "e", Channels: channels[:1]}); !errors.Is(err, ErrInvalidEvent) {
		t.Errorf("no data: %v, want ErrInvalidEvent", err)
	}
}

// TestPacking: items that take exactly what a batch has room for fit, and with
// one byte more they do not, whatever the number of digits of the body's length.
func TestPacking(t *testing.T) {
	for limit := minRequestBytes; limit < 1600; limit++ {
		cfg := configFor("reverb", "127.0.0.1:1")
		cfg.MaxRequestBytes = limit
		c := newClient(t, cfg)
		p := c.Packing()
		first := Event{Name: "e", Channels: []string{"a"}, Data: []byte(`<"first">`)}
		rest := Event{Name: "e", Channels: []string{"channel"}, Data: []byte("x")}
		left := p.Bytes - first.ItemBytes() - len("a") - rest.ItemBytes() - len("channel")
		rest.Data = []byte(strings.Repeat("x", 1+left))
		if err := c.Fits([]Event{first, rest}); err != nil {
			t.Fatalf("of %d bytes, %d are filled: %v", limit, p.Bytes, err)
		}
		rest.Data = append(rest.Data, 'x')
		if c.Fits([]Event{first, rest}) == nil {
			t.Fatalf("of %d bytes, %d are filled, and there is room for more", limit, p.Bytes)
		}
	}
}

func TestPackingOfServers(t *testing.T) {
	for server, want := range map[string]Packing{
		"reverb":  {Items: itemsOfOurs, Spread: 1},
		"soketi":  {Items: 10, Bytes: math.MaxInt, Spread: 9},
		"sockudo": {Items: 10, Bytes: math.MaxInt, Spread: 1},
		"pusher":  {Items: 10, Bytes: math.MaxInt, Spread: 1},
	} {
		got := newClient(t, configFor(server, "127.0.0.1:1")).Packing()
		if server == "reverb" {
			if got.Bytes < 9000 || got.Bytes > 10_000 {
				t.Errorf("reverb: %d bytes", got.Bytes)
			}
			got.Bytes = 0
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", server, got, want)
		}
	}
	cfg := configFor("soketi", "127.0.0.1:1")
	cfg.MaxBatch = 4
	if got, want := newClient(t, cfg).Packing(), (Packing{Items: 4, Bytes: math.MaxInt, Spread: 3}); got != want {
		t.Errorf("with batches of four: %+v, want %+v", got, want)
	}
}

func TestEventsThatShareARequest(t *testing.T) {
	few, many := Packing{Items: 10, Spread: 1}, Packing{Items: 10, Spread: 9}
	for _, c := range []struct {
		packing        Packing
		channels, data int
		want           bool
	}{
		{few, 1, 100, true},
		{few, 1, 50_000, true},
		{few, 2, 100, false},
		{many, 1, 50_000, true},
		{many, 9, 400, true},
		{many, 9, 500, false},
		{many, 10, 1, false},
		{many, 2, spreadBytes / 2, true},
		{many, 2, spreadBytes/2 + 1, false},
	} {
		if got := c.packing.Shares(Event{Channels: make([]string, c.channels), Data: make([]byte, c.data)}); got != c.want {
			t.Errorf("%d channels, %d bytes of data, %+v: %v", c.channels, c.data, c.packing, got)
		}
	}
}
