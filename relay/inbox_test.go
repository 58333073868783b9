package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
)

// TestInboxOverflows: while what comes next in the log is waited for, there is
// always room, in bounded memory, and what comes out is what went in.
func TestInboxOverflows(t *testing.T) {
	random, dir, steps := newRandom(t), t.TempDir(), 4_000
	if os.Getenv("TEST_FULL") != "" {
		steps = 400_000
	}
	c := &collector{}
	c.used.New = func() any { return newTransaction(300, dir, byID) }
	b := newInbox(position(0), c, dir)
	b.limit = 4 << 10
	b.press(true)
	tables := []*binlog.Table{idAndV("a"), idAndV("b")}
	type waiting struct {
		text, logged string
		idle         bool
	}
	var want []waiting
	take := func() {
		a, _, over, err := b.next()
		if err != nil || over || (a == nil) != (len(want) == 0) {
			t.Fatalf("got %v, over %v, %v, with %d waiting", a, over, err, len(want))
		}
		if a == nil {
			return
		}
		if got, _ := textsOf(t, a); got != want[0].text {
			t.Fatalf("got\n%s\nwant\n%s", got, want[0].text)
		}
		want = want[1:]
		if err := b.done(a); err != nil {
			t.Fatal(err)
		}
	}
	put := func(n int) {
		pt := position(n + 1)
		a := &arrival{point: binlog.Point{Time: uint64(n), File: pt.File, Offset: pt.Offset}}
		definition := &binlog.Definition{Kind: binlog.Emptied, Name: tables[0].Name}
		switch random.IntN(20) {
		case 0:
			a.kind = idle
		case 1:
			a.kind, a.definition = present, definition
		case 2:
		default:
			a.changes, a.decides, a.time = c.empty(), true, uint64(n)
			for range 1 + random.IntN(1+random.IntN(20)) {
				if random.IntN(10) == 0 {
					a.changes.define(definition)
					continue
				}
				table, id := tables[random.IntN(2)], random.IntN(5)
				before, after := rowOf(table, id, "1"), rowOf(table, id+random.IntN(2), fmt.Sprint(n))
				change := [...]*binlog.Change{
					{Kind: binlog.Insert, After: after},
					{Kind: binlog.Update, Before: before, After: after},
					{Kind: binlog.Delete, Before: before},
				}[random.IntN(3)]
				change.Time = a.time
				if err := a.changes.change(change); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.changes.seal(); err != nil {
				t.Fatal(err)
			}
		}
		text, logged := textsOf(t, a)
		if a.kind == idle {
			if last := len(want) - 1; last >= 0 && want[last].idle && b.beyond.empty() {
				want = want[:last] // of several in a row the last counts
			}
			b.idle(a.point)
		} else if err := b.push(context.Background(), a); err != nil {
			t.Fatal(err)
		}
		want = append(want, waiting{text, logged, a.kind == idle})
		if ok, _, _ := b.covers(pt); !ok && a.kind != present {
			t.Fatalf("it is not known that the log was read up to %s", pt)
		}
	}
	far, largest := 0, 0
	for n := range steps {
		if random.IntN(10) < 2+6*(n/500%2) {
			take()
		} else {
			put(n)
		}
		far = max(far, b.beyond.transactions)
		for _, a := range b.list {
			largest = max(largest, a.weight)
		}
		if b.bytes > b.limit+2*largest {
			t.Fatalf("%d bytes are in memory, with a limit of %d", b.bytes, b.limit)
		}
		if n%100 > 0 {
			continue
		}
		var logged, all strings.Builder
		err := b.decisive(func(e *entry) error {
			logged.WriteString(loggedText(t, e))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			all.WriteString(w.logged)
		}
		if logged.String() != all.String() {
			t.Fatalf("what waits has\n%s\nwant\n%s", logged.String(), all.String())
		}
	}
	for len(want) > 0 {
		take()
	}
	if !b.beyond.empty() || b.beyond.file.file != nil || b.bytes != 0 {
		t.Errorf("%d bytes are in memory, and a file is there: %v", b.bytes, b.beyond.file.file != nil)
	}
	if far < 100 {
		t.Errorf("at most %d transactions were in the file", far)
	}
}

// textsOf are all that an arrival is, and its changes as they were logged.
func textsOf(t *testing.T, a *arrival) (text, logged string) {
	t.Helper()
	list := []string{fmt.Sprint(a.kind, a.point, a.decides, a.time)}
	if a.definition != nil {
		list = append(list, textOf(t, step{definition: a.definition}))
	}
	if a.changes == nil {
		return list[0] + strings.Join(list[1:], ""), ""
	}
	err := a.changes.each(func(s step) error {
		list = append(list, textOf(t, s))
		if s.change != nil && s.change.Time != a.time {
			t.Errorf("a change was committed at %d, its transaction at %d", s.change.Time, a.time)
		}
		return nil
	})
	err = errors.Join(err, a.changes.logged(func(e *entry) error {
		if e.definition == nil {
			logged += loggedText(t, e)
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, "\n"), logged
}

func loggedText(t *testing.T, e *entry) string {
	t.Helper()
	c, err := e.change(&binlog.Row{}, &binlog.Row{})
	if err != nil {
		t.Fatal(err)
	}
	return textOf(t, step{change: c}) + "\n"
}

// TestInboxWithoutAFolder: what there is no room for is not lost silently.
func TestInboxWithoutAFolder(t *testing.T) {
	b := newInbox(position(0), &collector{}, t.TempDir()+"/missing")
	b.limit = 1
	b.press(true)
	var err error
	for n := 0; err == nil && n < spoolQueueBuffer; n++ {
		err = b.push(context.Background(), &arrival{point: binlog.Point{File: "log.000001", Offset: uint64(n)}})
	}
	if err == nil || !strings.Contains(err.Error(), "state_dir") {
		t.Errorf("got %v, want an error that names state_dir", err)
	}
	if _, _, _, again := b.next(); !errors.Is(again, err) {
		t.Errorf("then got %v", again)
	}
}

// TestParentsFarBehind: while the log is read far behind its end, each row goes
// to whom it is for by its parent as it was then.
func TestParentsFarBehind(t *testing.T) {
	const parents, teams, firstChild = 30, 4, 1000
	random := newRandom(t)
	r := newRig(t)
	r.inbox = 2 << 10
	r.mapper = func(t testing.TB) *mapping.Mapper {
		t.Helper()
		return mapperOf(t, mapping.Table{
			Fields: []string{"id", "user_id", "team_id", "v"}, VisibleTo: mapping.AnyOf("channel:team.{user_id -> todos.team_id}"),
		})
	}
	team := map[int]int{}
	move := func(parent int) {
		team[parent] = 1 + random.IntN(teams)
		r.commit(shared(parent, team[parent]))
	}
	for parent := range parents {
		move(1 + parent)
	}
	r.cfg.From = position(r.head())
	want := map[int]string{}
	for n := range 100 {
		parent := 1 + random.IntN(parents)
		_, there := team[parent]
		switch random.IntN(6) {
		case 0:
			move(parent)
		case 1:
			r.commit(del(parent))
			delete(team, parent)
		default:
			r.commit(put(firstChild+n, parent))
			if there {
				want[firstChild+n] = teamChannel(team[parent])
			}
		}
	}
	for n := range teams {
		r.occupy(teamChannel(1+n), map[int]todo{})
	}
	far := 0
	r.onStep(func(_ context.Context, name string) error {
		if name == "rows" {
			b := r.relay.inbox
			b.mu.Lock()
			defer b.mu.Unlock()
			far = max(far, b.beyond.transactions)
		}
		return nil
	})
	r.start()
	r.poll()
	r.caughtUp()
	if far < 50 {
		t.Errorf("at most %d transactions were not in memory when a parent was looked up", far)
	}
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	for _, d := range r.delivered {
		if d.control != nil || d.Operation != harmonic.Create {
			continue
		}
		if id := d.row.ID; want[id] != d.channel {
			t.Errorf("row %d came to be on %s, want %q", id, d.channel, want[id])
		} else {
			delete(want, id)
		}
	}
	for id, channel := range want {
		t.Errorf("row %d did not come to be on %s", id, channel)
	}
	for n := range teams {
		has, sees := r.occupied[teamChannel(1+n)], map[int]todo{}
		for id, d := range r.all() {
			if id >= firstChild && team[d.User] == 1+n {
				sees[id] = d
			}
		}
		if !maps.Equal(has, sees) {
			t.Errorf("the clients of team %d have %v, want %v", 1+n, sortedRows(has), sortedRows(sees))
		}
	}
}
