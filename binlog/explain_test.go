package binlog

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// TestPagesUseIndexes: the server finds a page by the index that fits it, and
// locks no table.
func TestPagesUseIndexes(t *testing.T) {
	for _, kind := range []services.Kind{services.MySQL, services.MariaDB, services.MariaDB118} {
		t.Run(kind.String(), func(t *testing.T) {
			db := servicestest.NewDatabase(t, kind)
			db.MustExec(t,
				`CREATE TABLE n (n INT PRIMARY KEY)`, `INSERT INTO n VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)`,
				`CREATE TABLE posts (id INT PRIMARY KEY, platform_id INT, KEY of_platform (platform_id))`,
				`CREATE TABLE comments (id INT PRIMARY KEY, post_id INT, team_id INT, at DATETIME, KEY of_post (post_id), KEY of_team (team_id), KEY by_time (at))`,
				`INSERT INTO posts SELECT a.n + 10 * b.n + 100 * c.n, b.n + 10 * c.n FROM n a, n b, n c`,
				`INSERT INTO comments SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n, a.n + 10 * b.n + 100 * c.n, b.n + 10 * c.n,
					'2026-01-01' + INTERVAL a.n + 10 * b.n + 100 * c.n + 1000 * d.n MINUTE FROM n a, n b, n c, n d`,
				`ANALYZE TABLE posts, comments`)
			cfg := Config{
				Addr: db.Server.Addr, User: "root", Password: func() string { return "" }, Location: time.UTC,
				Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
			}
			server, err := Inspect(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			reader := NewReader(cfg, server)
			defer reader.Close()
			table, err := reader.Table(t.Context(), TableName{db.Name, "comments"})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
			for _, c := range []struct {
				name string
				page Page
				want []string // the index of each table
			}{
				{"column", Page{Selection: Selection{Reference: Reference{Columns: []string{"team_id"}}, In: "[7]"}}, []string{"r of_team"}},
				{"next page", Page{Selection: Selection{Reference: Reference{Columns: []string{"team_id"}}, In: "[7]"}, From: "[1500]"}, []string{"r of_team"}},
				{"all", Page{}, []string{"r PRIMARY"}},
				{"all, next page", Page{From: "[5000]"}, []string{"r PRIMARY"}},
				{"time", Page{Bound: &Bound{Column: "at", After: start, Upto: start.Add(time.Hour)}}, []string{"r by_time"}},
				{
					"time, next page",
					Page{Bound: &Bound{Column: "at", After: start, Upto: start.Add(time.Hour)}, From: `["2026-01-03 00:10:00",2890]`},
					[]string{"r by_time"},
				},
				{
					"path",
					Page{Selection: Selection{
						Reference: Reference{Columns: []string{"post_id"}},
						Via:       []Hop{{Table: TableName{db.Name, "posts"}, Reference: Reference{Columns: []string{"platform_id"}}}}, In: "[7]",
					}},
					[]string{"p1 of_platform", "r of_post"},
				},
			} {
				c.page.Key, c.page.Limit = []KeyColumn{{Column: 0}}, 100
				s, err := (&Moment{reader: reader}).selector(table, &c.page)
				if err != nil {
					t.Fatal(err)
				}
				query := s.query([]int{0, 1})
				if got := explain(t, reader, query); !slices.Equal(got, c.want) {
					t.Errorf("%s: got %q, want %q by\n%s", c.name, got, c.want, query)
				}
			}
		})
	}
}

// explain says which index a statement uses of each table.
func explain(t *testing.T, reader *Reader, query string) (uses []string) {
	t.Helper()
	explain := "EXPLAIN "
	if reader.server.Flavor == MySQL {
		explain += "FORMAT = TRADITIONAL " // a table, whatever the version's default is
	}
	res, err := reader.conn.Execute(explain + query)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	for i := range res.Values {
		var table, key string
		for j, field := range res.Fields {
			switch strings.ToLower(string(field.Name)) {
			case "table":
				table = string(textOf(&res.Values[i][j]))
			case "key":
				// MySQL may name PRIMARY behind another one, by which it only filters.
				key, _, _ = strings.Cut(string(textOf(&res.Values[i][j])), ",")
			}
		}
		uses = append(uses, fmt.Sprint(table, " ", key))
	}
	slices.Sort(uses)
	return uses
}
