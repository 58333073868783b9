package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
)

const tableTables = `
[tables.notes]
fields = ["id", "user_id", "body"]
visible_to = ["user:{user_id}", "channel:board"]
`

// kinds are what a client got on a channel, without refills and repeats:
// harmonics in words, control messages by their type.
func (c *client) kinds(t *testing.T, channel string) []string {
	t.Helper()
	var out []string
	seen := map[string]bool{} // control messages, which come again to those found active again
	for _, e := range c.got(channel) {
		text := inWords(e)
		if e.name == harmonic.EventControl {
			control, err := harmonic.ParseControl([]byte(e.payload))
			if err != nil {
				t.Fatal(err)
			}
			text = control.Type()
			if seen[e.payload] {
				continue
			}
			seen[e.payload] = true
		}
		if !strings.HasPrefix(text, "update ") && !gone.MatchString(text) {
			out = append(out, text)
		}
	}
	return out
}

// TestTableIsEmptiedAndAltered has clients told in order of what statements do
// to a table, and a restart read rows from before an ALTER by the shape that
// the table had.
func TestTableIsEmptiedAndAltered(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, tableTables, "CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, other INT, body VARCHAR(20))")
		d := s.start(t)
		channels := []string{"chorus.user.7", "board"}
		c := s.subscribe(t, channels...)
		d.awaitActive(t, 2)
		want := []string{}
		expect := func(texts ...string) {
			t.Helper()
			want = append(want, texts...)
			for _, channel := range channels {
				eventually(t, "what was expected has come on "+channel, func() bool { return len(c.kinds(t, channel)) >= len(want) })
				if got := c.kinds(t, channel); !slices.Equal(got, want) {
					t.Fatalf("%s: got\n%s\nwant\n%s", channel, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		}
		s.db.MustExec(t,
			"INSERT INTO notes VALUES (1, 7, 70, 'a')",
			"TRUNCATE TABLE notes",
			"INSERT INTO notes VALUES (2, 7, 70, 'b')",
			"ALTER TABLE notes ADD COLUMN unmapped INT NULL", // of which nobody is told
			"INSERT INTO notes VALUES (3, 7, 70, 'c', 1)")
		expect(`create notes 1 {"id":1,"user_id":7,"body":"a"}`, "reset",
			`create notes 2 {"id":2,"user_id":7,"body":"b"}`, `create notes 3 {"id":3,"user_id":7,"body":"c"}`)

		d.terminate(t)
		s.db.MustExec(t,
			"INSERT INTO notes VALUES (4, 7, 70, 'd', 1)",
			"ALTER TABLE notes DROP COLUMN unmapped, DROP COLUMN other, MODIFY COLUMN body TEXT AFTER id",
			"INSERT INTO notes VALUES (5, 'e', 7)")
		d = s.start(t)
		expect(`create notes 4 {"id":4,"user_id":7,"body":"d"}`, "schema", `create notes 5 {"id":5,"user_id":7,"body":"e"}`)
		s.db.MustExec(t, "DROP TABLE notes")
		expect("reset")
		d.terminate(t)
	})
}
