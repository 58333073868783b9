package main

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// statements are the SQL that a refusal offers.
var statements = regexp.MustCompile(`(?m)\b(GRANT|ALTER TABLE|SET PERSIST|SET GLOBAL) [^;\n]*;`)

// refused has check and run refuse what the stack is set up for, with each of
// the words, and returns what check says.
func (s *stack) refused(t *testing.T, words ...string) string {
	t.Helper()
	code, out := s.run(t, "check")
	if code != exitFailure {
		t.Errorf("check exits with %d, want %d", code, exitFailure)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("check does not say %q:\n%s", w, out)
		}
	}
	d := s.launch(t)
	if code := d.exitCode(t); code != exitConfig {
		t.Errorf("run exits with %d, want %d", code, exitConfig)
	}
	for _, w := range words {
		if !strings.Contains(d.output.String(), w) {
			t.Errorf("run does not say %q", w)
		}
	}
	return out
}

// mend runs the statements of a refusal, as root.
func (s *stack) mend(t *testing.T, refusal string) {
	t.Helper()
	found := statements.FindAllString(refusal, -1)
	if len(found) == 0 {
		t.Fatalf("the refusal has no statement:\n%s", refusal)
	}
	s.db.MustExec(t, found...)
}

// accepted has check find nothing wrong.
func (s *stack) accepted(t *testing.T) {
	t.Helper()
	if code, out := s.run(t, "check"); code != 0 || !strings.Contains(out, "all is well") {
		t.Errorf("check exits with %d:\n%s", code, out)
	}
}

// problemsIn counts the lines of a refusal after its heading.
func problemsIn(refusal string) int {
	_, problems, _ := strings.Cut(strings.TrimSpace(refusal), "this cannot work:")
	return strings.Count(problems, "\n")
}

// privilegeOf is what asking for the log's end takes.
func privilegeOf(kind services.Kind) string {
	if kind == services.MySQL {
		return "REPLICATION CLIENT"
	}
	return "BINLOG MONITOR"
}

// TestEverythingWrong has all that is wrong said at once, with what mends it.
func TestEverythingWrong(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		redisServer := servicestest.StartRedis(t, services.RedisOptions{Args: []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}})
		s := newStack(t, onServers{kind: kind, redis: redisServer}, `
[tables.notes]
fields = ["id", "body"]
visible_to = ["user:{user_id}"]
[tables.gone]
fields = ["id"]
visible_to = ["user:{id}"]
[tables.columns]
source = "notes"
fields = ["id", "boddy"]
visible_to = ["user:{owner_id}"]
[tables.keyless]
fields = ["a"]
visible_to = ["user:{a}"]
`, channelSchema, "CREATE TABLE keyless (a INT NULL UNIQUE)")
		s.db.MustExec(t, fmt.Sprintf("REVOKE ALL PRIVILEGES, GRANT OPTION FROM '%s'@'%%'", s.user),
			fmt.Sprintf("GRANT SELECT ON %s.* TO '%s'@'%%'", s.db.Name, s.user))
		s.env = []string{"CHORUSD_PUSHER_SECRET=wrong"}
		out := s.refused(t,
			"MySQL "+s.db.Server.Addr, "Redis "+s.redis.Addr, "Pusher server "+s.soketi.Addr,
			"REPLICATION SLAVE", privilegeOf(kind), s.db.Name+".gone does not exist",
			"tables.columns.fields", `"boddy"`, "tables.columns.visible_to", `"owner_id"`,
			"tables.keyless.key", "noeviction", "pusher.secret",
		)
		if n := problemsIn(out); n != 8 {
			t.Errorf("there are %d problems, want 8:\n%s", n, out)
		}
		// The statements mend the database's part.
		s.mend(t, out)
		out = s.refused(t, s.db.Name+".gone does not exist", "tables.columns.fields", "noeviction", "pusher.secret")
		for _, word := range []string{"GRANT", "keyless.key"} {
			if strings.Contains(out, word) {
				t.Errorf("%s was mended and is refused still:\n%s", word, out)
			}
		}
		// The rest is for the configuration.
		s.env = nil
		redisServer.Kill()
		s.redis.Addr = servicestest.NewRedisDatabase(t).Addr
		s.redis.Prefix = s.db.Name + ":"
		s.configure(t, channelTables)
		s.accepted(t)
	})
}

// TestMissingGrants takes the grants away one by one.
func TestMissingGrants(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, channelTables, channelSchema)
		account := fmt.Sprintf("'%s'@'%%'", s.user)
		for revoke, grant := range map[string]string{
			"REVOKE REPLICATION SLAVE ON *.* FROM " + account:      "GRANT REPLICATION SLAVE ON *.* TO " + account + ";",
			"REVOKE REPLICATION CLIENT ON *.* FROM " + account:     "GRANT " + privilegeOf(kind) + " ON *.* TO " + account + ";",
			"REVOKE SELECT ON " + s.db.Name + ".* FROM " + account: "GRANT SELECT ON `" + s.db.Name + "`.`notes` TO " + account + ";",
		} {
			s.db.MustExec(t, revoke)
			out := s.refused(t, grant)
			if n := problemsIn(out); n != 1 {
				t.Errorf("after %s there are %d problems, want 1:\n%s", revoke, n, out)
			}
			s.mend(t, out)
			s.accepted(t)
		}
		s.db.MustExec(t, "ALTER USER "+account+" IDENTIFIED BY 'another'")
		s.refused(t, s.db.Server.Addr, "mysql.user", "mysql.password", "Access denied")
	})
}

// TestServerSettings refuses a server whose log does not hold whole rows.
func TestServerSettings(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		server := servicestest.StartSQL(t, kind, services.SQLOptions{Args: []string{"--binlog-format=STATEMENT", "--binlog-row-image=MINIMAL"}})
		s := newStack(t, onServers{kind: kind, sql: server}, channelTables, channelSchema)
		out := s.refused(t, server.Addr, "binlog_format", "STATEMENT", "binlog_row_image", "MINIMAL")
		if n := problemsIn(out); n != 2 {
			t.Errorf("there are %d problems, want 2:\n%s", n, out)
		}
		s.mend(t, out)
		s.accepted(t)
	})
}

// TestNoBinlog refuses a server without a log.
func TestNoBinlog(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		server := servicestest.StartSQL(t, kind, services.SQLOptions{Args: []string{"--skip-log-bin"}})
		s := newStack(t, onServers{kind: kind, sql: server}, channelTables, channelSchema)
		out := s.refused(t, server.Addr, "the binary log is off", "configuration")
		if n := problemsIn(out); n != 1 {
			t.Errorf("there are %d problems, want 1:\n%s", n, out)
		}
	})
}

// TestWrongPusherApp refuses an app, a key or a secret that the server does not
// know. Soketi's HTTP API goes by the app's id and signature alone; its
// WebSockets know the key.
func TestWrongPusherApp(t *testing.T) {
	t.Parallel()
	s := newStack(t, onServers{}, channelTables, channelSchema)
	for _, wrong := range []string{"APP_ID", "SECRET"} {
		s.env = []string{"CHORUSD_PUSHER_" + wrong + "=wrong"}
		s.refused(t, s.soketi.Addr, "pusher.app_id, pusher.key and pusher.secret")
	}
	s.env = []string{"CHORUSD_PUSHER_KEY=wrong"}
	s.refused(t, s.soketi.Addr, "pusher.key")
	s.env = nil
	s.accepted(t)
}

// TestSessionOverrides has a session log what cannot be read exactly: chorusd
// stops at that transaction, says so, and its checkpoint stays before it.
func TestSessionOverrides(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		for setting, words := range map[string][]string{
			"binlog_row_image = 'MINIMAL'": {"binlog_row_image", "FULL"},
			"binlog_format = 'STATEMENT'":  {"binlog_format", "ROW"},
		} {
			s := newStack(t, onServers{kind: kind}, channelTables, channelSchema)
			d := s.start(t)
			s.db.MustExec(t, "INSERT INTO notes VALUES (1, 7, 'a')")
			d.awaitSettled(t, 1)
			session, err := s.db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			on(t, session, "SET SESSION "+setting, "UPDATE notes SET body = 'b'")
			_ = session.Close()
			s.db.MustExec(t, "INSERT INTO notes VALUES (2, 7, 'c')")
			if code := d.exitCode(t); code == 0 {
				t.Errorf("after %s chorusd goes on", setting)
			}
			for _, w := range append(words, "transaction ", "binlog.0") {
				if !strings.Contains(d.output.String(), w) {
					t.Errorf("after %s chorusd does not say %q", setting, w)
				}
			}
			// It stops there again: the checkpoint is before it.
			again := s.launch(t)
			if code := again.exitCode(t); code == 0 || !strings.Contains(again.output.String(), words[0]) {
				t.Errorf("after %s chorusd starts again past it", setting)
			}
		}
	})
}

// on runs statements on one connection.
func on(t *testing.T, conn *sql.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := conn.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
