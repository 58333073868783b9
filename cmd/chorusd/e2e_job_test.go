package main

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
)

// sent is one harmonic that clients are to get.
type sent struct {
	channels []string // named without "private-"
	text     string   // as inWords writes it
}

// inWords says what an event carries, but for ids and times.
func inWords(e received) string {
	if e.name != harmonic.EventCreated {
		return e.name + " " + e.payload
	}
	h := e.harmonic
	return fmt.Sprintf("%s %s %s %s", h.Operation, h.Table, h.RecordID, h.Data)
}

const jobTables = `
[tables.todos]
fields = ["id", "user_id", "title", "done", "price", "meta", "completed_at", "updated_at"]
visible_to = ["user:{user_id}"]
casts = { done = "boolean", meta = "json" }
[tables.members]
source = "team_user"
key = ["team_id", "user_id"]
fields = ["team_id", "user_id", "role"]
visible_to = ["user:{user_id}"]
[tables.notes]
fields = ["id", "author_id", "platform_id", "body"]
visible_to = ["user:{author_id}", "channel:chorus.platform.{platform_id}"]
[tables.posts]
fields = ["id", "user_id", "title"]
visible_to = ["user:{user_id}"]
broadcast = "model"
model = 'App\Models\Post'
`

// TestMainJob has each kind of change reach those who may see it and nobody
// else, in commit order, in the exact form that clients know.
func TestMainJob(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, jobTables,
			`CREATE TABLE todos (id BIGINT UNSIGNED PRIMARY KEY, user_id BIGINT UNSIGNED NULL, title VARCHAR(100), done TINYINT(1) NOT NULL DEFAULT 0,
					price DECIMAL(8,2) NOT NULL DEFAULT 9.5, meta JSON NULL, completed_at DATETIME NULL, updated_at TIMESTAMP NULL, password VARCHAR(20) NULL) CHARSET utf8mb4`,
			`CREATE TABLE team_user (team_id INT, user_id INT, role VARCHAR(20), PRIMARY KEY (team_id, user_id))`,
			`CREATE TABLE notes (id INT PRIMARY KEY AUTO_INCREMENT, author_id INT NULL, platform_id INT NULL, body TEXT)`,
			`CREATE TABLE posts (id INT PRIMARY KEY, user_id INT, title VARCHAR(20))`,
			`CREATE TABLE unmapped (id INT PRIMARY KEY)`,
		)
		d := s.start(t)
		const seven, eight, platform, model = "chorus.user.7", "chorus.user.8", "chorus.platform.3", "App.Models.User.7"
		c := s.subscribe(t, seven, eight, platform, model)
		d.awaitActive(t, 4)

		var want []sent
		expect := func(text string, channels ...string) { want = append(want, sent{channels, text}) }
		exec := func(statements ...string) {
			t.Helper()
			tx, err := s.db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }() // after a commit it does nothing
			for _, statement := range statements {
				if _, err := tx.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		todo := func(id, user int, title, rest string) string {
			return fmt.Sprintf(`{"id":%d,"user_id":%d,"title":%s,%s}`, id, user, harmonic.AppendString(nil, title), rest)
		}
		const plain = `"done":false,"price":"9.50","meta":null,"completed_at":null,"updated_at":null`

		// One row, with every kind of value and a column that nobody gets.
		exec("SET time_zone = '+00:00'", `INSERT INTO todos VALUES
				(1, 7, 'café "q" </b> ☕', 1, 12.3, '{"a": 1, "b": [true, null, "x"]}', '2026-11-22 17:25:39', '2026-11-22 17:25:40', 'hidden')`)
		full := `"done":true,"price":"12.30","meta":{"a":1,"b":[true,null,"x"]},"completed_at":"2026-11-22T17:25:39.000000Z","updated_at":"2026-11-22T17:25:40.000000Z"`
		expect("create todos 1 "+todo(1, 7, `café "q" </b> ☕`, full), seven)
		exec("UPDATE todos SET title = 'b' WHERE id = 1")
		expect("update todos 1 "+todo(1, 7, "b", full), seven)
		// What clients cannot see changes: nothing for them.
		exec("UPDATE todos SET password = 'other' WHERE id = 1")
		// The other's row and nobody's row.
		exec("INSERT INTO todos (id, user_id, title) VALUES (2, 8, 'theirs')")
		expect("create todos 2 "+todo(2, 8, "theirs", plain), eight)
		exec("INSERT INTO todos (id, user_id, title) VALUES (3, NULL, 'nobody')")
		exec("UPDATE todos SET title = 'nobody still' WHERE id = 3")
		// Many rows by one statement, several statements by one transaction: each
		// record is told of once.
		exec("INSERT INTO todos (id, user_id, title) VALUES (10, 7, 'x'), (11, 8, 'y'), (12, 7, 'z')",
			"UPDATE todos SET done = 1 WHERE id >= 10",
			"INSERT INTO unmapped VALUES (1)")
		done := `"done":true,"price":"9.50","meta":null,"completed_at":null,"updated_at":null`
		expect("create todos 10 "+todo(10, 7, "x", done), seven)
		expect("create todos 11 "+todo(11, 8, "y", done), eight)
		expect("create todos 12 "+todo(12, 7, "z", done), seven)
		// A rollback, whole and in part.
		rollBack(t, s, "INSERT INTO todos (id, user_id, title) VALUES (20, 7, 'ghost')", "UPDATE todos SET title = 'ghost' WHERE id = 1")
		exec("UPDATE todos SET title = 'kept' WHERE id = 10", "SAVEPOINT a", "DELETE FROM todos WHERE id = 12", "ROLLBACK TO SAVEPOINT a")
		expect("update todos 10 "+todo(10, 7, "kept", done), seven)
		// A move: the delete has the values that the first user had.
		exec("UPDATE todos SET user_id = 8, title = 'moved' WHERE id = 10")
		expect("delete todos 10 "+todo(10, 7, "kept", done), seven)
		expect("create todos 10 "+todo(10, 8, "moved", done), eight)
		// To nobody, and from nobody.
		exec("UPDATE todos SET user_id = NULL WHERE id = 10")
		expect("delete todos 10 "+todo(10, 8, "moved", done), eight)
		exec("UPDATE todos SET user_id = 7 WHERE id = 3")
		expect("create todos 3 "+todo(3, 7, "nobody still", plain), seven)
		// Another key is another record.
		exec("UPDATE todos SET id = 30 WHERE id = 3")
		expect("delete todos 3 "+todo(3, 7, "nobody still", plain), seven)
		expect("create todos 30 "+todo(30, 7, "nobody still", plain), seven)
		exec("DELETE FROM todos WHERE id IN (1, 2)")
		expect("delete todos 1 "+todo(1, 7, "b", full), seven)
		expect("delete todos 2 "+todo(2, 8, "theirs", plain), eight)
		exec("REPLACE INTO todos (id, user_id, title) VALUES (30, 7, 'replaced')")
		expect("update todos 30 "+todo(30, 7, "replaced", plain), seven)

		// A composite key.
		exec("INSERT INTO team_user VALUES (1, 7, 'owner')")
		exec("UPDATE team_user SET role = 'guest'")
		exec("UPDATE team_user SET user_id = 8")
		expect(`create members [1,7] {"team_id":1,"user_id":7,"role":"owner"}`, seven)
		expect(`update members [1,7] {"team_id":1,"user_id":7,"role":"guest"}`, seven)
		expect(`delete members [1,7] {"team_id":1,"user_id":7,"role":"guest"}`, seven)
		expect(`create members [1,8] {"team_id":1,"user_id":8,"role":"guest"}`, eight)

		// A shared channel beside the user's own: one harmonic for both.
		exec("INSERT INTO notes (author_id, platform_id, body) VALUES (7, 3, 'a'), (NULL, 3, 'b'), (7, 4, 'c'), (9, NULL, 'd')")
		expect(`create notes 1 {"id":1,"author_id":7,"platform_id":3,"body":"a"}`, seven, platform)
		expect(`create notes 2 {"id":2,"author_id":null,"platform_id":3,"body":"b"}`, platform)
		expect(`create notes 3 {"id":3,"author_id":7,"platform_id":4,"body":"c"}`, seven)
		// It leaves one of its channels and stays on the other.
		exec("UPDATE notes SET platform_id = 4, body = 'e' WHERE id = 1")
		expect(`delete notes 1 {"id":1,"author_id":7,"platform_id":3,"body":"a"}`, platform)
		expect(`update notes 1 {"id":1,"author_id":7,"platform_id":4,"body":"e"}`, seven)

		// Laravel's own model broadcasting.
		exec("INSERT INTO posts VALUES (5, 7, 'hi')")
		exec("UPDATE posts SET title = 'ho'")
		exec("DELETE FROM posts")
		modelEvent := func(name, title string) {
			expect(name+` {"model":{"id":5,"user_id":7,"title":"`+title+`"},"connection":null,"queue":null,"afterCommit":false}`, model)
		}
		modelEvent("PostCreated", "hi")
		modelEvent("PostUpdated", "ho")
		modelEvent("PostDeleted", "ho")

		// The last on each channel: what came before it was all.
		exec("INSERT INTO todos (id, user_id, title) VALUES (98, 7, 'end'), (99, 8, 'end')", "INSERT INTO notes (platform_id, body) VALUES (3, 'end')", "INSERT INTO posts VALUES (6, 7, 'end')")
		expect("create todos 98 "+todo(98, 7, "end", plain), seven)
		expect("create todos 99 "+todo(99, 8, "end", plain), eight)
		expect(`create notes 5 {"id":5,"author_id":null,"platform_id":3,"body":"end"}`, platform)
		expect(`PostCreated {"model":{"id":6,"user_id":7,"title":"end"},"connection":null,"queue":null,"afterCommit":false}`, model)
		verify(t, c, want)
	})
}

// rollBack runs statements in a transaction that does not happen.
func rollBack(t *testing.T, s *stack, statements ...string) {
	t.Helper()
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
}

// verify has a client get exactly what was sent, in that order on each
// channel, under ids that rise from one to the next.
func verify(t *testing.T, c *client, want []sent) {
	t.Helper()
	ids := make([]string, len(want))
	for _, private := range c.channels {
		name := private[len("private-"):]
		var texts []string
		var places []int
		for i, w := range want {
			if slices.Contains(w.channels, name) {
				texts, places = append(texts, w.text), append(places, i)
			}
		}
		got := c.await(t, name, len(texts))
		for i, e := range got {
			if i >= len(texts) {
				t.Errorf("%s: also got %s", name, inWords(e))
				continue
			}
			if d := inWords(e); d != texts[i] {
				t.Errorf("%s: event %d: got\n%s, want\n%s", name, i, d, texts[i])
			}
			if e.name != harmonic.EventCreated {
				continue
			}
			if again := harmonic.AppendJSON(nil, &e.harmonic); !bytes.Equal(again, []byte(e.payload)) {
				t.Errorf("%s: event %d: the fields are not in the order of the wire: %s", name, i, e.payload)
			}
			if age := time.Since(e.harmonic.CreatedAt); age < -recent || age > recent {
				t.Errorf("%s: event %d: created_at is %v, that is %v ago", name, i, e.harmonic.CreatedAt, age)
			}
			id := e.harmonic.ID.String()
			if before := ids[places[i]]; before != "" && before != id {
				t.Errorf("%s has another id on %s than elsewhere: %s and %s", texts[i], name, id, before)
			}
			ids[places[i]] = id
		}
	}
	last := ""
	for i, id := range ids {
		if id == "" {
			continue // Laravel's model events have none
		}
		if id <= last {
			t.Errorf("the id %s of %s does not rise above %s", id, want[i].text, last)
		}
		last = id
	}
}
