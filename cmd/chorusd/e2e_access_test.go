package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

const refusesLogin = "the database server and chorusd refuse each other, waiting until that is mended"

// TestRotatedPasswords changes MySQL's password under a running chorusd, which
// has it from a file, and ends its connections, which are encrypted.
func TestRotatedPasswords(t *testing.T) {
	t.Parallel()
	authority := servicestest.NewAuthority(t)
	cert, key := authority.Certificate(t, "127.0.0.1")
	redisServer := servicestest.StartRedis(t, services.RedisOptions{})
	sql := servicestest.StartSQL(t, services.MySQL, services.SQLOptions{Args: []string{
		"--ssl-ca=" + authority.CA, "--ssl-cert=" + cert, "--ssl-key=" + key, "--require-secure-transport=OFF",
	}})
	s := newStack(t, onServers{sql: sql, redis: redisServer}, channelTables, channelSchema)
	account := fmt.Sprintf("'%s'@'%%'", s.user)
	s.passwordFile = filepath.Join(s.dir, "password")
	put := func(password string) {
		// In one step, as secrets are mounted.
		next := s.passwordFile + ".next"
		if err := os.WriteFile(next, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, s.passwordFile); err != nil {
			t.Fatal(err)
		}
	}
	put("before")
	s.db.MustExec(t, "ALTER USER "+account+" IDENTIFIED BY 'before' REQUIRE SSL")
	s.env = []string{"CHORUSD_MYSQL_TLS=verify_identity", "CHORUSD_MYSQL_TLS_CA=" + authority.CA}
	s.accepted(t)
	d := s.start(t)
	c := s.subscribe(t, "chorus.user.7")
	d.awaitActive(t, 1)
	s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')")
	c.await(t, "chorus.user.7", 1)

	s.db.MustExec(t, "ALTER USER "+account+" IDENTIFIED BY 'after'")
	if s.db.KillConnections(t, s.user) == 0 {
		t.Fatal("chorusd has no connection")
	}
	s.db.MustExec(t, "INSERT INTO notes VALUES (2, 7, 'b')")
	eventually(t, "the login is refused", func() bool { return d.logged(refusesLogin) == 1 })
	eventually(t, "chorusd is not ready", func() bool { return !d.isReady(t) })
	put("after")
	c.await(t, "chorus.user.7", 2)
	eventually(t, "chorusd is ready again", func() bool { return d.isReady(t) })
	if n := d.logged(refusesLogin); n != 1 {
		t.Errorf("the refusal was logged %d times", n)
	}
	d.terminate(t)

	// At a start it is refused.
	put("before")
	s.refused(t, "Access denied", "mysql.password")
}

// TestSeveralDatabases has tables of the same name in three databases of one
// server, one behind a prefix and one with names that need quotes. The user has
// the documented grants alone.
func TestSeveralDatabases(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, channelTables)
		second, odd := s.db.Name+"_second", s.db.Name+".o`dd"
		quotedOdd := "`" + strings.ReplaceAll(odd, "`", "``") + "`"
		notes := "(id INT PRIMARY KEY, user_id INT, body VARCHAR(20))"
		s.db.MustExec(t,
			"CREATE DATABASE "+second, "CREATE DATABASE "+quotedOdd,
			"CREATE TABLE pre_notes "+notes, "CREATE TABLE "+second+".notes "+notes, "CREATE TABLE "+quotedOdd+".`no.tes` "+notes,
			// Not mapped: the same names elsewhere.
			"CREATE TABLE notes "+notes, "CREATE TABLE "+second+".pre_notes "+notes,
		)
		t.Cleanup(func() {
			for _, name := range []string{second, quotedOdd} {
				_, _ = s.db.Exec("DROP DATABASE " + name)
			}
		})
		fields := "fields = [\"id\", \"user_id\", \"body\"]\nvisible_to = [\"user:{user_id}\"]\n"
		s.configure(t, "[tables.notes]\n"+fields+
			"[tables.seconds]\nsource = \""+second+".notes\"\n"+fields+
			"[tables.odds]\nsource = '"+quotedOdd+".`no.tes`'\n"+fields)
		s.env = []string{"CHORUSD_MYSQL_TABLE_PREFIX=pre_"}
		account := fmt.Sprintf("'%s'@'%%'", s.user)
		s.db.MustExec(t, "REVOKE SELECT ON "+s.db.Name+".* FROM "+account)
		s.mend(t, s.refused(t, "pre_notes", second, odd))
		s.accepted(t)

		d := s.start(t, "--channels.poll_interval=5s", "--channels.lease=10s")
		s.awaitPoll(t)
		s.db.MustExec(t,
			"INSERT INTO notes VALUES (1, 7, 'no')", "INSERT INTO "+second+".pre_notes VALUES (1, 7, 'no')",
			"INSERT INTO pre_notes VALUES (1, 7, 'a')", "INSERT INTO "+second+".notes VALUES (1, 7, 'b')",
			"INSERT INTO "+quotedOdd+".`no.tes` VALUES (1, 7, 'c')",
		)
		d.awaitSettled(t, 3)
		c := s.subscribe(t, "chorus.user.7") // which has them by a refill
		d.awaitActive(t, 1)
		c.await(t, "chorus.user.7", 3)
		s.db.MustExec(t,
			"UPDATE "+second+".notes SET body = 'd'", "DELETE FROM "+second+".pre_notes", "DELETE FROM pre_notes",
			"ALTER TABLE "+quotedOdd+".`no.tes` ADD more INT FIRST", "DELETE FROM "+quotedOdd+".`no.tes`",
		)
		c.await(t, "chorus.user.7", 6)
		got := c.texts("chorus.user.7")
		slices.Sort(got)
		want := []string{
			`delete notes 1 {"id":1,"user_id":7,"body":"a"}`, `delete odds 1 {"id":1,"user_id":7,"body":"c"}`,
			`update notes 1 {"id":1,"user_id":7,"body":"a"}`, `update odds 1 {"id":1,"user_id":7,"body":"c"}`,
			`update seconds 1 {"id":1,"user_id":7,"body":"b"}`, `update seconds 1 {"id":1,"user_id":7,"body":"d"}`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		d.terminate(t)
	})
}
