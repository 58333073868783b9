package binlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// onEachSource runs a test on every kind of server, by each way of reading
// exactly. Args are for all of them.
func onEachSource(t *testing.T, test func(t *testing.T, db *servicestest.Database), args ...string) {
	t.Helper()
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			server := servicestest.SharedSQL(t, s.kind)
			if own := append(slices.Clone(args), gtidsOff(s)...); len(own) > 0 {
				server = servicestest.StartSQL(t, s.kind, services.SQLOptions{Args: own})
			}
			test(t, servicestest.CreateDatabase(t, server))
		})
	}
}

func gtidsOff(s source) []string {
	if s.name == "MySQL without GTIDs" {
		return s.args
	}
	return nil
}

// readerOf is a reader of a database's tables, and their shapes.
func readerOf(t *testing.T, cfg binlog.Config, db *servicestest.Database, tables ...string) (*binlog.Reader, map[string]*binlog.Table) {
	t.Helper()
	server, err := binlog.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	reader := binlog.NewReader(cfg, server)
	t.Cleanup(reader.Close)
	shapes := map[string]*binlog.Table{}
	for _, name := range tables {
		if shapes[name], err = reader.Table(t.Context(), binlog.TableName{Schema: db.Name, Table: name}); err != nil {
			t.Fatal(err)
		}
	}
	return reader, shapes
}

// forum is a schema with parents of every kind.
var forum = []string{
	`CREATE TABLE threads (id CHAR(26) COLLATE utf8mb4_bin PRIMARY KEY, platform_id INT, KEY (platform_id))`,
	`CREATE TABLE posts (org INT, no INT, uuid BINARY(4) NOT NULL UNIQUE, thread_id CHAR(26) COLLATE utf8mb4_general_ci, PRIMARY KEY (org, no), KEY (thread_id))`,
	"CREATE TABLE comments (id BIGINT UNSIGNED PRIMARY KEY, org INT, post_no INT, post_uuid BINARY(4), commentable_type VARCHAR(20), commentable_id INT, `team``s id` INT, at DATETIME(3), seen TIMESTAMP NULL, KEY (org, post_no), KEY (post_uuid), KEY (`team``s id`))",
	`INSERT INTO threads VALUES ('a', 3), ('b', 3), ('c', 4), ('A', 5)`,
	`INSERT INTO posts VALUES (1, 1, x'00000001', 'a'), (1, 2, x'00000002', 'b'), (2, 1, x'00000003', 'c'), (2, 2, x'00000004', NULL)`,
	`INSERT INTO comments VALUES
		(18446744073709551615, 1, 1, x'00000002', 'thread', 3, 7, '2026-01-01 12:00:00.000', '2026-01-01 12:00:00'),
		(2, 1, 1, x'00000003', 'post', 3, 7, '2026-01-01 12:00:00.001', '2026-01-01 12:00:01'),
		(3, 1, 2, x'00000001', 'post', 4, 8, '2026-01-01 12:00:00.001', '2026-01-01 12:00:02'),
		(4, 2, 1, x'00000004', 'post', 3, 7, '2026-01-02 12:00:00.000', '2026-01-02 12:00:00'),
		(5, 2, 2, NULL, NULL, NULL, NULL, NULL, NULL),
		(6, 9, 9, x'00000009', 'thread', 9, 9, '2025-01-01 00:00:00.000', '2025-01-01 00:00:00')`,
}

// TestSelections: rows by their own columns, by those of rows that they lead
// to, and by times, whatever the size of the pages.
func TestSelections(t *testing.T) {
	onEachSource(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, forum...)
		cfg := configOf(t, db)
		reader, tables := readerOf(t, cfg, db, "comments")
		name := func(table string) binlog.TableName { return binlog.TableName{Schema: db.Name, Table: table} }
		columns := func(names ...string) binlog.Reference { return binlog.Reference{Columns: names} }
		thread := binlog.Hop{Table: name("threads"), Reference: columns("platform_id")}
		at := func(text string) time.Time {
			v, err := time.Parse("2006-01-02 15:04:05", text)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		const last = 18446744073709551615
		for _, c := range []struct {
			name string
			page binlog.Page
			want []uint64
		}{
			{"all", binlog.Page{}, []uint64{2, 3, 4, 5, 6, last}},
			{"a column", binlog.Page{Selection: binlog.Selection{Reference: columns("team`s id"), In: `[7]`}}, []uint64{2, 4, last}},
			{"two columns", binlog.Page{Selection: binlog.Selection{Reference: columns("org", "post_no"), In: `[1,1]`}}, []uint64{2, last}},
			{"several values of a column", binlog.Page{Selection: binlog.Selection{
				Reference: columns("team`s id"), In: `[70]`, Or: []string{`[8]`, `[9]`},
			}}, []uint64{3, 6}},
			{"several values of two", binlog.Page{Selection: binlog.Selection{
				Reference: columns("org", "post_no"), In: `[1,1]`, Or: []string{`[2,2]`},
			}}, []uint64{2, 5, last}},
			{"a polymorphic one", binlog.Page{Selection: binlog.Selection{
				Reference: binlog.Reference{Columns: []string{"commentable_id"}, TypeColumn: "commentable_type", TypeText: "post"}, In: `[3]`,
			}}, []uint64{2, 4}},
			{"two hops, by a primary key and by texts of other collations", binlog.Page{Selection: binlog.Selection{
				Reference: columns("org", "post_no"), Via: []binlog.Hop{{Table: name("posts"), Reference: columns("thread_id")}, thread}, In: `[3]`,
			}}, []uint64{2, 3, last}},
			{"two hops, by a unique key", binlog.Page{Selection: binlog.Selection{
				Reference: columns("post_uuid"), Via: []binlog.Hop{{Table: name("posts"), Key: []string{"uuid"}, Reference: columns("thread_id")}, thread}, In: `[3]`,
			}}, []uint64{3, last}},
			{"what hangs on a row in the middle", binlog.Page{Selection: binlog.Selection{
				Reference: columns("org", "post_no"), Via: []binlog.Hop{{Table: name("posts"), Reference: columns("thread_id")}}, In: `["b"]`,
			}}, []uint64{3}},
			{"what hangs on a row by bytes", binlog.Page{Selection: binlog.Selection{Reference: columns("post_uuid"), In: `["AAAAAg=="]`}}, []uint64{last}},
			{"times", binlog.Page{Bound: &binlog.Bound{Column: "at", After: at("2026-01-01 12:00:00"), Upto: at("2026-01-02 12:00:00")}}, []uint64{2, 3, 4}},
			{"times without a start", binlog.Page{Bound: &binlog.Bound{Column: "seen", Upto: at("2026-01-01 12:00:01")}}, []uint64{6, last, 2}},
			{"times and a column", binlog.Page{
				Bound:     &binlog.Bound{Column: "seen", After: at("2025-01-01 00:00:00"), Upto: at("2027-01-01 00:00:00")},
				Selection: binlog.Selection{Reference: columns("team`s id"), In: `[7]`},
			}, []uint64{last, 2, 4}},
			{"nothing", binlog.Page{Selection: binlog.Selection{Reference: columns("team`s id"), In: `[70]`}}, nil},
		} {
			c.page.Key = []binlog.KeyColumn{{Column: 0}}
			for _, c.page.Limit = range []int{1, 2, 3, 100} {
				var got []uint64
				list, _ := readPages(t, reader, tables["comments"], []int{0}, c.page, current(t, cfg))
				for _, row := range list {
					var id uint64
					if _, err := fmt.Sscanf(row, "[%d,", &id); err != nil {
						t.Fatal(err)
					}
					got = append(got, id)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("%s by %d: got %d, want %d", c.name, c.page.Limit, got, c.want)
				}
			}
		}
		for _, bad := range []binlog.Selection{
			{Reference: columns("gone"), In: `[1]`},
			{Reference: columns("org"), Via: []binlog.Hop{{Table: name("gone"), Reference: columns("a")}}, In: `[1]`},
		} {
			page := binlog.Page{Selection: bad, Key: []binlog.KeyColumn{{Column: 0}}, Limit: 1}
			_, _, err := reader.Page(t.Context(), tables["comments"], []int{0}, page, current(t, cfg), nil)
			if !binlog.Passing(err) || !strings.Contains(err.Error(), "is not there") {
				t.Errorf("%+v gave %v", bad, err)
			}
		}
	})
}

// TestBoundAroundAClockChange: local times that come twice, or never, are found
// when their time comes.
func TestBoundAroundAClockChange(t *testing.T) {
	db := servicestest.NewDatabase(t, services.MySQL)
	db.MustExec(t, `CREATE TABLE e (id INT PRIMARY KEY, at DATETIME)`)
	cfg := configOf(t, db)
	var err error
	if cfg.Location, err = time.LoadLocation("Europe/Berlin"); err != nil {
		t.Fatal(err)
	}
	var stamps []time.Time
	for i, text := range []string{
		"2026-03-29 01:59:00", "2026-03-29 02:30:00", "2026-03-29 03:00:00", // 02:00 became 03:00
		"2026-10-25 01:59:00", "2026-10-25 02:30:00", "2026-10-25 03:10:00", // 03:00 became 02:00
		"2026-06-01 12:00:00",
	} {
		db.MustExec(t, fmt.Sprintf("INSERT INTO e VALUES (%d, '%s')", i, text))
		at, err := time.ParseInLocation(time.DateTime, text, cfg.Location)
		if err != nil {
			t.Fatal(err)
		}
		stamps = append(stamps, at)
	}
	reader, tables := readerOf(t, cfg, db, "e")
	found := func(id int, after, upto time.Time) bool {
		page := binlog.Page{Bound: &binlog.Bound{Column: "at", After: after, Upto: upto}, Key: []binlog.KeyColumn{{Column: 0}}, Limit: 100}
		list, _ := readPages(t, reader, tables["e"], []int{0}, page, current(t, cfg))
		return slices.ContainsFunc(list, func(row string) bool { return strings.HasPrefix(row, fmt.Sprintf("[%d,", id)) })
	}
	for id, at := range stamps {
		if !found(id, at.Add(-time.Second), at) {
			t.Errorf("%s is not found when it comes", at)
		}
	}
	if found(6, stamps[6], stamps[6].Add(time.Hour)) {
		t.Errorf("%s is found after it came", stamps[6])
	}
}

// TestPageEndsByBytes: large rows come few at a time, and all of them.
func TestPageEndsByBytes(t *testing.T) {
	onEachSource(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE large (id INT PRIMARY KEY, v TEXT)`)
		const rows = 50
		for id := range rows {
			db.MustExec(t, fmt.Sprintf(`INSERT INTO large VALUES (%d, REPEAT('x', %d))`, id, 100+id*20))
		}
		cfg := configOf(t, db)
		reader, tables := readerOf(t, cfg, db, "large")
		page := binlog.Page{Key: []binlog.KeyColumn{{Column: 0}}, Limit: 20, Bytes: 4000}
		list, pages := readPages(t, reader, tables["large"], []int{0, 1}, page, current(t, cfg))
		if len(list) != rows || pages < 7 {
			t.Errorf("%d rows in %d pages", len(list), pages)
		}
		page.Bytes = 1
		if list, pages = readPages(t, reader, tables["large"], []int{0, 1}, page, current(t, cfg)); len(list) != rows || pages != rows+1 {
			t.Errorf("%d rows in %d pages", len(list), pages)
		}
	})
}

// TestWithin: what is read at one point belongs together, even on a server whose
// own default gives no snapshots.
func TestWithin(t *testing.T) {
	onEachSource(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v INT)`, `CREATE TABLE b (id INT PRIMARY KEY, v INT)`,
			`INSERT INTO a VALUES (1, 0)`, `INSERT INTO b VALUES (1, 0)`)
		cfg := configOf(t, db)
		reader, tables := readerOf(t, cfg, db, "a", "b")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			for ctx.Err() == nil {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					done <- err
					return
				}
				_, errA := tx.ExecContext(t.Context(), `UPDATE a SET v = v + 1`)
				_, errB := tx.ExecContext(t.Context(), `UPDATE b SET v = v + 1`)
				if err := errors.Join(errA, errB, tx.Commit()); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		key := []binlog.KeyColumn{{Column: 0}}
		for range 100 {
			after := current(t, cfg)
			var got []string
			take := func(row *binlog.Row) error {
				text, err := rowJSON(row)
				got = append(got, text)
				return err
			}
			upto, err := reader.Within(t.Context(), after, func(m *binlog.Moment) error {
				if err := m.Rows(tables["a"], []int{0, 1}, key, []string{"[1]"}, take); err != nil {
					return err
				}
				_, err := m.Page(tables["b"], []int{0, 1}, binlog.Page{Key: key, Limit: 5}, take)
				return err
			})
			if err != nil || !upto.Covers(after) || len(got) != 2 || got[0] != got[1] {
				t.Errorf("got %q up to %s of %s, %v", got, upto, after, err)
				break
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}, "--transaction-isolation=READ-COMMITTED")
}
