package filter_test

import (
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// conditions are those whose speed counts: they are judged for each change,
// and those of the user for each candidate.
var conditions = []struct{ name, text string }{
	{"integer", `author_id == 7`},
	{"in-list", `author_id in [1, 2, 3, 7]`},
	{"long-in-list", `author_id in [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 7]`},
	{"text", `region == "eu"`},
	{"text-in-list", `region in ["us", "ap", "eu"]`},
	{"long-text-in-list", `region in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "eu"]`},
	{"soft-delete", `deleted_at == nil`},
	{"bound", `published_at <= now`},
	{"user", `user.region == region`},
	{"whole", `deleted_at == nil and published_at <= now and (user.role == "hr" or user.region == region)`},
}

// BenchmarkTrue judges a row as the log has it.
func BenchmarkTrue(b *testing.B) {
	db := servicestest.NewDatabase(b, services.MySQL)
	log := newLog(b, db)
	db.MustExec(b, "CREATE TABLE a (id INT PRIMARY KEY, author_id BIGINT, region VARCHAR(20), published_at DATETIME, deleted_at TIMESTAMP NULL)",
		"INSERT INTO a VALUES (0, 7, 'eu', '2026-01-01', NULL)")
	row, now := log.read(b, binlog.TableName{Schema: db.Name, Table: "a"})["log"][0], time.Now()
	for _, c := range conditions {
		b.Run(c.name, func(b *testing.B) {
			f, err := filter.CompileBool(c.text, filter.Env{Table: row.Table, User: env.User, UserID: env.UserID})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := holds(f, row, someone, now); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

func TestConditionsDoNotAllocate(t *testing.T) {
	row, now := post(fullPost), time.Now()
	for _, c := range conditions {
		f, err := filter.CompileBool(c.text, env)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if ok, err := holds(f, row, someone, now); !ok || err != nil {
				t.Error(c.text, ok, err)
			}
		}); n != 0 {
			t.Errorf("%s allocates %g times", c.text, n)
		}
	}
}
