package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	pusherhttp "github.com/pusher/pusher-http-go/v5"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher/pushertest"
)

// encryptionKey is a master key of tests: base64 of 32 times a byte.
func encryptionKey(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32))
}

// laravelApp is what of a Laravel app knows the master key: it gives clients the
// secrets of their channels.
type laravelApp struct{ key atomic.Value }

func newLaravelApp(key string) *laravelApp {
	a := &laravelApp{}
	a.key.Store(key)
	return a
}

func (a *laravelApp) masterKey() string { return a.key.Load().(string) }

// channelSecrets are those that one client was given, each by the master key that
// it was made of.
type channelSecrets struct {
	app *laravelApp

	mu         sync.Mutex
	held       map[string]string
	unreadable int // events
}

func secretsOf(a *laravelApp) *channelSecrets {
	return &channelSecrets{app: a, held: map[string]string{}}
}

// ask has the app give the secret of a channel.
func (s *channelSecrets) ask(channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[channel] = s.app.masterKey()
}

// decrypt reads an event as pusher-js does: what cannot be read is tried once
// more with what the app gives then, and dropped otherwise.
func (s *channelSecrets) decrypt(e *received) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 2 {
		text, err := pushertest.Decrypt(s.held[e.channel], e.channel, e.payload)
		if err == nil {
			e.payload = string(text)
			return true
		}
		s.held[e.channel] = s.app.masterKey()
	}
	s.unreadable++
	return false
}

func (s *channelSecrets) lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unreadable
}

// encryptWith sets chorusd's key, for the next start.
func (s *stack) encryptWith(key string) { s.env = []string{"CHORUSD_PUSHER_ENCRYPTION_KEY=" + key} }

const (
	encryptedTables = `
[tables.notes]
fields = ["id", "user_id", "body"]
visible_to = ["user:{user_id}", "channel:team.{team}"]
`
	encryptedSchema = "CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, team INT, body VARCHAR(20))"
)

// TestEncryptedChannels: users' and shared channels carry nothing but encrypted
// text to the Pusher server and from there to anybody; who has the channel's
// secret reads it.
func TestEncryptedChannels(t *testing.T) {
	t.Parallel()
	const user, team = "chorus.user.7", "team.3"
	var sent strings.Builder
	var mu sync.Mutex
	soketi := sharedSoketi(t)
	proxy := pushertest.StartProxy(t, soketi.Addr, func(r *pushertest.Request) {
		mu.Lock()
		defer mu.Unlock()
		sent.Write(r.Body)
	})
	s := newStack(t, onServers{pusher: proxy.Addr()}, "", encryptedSchema)
	s.app, s.key, s.secret = nextApp()
	s.configure(t, encryptedTables)
	file := filepath.Join(s.dir, "encryption-key")
	if err := os.WriteFile(file, []byte(encryptionKey(1)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"CHORUSD_PUSHER_ENCRYPTION_KEY_FILE=" + file}
	if code, out := s.run(t, "check"); code != 0 || !strings.Contains(out, "1 channel per event") {
		t.Errorf("check exits with %d:\n%s", code, out)
	}

	d := s.start(t)
	c := s.subscribeWith(t, secretsOf(newLaravelApp(encryptionKey(1))), user, team)
	curious := s.subscribe(t, "encrypted-"+user, "encrypted-"+team, user, team)
	d.awaitActive(t, 2)
	s.db.MustExec(t,
		"INSERT INTO notes VALUES (1, 7, 3, 'topsecret'), (2, 7, 3, 'topsecret'), (3, 8, 3, 'topsecret')",
		"DELETE FROM notes WHERE id = 2", "UPDATE notes SET body = 'and more' WHERE id = 1", "TRUNCATE notes")
	row := func(operation string, id, user int, body string) string {
		n, u := strconv.Itoa(id), strconv.Itoa(user)
		return operation + " notes " + n + ` {"id":` + n + `,"user_id":` + u + `,"body":"` + body + `"}`
	}
	want := []string{
		row("create", 1, 7, "topsecret"), row("create", 2, 7, "topsecret"), row("delete", 2, 7, "topsecret"), row("update", 1, 7, "and more"),
	}
	got := c.await(t, user, 5)
	for i, e := range got[:4] {
		if inWords(e) != want[i] {
			t.Errorf("event %d is %s, want %s", i, inWords(e), want[i])
		}
	}
	if control, err := harmonic.ParseControl([]byte(got[4].payload)); err != nil || control.Type() != "reset" {
		t.Errorf("the last event is %s, want a reset", got[4].payload)
	}
	if got := c.await(t, team, 6); inWords(got[2]) != row("create", 3, 8, "topsecret") {
		t.Errorf("the team's third event is %s", inWords(got[2]))
	}
	d.terminate(t)

	if n := c.secrets.lost(); n != 0 {
		t.Errorf("%d events could not be read", n)
	}
	for _, name := range []string{user, team} {
		encrypted := curious.await(t, "encrypted-"+name, len(c.got(name)))
		for _, e := range encrypted {
			var fields map[string]string
			if err := json.Unmarshal([]byte(e.payload), &fields); err != nil || !slices.Equal(slices.Sorted(maps.Keys(fields)), []string{"ciphertext", "nonce"}) {
				t.Errorf("without a secret it is read: %s", e.payload)
			}
		}
		if got := curious.got(name); len(got) != 0 {
			t.Errorf("%d events on %s, which is not encrypted", len(got), name)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if text := sent.String(); !strings.Contains(text, "ciphertext") || strings.Contains(text, "topsecret") || strings.Contains(text, "notes") {
		t.Error("what was sent to the Pusher server can be read")
	}
	if strings.Contains(d.output.String(), encryptionKey(1)) {
		t.Error("the log has the key in it")
	}
}

// TestEncryptionKeyRotation changes the app's key and then chorusd's. Clients of
// before and of in between, which are told nothing by the app, end with a reload.
func TestEncryptionKeyRotation(t *testing.T) {
	t.Parallel()
	const channel = "chorus.user.7"
	s := newStack(t, onServers{}, channelTables, channelSchema)
	changes := 0
	change := func() string {
		changes++
		n := strconv.Itoa(changes)
		s.db.MustExec(t, "INSERT INTO notes VALUES ("+n+", 7, 'a')")
		return "create notes " + n + ` {"id":` + n + `,"user_id":7,"body":"a"}`
	}
	d := s.start(t)
	plain := s.subscribe(t, channel)
	d.awaitActive(t, 1)
	plain.awaitLast(t, channel, change())
	plain.leave()
	d.terminate(t)

	// From none to some, where an upgraded page listens on the new names.
	s.encryptWith(encryptionKey(1))
	laravel := newLaravelApp(encryptionKey(1))
	earlier := s.subscribeWith(t, secretsOf(laravel), channel)
	d = s.start(t)
	earlier.awaitReloads(t, channel, 1)
	earlier.awaitLast(t, channel, change())
	s.awaitNoNotices(t)

	// The app's key, and what is sent meanwhile.
	laravel.key.Store(encryptionKey(2))
	between := s.subscribeWith(t, secretsOf(laravel), channel)
	earlier.awaitLast(t, channel, change())
	eventually(t, "who came in between cannot read it", func() bool {
		return len(between.got(channel)) == 0 && between.secrets.lost() == 1
	})
	d.terminate(t)

	// chorusd's key.
	s.encryptWith(encryptionKey(2))
	d = s.start(t)
	earlier.awaitReloads(t, channel, 2)
	between.awaitReloads(t, channel, 1)
	last := change()
	earlier.awaitLast(t, channel, last)
	between.awaitLast(t, channel, last)
	s.awaitNoNotices(t)
	d.terminate(t)

	// Nothing is changed.
	d = s.start(t)
	last = change()
	for _, c := range []*client{earlier, between} {
		c.awaitLast(t, channel, last)
	}
	d.terminate(t)
	if a, b := earlier.reloads(t, channel), between.reloads(t, channel); a != 2 || b != 1 {
		t.Errorf("they were told to load again %d and %d times, want 2 and 1", a, b)
	}
	if n := earlier.secrets.lost(); n != 0 {
		t.Errorf("who was there all the time could not read %d events", n)
	}
}

// awaitNoNotices waits until what everybody was told is not kept any more for
// those who come, who would be told again after a restart.
func (s *stack) awaitNoNotices(t *testing.T) {
	t.Helper()
	store := s.store(t)
	eventually(t, "no notices are kept", func() bool {
		notices, err := store.Notices(t.Context(), 0)
		return err == nil && len(notices) == 0
	})
}

// echo is Laravel Echo with pusher-js, which a process of Node.js runs.
type echo struct {
	mu     sync.Mutex
	events []received
	errors []string
}

// authorise serves a Laravel app's /broadcasting/auth.
func (a *laravelApp) authorise(s *stack) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		library := pusherhttp.Client{AppID: s.app, Key: s.key, Secret: s.secret, EncryptionMasterKeyBase64: a.masterKey()}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			body, err = library.AuthorizePrivateChannel(body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		_, _ = w.Write(body)
	})
}

// echo listens on an encrypted channel as a page does.
func (s *stack) echo(t *testing.T, a *laravelApp, channel string) *echo {
	t.Helper()
	auth := httptest.NewServer(a.authorise(s))
	t.Cleanup(auth.Close)
	host, port, err := net.SplitHostPort(s.pusher)
	if err != nil {
		t.Fatal(err)
	}
	options, err := json.Marshal(map[string]any{
		"broadcaster": "reverb", "key": s.key, "wsHost": host, "wsPort": port, "forceTLS": false,
		"enabledTransports": []string{"ws"}, "authEndpoint": auth.URL, "channel": channel,
	})
	if err != nil {
		t.Fatal(err)
	}
	const demo = "../../examples/demo"
	if _, err := os.Stat(demo + "/node_modules/laravel-echo"); err != nil {
		t.Fatalf("%v; `make setup` installs it", err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "e2e/encrypted.mjs", string(options))
	cmd.Dir, cmd.Stderr = demo, t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e := &echo{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			e.take(lines.Bytes())
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		<-read
		_ = cmd.Wait() // it may have been killed
		if len(e.errors) > 0 {
			t.Errorf("Echo says %q", e.errors)
		}
	})
	eventually(t, "Echo has joined "+channel, func() bool { return len(e.got("subscribed")) == 1 })
	return e
}

// take takes a line that the process prints.
func (e *echo) take(line []byte) {
	var one struct {
		Event string
		Data  json.RawMessage
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := json.Unmarshal(line, &one); err != nil || one.Event == "error" {
		e.errors = append(e.errors, string(line))
		return
	}
	e.events = append(e.events, received{name: one.Event, payload: string(one.Data)})
}

// got are the payloads of the events of a name.
func (e *echo) got(name string) (payloads []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.events {
		if one.name == name {
			payloads = append(payloads, one.payload)
		}
	}
	return payloads
}

// TestEncryptedEcho is read by Laravel Echo and pusher-js as they are, and goes on
// to be when the key is changed while they are connected.
func TestEncryptedEcho(t *testing.T) {
	t.Parallel()
	const channel = "chorus.user.7"
	s := newStack(t, onServers{}, channelTables, channelSchema)
	s.encryptWith(encryptionKey(1))
	laravel := newLaravelApp(encryptionKey(1))
	d := s.start(t)
	e := s.echo(t, laravel, channel)
	d.awaitActive(t, 1)
	awaitLast := func(want string) {
		t.Helper()
		eventually(t, "Echo gives "+want, func() bool {
			got := e.got(harmonic.EventCreated)
			if len(got) == 0 {
				return false
			}
			h, err := harmonic.Parse([]byte(got[len(got)-1]))
			if err != nil {
				t.Fatal(err)
			}
			return string(h.Data) == want
		})
	}
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'ä<b>')")
	awaitLast(`{"id":1,"user_id":7,"body":"ä<b>"}`)
	laravel.key.Store(encryptionKey(2))
	d.terminate(t)

	s.encryptWith(encryptionKey(2))
	d = s.start(t)
	eventually(t, "Echo gives a reload", func() bool {
		controls := e.got(harmonic.EventControl)
		return len(controls) == 1 && strings.Contains(controls[0], `"reload"`)
	})
	s.db.MustExec(t, "INSERT INTO notes VALUES (2, 7, 'b')")
	awaitLast(`{"id":2,"user_id":7,"body":"b"}`)
	d.terminate(t)
}
