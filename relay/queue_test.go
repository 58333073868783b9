package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/chorusd/chorusd/pusher"
)

// Bounds of the requests in these tests.
const (
	testBatch = 4
	testBytes = 100
)

var errDoesNotFit = errors.New("does not fit")

func fitsTestBytes(events []pusher.Event) error {
	size := 0
	for _, e := range events {
		size += len(e.Data)
	}
	if len(events) > 1 && size > testBytes {
		return errDoesNotFit
	}
	return nil
}

// queueModel drives a queue and holds everything it does against the rules.
type queueModel struct {
	t      *testing.T
	q      *queue
	pushed int
	// unsent are the messages of each channel that were not handed out, in order.
	unsent   map[string][]int
	inFlight [][]*message
	handed   map[int]bool
}

func newQueueModel(t *testing.T) *queueModel {
	return &queueModel{t: t, q: newQueue(fitsTestBytes, testBatch), unsent: map[string][]int{}, handed: map[int]bool{}}
}

func number(m *message) int {
	n, err := strconv.Atoi(m.key)
	if err != nil {
		panic(err)
	}
	return n
}

func (qm *queueModel) push(channels []string, size int) {
	m := &message{Event: pusher.Event{Channels: channels, Data: make([]byte, size)}, key: strconv.Itoa(qm.pushed)}
	if !qm.q.room.TryAcquire(weight(m.Event)) {
		return // full, as it should be with so much in it
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
	batch := qm.q.take()
	if batch == nil {
		return false
	}
	busy := map[string]bool{}
	for _, b := range qm.inFlight {
		for _, m := range b {
			for _, name := range m.Channels {
				busy[name] = true
			}
		}
	}
	if len(batch) > testBatch {
		qm.t.Errorf("a batch of %d, at most %d are allowed", len(batch), testBatch)
	}
	events := make([]pusher.Event, len(batch))
	for i, m := range batch {
		events[i] = m.Event
		n := number(m)
		if qm.handed[n] {
			qm.t.Errorf("message %d was handed out twice", n)
		}
		qm.handed[n] = true
		if len(m.Channels) > 1 && len(batch) > 1 {
			qm.t.Errorf("message %d for %d channels is in a batch with others", n, len(m.Channels))
		}
		for _, name := range m.Channels {
			if busy[name] {
				qm.t.Errorf("message %d: another request is in flight on %s", n, name)
			}
			if line := qm.unsent[name]; len(line) == 0 || line[0] != n {
				qm.t.Errorf("message %d on %s was handed out, next are %v", n, name, line)
			}
			qm.unsent[name] = qm.unsent[name][1:]
		}
	}
	if fitsTestBytes(events) != nil {
		qm.t.Error("a batch does not fit a request")
	}
	qm.inFlight = append(qm.inFlight, batch)
	qm.check()
	return true
}

func (qm *queueModel) finish(i int) {
	batch := qm.inFlight[i]
	qm.inFlight = slices.Delete(qm.inFlight, i, i+1)
	qm.q.finish(batch)
	qm.check()
}

// check looks at what the queue holds.
func (qm *queueModel) check() {
	qm.t.Helper()
	open := 0
	for _, b := range qm.inFlight {
		open += len(b)
	}
	if got, want := qm.q.depth(), qm.pushed-len(qm.handed)+open; got != want {
		qm.t.Fatalf("depth is %d, want %d", got, want)
	}
	for _, m := range qm.q.ready {
		if m.waiting != 0 {
			qm.t.Fatalf("message %s is ready and waits for %d channels", m.key, m.waiting)
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
	if len(qm.inFlight) == 0 && qm.pushed > len(qm.handed) && len(qm.q.ready) == 0 {
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
	if len(qm.handed) != qm.pushed {
		qm.t.Errorf("%d messages were handed out, %d pushed", len(qm.handed), qm.pushed)
	}
	if qm.q.depth() != 0 {
		qm.t.Errorf("%d messages are left", qm.q.depth())
	}
	if !qm.q.room.TryAcquire(queueBytes) {
		qm.t.Error("room was not given back")
	}
}

// run reads a program, one byte an operation.
func (qm *queueModel) run(program []byte) {
	names := []string{"a", "b", "c", "d", "e", "f"}
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
			qm.push(channels, size)
		case op < 192:
			qm.take()
		case len(qm.inFlight) > 0:
			qm.finish(int(op) % len(qm.inFlight))
		}
	}
	qm.drain()
}

func TestQueueKeepsItsRules(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		program := make([]byte, random.IntN(400))
		few := random.IntN(2) == 0
		for i := range program {
			program[i] = byte(random.Uint32())
			if few && program[i] < 128 { // mostly one channel each, to fill batches
				program[i] = 1 << random.IntN(3)
			}
		}
		newQueueModel(t).run(program)
		if t.Failed() {
			t.Fatalf("the program was %v", program)
		}
	}
}

func FuzzQueue(f *testing.F) {
	f.Add([]byte{1, 1, 1, 3, 2, 128, 192, 128, 192})
	f.Add([]byte{63, 1, 2, 63, 128, 128, 192, 128, 128})
	f.Add([]byte{65, 65, 65, 128, 192})
	f.Fuzz(func(t *testing.T, program []byte) { newQueueModel(t).run(program) })
}

func TestQueueFillsBatchesInOrderOfAChannel(t *testing.T) {
	qm := newQueueModel(t)
	for range 6 {
		qm.push([]string{"a"}, 1)
	}
	qm.push([]string{"a", "b"}, 1)
	qm.push([]string{"c"}, 1)
	qm.take()
	if got := len(qm.inFlight[0]); got != testBatch {
		t.Errorf("a batch of %d, want %d", got, testBatch)
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

// TestQueueForgetsEmptyLines: a channel that is gone takes no memory for ever,
// and one that waits is not forgotten.
func TestQueueForgetsEmptyLines(t *testing.T) {
	q := newQueue(fitsTestBytes, 1)
	q.most = 10
	send := func(name string) *message {
		m := &message{Event: pusher.Event{Channels: []string{name}}}
		if err := q.reserve(t.Context(), m.Event); err != nil {
			t.Fatal(err)
		}
		q.push(m)
		return m
	}
	first := send("first")
	inFlight := q.take()
	waits := send("first")
	for i := range linesKept {
		send(strconv.Itoa(i))
		q.finish(q.take())
	}
	for i := range 20 {
		send("again " + strconv.Itoa(i))
		q.finish(q.take())
	}
	if n := len(q.lines); n > linesKept {
		t.Errorf("%d lines are kept", n)
	}
	if inFlight[0] != first || waits.waiting != 1 {
		t.Fatal("the second message of a channel does not wait for the first")
	}
	q.finish(inFlight)
	if next := q.take(); len(next) != 1 || next[0] != waits {
		t.Errorf("after the first message came %v", next)
	}
}

func TestQueueLetsOneLargerThanItselfInAlone(t *testing.T) {
	q := newQueue(fitsTestBytes, 1)
	large := pusher.Event{Data: make([]byte, 2*queueBytes)}
	if err := q.reserve(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	full, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.reserve(full, pusher.Event{}); !errors.Is(err, context.Canceled) {
		t.Errorf("beside it room was found: %v", err)
	}
	q.room.Release(weight(large))
	if !q.room.TryAcquire(queueBytes) {
		t.Error("room was not given back")
	}
}

// TestQueueWithWorkers has several goroutines push and finish at once.
func TestQueueWithWorkers(t *testing.T) {
	const messages, workers = 5000, 8
	q := newQueue(fitsTestBytes, testBatch)
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
				batch, err := q.next(ctx)
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
		if err := q.reserve(t.Context(), event); err != nil {
			t.Fatal(err)
		}
		for _, name := range channels {
			want[name] = append(want[name], i)
		}
		q.push(&message{Event: event, key: strconv.Itoa(i)})
	}
	group.Wait()
	for name := range want {
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("%s got its messages in another order, or not all", name)
		}
	}
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
			q := newQueue(func([]pusher.Event) error { return nil }, 10)
			names := make([][]string, channels)
			for i := range names {
				names[i] = []string{"private-chorus.user." + strconv.Itoa(i)}
			}
			data := make([]byte, 200)
			ctx := context.Background()
			b.ReportAllocs()
			for i := range b.N {
				event := pusher.Event{Channels: names[i%channels], Data: data}
				if err := q.reserve(ctx, event); err != nil {
					b.Fatal(err)
				}
				q.push(&message{Event: event})
				for q.depth() >= 1000 {
					q.finish(q.take())
				}
			}
		})
	}
}
