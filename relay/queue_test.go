package relay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/semaphore"

	"github.com/chorusd/chorusd/pusher"
)

// testPackings are those of servers without a limit of bytes, with a tight one,
// and of those where events of several channels may go into batches.
var testPackings = []pusher.Packing{
	{Items: 4, Bytes: math.MaxInt, Spread: 1},
	{Items: 4, Bytes: 300, Spread: 1},
	{Items: 4, Bytes: math.MaxInt, Spread: 3},
	{Items: 5, Bytes: 400, Spread: 4},
	{Items: 1, Bytes: math.MaxInt, Spread: 1},
}

// queueModel drives a queue and holds everything it does against the rules.
type queueModel struct {
	t      *testing.T
	q      *queue
	pushed int
	owners map[*owned]bool
	room   int64
	// unsent are the messages of each channel that were not handed out, in order.
	unsent   map[string][]int
	inFlight [][]*message
	requests int
	quick    bool // check nothing of the queue itself
}

func newQueueModel(t *testing.T, packing pusher.Packing) *queueModel {
	return &queueModel{t: t, q: newQueue(packing, t.TempDir()), room: queueBytes, owners: map[*owned]bool{}, unsent: map[string][]int{}}
}

func number(m *message) int {
	n, err := strconv.Atoi(m.key)
	if err != nil {
		panic(err)
	}
	return n
}

// owned counts what is added and acknowledged.
type owned struct{ pending, added int }

func (o *owned) add() int {
	o.pending++
	o.added++
	return o.added
}

func (o *owned) ack() { o.pending-- }

// bulky has added much already.
func bulky() *owned { return &owned{added: bulkAfter} }

// tight leaves room for a few messages only.
func (qm *queueModel) tight() {
	qm.q.room, qm.q.bulk = semaphore.NewWeighted(tightBytes), semaphore.NewWeighted(tightBytes/2)
	qm.room = tightBytes
}

const tightBytes = 8 * messageOverhead

func (qm *queueModel) push(owner *owned, channels []string, size int) {
	m := &message{Event: pusher.Event{Name: "e", Channels: channels, Data: make([]byte, size)}, key: strconv.Itoa(qm.pushed), owner: owner}
	for i := range m.Data {
		m.Data[i] = 'x'
	}
	qm.owners[owner] = true
	if owner.added < bulkAfter { // it has to have room in memory
		if !qm.q.room.TryAcquire(weight(m.Event, 1)) {
			return // full, as it should be with so much in it
		}
		qm.q.room.Release(weight(m.Event, 1))
	}
	if err := qm.q.reserve(qm.t.Context(), m.Event, []*message{m}); err != nil {
		qm.t.Fatal(err)
	}
	for _, name := range channels {
		qm.unsent[name] = append(qm.unsent[name], qm.pushed)
	}
	qm.pushed++
	qm.q.push(m)
	qm.check()
}

// take hands out a batch, if there is one, and checks it.
func (qm *queueModel) take() bool {
	qm.t.Helper()
	batch, _, err := qm.q.take()
	if err != nil {
		qm.t.Fatal(err)
	}
	if batch == nil {
		return false
	}
	qm.requests++
	busy := map[string]bool{}
	for _, b := range qm.inFlight {
		for _, name := range channelsOf(b) {
			busy[name] = true
		}
	}
	items, bytes := 0, 0
	for _, m := range batch {
		n := number(m)
		items += len(m.Channels)
		bytes += len(m.Channels) * m.ItemBytes()
		if !qm.q.packing.Shares(m.Event) && len(batch) > 1 {
			qm.t.Errorf("message %d for %d channels is in a batch with others", n, len(m.Channels))
		}
		for _, name := range m.Channels {
			bytes += len(name)
			if busy[name] {
				qm.t.Errorf("message %d: another request is in flight on %s", n, name)
			}
			if line := qm.unsent[name]; len(line) == 0 || line[0] != n {
				qm.t.Fatalf("message %d on %s was handed out, next are %v", n, name, line)
			}
			qm.unsent[name] = qm.unsent[name][1:]
		}
	}
	if p := qm.q.packing; len(batch) > 1 && (items > p.Items || bytes > p.Bytes) {
		qm.t.Errorf("a batch of %d items and %d bytes, at most %d and %d are allowed", items, bytes, p.Items, p.Bytes)
	}
	qm.inFlight = append(qm.inFlight, batch)
	qm.check()
	return true
}

func (qm *queueModel) finish(i int) {
	batch := qm.inFlight[i]
	qm.inFlight = slices.Delete(qm.inFlight, i, i+1)
	for _, m := range batch {
		m.owner.ack()
	}
	qm.q.finish(batch)
	qm.check()
}

// check looks at what the queue holds.
func (qm *queueModel) check() {
	qm.t.Helper()
	if qm.quick {
		return
	}
	pending := 0
	for o := range qm.owners {
		pending += o.pending
	}
	if got := qm.q.depth(); got != pending {
		qm.t.Fatalf("depth is %d, %d messages are unfinished", got, pending)
	}
	for _, f := range qm.q.ready.ring {
		if len(f.messages) == 0 || qm.q.ready.flows[f.owner] != f {
			qm.t.Fatal("somebody has a turn who has nothing to send")
		}
		for _, m := range f.messages {
			if m.waiting != 0 {
				qm.t.Fatalf("message %s is ready and waits for %d channels", m.key, m.waiting)
			}
		}
	}
	for _, l := range qm.q.lines {
		for _, m := range l.messages {
			if m.waiting < 0 {
				qm.t.Fatalf("message %s waits for %d channels", m.key, m.waiting)
			}
		}
	}
	// Whoever has nothing in flight can always go on.
	if len(qm.inFlight) == 0 && qm.q.depth() > 0 && len(qm.q.ready.ring) == 0 {
		qm.t.Fatal("nothing is in flight, and nothing can be sent")
	}
}

// drain sends and finishes everything and checks that nothing is left.
func (qm *queueModel) drain() {
	qm.t.Helper()
	for qm.take() || len(qm.inFlight) > 0 {
		if len(qm.inFlight) > 0 {
			qm.finish(len(qm.inFlight) - 1)
		}
	}
	for name, numbers := range qm.unsent {
		if len(numbers) > 0 {
			qm.t.Errorf("%v were not handed out on %s", numbers, name)
		}
	}
	if qm.q.depth() != 0 {
		qm.t.Errorf("%d messages are left", qm.q.depth())
	}
	if !qm.q.room.TryAcquire(qm.room) {
		qm.t.Error("room was not given back")
	}
}

// run reads a program, one byte an operation.
func (qm *queueModel) run(program []byte) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	owners := []*owned{{}, {}, bulky()}
	for len(program) > 0 && !qm.t.Failed() {
		op := program[0]
		program = program[1:]
		switch {
		case op < 128: // the bits say which channels
			var channels []string
			for i, name := range names {
				if op>>i&1 == 1 {
					channels = append(channels, name)
				}
			}
			if len(channels) == 0 {
				channels = names[:1]
			}
			size := 10
			if op >= 64 {
				size = 60
			}
			qm.push(owners[qm.pushed%len(owners)], channels, size)
		case op < 192:
			qm.take()
		case len(qm.inFlight) > 0:
			qm.finish(int(op) % len(qm.inFlight))
		}
	}
	qm.drain()
	for i, o := range owners {
		if o.pending != 0 {
			qm.t.Errorf("owner %d waits for %d", i, o.pending)
		}
	}
	if !qm.q.detour.empty() || len(qm.q.detour.channels)+len(qm.q.detour.owners) > 0 {
		qm.t.Error("something is left on the detour")
	}
}

func TestQueueKeepsItsRules(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 500 {
		program := make([]byte, random.IntN(400))
		few := random.IntN(2) == 0
		for i := range program {
			program[i] = byte(random.Uint32())
			if few && program[i] < 128 { // mostly one channel each, to fill batches
				program[i] = 1 << random.IntN(3)
			}
		}
		packing := testPackings[n%len(testPackings)]
		qm := newQueueModel(t, packing)
		if n%2 == 0 {
			qm.tight()
		}
		qm.run(program)
		if t.Failed() {
			t.Fatalf("the program for %+v was %v", packing, program)
		}
	}
}

func FuzzQueue(f *testing.F) {
	f.Add(byte(0), []byte{1, 1, 1, 3, 2, 128, 192, 128, 192})
	f.Add(byte(2), []byte{63, 1, 2, 63, 128, 128, 192, 128, 128})
	f.Add(byte(3), []byte{65, 67, 65, 7, 128, 192})
	f.Add(byte(128), []byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 128, 192, 128, 192})
	f.Fuzz(func(t *testing.T, packing byte, program []byte) {
		qm := newQueueModel(t, testPackings[int(packing)%len(testPackings)])
		if packing > 127 {
			qm.tight()
		}
		qm.run(program)
	})
}

func TestQueueFillsBatchesInOrderOfAChannel(t *testing.T) {
	qm := newQueueModel(t, testPackings[0])
	for range 6 {
		qm.push(&owned{}, []string{"a"}, 1)
	}
	qm.push(&owned{}, []string{"a", "b"}, 1)
	qm.push(&owned{}, []string{"c"}, 1)
	qm.take()
	if got := len(qm.inFlight[0]); got != 4 {
		t.Errorf("a batch of %d, want 4", got)
	}
	qm.take()
	if got := qm.inFlight[1]; len(got) != 1 || got[0].Channels[0] != "c" {
		t.Errorf("beside it %v is in flight, want only the message for c", got)
	}
	if qm.take() {
		t.Error("a third request was started, although all others wait for the first")
	}
	qm.drain()
}

// TestQueueLooksPastWhatDoesNotFit: a batch is filled by what comes behind, and
// what had no room comes next.
func TestQueueLooksPastWhatDoesNotFit(t *testing.T) {
	qm := newQueueModel(t, pusher.Packing{Items: 4, Bytes: 300, Spread: 1})
	for _, m := range []struct {
		channels []string
		size     int
	}{{[]string{"a"}, 100}, {[]string{"b"}, 150}, {[]string{"c", "d"}, 10}, {[]string{"e"}, 50}, {[]string{"f"}, 40}} {
		qm.push(&owned{}, m.channels, m.size)
	}
	var got []string
	for qm.take() {
		got = append(got, fmt.Sprint(channelsOf(qm.inFlight[len(qm.inFlight)-1])))
	}
	if want := []string{"[a e]", "[b f]", "[c d]"}; !slices.Equal(got, want) {
		t.Errorf("the requests were for %q, want %q", got, want)
	}
	qm.drain()
}

// TestQueueSendsInParts: a message may begin in one batch and end in the next,
// and on each channel keeps its place.
func TestQueueSendsInParts(t *testing.T) {
	qm := newQueueModel(t, pusher.Packing{Items: 4, Bytes: math.MaxInt, Spread: 3})
	owner := &owned{}
	qm.push(owner, []string{"a", "b", "c"}, 10)
	qm.push(owner, []string{"d", "e", "f"}, 10)
	qm.push(owner, []string{"d"}, 10)
	qm.push(owner, []string{"f"}, 10)
	qm.take()
	if got := fmt.Sprint(channelsOf(qm.inFlight[0])); got != "[a b c d]" || owner.pending != 5 {
		t.Errorf("the first request is for %s, and %d messages are waited for, want five and [a b c d]", got, owner.pending)
	}
	qm.take()
	if got := fmt.Sprint(channelsOf(qm.inFlight[1])); got != "[e f]" {
		t.Errorf("the second request is for %s, want [e f]", got)
	}
	qm.drain()
	if owner.pending != 0 {
		t.Errorf("%d messages are waited for", owner.pending)
	}
}

// TestQueueMakesFewRequests: as few as there can be, where no two messages have
// a channel in common.
func TestQueueMakesFewRequests(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	packings := append(slices.Clone(testPackings), pusher.Packing{Items: 10, Bytes: math.MaxInt, Spread: 9}, pusher.Packing{Items: 100, Bytes: 9500, Spread: 1})
	for n := range 70 {
		packing := packings[n%len(packings)]
		qm := newQueueModel(t, packing)
		qm.quick = true
		alone, items, bytes := 0, 0, 0
		large := min(1000, packing.Bytes/8) // of which a few go into a request
		for i := range 1 + random.IntN(400) {
			channels := make([]string, 1+random.IntN(12)*random.IntN(2))
			for j := range channels {
				channels[j] = fmt.Sprint(1000+i, ".", 10+j)
			}
			e := pusher.Event{Name: "e", Channels: channels, Data: make([]byte, 1+random.IntN(large))}
			if !packing.Shares(e) {
				alone++
			} else {
				size := len(channels) * (len(channels[0]) + pusher.Event{Name: "e", Data: []byte(strings.Repeat("x", len(e.Data)))}.ItemBytes())
				items, bytes = items+len(channels), bytes+size
			}
			qm.push(&owned{}, channels, len(e.Data))
		}
		qm.drain()
		least := alone + max((items+packing.Items-1)/packing.Items, (bytes+packing.Bytes-1)/packing.Bytes)
		if most := least + max(1, least/20); qm.requests > most {
			t.Errorf("%+v: %d requests, %d are possible", packing, qm.requests, least)
		}
	}
}

// TestQueueTakesTurns: what is not of an import does not wait for all of it.
func TestQueueTakesTurns(t *testing.T) {
	for name, channels := range map[string]int{"one channel": 1, "many channels": 1000} {
		t.Run(name, func(t *testing.T) {
			qm := newQueueModel(t, pusher.Packing{Items: 10, Bytes: math.MaxInt, Spread: 1})
			qm.quick = true
			imported, refill := &owned{}, &owned{}
			for i := range 2000 {
				qm.push(imported, []string{fmt.Sprint("import ", i%channels)}, 100)
			}
			for i := range 200 {
				qm.push(refill, []string{fmt.Sprint("refill ", i%2)}, 100)
			}
			qm.push(&owned{}, []string{"live"}, 100)
			for before := 0; ; before++ {
				if !qm.take() {
					t.Fatal("the live message was not handed out")
				}
				if slices.Contains(channelsOf(qm.inFlight[0]), "live") {
					break
				}
				if before == 2 {
					t.Fatal("three requests go before a live message")
				}
				qm.finish(0)
			}
			qm.drain()
		})
	}
}

// TestQueueForgetsEmptyLines: a channel that is gone takes no memory for ever,
// and one that waits is not forgotten.
func TestQueueForgetsEmptyLines(t *testing.T) {
	q := newQueue(pusher.Packing{Items: 1, Bytes: math.MaxInt, Spread: 1}, t.TempDir())
	q.most = 10
	send := func(name string) *message {
		m := &message{Event: pusher.Event{Channels: []string{name}}, owner: settledElsewhere{}}
		if err := q.reserve(t.Context(), m.Event, []*message{m}); err != nil {
			t.Fatal(err)
		}
		q.push(m)
		return m
	}
	first := send("first")
	inFlight, _, _ := q.take()
	waits := send("first")
	for i := range linesKept {
		send(strconv.Itoa(i))
		finishNext(q)
	}
	for i := range 20 {
		send("again " + strconv.Itoa(i))
		finishNext(q)
	}
	if n := len(q.lines); n > linesKept {
		t.Errorf("%d lines are kept", n)
	}
	if inFlight[0] != first || waits.waiting != 1 {
		t.Fatal("the second message of a channel does not wait for the first")
	}
	q.finish(inFlight)
	if next, _, _ := q.take(); len(next) != 1 || next[0] != waits {
		t.Errorf("after the first message came %v", next)
	}
}

func TestQueueLetsOneLargerThanItselfInAlone(t *testing.T) {
	q := newQueue(pusher.Packing{Items: 1, Bytes: math.MaxInt, Spread: 1}, t.TempDir())
	large := pusher.Event{Data: make([]byte, 2*queueBytes)}
	if err := q.reserve(t.Context(), large, []*message{{owner: settledElsewhere{}}}); err != nil {
		t.Fatal(err)
	}
	full, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.reserve(full, pusher.Event{}, []*message{{owner: settledElsewhere{}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("beside it room was found: %v", err)
	}
	q.room.Release(weight(large, 1))
	if !q.room.TryAcquire(queueBytes) {
		t.Error("room was not given back")
	}
}

// TestQueueWithWorkers has several goroutines push and finish at once.
func TestQueueWithWorkers(t *testing.T) {
	const messages, workers = 5000, 8
	q := newQueue(testPackings[0], t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	got := map[string][]int{}
	flying := map[string]bool{}
	total := 0
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				batch, _, err := q.next(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				for _, name := range channelsOf(batch) {
					if flying[name] {
						t.Errorf("two requests are in flight on %s", name)
					}
					flying[name] = true
				}
				for _, m := range batch {
					for _, name := range m.Channels {
						got[name] = append(got[name], number(m))
					}
				}
				mu.Unlock()
				mu.Lock() // others run in between
				for _, name := range channelsOf(batch) {
					flying[name] = false
				}
				q.finish(batch)
				if total += len(batch); total == messages {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	random := rand.New(rand.NewPCG(3, 4))
	want := map[string][]int{}
	for i := range messages {
		channels := []string{fmt.Sprint("user", random.IntN(20))}
		if random.IntN(4) == 0 {
			channels = append(channels, "shared")
		}
		event := pusher.Event{Channels: channels, Data: make([]byte, 20)}
		m := &message{Event: event, key: strconv.Itoa(i), owner: settledElsewhere{}}
		if err := q.reserve(t.Context(), event, []*message{m}); err != nil {
			t.Fatal(err)
		}
		for _, name := range channels {
			want[name] = append(want[name], i)
		}
		q.push(m)
	}
	group.Wait()
	for name := range want {
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("%s got its messages in another order, or not all", name)
		}
	}
}

// finishNext has the next request made.
func finishNext(q *queue) {
	batch, _, _ := q.take()
	q.finish(batch)
}

func channelsOf(batch []*message) []string {
	var names []string
	for _, m := range batch {
		names = append(names, m.Channels...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func BenchmarkQueue(b *testing.B) {
	for _, channels := range []int{1, 1000} {
		b.Run(fmt.Sprintf("channels=%d", channels), func(b *testing.B) {
			q := newQueue(pusher.Packing{Items: 10, Bytes: math.MaxInt, Spread: 1}, b.TempDir())
			names := make([][]string, channels)
			for i := range names {
				names[i] = []string{"private-chorus.user." + strconv.Itoa(i)}
			}
			data := make([]byte, 200)
			ctx := context.Background()
			b.ReportAllocs()
			for i := range b.N {
				event := pusher.Event{Channels: names[i%channels], Data: data}
				m := &message{Event: event, owner: settledElsewhere{}}
				if err := q.reserve(ctx, event, []*message{m}); err != nil {
					b.Fatal(err)
				}
				q.push(m)
				for q.depth() >= 1000 {
					finishNext(q)
				}
			}
		})
	}
}
