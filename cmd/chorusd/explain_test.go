package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/relay"
)

func TestPrintExplained(t *testing.T) {
	turns := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	value := func(name, json string) mapping.ValueFinding {
		return mapping.ValueFinding{Name: name, Value: []byte(json)}
	}
	role := &mapping.ConditionFinding{Text: `user.role == "hr"`, Holds: mapping.No, Reads: []mapping.ValueFinding{value("user.role", `"dev"`)}}
	e := relay.Explained{
		Table: "messages", Key: "[42]", User: "7", Position: "mysql-bin.000001:4", Connected: true, Channels: []string{"private-chorus.user.7"},
		Explanation: &mapping.Explanation{
			Visible: mapping.No,
			Where: &mapping.ConditionFinding{
				Text: "a ==\n  b", Holds: mapping.No, Turns: &turns, Reads: []mapping.ValueFinding{value("a", "1"), {Name: "b"}},
			},
			Alternatives: []mapping.AlternativeFinding{
				{Holds: mapping.Yes, Entries: []mapping.EntryFinding{{
					Entry: "user:{user_id}", Holds: mapping.Yes, Key: "user:7", Why: "it is the user's own key",
					Path: []mapping.HopFinding{{Table: "app.messages", Values: []mapping.ValueFinding{value("user_id", "7")}}},
				}}},
				{Holds: mapping.No, Entries: []mapping.EntryFinding{
					{Entry: "public", Holds: mapping.Yes, Key: "public", Why: "everybody who is connected sees it"},
					{
						Entry: "team:{post_id -> posts.team_id}", Holds: mapping.No, Why: "there is no row [8] in app.posts",
						Path: []mapping.HopFinding{{Table: "app.messages", Values: []mapping.ValueFinding{value("post_id", "8")}}, {Table: "app.posts", Key: "[8]"}},
					},
				}},
			},
			Policy: &mapping.PolicyFinding{Model: `App\Models\Message`, Ability: "view", Holds: mapping.Untold, Why: "the app is down"},
			Fields: []mapping.FieldFinding{
				{Field: "id", State: "shown"}, {Field: "salary", State: "hidden", By: role}, {Field: "body", State: "shown"}, {Field: "iban", State: "masked"},
			},
		},
	}
	for _, tt := range []struct {
		name string
		set  func()
		want string
	}{
		{"a row", func() {}, `user 7 does not see row [42] of messages
the user is connected by private-chorus.user.7

visible_to, any of
  yes      user:{user_id}: it is the user's own key (user:7)
  no       all of
           yes      public: everybody who is connected sees it (public)
           no       team:{post_id -> posts.team_id}: there is no row [8] in app.posts
                    app.messages: post_id = 8 -> app.posts[8]

where
  no       a == b; a = 1, b = (not the user's to see); until 2026-11-22T18:00:00Z

policy
  unknown  view of App\Models\Message: the app is down

fields
  shown    id, body
  hidden   salary: no, user.role == "hr"; user.role = "dev"
  masked   iban

as of mysql-bin.000001:4
`},
		{"no row", func() { e.Explanation, e.Connected = nil, false }, `there is no row [42] of messages
the user is not connected, so nothing is sent to him now

as of mysql-bin.000001:4
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.set()
			var b strings.Builder
			if err := printExplained(&b, &e); err != nil {
				t.Fatal(err)
			}
			if got := b.String(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestAskToExplain(t *testing.T) {
	handler := explainHandler(func(_ context.Context, table, key, user string) (relay.Explained, error) {
		switch table {
		case "gone":
			return relay.Explained{}, fmt.Errorf("%w in the mapping: gone", relay.ErrNotMapped)
		case "busy":
			return relay.Explained{}, errors.New("the database is away")
		}
		return relay.Explained{Table: table, Key: key, User: mapping.UserKey(user)}, nil
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	listen := server.Listener.Addr().String()
	answer, err := askToExplain(t.Context(), listen, "messages", `["a b",2]`, `"&"`)
	if err != nil {
		t.Fatal(err)
	}
	var e relay.Explained
	if err := json.Unmarshal(answer, &e); err != nil {
		t.Fatal(err)
	}
	if e.Table != "messages" || e.Key != `["a b",2]` || e.User != `"&"` {
		t.Errorf("asked for %+v", e)
	}
	for table, want := range map[string]string{"gone": "no such table in the mapping: gone", "busy": "the database is away"} {
		if _, err := askToExplain(t.Context(), listen, table, "1", "7"); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", table, err, want)
		}
	}
	req := httptest.NewRequest(http.MethodGet, explainPath, http.NoBody)
	req.RemoteAddr = "192.0.2.1:1234"
	w := httptest.NewRecorder()
	if handler(w, req); w.Code != http.StatusForbidden {
		t.Errorf("another machine is answered with %d", w.Code)
	}
	server.Close()
	if _, err := askToExplain(t.Context(), listen, "messages", "1", "7"); err == nil || !strings.Contains(err.Error(), "see that it runs") {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := askToExplain(t.Context(), "", "messages", "1", "7"); err == nil || !strings.Contains(err.Error(), "admin.listen") {
		t.Errorf("admin.listen is off: %v", err)
	}
}
