package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

const refusesLogin = "the database server and chorusd refuse each other, waiting until that is mended"

// TestRotatedPasswords changes the passwords of MySQL and Redis under a
// running chorusd, which has them from files, and ends its connections. All
// of these are encrypted.
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
	s.killConnections(t)
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

// killConnections ends those of chorusd to the database.
func (s *stack) killConnections(t *testing.T) {
	t.Helper()
	list, err := s.db.QueryContext(t.Context(), "SELECT id FROM information_schema.processlist WHERE user = ?", s.user)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	var ids []int
	for list.Next() {
		var id int
		if err := list.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	if len(ids) == 0 {
		t.Fatal("chorusd has no connection")
	}
	for _, id := range ids {
		_, _ = s.db.ExecContext(t.Context(), fmt.Sprintf("KILL %d", id)) // it may have ended
	}
}
