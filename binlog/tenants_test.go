package binlog_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestTenantsInTheLog has databases that fit a pattern come and go under a
// tail, and reads the same log once more afterwards, when one is gone.
func TestTenantsInTheLog(t *testing.T) {
	for _, kind := range everyKind {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			db := servicestest.CreateDatabase(t, servicestest.SharedSQL(t, kind))
			cfg := configOf(t, db)
			pattern := binlog.Pattern{Prefix: db.Name + "_", Suffix: "_x", Table: "n"}
			t.Cleanup(func() {
				for _, tenant := range []string{"a", "b", "c"} {
					_, _ = db.Exec("DROP DATABASE IF EXISTS " + db.Name + "_" + tenant + "_x")
				}
			})
			exec := func(statements ...string) {
				t.Helper()
				for _, s := range statements {
					db.MustExec(t, strings.ReplaceAll(s, "T_", db.Name+"_"))
				}
			}
			exec("CREATE TABLE n (id INT PRIMARY KEY)", "CREATE DATABASE T_a_x", "CREATE TABLE T_a_x.n (id INT PRIMARY KEY, v VARCHAR(9))")
			start := current(t, cfg)
			server, err := binlog.Inspect(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			live := newChronicle(start)
			live.databases = true
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- binlog.NewSource(cfg, server, nil, pattern).Run(ctx, start, live) }()

			exec("INSERT INTO n VALUES (1)", "INSERT INTO T_a_x.n VALUES (1, 'a')",
				"CREATE DATABASE T_b_x", "CREATE TABLE T_b_x.n (v VARCHAR(9), id INT PRIMARY KEY)", "CREATE TABLE T_b_x.other (id INT)",
				"INSERT INTO T_b_x.n VALUES ('b', 1)", "INSERT INTO T_b_x.other VALUES (1)")
			live.until(t, current(t, cfg))
			exec("ALTER TABLE T_b_x.n ADD w INT", "INSERT INTO T_b_x.n VALUES ('b', 2, 3)", "TRUNCATE T_a_x.n")
			live.until(t, current(t, cfg))
			// Nothing in the log says that this one was made.
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, s := range []string{"SET sql_log_bin = 0", "CREATE DATABASE T_c_x", "CREATE TABLE T_c_x.n (id INT PRIMARY KEY, v VARCHAR(9), u INT)", "SET sql_log_bin = 1"} {
				if _, err := conn.ExecContext(t.Context(), strings.ReplaceAll(s, "T_", db.Name+"_")); err != nil {
					t.Fatal(err)
				}
			}
			exec("INSERT INTO T_c_x.n VALUES (1, 'c', 1)", "DROP DATABASE T_b_x", "INSERT INTO T_a_x.n VALUES (2, 'a')")
			got := live.until(t, current(t, cfg))
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			want := strings.Split(strings.ReplaceAll(`insert T_a_x.n [1,"a"]
altered T_b_x.n []
insert T_b_x.n ["b",1]
altered T_b_x.n ["w"]
insert T_b_x.n ["b",2,3]
emptied T_a_x.n []
insert T_c_x.n [1,"c",1]
dropped T_b_x.n []
insert T_a_x.n [2,"a"]`, "T_", db.Name+"_"), "\n")
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}

			none := binlog.TableName{Schema: db.Name, Table: "none"}
			again, err := tell(t, cfg, start, live.shapes, none, pattern)
			if err != nil || !slices.Equal(again.lines, want) {
				t.Errorf("read again: %v, got\n%s", err, strings.Join(again.lines, "\n"))
			}
			if _, err := tell(t, cfg, start, "", none, pattern); err == nil || !strings.Contains(err.Error(), "binlog_row_metadata") {
				t.Errorf("rows of a tenant that is gone, of which nothing is known: %v", err)
			}
		})
	}
}

// TestCheckOfPatterns: the grant has to cover tenants that are not there yet.
func TestCheckOfPatterns(t *testing.T) {
	for _, kind := range everySQL {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			server := servicestest.StartSQL(t, kind, services.SQLOptions{})
			db := servicestest.CreateDatabase(t, server)
			cfg := configOf(t, db)
			pattern := binlog.Pattern{Prefix: "tenant_", Table: "n"}
			check := func() binlog.Report { return binlog.Check(t.Context(), cfg, nil, pattern) }
			if r := check(); len(r.Problems) > 0 || len(r.Tables) > 0 {
				t.Errorf("without tenants: %v", r.Problems)
			}
			const account = "'least'@'%'"
			db.MustExec(t, "CREATE DATABASE tenant_a", "CREATE TABLE tenant_a.n (id INT PRIMARY KEY)",
				"CREATE DATABASE tenantXb", "CREATE TABLE tenantXb.n (id INT PRIMARY KEY)", "CREATE TABLE n (id INT PRIMARY KEY)",
				"CREATE DATABASE tenant_v", "CREATE VIEW tenant_v.n AS SELECT * FROM tenant_a.n",
				"CREATE USER "+account+" IDENTIFIED BY 'pw'", "GRANT SELECT ON tenant_a.* TO "+account)
			for _, grant := range documentedGrants(kind, account) {
				db.MustExec(t, grant)
			}
			cfg.User, cfg.Password = "least", func() string { return "pw" }
			mend := func(what string) {
				t.Helper()
				problems := check().Problems
				if len(problems) != 1 || !strings.Contains(problems[0].Mend, what) {
					t.Fatalf("got %v, want %s", problems, what)
				}
				db.MustExec(t, strings.TrimSuffix(problems[0].Mend, ";"))
			}
			mend("GRANT SELECT ON `tenant\\_%`.* TO '" + cfg.User)
			if r := check(); len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, "tenant_v.n is a view") {
				t.Errorf("with a view: %v", r.Problems)
			}
			db.MustExec(t, "DROP VIEW tenant_v.n")
			if r := check(); len(r.Problems) > 0 || len(r.Tables) != 1 || r.Tables[binlog.TableName{Schema: "tenant_a", Table: "n"}] == nil {
				t.Errorf("with the grant: %v, %d tables", r.Problems, len(r.Tables))
			}
			if kind == services.MySQL { // where % in a grant may stand for itself
				db.MustExec(t, "SET GLOBAL partial_revokes = ON", "FLUSH PRIVILEGES")
				mend("GRANT SELECT ON *.* TO '" + cfg.User)
				if r := check(); len(r.Problems) > 0 {
					t.Errorf("with the grant on everything: %v", r.Problems)
				}
			}
		})
	}
}

// TestServersThatLeaveTenantsOut: by what is logged, and by how names are written.
func TestServersThatLeaveTenantsOut(t *testing.T) {
	t.Parallel()
	server := servicestest.StartSQL(t, services.MariaDB, services.SQLOptions{Args: []string{"--binlog-do-db=app", "--lower-case-table-names=1"}})
	db := servicestest.CreateDatabase(t, server)
	problems := binlog.Check(t.Context(), configOf(t, db), nil, binlog.Pattern{Prefix: "Tenant_", Table: "n"}).Problems
	if len(problems) != 2 || !strings.Contains(problems[0].What, "lower_case_table_names") || !strings.Contains(problems[1].What, "binlog_do_db") {
		t.Errorf("got %v", problems)
	}
}
