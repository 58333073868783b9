package servicestest_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// echo answers everything with itself, until the client closes. It returns its
// address, and a channel that has how each connection ended for it.
func echo(t *testing.T) (addr string, ended <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ends, served := make(chan error, 10), make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, err := io.Copy(conn, conn)
				_ = conn.Close()
				ends <- err
			}()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-served
	})
	return listener.Addr().String(), ends
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// says sends a text and wants it back.
func says(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	hears(t, conn, text)
}

func hears(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("got %.20q, %v; want %.20q", got, err, text)
	}
}

// isSilent wants nothing to come for a moment.
func isSilent(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes came, %v; want silence", n, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
}

// isReset wants the connection to be reset.
func isReset(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection ended with %v, want a reset", err)
	}
}

func TestLink(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)

	t.Run("passes everything, and the end", func(t *testing.T) {
		addr, ended := echo(t)
		link := servicestest.StartLink(t, addr)
		conn := dial(t, link.Addr())
		says(t, conn, "hello")
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the server saw it end with %v", err)
		}
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
			t.Errorf("it ended with %q, %v", rest, err)
		}
	})
	t.Run("cuts", func(t *testing.T) {
		addr, ended := echo(t)
		link := servicestest.StartLink(t, addr)
		conn := dial(t, link.Addr())
		says(t, conn, "hello")
		link.Cut()
		isReset(t, conn)
		if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server saw it end with %v, want a reset", err)
		}
		fresh, err := net.Dial("tcp", link.Addr())
		if err == nil {
			isReset(t, fresh)
			_ = fresh.Close()
		} else if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a new connection ended with %v, want a reset", err)
		}
		link.Heal()
		says(t, dial(t, link.Addr()), "again")
	})
	t.Run("holds, and passes on later", func(t *testing.T) {
		addr, ended := echo(t)
		link := servicestest.StartLink(t, addr)
		conn, closed := dial(t, link.Addr()), dial(t, link.Addr())
		says(t, conn, "hello")
		says(t, closed, "hello")
		link.Hold()
		_, _ = io.WriteString(conn, "late")
		_ = closed.Close()
		isSilent(t, conn)
		if len(ended) > 0 {
			t.Error("the server has heard of a close")
		}
		link.Heal()
		hears(t, conn, "late")
		if err := <-ended; err != nil {
			t.Errorf("the server saw one end with %v", err)
		}
	})
	t.Run("holds what is open and what comes next, and passes the rest", func(t *testing.T) {
		addr, _ := echo(t)
		link := servicestest.StartLink(t, addr)
		conn := dial(t, link.Addr())
		says(t, conn, "hello")
		link.HoldSome(1)
		next := dial(t, link.Addr())
		_, _ = io.WriteString(conn, "late")
		_, _ = io.WriteString(next, "late, too")
		says(t, dial(t, link.Addr()), "early")
		isSilent(t, conn)
		isSilent(t, next)
		link.Heal()
		hears(t, conn, "late")
		hears(t, next, "late, too")
	})
	t.Run("loses, for good", func(t *testing.T) {
		addr, ended := echo(t)
		link := servicestest.StartLink(t, addr)
		conn, closed := dial(t, link.Addr()), dial(t, link.Addr())
		says(t, conn, "hello")
		says(t, closed, "hello")
		link.Lose()
		_, _ = io.WriteString(conn, "lost")
		_ = closed.Close()
		isSilent(t, conn)
		link.Heal()
		_, _ = io.WriteString(conn, "lost, too")
		isSilent(t, conn)
		if len(ended) > 0 {
			t.Error("the server has heard of a close")
		}
		says(t, dial(t, link.Addr()), "again")
	})
	t.Run("is slow", func(t *testing.T) {
		addr, _ := echo(t)
		link := servicestest.StartLink(t, addr)
		link.Slow(time.Millisecond)
		conn := dial(t, link.Addr())
		began := time.Now()
		says(t, conn, long)
		if least := time.Duration(len(long)/4096) * time.Millisecond; time.Since(began) < least {
			t.Errorf("%d bytes came back after %v, want %v at least", len(long), time.Since(began), least)
		}
	})
	t.Run("breaks after so many bytes", func(t *testing.T) {
		addr, _ := echo(t)
		link := servicestest.StartLink(t, addr)
		old := dial(t, link.Addr())
		says(t, old, "hello")
		link.BreakAfter(func() int { return 10 })
		for _, conn := range []net.Conn{old, dial(t, link.Addr())} {
			says(t, conn, "four") // and four back
			_, _ = io.WriteString(conn, "four")
			isReset(t, conn)
		}
		if n := link.Broken(); n != 2 {
			t.Errorf("%d connections were broken, want 2", n)
		}
		link.Heal()
		says(t, dial(t, link.Addr()), long)
	})
}
