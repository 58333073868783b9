package pushertest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Proxy stands before a server, a real one for example, and passes on what
// comes, byte by byte, but for the faults that are made to happen.
type Proxy struct {
	front
	upstream string
	observe  func(*Request)
}

// StartProxy starts a proxy before the server at upstream, "host:port", that
// ends with the test. observe, which may be nil, is called with each request,
// by several goroutines at once.
func StartProxy(tb testing.TB, upstream string, observe func(*Request)) *Proxy {
	tb.Helper()
	p := &Proxy{upstream: upstream, observe: observe}
	p.respond, p.upgrade = p.pass, p.splice
	if err := p.open(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

// pass has the server answer a request. No answer closes the connection, as
// the server has done.
func (p *Proxy) pass(r *Request) (answer []byte, keep bool) {
	if p.observe != nil {
		p.observe(r)
	}
	conn, err := p.dial()
	if err != nil {
		return nil, false
	}
	defer p.drop(conn)
	if _, err := conn.Write(r.raw); err != nil {
		return nil, false
	}
	var raw bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &raw)), &http.Request{Method: r.Method})
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return raw.Bytes(), err == nil && !resp.Close
}

// splice connects a client with the server for good.
func (p *Proxy) splice(x *Exchange) {
	conn, err := p.dial()
	if err != nil {
		return
	}
	defer p.drop(conn)
	if _, err := conn.Write(x.in.raw.Bytes()); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(x.conn, conn)
		_ = x.conn.Close()
	})
	_, _ = io.Copy(conn, x.conn)
	_ = conn.Close()
	both.Wait()
}

// dial connects to the server until drop, or until Close.
func (p *Proxy) dial() (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(p.life, "tcp", p.upstream)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.conns[conn] = true
	p.mu.Unlock()
	if p.life.Err() != nil {
		_ = conn.Close()
	}
	return conn, nil
}
