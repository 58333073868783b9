package binlog_test

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestOnlineSchemaChange has the real pt-online-schema-change alter a table
// that is written to meanwhile. With TEST_FULL, since it needs a package of
// its own, which `make test-full` installs; TestReplay has its statements.
func TestOnlineSchemaChange(t *testing.T) {
	kinds := everyKind
	if !full {
		kinds = nil
	}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			db := servicestest.NewDatabase(t, kind)
			setGlobal(t, db, "binlog_row_metadata", "FULL")
			db.MustExec(t, "CREATE TABLE a (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(10), w VARCHAR(10))",
				"INSERT INTO a (v, w) VALUES ('x', 'y'), ('x', 'y'), ('x', 'y'), ('x', 'y')")
			for range 10 {
				db.MustExec(t, "INSERT INTO a (v, w) SELECT v, w FROM a")
			}
			cfg := configOf(t, db)
			from := current(t, cfg)
			live := newChronicle(from)
			stop := follow(t, cfg, from, live, tableA(db))

			done := make(chan struct{})
			var writing sync.WaitGroup
			writing.Go(func() {
				for i := 1; ; i++ {
					select {
					case <-done:
						return
					default:
					}
					for _, statement := range []string{
						fmt.Sprintf("UPDATE a SET v = 'u%d' WHERE id = %d", i%1000, 1+i%4000),
						fmt.Sprintf("DELETE FROM a WHERE id = %d", 2+i%4000),
						fmt.Sprintf("INSERT INTO a (v, w) VALUES ('i%d', 'w')", i%1000),
					} {
						_, err := db.ExecContext(t.Context(), statement)
						// The tool's copying locks rows, too; whoever is
						// chosen to give way has changed nothing.
						if e, ok := errors.AsType[*mysql.MySQLError](err); err != nil && (!ok || e.Number != deadlock) {
							t.Errorf("%s: %v", statement, err)
							return
						}
					}
				}
			})
			host, port, err := net.SplitHostPort(db.Server.Addr)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "pt-online-schema-change", "--execute", "--alter", "MODIFY w VARCHAR(20) AFTER id, ADD COLUMN n INT NOT NULL DEFAULT 7",
				"--recursion-method", "none", "--chunk-size", "100", fmt.Sprintf("h=%s,P=%s,u=root,D=%s,t=a", host, port, db.Name)).CombinedOutput()
			close(done)
			writing.Wait()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			db.MustExec(t, "UPDATE a SET n = 8 WHERE id < 100")

			told := live.until(t, current(t, cfg))
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			replaced := 0
			for _, line := range told {
				if line == "replaced a []" {
					replaced++
				}
			}
			if replaced != 1 {
				t.Errorf("the swap was told %d times", replaced)
			}
			again, err := tell(t, cfg, from, "", tableA(db))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(again.lines, live.lines) {
				t.Errorf("%d lines when it is read again, %d live, and they differ", len(again.lines), len(live.lines))
			}
		})
	}
}
