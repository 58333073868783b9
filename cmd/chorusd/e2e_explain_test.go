package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/relay"
	"github.com/chorusd/chorusd/tools/services"
)

// TestExplain asks a running chorusd why users see rows, before and after
// what lets them changes.
func TestExplain(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, "")
		s.db.MustExec(t,
			"CREATE TABLE users (id INT PRIMARY KEY, role VARCHAR(10) NOT NULL)",
			"CREATE TABLE seats (id INT PRIMARY KEY, team_id INT NOT NULL, user_id INT NOT NULL, KEY (user_id))",
			"CREATE TABLE posts (id INT PRIMARY KEY, team_id INT NOT NULL, KEY (team_id))",
			"CREATE TABLE comments (id INT PRIMARY KEY, post_id INT NOT NULL, body VARCHAR(20) NOT NULL, salary INT, hidden INT NOT NULL, KEY (post_id))",
			"INSERT INTO users VALUES (7, 'dev'), (8, 'hr')", "INSERT INTO seats VALUES (1, 3, 7), (2, 4, 8)",
			"INSERT INTO posts VALUES (5, 3)", "INSERT INTO comments VALUES (42, 5, 'tea', 100, 0)")
		s.configure(t, `
[users]
source = "users"
key = "id"
attributes = ["role"]
[[scopes.team.members]]
source = "seats"
scope = "team_id"
user = "user_id"
[tables.comments]
fields = ["id", "body", "salary"]
visible_to = ["team:{post_id -> posts.team_id}"]
where = 'hidden == 0 or user.role == "hr"'
[tables.comments.columns.salary]
visible_if = 'user.role == "hr"'
`)
		if code, out := s.run(t, "explain", "--user", "7", "--table", "comments", "--key", "42"); code != exitFailure || !strings.Contains(out, "see that it runs") {
			t.Errorf("without a daemon it exits with %d:\n%s", code, out)
		}
		d := s.start(t)
		s.subscribe(t, "chorus.user.7", "chorus.user.8")
		d.awaitActive(t, 2)

		explained := func(user, key string) relay.Explained {
			t.Helper()
			code, out := s.run(t, "explain", "--user", user, "--table", "comments", "--key", key, "--json")
			var e relay.Explained
			if err := json.Unmarshal([]byte(out), &e); err != nil || code != 0 {
				t.Fatalf("exits with %d:\n%s", code, out)
			}
			return e
		}
		become := func(what, user string, want mapping.Finding) {
			t.Helper()
			eventually(t, what, func() bool {
				e := explained(user, "42")
				return e.Explanation != nil && e.Explanation.Visible == want
			})
		}
		if e := explained("7", "42"); !e.Connected || len(e.Channels) != 1 || e.Channels[0] != "private-chorus.user.7" {
			t.Errorf("user 7 counts as connected by %v", e.Channels)
		}
		become("7 is of the team", "7", mapping.Yes)
		become("8 is of another", "8", mapping.No)
		if e := explained("9", "42"); e.Connected || e.Explanation.Visible != mapping.Untold {
			t.Errorf("of one who is not there: %+v", e)
		}
		if e := explained("7", "43"); e.Explanation != nil {
			t.Errorf("a row that there is not is explained: %+v", e.Explanation)
		}
		s.db.MustExec(t, "UPDATE posts SET team_id = 4")
		become("7 has lost the post", "7", mapping.No)
		become("8 has gained it", "8", mapping.Yes)
		s.db.MustExec(t, "INSERT INTO seats VALUES (3, 4, 7)")
		become("7 has joined", "7", mapping.Yes)
		s.db.MustExec(t, "UPDATE comments SET hidden = 1")
		become("it is hidden from 7", "7", mapping.No)
		become("but not from 8", "8", mapping.Yes)

		_, out := s.run(t, "explain", "--user", "7", "--table", "comments", "--key", "42")
		for _, want := range []string{
			"user 7 does not see row [42] of comments", "the user is connected by private-chorus.user.7",
			"yes      team:{post_id -> posts.team_id}: the user is a member (team:4)",
			s.db.Name + ".comments: post_id = 5 -> " + s.db.Name + ".posts[5]: team_id = 4",
			`no       hidden == 0 or user.role == "hr"; hidden = (not the user's to see), user.role = "dev"`,
			"shown    id, body", "hidden   salary: no",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
		for _, tt := range []struct{ table, key, user, want string }{
			{"nothing", "1", "7", "no such table in the mapping: nothing"},
			{"comments", "[1,2]", "7", "the key [1,2] has 2 values"},
			{"comments", "42", "seven", `users have integers for keys, and "seven" is none`},
			{"comments", "42", "", "--user is missing"},
		} {
			if code, out := s.run(t, "explain", "--table", tt.table, "--key", tt.key, "--user", tt.user); code == 0 || !strings.Contains(out, tt.want) {
				t.Errorf("exits with %d, without %q:\n%s", code, tt.want, out)
			}
		}
	})
}
