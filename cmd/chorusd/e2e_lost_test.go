package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// purge removes the log up to now.
func (s *stack) purge(t *testing.T) {
	t.Helper()
	s.db.MustExec(t, "FLUSH BINARY LOGS")
	cfg := binlog.Config{Addr: s.db.Server.Addr, User: "root", Password: func() string { return "" }, Location: time.UTC}
	eventually(t, "the log is purged", func() bool { // which a server puts off while it may need a file
		server, err := binlog.Inspect(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.db.MustExec(t, fmt.Sprintf("PURGE BINARY LOGS TO '%s'", server.Current.File))
		return server.Earliest.File == server.Current.File
	})
}

// reset has the log begin anew, a second later at least: that is how exactly
// servers note when.
func (s *stack) reset(t *testing.T) {
	t.Helper()
	statement := "RESET BINARY LOGS AND GTIDS"
	if s.db.Server.Kind != services.MySQL {
		statement = "RESET MASTER"
	}
	s.db.MustExec(t, "DO SLEEP(1.01)", statement)
}

// refuses wants chorusd to have ended with a reason and the choices.
func (d *daemon) refuses(t *testing.T, reason string) {
	t.Helper()
	if code := d.exitCode(t); code != exitConfig {
		t.Errorf("chorusd exits with %d, want %d", code, exitConfig)
	}
	for _, words := range []string{reason, "--start-over --mysql.start=now", "mysql.on_lost_position"} {
		if !strings.Contains(d.output.String(), words) {
			t.Errorf("chorusd does not say %q", words)
		}
	}
}

// awaitReloads waits until a channel was told so many times to load again.
func (c *client) awaitReloads(t *testing.T, channel string, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s was told to load again, %d times", channel, n), func() bool { return c.reloads(t, channel) == n })
}

// reloads is how often a channel was told to load again.
func (c *client) reloads(t *testing.T, channel string) (n int) {
	t.Helper()
	for _, e := range c.got(channel) {
		if e.name != harmonic.EventControl {
			continue
		}
		control, err := harmonic.ParseControl([]byte(e.payload))
		if err != nil {
			t.Fatal(err)
		}
		if reload, ok := control.(harmonic.Reload); ok && reload.Table == "" {
			n++
		}
	}
	return n
}

// awaitLast waits until the newest event of a channel is this one.
func (c *client) awaitLast(t *testing.T, channel, want string) {
	t.Helper()
	eventually(t, "there is "+want, func() bool {
		got := c.texts(channel)
		return len(got) > 0 && got[len(got)-1] == want
	})
}

// TestPositionLost takes the binary log away, while chorusd is down and while
// it runs. It stops and says why, or has clients load again and goes on.
func TestPositionLost(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		const channel, reload = "chorus.user.7", "--mysql.on_lost_position=reload"
		s := newStack(t, onServers{kind: kind, sql: servicestest.StartSQL(t, kind, services.SQLOptions{})}, channelTables, channelSchema)
		changes := 0
		change := func() string {
			changes++
			s.db.MustExec(t, fmt.Sprintf("INSERT INTO notes VALUES (%d, 7, 'a')", changes))
			return fmt.Sprintf(`create notes %[1]d {"id":%[1]d,"user_id":7,"body":"a"}`, changes)
		}
		d := s.start(t)
		c := s.subscribe(t, channel)
		d.awaitActive(t, 1)
		c.awaitLast(t, channel, change())
		d.terminate(t)

		change()
		s.purge(t)
		s.launch(t).refuses(t, "purged before it was read")
		d = s.start(t, reload)
		c.awaitReloads(t, channel, 1)
		c.awaitLast(t, channel, change())

		s.reset(t)
		c.awaitReloads(t, channel, 2)
		d.awaitReady(t)
		c.awaitLast(t, channel, change())
		d.terminate(t)

		s.reset(t)
		for range changes {
			change() // so that the numbers come as far as before
		}
		s.launch(t).refuses(t, "the binary log was reset")
		d = s.start(t, "--start-over", "--mysql.start=now")
		c.awaitReloads(t, channel, 3)
		c.awaitLast(t, channel, change())
		s.reset(t)
		d.refuses(t, "the binary log was reset")
	})
}
