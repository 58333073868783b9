package relay

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFirstSightingIsRefilled(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	r.commit(put(1, 7), put(2, 7), put(3, 8))
	r.commit(put(1, 7))
	r.commit(del(2))
	r.caughtUp()
	if got := r.on(userChannel(7)); len(got) != 0 {
		t.Fatalf("published to an inactive channel: %v", got)
	}
	// The client has loaded its rows, then more changes, then a poll sees it.
	r.subscribe(7)
	r.commit(put(1, 7), put(4, 7), del(3))
	r.caughtUp()
	r.poll()
	r.caughtUp()
	want := []string{"update 1 v5", "delete 2 ", "update 4 v6"}
	if got := r.on(userChannel(7)); !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("refilled with %q, want %q", got, want)
	}
	r.same(7)
	// From here on its changes go to it at once, and nothing is left to refill.
	r.commit(put(1, 7))
	r.caughtUp()
	r.same(7)
	if left, err := r.store.Jobs(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("refills that are left: %v, %v", left, err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// TestWindowIsTrimmed: a record of longer ago than the last complete poll is
// not sent again.
func TestWindowIsTrimmed(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	r.commit(put(1, 7))
	r.caughtUp()
	r.poll()
	r.poll()
	r.commit(put(2, 7))
	r.caughtUp()
	r.subscribe(7)
	r.poll()
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"update 2 v2"}; !slices.Equal(got, want) {
		t.Errorf("refilled with %q, want %q", got, want)
	}
	if n := r.relay.window.size(); n > 1 {
		t.Errorf("the window holds %d records", n)
	}
}

// TestOvertakenRecordIsNotRefilled: what was read for a refill is older than
// an event that has gone to the channel since.
func TestOvertakenRecordIsNotRefilled(t *testing.T) {
	r, open := newHeldRefill(t, put(1, 7), put(2, 7))
	defer open()
	r.commit(put(1, 7)) // v3, after v1 was read
	eventually(t, "the change is published", func() bool { return len(r.on(userChannel(7))) == 1 })
	open()
	r.caughtUp()
	want := []string{"update 1 v3", "update 2 v2"}
	if got := r.on(userChannel(7)); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	r.same(7)
}

// TestChannelsOpenBetweenTransactions: one is not published to from the middle
// of a transaction on; it is refilled with what came before.
func TestChannelsOpenBetweenTransactions(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	_, pass := r.hold()
	transaction := []todo{put(1, 7)}
	for id := range 1000 { // more than the queue holds
		transaction = append(transaction, todo{ID: 10 + id, Team: 3, V: strings.Repeat("x", queueBytes/900)})
	}
	r.limits.DataBytes = queueBytes
	r.commit(append(transaction, put(2, 7))...)
	eventually(t, "the first row is kept and the queue is full", func() bool {
		return r.relay.window.size() > 0 && r.relay.queue.depth() > 800
	})
	r.subscribe(7)
	r.occupy(userChannel(7), map[int]todo{})
	r.polls <- struct{}{}
	eventually(t, "the poll is answered", func() bool { return r.relay.Status().Refills > 0 })
	if r.isActive(7) {
		t.Error("the channel was opened in the middle of a transaction")
	}
	pass()
	eventually(t, "the channel is active", func() bool { return r.isActive(7) })
	r.caughtUp()
	r.same(7)
}

// TestChannelThatComesBackDuringItsRefill: it lapses while the rows of its
// first refill are read, changes meanwhile, and comes back.
func TestChannelThatComesBackDuringItsRefill(t *testing.T) {
	r, open := newHeldRefill(t, put(1, 7), put(2, 7))
	defer open()
	r.unsubscribe(7)
	eventually(t, "the channel lapses", func() bool {
		r.poll()
		return !r.isActive(7)
	})
	r.commit(put(1, 7)) // nobody is there
	eventually(t, "it is kept", func() bool { at, _ := r.relay.ledger.settled(); return at == position(2).String() })
	r.subscribe(7)
	r.commit(put(2, 7))
	eventually(t, "it is kept, too", func() bool { at, _ := r.relay.ledger.settled(); return at == position(3).String() })
	r.poll()
	eventually(t, "the channel is back", func() bool { return r.isActive(7) })
	r.commit(put(3, 7))
	open()
	r.caughtUp()
	r.same(7)
	if left, err := r.store.Jobs(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("refills that are left: %v, %v", left, err)
	}
}

// TestRefillSurvivesARestart: its keys are in Redis until they were sent.
func TestRefillSurvivesARestart(t *testing.T) {
	r, open := newHeldRefill(t, put(1, 7), put(2, 7))
	defer open()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.onStep(nil)
	r.commit(put(2, 7))
	r.start()
	r.poll()
	r.caughtUp()
	r.same(7)
}

// TestRestartRefillsWhatLapsedChannelsMissed: when the relay ends, Redis may
// still have the lease of a channel for which it had begun to keep records.
func TestRestartRefillsWhatLapsedChannelsMissed(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	r.commit(put(1, 7))
	r.caughtUp()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	store := r.open()
	if err := store.RenewChannels(t.Context(), "poll", []string{userChannel(7)}, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	r.subscribe(7)
	r.occupy(userChannel(7), map[int]todo{}) // it had loaded before the change
	r.start()
	r.poll()
	r.caughtUp()
	r.same(7)
}

func TestLargeRefillGoesInChunks(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	var rows []todo
	for id := range 2*refillChunk + 1 {
		rows = append(rows, put(id, 7))
	}
	r.commit(rows...)
	r.caughtUp()
	r.subscribe(7)
	r.occupy(userChannel(7), map[int]todo{})
	r.poll()
	r.caughtUp()
	r.same(7)
	if len(r.reads) != 3 {
		t.Errorf("rows were read %d times, want 3", len(r.reads))
	}
}

// TestMovedRowIsRefilledAsADelete: a row that now belongs to another user is
// taken away from the one who missed the move.
func TestMovedRowIsRefilledAsADelete(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	r.commit(put(1, 7))
	r.caughtUp()
	r.poll()
	r.subscribe(7) // has row 1
	r.commit(put(1, 8))
	r.caughtUp()
	r.poll()
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"delete 1 "}; !slices.Equal(got, want) {
		t.Errorf("refilled with %q, want %q: the new owner's values are not for the old one", got, want)
	}
	r.same(7)
}

// TestRefusedRefillIsSetAside: one record that the server refuses does not
// keep the others from being refilled.
func TestRefusedRefillIsSetAside(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	r.commit(put(1, 7), big(2, 7, 20_000), put(3, 7))
	r.caughtUp()
	r.subscribe(7)
	r.poll()
	r.caughtUp()
	letters, err := r.store.DeadLetters(t.Context())
	if err != nil || len(letters) != 1 || letters[0].Key != "[2]" {
		t.Errorf("set aside: %v, %v; want record [2]", letters, err)
	}
	if got, want := r.on(userChannel(7)), []string{"update 1 v1", "pointer", "update 3 v2"}; !slices.Equal(got, want) {
		t.Errorf("refilled with %q, want %q", got, want)
	}
}

// TestRefillsThatWaitAreReplaced: a channel that comes and goes while refills
// are held up does not have them pile up.
func TestRefillsThatWaitAreReplaced(t *testing.T) {
	r, open := newHeldRefill(t, put(1, 7))
	defer open()
	for n := range 5 {
		had := r.has(7)
		r.unsubscribe(7)
		eventually(t, "the channel lapses", func() bool {
			r.poll()
			return !r.isActive(7)
		})
		r.commit(put(1, 7), put(2, 7))
		eventually(t, "it is kept", func() bool { at, _ := r.relay.ledger.settled(); return at == position(2+n).String() })
		r.occupy(userChannel(7), had)
		r.poll()
		eventually(t, "the channel is back", func() bool { return r.isActive(7) })
	}
	r.relay.mu.Lock()
	waiting, listed := len(r.relay.jobs), len(r.relay.listed)
	r.relay.mu.Unlock()
	if waiting != 1 || listed != 2 { // the one under way, and the newest
		t.Errorf("%d refills wait, %d are listed", waiting, listed)
	}
	open()
	r.caughtUp()
	r.same(7)
}

// TestRefillWaitsForTheTail: what it has read may be newer than changes that
// are still to come from the log, and must not go before them.
func TestRefillWaitsForTheTail(t *testing.T) {
	r := newRig(t)
	r.start()
	r.poll()
	r.commit(put(1, 7))
	r.caughtUp()
	reached, open := r.gate("change 1.0")
	defer open()
	r.commit(put(1, 7))
	r.commit(put(1, 7))
	<-reached
	r.subscribe(7)
	r.poll()
	eventually(t, "the rows are read", func() bool {
		r.world.mu.Lock()
		defer r.world.mu.Unlock()
		return len(r.reads) > 0
	})
	open()
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"update 1 v2", "update 1 v3"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// TestRefillHasWhatIsOnItsWayToTheWindow: a record that was kept for a channel
// a moment before it was seen.
func TestRefillHasWhatIsOnItsWayToTheWindow(t *testing.T) {
	r := newRig(t)
	r.store = r.open()
	defer r.store.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer cancel()
	relay := r.newRelay(r.cfg, r.store)
	relay.unknown, relay.complete, relay.epoch = false, 1, 2
	keeping.Go(func() { _ = relay.routeAll(ctx) })
	r.commit(put(1, 7))
	if err := relay.Change(ctx, &r.log[0][0]); err != nil {
		t.Fatal(err)
	}
	if err := relay.Commit(ctx, point(1)); err != nil {
		t.Fatal(err)
	}
	seen := make(chan error, 1)
	go func() { seen <- relay.see(ctx, "poll", []string{userChannel(7)}, time.Now()) }()
	r.relay = relay
	eventually(t, "the channel is active", func() bool { return r.isActive(7) })
	keeping.Go(func() { _ = relay.keepWindow(ctx) })
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	if len(relay.jobs) != 1 || len(relay.jobs[0].items) != 1 || relay.jobs[0].items[0].Key != "[1]" {
		t.Errorf("refills %+v, want one of record [1]", relay.jobs)
	}
}
