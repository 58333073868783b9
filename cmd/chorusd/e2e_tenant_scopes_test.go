package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
)

// holds lists the records that a client has by what came on a channel, as
// "cards 1".
func (c *client) holds(channel string) []string {
	has := map[string]bool{}
	for _, e := range c.got(channel) {
		if e.name == harmonic.EventCreated {
			has[e.harmonic.Table+" "+string(e.harmonic.RecordID)] = e.harmonic.Operation != harmonic.Delete
		}
	}
	var list []string
	for record, held := range has {
		if held {
			list = append(list, record)
		}
	}
	slices.Sort(list)
	return list
}

// TestScopesOfTenants: two tenants' databases are made while chorusd runs and
// their clients are there already. Memberships, attributes and parents of the
// one give its users rows and take them, and leave the other's alone.
func TestScopesOfTenants(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, "")
		like := s.db.Name + "_t_%"
		s.db.MustExec(t, "GRANT SELECT ON `"+strings.ReplaceAll(s.db.Name, "_", `\_`)+`\_t\_%`+"`.* TO '"+s.user+"'@'%'")
		s.configure(t, strings.ReplaceAll(`
[users]
source = "LIKE.users"
key = "id"
attributes = ["role"]
[[scopes.board.members]]
source = "LIKE.board_user"
scope = "board_id"
user = "user_id"
[tables.cards]
source = "LIKE.cards"
fields = ["id"]
visible_to = ["board:{list_id -> lists.board_id}"]
user_channel = "chorus.{@tenant}.user.{id}"
[tables.tasks]
source = "LIKE.tasks"
fields = ["id"]
visible_to = ["board:{board_id}"]
where = 'user.role == "staff"'
user_channel = "chorus.{@tenant}.user.{id}"
[tables.news]
source = "LIKE.news"
fields = ["id"]
visible_to = ["public"]
user_channel = "chorus.{@tenant}.user.{id}"
`, "LIKE", like))
		d := s.start(t)
		c := s.subscribe(t, "chorus.a.user.7", "chorus.b.user.7")
		d.awaitActive(t, 2)
		database := func(tenant string) string { return s.db.Name + "_t_" + tenant }
		found := func(tenant string) {
			name := database(tenant)
			t.Cleanup(func() { _, _ = s.db.Exec("DROP DATABASE IF EXISTS " + name) })
			s.db.MustExec(t, "CREATE DATABASE "+name)
			for _, columns := range []string{
				"users (id INT PRIMARY KEY, role VARCHAR(10) NOT NULL)",
				"board_user (id INT PRIMARY KEY, board_id INT NOT NULL, user_id INT NOT NULL, KEY (user_id))",
				"lists (id INT PRIMARY KEY, board_id INT NOT NULL, KEY (board_id))",
				"cards (id INT PRIMARY KEY, list_id INT NOT NULL, KEY (list_id))",
				"tasks (id INT PRIMARY KEY, board_id INT NOT NULL, KEY (board_id))",
				"news (id INT PRIMARY KEY)",
			} {
				s.db.MustExec(t, fmt.Sprintf("CREATE TABLE %s.%s", name, columns))
			}
			for _, row := range []string{
				"users VALUES (7, 'staff')", "board_user VALUES (1, 3, 7)", "lists VALUES (1, 3), (2, 4)",
				"cards VALUES (1, 1), (2, 2)", "tasks VALUES (1, 3), (2, 4)", "news VALUES (1)",
			} {
				s.db.MustExec(t, fmt.Sprintf("INSERT INTO %s.%s", name, row))
			}
		}
		found("a")
		found("b")
		all := []string{"cards 1", "news 1", "tasks 1"}
		become := func(what string, want ...string) {
			t.Helper()
			eventually(t, what, func() bool {
				return slices.Equal(c.holds("chorus.a.user.7"), want) && slices.Equal(c.holds("chorus.b.user.7"), all)
			})
		}
		become("both have their rows", all...)
		for _, step := range []struct {
			statement string
			want      []string
		}{
			{"UPDATE %s.users SET role = 'guest'", []string{"cards 1", "news 1"}},
			{"UPDATE %s.lists SET board_id = 3 WHERE id = 2", []string{"cards 1", "cards 2", "news 1"}},
			{"DELETE FROM %s.board_user", []string{"news 1"}},
			{"UPDATE %s.users SET role = 'staff'", []string{"news 1"}},
			{"INSERT INTO %s.board_user VALUES (2, 4, 7)", []string{"news 1", "tasks 2"}},
			{"UPDATE %s.lists SET board_id = 4", []string{"cards 1", "cards 2", "news 1", "tasks 2"}},
		} {
			s.db.MustExec(t, fmt.Sprintf(step.statement, database("a")))
			become(step.statement, step.want...)
		}
		d.terminate(t)
	})
}
