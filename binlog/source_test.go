package binlog_test

import (
	"slices"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// kinds are the servers that every test of the stream runs on.
var kinds = []services.Kind{services.MySQL, services.MariaDB}

func onEach(t *testing.T, test func(t *testing.T, db *servicestest.Database)) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) { test(t, servicestest.NewDatabase(t, kind)) })
	}
}

func TestStreamGivesCommittedChangesInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20))`, `CREATE TABLE other (id INT PRIMARY KEY)`)
		cfg := configOf(t, db)
		from := current(t, cfg)
		rec := newRecorder(from)
		follow(t, cfg, from, rec, binlog.TableName{Schema: db.Name, Table: "a"})
		rec.started(t)
		db.MustExec(t,
			`INSERT INTO a VALUES (1,'x'),(2,'y')`,
			`INSERT INTO other VALUES (1)`,
			`UPDATE a SET v = CONCAT(v, '!')`,
			`UPDATE a SET id = 3 WHERE id = 1`,
			`DELETE FROM a WHERE id = 2`,
			`ALTER TABLE a ADD COLUMN extra INT NULL FIRST`,
			`INSERT INTO a VALUES (7, 4,'z')`,
		)
		rec.until(t, current(t, cfg))
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{`INSERT INTO a VALUES (1, 9, 'ghost')`, `ROLLBACK`, `SAVEPOINT p`} {
			if _, err := tx.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		_ = tx.Rollback()
		db.MustExec(t, `REPLACE INTO a VALUES (8, 4, NULL)`)
		got := rec.until(t, current(t, cfg))
		want := []string{
			`insert a [1,"x"]`, `insert a [2,"y"]`,
			`update a [1,"x"] [1,"x!"]`, `update a [2,"y"] [2,"y!"]`,
			`update a [1,"x!"] [3,"x!"]`,
			`delete a [2,"y!"]`,
			`insert a [7,4,"z"]`,
		}
		if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if last := got[len(got)-1]; last != `update a [7,4,"z"] [8,4,null]` && last != `insert a [8,4,null]` {
			t.Errorf("a REPLACE ended with %s", last)
		}
	})
}

func TestStreamResumesWhereItStopped(t *testing.T) {
	onEach(t, func(t *testing.T, db *servicestest.Database) {
		db.MustExec(t, `CREATE TABLE a (id INT PRIMARY KEY)`)
		cfg := configOf(t, db)
		table := binlog.TableName{Schema: db.Name, Table: "a"}
		from := current(t, cfg)
		first := newRecorder(from)
		stop := follow(t, cfg, from, first, table)
		db.MustExec(t, `INSERT INTO a VALUES (1)`, `INSERT INTO a VALUES (2)`)
		first.until(t, current(t, cfg))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		db.MustExec(t, `INSERT INTO a VALUES (3)`, `FLUSH BINARY LOGS`, `INSERT INTO a VALUES (4)`)
		resume, err := binlog.ParsePosition(first.pos.String())
		if err != nil {
			t.Fatal(err)
		}
		second := newRecorder(resume)
		follow(t, cfg, resume, second, table)
		got := second.until(t, current(t, cfg))
		if want := []string{`insert a [3]`, `insert a [4]`}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
