package pusher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/pusher/pushertest"
)

// recordedAnswers reads testdata/{kind}-http.jsonl: the raw answers by case.
func recordedAnswers(t *testing.T, kind string) map[string]string {
	t.Helper()
	file, err := os.Open("testdata/" + kind + "-http.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	answers := make(map[string]string)
	dec := json.NewDecoder(file)
	for {
		var line struct {
			Case     string
			Response struct{ Raw string }
		}
		if err := dec.Decode(&line); err == io.EOF {
			return answers
		} else if err != nil {
			t.Fatal(err)
		}
		answers[line.Case] = line.Response.Raw
	}
}

// A list that breaks off anywhere is an error: taking it for the whole list
// would let channels lapse that somebody listens to.
func TestHalfAListIsAnError(t *testing.T) {
	for _, kind := range []string{"reverb", "soketi"} {
		for name, raw := range recordedAnswers(t, kind) {
			_, body, _ := strings.Cut(raw, "\r\n\r\n")
			if !strings.HasPrefix(body, `{"channels":`) || !strings.HasPrefix(name, "channels") {
				continue
			}
			var list channelList
			if err := list.read(strings.NewReader(body)); err != nil {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
			for n := range len(body) {
				var half channelList
				if err := half.read(strings.NewReader(body[:n])); err == nil {
					t.Errorf("%s, %s: no error for the half %s", kind, name, body[:n])
				}
			}
		}
	}
}

func TestListsThatAreNone(t *testing.T) {
	for body, class := range map[string]Class{
		`{}`:                                   Misconfigured,
		`{"ok":true}`:                          Misconfigured,
		`{"channels":null}`:                    Misconfigured,
		`{"channels":7}`:                       Misconfigured,
		`{"channels":["private-a"]}`:           Misconfigured,
		`{"channels":{}} trailing`:             Misconfigured,
		`{"channels":{}}{"channels":{}}`:       Misconfigured,
		`{"channels":{"a":{}},"error":"half"}`: Unknown,
		`{"error":"A server error has occurred.","code":500}`: Unavailable,
		`{"code":401,"error":"no","channels":{}}`:             Misconfigured,
		`[]`: Misconfigured,
		``:   Unknown,
	} {
		var list channelList
		err := list.read(strings.NewReader(body))
		if err == nil {
			t.Errorf("%s: no error", body)
			continue
		}
		if e := asError(t.Context(), err, true); e.Class != class {
			t.Errorf("%s: %v has class %v, want %v", body, err, e.Class, class)
		}
	}
}

// TestLongList lists 100,000 channels of a server, of which others are left out.
func TestLongList(t *testing.T) {
	fake := pushertest.Start(t, pushertest.Options{Kind: pushertest.Soketi})
	names := []string{"public"}
	for i := range 100_000 {
		names = append(names, fmt.Sprintf("private-chorus.user.%d", i))
	}
	defer fake.Subscribe(nil, names...)()
	cfg := configFor("soketi", fake.Addr())
	cfg.Timeout = maxTimeout
	c := newClient(t, cfg)
	c.dialect.NodesWait = 0 // the fake waits for nobody, but may be slow
	got, err := c.Channels(t.Context(), "private-")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, names[1:]) {
		t.Errorf("%d names, want the %d private ones", len(got), len(names)-1)
	}
	// One that does not know the parameter.
	list := channelList{prefix: "private-"}
	if err := list.read(strings.NewReader(`{"other":[{"a":1}],"channels":{"public":{},"private-a":{"x":[1]}}}`)); err != nil || !slices.Equal(list.names, []string{"private-a"}) {
		t.Errorf("the names are %q, %v", list.names, err)
	}
}

// arriving is the answer of a Soketi with so many channels, a few at a time.
type arriving struct {
	list            *channelList // that reads it
	channels, given int
	text            string
	behind          int // the most channels that were given and not yet read
}

func (a *arriving) Read(p []byte) (int, error) {
	if a.text == "" {
		a.behind = max(a.behind, a.given-len(a.list.names))
		switch {
		case a.given > a.channels:
			return 0, io.EOF
		case a.given == 0:
			a.text = `{"channels":{`
		default:
			a.text = ","
		}
		if a.given == a.channels {
			a.text = "}}"
		} else {
			a.text += fmt.Sprintf(`"private-chorus.user.%d":{"subscription_count":1,"occupied":true}`, a.given)
		}
		a.given++
	}
	n := copy(p, a.text)
	a.text = a.text[n:]
	return n, nil
}

// TestListsThatMayLackANode: an answer that has taken as long as the server waits
// for its other nodes is no complete list.
func TestListsThatMayLackANode(t *testing.T) {
	s := startFake(t, pushertest.Soketi)
	c := newClient(t, s.config)
	c.dialect.NodesWait = time.Millisecond
	s.front.Fail(pushertest.List, -1, func(x *pushertest.Exchange) {
		answer := x.Do()
		<-time.After(time.Millisecond)
		x.Write(answer)
	})
	_, err := c.Channels(t.Context(), "private-")
	if e := failure(t, err, Unavailable, 0); !strings.Contains(e.Error(), "a node that is silent: Soketi does not wait longer than 1ms") {
		t.Errorf("the error is %q", e)
	}
	c.dialect.NodesWait = time.Hour
	if _, err := c.Channels(t.Context(), "private-"); err != nil {
		t.Error(err)
	}
}

// The list is read as it arrives: however long it is, a few kilobytes of it are
// held, and what is allocated is the names.
func TestListsAreReadAsTheyArrive(t *testing.T) {
	const channels = 20_000
	allocs := testing.AllocsPerRun(1, func() {
		list := channelList{prefix: "private-"}
		answer := &arriving{list: &list, channels: channels}
		if err := list.read(answer); err != nil || len(list.names) != channels {
			t.Fatalf("%d names, %v", len(list.names), err)
		}
		if answer.behind > 1000 {
			t.Errorf("%d channels had arrived and were not read", answer.behind)
		}
	})
	const ofTheAnswer = 4 // in arriving.Read, for a channel
	if most := float64((1 + ofTheAnswer) * channels * 11 / 10); allocs > most {
		t.Errorf("%.0f allocations for %d channels, want %.0f at most", allocs, channels, most)
	}
}

// FuzzChannels compares the reader with encoding/json, which reads at once.
func FuzzChannels(f *testing.F) {
	for _, s := range []string{
		`{"channels":[]}`, `{"channels":{}}`, `{"channels":{"a":{},"b":{"subscription_count":1}}}`,
		`{"error":"x","code":401}`, `{"channels":{"a":`, `{"x":[1,{"channels":1}],"channels":{"\u0061":null}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var list channelList
		if list.read(strings.NewReader(body)) != nil {
			return
		}
		var whole struct{ Channels json.RawMessage }
		if err := json.Unmarshal([]byte(body), &whole); err != nil {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
		if strings.Count(body, "hannels") != 1 || strings.Contains(body, `\`) {
			return // encoding/json takes the last of several, and any case
		}
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal(whole.Channels, &want); err != nil && string(whole.Channels) != "[]" {
			var empty []any
			if json.Unmarshal(whole.Channels, &empty) != nil || len(empty) > 0 {
				t.Fatalf("accepted %s as channels", whole.Channels)
			}
		}
		slices.Sort(list.names)
		if got := slices.Compact(list.names); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("names %q, want %q", got, slices.Sorted(maps.Keys(want)))
		}
	})
}

func FuzzPublished(f *testing.F) {
	for _, s := range []string{`{}`, `{"ok":true}`, `{"batch":{}}`, `{"error":"x","code":413}`, `{"ok"`, `null`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		err := readPublished(strings.NewReader(body))
		var object map[string]json.RawMessage
		if err == nil && (json.Unmarshal([]byte(body), &object) != nil || object == nil) {
			t.Errorf("accepted %q", body)
		}
		if e, ok := errors.AsType[*Error](err); ok && strings.ContainsAny(e.Error(), "\r\n") {
			t.Errorf("the error is not one line: %q", e)
		}
	})
}

// longList is the answer of a Soketi with so many channels.
func longList(channels int) string {
	var b strings.Builder
	b.WriteString(`{"channels":{`)
	for i := range channels {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"private-chorus.user.%d":{"subscription_count":1,"occupied":true}`, 1_000_000+i)
	}
	b.WriteString(`}}`)
	return b.String()
}

// BenchmarkChannels reads the list of 100,000 channels that a poll brings.
func BenchmarkChannels(b *testing.B) {
	const channels = 100_000
	text := longList(channels)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		list := channelList{prefix: "private-"}
		if err := list.read(strings.NewReader(text)); err != nil || len(list.names) != channels {
			b.Fatal(len(list.names), err)
		}
	}
}
