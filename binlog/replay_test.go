package binlog_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// chronicle keeps all that a tail tells, in order, and the shapes to recall.
type chronicle struct {
	*recorder
	first  binlog.Position
	shapes string
}

func newChronicle(from binlog.Position) *chronicle {
	return &chronicle{recorder: newRecorder(from), first: from.Clone()}
}

func (s *chronicle) Definition(_ context.Context, d *binlog.Definition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shapes, _ = d.Shapes(s.first)
	if d.Kind != binlog.Present {
		s.lines = append(s.lines, fmt.Sprintf("%s %s %q", d.Kind, s.name(d.Name), d.Touched))
	}
	return nil
}

// tell reads from a position to the end of the log; the error is why it could not.
func tell(t *testing.T, cfg binlog.Config, from binlog.Position, shapes string, table binlog.TableName, patterns ...binlog.Pattern) (*chronicle, error) {
	t.Helper()
	server, err := binlog.Inspect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := newChronicle(from)
	s.databases = len(patterns) > 0
	cfg.ServerID += 1 << 20
	source := binlog.NewSource(cfg, server, []binlog.TableName{table}, patterns...)
	if err := source.Recall(shapes); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end := &ending{chronicle: s, to: server.Current, end: cancel}
	err = source.Run(ctx, from, end)
	if err == nil && !end.done {
		t.Fatalf("the tail has not come to %s in %s; it is at %s", server.Current, patience, s.pos)
	}
	return s, err
}

// ending ends the reading at a position.
type ending struct {
	*chronicle
	to   binlog.Position
	end  func()
	done bool
}

func (e *ending) Commit(ctx context.Context, pt binlog.Point) error {
	err := e.chronicle.Commit(ctx, pt)
	e.check()
	return err
}

func (e *ending) Idle(pt binlog.Point) {
	e.chronicle.Idle(pt)
	e.check()
}

func (e *ending) check() {
	if e.pos.Covers(e.to) {
		e.done = true
		e.end()
	}
}

// histories are statements on tables of which a is wanted. They end with a as
// they found it: not there.
var histories = []struct {
	name       string
	statements []string
	want       []string // the definitions, in order
	keyless    bool     // a has no primary key once, so that only the dictionary tells how to find a row
}{
	{
		"columns change",
		[]string{
			"CREATE TABLE a (id INT PRIMARY KEY, x INT UNSIGNED, y INT UNSIGNED, e ENUM('p','é'))", "INSERT INTO a VALUES (1, 3, 4000000000, 'é')",
			"ALTER TABLE a MODIFY y INT UNSIGNED AFTER id", "INSERT INTO a VALUES (2, 4000000000, 1, 'p')", // they swapped places
			"ALTER TABLE a CHANGE x z INT, MODIFY e ENUM('q','p','é')", "INSERT INTO a VALUES (3, 1, -1, 'q')",
			"ALTER TABLE a ADD COLUMN note TEXT, ADD INDEX (y)", "UPDATE a SET note = 'n' WHERE id = 1",
			"ALTER TABLE a DROP PRIMARY KEY, ADD PRIMARY KEY (id, y)", "DELETE FROM a WHERE id = 2",
			"TRUNCATE TABLE a", "INSERT INTO a VALUES (4, 1, 1, 'p', NULL)",
			"DROP TABLE a",
		},
		[]string{
			"altered a []", `altered a ["y"]`, `altered a ["x" "z" "e"]`, `altered a ["note"]`, `altered a []`, "emptied a []", "dropped a []",
		},
		false,
	},
	{
		"renames, and tables that take the place of others",
		[]string{
			"CREATE TABLE a (id INT PRIMARY KEY, x INT, y INT)", "INSERT INTO a VALUES (1, 2, 3)",
			"CREATE TABLE b (id INT PRIMARY KEY, y INT, x INT)", "INSERT INTO b VALUES (9, 8, 7)",
			"RENAME TABLE a TO c, b TO a", "INSERT INTO a VALUES (2, 3, 4)", "INSERT INTO c VALUES (2, 3, 4)",
			"ALTER TABLE a RENAME TO b", "INSERT INTO b VALUES (3, 3, 3)", "ALTER TABLE c RENAME a", "INSERT INTO a VALUES (5, 6, 7)",
			"DROP TABLE a, b", "CREATE TABLE a AS SELECT 1 AS id, 'x' AS v",
			"CREATE TABLE b LIKE a", "DROP TABLE a", "DROP TABLE b",
		},
		[]string{
			"altered a []", "replaced a []", "dropped a []", "replaced a []", "dropped a []", "altered a []", "altered a []", "dropped a []",
		},
		true,
	},
	{
		"pt-online-schema-change",
		[]string{
			"CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(10), w VARCHAR(10))", "INSERT INTO a VALUES (1, 'x', 'y'), (2, 'x', 'y')",
			"CREATE TABLE `_a_new` (id INT PRIMARY KEY, v VARCHAR(10), w VARCHAR(10))", "ALTER TABLE `_a_new` MODIFY w VARCHAR(10) AFTER id",
			"CREATE TRIGGER `pt_osc_a_del` AFTER DELETE ON a FOR EACH ROW DELETE IGNORE FROM `_a_new` WHERE `_a_new`.`id` <=> OLD.`id`",
			"CREATE TRIGGER `pt_osc_a_upd` AFTER UPDATE ON a FOR EACH ROW BEGIN DELETE IGNORE FROM `_a_new` WHERE !(OLD.`id` <=> NEW.`id`) AND `_a_new`.`id` <=> OLD.`id`; REPLACE INTO `_a_new` (`id`, `v`, `w`) VALUES (NEW.`id`, NEW.`v`, NEW.`w`); END",
			"CREATE TRIGGER `pt_osc_a_ins` AFTER INSERT ON a FOR EACH ROW REPLACE INTO `_a_new` (`id`, `v`, `w`) VALUES (NEW.`id`, NEW.`v`, NEW.`w`)",
			"INSERT INTO a VALUES (3, 'x', 'y')",
			"INSERT LOW_PRIORITY IGNORE INTO `_a_new` (`id`, `v`, `w`) SELECT `id`, `v`, `w` FROM a LOCK IN SHARE MODE /*pt-online-schema-change copy table*/",
			"UPDATE a SET v = 'z' WHERE id = 1", "DELETE FROM a WHERE id = 2",
			"ANALYZE TABLE `_a_new`",
			"RENAME TABLE a TO `_a_old`, `_a_new` TO a", "DROP TRIGGER IF EXISTS `pt_osc_a_del`", "DROP TRIGGER IF EXISTS `pt_osc_a_upd`",
			"DROP TRIGGER IF EXISTS `pt_osc_a_ins`", "DROP TABLE IF EXISTS `_a_old`",
			"INSERT INTO a (id, v, w) VALUES (4, 'v', 'w')", "DROP TABLE a",
		},
		[]string{"altered a []", "replaced a []", "dropped a []"},
		false,
	},
	{
		"gh-ost",
		[]string{
			"CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(10), w VARCHAR(10))", "INSERT INTO a VALUES (1, 'x', 'y'), (2, 'x', 'y')",
			"create /* gh-ost */ table `_a_ghc` (id bigint auto_increment, hint varchar(64), primary key(id))",
			"create /* gh-ost */ table `_a_gho` (id INT PRIMARY KEY, v VARCHAR(10), w VARCHAR(10))",
			"alter /* gh-ost */ table `_a_gho` MODIFY w VARCHAR(10) AFTER id",
			"insert /* gh-ost */ ignore into `_a_gho` (`id`, `v`, `w`) (select `id`, `v`, `w` from a force index (`PRIMARY`))",
			"UPDATE a SET v = 'z' WHERE id = 1", "replace /* gh-ost */ into `_a_gho` (`id`, `v`, `w`) values (1, 'z', 'y')",
			"DELETE FROM a WHERE id = 2", "delete /* gh-ost */ from `_a_gho` where `id` = 2",
			"create /* gh-ost */ table `_a_del` (id int auto_increment primary key) engine=InnoDB comment='ghost-cut-over-sentry'",
			"drop /* gh-ost */ table `_a_del`", "rename /* gh-ost */ table a to `_a_del`, `_a_gho` to a",
			"INSERT INTO a (id, v, w) VALUES (4, 'v', 'w')", "drop /* gh-ost */ table if exists `_a_ghc`", "drop /* gh-ost */ table if exists `_a_del`",
			"DROP TABLE a",
		},
		[]string{"altered a []", "replaced a []", "dropped a []"},
		false,
	},
}

// TestReplay: what the log gives later is what it gave live, byte for byte,
// or it is refused.
func TestReplay(t *testing.T) {
	for _, kind := range everyKind {
		for _, metadata := range []string{"FULL", "MINIMAL", "NO_LOG"} {
			if metadata == "NO_LOG" && kind == services.MySQL {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", kind, metadata), func(t *testing.T) {
				server := servicestest.SharedSQL(t, kind)
				for _, history := range histories {
					db := servicestest.CreateDatabase(t, server)
					setGlobal(t, db, "binlog_row_metadata", metadata)
					t.Run(history.name, func(t *testing.T) {
						replay(t, db, metadata == "FULL" && !history.keyless, history.statements, history.want)
					})
				}
			})
		}
	}
}

// replay has a history happen under a tail, and read again. complete says that
// the log tells all that is needed.
func replay(t *testing.T, db *servicestest.Database, complete bool, statements, want []string) {
	t.Helper()
	cfg := configOf(t, db)
	from := current(t, cfg)
	live := newChronicle(from)
	stop := follow(t, cfg, from, live, tableA(db))
	var middle binlog.Position
	var before int
	for i, s := range statements {
		db.MustExec(t, s)
		told := live.until(t, current(t, cfg))
		if i == len(statements)/2 {
			middle, before = current(t, cfg), len(told)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var definitions []string
	for _, line := range live.lines {
		if kind, _, _ := strings.Cut(line, " "); slices.Contains([]string{"altered", "emptied", "dropped", "replaced"}, kind) {
			definitions = append(definitions, line)
		}
	}
	wantLines(t, definitions, want)

	again, err := tell(t, cfg, from, live.shapes, tableA(db))
	if err != nil {
		t.Fatalf("with its shapes: %v", err)
	}
	wantLines(t, again.lines, live.lines)
	again, err = tell(t, cfg, middle, live.shapes, tableA(db))
	if err != nil {
		t.Fatalf("from the middle: %v", err)
	}
	wantLines(t, again.lines, live.lines[before:])

	again, err = tell(t, cfg, from, "", tableA(db))
	if complete {
		if err != nil {
			t.Errorf("without shapes: %v", err)
		}
		wantLines(t, again.lines, live.lines)
		return
	}
	if err == nil || !strings.Contains(err.Error(), "binlog_row_metadata") {
		t.Errorf("without shapes the tail ended with %v", err)
	}
	if n := len(again.lines); n > len(live.lines) || !slices.Equal(again.lines, live.lines[:n]) {
		t.Errorf("before it ended, it told\n%s\nand live\n%s", strings.Join(again.lines, "\n"), strings.Join(live.lines, "\n"))
	}
}
