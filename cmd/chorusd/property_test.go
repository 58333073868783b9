package main

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chorusd/chorusd/tools/oracle"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// worldTransactions is how many transactions a random world lives for, and
// longWorldTransactions in a long run, in which as many worlds as sideBySide
// are on each server at a time: most of one's time is waiting.
const (
	worldTransactions     = 400
	longWorldTransactions = 5000
	sideBySide            = 3
	servers               = 2 // onBoth
)

// TestWhoSeesWhat has random people come and go while random transactions
// change random tables under random rules, and judges all that is sent by what
// plain SQL says (package oracle). A seed gives the same worlds and
// transactions again, but for the times at which things happen; it is 1, and
// with TEST_FULL another one each time. In longer runs (`make test-long`) worlds
// live for longer, with fewer pauses and kills, and every other one is large:
//
//	TEST_ORACLE_TRANSACTIONS=1000000 go test ./cmd/chorusd -v -run TestWhoSeesWhat -timeout 10h
//	TEST_ORACLE_FOR=1h TEST_ORACLE_SEED=7 go test ./cmd/chorusd -v -run TestWhoSeesWhat/mysql -timeout 2h
//
// With -race, chorusd is built with it, too, which makes it several times
// slower; TEST_ORACLE_RACE=off leaves it out there.
func TestWhoSeesWhat(t *testing.T) {
	u := newUniverse(t)
	t.Cleanup(func() { t.Log(u) })
	onBoth(t, func(t *testing.T, kind services.Kind) {
		sql := servicestest.StartSQL(t, kind, services.SQLOptions{Args: []string{
			"--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--performance-schema=OFF",
			"--binlog-expire-logs-seconds=600", "--max-binlog-size=64M",
		}})
		lanes := 1
		if u.long {
			lanes = sideBySide
		}
		var running sync.WaitGroup
		for range lanes {
			redis := servicestest.StartRedis(t, services.RedisOptions{})
			running.Go(func() {
				for !t.Failed() {
					seed, ok := u.next(kind)
					if !ok {
						return
					}
					t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
						t.Cleanup(func() {
							if t.Failed() {
								t.Logf("again with TEST_ORACLE_SEED=%d", seed)
							}
						})
						u.add(kind, u.judge(t, onServers{kind: kind, sql: sql, redis: redis}, seed))
					})
				}
			})
		}
		running.Wait()
	})
}

// universe is the worlds of a run of the test.
type universe struct {
	seed  uint64                // of the first one on each server
	long  bool                  // the environment asks for a run without an end of its own
	more  func(worlds int) bool // whether there is another one on a server
	began time.Time

	mu    sync.Mutex
	begun map[services.Kind]int
	total map[services.Kind]*oracle.Counts
}

// newUniverse has as many worlds as the environment says.
func newUniverse(t *testing.T) *universe {
	t.Helper()
	u := &universe{seed: 1, began: time.Now(), begun: map[services.Kind]int{}, total: map[services.Kind]*oracle.Counts{}}
	worlds := 2
	if full {
		u.seed, worlds = rand.Uint64N(1e9), 20
	}
	u.more = func(begun int) bool { return begun < worlds }
	if os.Getenv("TEST_ORACLE_SEED") != "" {
		u.seed = uint64(amount(t, "TEST_ORACLE_SEED"))
	}
	if os.Getenv("TEST_ORACLE_TRANSACTIONS") != "" {
		n := amount(t, "TEST_ORACLE_TRANSACTIONS") / servers
		u.long, u.more = true, func(begun int) bool { return begun*longWorldTransactions < n }
	}
	if text := os.Getenv("TEST_ORACLE_FOR"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		u.long, u.more = true, func(int) bool { return time.Since(u.began) < d }
	}
	return u
}

// amount is a number in the environment.
func amount(t *testing.T, name string) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// next is the seed of another world on a server; ok is false after the last one.
func (u *universe) next(kind services.Kind) (seed uint64, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	begun := u.begun[kind]
	if !u.more(begun) {
		return 0, false
	}
	u.begun[kind]++
	return u.seed + uint64(begun), true
}

// add adds what happened in a world.
func (u *universe) add(kind services.Kind, c oracle.Counts) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.total[kind] == nil {
		u.total[kind] = &oracle.Counts{}
	}
	u.total[kind].Add(c)
}

// String says what happened so far, on each server and in all.
func (u *universe) String() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all oracle.Counts
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(u.total)) {
		all.Add(*u.total[kind])
		fmt.Fprintf(&b, "%s, seeds %d to %d: %+v\n", kind, u.seed, u.seed+uint64(u.begun[kind])-1, *u.total[kind])
	}
	fmt.Fprintf(&b, "in all, after %v: %+v", time.Since(u.began).Round(time.Second), all)
	return b.String()
}

// judge runs one world.
func (u *universe) judge(t *testing.T, on onServers, seed uint64) oracle.Counts {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	features, pace, transactions := oracle.Supported(), oracle.Brisk, worldTransactions
	if u.long {
		features.Large, pace, transactions = seed%2 == 1, oracle.Steady, longWorldTransactions
	}
	w := oracle.Generate(r, features)
	p, err := oracle.NewPusher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	on.pusher = p.Addr()
	s := newStack(t, on, "")
	s.redis.Prefix = s.db.Name + ":"
	w.Place(s.db.Name)
	s.configure(t, w.TOML())
	s.db.MustExec(t, w.Schema()...)
	s.db.MustExec(t, fmt.Sprintf("GRANT SELECT ON `%s\\_t\\_%%`.* TO '%s'@'%%'", s.db.Name, s.user))
	for _, database := range w.Databases() {
		t.Cleanup(func() { _, _ = s.db.Exec("DROP DATABASE " + database) })
	}
	db, err := sql.Open("mysql", s.db.DSN("multiStatements=true"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	run, err := oracle.NewRun(t.Context(), w, db, p, &judged{T: t, stack: s, redis: on.redis, flags: w.Flags()}, r, features, pace)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close(t.Context())
	if err := run.Go(t.Context(), transactions); err != nil {
		t.Fatal(err)
	}
	return run.Count
}

// judged is the chorusd of a world. It implements oracle.Daemon.
type judged struct {
	*testing.T
	stack  *stack
	redis  *services.RedisServer
	flags  []string
	daemon *daemon
}

// Start implements oracle.Daemon.
func (j *judged) Start() {
	first := j.daemon == nil
	path := program(j.T)
	if os.Getenv("TEST_ORACLE_RACE") == "off" {
		path = plainProgram(j.T)
	}
	j.daemon = j.stack.launchProgram(j.T, path, append([]string{"--channels.poll_interval=100ms"}, j.flags...)...)
	if first {
		j.daemon.awaitReady(j.T) // it reads from now on
	}
}

// Kill implements oracle.Daemon.
func (j *judged) Kill() { j.daemon.kill(j.T) }

// Redis implements oracle.Daemon.
func (j *judged) Redis(there bool) {
	change := j.redis.Pause
	if there {
		change = j.redis.Resume
	}
	if err := change(); err != nil {
		j.Fatal(err)
	}
}

// Left implements oracle.Daemon.
func (j *judged) Left() string {
	status, body, ok := j.status()
	if ok && status.Queued+status.Pending+status.Refills == 0 && status.Lag == 0 {
		return ""
	}
	return cmp.Or(body, "no answer")
}

// Explain implements oracle.Daemon.
func (j *judged) Explain(table, key, user string) string {
	_, body := j.daemon.get(j.T, explainPath+"?"+url.Values{"table": {table}, "key": {key}, "user": {user}}.Encode())
	return body
}

// Refilling implements oracle.Daemon.
func (j *judged) Refilling() bool {
	status, _, ok := j.status()
	return ok && status.Refills > 0
}

// relayStatus is what /readyz tells of what is left to do.
type relayStatus struct {
	Queued  int     `json:"queued"`
	Pending int     `json:"pending"`
	Refills int     `json:"refills"`
	Lag     float64 `json:"lag_seconds"`
}

// status asks chorusd, and gives its answer as it was, too; ok is false while it
// is not ready.
func (j *judged) status() (status relayStatus, body string, ok bool) {
	if j.daemon.hasExited() {
		j.Fatalf("chorusd ended with %v", j.daemon.cmd.ProcessState)
	}
	code, body := j.daemon.get(j.T, "/readyz")
	ok = code == http.StatusOK && json.Unmarshal([]byte(body), &status) == nil
	return status, body, ok
}
