package pushertest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// front takes connections, reads their requests, and lets faults happen.
type front struct {
	listener net.Listener
	running  sync.WaitGroup
	// life ends with Close.
	life context.Context //nolint:containedctx // connections outlive every call
	end  context.CancelFunc

	// respond does what a request asks, and returns the answer and whether the
	// connection stays open behind it.
	respond func(*Request) (answer []byte, keep bool)
	// upgrade takes a connection over that is to become a WebSocket's.
	upgrade func(x *Exchange)
	// most is how many bytes a request may have, headers included; 0: any.
	// What has more is answered with overflow, before the rest has come.
	most     int
	overflow []byte

	connections atomic.Int64

	mu     sync.Mutex
	conns  map[net.Conn]bool
	faults []plan
}

// Request is one that came, body and all.
type Request struct {
	Method, Path string
	Query        map[string][]string
	Body         []byte
	// Bytes is the size of the whole request, headers included.
	Bytes int

	chunked bool
	raw     []byte
}

// plan is a fault that is to happen.
type plan struct {
	operation Operation
	times     int // still to come; below 0: always
	fault     Fault
}

// Operation is a kind of request.
type Operation string

// The operations that Fail knows.
const (
	Publish Operation = http.MethodPost
	List    Operation = http.MethodGet
)

// open starts to listen on a free port of this machine.
func (f *front) open() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	f.listener, f.conns = listener, make(map[net.Conn]bool)
	f.life, f.end = context.WithCancel(context.Background())
	f.running.Go(f.accept)
	return nil
}

// Close ends all connections and waits until nothing runs any more.
func (f *front) Close() {
	f.end()
	_ = f.listener.Close()
	f.mu.Lock()
	for conn := range f.conns {
		_ = conn.Close()
	}
	f.mu.Unlock()
	f.running.Wait()
}

// Addr is its host and port.
func (f *front) Addr() string { return f.listener.Addr().String() }

// Connections is how many were made to it so far.
func (f *front) Connections() int { return int(f.connections.Load()) }

// Fail has a fault happen to the next requests of a kind, so many times; below
// 0, to all of them until Mend.
func (f *front) Fail(operation Operation, times int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, plan{operation: operation, times: times, fault: fault})
}

// Mend forgets the faults that have not happened yet.
func (f *front) Mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// fault takes what is to happen to a request with that method, nil for nothing.
func (f *front) fault(method string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.faults {
		p := &f.faults[i]
		if string(p.operation) != method || p.times == 0 {
			continue
		}
		if p.times > 0 {
			p.times--
		}
		return p.fault
	}
	return nil
}

func (f *front) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return // it is closed
		}
		f.connections.Add(1)
		f.mu.Lock()
		f.conns[conn] = true
		f.mu.Unlock()
		f.running.Go(func() {
			defer f.drop(conn)
			f.serve(conn)
		})
		if f.life.Err() != nil { // Close may have missed it
			_ = conn.Close()
		}
	}
}

func (f *front) drop(conn net.Conn) {
	_ = conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, conn)
}

// serve handles the requests of a connection, one after the other.
func (f *front) serve(conn net.Conn) {
	in := &intake{conn: conn, most: f.most}
	buffered := bufio.NewReaderSize(in, 64<<10)
	for {
		in.raw.Reset()
		head, err := http.ReadRequest(buffered)
		if errors.Is(err, errOverflow) {
			f.refuseOverflow(conn)
		}
		if err != nil {
			return
		}
		x := &Exchange{Head: head, front: f, conn: conn, in: in, buffered: buffered}
		if fault := f.fault(head.Method); fault != nil && !x.isUpgrade() {
			fault(x)
			return
		}
		if x.isUpgrade() {
			f.upgrade(x)
			return
		}
		r, err := x.read()
		if errors.Is(err, errOverflow) {
			f.refuseOverflow(conn)
		}
		if err != nil {
			return
		}
		answer, keep := f.respond(r)
		if _, err := conn.Write(answer); err != nil || !keep {
			return
		}
	}
}

// refuseOverflow answers a request that is too large. What still comes is
// thrown away, so that the answer arrives; see Reset for when it does not.
func (f *front) refuseOverflow(conn net.Conn) {
	_, _ = conn.Write(f.overflow)
	if conn, ok := conn.(*net.TCPConn); ok {
		_ = conn.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, conn) // until the client has closed it
}

// errOverflow says that a request is larger than what is taken.
var errOverflow = errors.New("the request is too large")

// intake reads a connection and keeps what it has read of one request.
type intake struct {
	conn net.Conn
	most int
	raw  bytes.Buffer
}

func (in *intake) Read(p []byte) (int, error) {
	n, err := in.conn.Read(p)
	in.raw.Write(p[:n])
	if in.isOver() {
		return n, errOverflow
	}
	return n, err
}

// isOver says whether more has come than is taken.
func (in *intake) isOver() bool { return in.most > 0 && in.raw.Len() > in.most }

// Exchange is a request whose head has come, and what becomes of it.
type Exchange struct {
	Head *http.Request

	front    *front
	conn     net.Conn
	in       *intake
	buffered *bufio.Reader
}

func (x *Exchange) isUpgrade() bool {
	return strings.EqualFold(x.Head.Header.Get("Upgrade"), "websocket")
}

// read reads the rest of the request.
func (x *Exchange) read() (*Request, error) {
	body, err := io.ReadAll(x.Head.Body)
	if err == nil && x.in.isOver() {
		err = errOverflow // and all of it came at once
	}
	if err != nil {
		return nil, err
	}
	return &Request{
		Method: x.Head.Method, Path: x.Head.URL.Path, Query: x.Head.URL.Query(), Body: body,
		Bytes: x.in.raw.Len(), chunked: len(x.Head.TransferEncoding) > 0, raw: x.in.raw.Bytes(),
	}, nil
}

// Do reads the rest of the request, does what it asks, and returns what the
// server answers, without sending it; nil if the request does not come.
func (x *Exchange) Do() []byte {
	r, err := x.read()
	if err != nil {
		return nil
	}
	answer, _ := x.front.respond(r)
	return answer
}

// Write sends bytes to the client.
func (x *Exchange) Write(p []byte) {
	_, _ = x.conn.Write(p) // the client may be gone
}

// Reset ends the connection so that the client sees it reset.
func (x *Exchange) Reset() {
	if conn, ok := x.conn.(*net.TCPConn); ok {
		_ = conn.SetLinger(0)
	}
	_ = x.conn.Close()
}

// WaitFor returns when the channel is closed, when the client has given up, or
// when the server is closed.
func (x *Exchange) WaitFor(until <-chan struct{}) {
	gone := make(chan struct{})
	x.front.running.Go(func() {
		defer close(gone)
		_, _ = x.buffered.Peek(1) // nothing comes but the end
	})
	select {
	case <-until:
	case <-gone:
	}
}
