package binlog_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// full widens what tests go through.
var full = os.Getenv("TEST_FULL") != ""

// source is a server that the suite runs on, and what can change its stream.
type source struct {
	name    string
	kind    services.Kind
	args    []string
	factors []factor
	// compressedEvent is in the type of events that are compressed, as SHOW BINLOG EVENTS has it.
	compressedEvent string
}

// factor is a global variable and its values.
type factor struct {
	variable string
	values   []string
}

var (
	mysqlFactors = []factor{
		{"binlog_row_metadata", []string{"'MINIMAL'", "'FULL'"}},
		{"binlog_transaction_compression", []string{"OFF", "ON"}},
		{"binlog_checksum", []string{"'CRC32'", "'NONE'"}},
	}
	mariadbFactors = []factor{
		{"binlog_row_metadata", []string{"'NO_LOG'", "'MINIMAL'", "'FULL'"}},
		{"log_bin_compress", []string{"OFF", "ON"}},
		{"binlog_checksum", []string{"'CRC32'", "'NONE'"}},
	}
	sources = []source{
		{"MySQL with GTIDs", services.MySQL, nil, mysqlFactors, "Transaction_payload"},
		{"MySQL without GTIDs", services.MySQL, []string{"--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"}, mysqlFactors, "Transaction_payload"},
		{"MariaDB 10.11", services.MariaDB, []string{"--log-bin-compress-min-len=10"}, mariadbFactors, "_compressed"},
		{"MariaDB 11.8", services.MariaDB118, []string{"--log-bin-compress-min-len=10"}, mariadbFactors, "_compressed"},
	}
)

// TestConformance runs the same cases on every server and over whatever
// changes the stream: every pair of values, and with TEST_FULL every combination.
func TestConformance(t *testing.T) {
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			server := servicestest.StartSQL(t, s.kind, services.SQLOptions{Args: s.args})
			chosen := combinations(s.factors)
			if !full {
				chosen = pairwise(s.factors)
			}
			for i, values := range chosen {
				t.Run(strings.ReplaceAll(strings.Join(values, ","), "'", ""), func(t *testing.T) {
					set := func(db *servicestest.Database) {
						for j, f := range s.factors {
							db.MustExec(t, fmt.Sprintf("SET GLOBAL %s = %s", f.variable, values[j]))
						}
					}
					db := servicestest.CreateDatabase(t, server)
					set(db)
					db.MustExec(t, "FLUSH BINARY LOGS")
					log := current(t, configOf(t, db)).File
					for _, c := range conformance {
						t.Run(c.name, func(t *testing.T) { c.test(t, servicestest.CreateDatabase(t, server)) })
					}
					if want := values[1] == "ON"; logHas(t, db, log, s.compressedEvent) != want {
						t.Errorf("the log has compressed events: %v, want %v", !want, want)
					}
					if i < 2 || full { // with checksums and without
						t.Run("idle", func(t *testing.T) { conformsWhenIdle(t, servicestest.CreateDatabase(t, server)) })
					}
					if i == 0 || full {
						t.Run("restart", func(t *testing.T) { conformsAcrossARestart(t, servicestest.CreateDatabase(t, server), set) })
					}
				})
			}
		})
	}
}

var conformance = []struct {
	name string
	test func(*testing.T, *servicestest.Database)
}{
	{"changes", conformsInChanges},
	{"reconnect", conformsAcrossReconnects},
	{"reads", conformsInReads},
}

// logHas says whether a log has events of a type: that settings are in effect.
func logHas(t *testing.T, db *servicestest.Database, log, kind string) bool {
	t.Helper()
	events := column(t, db, fmt.Sprintf("SHOW BINLOG EVENTS IN '%s'", log), 2)
	return slices.ContainsFunc(events, func(s string) bool { return strings.Contains(s, kind) })
}

// column reads a column of what a statement answers.
func column(t *testing.T, db *servicestest.Database, statement string, n int) (values []string) {
	t.Helper()
	list, err := db.Query(statement)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	names, err := list.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for list.Next() {
		fields := make([]any, len(names))
		for i := range fields {
			fields[i] = new(sql.RawBytes)
		}
		if err := list.Scan(fields...); err != nil {
			t.Fatal(err)
		}
		values = append(values, string(*fields[n].(*sql.RawBytes)))
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

// combinations are all values of all factors with each other.
func combinations(factors []factor) [][]string {
	out := [][]string{nil}
	for _, f := range factors {
		var longer [][]string
		for _, head := range out {
			for _, v := range f.values {
				longer = append(longer, append(slices.Clone(head), v))
			}
		}
		out = longer
	}
	return out
}

// pairwise are combinations that have every pair of values of two factors in
// them: always the one with the most pairs that are still missing.
func pairwise(factors []factor) [][]string {
	type pair struct {
		i, j int
		a, b string
	}
	pairs := func(values []string) (list []pair) {
		for i := range values {
			for j := range i {
				list = append(list, pair{i, j, values[i], values[j]})
			}
		}
		return list
	}
	all := combinations(factors)
	missing := map[pair]bool{}
	for _, values := range all {
		for _, p := range pairs(values) {
			missing[p] = true
		}
	}
	var out [][]string
	for len(missing) > 0 {
		gain := func(values []string) (n int) {
			for _, p := range pairs(values) {
				if missing[p] {
					n++
				}
			}
			return n
		}
		best := slices.MaxFunc(all, func(a, b []string) int { return gain(a) - gain(b) })
		for _, p := range pairs(best) {
			delete(missing, p)
		}
		out = append(out, best)
	}
	return out
}

// resumable is a recorder that keeps the position of each commit, and how many
// lines come before it.
type resumable struct {
	*recorder
	at    []string
	lines []int
}

func (r *resumable) Commit(ctx context.Context, pt binlog.Point) error {
	if err := r.recorder.Commit(ctx, pt); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, r.pos.String())
	r.lines = append(r.lines, len(r.recorder.lines))
	return nil
}

const large = 1 << 20

// story is what happens in conformsInChanges, and the changes that come of it.
var story = []struct {
	statements []string
	changes    []string
}{
	{
		[]string{"INSERT INTO a VALUES (1, 18446744073709551615, 'é', 'q', NULL), (2, 200, '', 'p', '日本')"},
		[]string{`insert a [1,18446744073709551615,"é","q",null]`, `insert a [2,200,"","p","日本"]`},
	},
	{
		[]string{"UPDATE a SET n = n - 1, e = 'p'"},
		[]string{
			`update a [1,18446744073709551615,"é","q",null] [1,18446744073709551614,"é","p",null]`,
			`update a [2,200,"","p","日本"] [2,199,"","p","日本"]`,
		},
	},
	{[]string{"UPDATE a SET n = n"}, nil},
	{[]string{"INSERT INTO other VALUES (1)"}, nil},
	{[]string{"UPDATE a SET id = 3, t = 'z' WHERE id = 1"}, []string{`update a [1,18446744073709551614,"é","p",null] [3,18446744073709551614,"é","p","z"]`}},
	{[]string{"DELETE FROM a WHERE id = 3"}, []string{`delete a [3,18446744073709551614,"é","p","z"]`}},
	{[]string{"BEGIN", "INSERT INTO b VALUES (1, 1)", "INSERT INTO other VALUES (2)", "UPDATE b SET v = 2", "ROLLBACK"}, nil},
	{
		[]string{
			"BEGIN", "INSERT INTO b VALUES (1, 1), (2, 2)", "INSERT INTO other VALUES (3)", "SAVEPOINT p", "INSERT INTO b VALUES (3, 3)",
			"ROLLBACK TO p", "UPDATE a, b SET a.n = 5, b.v = 5 WHERE a.id = b.id", "DELETE FROM b WHERE id = 1", "COMMIT",
		},
		[]string{
			`insert b [1,1]`, `insert b [2,2]`, `update a [2,199,"","p","日本"] [2,5,"","p","日本"]`, `update b [2,2] [2,5]`, `delete b [1,1]`,
		},
	},
	{
		[]string{"INSERT INTO b VALUES (4, 4)", "INSERT INTO b VALUES (4, 0), (5, 5) ON DUPLICATE KEY UPDATE v = 6", "REPLACE INTO b VALUES (4, 7)", "DELETE a, b FROM b LEFT JOIN a USING (id) WHERE b.id > 3"},
		[]string{`insert b [4,4]`, `update b [4,4] [4,6]`, `insert b [5,5]`, `update b [4,6] [4,7]`, `delete b [4,7]`, `delete b [5,5]`},
	},
	{[]string{"INSERT INTO myisam VALUES (1)", "INSERT INTO myisam VALUES (2)"}, []string{"insert myisam [1]", "insert myisam [2]"}},
	{
		[]string{fmt.Sprintf("INSERT INTO a VALUES (9, 1, 'large', 'p', REPEAT('x', %d))", large)},
		[]string{`insert a [9,1,"large","p","` + strings.Repeat("x", large) + `"]`},
	},
	{
		[]string{"UPDATE a SET t = REVERSE(CONCAT(t, 'y')) WHERE id = 9", "DELETE FROM a WHERE id = 9"},
		[]string{
			`update a [9,1,"large","p","` + strings.Repeat("x", large) + `"] [9,1,"large","p","y` + strings.Repeat("x", large) + `"]`,
			`delete a [9,1,"large","p","y` + strings.Repeat("x", large) + `"]`,
		},
	},
	{[]string{"FLUSH BINARY LOGS", "CREATE TABLE c AS SELECT * FROM b", "INSERT INTO b SELECT id + 10, v FROM c"}, []string{"insert b [12,5]"}},
	{[]string{"FLUSH BINARY LOGS", "CREATE TEMPORARY TABLE temporary (i INT)", "INSERT INTO temporary VALUES (1)", "DELETE FROM b"}, []string{"delete b [2,5]", "delete b [12,5]"}},
}

// conformsInChanges: what is followed live is what is read again from every
// position on the way.
func conformsInChanges(t *testing.T, db *servicestest.Database) {
	db.MustExec(t,
		`CREATE TABLE a (id INT PRIMARY KEY, n BIGINT UNSIGNED, s VARCHAR(40) CHARACTER SET latin1, e ENUM('p', 'q'), t LONGTEXT CHARACTER SET utf8mb4)`,
		`CREATE TABLE b (id INT PRIMARY KEY, v INT)`, `CREATE TABLE myisam (id INT PRIMARY KEY) ENGINE=MyISAM`, `CREATE TABLE other (id INT PRIMARY KEY)`)
	tables := []binlog.TableName{tableA(db), {Schema: db.Name, Table: "b"}, {Schema: db.Name, Table: "myisam"}}
	many := []string{"BEGIN"}
	var want, manyChanges []string
	for i := range 8 {
		name := fmt.Sprintf("t%02d", i)
		db.MustExec(t, fmt.Sprintf("CREATE TABLE %s (id INT PRIMARY KEY)", name))
		many = append(many, fmt.Sprintf("INSERT INTO %s VALUES (%d)", name, i))
		manyChanges = append(manyChanges, fmt.Sprintf("insert %s [%d]", name, i))
		tables = append(tables, binlog.TableName{Schema: db.Name, Table: name})
	}
	cfg := configOf(t, db)
	from := current(t, cfg)
	rec := &resumable{recorder: newRecorder(from)}
	stop := follow(t, cfg, from, rec, tables...)
	var statements []string
	for _, s := range story {
		statements = append(statements, s.statements...)
		want = append(want, s.changes...)
	}
	session(t, db, slices.Concat(statements, many, []string{"COMMIT"})...)
	want = append(want, manyChanges...)
	end := current(t, cfg)
	wantLines(t, shortened(rec.until(t, end)), shortened(want))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for i, at := range rec.at {
		position, err := binlog.ParsePosition(at)
		if err != nil {
			t.Fatal(err)
		}
		again := newRecorder(position)
		stop := follow(t, cfg, position, again, tables...)
		got := again.until(t, end)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want[rec.lines[i]:]) {
			t.Errorf("from %s", at)
			wantLines(t, shortened(got), shortened(want[rec.lines[i]:]))
		}
	}
}

// shortened puts the hash of a long line in its place.
func shortened(lines []string) []string {
	out := slices.Clone(lines)
	for i, line := range out {
		if len(line) > 200 {
			out[i] = fmt.Sprintf("%.50s… %d bytes, SHA-256 %x", line, len(line), sha256.Sum256([]byte(line)))
		}
	}
	return out
}

// conformsAcrossReconnects: a transaction that is larger than what sockets
// hold, broken off twice, comes once, in order and whole.
func conformsAcrossReconnects(t *testing.T, db *servicestest.Database) {
	const rows, cuts = 1000, 2
	db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, t TEXT)`)
	cfg := configOf(t, db)
	from := current(t, cfg)
	rec := newRecorder(from)
	killed := 0
	rec.fail = func(string) error {
		if killed == cuts || len(rec.lines) <= 10+killed*rows/2 {
			return nil
		}
		killed++
		return killDumps(db)
	}
	follow(t, cfg, from, rec, tableA(db))
	session(t, db, "BEGIN", "INSERT INTO a VALUES (0, 'first')", fmt.Sprintf(`INSERT INTO a
		SELECT i, CONCAT(HEX(RANDOM_BYTES(1024)), HEX(RANDOM_BYTES(1024))) FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n) AS x`, rows),
		"COMMIT", fmt.Sprintf("INSERT INTO a VALUES (%d, 'last')", rows+1))
	got := rec.until(t, current(t, cfg))
	if len(got) != rows+2 || killed != cuts || len(rec.points) != 2 {
		t.Fatalf("%d rows, %d cuts, %d commits, want %d, %d, 2", len(got), killed, len(rec.points), rows+2, cuts)
	}
	for i, line := range got {
		if !strings.HasPrefix(line, fmt.Sprintf("insert a [%d,", i)) {
			t.Fatalf("row %d is %.40s", i, line)
		}
	}
}

// conformsWhenIdle: the position comes to the end of a log in which nothing of
// interest is, by a heartbeat: no event of a new log is one to be given. Then
// heartbeats tell the time.
func conformsWhenIdle(t *testing.T, db *servicestest.Database) {
	db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`)
	cfg := configOf(t, db)
	from := current(t, cfg)
	rec := &idler{recorder: newRecorder(from), idle: make(chan binlog.Point, 100)}
	follow(t, cfg, from, rec, tableA(db))
	db.MustExec(t, "FLUSH BINARY LOGS")
	end, flushed := current(t, cfg), time.Now()
	deadline := time.After(patience)
	for there := false; !there; {
		select {
		case pt := <-rec.idle:
			there = pt.File == end.File && pt.Offset >= end.Offset && // MariaDB writes a checkpoint a moment later
				pt.At().After(flushed) && !pt.At().After(time.Now())
		case <-deadline:
			t.Fatalf("it did not come to %s in %s", end, patience)
		}
	}
}

// idler gives where the tail is idle.
type idler struct {
	*recorder
	idle chan binlog.Point
}

func (i *idler) Idle(pt binlog.Point) {
	select {
	case i.idle <- pt:
	default:
	}
}

// conformsInReads: rows that are read back are as of the position asked for.
func conformsInReads(t *testing.T, db *servicestest.Database) {
	db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v INT)`)
	cfg := configOf(t, db)
	newRace(t, cfg, db).run(t, db, 100, patience)
}

// conformsAcrossARestart: a server that was killed is waited for.
func conformsAcrossARestart(t *testing.T, db *servicestest.Database, set func(*servicestest.Database)) {
	db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`)
	cfg := configOf(t, db)
	from := current(t, cfg)
	rec := newRecorder(from)
	follow(t, cfg, from, rec, tableA(db))
	db.MustExec(t, `INSERT INTO a VALUES (1)`)
	rec.until(t, current(t, cfg))
	db.Server.Kill()
	if err := db.Server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(db)
	db.MustExec(t, `INSERT INTO a VALUES (2)`)
	wantLines(t, rec.until(t, current(t, cfg)), []string{"insert a [1]", "insert a [2]"})
}
