package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
)

// ids are those of a channel's messages, harmonics and control messages alike.
func (s *server) ids(channel string) []harmonic.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []harmonic.ID
	for _, d := range s.delivered {
		if d.channel != channel {
			continue
		}
		switch c := d.control.(type) {
		case nil:
			out = append(out, d.ID)
		case harmonic.Reset:
			out = append(out, c.ID)
		case harmonic.Reload:
			out = append(out, c.ID)
		case harmonic.Schema:
			out = append(out, c.ID)
		}
	}
	return out
}

// TestResetIsTold to every channel that the table's rules can reach, in order
// with the harmonics, and to nobody else.
func TestResetIsTold(t *testing.T) {
	r := newRig(t)
	r.limits.Channels = 2
	r.start()
	for user := range 5 {
		r.subscribe(user + 1)
	}
	r.occupy(teamChannel(9), map[int]todo{})
	r.occupy("private-chorus.user.a.b", nil) // of nobody: a key holds no dots
	r.poll()
	for user := range 5 {
		r.commit(put(user, user+1))
	}
	r.commit(shared(8, 9))
	r.define(binlog.Definition{Kind: binlog.Emptied})
	r.commit(put(1, 1), shared(8, 9))
	r.caughtUp()
	for user := range 5 {
		want := []string{fmt.Sprintf("create %d v%d", user, user+1), "reset"}
		if user == 0 {
			want = append(want, "create 1 v7")
		}
		if got := r.on(userChannel(user + 1)); !slices.Equal(got, want) {
			t.Errorf("user %d got %q, want %q", user+1, got, want)
		}
		r.same(user + 1)
		if ids := r.ids(userChannel(user + 1)); !slices.IsSortedFunc(ids, func(a, b harmonic.ID) int { return strings.Compare(a.String(), b.String()) }) {
			t.Errorf("ids do not rise: %v", ids)
		}
	}
	if got, want := r.on(teamChannel(9)), []string{"create 8 v6", "reset", "create 8 v8"}; !slices.Equal(got, want) {
		t.Errorf("the team got %q, want %q", got, want)
	}
	if got := r.on("private-chorus.user.a.b"); len(got) > 0 {
		t.Errorf("a channel that no row can have got %q", got)
	}
}

// TestCheckpointWaitsForReset: it does not pass one that is not accepted.
func TestCheckpointWaitsForReset(t *testing.T) {
	r := newRig(t)
	r.start()
	r.subscribe(7)
	r.poll()
	refuse, tried := make(chan struct{}), make(chan struct{}, 100)
	r.onAnswer(func(_ context.Context, _ []pusher.Event) (bool, error) {
		select {
		case <-refuse:
			return true, nil
		default:
			tried <- struct{}{}
			return false, &pusher.Error{Class: pusher.Unsent}
		}
	})
	r.define(binlog.Definition{Kind: binlog.Dropped})
	r.commit(put(1, 8))
	<-tried
	if at, _ := r.relay.ledger.settled(); at != position(0).String() {
		t.Errorf("settled up to %s before the reset was accepted", at)
	}
	close(refuse)
	r.caughtUp()
	if got := r.on(userChannel(7)); !slices.Contains(got, "reset") {
		t.Errorf("got %q", got)
	}
}

// TestChannelOpenedAfterResetIsTold: a client loads its rows, the table is
// emptied, and only then the client is seen; also over a restart.
func TestChannelOpenedAfterResetIsTold(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%t", restart), func(t *testing.T) {
			r := newRig(t)
			r.start()
			r.poll()
			r.commit(put(1, 7), put(2, 7))
			r.subscribe(7)
			r.define(binlog.Definition{Kind: binlog.Emptied})
			r.commit(put(2, 7))
			r.caughtUp()
			if restart {
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				r.start()
			}
			r.poll()
			r.caughtUp()
			r.same(7)
			if got := r.on(userChannel(7)); len(got) == 0 || got[0] != "reset" {
				t.Errorf("got %q, want a reset first", got)
			}
			if left, err := r.store.Jobs(t.Context()); err != nil || len(left) != 0 {
				t.Errorf("refills that are left: %v, %v", left, err)
			}
			// One that comes later has loaded later.
			r.poll()
			r.poll()
			r.subscribe(8)
			r.poll()
			r.caughtUp()
			if got := r.on(userChannel(8)); len(got) != 0 {
				t.Errorf("a client that came later got %q", got)
			}
		})
	}
}

// TestResetDuringARefill: rows that were read before are not sent after it.
func TestResetDuringARefill(t *testing.T) {
	r, open := newHeldRefill(t, put(1, 7), put(2, 7))
	defer open()
	r.define(binlog.Definition{Kind: binlog.Emptied})
	eventually(t, "the reset is published", func() bool { return len(r.on(userChannel(7))) == 1 })
	open()
	r.caughtUp()
	want := []string{"delete 1 ", "delete 2 ", "reset"}
	if got := r.on(userChannel(7)); !slices.Equal(sorted(got), want) {
		t.Errorf("got %q, want %q", got, want)
	}
	r.same(7)
}

// TestReloadThatIsOwed reaches everybody whom the first poll finds, once, also
// if the process ends before.
func TestReloadThatIsOwed(t *testing.T) {
	r := newRig(t)
	store := r.open()
	if err := store.OweReload(t.Context(), "the test says so"); err != nil {
		t.Fatal(err)
	}
	store.Close()
	r.subscribe(7)
	r.occupy(teamChannel(9), map[int]todo{})
	r.start()
	eventually(t, "the reload is a notice", func() bool {
		reason, err := r.store.OwedReload(t.Context())
		return err == nil && reason == ""
	})
	_ = r.stop() // perhaps in the middle of its start
	r.start()
	r.poll()
	r.caughtUp()
	for _, name := range []string{userChannel(7), teamChannel(9)} {
		if got := r.on(name); !slices.Equal(got, []string{"reload"}) {
			t.Errorf("%s got %q, want one reload", name, got)
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.poll()
	r.poll()
	r.caughtUp()
	if got := r.on(userChannel(7)); len(got) != 1 {
		t.Errorf("after a restart: %q", got)
	}
}

// wider is todos with another type for v, or with a column that clients do not get.
func wider(sqlType string, more ...binlog.Column) *binlog.Table {
	table := *todos
	table.Columns = slices.Concat(table.Columns, more)
	table.Columns[3].SQLType = sqlType
	return &table
}

func TestSchemaVersions(t *testing.T) {
	narrow, wide := wider("varchar(10)"), wider("varchar(20)")
	unmapped := wider("varchar(20)", binlog.Column{Name: "note", Kind: binlog.Text, Charset: "utf8mb4"})
	without := *todos
	without.Columns = without.Columns[:3]
	r := newRig(t)
	r.shape = narrow
	r.start()
	r.subscribe(7)
	r.poll()
	steps := []struct {
		d    binlog.Definition
		want []string
	}{
		{binlog.Definition{Kind: binlog.Altered, Table: narrow}, nil},
		{binlog.Definition{Kind: binlog.Altered, Table: wide}, []string{"schema"}},
		{binlog.Definition{Kind: binlog.Altered, Table: unmapped, Touched: []string{"note"}}, nil},
		// Two statements, of which the dictionary told only the end.
		{binlog.Definition{Kind: binlog.Altered, Table: wide, Touched: []string{"V"}}, []string{"schema"}},
		{binlog.Definition{Kind: binlog.Altered, Table: &without}, nil}, // does not fit
		{binlog.Definition{Kind: binlog.Altered, Table: wide}, []string{"schema"}},
		{binlog.Definition{Kind: binlog.Replaced, Table: wide}, []string{"reload"}},
		{binlog.Definition{Kind: binlog.Replaced, Table: narrow}, []string{"schema"}},
		{binlog.Definition{Kind: binlog.Dropped}, []string{"reset"}},
		{binlog.Definition{Kind: binlog.Altered, Table: narrow}, nil}, // created again
		{binlog.Definition{Kind: binlog.Emptied, Table: wide}, []string{"reset", "schema"}},
	}
	var want []string
	for i, step := range steps {
		want = append(want, step.want...)
		r.define(step.d)
		r.caughtUp()
		if got := r.on(userChannel(7)); !slices.Equal(got, want) {
			t.Fatalf("after step %d: got %q, want %q", i, got, want)
		}
	}
	seen := map[string]bool{}
	r.server.mu.Lock()
	for _, d := range r.delivered {
		if c, ok := d.control.(harmonic.Schema); ok {
			if seen[c.Version] {
				t.Errorf("version %s came twice", c.Version)
			}
			seen[c.Version] = true
		}
	}
	r.server.mu.Unlock()

	// Read again from the first position, nothing is told of schemas a second
	// time, and every position is the same.
	before := r.ids(userChannel(7))
	_, last := r.relay.ledger.settled()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	store := r.open()
	if err := store.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	store.Close()
	r.start()
	r.poll()
	r.caughtUp()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, got := r.relay.ledger.settled(); got != last {
		t.Errorf("the last position is %d, was %d", got, last)
	}
	for _, id := range r.ids(userChannel(7))[len(before):] {
		if !slices.Contains(before, id) {
			t.Errorf("id %s is new", id)
		}
	}
}
