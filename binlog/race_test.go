package binlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// raceSessions write at once, each to rows of its own.
const (
	raceSessions = 3
	raceRows     = 24
)

// deadlock is the server's error for one, which sessions have with each other
// between rows that are not there.
const deadlock = 1213

// race reads each row that an event is about back as soon as its transaction
// has come, as a refill does, and compares with what the log says of the row
// until the point that the read tells.
type race struct {
	*recorder
	reader *binlog.Reader
	table  *binlog.Table
	db     *servicestest.Database

	turns   chan struct{} // a session may write
	enough  chan struct{} // closed when it is
	wanted  int
	changed map[string]string  // of the transaction at hand: key to row, "" if it was deleted
	history map[string][]state // of each row
	commits int
	pending []reading // whose end the tail has not come to
	pairs   int
	again   int // reads that were tried again
	wrong   []string
	plain   struct{ reads, stale int }
}

// state is what a row became with a commit.
type state struct {
	commit int
	row    string
}

// reading is what was read of rows after a commit, up to a position.
type reading struct {
	commit int
	upto   binlog.Position
	rows   map[string]string
}

func newRace(t *testing.T, cfg binlog.Config, db *servicestest.Database) *race {
	t.Helper()
	report := binlog.Check(t.Context(), cfg, []binlog.TableName{tableA(db)})
	for _, p := range report.Problems {
		t.Fatal(p)
	}
	r := &race{
		recorder: newRecorder(current(t, cfg)), reader: binlog.NewReader(cfg, report.Server), table: report.Tables[tableA(db)], db: db,
		turns: make(chan struct{}, raceSessions), enough: make(chan struct{}),
		changed: map[string]string{}, history: map[string][]state{},
	}
	t.Cleanup(r.reader.Close)
	follow(t, cfg, r.pos, r, tableA(db))
	return r
}

func (r *race) Change(_ context.Context, c *binlog.Change) error {
	row := c.After
	if row == nil {
		row = c.Before
	}
	text, err := rowJSON(row)
	key, _, _ := strings.Cut(text, ",")
	if c.After == nil {
		text = ""
	}
	r.changed[key+"]"] = text
	return err
}

func (r *race) Commit(ctx context.Context, pt binlog.Point) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.pos.Advance(pt); err != nil {
		return err
	}
	defer r.wake()
	r.commits++
	var keys []string
	for key, row := range r.changed {
		keys = append(keys, key)
		r.history[key] = append(r.history[key], state{r.commits, row})
	}
	if len(keys) == 0 {
		r.settle()
		return nil
	}
	if r.commits%16 == 0 {
		if err := r.readPlainly(ctx); err != nil {
			return err
		}
	}
	clear(r.changed)
	reading := reading{commit: r.commits}
	for {
		reading.rows = map[string]string{}
		var err error
		reading.upto, err = r.reader.Rows(ctx, r.table, []int{0, 1}, []binlog.KeyColumn{{Column: 0}}, keys, r.pos.Clone(), func(row *binlog.Row) error {
			text, err := rowJSON(row)
			key, _, _ := strings.Cut(text, ",")
			reading.rows[key+"]"] = text
			return err
		})
		if err == nil {
			break
		}
		if !binlog.Passing(err) || errors.Is(err, binlog.ErrNotVisible) || ctx.Err() != nil {
			return err
		}
		r.again++
	}
	for _, key := range keys {
		reading.rows[key] += "" // those not found, too
	}
	r.pairs += len(keys)
	r.pending = append(r.pending, reading)
	r.settle()
	if r.pairs >= r.wanted && r.wanted > 0 {
		r.wanted = 0
		close(r.enough)
	}
	r.turns <- struct{}{}
	return nil
}

// readPlainly counts how often a SELECT that waits for nothing is too early:
// if it never is, the race is none.
func (r *race) readPlainly(ctx context.Context) error {
	for key, row := range r.changed {
		var v int
		err := r.db.QueryRowContext(ctx, "SELECT v FROM a WHERE id = "+strings.Trim(key, "[]")).Scan(&v)
		r.plain.reads++
		if found := err == nil; found != (row != "") || found && strings.TrimSuffix(key, "]")+fmt.Sprintf(",%d]", v) != row {
			r.plain.stale++
		}
		return nil
	}
	return nil
}

// settle compares what was read with what the row was at any time between the
// commit and the point that the read told, if the tail has come there.
func (r *race) settle() {
	for len(r.pending) > 0 && r.pos.Covers(r.pending[0].upto) {
		p := r.pending[0]
		r.pending = r.pending[1:]
		for key, row := range p.rows {
			states := r.history[key]
			for len(states) > 1 && states[1].commit <= p.commit {
				states = states[1:]
			}
			r.history[key] = states
			was := false
			for _, s := range states {
				was = was || s.row == row
			}
			if !was {
				r.wrong = append(r.wrong, fmt.Sprintf("row %s was read as %q after commit %d, and was %v", key, row, p.commit, states))
			}
		}
	}
}

// write makes a change to some of a session's rows when it is its turn.
func (r *race) write(ctx context.Context, db *servicestest.Database, session int) error {
	exists := map[int]bool{}
	for version := 1; ; version++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.enough:
			return nil
		case <-r.turns:
		}
		first, n := rand.IntN(raceRows), 1+rand.IntN(raceRows/2)
		var there, missing, values []string
		for i := first; i < min(first+n, raceRows); i++ {
			id := fmt.Sprint(session*1000 + i)
			if exists[i] {
				there = append(there, id)
			} else {
				missing = append(missing, id)
				values = append(values, fmt.Sprintf("(%s,%d)", id, version))
			}
		}
		statement := fmt.Sprintf("UPDATE a SET v = %d WHERE id IN (%s)", version, strings.Join(there, ","))
		switch remove := rand.IntN(3) == 0; {
		case len(there) == 0 || len(missing) > 0 && rand.IntN(2) == 0:
			statement = "INSERT INTO a VALUES " + strings.Join(values, ",")
			for i := first; i < min(first+n, raceRows); i++ {
				exists[i] = true
			}
		case remove:
			statement = fmt.Sprintf("DELETE FROM a WHERE id IN (%s)", strings.Join(there, ","))
			for i := first; i < min(first+n, raceRows); i++ {
				exists[i] = false
			}
		}
		for {
			_, err := db.ExecContext(ctx, statement)
			if err == nil {
				break
			}
			if e, ok := errors.AsType[*mysql.MySQLError](err); !ok || e.Number != deadlock {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
	}
}

// run races until there are so many pairs of an event and a read, or the time is over.
func (r *race) run(t *testing.T, db *servicestest.Database, pairs int, most time.Duration) {
	t.Helper()
	started := time.Now()
	r.mu.Lock()
	r.wanted = pairs
	r.mu.Unlock()
	timer := time.AfterFunc(most, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.wanted > 0 {
			r.wanted = 0
			close(r.enough)
		}
	})
	defer timer.Stop()
	var writers sync.WaitGroup
	failed := make([]error, raceSessions)
	for session := range raceSessions {
		r.turns <- struct{}{}
		writers.Go(func() { failed[session] = r.write(t.Context(), db, session) })
	}
	writers.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	r.until(t, current(t, configOf(t, db)))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settle()
	t.Logf("%d pairs in %s, of %d commits; %d reads tried again; of %d plain reads %d were too early",
		r.pairs, time.Since(started).Round(time.Millisecond), r.commits, r.again, r.plain.reads, r.plain.stale)
	if len(r.pending) > 0 {
		t.Errorf("%d reads are of points that the tail has not come to, as of %s", len(r.pending), r.pending[0].upto)
	}
	if len(r.wrong) > 0 {
		t.Errorf("%d of %d were wrong; the first: %s", len(r.wrong), r.pairs, r.wrong[0])
	}
}

// TestReaderSeesWhatTheLogHasGiven: none missed, none older than its event,
// nothing found that was not there.
func TestReaderSeesWhatTheLogHasGiven(t *testing.T) {
	pairs, most := 2000, patience
	if full {
		pairs, most = 250_000, 10*time.Minute
	}
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			if full {
				t.Parallel()
			}
			server := servicestest.SharedSQL(t, s.kind)
			if s.kind == services.MySQL && s.args != nil {
				server = withoutGTIDs(t)
			}
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v INT)`)
			newRace(t, configOf(t, db), db).run(t, db, pairs, most)
		})
	}
}
