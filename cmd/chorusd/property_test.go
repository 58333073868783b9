package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/chorusd/chorusd/tools/oracle"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// worldTransactions is how many transactions a random world lives for, and
// longWorldTransactions in a long run.
const (
	worldTransactions     = 400
	longWorldTransactions = 5000
)

// TestWhoSeesWhat has random people come and go while random transactions
// change random tables under random rules, and judges all that is sent by what
// plain SQL says (package oracle). A seed gives the same worlds and
// transactions again, but for the times at which things happen; it is 1, and
// with TEST_FULL another one each time. Longer runs have larger worlds that live
// for longer, and fewer pauses and kills:
//
//	TEST_ORACLE_TRANSACTIONS=1000000 TEST_ORACLE_SEED=7 \
//	    go test ./cmd/chorusd -run TestWhoSeesWhat/mysql -timeout 10h
//	TEST_ORACLE_FOR=1h …
//
// With -race, chorusd is built with it, too, which makes it several times
// slower; TEST_ORACLE_RACE=off leaves it out there.
func TestWhoSeesWhat(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		seed := uint64(1)
		if full {
			seed = rand.Uint64N(1e9)
		}
		if text := os.Getenv("TEST_ORACLE_SEED"); text != "" {
			seed = uint64(amount(t, "TEST_ORACLE_SEED"))
		}
		sql := servicestest.StartSQL(t, kind, services.SQLOptions{Args: []string{
			"--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2", "--binlog-expire-logs-seconds=3600", "--max-binlog-size=64M",
		}})
		redis := servicestest.StartRedis(t, services.RedisOptions{})
		more := lasting(t)
		var total oracle.Counts
		for world := 0; more(total.Transactions, world); world++ {
			t.Run(strconv.FormatUint(seed+uint64(world), 10), func(t *testing.T) {
				total.Add(judge(t, onServers{kind: kind, sql: sql, redis: redis}, seed+uint64(world)))
			})
			if t.Failed() {
				t.Fatalf("after %+v: again with TEST_ORACLE_SEED=%d", total, seed+uint64(world))
			}
		}
		t.Logf("%+v", total)
	})
}

// lasting says how long the test goes on, as the environment has it.
func lasting(t *testing.T) (more func(transactions, worlds int) bool) {
	t.Helper()
	if text := os.Getenv("TEST_ORACLE_FOR"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		end := time.Now().Add(d)
		return func(int, int) bool { return time.Now().Before(end) }
	}
	if os.Getenv("TEST_ORACLE_TRANSACTIONS") != "" {
		n := amount(t, "TEST_ORACLE_TRANSACTIONS")
		return func(transactions, _ int) bool { return transactions < n }
	}
	worlds := 2
	if full {
		worlds = 20
	}
	return func(_, n int) bool { return n < worlds }
}

// long says that the environment asks for a run without an end of its own.
func long() bool {
	return os.Getenv("TEST_ORACLE_FOR") != "" || os.Getenv("TEST_ORACLE_TRANSACTIONS") != ""
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

// judge runs one world.
func judge(t *testing.T, on onServers, seed uint64) oracle.Counts {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	features, pace, transactions := oracle.Supported(), oracle.Brisk, worldTransactions
	if long() {
		features.Large, pace, transactions = true, oracle.Steady, longWorldTransactions
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

// Settled implements oracle.Daemon.
func (j *judged) Settled() bool {
	status, ok := j.status()
	return ok && status.Queued+status.Pending+status.Refills == 0 && status.Lag == 0
}

// Refilling implements oracle.Daemon.
func (j *judged) Refilling() bool {
	status, ok := j.status()
	return ok && status.Refills > 0
}

// relayStatus is what /readyz tells of what is left to do.
type relayStatus struct {
	Queued  int     `json:"queued"`
	Pending int     `json:"pending"`
	Refills int     `json:"refills"`
	Lag     float64 `json:"lag_seconds"`
}

// status asks chorusd; ok is false while it is not ready.
func (j *judged) status() (status relayStatus, ok bool) {
	if j.daemon.hasExited() {
		j.Fatalf("chorusd ended with %v", j.daemon.cmd.ProcessState)
	}
	code, body := j.daemon.get(j.T, "/readyz")
	ok = code == http.StatusOK && json.Unmarshal([]byte(body), &status) == nil
	return status, ok
}
