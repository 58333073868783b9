package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// insertMany commits n rows of a user, with ids from 1 and texts of a size in
// bytes, in one transaction.
func (s *stack) insertMany(t *testing.T, user, n, size int) {
	t.Helper()
	const most = 1_000_000 // of one statement
	digits := "(SELECT 0 AS d"
	for d := 1; d < 10; d++ {
		digits += fmt.Sprintf(" UNION ALL SELECT %d", d)
	}
	digits += ")"
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for from := 0; from < n; from += most {
		_, err := tx.ExecContext(t.Context(), fmt.Sprintf(`INSERT INTO notes SELECT n, %[1]d, REPEAT('x', %[2]d) FROM
			(SELECT %[5]d + 1 + a.d + 10*b.d + 100*c.d + 1000*e.d + 10000*f.d + 100000*g.d AS n
			FROM %[3]s a, %[3]s b, %[3]s c, %[3]s e, %[3]s f, %[3]s g) numbers WHERE n <= %[4]d ORDER BY n`, user, size, digits, n, from))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

const (
	largeTables = `
[tables.notes]
fields = ["id", "user_id", "body"]
visible_to = ["user:{user_id}"]
`
	largeSchema = "CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, body VARCHAR(1000))"
	// mostMemory is what chorusd may have resident at most, in bytes.
	mostMemory = 128 << 20
)

// peakMemory is the most that chorusd ever had resident, in bytes.
func (d *daemon) peakMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kB, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kB << 10
		}
	}
	t.Fatal("the kernel does not tell the peak memory")
	return 0
}

// TestLargeTransaction passes a transaction far larger than the memory that
// chorusd may take, to a user who is there and to one who is not.
func TestLargeTransaction(t *testing.T) {
	t.Parallel()
	rows, live := 500_000, 20_000
	if full {
		rows, live = 5_000_000, 500_000
	}
	server := servicestest.StartSQL(t, services.MySQL, services.SQLOptions{})
	for _, tc := range []struct {
		name  string
		rows  int
		there bool
		flags []string
	}{
		// The window holds all keys, so that nothing has to be published.
		{"nobody there", rows, false, []string{"--channels.window=10000000", "--channels.poll_interval=1h", "--channels.lease=2h"}},
		{"somebody there", live, true, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, onServers{sql: server}, largeTables, largeSchema)
			d := s.launchProgram(t, plainProgram(t), tc.flags...)
			d.awaitReady(t)
			var c *client
			if tc.there {
				c = s.subscribe(t, "chorus.user.7")
				d.awaitActive(t, 1)
			}
			s.insertMany(t, 7, tc.rows, 100)
			within(t, 10*time.Minute, "every row is settled", func() bool {
				return d.metric(t, "chorusd_harmonics_total") == float64(tc.rows) && d.metric(t, "chorusd_queued_harmonics") == 0
			})
			peak := d.peakMemory(t)
			t.Logf("%d rows: at most %d MiB resident", tc.rows, peak>>20)
			if peak > mostMemory {
				t.Errorf("chorusd had %d MiB resident, want at most %d", peak>>20, mostMemory>>20)
			}
			if tc.there {
				inOrder(t, c, "chorus.user.7", tc.rows)
			} else if n := d.metric(t, "chorusd_requests_total"); n != 0 {
				t.Errorf("chorusd made %v requests for nobody", n)
			}
			d.terminate(t)
		})
	}
}

// TestLargeRow passes a row of 40 MB, of which clients get nothing but the key,
// and one whose text is mapped: it is too large for the Pusher server, so it
// is set aside, and what comes after it goes on.
func TestLargeRow(t *testing.T) {
	t.Parallel()
	// mostMemory and what one row takes: the packet, and where its text is
	// mapped, that as JSON and as JSON inside of JSON.
	const size, most = 40_000_000, 6 * 40_000_000
	s := newStack(t, onServers{}, `
[tables.notes]
fields = ["id", "user_id"]
visible_to = ["user:{user_id}"]
[tables.texts]
fields = ["id", "user_id", "body"]
visible_to = ["user:{user_id}"]
`, "CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, body LONGTEXT)", "CREATE TABLE texts (id INT PRIMARY KEY, user_id INT, body LONGTEXT)")
	d := s.launchProgram(t, plainProgram(t))
	d.awaitReady(t)
	c := s.subscribe(t, "chorus.user.7")
	d.awaitActive(t, 1)
	s.db.MustExec(t,
		fmt.Sprintf("INSERT INTO notes VALUES (1, 7, REPEAT('x', %d))", size),
		fmt.Sprintf("INSERT INTO texts VALUES (2, 7, REPEAT('x', %d))", size),
		"INSERT INTO notes VALUES (3, 7, '')")
	c.awaitHarmonics(t, "chorus.user.7", `create notes 1 {"id":1,"user_id":7}`, `create notes 3 {"id":3,"user_id":7}`)
	if n := d.metric(t, "chorusd_set_aside_total"); n != 1 {
		t.Errorf("%v records are set aside, want 1", n)
	}
	peak := d.peakMemory(t)
	t.Logf("rows of %d MB: at most %d MiB resident", size/1_000_000, peak>>20)
	if peak > mostMemory+most {
		t.Errorf("chorusd had %d MiB resident, want at most %d", peak>>20, (mostMemory+most)>>20)
	}
	d.terminate(t)
}

// inOrder has a client get the rows of insertMany, each once and in order.
func inOrder(t *testing.T, c *client, channel string, n int) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%d of %d events have come over %d connections", len(c.got(channel)), n, c.connections.Load())
		}
	}()
	complete := func() bool {
		got := c.got(channel)
		return len(got) > 0 && string(got[len(got)-1].harmonic.RecordID) == strconv.Itoa(n)
	}
	eventually(t, "the last row has come", complete)
	got := c.got(channel)
	last := ""
	for i, e := range got {
		if i >= n || string(e.harmonic.RecordID) != strconv.Itoa(i+1) || e.harmonic.ID.String() <= last {
			t.Fatalf("event %d of %d is %s with id %s after %s", i, n, e.harmonic.RecordID, e.harmonic.ID, last)
		}
		last = e.harmonic.ID.String()
	}
}

// TestKilledInsideTransaction kills the database server while chorusd reads a
// large transaction, of which nothing has been published. When it is back the
// rows go on where they stopped.
func TestKilledInsideTransaction(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		const rows = 300_000 // so that reading takes a while
		server := servicestest.StartSQL(t, kind, services.SQLOptions{})
		s := newStack(t, onServers{kind: kind, sql: server}, largeTables, largeSchema)
		d := s.launch(t, "--channels.window=1000000")
		d.awaitReady(t)
		c := s.subscribe(t, "chorus.user.7")
		d.awaitActive(t, 1)
		s.insertMany(t, 8, rows, 500)
		eventually(t, "chorusd reads the transaction", func() bool { return d.metric(t, "chorusd_changes_total") > 0 })
		server.Kill()
		eventually(t, "chorusd has noticed", func() bool { return d.logged(lostDatabase) == 1 })
		if n := d.metric(t, "chorusd_transactions_total"); n != 0 {
			t.Fatal("chorusd had read the whole transaction when the server was killed")
		}
		if n := d.metric(t, "chorusd_harmonics_total"); n != 0 {
			t.Errorf("chorusd had routed %v rows of a transaction that it had not read to its commit", n)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.awaitReady(t)
		s.db.MustExec(t, fmt.Sprintf("INSERT INTO notes VALUES (%d, 7, '')", rows+1))
		c.awaitHarmonics(t, "chorus.user.7", fmt.Sprintf(`create notes %[1]d {"id":%[1]d,"user_id":7,"body":""}`, rows+1))
		if n := d.metric(t, "chorusd_harmonics_total"); n != rows+1 {
			t.Errorf("%v harmonics for %d rows", n, rows+1)
		}
		d.terminate(t)
	})
}
