package main

import (
	"fmt"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
)

// TestClock has rows come and go by the clock alone: of a table, of one by
// pattern whose tenant is made while chorusd runs, and while it does not run.
func TestClock(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, "",
			"CREATE TABLE posts (id INT PRIMARY KEY, user_id INT NOT NULL, published_at DATETIME(3) NULL, KEY (published_at))",
			"CREATE TABLE passes (id INT PRIMARY KEY, user_id INT NOT NULL, expires_at TIMESTAMP(3) NULL, KEY (expires_at))")
		tenant := s.db.Name + "_t_a"
		s.configure(t, `
[tables.posts]
fields = ["id"]
visible_to = ["user:{user_id}"]
where = "published_at <= now"
[tables.passes]
fields = ["id"]
visible_to = ["user:{user_id}"]
where = "expires_at == nil or expires_at > now"
[tables.offers]
source = "`+s.db.Name+`_t_%.offers"
fields = ["id"]
visible_to = ["user:{user_id}"]
user_channel = "chorus.{@tenant}.user.{id}"
where = "until > now"
`)
		_, out := s.run(t, "check")
		s.mend(t, out)
		s.accepted(t)
		d := s.start(t)
		c := s.subscribe(t, "chorus.user.7", "chorus.user.8", "chorus.a.user.7")
		d.awaitActive(t, 3)
		s.db.MustExec(t, "CREATE DATABASE "+tenant)
		t.Cleanup(func() { _, _ = s.db.Exec("DROP DATABASE IF EXISTS " + tenant) })
		insert := func(table string, id, user int, in string) {
			s.db.MustExec(t, fmt.Sprintf("INSERT INTO %s VALUES (%d, %d, UTC_TIMESTAMP(3) + INTERVAL %s)", table, id, user, in))
		}
		s.db.MustExec(t, "CREATE TABLE "+tenant+".offers (id INT PRIMARY KEY, user_id INT NOT NULL, until DATETIME(3) NOT NULL, KEY (until))")
		insert(tenant+".offers", 1, 7, "2 SECOND")
		insert("posts", 1, 7, "2 SECOND")
		insert("posts", 2, 8, "2 SECOND")
		insert("posts", 3, 7, "1 DAY")
		s.db.MustExec(t, "INSERT INTO passes VALUES (1, 7, NOW(3) + INTERVAL 2 SECOND), (2, 7, NULL)")
		created := func(table string, id int) string { return fmt.Sprintf(`create %s %d {"id":%d}`, table, id, id) }
		brought := func(table string, id int) string { return fmt.Sprintf(`update %s %d {"id":%d}`, table, id, id) }
		taken := func(table string, id int) string { return fmt.Sprintf(`delete %s %d {"id":%d}`, table, id, id) }
		// The tenant is met with its first row, which comes as a refill then, or is gone by that time.
		eventually(t, "the offer is gone", func() bool {
			texts := c.texts("chorus.a.user.7")
			return len(texts) > 0 && texts[len(texts)-1] == taken("offers", 1)
		})
		c.awaitTexts(t, "chorus.user.8", true, brought("posts", 2))
		seven := []string{created("passes", 1), created("passes", 2), brought("posts", 1), taken("passes", 1)}
		c.awaitTexts(t, "chorus.user.7", false, seven...)

		insert("posts", 4, 7, "1 SECOND")
		insert("posts", 5, 8, "1 DAY")
		d.terminate(t)
		eventually(t, "its time has come", func() bool {
			var come bool
			err := s.db.QueryRow("SELECT published_at < UTC_TIMESTAMP(3) FROM posts WHERE id = 4").Scan(&come)
			return err == nil && come
		})
		s.start(t)
		c.awaitTexts(t, "chorus.user.7", false, append(seven, brought("posts", 4))...)
		c.awaitTexts(t, "chorus.user.8", false, brought("posts", 2))
	})
}

// TestClockOfAFirstRunThatIsKilled: the next run tells what the clock has brought
// since, even if the first one lived for a moment only.
func TestClockOfAFirstRunThatIsKilled(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, `
[tables.posts]
fields = ["id"]
visible_to = ["user:{user_id}"]
where = "published_at <= now"
`, "CREATE TABLE posts (id INT PRIMARY KEY, user_id INT NOT NULL, published_at DATETIME(3) NULL, KEY (published_at))")
		c := s.subscribe(t, "chorus.user.7")
		d := s.start(t)
		d.awaitActive(t, 1)
		begun, _ := s.checkpoint(t)
		s.db.MustExec(t, "INSERT INTO posts VALUES (1, 7, UTC_TIMESTAMP(3) + INTERVAL 1 SECOND)")
		eventually(t, "the post was read", func() bool {
			now, _ := s.checkpoint(t)
			return now.LastSeq > begun.LastSeq
		})
		d.kill(t)
		eventually(t, "its time has come", func() bool {
			var come bool // MariaDB notes whole seconds
			err := s.db.QueryRow("SELECT published_at < UTC_TIMESTAMP(3) - INTERVAL 1 SECOND FROM posts").Scan(&come)
			return err == nil && come
		})
		s.db.MustExec(t, "INSERT INTO posts VALUES (2, 7, NULL)") // is of a later time
		s.start(t)
		eventually(t, "the post is there", func() bool {
			texts := c.texts("chorus.user.7")
			return len(texts) > 0 && texts[len(texts)-1] == `update posts 1 {"id":1}`
		})
	})
}
