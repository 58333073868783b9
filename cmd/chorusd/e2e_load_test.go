package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
)

// load commits transactions one after the other and keeps account of what
// they changed. It bears a database that goes away.
type load struct {
	stack *stack
	users []int // a record belongs to users[id % len(users)]
	rng   *rand.Rand

	mu      sync.Mutex
	changes []loadChange
	commits int
	err     error

	versions map[int]int  // by record
	present  map[int]bool // by record
	before   int          // transactions that the server had logged before
}

// loadChange is a change of one record. Versions of a record only rise, so a
// change is known by its operation, record and version; that of a delete is
// the one deleted.
type loadChange struct {
	op           harmonic.Operation
	record, user int
	version      int
	commit       int // number of its transaction, from 1
}

type changeKey struct {
	op              harmonic.Operation
	record, version int
}

func (c loadChange) key() changeKey { return changeKey{c.op, c.record, c.version} }

const (
	loadTables = `
[tables.notes]
fields = ["id", "user_id", "version"]
visible_to = ["user:{user_id}", "channel:chorus.platform.{platform_id}"]
`
	loadSchema   = "CREATE TABLE notes (id INT PRIMARY KEY, user_id INT, platform_id INT, version INT)"
	loadCommits  = "CREATE TABLE commits (n INT PRIMARY KEY)"
	loadPlatform = "chorus.platform.3"
	// loadRecords is how many records there are for each user.
	loadRecords = 8
	// loadPause is the time between two transactions.
	loadPause = 4 * time.Millisecond
)

// newLoad makes a load on the tables of loadSchema and loadCommits. The
// database server must not be shared, so that its transactions can be counted.
func newLoad(t *testing.T, s *stack, users ...int) *load {
	t.Helper()
	l := newUncountedLoad(t, s, users...)
	l.before = logged(t, s)
	return l
}

// newUncountedLoad makes a load for any server.
func newUncountedLoad(t *testing.T, s *stack, users ...int) *load {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("the load's seed is %d", seed)
	return &load{
		stack: s, users: users, rng: rand.New(rand.NewPCG(seed, 0)),
		versions: map[int]int{}, present: map[int]bool{},
	}
}

// logged is the number of the last transaction that the server has logged.
func logged(t *testing.T, s *stack) int {
	t.Helper()
	query := "SELECT @@GLOBAL.gtid_executed"
	if s.db.Server.Kind != services.MySQL {
		query = "SELECT @@GLOBAL.gtid_binlog_pos"
	}
	var set string
	if err := s.db.QueryRowContext(t.Context(), query).Scan(&set); err != nil {
		t.Fatal(err)
	}
	return lastTransaction(t, set)
}

// lastTransaction is the last number of a set like "uuid:1-5" or "0-1-5".
func lastTransaction(t *testing.T, set string) int {
	t.Helper()
	if strings.Contains(set, ",") {
		t.Fatalf("the GTIDs %q are of several servers", set)
	}
	n, err := strconv.Atoi(set[strings.LastIndexAny(set, ":-")+1:])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// run starts the load. What it returns ends it and is called once at least.
func (l *load) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stopping := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(loadPause)
		defer tick.Stop()
		for l.error() == nil {
			select {
			case <-stopping:
				return
			case <-tick.C:
				l.commit(ctx)
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		close(stopping)
		<-done
		cancel()
		if err := l.error(); err != nil {
			t.Errorf("the load failed: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		stop()
	})
	return stop
}

func (l *load) error() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// committed is how many transactions were committed.
func (l *load) committed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commits
}

// awaitCommits waits until there are n more.
func (l *load) awaitCommits(t *testing.T, n int) {
	t.Helper()
	until := l.committed() + n
	eventually(t, fmt.Sprintf("%d commits", until), func() bool { return l.committed() >= until || l.error() != nil })
}

// commit makes one transaction, again and again until it is committed.
func (l *load) commit(ctx context.Context) {
	number := l.committed() + 1
	var changes []loadChange
	touched := map[int]bool{}
	for range 1 + l.rng.IntN(3) {
		record := l.rng.IntN(loadRecords * len(l.users))
		if touched[record] {
			continue
		}
		touched[record] = true
		c := loadChange{op: harmonic.Update, record: record, user: l.users[record%len(l.users)], version: l.versions[record] + 1, commit: number}
		switch {
		case !l.present[record]:
			c.op = harmonic.Create
		case l.rng.IntN(5) == 0:
			c.op, c.version = harmonic.Delete, l.versions[record]
		}
		changes = append(changes, c)
	}
	for {
		err := l.try(ctx, number, changes)
		if err != nil && ctx.Err() == nil {
			// The database went away, before or after the commit.
			var happened bool
			if happened, err = l.happened(ctx, number); err == nil && !happened {
				continue
			}
		}
		l.mu.Lock()
		if l.err = err; err == nil {
			l.commits = number
			l.changes = append(l.changes, changes...)
		}
		l.mu.Unlock()
		break
	}
	for _, c := range changes {
		l.versions[c.record], l.present[c.record] = c.version, c.op != harmonic.Delete
	}
}

func (l *load) try(ctx context.Context, number int, changes []loadChange) error {
	tx, err := l.stack.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if _, err := tx.ExecContext(ctx, "INSERT INTO commits VALUES (?)", number); err != nil {
		return err
	}
	for _, c := range changes {
		switch c.op {
		case harmonic.Create:
			_, err = tx.ExecContext(ctx, "INSERT INTO notes VALUES (?, ?, 3, ?)", c.record, c.user, c.version)
		case harmonic.Update:
			_, err = tx.ExecContext(ctx, "UPDATE notes SET version = ? WHERE id = ?", c.version, c.record)
		default:
			_, err = tx.ExecContext(ctx, "DELETE FROM notes WHERE id = ?", c.record)
		}
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}

// happened waits for the database and says whether a transaction was committed.
func (l *load) happened(ctx context.Context, number int) (bool, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var n int
		err := l.stack.db.QueryRowContext(ctx, "SELECT n FROM commits WHERE n = ?", number).Scan(&n)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, sql.ErrNoRows):
			return false, nil
		case ctx.Err() != nil:
			return false, ctx.Err()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// of is what a user is to get; of everything if user is 0.
func (l *load) of(user int) []loadChange {
	l.mu.Lock()
	defer l.mu.Unlock()
	var changes []loadChange
	for _, c := range l.changes {
		if user == 0 || c.user == user {
			changes = append(changes, c)
		}
	}
	return changes
}

// keyOf is which change an event tells of.
func keyOf(t *testing.T, e received) changeKey {
	t.Helper()
	var data struct {
		ID      int `json:"id"`
		Version int `json:"version"`
	}
	if err := json.Unmarshal(e.harmonic.Data, &data); err != nil {
		t.Fatal(err)
	}
	return changeKey{e.harmonic.Operation, data.ID, data.Version}
}

// accounted waits until every change has come on a channel and verifies that
// nothing else came, that a change keeps its id when it comes again, that ids
// rise with the commits, and that what came was in commit order but for
// repeats that start further back. Into those the last request of a killed
// process may fall, which the server had and was late with. A refill may bring
// records again as they are, under the id of the last change before it, which
// may be the record's own. On a user's channel that counts as a refill: whoever
// repeats a change repeats it on the platform's, too, where it is a repeat. It
// returns how many events came that are of no refill.
func accounted(t *testing.T, c *client, channel string, want []loadChange) int {
	t.Helper()
	index := make(map[changeKey]int, len(want))
	for i, w := range want {
		index[w.key()] = i
	}
	awaitAll(t, c, channel, want)
	ids := make([]string, len(want))
	highest, previous, repeats, refilled := -1, -1, 0, 0
	for n, e := range c.got(channel) {
		k := keyOf(t, e)
		i, ok := index[k]
		id := e.harmonic.ID.String()
		again := ok && i == previous && ids[i] == id && k.op == harmonic.Update && channel != loadPlatform
		if again || isRefill(k, id, ids, index) {
			refilled++
			continue
		}
		if !ok {
			t.Errorf("%s: event %d is of no commit: %s", channel, n, inWords(e))
			continue
		}
		if i > previous+1 && i != highest+1 {
			t.Errorf("%s: event %d: change %d comes after change %d, the last before those was %d", channel, n, i, previous, highest)
		}
		if i <= highest {
			repeats++
		}
		highest, previous = max(highest, i), i
		if ids[i] != "" && ids[i] != id {
			t.Errorf("%s: event %d: %s has the ids %s and %s", channel, n, inWords(e), ids[i], id)
		}
		ids[i] = id
	}
	for i := 1; i < len(ids); i++ {
		if ids[i] <= ids[i-1] {
			t.Errorf("%s: the id %s of change %d does not rise above %s", channel, ids[i], i, ids[i-1])
		}
	}
	events := len(c.got(channel))
	t.Logf("%s: %d changes, %d events, %d of them repeats, %d refilled", channel, len(want), events, repeats, refilled)
	return events - refilled
}

// isRefill says whether an event can only be of a refill: the key of a record
// that is gone, or the last change of one as another operation or with another
// id than it had.
func isRefill(k changeKey, id string, ids []string, index map[changeKey]int) bool {
	switch k.op {
	case harmonic.Delete:
		return k.version == 0
	case harmonic.Update:
		for _, op := range []harmonic.Operation{harmonic.Create, harmonic.Update} {
			if i, ok := index[changeKey{op, k.record, k.version}]; ok {
				return ids[i] != "" && (ids[i] < id || ids[i] == id && op != k.op)
			}
		}
	}
	return false
}

// awaitAll waits until every change has come on a channel.
func awaitAll(t *testing.T, c *client, channel string, want []loadChange) {
	t.Helper()
	missing := map[changeKey]bool{}
	for _, w := range want {
		missing[w.key()] = true
	}
	seen := 0
	deadline := time.Now().Add(patience)
	eventually(t, "every change has come on "+channel, func() bool {
		events := c.got(channel)
		for _, e := range events[seen:] {
			delete(missing, keyOf(t, e))
		}
		seen = len(events)
		if len(missing) > 0 && time.Now().After(deadline) {
			t.Fatalf("%s: %d of %d changes have not come, like %v", channel, len(missing), len(want), anyOf(missing))
		}
		return len(missing) == 0
	})
}

func anyOf(set map[changeKey]bool) changeKey {
	for k := range set {
		return k
	}
	return changeKey{}
}

// rows are the versions of a user's records in the database; of all if user
// is 0.
func (s *stack) rows(t *testing.T, user int) map[int]int {
	t.Helper()
	list, err := s.db.QueryContext(t.Context(), "SELECT id, version FROM notes WHERE ? IN (user_id, 0)", user)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	versions := map[int]int{}
	for list.Next() {
		var id, version int
		if err := list.Scan(&id, &version); err != nil {
			t.Fatal(err)
		}
		versions[id] = version
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return versions
}

// applied is what a client's local table holds that had these rows and then
// took the events: creates and updates put, deletes delete.
func applied(t *testing.T, rows map[int]int, events []received) map[int]int {
	t.Helper()
	state := maps.Clone(rows)
	for _, e := range events {
		k := keyOf(t, e)
		if k.op == harmonic.Delete {
			delete(state, k.record)
		} else {
			state[k.record] = k.version
		}
	}
	return state
}
