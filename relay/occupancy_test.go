package relay

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

var errListing = errors.New("the list cannot be had")

func TestEverythingIsPublishedUntilTheFirstPoll(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7), shared(2, 3))
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"create 1 v1"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if got, want := r.on("private-team.3"), []string{"create 2 v2"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if s := r.relay.Status(); s.ChannelsKnown || !s.Reading || !s.Publishing {
		t.Errorf("status %+v, want reading, publishing, channels not known", s)
	}
	r.poll()
	if s := r.relay.Status(); !s.Ready() {
		t.Errorf("status %+v, want ready", s)
	}
}

func TestSharedChannelsAreAlwaysPublishedTo(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	r.commit(shared(1, 3))
	r.commit(shared(1, 4))
	r.caughtUp()
	for channel, want := range map[string][]string{
		"private-team.3": {"create 1 v1", "delete 1 v1"}, // never the new values
		"private-team.4": {"create 1 v2"},
	} {
		if got := r.on(channel); !slices.Equal(got, want) {
			t.Errorf("%s: published %q, want %q", channel, got, want)
		}
	}
}

// TestFailingPollsOpenEverything: leases freeze while polls fail, and after
// the length of one everybody is published to, until a poll works again.
func TestFailingPollsOpenEverything(t *testing.T) {
	r := newRig(t)
	r.cfg.Lease = 50 * time.Millisecond
	r.subscribe(7)
	r.start()
	r.poll()
	for r.relay.Status().ChannelsKnown {
		r.broken <- errListing
	}
	if !r.isActive(7) {
		t.Error("a lease ended although no poll lacked the channel")
	}
	r.commit(put(1, 8))
	r.caughtUp()
	if got, want := r.on(userChannel(8)), []string{"create 1 v1"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	r.poll()
	eventually(t, "the active channels are known", func() bool { return r.relay.Status().ChannelsKnown })
	r.commit(put(1, 8))
	r.caughtUp()
	if got := r.on(userChannel(8)); len(got) != 1 {
		t.Errorf("published to an inactive channel: %q", got)
	}
}

func TestWebhooksOpenAndCloseChannels(t *testing.T) {
	r := newRig(t)
	r.cfg.Lease = time.Hour
	r.start()
	r.poll()
	r.commit(put(1, 7))
	r.caughtUp()
	r.subscribe(7)
	r.occupy(userChannel(7), map[int]todo{})
	occupied := pusher.WebhookEvent{Name: pusher.ChannelOccupied, Channel: userChannel(7)}
	vacated := pusher.WebhookEvent{Name: pusher.ChannelVacated, Channel: userChannel(7)}
	other := pusher.WebhookEvent{Name: pusher.ChannelOccupied, Channel: "private-other.3"}

	// At once, without a poll, and with what it has missed.
	r.relay.Notify(t.Context(), []pusher.WebhookEvent{other, occupied})
	eventually(t, "the channel is active", func() bool { return r.isActive(7) })
	r.caughtUp()
	r.same(7)
	var leases []redisstate.Lease
	var err error
	eventually(t, "there is a lease", func() bool {
		leases, err = r.store.Channels(t.Context())
		return err != nil || len(leases) > 0
	})
	if err != nil || len(leases) != 1 || leases[0].Channel != userChannel(7) || leases[0].Source != "webhook" {
		t.Errorf("leases: %+v, %v; want one of user 7's channel by webhook", leases, err)
	}

	// A word that it was vacated can be wrong, so a poll must confirm it.
	r.relay.Notify(t.Context(), []pusher.WebhookEvent{vacated})
	eventually(t, "the lease is shortened", func() bool {
		leases, err := r.store.Channels(context.Background())
		return err == nil && len(leases) == 1 && leases[0].Expires.Before(time.Now())
	})
	if !r.isActive(7) {
		t.Error("the channel is closed without a poll")
	}
	r.poll()
	if !r.isActive(7) {
		t.Error("the channel is closed although a poll has it")
	}
	r.unsubscribe(7)
	r.relay.Notify(t.Context(), []pusher.WebhookEvent{vacated})
	eventually(t, "a poll closes it", func() bool {
		r.poll()
		return !r.isActive(7)
	})

	// Both in one webhook: the last word counts.
	r.relay.Notify(t.Context(), []pusher.WebhookEvent{occupied, vacated})
	r.relay.Notify(t.Context(), []pusher.WebhookEvent{vacated, occupied})
	eventually(t, "the channel is active again", func() bool { return r.isActive(7) })
}

// TestFullWindowPublishesToEverybody: what cannot be kept is sent.
func TestFullWindowPublishesToEverybody(t *testing.T) {
	r := newRig(t)
	r.cfg.Window = 2
	r.start()
	r.poll()
	r.commit(put(1, 7), put(2, 7), put(3, 7), put(4, 7))
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"create 3 v3", "create 4 v4"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	// The next complete poll empties it.
	eventually(t, "the window is empty", func() bool {
		r.poll()
		return r.relay.window.size() == 0
	})
	r.commit(put(5, 7))
	r.caughtUp()
	if got := r.on(userChannel(7)); len(got) != 2 {
		t.Errorf("published to an inactive channel: %q", got)
	}
}

// TestChannelsThatComeAndGo has clients subscribe and leave at random while
// rows change, and expects each that stays to have what the database has.
func TestChannelsThatComeAndGo(t *testing.T) {
	r := newRig(t)
	r.onListing(nil) // poll all the time
	r.start()
	const users, rows = 6, 20
	random := newRandom(t)
	for range 400 {
		user := 1 + random.IntN(users)
		switch random.IntN(10) {
		case 0:
			r.subscribe(user)
		case 1:
			r.unsubscribe(user)
		case 2:
			r.commit(del(1 + random.IntN(rows)))
		default:
			r.commit(put(1+random.IntN(rows), user), put(1+random.IntN(rows), 1+random.IntN(users)))
		}
		if random.IntN(8) == 0 {
			at := r.head() - random.IntN(3)
			eventually(t, "the relay follows", func() bool {
				r.relay.mu.Lock()
				defer r.relay.mu.Unlock()
				return int(r.relay.tail.Offset) >= at
			})
		}
	}
	for user := 1; user <= users; user++ {
		r.server.mu.Lock()
		there := r.occupied[userChannel(user)] != nil
		r.server.mu.Unlock()
		if !there {
			continue
		}
		eventually(t, "the channel is active", func() bool { return r.isActive(user) })
		r.caughtUp()
		r.same(user)
	}
}

// TestChannelStaysWhileSomethingIsOnItsWay: a client comes back while a message
// is under way that was sent before it left, and is older than what it has
// loaded meanwhile. What has become of the record since must follow.
func TestChannelStaysWhileSomethingIsOnItsWay(t *testing.T) {
	r := newRig(t)
	r.start()
	r.subscribe(7)
	r.poll()
	eventually(t, "the channel is active", func() bool { return r.isActive(7) })
	begun, pass := r.hold()
	r.commit(put(1, 7))
	<-begun
	r.unsubscribe(7)
	left := time.Now()
	eventually(t, "it is away for longer than a lease", func() bool { return time.Since(left) > 2*r.cfg.Lease })
	r.comesToOld(pass)
}

// comesToOld has user 7, who is away, load his rows and come while a message of
// row 1 waits for pass, which was his then and is not any more. What takes the
// row away has to follow it. When he leaves, his channel is closed like any other.
func (r *rig) comesToOld(pass func()) {
	r.t.Helper()
	r.poll()
	r.commit(put(1, 8))
	for range 3 { // nothing is kept any more of what was before these
		r.poll()
	}
	r.subscribe(7)
	pass()
	eventually(r.t, "the message is there", func() bool { return len(r.on(userChannel(7))) > 0 })
	r.poll()
	r.caughtUp()
	r.same(7)
	r.unsubscribe(7)
	eventually(r.t, "the channel is closed", func() bool {
		r.poll()
		return !r.isActive(7)
	})
}

// TestUnknownChannelsStayWhileSomethingIsOnItsWay: a client comes when a message
// is under way that was sent while nobody knew who was there, and that is older
// than what it has loaded.
func TestUnknownChannelsStayWhileSomethingIsOnItsWay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun, pass := r.hold()
	r.start()
	r.commit(put(1, 7))
	<-begun
	r.comesToOld(pass)
}

// TestJobsWaitForChannelsThatAreOpenedAgain: a table of users is altered while a
// poll is taken, so that nobody is known. The jobs of those who are there stay.
func TestJobsWaitForChannelsThatAreOpenedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.subscribe(7)
	r.subscribe(8)
	r.start()
	r.poll()
	r.commit(put(1, 7))
	r.caughtUp()
	taken := r.relay.beginPoll()
	everybody := func(mapping.UserKey) bool { return true }
	if err := r.relay.between(t.Context(), func(context.Context) error { r.relay.close(everybody); return nil }); err != nil {
		t.Fatal(err)
	}
	made, err := r.relay.makeJobs(t.Context(), []redisstate.JobStart{{
		Channels: []string{userChannel(7)}, Items: []redisstate.RecordKey{{Table: "todos", Key: "[1]"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.relay.list(made)
	if err := r.relay.noted(t.Context(), taken, map[string]bool{userChannel(7): true}, false); err != nil {
		t.Fatal(err)
	}
	r.unsubscribe(8)
	r.poll()
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"create 1 v1", "update 1 v1"}; !slices.Equal(got, want) {
		t.Errorf("user 7 was told %q, want %q", got, want)
	}
	_ = r.relay.between(t.Context(), func(context.Context) error {
		if _, view := r.relay.audience.Views(); view.User("8") != nil {
			t.Error("a user who left meanwhile is still known")
		}
		return nil
	})
}

// TestRefillWaitsForChannelsThatAreOpenedAgain: a table of users is altered after
// the rows of a refill were read, so that nobody knows who is to get them. They
// are sent when it is known again.
func TestRefillWaitsForChannelsThatAreOpenedAgain(t *testing.T) {
	t.Parallel()
	r, open := newHeldRefill(t, put(1, 7))
	for range 2 { // one that was begun after the change is noted; else the change is sent once more
		r.poll()
	}
	err := r.relay.between(t.Context(), func(context.Context) error {
		r.relay.again = append(r.relay.again, r.relay.audience.Reset("")...)
		r.relay.close(func(mapping.UserKey) bool { return true })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	open()
	r.poll()
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"update 1 v1"}; !slices.Equal(got, want) {
		t.Errorf("user 7 was told %q, want %q", got, want)
	}
}

// TestClientsThatComeBackAfterTheStart: while the relay was down, the server
// may have restarted, and its clients come back later than the relay does.
func TestClientsThatComeBackAfterTheStart(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	last, err := r.store.LastPoll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it was down for longer than a lease", func() bool { return time.Since(last.StartedAt) > 2*r.cfg.Lease })
	r.start()
	r.commit(shared(1, 3), shared(2, 3))
	r.caughtUp()
	r.polls <- struct{}{}
	eventually(t, "the active channels are known", func() bool { return r.relay.Status().ChannelsKnown })
	r.commit(shared(2, 4))
	r.caughtUp()
	const channel = "private-team.3"
	before := len(r.on(channel))
	r.occupy(channel, map[int]todo{})
	r.poll()
	eventually(t, "the channel is active", func() bool { return r.isOpen(channel) })
	r.caughtUp()
	got := r.on(channel)[before:]
	slices.Sort(got)
	if want := []string{"delete 2 ", "update 1 v1"}; !slices.Equal(got, want) {
		t.Errorf("refilled with %q, want %q", got, want)
	}
}

// TestUnknownChannelsAreKeptAsWell: a client that loads its rows and then
// subscribes misses what is sent in between.
func TestUnknownChannelsAreKeptAsWell(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7))
	r.caughtUp()
	r.occupy(userChannel(7), map[int]todo{}) // it had loaded before the change
	r.poll()
	eventually(t, "the channel is active", func() bool { return r.isActive(7) })
	r.caughtUp()
	r.same(7)
}

// TestServerThatRestarts takes what was queued before its clients are back:
// they get it when they are seen again.
func TestServerThatRestarts(t *testing.T) {
	r := newRig(t)
	r.cfg.Lease = time.Hour
	r.subscribe(7)
	r.start()
	r.poll()
	r.commit(put(1, 7))
	r.caughtUp()
	r.same(7)
	had := r.has(7)
	r.unsubscribe(7)
	down := &pusher.Error{Op: "publish", Class: pusher.Unsent, Message: "connection refused"}
	r.onAnswer(func(context.Context, []pusher.Event) (bool, error) { return false, down })
	r.broken <- down
	r.commit(put(1, 7), put(2, 7))
	eventually(t, "a request has failed", func() bool { return !r.relay.Status().Publishing })
	r.onAnswer(nil)
	eventually(t, "the server has taken it, and told nobody", func() bool { return len(r.on(userChannel(7))) == 3 })
	r.occupy(userChannel(7), had)
	eventually(t, "the client has it", func() bool {
		select {
		case r.polls <- struct{}{}: // one that was begun before the last failure proves nothing
		default:
		}
		return len(r.has(7)) == 2
	})
	r.caughtUp()
	r.same(7)
}
