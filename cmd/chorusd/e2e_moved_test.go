package main

import (
	"fmt"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
)

// TestManyParentsMove moves all threads to another team by one statement: their
// posts are some pages.
func TestManyParentsMove(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		const threads, posts = 150, 4000
		s := newStack(t, onServers{kind: kind}, marksMapping+`
[[scopes.team.members]]
source = "seats"
scope = "team_id"
user = "user_id"
[tables.posts]
fields = ["id"]
visible_to = ["team:{thread_id -> threads.team_id}"]
`,
			marksTable,
			"CREATE TABLE seats (id INT PRIMARY KEY, team_id INT, user_id INT, KEY (user_id))",
			"CREATE TABLE threads (id INT PRIMARY KEY, team_id INT)",
			"CREATE TABLE posts (id INT PRIMARY KEY, thread_id INT, KEY (thread_id))",
			"INSERT INTO seats VALUES (1, 1, 7), (2, 2, 8), (3, 1, 9), (4, 2, 9)",
			fmt.Sprintf("INSERT INTO threads WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i, 1 FROM n", threads),
			fmt.Sprintf(`INSERT INTO posts WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
				SELECT k * 1000 + i, 1 + (k * 1000 + i) %% %d FROM n, (SELECT 0 AS k UNION SELECT 1 UNION SELECT 2 UNION SELECT 3) AS ks`, threads))
		const seven, eight, nine = "chorus.user.7", "chorus.user.8", "chorus.user.9"
		w := s.watch(t, seven, eight, nine)
		want := told{}
		for id := range posts {
			want[seven] = append(want[seven], fmt.Sprintf(`delete posts %[1]d {"id":%[1]d}`, id+1))
			want[eight] = append(want[eight], fmt.Sprintf(`update posts %[1]d {"id":%[1]d}`, id+1))
		}
		w.step(t, "all threads move", want, "UPDATE threads SET team_id = 2")
	})
}
