package audience

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

var serverIDs atomic.Uint32

func configOf(t *testing.T, db *servicestest.Database) binlog.Config {
	t.Helper()
	return binlog.Config{
		Addr: db.Server.Addr, User: "root", Password: func() string { return "" },
		ServerID: 7000 + serverIDs.Add(1), Location: time.UTC, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func createTables(t *testing.T, db *servicestest.Database) {
	t.Helper()
	db.MustExec(t,
		`CREATE TABLE platform_user (id BIGINT UNSIGNED PRIMARY KEY, platform_id BIGINT UNSIGNED, user_id BIGINT UNSIGNED, active TINYINT, ends BIGINT, KEY (user_id))`,
		`CREATE TABLE guests (id BIGINT UNSIGNED PRIMARY KEY, platform_id BIGINT UNSIGNED, user_id BIGINT UNSIGNED, active TINYINT, begins BIGINT, KEY (user_id))`,
		`CREATE TABLE users (id BIGINT UNSIGNED PRIMARY KEY, role INT, region INT)`)
}

func inspect(t *testing.T, cfg binlog.Config) binlog.Server {
	t.Helper()
	server, err := binlog.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// loaderOf makes a loader for a server.
func loaderOf(r rules, cfg binlog.Config, server binlog.Server) *Loader {
	l := &Loader{}
	for range loadLines {
		l.lines = append(l.lines, &line{rules: r, reader: binlog.NewReader(cfg, server)})
	}
	return l
}

// fill makes 20 memberships for each of so many users.
func fill(t *testing.T, db *servicestest.Database, users int) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const step = 50_000
	statements := []string{"SET sql_log_bin = 0", fmt.Sprintf("SET cte_max_recursion_depth = %d", step)}
	for first := 0; first < users; first += step {
		n := min(step, users-first)
		numbers := fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT %d UNION ALL SELECT i+1 FROM n WHERE i < %d)", first+1, first+n)
		statements = append(statements, "INSERT INTO users "+numbers+" SELECT i, i % 3, i % 5 FROM n")
		for k := range 20 {
			statements = append(statements, fmt.Sprintf("INSERT INTO platform_user %s SELECT %d + i, (i * 7919 + %d * 104729) %% 100000 + 1, i, 1, NULL FROM n", numbers, k*users, k))
		}
	}
	for _, s := range statements {
		if _, err := conn.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// TestActivation: how long it takes until many users are live, with TEST_FULL
// 50,000 of 10,000,000 memberships' rows.
func TestActivation(t *testing.T) {
	connected, known := 2_000, 4_000
	if os.Getenv("TEST_FULL") != "" {
		connected, known = 50_000, 500_000
	}
	batch := connected / 10
	db := servicestest.NewDatabase(t, services.MySQL)
	createTables(t, db)
	fill(t, db, known)
	cfg := configOf(t, db)
	server := inspect(t, cfg)
	l := loaderOf(fakeRules{db.Name}, cfg, server)
	defer l.Close()
	s := newState(fakeRules{db.Name}, Config{}, time.Now())
	start, longest, live := time.Now(), time.Duration(0), 0
	for first := 0; first < connected; first += batch {
		var loads []Load
		for n := first; n < first+batch; n++ {
			key := user(1 + n*(known/connected))
			load, _ := s.Open(key, 1, string(key))
			loads = append(loads, load)
		}
		in, err := l.Load(t.Context(), loads, server.Current)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		arrivals, err := s.Finish(in)
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(began))
		live += len(arrivals)
	}
	took := time.Since(start)
	memberships := 0
	for _, g := range s.scopes.All() {
		memberships += len(g.members)
	}
	t.Logf("%d users with %d memberships of %d rows are live after %s; Finish of %d users took up to %s",
		live, memberships-live, 20*known, took.Round(time.Millisecond), batch, longest.Round(time.Millisecond))
	if live != connected || memberships != connected*(20+2) { // everyone, and regions
		t.Errorf("%d users, %d places", live, memberships)
	}
}

// follower applies the log to a State.
type follower struct {
	*State
	pos binlog.Position
	// errands are run between two transactions.
	errands chan func()
	open    bool
}

func (f *follower) Change(_ context.Context, c *binlog.Change) error {
	if !f.open {
		f.open = true
		f.Begin()
	}
	return f.Apply(c, func(Note) error { return nil })
}

func (f *follower) Commit(_ context.Context, pt binlog.Point) error {
	if f.open {
		f.open = false
		f.State.Commit()
	}
	if err := f.pos.Advance(pt); err != nil {
		return err
	}
	f.run()
	return nil
}

func (f *follower) Definition(context.Context, *binlog.Definition) error { return nil }

func (f *follower) Idle(pt binlog.Point) {
	_ = f.pos.Advance(pt) // names no transaction
	f.run()
}

func (f *follower) run() {
	for {
		select {
		case errand := <-f.errands:
			errand()
		default:
			return
		}
	}
}

// do runs something between two transactions of the log.
func (f *follower) do(t *testing.T, errand func()) {
	t.Helper()
	done := make(chan struct{})
	select {
	case f.errands <- func() { errand(); close(done) }:
	case <-t.Context().Done():
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the log stands still")
	}
}

// TestLoadsWhileTheLogGoesOn: users are read while their memberships change;
// in the end, each has those that the database has.
func TestLoadsWhileTheLogGoesOn(t *testing.T) {
	for _, kind := range []services.Kind{services.MySQL, services.MariaDB} {
		t.Run(string(kind), func(t *testing.T) {
			db := servicestest.NewDatabase(t, kind)
			createTables(t, db)
			const users, platforms, rounds = 20, 5, 30
			for id := range users {
				db.MustExec(t, fmt.Sprintf("INSERT INTO users VALUES (%d, 0, 0)", id+1))
			}
			cfg := configOf(t, db)
			server := inspect(t, cfg)
			rules := fakeRules{db.Name}
			f := &follower{State: newState(rules, Config{}, time.Now()), pos: server.Current.Clone(), errands: make(chan func(), 16)}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 2)
			go func() {
				ended <- binlog.NewSource(cfg, server, rules.tables("")).Run(ctx, server.Current, f)
			}()
			writing, rest := context.WithCancel(ctx)
			go func() { ended <- write(writing, db, users, platforms) }()

			l := loaderOf(rules, configOf(t, db), server)
			defer l.Close()
			r := rand.New(rand.NewPCG(1, 1))
			for range rounds {
				var loads []Load
				var after binlog.Position
				f.do(t, func() {
					for id := range users {
						if f.Close(user(id+1), 1, string(user(id+1))); r.IntN(2) == 0 {
							load, _ := f.Open(user(id+1), 1, string(user(id+1)))
							loads = append(loads, load)
						}
					}
					after = f.pos.Clone()
				})
				in, err := l.Load(t.Context(), loads, after)
				if err != nil {
					t.Fatal(err)
				}
				for finished := false; !finished; {
					f.do(t, func() {
						if finished = f.pos.Covers(in.Upto); finished {
							if _, err := f.Finish(in); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			rest()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			end := inspect(t, cfg).Current
			for done := false; !done; {
				f.do(t, func() {
					if done = f.pos.Covers(end); done {
						compare(t, db, f.State, users)
					}
				})
			}
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// write changes memberships and roles until ctx ends.
func write(ctx context.Context, db *servicestest.Database, users, platforms int) error {
	r := rand.New(rand.NewPCG(2, 2))
	for ctx.Err() == nil {
		table := []string{"platform_user", "guests"}[r.IntN(2)]
		id, other, u, p := 1+r.IntN(100), 1+r.IntN(100), 1+r.IntN(users), 1+r.IntN(platforms)
		statement := []string{
			fmt.Sprintf("INSERT IGNORE INTO %s VALUES (%d, %d, %d, 1, NULL)", table, id, p, u),
			fmt.Sprintf("UPDATE %s SET user_id = %d WHERE id = %d", table, u, id),
			fmt.Sprintf("UPDATE %s SET active = 1 - active WHERE user_id = %d", table, u),
			fmt.Sprintf("UPDATE IGNORE %s SET id = %d WHERE id = %d", table, other, id),
			fmt.Sprintf("DELETE FROM %s WHERE id = %d", table, id),
			fmt.Sprintf("UPDATE users SET role = role + 1, region = %d WHERE id = %d", p, u),
		}[r.IntN(6)]
		if _, err := db.ExecContext(context.WithoutCancel(ctx), statement); err != nil {
			return err
		}
	}
	return nil
}

// compare looks whether a State has what the database has.
func compare(t *testing.T, db *servicestest.Database, s *State, users int) {
	t.Helper()
	_, now := s.Views()
	live := 0
	for id := 1; id <= users; id++ {
		u := now.User(user(id))
		if u == nil {
			continue
		}
		live++
		rows, err := db.Query(`SELECT CONCAT('platform:', platform_id) FROM platform_user WHERE active AND user_id = ?
			UNION SELECT CONCAT('platform:', platform_id) FROM guests WHERE active AND user_id = ?
			UNION SELECT CONCAT('region:', region) FROM users WHERE id = ?`, id, id, id)
		if err != nil {
			t.Fatal(err)
		}
		want := map[mapping.ScopeKey]bool{}
		for rows.Next() {
			var s mapping.ScopeKey
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			want[s] = true
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		for p := range 10 {
			for _, s := range []mapping.ScopeKey{scope("platform", p), scope("region", p)} {
				if now.IsMember(u, s) != want[s] {
					t.Errorf("user %d is a member of %s: %t, want %t", id, s, !want[s], want[s])
				}
			}
		}
		var role string
		if err := db.QueryRow("SELECT role FROM users WHERE id = ?", id).Scan(&role); err != nil {
			t.Fatal(err)
		}
		if got := string(u.Subject.Attributes[0].AppendText(nil)); got != role {
			t.Errorf("role of user %d: got %s, want %s", id, got, role)
		}
	}
	if live == 0 {
		t.Error("nobody is live")
	}
}
