package binlog_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// cutter is a TCP proxy before a server that ends connections which read the
// log after a random number of bytes, until it has made so many cuts.
type cutter struct {
	net.Listener
	server string
	left   atomic.Int32 // cuts yet to make
	open   sync.WaitGroup
}

func startCutter(t *testing.T, server string, cuts int32) *cutter {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: listener, server: server}
	c.left.Store(cuts)
	c.open.Go(func() {
		for {
			conn, err := c.Accept()
			if err != nil {
				return
			}
			c.open.Go(func() { c.pass(conn) })
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		c.open.Wait()
	})
	return c
}

// pass carries a connection until one side ends it or it is cut. Any place may
// be one, also inside of an event; what comes before the log is asked for is not.
func (c *cutter) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	var dumps atomic.Bool
	c.open.Go(func() {
		defer server.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := client.Read(buf)
			if n > 4 && (buf[4] == 0x12 || buf[4] == 0x1e) { // COM_BINLOG_DUMP and COM_BINLOG_DUMP_GTID
				dumps.Store(true)
			}
			if _, failed := server.Write(buf[:n]); err != nil || failed != nil {
				return
			}
		}
	})
	defer server.Close()
	rest := rand.IntN(1 << (8 + rand.IntN(16))) // each magnitude as often as another
	buf := make([]byte, 32<<10)
	for {
		n, err := server.Read(buf)
		if dumps.Load() {
			if n > rest && c.left.Add(-1) >= 0 {
				_, _ = client.Write(buf[:rest])
				return
			}
			rest = max(0, rest-n)
		}
		if _, failed := client.Write(buf[:n]); err != nil || failed != nil {
			return
		}
	}
}

// TestCutAnywhere: wherever and however often the connection is cut, each row
// comes once and in order.
func TestCutAnywhere(t *testing.T) {
	cuts := int32(60)
	if full {
		cuts = 2000
	}
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			server := servicestest.SharedSQL(t, s.kind)
			if s.args != nil && strings.Contains(s.args[0], "gtid-mode") {
				server = withoutGTIDs(t)
			}
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, "CREATE TABLE a (id INT PRIMARY KEY, v LONGTEXT)")
			cfg := configOf(t, db)
			from := current(t, cfg)
			var want []string
			write := func(rows, size int) {
				values := make([]string, rows)
				for i := range values {
					values[i] = fmt.Sprintf("(%d, REPEAT('x', %d))", len(want), size)
					want = append(want, fmt.Sprintf(`insert a [%d,"%s"]`, len(want), strings.Repeat("x", size)))
				}
				db.MustExec(t, "INSERT INTO a VALUES "+strings.Join(values, ","))
			}
			c := startCutter(t, server.Addr, cuts)
			cfg.Addr = c.Addr().String()
			rec := newRecorder(from)
			stop := follow(t, cfg, from, rec, tableA(db))
			for {
				write(1, 10)
				write(200, 100)
				write(3, 1<<20)
				write(1, 10)
				rec.until(t, current(t, configOf(t, db)))
				if c.left.Load() <= 0 {
					break
				}
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			wantLines(t, shortened(rec.lines), shortened(want))
		})
	}
}
