package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// client talks to an app as a browser does that shows its page.
type client struct {
	t       *testing.T
	handler http.Handler
	cookies []*http.Cookie
	headers http.Header
}

const testPort = 8080

// newTestApp returns an app on a database of its own, and clients of it.
func newTestApp(t *testing.T) (*app, func() *client) {
	t.Helper()
	server := servicestest.StartSQL(t, services.MariaDB, services.SQLOptions{})
	accounts := newAccounts()
	if err := createDatabase(t.Context(), server, accounts); err != nil {
		t.Fatal(err)
	}
	db, err := openDatabase(server.Addr, accounts.app)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	a := &app{db: db, key: "key", secret: "secret", soketi: "127.0.0.1:6001", version: "MariaDB", log: slog.New(slog.DiscardHandler)}
	h := handler(t.TempDir(), a, testPort)
	return a, func() *client { return &client{t: t, handler: h, headers: http.Header{}} }
}

// do sends a request; a body makes it a POST of a form or of JSON.
func (c *client) do(method, path, body string) *http.Response {
	c.t.Helper()
	req := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(body))
	req.Header = c.headers.Clone()
	if body != "" && !strings.HasPrefix(body, "{") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, cookie := range c.cookies {
		req.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, req)
	resp := w.Result()
	c.cookies = append(c.cookies, resp.Cookies()...)
	return resp
}

// wantStatus checks an answer and returns its body.
func (c *client) wantStatus(resp *http.Response, want int) string {
	c.t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != want {
		c.t.Errorf("got %d (%s), want %d", resp.StatusCode, strings.TrimSpace(string(body)), want)
	}
	return string(body)
}

func TestApp(t *testing.T) {
	a, newClient := newTestApp(t)
	ada := newClient()
	signIn := ada.do("POST", "/u/1/session", "")

	t.Run("signs a user in below a path of its own", func(t *testing.T) {
		body := ada.wantStatus(signIn, http.StatusOK)
		want := `{"feeds":[{"table":"todos","channel":"chorus.user.1"},{"table":"notes","channel":"chorus.platform.3"}],` +
			`"pusher":{"host":"127.0.0.1","key":"key","port":6001},"user":{"id":1,"name":"Ada","platform_id":3}}`
		if got := strings.TrimSpace(body); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		cookie := signIn.Cookies()[0]
		if cookie.Path != "/u/1/" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode {
			t.Errorf("got cookie %v", cookie)
		}
	})

	t.Run("goes on with the session that there is", func(t *testing.T) {
		resp := ada.do("POST", "/u/1/session", "")
		ada.wantStatus(resp, http.StatusOK)
		if len(resp.Cookies()) != 0 {
			t.Errorf("got another session: %v", resp.Cookies())
		}
	})

	t.Run("knows no other users", func(t *testing.T) {
		for _, path := range []string{"/u/3/session", "/u/x/session"} {
			newClient().wantStatus(newClient().do("POST", path, ""), http.StatusNotFound)
		}
	})

	t.Run("signs the session's own channels only", func(t *testing.T) {
		for channel, want := range map[string]int{
			"private-chorus.user.1":     http.StatusOK,
			"private-chorus.platform.3": http.StatusOK,
			"private-chorus.user.2":     http.StatusForbidden,
			"private-chorus.user.10":    http.StatusForbidden,
			"private-chorus.platform.4": http.StatusForbidden,
			"chorus.user.1":             http.StatusForbidden,
			"":                          http.StatusForbidden,
		} {
			form := url.Values{"socket_id": {"12.34"}, "channel_name": {channel}}
			body := ada.wantStatus(ada.do("POST", "/u/1/broadcasting/auth", form.Encode()), want)
			mac := hmac.New(sha256.New, []byte(a.secret))
			mac.Write([]byte("12.34:" + channel))
			signature := hex.EncodeToString(mac.Sum(nil))
			if signed := strings.Contains(body, "key:"+signature); signed != (want == http.StatusOK) {
				t.Errorf("%q: got %s", channel, body)
			}
		}
	})

	t.Run("refuses what is no socket id", func(t *testing.T) {
		for _, socket := range []string{"", "1", "1.2:private-chorus.user.2", "1.2\n"} {
			form := url.Values{"socket_id": {socket}, "channel_name": {"private-chorus.user.1"}}
			ada.wantStatus(ada.do("POST", "/u/1/broadcasting/auth", form.Encode()), http.StatusUnprocessableEntity)
		}
	})

	t.Run("answers nobody without the session", func(t *testing.T) {
		for method, path := range map[string]string{"GET": "/u/1/sync/todos", "POST": "/u/1/broadcasting/auth"} {
			stranger := newClient()
			stranger.wantStatus(stranger.do(method, path, ""), http.StatusUnauthorized)
			stranger.cookies = []*http.Cookie{{Name: sessionCookie, Value: "made-up"}}
			stranger.wantStatus(stranger.do(method, path, ""), http.StatusUnauthorized)
		}
		// A browser would not even send Ada's cookie there.
		ada.wantStatus(ada.do("GET", "/u/2/sync/todos", ""), http.StatusForbidden)
	})

	t.Run("loads what the user may see, in chorusd's form", func(t *testing.T) {
		body := ada.wantStatus(ada.do("GET", "/u/1/sync/todos", ""), http.StatusOK)
		first := regexp.MustCompile(`^{"records":\[{"id":1,"user_id":1,"title":"Translate Menabrea's paper","done":true,` +
			`"hours":"12\.00","created_at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z","updated_at":"[^"]+\d{6}Z"},`)
		if !first.MatchString(body) {
			t.Errorf("got %s", body)
		}
		for _, never := range []string{`"user_id":2`, "internal_note", "paid by the page"} {
			if strings.Contains(body, never) {
				t.Errorf("holds %s: %s", never, body)
			}
		}
		notes := ada.wantStatus(ada.do("GET", "/u/1/sync/notes", ""), http.StatusOK)
		if !strings.Contains(notes, `"platform_id":3`) || strings.Contains(notes, `"platform_id":4`) {
			t.Errorf("got %s", notes)
		}
		ada.wantStatus(ada.do("GET", "/u/1/sync/users", ""), http.StatusNotFound)
	})

	t.Run("lets no other site post or read", func(t *testing.T) {
		for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
			c := newClient()
			c.headers.Set(name, value)
			c.wantStatus(c.do("POST", "/actions/many", "{}"), http.StatusForbidden)
			c.wantStatus(c.do("POST", "/u/1/session", ""), http.StatusForbidden)
		}
		w := httptest.NewRecorder()
		newClient().handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://evil.example:8080/about", nil))
		if w.Code != http.StatusMisdirectedRequest {
			t.Errorf("got %d for another host", w.Code)
		}
	})
}

func TestActions(t *testing.T) {
	a, newClient := newTestApp(t)
	count := func(where string) (n int) {
		t.Helper()
		if err := a.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM todos WHERE "+where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	act := func(name, params string) result {
		t.Helper()
		c := newClient()
		var res result
		if err := json.Unmarshal([]byte(c.wantStatus(c.do("POST", "/actions/"+name, params), http.StatusOK)), &res); err != nil {
			t.Fatal(err)
		}
		return res
	}

	for _, tt := range []struct {
		name, params string
		sql          string // of the last statement with rows
		where        string // what holds then
		want         int
	}{
		{"add", `{"user":2,"title":"it's \\ ?"}`, `INSERT INTO todos (user_id, title) VALUES (2, 'it''s \\ ?')`, `user_id = 2 AND title = 'it''s \\ ?'`, 1},
		{"rename", `{"key":1,"title":"new"}`, "UPDATE todos SET title = 'new' WHERE id = 1", "id = 1 AND title = 'new'", 1},
		{"toggle", `{"key":1}`, "UPDATE todos SET done = NOT done WHERE id = 1", "id = 1 AND done = 0", 1},
		{"move", `{"key":1,"user":2}`, "UPDATE todos SET user_id = 2 WHERE id = 1", "id = 1 AND user_id = 2", 1},
		{"bulk", `{"done":true}`, "UPDATE todos SET done = 1 WHERE done = 0", "done = 0", 0},
		{"bulk", `{"done":false}`, "UPDATE todos SET done = 0 WHERE done = 1", "done = 1", 0},
		{"delete", `{"key":1}`, "DELETE FROM todos WHERE id = 1", "id = 1", 0},
		{"many", `{}`, "", "title LIKE 'One of five hundred%'", 500},
		{"clear", `{}`, "", "title LIKE 'One of five hundred%'", 0},
		{"insert", `{}`, "", "title = 'Ring the bell' AND user_id = 2", 1},
		{"sql", `{"sql":" UPDATE todos SET hours = 5 WHERE id = 2; "}`, "UPDATE todos SET hours = 5 WHERE id = 2", "id = 2 AND hours = 5", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := act(tt.name, tt.params)
			if res.Error != "" || res.RolledBack || len(res.Statements) != 1 || *res.Statements[0].Rows == 0 {
				t.Fatalf("got %+v", res)
			}
			if got := res.Statements[0].SQL; tt.sql != "" && got != tt.sql {
				t.Errorf("said it ran %s, want %s", got, tt.sql)
			}
			if got := count(tt.where); got != tt.want {
				t.Errorf("got %d rows with %s, want %d", got, tt.where, tt.want)
			}
		})
	}

	t.Run("rollback", func(t *testing.T) {
		res := act("rollback", "{}")
		if !res.RolledBack || len(res.Statements) != 4 || *res.Statements[2].Rows == 0 {
			t.Errorf("got %+v", res)
		}
		if n := count("title = 'This never happened' OR title LIKE '%?'"); n != 1 { // the one of "add"
			t.Errorf("got %d rows of the rolled-back transaction", n)
		}
	})

	t.Run("says what the database refuses", func(t *testing.T) {
		for _, sql := range []string{"DROP TABLE todos", "UPDATE users SET name = 'x'", "DELETE FROM todos; DELETE FROM notes", "nonsense"} {
			params, err := json.Marshal(action{SQL: sql})
			if err != nil {
				t.Fatal(err)
			}
			if res := act("sql", string(params)); res.Error == "" {
				t.Errorf("%s: got %+v", sql, res)
			}
		}
	})

	t.Run("knows no other actions", func(t *testing.T) {
		c := newClient()
		c.wantStatus(c.do("POST", "/actions/format", "{}"), http.StatusNotFound)
		c.wantStatus(c.do("POST", "/actions/add", "["), http.StatusBadRequest)
	})
}
