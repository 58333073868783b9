package relay

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
)

// TestDetourKeepsMessages: what is put comes out, in order, while more is put.
func TestDetourKeepsMessages(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	d := newDetour(t.TempDir())
	owners := []acknowledger{&owned{}, settledElsewhere{}, &owned{}}
	var put []*message
	taken := 0
	take := func() {
		t.Helper()
		m, err := d.first()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(m, put[taken]) {
			t.Fatalf("message %d came out as\n%+v, it was put as\n%+v", taken, m, put[taken])
		}
		if !d.concerns(m) {
			t.Fatal("a message that is there concerns nobody")
		}
		if err := d.drop(); err != nil {
			t.Fatal(err)
		}
		taken++
	}
	for i := range 5000 {
		m := &message{
			Event: pusher.Event{Name: "e", Channels: []string{fmt.Sprint("a", i), "b"}, Data: make([]byte, random.IntN(1000))},
			id:    harmonic.NewID(harmonic.Seq(i), 1), operation: harmonic.Update, table: "todos@one", key: fmt.Sprint(i),
			owner: owners[random.IntN(3)], committed: random.Uint64(), kept: i%2 == 0,
		}
		switch random.IntN(4) {
		case 0:
			m.Data, m.misfit = nil, fmt.Errorf("too large: %d", i)
		case 1:
			m.streams = []mapping.ScopeKey{"user:1", "team:2"}
		case 2:
			m.streams = []mapping.ScopeKey{}
		}
		put = append(put, m)
		if err := d.put(m); err != nil {
			t.Fatal(err)
		}
		for range random.IntN(3) {
			if taken < len(put) && i > 1000 {
				take()
			}
		}
	}
	for taken < len(put) {
		take()
	}
	if !d.empty() || len(d.channels)+len(d.owners)+len(d.misfits) > 0 || d.in.file != nil || d.out.file != nil {
		t.Errorf("something is left: %+v", d)
	}
	if m, err := d.first(); m != nil || err != nil {
		t.Errorf("after the last message came %v, %v", m, err)
	}
}

// TestDetourIsBounded: beyond a size, who has much to send waits, and goes on
// when there is room again.
func TestDetourIsBounded(t *testing.T) {
	qm := newQueueModel(t, pusher.Packing{Items: 4, Bytes: math.MaxInt, Spread: 1})
	qm.tight()
	qm.q.detour.limit = 1000
	owner := bulky()
	for n := 0; !qm.q.detour.full(); n++ {
		if n > 100 {
			t.Fatal("the detour is never full")
		}
		qm.push(owner, []string{"a"}, 100)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	next := &message{Event: pusher.Event{Name: "e", Channels: []string{"a"}, Data: []byte("x")}, owner: bulky()}
	if err := qm.q.reserve(ctx, next.Event, []*message{next}); err == nil {
		t.Fatal("there was room for more")
	}
	waits := make(chan error)
	go func() { waits <- qm.q.reserve(t.Context(), next.Event, []*message{next}) }()
	for qm.q.detour.full() {
		qm.take()
		qm.finish(0)
	}
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	qm.q.release(next)
	qm.drain()
}

// TestQueueGoesOnBesideADetour: what is of others does not wait for an import of
// which there is more than the queue has room for; what is for one of its
// channels does.
func TestQueueGoesOnBesideADetour(t *testing.T) {
	qm := newQueueModel(t, pusher.Packing{Items: 4, Bytes: math.MaxInt, Spread: 1})
	qm.tight()
	imported := &owned{}
	const rows = 3 * bulkAfter
	for i := range rows {
		qm.push(imported, []string{fmt.Sprint("import ", i%3)}, 10)
		if imported.added <= bulkAfter { // those need room
			qm.take()
			qm.finish(0)
		}
	}
	if qm.q.detour.empty() {
		t.Fatal("nothing has taken a detour")
	}
	live, behind := &owned{}, &owned{}
	qm.push(behind, []string{"import 1"}, 10)
	qm.push(live, []string{"live"}, 10)
	requests := 0
	for live.pending > 0 {
		if !qm.take() {
			t.Fatal("the live message was not handed out")
		}
		qm.finish(0)
		requests++
	}
	if requests > 3 || behind.pending == 0 || imported.pending < rows-bulkAfter-12 {
		t.Errorf("before the live message were %d requests; %d of the import are left, %d behind it", requests-1, imported.pending, behind.pending)
	}
	qm.drain()
}

// TestImportLetsLaterTransactionsThrough: an import of more than the queue has
// room for, to a server that does not answer, does not stand before what is
// committed after it for others.
func TestImportLetsLaterTransactionsThrough(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.subscribe(7)
	r.subscribe(8)
	r.start()
	r.poll()
	answer := make(chan struct{})
	r.onAnswer(func(ctx context.Context, events []pusher.Event) (bool, error) {
		if !slices.ContainsFunc(events, func(e pusher.Event) bool { return slices.Contains(e.Channels, userChannel(7)) }) {
			return true, nil
		}
		select {
		case <-answer:
			return true, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	})
	const size = 4096
	var rows []todo
	for id := range queueBytes/size + 100 {
		rows = append(rows, big(id+1, 7, size))
	}
	r.commit(rows...)
	r.commit(put(len(rows)+1, 8))
	r.commit(put(len(rows)+1, 7))
	eventually(t, "the other client has its row", func() bool { return len(r.on(userChannel(8))) > 0 })
	if got := r.on(userChannel(7)); len(got) > 0 {
		t.Errorf("the import was told of as well: %q", got)
	}
	if got := r.saved(); got != "" && got != position(0).String() {
		t.Errorf("the checkpoint is %s, past what was not answered", got)
	}
	close(answer)
	r.caughtUp()
	r.same(7)
	r.same(8)
}
