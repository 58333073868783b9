package binlog_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// reaching makes table a, which is mapped, and what leads to it: %[2]s is
// another database.
var reaching = []string{
	`CREATE TABLE a (id INT PRIMARY KEY, v INT)`,
	`CREATE TABLE other (id INT PRIMARY KEY, v INT)`,
	`CREATE TABLE parent (id INT PRIMARY KEY)`,
	`CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)`,
	`CREATE TABLE triggering (id INT PRIMARY KEY)`,
	`CREATE TRIGGER tr AFTER INSERT ON triggering FOR EACH ROW BEGIN IF NEW.id > 0 THEN UPDATE a SET v = NEW.id; END IF; END`,
	`CREATE TABLE counted (id INT PRIMARY KEY)`,
	`CREATE TRIGGER tc AFTER INSERT ON counted FOR EACH ROW INSERT INTO other SELECT NEW.id, COUNT(*) FROM a ON DUPLICATE KEY UPDATE v = 1`,
	`CREATE VIEW seen AS SELECT x.id, x.v AS w FROM a AS x`,
	`CREATE VIEW joined AS SELECT seen.id, other.v FROM seen JOIN other ON seen.id = other.id`,
	`CREATE PROCEDURE write_a(n INT) BEGIN REPLACE INTO a VALUES (n, 0); END`,
	`CREATE FUNCTION writes(n INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN CALL write_a(n); RETURN n; END`,
	`CREATE FUNCTION harmless(n INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN UPDATE other SET v = n; RETURN n; END`,
	`CREATE VIEW calling AS SELECT writes(id) AS id FROM other`,
	`CREATE TABLE %[2]s.t (id INT PRIMARY KEY, v INT)`,
	`CREATE TABLE %[2]s.sums (id INT PRIMARY KEY, v INT)`,
	`CREATE TRIGGER %[2]s.far AFTER DELETE ON %[2]s.t FOR EACH ROW DELETE FROM %[1]s.a WHERE id = OLD.id`,
	`CREATE VIEW %[2]s.a AS SELECT * FROM %[1]s.other`,
	`INSERT INTO a VALUES (1, 1), (2, 2)`, `INSERT INTO other VALUES (1, 1), (2, 2)`, `INSERT INTO %[2]s.t VALUES (1, 1)`,
}

// TestStatementsThatReachAMappedTable are noticed also where they do not name
// it; those that read it only, or have nothing to do with it, go by.
func TestStatementsThatReachAMappedTable(t *testing.T) {
	const missed = "\x00"
	for _, kind := range everyKind {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			server := servicestest.SharedSQL(t, kind)
			db, far := servicestest.CreateDatabase(t, server), servicestest.CreateDatabase(t, server)
			file := t.TempDir() + "/rows"
			if err := os.WriteFile(file, []byte("7\t7\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			sql := func(s string) string {
				return strings.NewReplacer("%[1]s", db.Name, "%[2]s", far.Name, "%[3]s", file).Replace(s)
			}
			for _, s := range reaching {
				db.MustExec(t, sql(s))
			}
			for _, c := range []struct{ statement, through string }{
				{`UPDATE a SET v = 9 WHERE id = 1`, ""},
				{`REPLACE INTO a SELECT id, v + 1 FROM other`, ""},
				{`LOAD DATA INFILE '%[3]s' INTO TABLE a`, ""},
				{`UPDATE other, a SET other.v = 5, a.v = 5`, ""},
				{`DELETE x FROM a AS x JOIN other ON x.id = other.id`, ""},
				{`UPDATE seen SET w = 7`, " through view %[1]s.seen"},
				{`UPDATE joined SET id = id + 100`, " through view %[1]s.seen through view %[1]s.joined"},
				{`INSERT INTO triggering VALUES (1)`, " through trigger %[1]s.tr"},
				{`DELETE FROM %[2]s.t`, " through trigger %[2]s.far"},
				{`CALL write_a(11)`, ""},
				{`SELECT writes(12)`, " through routine %[1]s.write_a through routine %[1]s.writes"},
				{`DO writes(13)`, " through routine %[1]s.write_a through routine %[1]s.writes"},
				{`INSERT INTO other VALUES (writes(14), 1)`, " through routine %[1]s.write_a through routine %[1]s.writes"},
				{`INSERT INTO other SELECT id + 1000, 1 FROM calling`, " through routine %[1]s.write_a through routine %[1]s.writes through view %[1]s.calling"},
				{`DROP TABLE a; CREATE TABLE a AS SELECT 1 AS id, 1 AS v`, ""},
				{`SET STATEMENT max_statement_time = 9 FOR UPDATE a SET v = 77`, ""},
				{`ANALYZE UPDATE a SET v = 78`, ""},

				{`INSERT INTO other SELECT id + 50, v FROM a`, missed},
				{`REPLACE INTO %[2]s.sums SELECT * FROM %[1]s.a`, missed}, // as pt-table-checksum does
				{`INSERT INTO counted VALUES (1)`, missed},
				{`UPDATE %[2]s.a SET v = 3`, missed},
				{`UPDATE other SET v = (SELECT COUNT(*) FROM a), id = id + 200`, missed},
				{`UPDATE other JOIN (SELECT * FROM a) AS x ON other.id = x.id + 200 SET other.v = 6`, missed},
				{`DELETE other FROM other JOIN parent AS x`, missed},
				{`SELECT harmless(12)`, missed},
				{`LOAD DATA INFILE '%[3]s' INTO TABLE other`, missed},
				{`DELETE FROM parent`, missed},
			} {
				if kind == services.MySQL && (strings.HasPrefix(c.statement, "SET ") || strings.HasPrefix(c.statement, "ANALYZE ")) {
					continue // MariaDB's
				}
				cfg := configOf(t, db)
				from := current(t, cfg)
				session(t, db, slices.Concat([]string{"SET SESSION binlog_format = 'STATEMENT'"}, strings.Split(sql(c.statement), "; "), []string{"SET SESSION binlog_format = 'ROW'"})...)
				end := current(t, cfg)
				if from.Covers(end) {
					t.Errorf("%s: was not logged", c.statement)
				}
				if c.through == missed {
					rec := newRecorder(from)
					stop := follow(t, cfg, from, rec, tableA(db))
					rec.until(t, end)
					if err := stop(); err != nil {
						t.Errorf("%s: %v", c.statement, err)
					}
					continue
				}
				err := ended(t, cfg, from, newRecorder(from), tableA(db))
				want := sql("a change of %[1]s.a" + c.through + " was logged as a statement and not as rows")
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: ended with %v, want %q", c.statement, err, want)
				}
			}
		})
	}
}

// TestStatementsOfWhichNobodyCanTell stop the stream, and say what would tell.
func TestStatementsOfWhichNobodyCanTell(t *testing.T) {
	for _, kind := range everyKind {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			server := servicestest.SharedSQL(t, kind)
			db, far := servicestest.CreateDatabase(t, server), servicestest.CreateDatabase(t, server)
			db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`, `CREATE TABLE other (id INT PRIMARY KEY, v VARCHAR(9))`, `CREATE TABLE gone (id INT PRIMARY KEY)`,
				`CREATE FUNCTION f() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO other VALUES (1, ''); RETURN 1; END`)
			far.MustExec(t, `CREATE TABLE t (id INT PRIMARY KEY)`)
			user := strings.ReplaceAll(db.Name, "test", "few")
			db.MustExec(t, fmt.Sprintf("CREATE USER '%s'@'127.0.0.1'", user), fmt.Sprintf("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '%s'@'127.0.0.1'", user),
				fmt.Sprintf("GRANT SELECT ON %s.a TO '%s'@'127.0.0.1'", db.Name, user))
			few := configOf(t, db)
			few.User = user
			const format = "SET SESSION binlog_format = 'STATEMENT'"
			for _, c := range []struct {
				cfg        binlog.Config
				statements []string
				want       string
			}{
				{few, []string{format, "INSERT INTO other VALUES (2, '')"}, "views, triggers and routines are not to be seen; to show them: GRANT TRIGGER, SHOW VIEW, "},
				{few, []string{format, "INSERT INTO a VALUES (2)"}, "a change of " + db.Name + ".a was logged"},
				{configOf(t, db), []string{format, "INSERT INTO gone VALUES (2)", "DROP TABLE gone"}, "table " + db.Name + ".gone is not there any more"},
				{configOf(t, db), []string{format, "SELECT f()", "DROP FUNCTION f"}, "it calls a function that is not there any more"},
				{configOf(t, db), []string{format, "SET NAMES latin1", "INSERT INTO other VALUES (3, '\xe9')"}, `its text is in the character set "latin1"`},
				{
					configOf(t, db),
					[]string{"CREATE TRIGGER tr AFTER INSERT ON other FOR EACH ROW INSERT INTO a VALUES (NEW.id)", format, "INSERT INTO other VALUES (4, '')", "DROP TRIGGER tr"},
					"this statement changes what decides which tables the statement that was logged at ",
				},
			} {
				from := current(t, configOf(t, db))
				session(t, db, c.statements...)
				err := ended(t, c.cfg, from, newRecorder(from), tableA(db))
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%q: ended with %v, want %q", c.statements, err, c.want)
				}
			}
			// MySQL says which databases a statement touched, MariaDB's text
			// names none of ours.
			from := current(t, few)
			session(t, far, format, "INSERT INTO t VALUES (1)")
			rec := newRecorder(from)
			follow(t, few, from, rec, tableA(db))
			rec.until(t, current(t, few))
		})
	}
}
