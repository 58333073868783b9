package relay

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
)

// rowOf is a row of id and v.
func rowOf(t *binlog.Table, id int, v string) *binlog.Row {
	return binlog.TextRow(t, [][]byte{[]byte(strconv.Itoa(id)), []byte(v)})
}

func idAndV(name string) *binlog.Table {
	return &binlog.Table{
		Name:    binlog.TableName{Schema: "app", Table: name},
		Columns: []binlog.Column{{Name: "id", Kind: binlog.Integer}, {Name: "v", Kind: binlog.Integer}},
	}
}

func byID(*binlog.Table) [][]int { return [][]int{{0}} }

// textOf writes a step as `update a 1:2 1:3`.
func textOf(t testing.TB, s step) string {
	t.Helper()
	if s.definition != nil {
		return s.definition.Kind.String() + " " + s.definition.Name.Table
	}
	c := s.change
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", [...]string{"insert", "update", "delete"}[c.Kind], c.Table().Name.Table)
	for _, row := range []*binlog.Row{c.Before, c.After} {
		if row == nil {
			continue
		}
		for column := range row.Table.Columns {
			e, err := row.Table.Encoder(column, binlog.CastDefault, nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := e.Append(nil, row)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString([...]string{" ", ":"}[column])
			b.Write(text)
		}
	}
	return b.String()
}

// recordState is what the model knows of a record.
type recordState struct {
	table       string
	first, last string // row before the transaction and now; "" if there is none
	place       int    // of its last change
	was         bool   // the last change left it for another key
}

// model works out the net changes of a transaction the simple way.
type model map[string]*recordState

func (m model) change(table string, id int, before, after string, place int, was bool) {
	r := m[fmt.Sprint(table, id)]
	if r == nil {
		r = &recordState{table: table, first: before}
		m[fmt.Sprint(table, id)] = r
	}
	r.last, r.place, r.was = after, place, was
}

func (m model) lines() (list []string) {
	var records []*recordState
	for _, r := range m {
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b *recordState) int {
		order := cmp.Compare(a.place, b.place)
		if order == 0 && a.was != b.was {
			order = 1
			if a.was {
				order = -1
			}
		}
		return order
	})
	for _, r := range records {
		head := r.table
		switch {
		case r.first == "" && r.last == "":
		case r.first == "":
			list = append(list, "insert "+head+" "+r.last)
		case r.last == "":
			list = append(list, "delete "+head+" "+r.first)
		default:
			list = append(list, "update "+head+" "+r.first+" "+r.last)
		}
	}
	return list
}

// TestTransactionNetEffect: random transactions give what a map would, whether
// they fit into memory or not.
func TestTransactionNetEffect(t *testing.T) {
	rounds := 300
	if os.Getenv("TEST_FULL") != "" {
		rounds = 20_000
	}
	dir := t.TempDir()
	reused := newTransaction(300, dir, byID)
	for round := range rounds {
		random := rand.New(rand.NewPCG(1, uint64(round)))
		tx := reused
		if round%2 == 0 {
			tx = newTransaction([]int{1, 50, 1000, transactionBudget}[random.IntN(4)], dir, byID)
		}
		m := model{}
		randomTransaction(t, random, tx, m)
		want := m.lines()
		for range 2 {
			var got []string
			err := tx.each(func(s step) error {
				if s.change.Time != 17 {
					t.Errorf("the time became %d", s.change.Time)
				}
				got = append(got, textOf(t, s))
				return nil
			})
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("round %d gave, with %v,\n%s\nwant\n%s", round, err, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if err := tx.close(); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// randomTransaction adds changes of a few records to a transaction and to the
// model.
func randomTransaction(t *testing.T, random *rand.Rand, tx *transaction, m model) {
	t.Helper()
	tables := []*binlog.Table{idAndV("a"), idAndV("b"), idAndV("a")} // a in two versions
	now := map[string]string{}
	ids := 1 + random.IntN(40)
	row := func(id, v int) string { return fmt.Sprintf("%d:%d", id, v) }
	for id := range ids {
		if random.IntN(2) == 0 {
			now[fmt.Sprint("a", id)], now[fmt.Sprint("b", id)] = row(id, 0), row(id, 0)
		}
	}
	read := func(table *binlog.Table, text string) *binlog.Row {
		id, v, _ := strings.Cut(text, ":")
		n, err := strconv.Atoi(id)
		if err != nil {
			t.Fatal(err)
		}
		return rowOf(table, n, v)
	}
	for place := range 1 + random.IntN(120) {
		table, id := tables[random.IntN(len(tables))], random.IntN(ids)
		name := table.Name.Table
		at := fmt.Sprint(name, id)
		before := now[at]
		c := &binlog.Change{Time: 17}
		to := random.IntN(ids)
		switch {
		case before == "":
			now[at] = row(id, place)
			c.Kind, c.After = binlog.Insert, read(table, now[at])
			m.change(name, id, "", now[at], place, false)
		case random.IntN(3) == 0:
			delete(now, at)
			c.Kind, c.Before = binlog.Delete, read(table, before)
			m.change(name, id, before, "", place, false)
		case random.IntN(3) == 0 && now[fmt.Sprint(name, to)] == "":
			after := row(to, place)
			delete(now, at)
			now[fmt.Sprint(name, to)] = after
			c.Kind, c.Before, c.After = binlog.Update, read(table, before), read(table, after)
			m.change(name, id, before, "", place, true)
			m.change(name, to, "", after, place, false)
		default:
			now[at] = row(id, place)
			c.Kind, c.Before, c.After = binlog.Update, read(table, before), read(table, now[at])
			m.change(name, id, before, now[at], place, false)
		}
		if err := tx.change(c); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTransactionSteps: definitions keep their place, and each set of columns
// has net changes of its own.
func TestTransactionSteps(t *testing.T) {
	a, b := idAndV("a"), idAndV("b")
	tx := newTransaction(10, "", func(table *binlog.Table) [][]int {
		if table == b {
			return [][]int{{0}, {1}}
		}
		return byID(table)
	})
	defer tx.close()
	emptied := func(table *binlog.Table) { tx.define(&binlog.Definition{Kind: binlog.Emptied, Name: table.Name}) }
	emptied(a)
	for _, c := range []*binlog.Change{
		{Kind: binlog.Insert, After: rowOf(a, 1, "1")},
		{Kind: binlog.Insert, After: rowOf(b, 1, "7")},
		{Kind: binlog.Update, Before: rowOf(b, 1, "7"), After: rowOf(b, 1, "8")},
	} {
		if err := tx.change(c); err != nil {
			t.Fatal(err)
		}
	}
	emptied(b)
	var got []string
	err := tx.each(func(s step) error {
		got = append(got, fmt.Sprint(textOf(t, s), " by ", s.set))
		return nil
	})
	want := []string{"emptied a by 0", "insert a 1:1 by 0", "insert b 1:8 by 0", "insert b 1:8 by 1", "emptied b by 0"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// TestTransactionErrors: the disk's are returned, and fn's.
func TestTransactionErrors(t *testing.T) {
	table := idAndV("a")
	add := func(tx *transaction, n int) (err error) {
		for i := 0; i < n && err == nil; i++ {
			c := &binlog.Change{Kind: binlog.Update, Before: rowOf(table, i%10, "1"), After: rowOf(table, i%10, "2")}
			err = tx.change(c)
		}
		return err
	}
	none := func(step) error { return nil }

	dir := t.TempDir()
	missing := newTransaction(100, dir+"/missing", byID)
	if err := add(missing, 100); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), dir+"/missing") {
		t.Errorf("got %v", err)
	}
	for name, broken := range map[string]func(tx *transaction) *os.File{
		"changes": func(tx *transaction) *os.File { return tx.changes.file },
		"index":   func(tx *transaction) *os.File { return tx.index.file },
	} {
		tx := newTransaction(1000, dir, byID)
		if err := add(tx, 1000); err != nil {
			t.Fatal(err)
		}
		_ = broken(tx).Close()
		for range 2 {
			if err := tx.each(none); !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		_ = tx.close()
	}
	tx := newTransaction(transactionBudget, "", byID)
	if err := add(tx, 20); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := tx.each(func(step) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

// TestTransactionOfManyRows: memory does not grow with the rows.
func TestTransactionOfManyRows(t *testing.T) {
	rows := 200_000
	if os.Getenv("TEST_FULL") != "" {
		rows = 5_000_000
	}
	tx := newTransaction(1<<20, t.TempDir(), byID)
	defer tx.close()
	most := 0
	table := idAndV("a")
	change := func(c *binlog.Change) {
		if err := tx.change(c); err != nil {
			t.Fatal(err)
		}
		most = max(most, tx.memory())
	}
	one := []byte("1")
	id := func(n int) *binlog.Row {
		return binlog.TextRow(table, [][]byte{strconv.AppendInt(nil, int64(n), 10), one})
	}
	for n := range rows {
		change(&binlog.Change{Kind: binlog.Insert, After: id(n)})
	}
	for n := 0; n < rows; n += 2 { // each second one goes
		change(&binlog.Change{Kind: binlog.Delete, Before: id(n)})
	}
	for range rows / 10 { // and one changes often
		change(&binlog.Change{Kind: binlog.Update, Before: id(1), After: id(1)})
	}
	if err := tx.seal(); err != nil {
		t.Fatal(err)
	}
	most = max(most, tx.memory())
	if most > 3<<20 {
		t.Errorf("%d bytes were held", most)
	}
	given := 0
	err := tx.each(func(s step) error {
		given++
		want := 2*given + 1
		if 2*given >= rows {
			want = 1 // changed last
		}
		if got := textOf(t, s); got != fmt.Sprintf("insert a %d:1", want) {
			return fmt.Errorf("%s is number %d", got, given)
		}
		return nil
	})
	if err != nil || given != rows/2 {
		t.Errorf("%d of %d, %v", given, rows/2, err)
	}
}

// BenchmarkTransaction adds rows of different records and has them given.
func BenchmarkTransaction(b *testing.B) {
	table := idAndV("a")
	for _, rows := range []int{1, 100, 10_000, 500_000} {
		b.Run(strconv.Itoa(rows), func(b *testing.B) {
			changes := make([]*binlog.Change, min(rows, 20_000))
			for i := range changes {
				changes[i] = &binlog.Change{Kind: binlog.Update, Before: rowOf(table, i, "1"), After: rowOf(table, i, "2")}
			}
			tx := newTransaction(transactionBudget, b.TempDir(), byID)
			b.ReportAllocs()
			for b.Loop() {
				for i := range rows {
					if err := tx.change(changes[i%len(changes)]); err != nil {
						b.Fatal(err)
					}
				}
				if err := tx.each(func(step) error { return nil }); err != nil {
					b.Fatal(err)
				}
				if err := tx.close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
		})
	}
}
