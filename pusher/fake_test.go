package pusher

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// message is what a subscriber of a channel gets.
type message struct{ Channel, Name, Data string }

// subscribed is a connection that is subscribed to channels.
type subscribed struct {
	messages <-chan message
	leave    func()
	send     func(t *testing.T, frame string) // of real servers only
}

// next returns the next message.
func (s subscribed) next(t *testing.T) message {
	t.Helper()
	select {
	case m := <-s.messages:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no message arrives")
		return message{}
	}
}

// fake is a server that answers in the recorded words of a real one.
type fake struct {
	kind     string // "reverb" or "soketi"
	config   Config
	recorded map[string]string // raw answers by case

	mu          sync.Mutex
	subscribers map[int]fakeSubscriber
	nextID      int
	requests    []int // bytes of each, headers included
}

type fakeSubscriber struct {
	channels []string
	messages chan message
}

func newFake(t *testing.T, kind string) *fake {
	f := &fake{kind: kind, recorded: recordedAnswers(t, kind), subscribers: make(map[int]fakeSubscriber)}
	addr := serve(t, f.handle)
	f.config = configFor(kind, addr)
	return f
}

// recordedAnswers reads testdata/{kind}-http.jsonl.
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

// serve handles connections to a free port, each in its own goroutine, until
// the test ends.
func serve(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

// handle answers the one request of a connection and closes it, as both real
// servers do.
func (f *fake) handle(conn net.Conn) {
	var raw bytes.Buffer
	req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &raw)))
	if err != nil {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	f.requests = append(f.requests, raw.Len())
	f.mu.Unlock()
	_, _ = io.WriteString(conn, f.answer(req, body, raw.Len()))
}

// answer does what is asked and returns the raw answer.
func (f *fake) answer(req *http.Request, body []byte, size int) string {
	if f.kind == "reverb" && size > 10_000 {
		return f.recorded["data of 10,500 bytes"]
	}
	operation, ok := strings.CutPrefix(req.URL.Path, "/apps/"+f.config.AppID+"/")
	if !ok {
		return f.recorded["unknown app"]
	}
	if req.URL.Query().Get("auth_signature") != f.sign(req, body) {
		return f.recorded["bad signature"]
	}
	switch req.Method + " " + operation {
	case "GET channels":
		return f.list(req.URL.Query().Get("filter_by_prefix"))
	case "POST events":
		var event struct {
			Name     string
			Channels []string
			Data     string
		}
		if err := json.Unmarshal(body, &event); err != nil {
			return f.recorded["malformed JSON"]
		}
		if f.kind == "soketi" && len(event.Channels) > 100 {
			return f.recorded["one event, 101 channels"]
		}
		if f.kind == "soketi" && len(event.Data) > 100*1024 {
			return f.recorded["data of 120,000 bytes"]
		}
		for _, channel := range event.Channels {
			f.deliver(message{channel, event.Name, event.Data})
		}
		return f.recorded["one event, one channel"]
	case "POST batch_events":
		var events struct{ Batch []message }
		if err := json.Unmarshal(body, &events); err != nil {
			return f.recorded["malformed JSON"]
		}
		if f.kind == "soketi" && len(events.Batch) > 10 {
			return f.recorded["batch of 11"]
		}
		for _, m := range events.Batch {
			f.deliver(m)
		}
		return f.recorded["batch of 3"]
	default:
		return f.recorded["unknown path"]
	}
}

// sign computes a request's signature as Reverb and Soketi do: from the
// decoded parameters and the body that came.
func (f *fake) sign(req *http.Request, body []byte) string {
	params := req.URL.Query()
	params.Del("auth_signature")
	params.Del("body_md5")
	if len(body) > 0 {
		sum := md5.Sum(body)
		params.Set("body_md5", hex.EncodeToString(sum[:]))
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		pairs = append(pairs, name+"="+params.Get(name))
	}
	mac := hmac.New(sha256.New, []byte(f.config.Secret))
	fmt.Fprintf(mac, "%s\n%s\n%s", req.Method, req.URL.Path, strings.Join(pairs, "&"))
	return hex.EncodeToString(mac.Sum(nil))
}

// list is the answer to GET /channels.
func (f *fake) list(prefix string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	channels := make(map[string]any)
	for _, s := range f.subscribers {
		for _, channel := range s.channels {
			if strings.HasPrefix(channel, prefix) {
				info := map[string]any{}
				if f.kind == "soketi" {
					info = map[string]any{"subscription_count": 1, "occupied": true}
				}
				channels[channel] = info
			}
		}
	}
	if len(channels) == 0 {
		return f.recorded["channels, by prefix, none"]
	}
	body, _ := json.Marshal(map[string]any{"channels": channels})
	header, _, _ := strings.Cut(f.recorded["channels, all"], "\r\n\r\n")
	lines := strings.Split(header, "\r\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "Content-Length:") {
			lines[i] = fmt.Sprintf("Content-Length: %d", len(body))
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + string(body)
}

func (f *fake) deliver(m message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subscribers {
		if slices.Contains(s.channels, m.Channel) {
			s.messages <- m
		}
	}
}

// subscribe lets somebody subscribe to channels until the test ends.
func (f *fake) subscribe(t *testing.T, channels ...string) subscribed {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := f.nextID
	f.nextID++
	s := fakeSubscriber{channels: channels, messages: make(chan message, 1000)}
	f.subscribers[id] = s
	leave := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subscribers, id)
	}
	t.Cleanup(leave)
	return subscribed{messages: s.messages, leave: leave}
}

// lastRequest is the size of the last request, headers included.
func (f *fake) lastRequest() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[len(f.requests)-1]
}
