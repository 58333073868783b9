package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
)

// beside is a stack of the same servers and app for a second chorusd.
func (s *stack) beside(t *testing.T, tables string) *stack {
	t.Helper()
	other := *s
	other.dir, other.admin = t.TempDir(), freeAddr(t)
	other.configure(t, tables)
	return &other
}

// awaitLead waits until a chorusd leads.
func (d *daemon) awaitLead(t *testing.T) {
	t.Helper()
	eventually(t, "chorusd leads and is ready", func() bool {
		code, body := d.get(t, "/readyz")
		return code == http.StatusOK && !strings.Contains(body, "standing_by") && d.metric(t, "chorusd_leader") == 1
	})
}

// awaitStandby waits until a chorusd stands by for another one.
func (d *daemon) awaitStandby(t *testing.T, leader *daemon) {
	t.Helper()
	eventually(t, "chorusd stands by", func() bool {
		code, body := d.get(t, "/readyz")
		return code == http.StatusOK && strings.Contains(body, fmt.Sprintf(`:%d"`, leader.cmd.Process.Pid)) && strings.Contains(body, "standing_by")
	})
	if d.metric(t, "chorusd_leader") != 0 {
		t.Error("it stands by and leads")
	}
}

// TestStandby runs two for the same app under load. One leads; it is killed,
// frozen, and told to end, and each time the other one takes over. Nothing is
// lost, nothing comes out of order, and who was frozen stands by when it goes on.
func TestStandby(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, loadTables, loadSchema, loadCommits)
		beside := s.beside(t, loadTables)
		users := []int{7, 101, 102, 103}
		l := newUncountedLoad(t, s, users...)
		first := s.start(t)
		c := s.subscribe(t, "chorus.user.7", loadPlatform)
		first.awaitActive(t, 2)
		second := beside.start(t)
		second.awaitStandby(t, first)
		stop := l.run(t)
		var visitors []*visitor
		during := func(user int, fault func()) {
			t.Helper()
			l.awaitCommits(t, rand.IntN(60))
			visitors = append(visitors, s.visit(t, user))
			l.awaitCommits(t, rand.IntN(60))
			fault()
			l.awaitCommits(t, 20)
		}
		during(101, func() {
			first.kill(t)
			second.awaitLead(t)
		})
		first = s.start(t)
		first.awaitStandby(t, second)
		during(102, func() {
			second.signal(t, syscall.SIGSTOP)
			first.awaitLead(t)
			l.awaitCommits(t, 20)
			second.signal(t, syscall.SIGCONT)
			second.awaitStandby(t, first)
		})
		during(103, func() {
			first.terminate(t)
			second.awaitLead(t)
		})
		stop()
		l.arrived(t, c, visitors...)
		s.awaitCovered(t)
		second.terminate(t)
	})
}

// TestStandbyRefuses what is not meant: a prefix that another app uses, and to
// start over what another one is doing.
func TestStandbyRefuses(t *testing.T) {
	t.Parallel()
	s := newStack(t, onServers{}, channelTables, channelSchema)
	d := s.start(t)
	other := newStack(t, onServers{}, channelTables, channelSchema)
	other.redis = s.redis
	other.configure(t, channelTables)
	for _, c := range []struct {
		second *daemon
		words  []string
	}{
		{other.launch(t), []string{"of another app", s.db.Name, other.db.Name, "give each app its own redis.prefix"}},
		{s.beside(t, channelTables).launch(t, "--start-over"), []string{"leads", "before one is started with --start-over"}},
	} {
		if code := c.second.exitCode(t); code != exitConfig {
			t.Errorf("it exits with %d, want %d", code, exitConfig)
		}
		for _, word := range c.words {
			if !strings.Contains(c.second.output.String(), word) {
				t.Errorf("it does not say %q:\n%s", word, c.second.output.String())
			}
		}
	}
	d.terminate(t)
}
