// Package policytest is a fake of a Laravel app whose policies are asked: it
// keeps docs/POLICIES.md to the letter, by code of its own, and does on demand
// what a broken app, or one who listens in between, would do.
package policytest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Tolerance is how far a timestamp may be off the app's clock.
const Tolerance = 5 * time.Minute

// Request is the body of a request.
type Request struct {
	Version int               `json:"version"`
	Table   string            `json:"table"`
	Tenant  *string           `json:"tenant"`
	Model   string            `json:"model"`
	Ability string            `json:"ability"`
	Users   []json.RawMessage `json:"users"`
	Rows    []Row             `json:"rows"`
}

// Row is one of a request's.
type Row struct {
	Key     json.RawMessage            `json:"key"`
	Version string                     `json:"version"`
	Data    map[string]json.RawMessage `json:"data"`
	Users   []int                      `json:"users"`
}

// App is a handler of requests. Its fields are set before it is used; its
// methods may be called concurrently. It is an http.RoundTripper too, so that
// a client can reach it without a network.
type App struct {
	// Secrets are those that are accepted; an answer is signed with the one
	// of its request.
	Secrets []string
	// Policy answers about a row and the JSON text of a user's id, with one of
	// the letters "y", "n" and "?". Nil says no.
	Policy func(r *Request, row *Row, user string) string
	// Fault says what goes wrong with the request of this number, counted
	// from 0; nil: nothing ever does.
	Fault func(n int) Fault
	// Clock is the app's; nil: time.Now.
	Clock func() time.Time

	mu       sync.Mutex
	requests []Request // that were accepted, in order
	count    int       // of all requests
	nonces   map[string]time.Time
	earlier  *answer // an answer that was signed
}

// answer is what goes back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// Requests are those that the app has accepted so far.
func (a *App) Requests() []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// Count is how many requests came, whatever became of them.
func (a *App) Count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

// RoundTrip answers without a network.
func (a *App) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	err := func() (err error) {
		defer func() {
			switch r := recover(); r {
			case nil:
			case http.ErrAbortHandler:
				err = io.ErrUnexpectedEOF
			default:
				panic(r)
			}
		}()
		server := req.Clone(req.Context())
		server.RequestURI = req.URL.RequestURI()
		a.ServeHTTP(w, server)
		return req.Context().Err()
	}()
	if err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

// ServeHTTP answers a request, or does what Fault says.
func (a *App) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the client is gone
	}
	a.mu.Lock()
	n := a.count
	a.count++
	earlier := a.earlier
	a.mu.Unlock()
	fault := None
	if a.Fault != nil {
		fault = a.Fault(n)
	}
	if fault.before(w, req) {
		return
	}
	reply, secret := a.handle(req, body)
	if reply.status == http.StatusOK {
		reply.sign(secret, req.Header.Get("Chorusd-Nonce"))
		a.mu.Lock()
		a.earlier = &reply
		a.mu.Unlock()
	}
	reply = fault.after(reply, earlier, secret, req)
	maps.Copy(w.Header(), reply.header)
	w.WriteHeader(reply.status)
	_, _ = w.Write(reply.body)
	if fault == CutAnswer {
		panic(http.ErrAbortHandler) // the server's way to close the connection
	}
}

// handle checks a request as the protocol says and asks the policy.
func (a *App) handle(req *http.Request, body []byte) (reply answer, secret string) {
	refuse := func(status int, code, format string, args ...any) (answer, string) {
		text, err := json.Marshal(map[string]string{"error": code, "message": fmt.Sprintf(format, args...)})
		if err != nil {
			panic(err) // strings only
		}
		return answer{status: status, header: http.Header{"Date": {a.now().UTC().Format(http.TimeFormat)}}, body: text}, ""
	}
	header := func(name string) string { return req.Header.Get("Chorusd-" + name) }

	known := slices.IndexFunc(a.Secrets, func(s string) bool {
		return hex.EncodeToString(sign(s, "chorusd-policy-key-v1"))[:16] == header("Key")
	})
	if known < 0 {
		return refuse(http.StatusUnauthorized, "key", "no secret has this key")
	}
	secret = a.Secrets[known]
	got, err := hex.DecodeString(header("Signature"))
	want := sign(secret, "chorusd-policy-request-v1", req.Method, req.RequestURI, header("Timestamp"), header("Nonce"), digest(body))
	if err != nil || !hmac.Equal(got, want) {
		return refuse(http.StatusUnauthorized, "signature", "the signature is wrong")
	}
	seconds, err := strconv.ParseInt(header("Timestamp"), 10, 64)
	if now := a.now(); err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > Tolerance {
		return refuse(http.StatusUnauthorized, "clock", "the timestamp is not within %s of %s", Tolerance, now.UTC().Format(time.RFC3339))
	}
	if !a.fresh(header("Nonce")) {
		return refuse(http.StatusUnauthorized, "replay", "this nonce was used before")
	}
	var r Request
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return refuse(http.StatusBadRequest, "malformed", "%v", err)
	}
	if r.Version != 1 {
		return refuse(http.StatusBadRequest, "version", "only version 1 is known")
	}
	a.mu.Lock()
	a.requests = append(a.requests, r)
	a.mu.Unlock()
	answers := make([]string, len(r.Rows))
	for i := range r.Rows {
		for _, u := range r.Rows[i].Users {
			letter := "n"
			if a.Policy != nil {
				letter = a.Policy(&r, &r.Rows[i], string(r.Users[u]))
			}
			answers[i] += letter
		}
	}
	text, err := json.Marshal(map[string]any{"version": 1, "answers": answers})
	if err != nil {
		panic(err) // strings only
	}
	return answer{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: text}, secret
}

func (a *App) now() time.Time {
	if a.Clock != nil {
		return a.Clock()
	}
	return time.Now()
}

// fresh remembers a nonce, and says whether it is new.
func (a *App) fresh(nonce string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	maps.DeleteFunc(a.nonces, func(_ string, at time.Time) bool { return now.Sub(at) > 2*Tolerance })
	if _, used := a.nonces[nonce]; used || len(nonce) != 32 {
		return false
	}
	if a.nonces == nil {
		a.nonces = map[string]time.Time{}
	}
	a.nonces[nonce] = now
	return true
}

// sign signs the answer to the request with this nonce.
func (r *answer) sign(secret, nonce string) {
	r.header.Set("Chorusd-Signature", hex.EncodeToString(sign(secret, "chorusd-policy-answer-v1", nonce, digest(r.body))))
}

func sign(secret string, lines ...string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(h, strings.Join(lines, "\n"))
	return h.Sum(nil)
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
