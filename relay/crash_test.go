package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
)

var errCrashed = errors.New("crashed")

// crash makes everything fail from its n-th step on, as if the process had
// died there: Redis takes nothing more, nothing is read and no answer heard.
type crash struct {
	mu     sync.Mutex
	left   int
	steps  int
	before func() // looks at the world a moment before
	kill   func()
}

// step counts one, and says whether the process is dead.
func (c *crash) step() (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps++
	if c.left--; c.left > 0 {
		return c.steps, nil
	}
	if c.left == 0 {
		c.before()
		c.kill()
	}
	return c.steps, errCrashed
}

// crashLoad is a log of changes of a user who is there all the time (7), one
// who comes later (8), one who never does (9), and a team's channel.
func crashLoad(r *rig) {
	for n := range 12 {
		r.commit(put(n%4, 7), put(10+n%3, 8), shared(20+n%2, 3), put(30+n, 9))
		if n%3 == 2 {
			r.commit(put(n%4, 8), del(20+n%2), put(10+n%3, 7))
		}
	}
}

// events are what a channel got, the first time of each, with its id. What a
// refill sends is no event of its own.
func (r *rig) events(channel string) []string {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	var out []string
	for _, d := range r.delivered {
		if d.channel == channel {
			out = append(out, fmt.Sprintf("%s %s", d, d.ID))
		}
	}
	return firsts(out)
}

// TestCrashAfterEveryStep ends the process after its n-th step, for every n,
// starts it again on what Redis holds, and expects that nothing is lost, that
// repeats have the ids they had, and that the checkpoint was never ahead of
// the server's answers.
func TestCrashAfterEveryStep(t *testing.T) {
	reference := newRig(t)
	reference.subscribe(7)
	count := &crash{left: 1 << 30}
	reference.crashWith(count)
	reference.start()
	reference.poll()
	crashLoad(reference)
	reference.caughtUp()
	if err := reference.stop(); err != nil {
		t.Fatal(err)
	}
	channels := []string{userChannel(7), "private-team.3"}
	for _, name := range channels {
		if len(reference.events(name)) < 15 {
			t.Fatalf("only %d events on %s", len(reference.events(name)), name)
		}
	}
	t.Logf("%d steps", count.steps)
	for n := 1; n <= count.steps; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.subscribe(7)
			r.crashWith(&crash{left: n, before: func() {
				if n%2 == 0 { // at odd steps the checkpoint may be old, at even ones it is as far as it gets
					r.saves()
				}
				r.checkpointIsCovered(channels, reference)
			}, kill: func() { _ = r.store.Close() }})
			r.start()
			r.poll()
			crashLoad(r)
			eventually(t, "the relay crashes or catches up", func() bool {
				at, _ := r.relay.ledger.settled()
				return at == position(r.head()).String() || len(r.done) > 0
			})
			_ = r.stop()

			r.onStep(nil)
			r.onAnswer(nil)
			r.onListing(nil)
			r.subscribe(8)
			r.occupy(userChannel(8), map[int]todo{}) // it has loaded before all of it
			r.start()
			r.caughtUp()
			eventually(t, "user 8 is known", func() bool { return r.isActive(8) })
			r.caughtUp()
			for _, name := range channels {
				if got, want := r.events(name), reference.events(name); !slices.Equal(notRefilled(got, want), want) {
					t.Errorf("%s got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
			r.same(7)
			r.same(8)
		})
	}
}

// notRefilled leaves out what only a refill can have sent: the present state
// of a record under the id of a later change, or a delete with its key alone.
func notRefilled(got, want []string) []string {
	known := map[string]bool{}
	for _, w := range want {
		known[w] = true
	}
	return slices.DeleteFunc(slices.Clone(got), func(g string) bool {
		keyAlone := strings.Contains(g, "  ") // no v
		return !known[g] && (keyAlone || strings.Contains(g, harmonic.Update.String()))
	})
}

// crashWith has the steps of the world and of the server counted. Every third
// request that the crash cuts off had reached the server.
func (r *rig) crashWith(c *crash) {
	r.onStep(func(context.Context, string) error {
		_, err := c.step()
		return err
	})
	r.onAnswer(func(context.Context, []pusher.Event) (bool, error) {
		n, err := c.step()
		return n%3 == 0, err
	})
}

// saves waits until the checkpoint is as far as everything is settled.
func (r *rig) saves() {
	eventually(r.t, "the checkpoint is saved", func() bool {
		at, _ := r.relay.ledger.settled()
		return r.saved() == at
	})
}

// checkpointIsCovered checks that all events before the checkpoint were delivered.
func (r *rig) checkpointIsCovered(channels []string, reference *rig) {
	text := r.saved()
	if text == "" {
		return
	}
	saved, err := binlog.ParsePosition(text)
	if err != nil {
		r.t.Error(err)
		return
	}
	end := harmonic.SeqAt(epochTime) + harmonic.Seq(1000*int(saved.Offset))
	for _, name := range channels {
		got := r.events(name)
		for _, want := range reference.events(name) {
			id, err := harmonic.ParseID(want[strings.LastIndexByte(want, ' ')+1:])
			if err != nil {
				r.t.Error(err)
				return
			}
			if id.Seq() < end && !slices.Contains(got, want) {
				r.t.Errorf("the checkpoint is at %d, but %s has not got %s", saved.Offset, name, want)
			}
		}
	}
}
