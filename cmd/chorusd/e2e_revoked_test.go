package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
)

// TestKillWhileAScopeIsRevoked kills chorusd in the middle of taking some
// thousand rows back from a user, while others' changes go on.
func TestKillWhileAScopeIsRevoked(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		const rows = 4000
		s := newStack(t, onServers{kind: kind}, marksMapping+`
[[scopes.team.members]]
source = "seats"
scope = "team_id"
user = "user_id"
[tables.docs]
fields = ["id", "title"]
visible_to = ["team:{team_id}"]
[tables.notes]
fields = ["id", "user_id", "body"]
visible_to = ["user:{user_id}"]
`,
			marksTable,
			"CREATE TABLE seats (id INT PRIMARY KEY, team_id INT, user_id INT, KEY (user_id))",
			"CREATE TABLE docs (id INT PRIMARY KEY, team_id INT, title VARCHAR(20), KEY (team_id))",
			"CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, body VARCHAR(20))",
			"INSERT INTO seats VALUES (1, 3, 7), (2, 3, 8), (3, 4, 7)",
			fmt.Sprintf(`INSERT INTO docs WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
				SELECT (k - 1) * 1000 + i, 3, 'of three' FROM n, (SELECT 1 AS k UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) AS ks
				WHERE (k - 1) * 1000 + i <= %d`, rows),
			fmt.Sprintf("INSERT INTO docs VALUES (%d, 4, 'of four')", rows+1))
		const seven, eight = "chorus.user.7", "chorus.user.8"
		w := s.watch(t, seven, eight)
		locking, err := s.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer locking.Close()
		lock := func(statement string) {
			if _, err := locking.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		came := func() int { return len(w.client.got(seven)) - w.seen[seven] }
		s.db.MustExec(t, "DELETE FROM seats WHERE id = 1")
		eventually(t, "the first rows are taken back", func() bool { return came() > 0 })
		lock("LOCK TABLES docs WRITE") // nobody can read on from here
		s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'mine'), (2, 8, 'theirs')")
		eventually(t, "another change comes meanwhile", func() bool { return len(w.client.got(eight)) > w.seen[eight] })
		if n := came(); n >= rows {
			t.Fatalf("%d rows were taken back before chorusd could be killed", n)
		}
		w.daemon.kill(t)
		lock("UNLOCK TABLES")
		w.daemon = s.start(t, "--channels.lease=10m")
		eventually(t, "all rows are taken back", func() bool { return came() > rows })
		w.quiet(t)

		// Each message comes at least once, and no other one. A row that changed
		// shortly before the restart is told of again, as an update.
		want := map[string]map[string]bool{
			seven: {`create notes 1 {"id":1,"user_id":7,"body":"mine"}`: true},
			eight: {`create notes 2 {"id":2,"user_id":8,"body":"theirs"}`: true},
		}
		for id := range rows {
			want[seven][fmt.Sprintf(`delete docs %[1]d {"id":%[1]d}`, id+1)] = true
		}
		for name, texts := range want {
			left := len(texts)
			for _, text := range w.client.texts(name)[w.seen[name]:] {
				text = strings.Replace(text, "update notes", "create notes", 1)
				fresh, expected := texts[text]
				switch {
				case !expected:
					t.Errorf("%s got %s", name, text)
				case fresh:
					texts[text] = false
					left--
				}
			}
			if left > 0 {
				t.Errorf("%s lacks %d messages", name, left)
			}
			w.seen[name] = len(w.client.got(name))
		}
		w.step(t, "then all goes on", told{
			seven: {fmt.Sprintf(`update docs %[1]d {"id":%[1]d,"title":"x"}`, rows+1)},
			eight: {`update docs 1 {"id":1,"title":"x"}`},
		}, fmt.Sprintf("UPDATE docs SET title = 'x' WHERE id IN (1, %d)", rows+1))
		w.daemon.terminate(t)
	})
}
