package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestKilled kills chorusd again and again while rows change. Those who were
// there all the time get every change; those who come meanwhile end with the
// rows of the database; and the checkpoint is never ahead of the clients.
func TestKilled(t *testing.T) {
	rounds := 8
	if full {
		rounds = 60
	}
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind, sql: servicestest.StartSQL(t, kind, services.SQLOptions{})}, loadTables, loadSchema, loadCommits)
		users := []int{7}
		for i := range rounds {
			users = append(users, 100+i)
		}
		l := newLoad(t, s, users...)
		d := s.start(t)
		c := s.subscribe(t, "chorus.user.7", loadPlatform)
		d.awaitActive(t, 2)
		stop := l.run(t)
		var visitors []*visitor
		for i := range rounds {
			l.awaitCommits(t, rand.IntN(60))
			visitors = append(visitors, s.visit(t, users[1+i]))
			l.awaitCommits(t, rand.IntN(60))
			d.kill(t)
			s.verifyCheckpoint(t, l, c)
			d = s.launch(t)
		}
		l.awaitCommits(t, 50)
		stop()
		accounted(t, c, loadPlatform, l.of(0))
		accounted(t, c, "chorus.user.7", l.of(7))
		for _, v := range visitors {
			v.converge(t)
		}
		d.terminate(t)
	})
}

// verifyCheckpoint has the client get everything up to the checkpoint.
func (s *stack) verifyCheckpoint(t *testing.T, l *load, c *client) {
	t.Helper()
	_, at := s.checkpoint(t)
	covered := lastTransaction(t, at.GTIDs) - l.before
	var want []loadChange
	for _, change := range l.of(0) {
		if change.commit <= covered {
			want = append(want, change)
		}
	}
	awaitAll(t, c, loadPlatform, want)
}

// visitor is a client that comes while rows change: it joins its channel, and
// then loads the rows.
type visitor struct {
	*client
	channel string
	user    int
	begin   map[int]int
}

func userChannel(user int) string { return fmt.Sprintf("chorus.user.%d", user) }

func (s *stack) visit(t *testing.T, user int) *visitor {
	t.Helper()
	return s.visitOn(t, userChannel(user), user)
}

// visitOn is a visit to a channel that has the rows of one user, or with 0 of
// all.
func (s *stack) visitOn(t *testing.T, channel string, user int) *visitor {
	t.Helper()
	v := &visitor{client: s.subscribe(t, channel), channel: channel, user: user}
	v.begin = s.rows(t, user)
	return v
}

// resident is a visitor who was there all the time.
func (c *client) resident() *visitor {
	return &visitor{client: c, channel: "chorus.user.7", user: 7, begin: map[int]int{}}
}

// arrived waits until a client who was there all the time has got everything, in
// order on the platform's channel, and visitors have the rows of the database.
func (l *load) arrived(t *testing.T, c *client, visitors ...*visitor) {
	t.Helper()
	accounted(t, c, loadPlatform, l.of(0))
	awaitAll(t, c, "chorus.user.7", l.of(7))
	for _, v := range visitors {
		v.converge(t)
	}
}

// converge waits until the visitor has the rows of the database.
func (v *visitor) converge(t *testing.T) {
	t.Helper()
	want := v.stack.rows(t, v.user)
	var got map[int]int
	defer func() {
		if !maps.Equal(got, want) {
			t.Logf("the client on %s has %v, the database %v", v.channel, got, want)
		}
	}()
	eventually(t, v.channel+" has the rows of the database", func() bool {
		got = applied(t, v.begin, v.got(v.channel))
		return maps.Equal(got, want)
	})
}
