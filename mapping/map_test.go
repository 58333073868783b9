package mapping_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
)

// tableOf makes a table of text columns, but for those that end in "id",
// which are integers. The first is the primary key.
func tableOf(name string, columns ...string) *binlog.Table {
	t := &binlog.Table{Name: binlog.TableName{Schema: "app", Table: name}, Key: []int{0}, Unique: [][]int{{0}}}
	for _, c := range columns {
		kind := binlog.Text
		if strings.HasSuffix(c, "id") {
			kind = binlog.Integer
		}
		t.Columns = append(t.Columns, binlog.Column{Name: c, Kind: kind, Charset: "utf8mb4", Nullable: true})
	}
	return t
}

// row is one of values in text; NULL is NULL.
func row(t *binlog.Table, values ...string) *binlog.Row {
	out := make([][]byte, len(values))
	for i, v := range values {
		if v != "NULL" {
			out[i] = []byte(v)
		}
	}
	return binlog.TextRow(t, out)
}

var (
	testID = harmonic.NewID(1795368339789000, 42)
	testAt = time.Date(2026, 11, 22, 17, 25, 39, 0, time.UTC)
)

func newMapper(t testing.TB, name string, rule mapping.Table) *mapping.Mapper {
	t.Helper()
	m, wrong := mapping.New(mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{name: rule}}, "app", time.UTC)
	if len(wrong) > 0 {
		t.Fatal(texts(wrong))
	}
	return m
}

// routeToNobody routes a change where nobody is connected and nothing else has
// changed. So a harmonic names the channels of the users whom the row names.
func routeToNobody(m *mapping.Mapper, c *binlog.Change, give func(*mapping.Harmonic) error) (unroutable int, err error) {
	v := newView(m)
	return m.Route(c, v, v, give)
}

// mapped are the harmonics of a change that are for some channel, as
// "create [7] to user 8, team.3: {data}".
func mapped(t testing.TB, m *mapping.Mapper, c *binlog.Change) (lines []string, unroutable int) {
	t.Helper()
	unroutable, err := routeToNobody(m, c, func(h *mapping.Harmonic) error {
		if len(h.Absent)+len(h.Shared) == 0 {
			return nil
		}
		payload, err := h.AppendPayload(nil, testID, testAt)
		if err != nil {
			return err
		}
		w, err := harmonic.Parse(payload)
		if err != nil {
			return err
		}
		var channels []string
		for _, name := range h.Absent {
			channels = append(channels, "user "+strings.TrimPrefix(name, "private-chorus.user."))
		}
		for _, name := range h.Shared {
			channels = append(channels, strings.TrimPrefix(name, "private-"))
		}
		lines = append(lines, fmt.Sprintf("%s %s to %s: %s", h.Operation, w.RecordID, strings.Join(channels, ", "), w.Data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines, unroutable
}

func TestMap(t *testing.T) {
	table := tableOf("todos", "id", "user_id", "team_id", "title", "secret", "kind")
	rule := mapping.Table{
		Fields:    []string{"id", "user_id", "title"},
		VisibleTo: mapping.AnyOf("user:{user_id}", "channel:team.{team_id}", "channel:{kind}-news"),
	}
	base := []string{"1", "7", "3", "tea", "s", "NULL"}
	change := func(column int, value string) []string {
		out := slices.Clone(base)
		out[column] = value
		return out
	}
	cases := []struct {
		name          string
		before, after []string
		want          []string
		unroutable    int
	}{
		{"insert", nil, base, []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 0},
		{"delete", base, nil, []string{`delete 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 0},
		{"update", base, change(3, "coffee"), []string{`update 1 to user 7, team.3: {"id":1,"user_id":7,"title":"coffee"}`}, 0},
		{"nothing that clients get", base, change(4, "other"), nil, 0},
		{"nothing at all", base, base, nil, 0},
		{"moved to another user", base, change(1, "8"), []string{
			`delete 1 to user 7: {"id":1,"user_id":7,"title":"tea"}`, // what 7 had, never what 8 has
			`update 1 to team.3: {"id":1,"user_id":8,"title":"tea"}`,
			`create 1 to user 8: {"id":1,"user_id":8,"title":"tea"}`,
		}, 0},
		{"moved to nobody", base, change(1, "NULL"), []string{
			`delete 1 to user 7: {"id":1,"user_id":7,"title":"tea"}`,
			`update 1 to team.3: {"id":1,"user_id":null,"title":"tea"}`,
		}, 0},
		{"moved by a column that clients do not get", base, change(2, "4"), []string{
			`delete 1 to team.3: {"id":1,"user_id":7,"title":"tea"}`,
			`create 1 to team.4: {"id":1,"user_id":7,"title":"tea"}`,
		}, 0},
		{"found a team", change(2, "NULL"), base, []string{`create 1 to team.3: {"id":1,"user_id":7,"title":"tea"}`}, 0},
		{"another key", base, change(0, "2"), []string{
			`delete 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`,
			`create 2 to user 7, team.3: {"id":2,"user_id":7,"title":"tea"}`,
		}, 0},
		{"another key and another user", base, []string{"2", "8", "3", "tea", "s", "NULL"}, []string{
			`delete 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`,
			`create 2 to user 8, team.3: {"id":2,"user_id":8,"title":"tea"}`,
		}, 0},
		{"of nobody", nil, []string{"1", "NULL", "NULL", "tea", "s", "NULL"}, nil, 0},

		{"plain value", nil, change(5, "a-B_9=@,;"), []string{`create 1 to user 7, team.3, a-B_9=@,;-news: {"id":1,"user_id":7,"title":"tea"}`}, 0},
		{"value with a dot", nil, change(5, "chorus.user.7"), []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 1},
		{"value with a blank", nil, change(5, "a b"), []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 1},
		{"value with a quote", nil, change(5, `a"b`), []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 1},
		{"value with a backslash", nil, change(5, `\`), []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 1},
		{"value with a line end", nil, change(5, "a\nb"), []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 1},
		{"value that is not ASCII", nil, change(5, "é"), []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 1},
		{"empty value", nil, change(5, ""), []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 1},
		{"value too long", nil, change(5, strings.Repeat("x", 152)), []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 1},
		{"longest value", nil, change(5, strings.Repeat("x", 151)), []string{`create 1 to user 7, team.3, ` + strings.Repeat("x", 151) + `-news: {"id":1,"user_id":7,"title":"tea"}`}, 0},
		{"encrypted channel", nil, change(5, "encrypted"), []string{`create 1 to user 7, team.3: {"id":1,"user_id":7,"title":"tea"}`}, 1},
		{"from a bad value to another", change(5, "a.b"), change(5, "c.d"), nil, 2},
	}
	m := newMapper(t, "todos", rule)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			change := &binlog.Change{Kind: binlog.Update}
			if c.before == nil {
				change.Kind = binlog.Insert
			} else {
				change.Before = row(table, c.before...)
			}
			if c.after == nil {
				change.Kind = binlog.Delete
			} else {
				change.After = row(table, c.after...)
			}
			for range 2 { // the same again
				got, unroutable := mapped(t, m, change)
				if !slices.Equal(got, c.want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
				}
				if unroutable != c.unroutable {
					t.Errorf("%d scopes had no channel, want %d", unroutable, c.unroutable)
				}
			}
		})
	}
}

// TestScopesOfTheSameChannel: who sees a row twice gets it once.
func TestScopesOfTheSameChannel(t *testing.T) {
	table := tableOf("todos", "id", "owner_id", "editor_id")
	m := newMapper(t, "todos", mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("user:{owner_id}", "user:{editor_id}")})
	for _, c := range []struct {
		before, after *binlog.Row
		want          []string
	}{
		{nil, row(table, "1", "7", "7"), []string{`create 1 to user 7: {"id":1}`}},
		{nil, row(table, "1", "7", "8"), []string{`create 1 to user 7, user 8: {"id":1}`}},
		{row(table, "1", "7", "8"), row(table, "1", "8", "7"), nil},
		{row(table, "1", "7", "8"), row(table, "1", "8", "9"), []string{`delete 1 to user 7: {"id":1}`, `create 1 to user 9: {"id":1}`}},
	} {
		change := &binlog.Change{Kind: binlog.Insert, Before: c.before, After: c.after}
		if c.before != nil {
			change.Kind = binlog.Update
		}
		if got, _ := mapped(t, m, change); !slices.Equal(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestCompositeKey(t *testing.T) {
	table := tableOf("post_tag", "post_id", "tag", "position")
	table.Key, table.Unique = []int{0, 1}, [][]int{{0, 1}}
	m := newMapper(t, "post_tag", mapping.Table{Fields: []string{"post_id", "tag", "position"}, VisibleTo: mapping.AnyOf("channel:posts")})
	got, _ := mapped(t, m, &binlog.Change{Kind: binlog.Insert, After: row(table, "3", `a"b`, "1")})
	if want := []string{`create [3,"a\"b"] to posts: {"post_id":3,"tag":"a\"b","position":"1"}`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got, _ = mapped(t, m, &binlog.Change{Kind: binlog.Update, Before: row(table, "3", "a", "1"), After: row(table, "3", "A", "1")})
	want := []string{`delete [3,"a"] to posts: {"post_id":3,"tag":"a","position":"1"}`, `create [3,"A"] to posts: {"post_id":3,"tag":"A","position":"1"}`}
	if !slices.Equal(got, want) { // whatever the collation thinks of it
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSeveralRulesOfOneTable gives the harmonics of both, in the order of
// their names.
func TestSeveralRulesOfOneTable(t *testing.T) {
	table := tableOf("todos", "id", "user_id", "title")
	m, wrong := mapping.New(mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{
		"todos":  {Fields: []string{"id", "title"}, VisibleTo: mapping.AnyOf("user:{user_id}")},
		"public": {Source: "todos", Fields: []string{"id"}, VisibleTo: mapping.AnyOf("channel:all")},
	}}, "app", time.UTC)
	if len(wrong) > 0 {
		t.Fatal(texts(wrong))
	}
	for range 20 {
		got, _ := mapped(t, m, &binlog.Change{Kind: binlog.Insert, After: row(table, "1", "7", "tea")})
		want := []string{`create 1 to all: {"id":1}`, `create 1 to user 7: {"id":1,"title":"tea"}`}
		if !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestPayloads(t *testing.T) {
	table := tableOf("todos", "id", "user_id", "title")
	base := mapping.Table{Fields: []string{"id", "title"}, VisibleTo: mapping.AnyOf("user:{user_id}")}
	cases := []struct {
		name                    string
		rule                    func(*mapping.Table)
		event, channel, payload string
	}{
		{
			"chorus", func(*mapping.Table) {}, "harmonic.created", "private-chorus.user.7",
			`{"id":"` + testID.String() + `","table_name":"todos","record_id":1,"operation":"update","data":"{\"id\":1,\"title\":\"tea\"}","user_id":null,"created_at":"2026-11-22 17:25:39"}`,
		},
		{
			"model", func(r *mapping.Table) { r.Broadcast, r.Model = "model", `App\Models\Todo` }, "TodoUpdated", "private-App.Models.User.7",
			`{"model":{"id":1,"title":"tea"},"connection":null,"queue":null,"afterCommit":false}`,
		},
		{"model with names of its own", func(r *mapping.Table) {
			r.Broadcast, r.Model, r.Event, r.UserChannel, r.Payload = "model", "Todo", "{table}.{operation}", "u.{id}.x", "data"
		}, "todos.update", "private-u.7.x", `{"id":1,"title":"tea"}`},
		{"data", func(r *mapping.Table) { r.Payload, r.Event = "data", "{Operation}" }, "Updated", "private-chorus.user.7", `{"id":1,"title":"tea"}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rule := base
			c.rule(&rule)
			m := newMapper(t, "todos", rule)
			given := 0
			_, err := routeToNobody(m, &binlog.Change{Kind: binlog.Update, Before: row(table, "1", "7", "coffee"), After: row(table, "1", "7", "tea")}, func(h *mapping.Harmonic) error {
				given++
				payload, err := h.AppendPayload([]byte("kept:"), testID, testAt)
				if got := string(payload); got != "kept:"+c.payload {
					t.Errorf("payload %s, want %s", got, c.payload)
				}
				if got := h.Plan.Event(h.Operation); got != c.event {
					t.Errorf("event %s, want %s", got, c.event)
				}
				if want := []string{c.channel}; !slices.Equal(h.Absent, want) || len(h.Shared) > 0 {
					t.Errorf("channels %q and %q, want %q", h.Absent, h.Shared, want)
				}
				return err
			})
			if err != nil || given != 1 {
				t.Errorf("%d harmonics, %v", given, err)
			}
		})
	}
}

// TestKeysAsTheyAreInRedis: AppendKey's text is what AppendGone and a refill
// are given back.
func TestKeysAsTheyAreInRedis(t *testing.T) {
	table := tableOf("todos", "id", "user_id", "tag")
	table.Unique = append(table.Unique, []int{2, 0})
	rule := mapping.Table{Fields: []string{"id", "tag"}, Key: []string{"tag", "id"}, VisibleTo: mapping.AnyOf("user:{user_id}")}
	m := newMapper(t, "todos", rule)
	p, err := m.PlanOf("todos", table)
	if err != nil {
		t.Fatal(err)
	}
	key, err := p.AppendKey(nil, row(table, "1", "7", "a\x00☕"))
	if err != nil || string(key) != `["a\u0000☕",1]` {
		t.Errorf("key %s, %v", key, err)
	}
	payload, err := p.AppendGone(nil, testID, testAt, string(key))
	if err != nil {
		t.Fatal(err)
	}
	h, err := harmonic.Parse(payload)
	if err != nil {
		t.Fatal(err)
	}
	if string(h.RecordID) != string(key) || string(h.Data) != `{"tag":"a\u0000☕","id":1}` || h.Operation != harmonic.Delete {
		t.Errorf("gone: %s %s %s", h.Operation, h.RecordID, h.Data)
	}
	for _, bad := range []string{`[1]`, `[1,2,3]`, `{}`, ``} {
		if _, err := p.AppendGone(nil, testID, testAt, bad); err == nil {
			t.Errorf("key %q of another table was taken", bad)
		}
	}
	if _, err := m.PlanOf("others", table); err == nil {
		t.Error("there is a plan of a table that is not mapped")
	}
}

// TestSyncs knows the columns behind the fields.
func TestSyncs(t *testing.T) {
	m := newMapper(t, "todos", mapping.Table{
		Fields: []string{"id", "author", "label"}, VisibleTo: mapping.AnyOf("user:{user_id}"),
		Columns: map[string]mapping.Column{"author": {Column: "author_id"}, "label": {Value: `upper(Title)`}},
	})
	for column, want := range map[string]bool{"ID": true, "author_id": true, "author": false, "label": false, "title": true, "user_id": false} {
		if got := m.Syncs("todos", []string{column}); got != want {
			t.Errorf("%s is synced: %v", column, got)
		}
	}
}

func TestErrorOfTheTakerEndsTheMapping(t *testing.T) {
	table := tableOf("todos", "id", "user_id", "title")
	m := newMapper(t, "todos", good())
	full := fmt.Errorf("full")
	given := 0
	_, err := routeToNobody(m, &binlog.Change{Kind: binlog.Update, Before: row(table, "1", "7", "a"), After: row(table, "1", "8", "a")}, func(*mapping.Harmonic) error {
		given++
		return full
	})
	if !errors.Is(err, full) || given != 1 {
		t.Errorf("%d were given, then %v", given, err)
	}
}

// TestTableThatNoLongerFits: a column is gone, so the rules cannot be kept.
func TestTableThatNoLongerFits(t *testing.T) {
	m := newMapper(t, "todos", good())
	table := tableOf("todos", "id", "user_id")
	_, err := routeToNobody(m, &binlog.Change{Kind: binlog.Insert, After: row(table, "1", "7")}, func(*mapping.Harmonic) error { return nil })
	want := `the mapping no longer fits table app.todos: tables.todos.fields: table app.todos has no column "title": it has id, user_id`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestManyVersionsAndNames has more of both than are remembered.
func TestManyVersionsAndNames(t *testing.T) {
	m := newMapper(t, "todos", good())
	table := tableOf("todos", "id", "user_id", "title")
	for n := range 70_000 {
		if n%200 == 0 {
			table = tableOf("todos", "id", "user_id", "title")
		}
		user := strconv.Itoa(n)
		_, err := routeToNobody(m, &binlog.Change{Kind: binlog.Insert, After: row(table, "1", user, "a")}, func(h *mapping.Harmonic) error {
			if want := []string{"private-chorus.user." + user}; !slices.Equal(h.Absent, want) {
				t.Fatalf("user %s has the channels %q", user, h.Absent)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzChannelNames: whatever a value is, a name holds no more dots than its
// template and only what Pusher allows, and is no user's.
func FuzzChannelNames(f *testing.F) {
	for _, s := range []string{"7", "", ".", "a.b", `"`, `\`, "é", "\x00", "encrypted-x", strings.Repeat("x", 200), "user.7"} {
		f.Add(s)
	}
	table := tableOf("todos", "id", "user_id", "kind")
	m := newMapper(f, "todos", mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("channel:{kind}", "channel:chorus.{kind}")})
	f.Fuzz(func(t *testing.T, value string) {
		_, err := routeToNobody(m, &binlog.Change{Kind: binlog.Insert, After: binlog.TextRow(table, [][]byte{[]byte("1"), nil, []byte(value)})}, func(h *mapping.Harmonic) error {
			for _, name := range slices.Concat(h.Absent, h.Shared) {
				if len(h.Absent) > 0 || strings.HasPrefix(name, "private-chorus.user.") || strings.HasPrefix(name, "private-encrypted-") ||
					strings.Count(name, ".") > 1 || len(name) > 164 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=@,;.") != "" {
					t.Errorf("value %q names the channel %q", value, name)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkPayload(b *testing.B) {
	table := tableOf("todos", "id", "user_id", "title")
	m := newMapper(b, "todos", good())
	v := newView(m)
	v.connect(b, "7", nil)
	change := &binlog.Change{Kind: binlog.Update, Before: row(table, "1", "7", "coffee"), After: row(table, "1", "7", "tea")}
	var payload []byte
	b.ReportAllocs()
	for b.Loop() {
		_, err := m.Route(change, v, v, func(h *mapping.Harmonic) (err error) {
			payload, err = h.AppendPayload(payload[:0], testID, testAt)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
