package mapping_test

import (
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// fixed is a View of lists made before, as fast as one can be.
type fixed struct {
	*view
	everyone []*mapping.User
	in       map[mapping.ScopeKey]map[*mapping.User]bool
}

func (v *fixed) Everyone(string) []*mapping.User { return v.everyone }

func (v *fixed) IsMember(u *mapping.User, key mapping.ScopeKey) bool { return v.in[key][u] }

// crowded is a View of n users; each scope has all of them.
func crowded(b *testing.B, m *mapping.Mapper, n int, scopes ...mapping.ScopeKey) *fixed {
	b.Helper()
	v := &fixed{view: newView(m), in: map[mapping.ScopeKey]map[*mapping.User]bool{}}
	roles := []string{"admin", "editor", "reader"}
	for i := range n {
		v.connect(b, mapping.UserKey(strconv.Itoa(i+1)), []filter.Value{filter.OfText(roles[i%3]), filter.OfText("eu")}, scopes...)
	}
	for _, s := range scopes {
		v.in[s] = map[*mapping.User]bool{}
		for _, u := range v.Members(s, nil) {
			v.in[s][u] = true
		}
	}
	for _, u := range v.users.All() {
		v.everyone = append(v.everyone, u)
	}
	return v
}

// cpu is the processor time of the process until now, which other processes do
// not lengthen.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRouteFanout routes one change in scopes of 10,000 connected members.
func BenchmarkRouteFanout(b *testing.B) {
	const members = 10_000
	table := tableOf("todos", "id", "owner_id", "team_id", "platform_id", "title", "region", "salary")
	before := []string{"1", "7", "3", "5", "tea", "eu", "100"}
	retitled := []string{"1", "7", "3", "5", "coffee", "eu", "100"}
	moved := []string{"1", "7", "4", "5", "tea", "eu", "100"}
	one, two := mapping.AnyOf("team:{team_id}"), mapping.AnyOf("team:{team_id}", "platform:{platform_id}", "user:{owner_id}")
	cases := []struct {
		name  string
		rule  mapping.Table
		after []string
	}{
		{"one scope", mapping.Table{VisibleTo: one}, retitled},
		{"three scopes", mapping.Table{VisibleTo: two}, retitled},
		{"all of two", mapping.Table{VisibleTo: []mapping.Alternative{{"team:{team_id}", "platform:{platform_id}"}}}, retitled},
		{"moved", mapping.Table{VisibleTo: one}, moved},
		{"moved, kept by another", mapping.Table{VisibleTo: two}, moved},
		{"filtered by role", mapping.Table{VisibleTo: one, Where: `user.role == "admin"`}, retitled},
		{"filtered by key", mapping.Table{VisibleTo: one, Where: `user.id != owner_id`}, retitled},
		{"variants", mapping.Table{VisibleTo: one, Columns: map[string]mapping.Column{"salary": {VisibleIf: `user.role == "admin" or user.id == owner_id`}}}, retitled},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			c.rule.Fields = []string{"id", "title", "salary"}
			m := mapperOf(b, scoped(c.rule))
			v := crowded(b, m, members, "team:3", "team:4", "platform:5")
			change := changeOf(table, before, c.after)
			got := 0
			b.ReportAllocs()
			start := cpu(b)
			for b.Loop() {
				if _, err := m.Route(change, v, v, func(h *mapping.Harmonic) error { got += len(h.Users); return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-start)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(got)/float64(b.N), "users/op")
		})
	}
}

// BenchmarkRouteRow is what a row costs of 20 tables with 3 scopes each, whose
// members are connected, beside writing it as JSON.
func BenchmarkRouteRow(b *testing.B) {
	const users, scopes, members = 1000, 100, 2
	columns := []string{"id", "owner_id", "team_id", "platform_id", "title", "body", "state", "kind", "created", "updated"}
	cfg := scoped(mapping.Table{})
	cfg.Tables = map[string]mapping.Table{}
	var changes []*binlog.Change
	for i := range 20 {
		name := fmt.Sprintf("table%02d", i)
		cfg.Tables[name] = mapping.Table{Fields: columns, VisibleTo: mapping.AnyOf("user:{owner_id}", "team:{team_id}", "platform:{platform_id}")}
		t := tableOf(name, columns...)
		for j := range 100 {
			id := i*100 + j
			after := []string{
				strconv.Itoa(id), strconv.Itoa(id * 7 % users), strconv.Itoa(id % scopes), strconv.Itoa(id / 7 % scopes), "A title of some words",
				"A body that is somewhat longer than the title, as bodies are", "open", "todo", "2026-11-22 17:25:39", "2026-11-22 17:25:39",
			}
			before := slices.Clone(after)
			if before[6] = "done"; j%4 > 0 {
				before = nil
			}
			changes = append(changes, changeOf(t, before, after))
		}
	}
	m := mapperOf(b, cfg)
	v := newView(m)
	for i := range users {
		var in []mapping.ScopeKey
		if i < members*scopes {
			in = []mapping.ScopeKey{mapping.ScopeKey(fmt.Sprint("team:", i%scopes)), mapping.ScopeKey(fmt.Sprint("platform:", i*3%scopes))}
		}
		v.connect(b, mapping.UserKey(strconv.Itoa(i)), nil, in...)
	}
	b.Run("route", func(b *testing.B) {
		b.ReportAllocs()
		start := cpu(b)
		for b.Loop() {
			for _, c := range changes {
				if _, err := m.Route(c, v, v, func(*mapping.Harmonic) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(cpu(b)-start)/float64(b.N*len(changes)), "cpu-ns/row")
	})
	b.Run("decode", func(b *testing.B) {
		plans := make([]*mapping.Plan, len(changes))
		for i, c := range changes {
			list, err := m.Plans(c.Table())
			if err != nil {
				b.Fatal(err)
			}
			plans[i] = list[0]
		}
		var data []byte
		start := cpu(b)
		for b.Loop() {
			for i, c := range changes {
				h := mapping.Harmonic{Plan: plans[i], Operation: harmonic.Update, Row: c.After}
				var err error
				if data, err = h.AppendPayload(data[:0], testID, testAt); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(cpu(b)-start)/float64(b.N*len(changes)), "cpu-ns/row")
	})
}
