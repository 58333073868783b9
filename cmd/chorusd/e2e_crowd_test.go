package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/pusher/pushertest"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// crowd is many users who listen to a Pusher server.
type crowd struct {
	server *pushertest.Server
	leave  func()
}

func newCrowd(t *testing.T) (c *crowd, addr string) {
	t.Helper()
	server := startFake(t, pushertest.Options{Kind: pushertest.Soketi})
	return &crowd{server: server, leave: func() {}}, server.Addr()
}

// listen has users listen, from one on, every so manieth, so many of them, in
// place of those before.
func (c *crowd) listen(from, step, count int) {
	var channels []string
	for n := range count {
		channels = append(channels, fmt.Sprintf("private-chorus.user.%d", from+n*step))
	}
	before := c.leave
	c.leave = c.server.Subscribe(nil, channels...)
	before()
}

// crowdTables have members of platforms, and rows below posts.
const crowdTables = `
[users]
source = "users"
key = "id"
attributes = ["role"]
[[scopes.platform.members]]
source = "platform_user"
scope = "platform_id"
user = "user_id"
[tables.comments]
fields = ["id", "post_id"]
visible_to = ["platform:{post_id -> posts.platform_id}"]
`

var crowdSchema = []string{
	"CREATE TABLE users (id BIGINT UNSIGNED PRIMARY KEY, role INT)",
	"CREATE TABLE platform_user (id BIGINT UNSIGNED PRIMARY KEY, platform_id BIGINT UNSIGNED NOT NULL, user_id BIGINT UNSIGNED NOT NULL, KEY (user_id))",
	"CREATE TABLE posts (id BIGINT UNSIGNED PRIMARY KEY, platform_id BIGINT UNSIGNED NOT NULL, KEY (platform_id))",
	"CREATE TABLE comments (id BIGINT UNSIGNED PRIMARY KEY, post_id BIGINT UNSIGNED NOT NULL, KEY (post_id))",
}

// memberships is how many platforms each user of a crowd is a member of.
const memberships = 20

// fillCrowd makes so many users with their memberships, which the log does not
// tell of.
func (s *stack) fillCrowd(t *testing.T, users int) {
	t.Helper()
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const step = 50_000
	statements := []string{"SET sql_log_bin = 0", fmt.Sprintf("SET cte_max_recursion_depth = %d", step)}
	for first := 0; first < users; first += step {
		numbers := numbersFrom(first+1, min(step, users-first))
		statements = append(statements, "INSERT INTO users "+numbers+" SELECT i, i % 3 FROM n")
		for k := range memberships {
			statements = append(statements, fmt.Sprintf("INSERT INTO platform_user %s SELECT %d + i, (i * 7919 + %d * 104729) %% 100000 + 1, i FROM n",
				numbers, k*users, k))
		}
	}
	for _, statement := range statements {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// numbersFrom begins a statement that selects from n, which holds count numbers i.
func numbersFrom(first, count int) string {
	return fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT %d UNION ALL SELECT i+1 FROM n WHERE i < %d)", first, first+count-1)
}

// TestManyUsers connects many users of many more, and starts chorusd again:
// memory grows with those who are connected. With TEST_FULL, 50,000 users of
// 500,000 with 10,000,000 memberships.
func TestManyUsers(t *testing.T) {
	t.Parallel()
	connected, known, most := 2_000, 10_000, mostMemory
	if full {
		connected, known, most = 50_000, 500_000, 400<<20
	}
	server := servicestest.StartSQL(t, services.MySQL, services.SQLOptions{})
	users, addr := newCrowd(t)
	s := newStack(t, onServers{sql: server, pusher: addr}, crowdTables, crowdSchema...)
	s.fillCrowd(t, known)
	users.listen(1, known/connected, connected)
	for _, start := range []string{"first", "second"} {
		began := time.Now()
		d := s.launchProgram(t, plainProgram(t))
		within(t, 5*time.Minute, "everybody is live", func() bool {
			if d.hasExited() {
				t.Fatalf("chorusd ended with %v", d.cmd.ProcessState)
			}
			return d.isReady(t) && d.metric(t, "chorusd_active_channels") == float64(connected)
		})
		peak := d.peakMemory(t)
		t.Logf("%s start: %d users with %d memberships of %d are live after %v, with at most %d MiB resident",
			start, connected, connected*memberships, known*memberships, time.Since(began).Round(10*time.Millisecond), peak>>20)
		d.logPolls(t)
		if peak := d.peakMemory(t); peak > most {
			t.Errorf("chorusd had %d MiB resident, want at most %d", peak>>20, most>>20)
		}
		d.kill(t)
	}
}

// logPolls logs what a poll of the active channels costs while nothing else
// happens. It asks chorusd itself as little as can be.
func (d *daemon) logPolls(t *testing.T) {
	t.Helper()
	const count = 10
	store := d.stack.store(t)
	read := func() (polls, cpu, bytes float64) {
		return d.metric(t, "chorusd_polls_total"), d.metric(t, "process_cpu_seconds_total"), d.metric(t, "chorusd_pusher_received_bytes_total")
	}
	first, err := store.LastPoll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	polls, cpu, bytes := read()
	eventually(t, "there were some polls", func() bool {
		last, err := store.LastPoll(t.Context())
		return err == nil && last.Epoch >= first.Epoch+count
	})
	pollsThen, cpuThen, bytesThen := read()
	n := pollsThen - polls
	t.Logf("a poll takes %.0f ms of a processor and %.0f KB", 1000*(cpuThen-cpu)/n, (bytesThen-bytes)/n/1000)
}

// TestLargeTransactionOfParents changes memberships and parents in one
// transaction, more than chorusd may keep: what changes beside them is told as
// always, and clients are to load again what is below the parents. With TEST_FULL, 1,000,000 rows of each.
func TestLargeTransactionOfParents(t *testing.T) {
	t.Parallel()
	rows := 100_000
	if full {
		rows = 1_000_000
	}
	server := servicestest.StartSQL(t, services.MySQL, services.SQLOptions{})
	s := newStack(t, onServers{sql: server}, crowdTables, crowdSchema...)
	s.db.MustExec(t,
		"INSERT INTO users VALUES (7, 1)", "INSERT INTO platform_user VALUES (1, 3, 7)",
		"INSERT INTO posts VALUES (1, 3)", "INSERT INTO comments VALUES (1, 1), (2, 2), (3, 3)")
	d := s.launchProgram(t, plainProgram(t))
	d.awaitReady(t)
	c := s.subscribe(t, "chorus.user.7")
	d.awaitActive(t, 1)
	s.db.MustExec(t, "INSERT INTO comments VALUES (8, 9000001)",
		"INSERT INTO posts "+numbersFrom(9_000_000, 250)+" SELECT i, i - 9000000 + 2 FROM n") // the comment's among them
	c.awaitTexts(t, "chorus.user.7", true, `update comments 8 {"id":8,"post_id":9000001}`)
	before := d.metric(t, "chorusd_changes_total")
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	const step = 50_000
	statements := []string{fmt.Sprintf("SET cte_max_recursion_depth = %d", step), "UPDATE posts SET platform_id = 4 WHERE id = 1"}
	for first := 2; first < rows; first += step {
		numbers := numbersFrom(first, min(step, rows+1-first))
		statements = append(statements,
			"INSERT INTO platform_user "+numbers+" SELECT i, i % 1000, i FROM n",
			"INSERT INTO posts "+numbers+" SELECT i, i % 1000 FROM n")
	}
	for _, statement := range append(statements, "UPDATE comments SET post_id = 3 WHERE id = 2", "INSERT INTO comments VALUES (4, 1), (5, 1003), (6, 90003), (7, 90004)") {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the user is told to load again", func() bool { return slices.Contains(c.kinds(t, "chorus.user.7"), "reload") })
	within(t, 10*time.Minute, "the transaction is settled", func() bool {
		return d.metric(t, "chorusd_changes_total")-before >= float64(2*rows) && d.metric(t, "chorusd_lag_seconds") == 0
	})
	want := []string{`create comments 2 {"id":2,"post_id":3}`, `create comments 5 {"id":5,"post_id":1003}`, `create comments 6 {"id":6,"post_id":90003}`, "reload"}
	if got := c.kinds(t, "chorus.user.7"); !slices.Equal(got, want) {
		t.Errorf("the user was told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	peak := d.peakMemory(t)
	t.Logf("2 times %d rows: at most %d MiB resident", rows, peak>>20)
	if peak > mostMemory {
		t.Errorf("chorusd had %d MiB resident, want at most %d", peak>>20, mostMemory>>20)
	}
	d.terminate(t)
}
