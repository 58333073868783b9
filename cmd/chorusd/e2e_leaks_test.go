package main

import (
	"strings"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
)

// TestLeaks maps a credential, which is refused, and then what may be meant
// and is warned of, with statements that mend it.
func TestLeaks(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, "")
		s.db.MustExec(t,
			"CREATE TABLE accounts (id INT PRIMARY KEY, owner_id INT, password VARCHAR(60), api_key VARCHAR(60), shown_at DATETIME)",
			"CREATE TABLE seats (id INT PRIMARY KEY, team_id INT NOT NULL, user_id INT NOT NULL)")
		mapped := func(fields, more string) {
			s.configure(t, `
[[scopes.team.members]]
source = "seats"
scope = "team_id"
user = "user_id"

[tables.accounts]
fields = [`+fields+`]
visible_to = ["user:{owner_id}"]
where = "shown_at <= now"
`+more)
		}
		mapped(`"id", "password", "api_key"`, "")
		s.refused(t, `tables.accounts.fields: "password" is a credential`, `not_secret = ["password"]`)

		mapped(`"id", "api_key"`, "")
		code, out := s.run(t, "check")
		for _, want := range []string{
			`tables.accounts.fields: "api_key" looks like a secret (key)`,
			"tables.accounts.visible_to: a row in which owner_id is NULL is seen by nobody",
			"tables.accounts.where: no index of " + s.db.Name + ".accounts starts with shown_at",
			"scopes.team.members[0].user: no index of " + s.db.Name + ".seats starts with user_id",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("check does not say %q", want)
			}
		}
		if n := strings.Count(out, "warning: "); code != 0 || n != 4 {
			t.Errorf("check exits with %d and %d warnings:\n%s", code, n, out)
		}
		s.mend(t, out)
		mapped(`"id", "api_key"`, `not_secret = ["api_key"]`)
		if code, out := s.run(t, "check"); code != 0 || strings.Contains(out, "warning") {
			t.Errorf("after mending, check exits with %d:\n%s", code, out)
		}
	})
}
