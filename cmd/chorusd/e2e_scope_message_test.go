package main

import (
	"fmt"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
)

// TestScopeLostByMessage: with channels.revocations = "message", a scope of
// many rows is lost by one message, also by a user who was away, and after a
// kill; only what the user sees by something else is sent after it.
func TestScopeLostByMessage(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, `
[[scopes.platform.members]]
source = "platform_user"
scope = "platform_id"
user = "user_id"
[tables.posts]
fields = ["id", "platform_id", "author_id"]
visible_to = ["platform:{platform_id}", "user:{author_id}"]
`,
			"CREATE TABLE platform_user (id INT PRIMARY KEY, platform_id INT NOT NULL, user_id INT NOT NULL, KEY (user_id))",
			"CREATE TABLE posts (id INT PRIMARY KEY AUTO_INCREMENT, platform_id INT NOT NULL, author_id INT, KEY (platform_id), KEY (author_id))",
			"INSERT INTO platform_user VALUES (1, 3, 7), (2, 4, 7), (3, 3, 8)",
			"INSERT INTO posts (platform_id, author_id) VALUES (3, 7), (3, 9), (3, 9), (4, 9)",
			"INSERT INTO posts (platform_id) SELECT 3 FROM posts a, posts b, posts c, posts d, posts e",
		)
		d := s.start(t, "--channels.revocations=message")
		c := s.subscribe(t, "chorus.user.7")
		d.awaitActive(t, 1)
		revoked := func(c *client, channel string) (id string, after []string) {
			for _, e := range c.got(channel) {
				if e.name != harmonic.EventControl {
					after = append(after, inWords(e))
					continue
				}
				message, err := harmonic.ParseControl([]byte(e.payload))
				if err != nil {
					t.Fatal(err)
				}
				if m, ok := message.(harmonic.ScopeRevoked); ok && m.Scope == "platform:3" && len(m.Rows) == 1 && m.Rows[0].Table == "posts" {
					id, after = m.ID.String(), nil
				}
			}
			return id, after
		}
		kept := func(c *client, channel string, want ...string) {
			t.Helper()
			eventually(t, fmt.Sprintf("%s is told, and of %q after it", channel, want), func() bool {
				id, after := revoked(c, channel)
				return id != "" && fmt.Sprint(after) == fmt.Sprint(want)
			})
		}
		s.db.MustExec(t, "DELETE FROM platform_user WHERE id = 1")
		kept(c, "chorus.user.7", `update posts 1 {"id":1,"platform_id":3,"author_id":7}`)
		// User 8 loses it while neither he nor chorusd is there.
		d.kill(t)
		s.db.MustExec(t, "DELETE FROM platform_user WHERE id = 3")
		other := s.subscribe(t, "chorus.user.8")
		d = s.start(t, "--channels.revocations=message")
		kept(other, "chorus.user.8")
		d.terminate(t)
	})
}
