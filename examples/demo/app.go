package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
)

// sessionCookie names the cookie that holds a session's token.
const sessionCookie = "demo_session"

// app stands in for the Laravel app: it signs users in, authorises their
// channels, and answers with the rows that they may see. It also runs the
// panel's actions.
//
// Everything of a user is below /u/{id}/, and so is the session's cookie, so
// that two users can be signed in on one page.
type app struct {
	db          *sql.DB
	key, secret string // of the Pusher-compatible server's app
	soketi      string // its host:port
	version     string // the database's, for people
	log         *slog.Logger

	mu       sync.Mutex
	sessions map[string]int64 // user id by token
}

// register adds the app's routes.
func (a *app) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /about", a.about)
	mux.HandleFunc("POST /u/{id}/session", a.signIn)
	mux.HandleFunc("POST /u/{id}/broadcasting/auth", a.asUser(a.authorise))
	mux.HandleFunc("GET /u/{id}/sync/{table}", a.asUser(a.firstLoad))
	mux.HandleFunc("POST /actions/{name}", a.act)
}

// about answers what the page shows of the servers.
func (a *app) about(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]string{"database": a.version})
}

// signIn starts a session, unless the request has one, and answers what the
// user's page needs to know. Picking the user is all it takes: it is a demo.
func (a *app) signIn(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	u, err := findUser(r.Context(), a.db, id)
	if err != nil {
		a.internalError(w, r, err)
		return
	}
	if u == nil {
		http.NotFound(w, r)
		return
	}
	if signedIn, ok := a.sessionOf(r); !ok || signedIn != u.ID {
		http.SetCookie(w, &http.Cookie{
			Name:     sessionCookie,
			Value:    a.startSession(u),
			Path:     fmt.Sprintf("/u/%d/", u.ID),
			HttpOnly: true,
			SameSite: http.SameSiteStrictMode,
		})
	}
	host, port, err := net.SplitHostPort(a.soketi)
	if err != nil {
		a.internalError(w, r, err)
		return
	}
	reply(w, map[string]any{
		"user":   u,
		"pusher": map[string]any{"key": a.key, "host": host, "port": json.Number(port)},
		"feeds":  feeds(u),
	})
}

// startSession returns the token of a new session.
func (a *app) startSession(u *user) string {
	token := newSecret()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sessions == nil {
		a.sessions = make(map[string]int64)
	}
	a.sessions[token] = u.ID
	return token
}

// sessionOf returns whose session a request has.
func (a *app) sessionOf(r *http.Request) (id int64, ok bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id, ok = a.sessions[cookie.Value]
	return id, ok
}

// asUser lets a request through to next if its session is that of the user in
// its path.
func (a *app) asUser(next func(http.ResponseWriter, *http.Request, *user)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, ok := a.sessionOf(r)
		if !ok {
			http.Error(w, "not signed in", http.StatusUnauthorized)
			return
		}
		if r.PathValue("id") != strconv.FormatInt(id, 10) {
			http.Error(w, "signed in as somebody else", http.StatusForbidden)
			return
		}
		u, err := findUser(r.Context(), a.db, id)
		if err != nil {
			a.internalError(w, r, err)
			return
		}
		if u == nil {
			http.Error(w, "not signed in", http.StatusUnauthorized)
			return
		}
		next(w, r, u)
	}
}

// feed says on which channel a table arrives, without Pusher's "private-".
type feed struct {
	Table   string `json:"table"`
	Channel string `json:"channel"`
}

// feeds are the channels that a user may listen on, and no others.
func feeds(u *user) []feed {
	return []feed{
		{Table: "todos", Channel: fmt.Sprintf("chorus.user.%d", u.ID)},
		{Table: "notes", Channel: fmt.Sprintf("chorus.platform.%d", u.PlatformID)},
	}
}

var socketID = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// authorise is Laravel's /broadcasting/auth: it signs the session's own
// channels and refuses every other.
func (a *app) authorise(w http.ResponseWriter, r *http.Request, u *user) {
	socket, channel := r.PostFormValue("socket_id"), r.PostFormValue("channel_name")
	if !socketID.MatchString(socket) {
		http.Error(w, "socket_id is not valid", http.StatusUnprocessableEntity)
		return
	}
	for _, f := range feeds(u) {
		if channel != "private-"+f.Channel {
			continue
		}
		mac := hmac.New(sha256.New, []byte(a.secret))
		mac.Write([]byte(socket + ":" + channel))
		reply(w, map[string]string{"auth": a.key + ":" + hex.EncodeToString(mac.Sum(nil))})
		return
	}
	http.Error(w, "not your channel", http.StatusForbidden)
}

// firstLoad answers the rows of a table that the user may see.
func (a *app) firstLoad(w http.ResponseWriter, r *http.Request, u *user) {
	var records any
	var err error
	switch r.PathValue("table") {
	case "todos":
		records, err = visibleTodos(r.Context(), a.db, u)
	case "notes":
		records, err = visibleNotes(r.Context(), a.db, u)
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		a.internalError(w, r, err)
		return
	}
	reply(w, map[string]any{"records": records})
}

// reply answers with JSON that nobody may keep.
func reply(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body) // the client has gone; nobody is left to tell
}

// internalError answers with an error of the demo's own, and prints it.
func (a *app) internalError(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the page was closed
	}
	a.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
