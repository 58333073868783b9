package binlog_test

import (
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestDocumentedGrants are enough to check, tail and read back, given to the
// user, by a role, or column by column; and each is needed, and named with the
// statement that gives it.
func TestDocumentedGrants(t *testing.T) {
	for _, kind := range everySQL {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			server := servicestest.StartSQL(t, kind, services.SQLOptions{})
			db := servicestest.CreateDatabase(t, server)
			db.MustExec(t, accessTable)
			cfg := configOf(t, db)
			cfg.User, cfg.Password = "least", func() string { return "pw" }
			const account = "'least'@'%'"
			// Nothing may come from elsewhere, such as MariaDB's PUBLIC.
			anew := func() {
				db.MustExec(t, "DROP USER IF EXISTS "+account, "CREATE USER "+account+" IDENTIFIED BY 'pw'")
			}
			table := binlog.TableName{Schema: db.Name, Table: "a"}
			grants := documentedGrants(kind, account, db.Name+".a")

			anew()
			problems := binlog.Check(t.Context(), cfg, []binlog.TableName{table}).Problems
			if len(problems) != 3 {
				t.Errorf("without grants: %v", problems)
			}
			for _, p := range problems {
				if !strings.HasPrefix(p.Mend, "GRANT ") || p.Passing {
					t.Errorf("%v is no statement", p)
					continue
				}
				db.MustExec(t, strings.TrimSuffix(p.Mend, ";"))
			}
			works(t, db, cfg)

			anew()
			db.MustExec(t, "CREATE ROLE reader")
			for _, grant := range grants {
				db.MustExec(t, strings.Replace(grant, account, "reader", 1))
			}
			db.MustExec(t, "GRANT reader TO "+account)
			if kind == services.MySQL {
				db.MustExec(t, "SET DEFAULT ROLE reader TO "+account)
			} else {
				db.MustExec(t, "SET DEFAULT ROLE reader FOR "+account)
			}
			works(t, db, cfg)

			anew()
			db.MustExec(t, grants[0], grants[1], "GRANT SELECT (id) ON a TO "+account)
			problems = binlog.Check(t.Context(), cfg, []binlog.TableName{table}).Problems
			if len(problems) != 1 || !strings.Contains(problems[0].Mend, "GRANT SELECT ON `"+db.Name+"`.`a` TO '"+cfg.User) {
				t.Errorf("with a grant on one column: %v", problems)
			}
			db.MustExec(t, "GRANT SELECT (v) ON a TO "+account)
			works(t, db, cfg)

			for missing, grant := range grants {
				anew()
				for i, g := range grants {
					if i != missing {
						db.MustExec(t, g)
					}
				}
				problems := binlog.Check(t.Context(), cfg, []binlog.TableName{table}).Problems
				if len(problems) != 1 {
					t.Errorf("without %s: %v", grant, problems)
					continue
				}
				db.MustExec(t, strings.TrimSuffix(problems[0].Mend, ";"))
				if left := binlog.Check(t.Context(), cfg, []binlog.TableName{table}).Problems; len(left) > 0 {
					t.Errorf("after %s: %v", problems[0].Mend, left)
				}
			}
		})
	}
}
