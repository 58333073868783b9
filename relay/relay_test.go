package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

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
	_, pass := r.hold()
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
	pass()
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

// TestStopInsideATransaction: nothing of one is published before its commit
// was read, so that a stop leaves all of it for the next start.
func TestStopInsideATransaction(t *testing.T) {
	r := newRig(t)
	r.start()
	reached, open := r.gate("change 1.1")
	defer open()
	r.commit(put(9, 7))
	r.commit(put(1, 7), put(2, 7))
	<-reached
	eventually(t, "the first transaction is settled", func() bool { at, _ := r.relay.ledger.settled(); return at == position(1).String() })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got, want := r.on(userChannel(7)), []string{"create 9 v1"}; !slices.Equal(got, want) {
		t.Errorf("published %q before the commit, want %q", got, want)
	}
	if got := r.checkpoint().Position; got != position(1).String() {
		t.Errorf("the checkpoint is at %s", got)
	}
	r.onStep(nil)
	r.start()
	r.caughtUp()
	want := []string{"create 9 v1", "create 1 v2", "create 2 v3"}
	if got := r.on(userChannel(7)); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// TestRecordsChangeOnceInATransaction: what is told of a record that changed
// several times is what it was before the transaction and is after it, at the
// place of its last change.
func TestRecordsChangeOnceInATransaction(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7), put(2, 7))
	r.commit(put(1, 8), put(3, 7), put(2, 7), put(4, 7), del(4), put(1, 7), del(3), del(2), put(2, 7))
	r.caughtUp()
	want := []string{"create 1 v1", "create 2 v2", "update 1 v7", "update 2 v8"}
	if got := r.on(userChannel(7)); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if got := r.on(userChannel(8)); len(got) != 0 {
		t.Errorf("user 8 got %q of a row that was never committed as theirs", got)
	}
}

// TestDeposedRelayEnds: when another one has taken over, nothing is changed any
// more by this one, nor published.
func TestDeposedRelayEnds(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7))
	eventually(t, "a checkpoint is saved", func() bool { return r.saved() != "" })
	other := r.open()
	defer other.Close()
	r.takeLead(other)
	if err := <-r.done; !errors.Is(err, redisstate.ErrDeposed) {
		t.Errorf("the relay ended with %v, want %v", err, redisstate.ErrDeposed)
	}
}

// TestRequestsWaitForTheLead: while another relay may publish nothing is
// published, and all of it after that, in order; when this one leads no more,
// it ends.
func TestRequestsWaitForTheLead(t *testing.T) {
	r := newRig(t)
	lead := &pausedLead{paused: true, changed: make(chan struct{})}
	r.lead = lead
	r.start()
	r.commit(put(1, 7))
	r.commit(put(1, 7))
	eventually(t, "the changes wait to be published", func() bool { return r.relay.queue.depth() == 2 })
	if s := r.relay.Status(); s.Ready() || s.Leading {
		t.Errorf("it says that it is ready: %v", s.Problems())
	}
	if got := r.on(userChannel(7)); len(got) > 0 {
		t.Errorf("%q was published", got)
	}
	lead.set(false, nil)
	r.caughtUp()
	if got, want := r.on(userChannel(7)), []string{"create 1 v1", "update 1 v2"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	lead.set(true, nil)
	r.commit(put(2, 7))
	lead.set(true, redisstate.ErrDeposed)
	if err := <-r.done; !errors.Is(err, redisstate.ErrDeposed) {
		t.Errorf("the relay ended with %v, want %v", err, redisstate.ErrDeposed)
	}
	if r.relay.Finished() {
		t.Error("it says that it has published everything")
	}
	if got := r.on(userChannel(7)); len(got) != 2 {
		t.Errorf("%q was published", got[2:])
	}
}

// pausedLead is a Leadership that holds when it is told to.
type pausedLead struct {
	mu      sync.Mutex
	paused  bool
	err     error
	changed chan struct{} // closed and renewed
}

func (l *pausedLead) set(paused bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused, l.err = paused, err
	renew(&l.changed)
}

func (l *pausedLead) Holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.paused && l.err == nil
}

func (l *pausedLead) Hold(ctx context.Context) error {
	for {
		l.mu.Lock()
		paused, err, changed := l.paused, l.err, l.changed
		l.mu.Unlock()
		if err != nil || !paused {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// TestRelayEndsWhenRedisIsEmptied: it is noticed although nothing is written.
func TestRelayEndsWhenRedisIsEmptied(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7))
	eventually(t, "a checkpoint is saved", func() bool { return r.saved() != "" })
	r.caughtUp()
	client := redis.NewClient(&redis.Options{Addr: r.redis.Addr, DB: r.redis.DB})
	defer client.Close()
	if err := client.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-r.done; !errors.Is(err, redisstate.ErrStateLost) {
		t.Errorf("the relay ended with %v, want %v", err, redisstate.ErrStateLost)
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
