package relay

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

func TestErrorOfTheSourceEndsTheRelay(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7))
	r.caughtUp()
	broken := errors.New("the log is broken")
	r.end(broken)
	if err := <-r.done; !errors.Is(err, broken) {
		t.Errorf("the relay ended with %v, want %v", err, broken)
	}
}

// TestStopPublishesWhatWasRead: what was read before the word to stop is
// published, and the checkpoint is behind it.
func TestStopPublishesWhatWasRead(t *testing.T) {
	r := newRig(t)
	pass := make(chan struct{})
	r.onAnswer(func(ctx context.Context, _ []pusher.Event) (bool, error) {
		select {
		case <-pass:
			return true, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	})
	r.start()
	const transactions = 50
	for n := range transactions {
		r.commit(put(n, 7))
	}
	eventually(t, "all is read", func() bool {
		r.relay.mu.Lock()
		defer r.relay.mu.Unlock()
		return r.relay.tail.Offset == transactions
	})
	stopped := make(chan error)
	go func() { stopped <- r.stop() }()
	close(pass)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if got := len(r.on(userChannel(7))); got != transactions {
		t.Errorf("%d of %d were published", got, transactions)
	}
	if got := r.checkpoint().Position; got != position(transactions).String() {
		t.Errorf("the checkpoint is at %s", got)
	}
}

// TestStopWithADeadServer ends in time, and the checkpoint stays before what
// was not published.
func TestStopWithADeadServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.onListing(nil)
	r.start()
	r.commit(put(1, 7))
	r.caughtUp()
	r.onAnswer(func(ctx context.Context, _ []pusher.Event) (bool, error) {
		<-ctx.Done() // as a request that hangs
		return false, &pusher.Error{Class: pusher.Unknown, Err: ctx.Err()}
	})
	r.onListing(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	r.commit(put(2, 8), shared(3, 3))
	eventually(t, "it is read", func() bool {
		r.relay.mu.Lock()
		defer r.relay.mu.Unlock()
		return r.relay.tail.Offset == 2
	})
	start := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	const most = 10 * time.Second
	if took := time.Since(start); took > most {
		t.Errorf("it took %s", took)
	}
	if got := r.checkpoint().Position; got != position(1).String() {
		t.Errorf("the checkpoint is at %s", got)
	}
}

func TestStopInTheMiddleOfATransaction(t *testing.T) {
	r := newRig(t)
	r.start()
	reached, open := r.gate("change 0.1")
	defer open()
	r.commit(put(1, 7), put(2, 7))
	<-reached
	eventually(t, "the first change is published", func() bool { return len(r.on(userChannel(7))) == 1 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := r.checkpoint().Position; got != position(0).String() {
		t.Errorf("the checkpoint is at %s, inside of a transaction", got)
	}
	r.onStep(nil)
	r.start()
	r.caughtUp()
	want := []string{"create 1 v1", "create 1 v1", "create 2 v2"}
	if got := r.on(userChannel(7)); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if a, b := r.delivered[0].ID, r.delivered[1].ID; a != b {
		t.Errorf("the repeat has id %s, the first had %s", b, a)
	}
}

// TestStopFinishesTheOpenTransaction, so that nothing of it comes twice.
func TestStopFinishesTheOpenTransaction(t *testing.T) {
	r := newRig(t)
	r.start()
	reached, open := r.gate("change 0.1")
	defer open()
	r.commit(put(1, 7), put(2, 7))
	r.commit(put(3, 7))
	<-reached
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	eventually(t, "it is told to stop", func() bool {
		r.relay.mu.Lock()
		defer r.relay.mu.Unlock()
		return r.relay.ending
	})
	open()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if got := r.checkpoint().Position; got != position(1).String() {
		t.Errorf("the checkpoint is at %s, want it after the first transaction", got)
	}
	r.onStep(nil)
	r.start()
	r.caughtUp()
	want := []string{"create 1 v1", "create 2 v2", "create 3 v3"}
	if got := r.on(userChannel(7)); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// TestLostCheckpointEndsTheRelay: where to go on is then for a person to say.
func TestLostCheckpointEndsTheRelay(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7))
	eventually(t, "a checkpoint is saved", func() bool { return r.saved() != "" })
	other := r.open()
	defer other.Close()
	if _, err := other.LoadCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.SaveCheckpoint(t.Context(), redisstate.Checkpoint{Position: position(9).String()}); err != nil {
		t.Fatal(err)
	}
	r.commit(put(2, 7))
	if err := <-r.done; !errors.Is(err, redisstate.ErrCheckpointConflict) {
		t.Errorf("the relay ended with %v, want %v", err, redisstate.ErrCheckpointConflict)
	}
}

// TestIDsRiseAcrossTransactions: in commit order, above the time of the
// commit, one for each harmonic.
func TestIDsRiseAcrossTransactions(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7), put(2, 8))
	r.commit(put(1, 8)) // a delete for 7, a create for 8
	r.caughtUp()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(r.delivered, func(a, b delivery) int { return slices.Compare(a.ID[:], b.ID[:]) })
	at := uint64(epochTime.UnixMicro())
	want := []struct {
		what string
		seq  uint64
	}{
		{"chorus.user.7 create 1 v1", at},
		{"chorus.user.8 create 2 v2", at + 1},
		{"chorus.user.7 delete 1 v1", at + 1000},
		{"chorus.user.8 create 1 v3", at + 1001},
	}
	if len(r.delivered) != len(want) {
		t.Fatalf("delivered %v", r.delivered)
	}
	for i, w := range want {
		d := r.delivered[i]
		if d.String() != w.what || uint64(d.ID.Seq()) != w.seq || d.ID.Generation() != testGeneration {
			t.Errorf("delivered %s with seq %d, want %s with %d", d, d.ID.Seq(), w.what, w.seq)
		}
	}
	if got := r.checkpoint().LastSeq; got != at+1001 {
		t.Errorf("the checkpoint has the last position %d, want %d", got, at+1001)
	}
	store := r.open()
	defer store.Close()
	if issued, err := store.IssuedSeq(t.Context()); err != nil || issued < at+1001 {
		t.Errorf("positions up to %d were reserved, %v; %d was issued", issued, err, at+1001)
	}
}
