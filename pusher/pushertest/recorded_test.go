package pushertest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recording is a line of ../testdata/*-http.jsonl.
type recording struct {
	Case    string
	Request struct {
		Line, Body string
		Bytes      int // of the whole request
	}
	Response struct{ Raw string }
	// Frames are those of a WebSocket that was open meanwhile, in order.
	Frames []struct {
		Dir, Frame string
		Close      int
	}
}

// apps are those of the servers that were recorded.
var apps = map[string]Options{
	Reverb: {Kind: Reverb, AppID: "lab", Key: "labkey", Secret: "labsecret"},
	Soketi: {Kind: Soketi, AppID: "1", Key: "k", Secret: "s"},
}

func recordings(t *testing.T, kind string) []recording {
	t.Helper()
	file, err := os.Open("../testdata/" + kind + "-http.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []recording
	for dec := json.NewDecoder(file); ; {
		var r recording
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
}

// TestAnswersAsRecorded makes every request that was recorded of a real server,
// byte for byte but for the signature, while somebody listens as then, and
// wants the answer that was recorded. What the listener gets is compared, too.
func TestAnswersAsRecorded(t *testing.T) {
	for kind, app := range apps {
		t.Run(kind, func(t *testing.T) {
			s := Start(t, app)
			all := recordings(t, kind)
			var frames []string
			var ws *websocket.Conn
			for _, r := range all {
				if r.Frames != nil {
					frames = framesOf(r)
					continue
				}
				if ws == nil && r.Case != "channels, nobody connected" {
					ws = converse(t, s, all)
				}
				t.Run(r.Case, func(t *testing.T) {
					got := ask(t, s, r.rebuild(t, app))
					if got, want := undated(got), undated(r.Response.Raw); got != want {
						t.Errorf("got  %q\nwant %q", got, want)
					}
				})
			}
			for i, want := range frames {
				got := receive(t, ws)
				if start, isCut := strings.CutSuffix(want, "…"); isCut && strings.HasPrefix(got, start) {
					continue // a long frame, of which the start was recorded
				}
				if got != want {
					t.Fatalf("frame %d: got %.300s\nwant %.300s", i, got, want)
				}
			}
			_ = ws.CloseNow()
		})
	}
}

// framesOf are the events that the listener got.
func framesOf(session recording) []string {
	var events []string
	for _, f := range session.Frames {
		if f.Dir == "server" && f.Close == 0 && !strings.HasPrefix(f.Frame, `{"event":"pusher`) {
			events = append(events, f.Frame)
		}
	}
	return events
}

// converse opens the WebSocket that was recorded, up to the first event, and
// wants the same frames.
func converse(t *testing.T, s *Server, all []recording) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), "ws://"+s.Addr()+"/app/"+s.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = ws.CloseNow() })
	session := all[slices.IndexFunc(all, func(r recording) bool { return r.Frames != nil })]
	id := ""
	for _, f := range session.Frames {
		switch {
		case f.Dir == "client":
			if strings.Contains(f.Frame, "unsubscribe") {
				return ws
			}
			send(t, ws, signed(t, f.Frame, s, id))
		case strings.HasPrefix(f.Frame, `{"event":"pusher`):
			got := receive(t, ws)
			if m := socketID.FindString(got); m != "" {
				id = strings.Trim(m, `\"`)
			}
			if want := socketID.ReplaceAllString(f.Frame, "ID"); socketID.ReplaceAllString(got, "ID") != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
	}
	return ws
}

var socketID = regexp.MustCompile(`\\"[0-9]+\.[0-9]+\\"`)

// signed is a recorded subscription with the signature that the socket of now
// needs; a false one stays false.
func signed(t *testing.T, frame string, s *Server, id string) string {
	t.Helper()
	var f struct {
		Data struct {
			Channel, Auth string
			ChannelData   string `json:"channel_data"`
		}
	}
	if err := json.Unmarshal([]byte(frame), &f); err != nil {
		t.Fatal(err)
	}
	if f.Data.Auth == "" || strings.HasSuffix(f.Data.Auth, ":"+strings.Repeat("0", 64)) {
		return frame
	}
	text := id + ":" + f.Data.Channel
	if f.Data.ChannelData != "" {
		text += ":" + f.Data.ChannelData
	}
	return strings.Replace(frame, f.Data.Auth, s.Key+":"+mac(s.Secret, text), 1)
}

func send(t *testing.T, ws *websocket.Conn, frame string) {
	t.Helper()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, text, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func mac(secret, text string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

func md5Of(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// cut ends a body that was too long to be recorded whole.
var cut = regexp.MustCompile(`… \(([0-9]+) bytes\)$`)

// body is a recorded body; what was cut is filled up from what the case is.
func (r recording) body(t *testing.T) string {
	t.Helper()
	m := cut.FindStringSubmatch(r.Request.Body)
	if m == nil {
		return r.Request.Body
	}
	var body string
	switch {
	case strings.HasPrefix(r.Case, "data of "):
		size, err := strconv.Atoi(strings.ReplaceAll(strings.Fields(r.Case)[2], ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		body = `{"name":"e","channels":["news"],"data":"` + strings.Repeat("x", size) + `"}`
	case r.Case == "one event, 101 channels":
		var channels []string
		for i := range 101 {
			channels = append(channels, fmt.Sprintf(`"private-c.%d"`, i))
		}
		body = `{"name":"e","channels":[` + strings.Join(channels, ",") + `],"data":"{}"}`
	case r.Case == "batch of 11":
		var events []string
		for i := range 11 {
			events = append(events, fmt.Sprintf(`{"name":"harmonic.created","channel":"news","data":"{\"i\":%d}"}`, i))
		}
		body = `{"batch":[` + strings.Join(events, ",") + `]}`
	}
	if strconv.Itoa(len(body)) != m[1] || !strings.HasPrefix(body, strings.TrimSuffix(r.Request.Body, m[0])) {
		t.Fatalf("the body has %d bytes, %s were recorded", len(body), m[1])
	}
	return body
}

// rebuild is the recorded request, as large as it was, with a signature of now.
func (r recording) rebuild(t *testing.T, app Options) string {
	t.Helper()
	body := r.body(t)
	method, rest, _ := strings.Cut(r.Request.Line, " ")
	path, query, _ := strings.Cut(strings.TrimSuffix(rest, " HTTP/1.1"), "?")
	query = strings.Replace(query, "=TS", fmt.Sprintf("=%d", time.Now().Unix()), 1)
	query = strings.Replace(query, "=MD5", "="+md5Of(body), 1)
	params := slices.DeleteFunc(strings.Split(query, "&"), func(p string) bool { return p == "auth_signature=SIG" })
	slices.Sort(params)
	signature := mac(app.Secret, method+"\n"+path+"\n"+strings.Join(params, "&"))
	if r.Case == "bad signature" {
		signature = strings.Repeat("0", len(signature))
	}
	head := method + " " + path + "?" + strings.Replace(query, "=SIG", "="+signature, 1) + " HTTP/1.1\r\nHost: x\r\n"
	chunked := r.Case == "chunked body"
	switch {
	case chunked:
		head += "Transfer-Encoding: chunked\r\n"
	case body != "":
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	const pad, end = "X-Pad: ", "\r\n\r\n"
	if size := r.Request.Bytes - len(head) - len(pad) - len(end) - len(body); size > 0 {
		head += pad + strings.Repeat("x", size)
	} else {
		t.Fatalf("the request is %d bytes larger than recorded", -size)
	}
	if chunked {
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	return head + end + body
}

// connect sends a raw request on a connection of its own, to be closed.
func connect(t *testing.T, s interface{ Addr() string }, request string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		conn.Close()
		t.Fatal(err)
	}
	return conn
}

// ask sends a raw request and returns the answer up to the connection's end,
// or to its own where that stays open.
func ask(t *testing.T, s interface{ Addr() string }, request string) string {
	t.Helper()
	conn := connect(t, s, request)
	defer conn.Close()
	var raw bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return raw.String()
}

var date = regexp.MustCompile(`Date:( *)[A-Za-z0-9:, ]+\r\n`)

// undated is an answer without its time.
func undated(answer string) string { return date.ReplaceAllString(answer, "Date:${1}now\r\n") }

// cutShort sends a raw request and returns how much comes until the connection
// is closed.
func cutShort(t *testing.T, s interface{ Addr() string }, request string) int {
	t.Helper()
	conn := connect(t, s, request)
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return len(got)
}
