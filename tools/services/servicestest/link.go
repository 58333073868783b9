package servicestest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Link is the network between a server and its client, on which faults can be
// made to happen: to all connections through it, until there is another one, or
// Heal. Bytes are bytes to it; package pushertest has faults of whole requests.
type Link struct {
	upstream string
	listener net.Listener
	running  sync.WaitGroup
	// life ends with the test.
	life context.Context //nolint:containedctx // connections outlive every call
	end  context.CancelFunc

	connections, broken atomic.Int64

	mu     sync.Mutex
	fault  fault
	faults int // how many there were
	wires  map[*wire]bool
}

// fault is what happens on a link. Its zero value is nothing.
type fault struct {
	cut, hold, lose bool
	number          int
	old             bool          // holds the connections alone that were there before it,
	more            int           // and so many more
	pause           time.Duration // before each piece of at most pieceSize
	after           func() int    // resets a connection after so many bytes
	over            chan struct{} // closed when it is over
}

// pieceSize is how many bytes a slow link passes on at a time.
const pieceSize = 4 << 10

// StartLink makes a link to the server at upstream, "host:port", that is there
// until the test ends.
func StartLink(tb testing.TB, upstream string) *Link {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	l := &Link{upstream: upstream, listener: listener, fault: fault{over: make(chan struct{})}, wires: map[*wire]bool{}}
	l.life, l.end = context.WithCancel(context.Background())
	l.running.Go(l.accept)
	tb.Cleanup(func() {
		l.end()
		_ = listener.Close()
		l.reset()
		l.running.Wait()
	})
	return l
}

// Addr is its host and port, for the client to connect to.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Connections is how many were made through it so far.
func (l *Link) Connections() int { return int(l.connections.Load()) }

// Broken is how many connections BreakAfter has reset so far.
func (l *Link) Broken() int { return int(l.broken.Load()) }

// Cut resets all connections, and each new one at once.
func (l *Link) Cut() {
	l.set(fault{cut: true})
	l.reset()
}

// Hold lets nothing pass, and says so to nobody. What is sent meanwhile, and
// that a connection is closed, arrives afterwards: a network that is down for a
// while.
func (l *Link) Hold() { l.set(fault{hold: true}) }

// HoldSome does the same to the connections that there are, and to so many more.
// Others pass, so that what is held arrives later than what was sent after it.
func (l *Link) HoldSome(more int) { l.set(fault{hold: true, old: true, more: more}) }

// Lose loses what is sent. Of a connection on which that has happened, neither
// end ever hears again, also not that it is closed: it is half-open, as behind
// a router that has forgotten it.
func (l *Link) Lose() { l.set(fault{lose: true}) }

// Slow passes on little at a time, with a pause before.
func (l *Link) Slow(pause time.Duration) { l.set(fault{pause: pause}) }

// BreakAfter resets each connection after a number of bytes, in both directions
// together, that bytes gives for it.
func (l *Link) BreakAfter(bytes func() int) { l.set(fault{after: bytes}) }

// Heal ends what is wrong with the link.
func (l *Link) Heal() { l.set(fault{}) }

func (l *Link) set(f fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.fault.over)
	l.faults++
	f.over, f.number = make(chan struct{}), l.faults
	l.fault = f
}

func (l *Link) now() fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault
}

// reset ends all connections.
func (l *Link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.wires {
		w.reset()
	}
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return // it is closed
		}
		l.connections.Add(1)
		w := l.wire(client.(*net.TCPConn))
		l.running.Go(func() { l.connect(w) })
	}
}

// wire is a connection's, in the order in which they come.
func (l *Link) wire(client *net.TCPConn) *wire {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &wire{client: client, born: l.faults}
	if l.fault.more > 0 {
		l.fault.more--
		w.born--
	}
	return w
}

// connect has a connection until both of its ends are closed.
func (l *Link) connect(w *wire) {
	defer w.reset()
	if l.now().cut {
		return
	}
	server, err := new(net.Dialer).DialContext(l.life, "tcp", l.upstream)
	if err != nil {
		return
	}
	w.server = server.(*net.TCPConn)
	l.mu.Lock()
	l.wires[w] = true
	cut := l.fault.cut || l.life.Err() != nil // and reset has missed it
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.wires, w)
	}()
	if cut {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.pump(w, w.client, w.server) })
	both.Go(func() { l.pump(w, w.server, w.client) })
	both.Wait()
}

// wire is a connection through a link.
type wire struct {
	client, server *net.TCPConn
	born           int // faults before it

	mu      sync.Mutex
	lost    bool // nothing passes any more
	limited bool // to as many bytes as are left
	left    int
}

// reset ends a connection so that both ends see it reset.
func (w *wire) reset() {
	for _, end := range []*net.TCPConn{w.client, w.server} {
		if end != nil {
			_ = end.SetLinger(0)
			_ = end.Close()
		}
	}
}

// pump passes on what comes from one end.
func (l *Link) pump(w *wire, from, to *net.TCPConn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			passed := l.pass(w, to, rest)
			if passed == 0 {
				return
			}
			rest = rest[passed:]
		}
		if err != nil {
			l.finish(w, to, err)
			return
		}
	}
}

// await waits until something may pass on a connection; ok is false if nothing does any more.
func (l *Link) await(w *wire) (f fault, ok bool) {
	for {
		f = l.now()
		var paused <-chan time.Time
		switch {
		case f.pause > 0:
			paused = time.After(f.pause)
		case !f.hold, f.old && w.born >= f.number:
			return f, true
		}
		select {
		case <-l.life.Done():
			return f, false
		case <-f.over:
		case <-paused:
			return f, true
		}
	}
}

// pass passes on some bytes when the link lets it, and returns how many, or have
// been lost; 0 if there is no connection any more.
func (l *Link) pass(w *wire, to *net.TCPConn, bytes []byte) int {
	f, ok := l.await(w)
	if !ok {
		return 0
	}
	if f.pause > 0 {
		bytes = bytes[:min(len(bytes), pieceSize)]
	}
	lost, last, bytes := w.suffer(f, bytes)
	if lost {
		return len(bytes)
	}
	_, err := to.Write(bytes)
	if last {
		l.broken.Add(1)
	}
	if last || err != nil {
		w.reset()
		return 0
	}
	return len(bytes)
}

// finish passes on that an end is closed, or was reset.
func (l *Link) finish(w *wire, to *net.TCPConn, err error) {
	f, ok := l.await(w)
	if !ok {
		return
	}
	lost, _, _ := w.suffer(f, nil)
	switch {
	case lost:
	case errors.Is(err, io.EOF):
		_ = to.CloseWrite()
	default:
		w.reset()
	}
}

// suffer says what becomes of bytes on a connection: they are lost, or the last
// before it breaks, or pass.
func (w *wire) suffer(f fault, bytes []byte) (lost, last bool, some []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = w.lost || f.lose
	switch {
	case f.after == nil:
		w.limited = false
	case !w.limited:
		w.limited, w.left = true, f.after()
	}
	if w.lost || !w.limited {
		return w.lost, false, bytes
	}
	if len(bytes) >= w.left {
		w.lost = true // for the other direction, until it ends, too
		return false, true, bytes[:w.left]
	}
	w.left -= len(bytes)
	return false, false, bytes
}
