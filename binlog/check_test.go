package binlog_test

import (
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestCheckSaysWhatMends runs what Check says and checks again.
func TestCheckSaysWhatMends(t *testing.T) {
	for _, kind := range everyKind {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			args := []string{"--binlog-row-image=NOBLOB", "--binlog-format=MIXED"}
			wants := []string{`binlog_row_image is "NOBLOB"`, `binlog_format is "MIXED"`}
			if kind == services.MySQL {
				args = append(args, "--binlog-row-value-options=PARTIAL_JSON")
				wants = append(wants, `binlog_row_value_options is "PARTIAL_JSON"`)
			}
			server := servicestest.StartSQL(t, kind, services.SQLOptions{Args: args})
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`, `CREATE USER 'weak'@'127.0.0.1' IDENTIFIED BY 'pw'`)
			cfg := configOf(t, db)
			cfg.User, cfg.Password = "weak", func() string { return "pw" }
			name := binlog.TableName{Schema: db.Name, Table: "a"}
			gone := binlog.TableName{Schema: db.Name, Table: "gone"}

			problems := binlog.Check(t.Context(), cfg, []binlog.TableName{name, gone}).Problems
			var whats []string
			for _, p := range problems {
				whats = append(whats, p.What)
				for statement := range strings.SplitSeq(p.Mend, ";") {
					statement = strings.TrimSpace(statement)
					if strings.Contains(statement, "gone") || (!strings.HasPrefix(statement, "SET") && !strings.HasPrefix(statement, "GRANT")) {
						continue
					}
					db.MustExec(t, statement)
				}
			}
			for _, want := range append(wants, "REPLICATION SLAVE", "may not read table "+name.String(), "table "+gone.String()) {
				if !strings.Contains(strings.Join(whats, "\n"), want) {
					t.Errorf("nothing was said of %q in %q", want, whats)
				}
			}
			report := binlog.Check(t.Context(), cfg, []binlog.TableName{name})
			if len(report.Problems) > 0 {
				t.Errorf("after mending: %v", report.Problems)
			}
			if report.Tables[name] == nil || len(report.Tables[name].Key) != 1 {
				t.Errorf("table %+v", report.Tables[name])
			}
		})
	}
}

// TestCheckOfWhatIsNotLogged: databases that are left out, and what a replica replicates.
func TestCheckOfWhatIsNotLogged(t *testing.T) {
	for _, kind := range everyKind {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			server := servicestest.StartSQL(t, kind, services.SQLOptions{Args: []string{"--binlog-do-db=one", "--binlog-do-db=two", "--log-slave-updates=OFF"}})
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`)
			source, updates := "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1'", "log_replica_updates"
			if kind != services.MySQL {
				source, updates = "SET GLOBAL gtid_slave_pos = '7-7-7'", "log_slave_updates"
			}
			db.MustExec(t, source)
			var got []string
			for _, p := range binlog.Check(t.Context(), configOf(t, db), []binlog.TableName{tableA(db)}).Problems {
				got = append(got, p.String())
			}
			wantLines(t, got, []string{
				"the server is a replica, and " + updates + " is off: what it replicates is not in its binary log; to mend it: " +
					"let chorusd read the primary, or add to the server's configuration: " + updates + " = ON, and restart it",
				"database " + db.Name + " is not logged: binlog_do_db names others; to mend it: " +
					"take binlog_do_db out of the server's configuration, or add this database there, and restart it",
			})
		})
	}
}

func TestCheckOfAServerWithoutABinaryLog(t *testing.T) {
	server := servicestest.StartSQL(t, services.MySQL, services.SQLOptions{Args: []string{"--skip-log-bin"}})
	db := servicestest.CreateDatabase(t, server)
	problems := binlog.Check(t.Context(), configOf(t, db), nil).Problems
	if len(problems) != 1 || problems[0].What != "the binary log is off" || problems[0].Passing {
		t.Errorf("got %v", problems)
	}
}

func TestCheckOfAServerThatIsAway(t *testing.T) {
	server := servicestest.StartSQL(t, services.MariaDB, services.SQLOptions{})
	db := servicestest.CreateDatabase(t, server)
	cfg := configOf(t, db)
	server.Kill()
	problems := binlog.Check(t.Context(), cfg, nil).Problems
	if len(problems) != 1 || !problems[0].Passing {
		t.Errorf("got %v", problems)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg.Password = func() string { return "wrong" }
	problems = binlog.Check(t.Context(), cfg, nil).Problems
	if len(problems) != 1 || problems[0].Passing {
		t.Errorf("got %v", problems)
	}
}

// TestCheckOfWhatIsNoOrdinaryTable: its rows in the log are not what they seem.
func TestCheckOfWhatIsNoOrdinaryTable(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`, `CREATE VIEW v AS SELECT * FROM a`)
		table := func(name string) binlog.TableName { return binlog.TableName{Schema: db.Name, Table: name} }
		names := []binlog.TableName{table("a"), table("v")}
		want := []string{table("v").String() + " is a view, and the binary log has no changes of views; to mend it: map the tables that it is made of"}
		if db.Server.Kind == services.MariaDB {
			db.MustExec(t, `CREATE TABLE h (id INT PRIMARY KEY) WITH SYSTEM VERSIONING`)
			names = append(names, table("h"))
			want = append(want, "table "+table("h").String()+" keeps its history in itself (system versioning): in the binary log, old rows cannot be told from present ones; "+
				"to mend it: ALTER TABLE `"+db.Name+"`.`h` DROP SYSTEM VERSIONING;")
		}
		var got []string
		for _, p := range binlog.Check(t.Context(), configOf(t, db), names).Problems {
			got = append(got, p.String())
		}
		wantLines(t, got, want)
	})
}
