package main

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// networked is a link between chorusd and a server; part is what /readyz calls it.
type networked struct {
	*servicestest.Link
	part string
}

// network puts links before a stack's servers.
func (s *stack) network(t *testing.T, parts ...string) []networked {
	t.Helper()
	servers := map[string]struct{ variable, addr string }{
		"database": {"CHORUSD_MYSQL_ADDR", s.db.Server.Addr},
		"redis":    {"CHORUSD_REDIS_ADDR", s.redis.Addr},
		"pusher":   {"CHORUSD_PUSHER_HOST", s.pusher},
	}
	var links []networked
	for _, part := range parts {
		link := servicestest.StartLink(t, servers[part].addr)
		s.env = append(s.env, servers[part].variable+"="+link.Addr())
		links = append(links, networked{link, part})
	}
	return links
}

// networkFault is what happens to links under load.
type networkFault struct {
	name  string
	begin func(*servicestest.Link)
	// ends says that nothing gets through, which is to be noticed.
	ends bool
	// breaks says that connections are to be broken.
	breaks bool
	// least is how long it lasts.
	least time.Duration
}

// brokenTimes is how many connections a fault breaks on each link.
const brokenTimes = 5

var networkFaults = []networkFault{
	{name: "cut", begin: (*servicestest.Link).Cut, ends: true},
	{name: "held", begin: (*servicestest.Link).Hold, ends: true},
	{name: "half-open", begin: (*servicestest.Link).Lose, ends: true},
	{name: "slow", begin: func(l *servicestest.Link) { l.Slow(10 * time.Millisecond) }},
	{name: "reset midway", begin: func(l *servicestest.Link) { l.BreakAfter(func() int { return 1 + rand.IntN(20_000) }) }, breaks: true},
	// For as long as chorusd waits for an answer: then it asks again, and goes on.
	{name: "held for some connections", begin: func(l *servicestest.Link) { l.HoldSome(3) }, least: 4 * time.Second},
}

// suffer has a fault happen to links under load until chorusd has noticed it,
// or has made its way for a while; healing is called before it ends.
func (f networkFault) suffer(t *testing.T, d *daemon, l *load, links []networked, healing func()) {
	t.Helper()
	t.Logf("%d commits: %d links are %s", l.committed(), len(links), f.name)
	over := time.NewTimer(f.least)
	if full {
		over.Reset(f.least + time.Duration(rand.Int64N(int64(away()))))
	}
	defer over.Stop()
	broken := make([]int, len(links))
	for i, link := range links {
		broken[i] = link.Broken()
		f.begin(link.Link)
	}
	l.awaitCommits(t, 20)
	if f.ends {
		eventually(t, "chorusd is not ready, and says why", func() bool {
			code, body := d.get(t, "/readyz")
			// Without the database there may be nothing that the others are needed for.
			return code == http.StatusServiceUnavailable && strings.Contains(body, `"`+links[0].part+`: `)
		})
	}
	if f.breaks {
		for i, link := range links {
			eventually(t, "connections break", func() bool { return link.Broken() >= broken[i]+brokenTimes })
		}
	}
	<-over.C
	healing()
	for _, link := range links {
		link.Heal()
	}
	d.awaitReady(t)
}

// TestNetworkFaults has the network between chorusd and each of its servers, and
// between it and all of them, fail in every way under load. Nothing is lost, on
// the shared channel nothing comes out of order, and whoever comes meanwhile ends
// with the rows of the database. With TEST_FULL, for longer and in any order.
func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		kind  services.Kind
		parts []string
	}{
		{"MySQL", services.MySQL, []string{"database"}},
		{"MariaDB", services.MariaDB, []string{"database"}},
		{"Redis", services.MySQL, []string{"redis"}},
		{"Pusher server", services.MariaDB, []string{"pusher"}},
		{"all", services.MySQL, []string{"database", "redis", "pusher"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, onServers{kind: c.kind}, loadTables, loadSchema, loadCommits)
			links := s.network(t, c.parts...)
			faults := networkFaults
			if full {
				faults = slices.Repeat(faults, 3)
				rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
			}
			users := []int{7}
			for i := range faults {
				users = append(users, 100+i)
			}
			l := newUncountedLoad(t, s, users...)
			d := s.start(t)
			client := s.subscribe(t, "chorus.user.7", loadPlatform)
			d.awaitActive(t, 2)
			stop := l.run(t)
			var visitors []*visitor
			for i, f := range faults {
				l.awaitCommits(t, 20)
				visitors = append(visitors, s.visit(t, users[1+i]))
				healing := func() {}
				if i == len(faults)-1 {
					healing = stop // so that no later change hides what comes late
				}
				f.suffer(t, d, l, links, healing)
			}
			l.arrived(t, client, append(visitors, client.resident())...)
			s.awaitCovered(t)
			d.terminate(t)
		})
	}
}

// TestFrozen stops chorusd itself under load, for longer than a lease, and lets
// it go on: nothing is lost, and whoever has come meanwhile ends with the rows of
// the database.
func TestFrozen(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, loadTables, loadSchema, loadCommits)
		users := []int{7, 101, 102, 103}
		l := newUncountedLoad(t, s, users...)
		d := s.start(t)
		c := s.subscribe(t, "chorus.user.7", loadPlatform)
		d.awaitActive(t, 2)
		stop := l.run(t)
		var visitors []*visitor
		for _, user := range users[1:] {
			l.awaitCommits(t, rand.IntN(60))
			d.signal(t, syscall.SIGSTOP)
			over := time.After(away())
			visitors = append(visitors, s.visit(t, user))
			l.awaitCommits(t, 20)
			<-over
			d.signal(t, syscall.SIGCONT)
			d.awaitReady(t)
		}
		l.awaitCommits(t, 20)
		stop()
		l.arrived(t, c, visitors...)
		s.awaitCovered(t)
		d.terminate(t)
	})
}
