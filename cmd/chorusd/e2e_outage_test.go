package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// outage is a server that goes away and comes back.
type outage struct {
	name   string
	server *services.Server
	// part is what /readyz calls it.
	part string
	// gone and back are what the log says, once each.
	gone, back string
}

const (
	lostDatabase   = "lost the database server, trying to reach it again"
	foundDatabase  = "reading from the database server again"
	lostRedis      = "redis is unreachable"
	foundRedis     = "redis is back"
	lostPublisher  = "cannot publish, trying again until it works; reading pauses when the queue is full"
	foundPublisher = "publishing again"
)

// away is how long a server is away.
func away() time.Duration {
	if full {
		return 30 * time.Second
	}
	return 2 * time.Second
}

// take has the server away for a while, killed or frozen, and waits until
// chorusd has noticed both that and its return.
func (o outage) take(t *testing.T, d *daemon, frozen bool) {
	t.Helper()
	gone, back := d.logged(o.gone), d.logged(o.back)
	if frozen {
		if err := o.server.Pause(); err != nil {
			t.Fatal(err)
		}
	} else {
		o.server.Kill()
	}
	over := time.NewTimer(away())
	defer over.Stop()
	eventually(t, "chorusd is not ready without "+o.name+", and says why", func() bool {
		code, body := d.get(t, "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, `"`+o.part+`: `)
	})
	if n := d.metric(t, "chorusd_up", `part="`+o.part+`"`); n != 0 {
		t.Errorf("chorusd_up is %v without %s", n, o.name)
	}
	if code, body := d.get(t, "/healthz"); code != http.StatusOK {
		t.Errorf("without %s, /healthz answers %d %s", o.name, code, body)
	}
	eventually(t, "the log says that "+o.name+" is gone", func() bool { return d.logged(o.gone) > gone })
	<-over.C
	if frozen {
		if err := o.server.Resume(); err != nil {
			t.Fatal(err)
		}
	} else if err := o.server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log says that "+o.name+" is back", func() bool { return d.logged(o.back) > back })
	d.awaitReady(t)
	if n := d.logged(o.gone) - gone; n != 1 {
		t.Errorf("the log says %d times that %s is gone, want once", n, o.name)
	}
	if n := d.logged(o.back) - back; n != 1 {
		t.Errorf("the log says %d times that %s is back, want once", n, o.name)
	}
}

// TestOutages takes each server away under load, killed and frozen. Nothing
// is lost, and on the shared channel nothing comes out of order.
func TestOutages(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		on := onServers{
			kind:   kind,
			sql:    servicestest.StartSQL(t, kind, services.SQLOptions{}),
			redis:  servicestest.StartRedis(t, services.RedisOptions{Persist: true}),
			soketi: servicestest.StartSoketi(t, services.SoketiOptions{}),
		}
		s := newStack(t, on, loadTables, loadSchema, loadCommits)
		l := newLoad(t, s, 7, 8)
		d := s.start(t)
		c := s.subscribe(t, "chorus.user.7", loadPlatform)
		d.awaitActive(t, 2)
		stop := l.run(t)
		database := outage{"the database", on.sql.Server, "database", lostDatabase, foundDatabase}
		redis := outage{"Redis", on.redis.Server, "redis", lostRedis, foundRedis}
		pusher := outage{"Soketi", on.soketi.Server, "pusher", lostPublisher, foundPublisher}
		for _, step := range []struct {
			outage
			frozen bool
		}{{database, false}, {redis, false}, {pusher, true}, {database, true}, {redis, true}} {
			l.awaitCommits(t, 20)
			step.take(t, d, step.frozen)
		}
		l.awaitCommits(t, 20)
		stop()
		l.arrived(t, c, c.resident())
		d.terminate(t)
		_, at := s.checkpoint(t)
		if covered := lastTransaction(t, at.GTIDs) - l.before; covered != l.committed() {
			t.Errorf("the checkpoint covers %d transactions, want all %d", covered, l.committed())
		}
	})
}

// TestPusherServerRestarts kills Soketi under load, which disconnects
// everybody. Clients that come back within a lease end with the rows of the
// database: what was published while they were not there is refilled.
func TestPusherServerRestarts(t *testing.T) {
	t.Parallel()
	soketi := servicestest.StartSoketi(t, services.SoketiOptions{})
	s := newStack(t, onServers{soketi: soketi}, loadTables, loadSchema, loadCommits)
	l := newUncountedLoad(t, s, 7, 8)
	d := s.start(t, "--channels.lease=10s")
	visitors := []*visitor{s.visit(t, 7), s.visitOn(t, loadPlatform, 0)}
	d.awaitActive(t, 2)
	for range 3 {
		stop := l.run(t)
		l.awaitCommits(t, 20)
		soketi.Kill()
		l.awaitCommits(t, 50)
		stop() // so that no later change hides one that was lost
		eventually(t, "chorusd is not ready without Soketi", func() bool { return !d.isReady(t) })
		if err := soketi.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, v := range visitors {
			v.awaitJoined(t)
		}
		d.awaitReady(t)
		for _, v := range visitors {
			v.converge(t)
		}
	}
	d.terminate(t)
}
