package oracle

import (
	"maps"
	"slices"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
)

// TestClientDoesWhatControlMessagesSay: also before it has loaded its rows,
// and not to what a higher id has changed.
func TestClientDoesWhatControlMessagesSay(t *testing.T) {
	id := func(seq harmonic.Seq) harmonic.ID { return harmonic.NewID(seq, 1) }
	update := func(key, content string, seq harmonic.Seq) *message {
		return &message{record: record{"posts", key}, id: id(seq), operation: harmonic.Update, content: content}
	}
	loaded := map[record]string{{"posts", "1"}: `id=1 team_id=3`, {"posts", "2"}: `id=2 team_id=33`, {"tasks", "1"}: `id=1 team_id=3`}
	team := []harmonic.Match{{Column: "team_id", Value: []byte("3")}}
	all := func(string) bool { return true }
	for name, c := range map[string]struct {
		do   func(c *client)
		want []string // keys of posts
	}{
		"described rows":     {func(c *client) { c.drop("posts", id(5), func(s string) bool { return matches(s, team) }) }, []string{"2"}},
		"all rows":           {func(c *client) { c.drop("posts", id(5), all) }, nil},
		"but later ones":     {func(c *client) { c.apply(update("1", "id=1", 6)); c.drop("posts", id(5), all) }, []string{"1"}},
		"a table anew":       {func(c *client) { c.reload("posts", map[record]string{{"posts", "7"}: "id=7"}) }, []string{"7"}},
		"another table anew": {func(c *client) { c.reload("tasks", nil) }, []string{"1", "2"}},
		"a delete and a stray": {func(c *client) {
			c.apply(&message{record: record{"posts", "1"}, id: id(9), operation: harmonic.Delete})
			c.apply(update("1", "id=1", 8))
		}, []string{"2"}},
	} {
		t.Run(name, func(t *testing.T) {
			one := &client{}
			one.load(maps.Clone(loaded), 0)
			c.do(one)
			if got := keysIn(one, "posts"); !slices.Equal(got, c.want) {
				t.Errorf("posts %q, want %q", got, c.want)
			}
			if got := keysIn(one, "tasks"); name != "another table anew" && !slices.Equal(got, []string{"1"}) {
				t.Errorf("tasks %q are others' business", got)
			}
		})
	}
	early := &client{}
	early.control(func() { early.drop("posts", id(5), all) })
	early.apply(update("9", "id=9", 6))
	early.load(maps.Clone(loaded), 0)
	if got := keysIn(early, "posts"); !slices.Equal(got, []string{"9"}) {
		t.Errorf("what came before the rows were loaded leaves %q, want 9", got)
	}
}

func keysIn(c *client, table string) (keys []string) {
	for r := range c.rows {
		if r.table == table {
			keys = append(keys, r.key)
		}
	}
	slices.Sort(keys)
	return keys
}

// TestUnfoundedDeletes: who never had a row need not be told that it is gone.
func TestUnfoundedDeletes(t *testing.T) {
	tenant := &Tenant{}
	posts := &Table{Name: "posts", tenant: tenant, Rule: &Rule{}, Key: []*Column{{Name: "id"}}}
	anna := tenant.userChannel("", "1")
	h := &history{
		world: &World{Tables: []*Table{posts}},
		now:   map[*Table]holdings{posts: {"1": {anna: {}}}},
		lost:  map[*Table]map[viewed]int{posts: {viewed{anna, "2"}: 5}},
	}
	for _, c := range []struct {
		key   string
		since int
		want  bool
	}{
		{"1", 9, false}, {"2", 5, false}, {"2", 6, true}, {"3", 0, true}, {"3", unknown, false},
	} {
		m := &message{record: record{"posts", c.key}, operation: harmonic.Delete, fields: map[string]string{"id": c.key}}
		if got := h.unfounded(anna, m, c.since); got != c.want {
			t.Errorf("a delete of %s since %d: unfounded is %v, want %v", c.key, c.since, got, c.want)
		}
	}
}
