package mapping_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
)

// good is a table with nothing wrong, for tests that change one thing.
func good() mapping.Table {
	return mapping.Table{Fields: []string{"id", "user_id", "title"}, VisibleTo: mapping.AnyOf("user:{user_id}")}
}

func with(change func(*mapping.Table)) mapping.Table {
	t := good()
	change(&t)
	return t
}

const userTemplate = "chorus.user.{id}"

// problems are what New says, as "table.option: text".
func problems(cfg mapping.Config) []string {
	_, list := mapping.New(cfg, "app", time.UTC)
	return texts(list)
}

func texts(list []mapping.Problem) []string {
	var out []string
	for _, p := range list {
		out = append(out, strings.TrimPrefix(p.Table+"."+p.Option, ".")+": "+p.Text)
	}
	return out
}

func TestNewNamesEveryProblem(t *testing.T) {
	visible := func(entries ...string) mapping.Table {
		return with(func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf(entries...) })
	}
	cases := []struct {
		name  string
		table mapping.Table
		want  []string
	}{
		{"good", good(), nil},
		{"empty", mapping.Table{}, []string{
			`todos.fields: missing: list the columns that clients get`,
			`todos.visible_to: missing: say who may see a row, like ["user:{user_id}"]`,
		}},
		{"field twice", with(func(t *mapping.Table) { t.Fields = append(t.Fields, "id") }), []string{
			`todos.fields: "id" is there twice: take one out`,
		}},
		{"key that clients do not get", with(func(t *mapping.Table) { t.Key = []string{"uuid"} }), []string{
			`todos.key: column "uuid" must be one of fields, since clients find the record by it`,
		}},
		{"unknown preset", with(func(t *mapping.Table) { t.Broadcast = "laravel" }), []string{
			`todos.broadcast: "laravel" is neither "chorus" nor "model"`,
		}},
		{"model without class", with(func(t *mapping.Table) { t.Broadcast = "model" }), []string{
			`todos.model: missing: broadcast = "model" needs the class, like 'App\Models\Todo'`,
		}},
		{"unknown payload", with(func(t *mapping.Table) { t.Payload = "xml" }), []string{
			`todos.payload: "xml" is none of "harmonic", "model", "data"`,
		}},
		{"unknown placeholder in the event", with(func(t *mapping.Table) { t.Event = "todo.{verb}" }), []string{
			`todos.event: {verb} in "todo.{verb}" is not known: there are {operation}, {Operation}, {model} and {table}`,
		}},
		{"the event of control messages", with(func(t *mapping.Table) { t.Event = harmonic.EventControl }), []string{
			`todos.event: "chorusd.control" cannot be an event's name`,
		}},
		{"event too long", with(func(t *mapping.Table) { t.Event = strings.Repeat("e", 201) }), []string{
			`todos.event: "` + strings.Repeat("e", 201) + `" cannot be an event's name`,
		}},
		{"scope without a kind", visible("user_id"), []string{
			`todos.visible_to: "user_id" is none of "user:{column}", "SCOPE:{column}", "public" and "channel:name.{column}"`,
		}},
		{"scope of an unknown kind", visible("team:{team_id}"), []string{
			`todos.visible_to: "team:{team_id}": there is no scope "team": say who its members are under [[scopes.team.members]], or use "user", "public" or "channel"`,
		}},
		{"user without braces", visible("user:user_id"), []string{
			`todos.visible_to: "user:user_id": behind "user" has to stand one column or path in braces, like "user:{user_id}"`,
		}},
		{"user of two columns", visible("user:{a}{b}"), []string{
			`todos.visible_to: "user:{a}{b}": behind "user" has to stand one column or path in braces, like "user:{user_id}"`,
		}},
		{"no channel", visible("channel:"), []string{`todos.visible_to: "channel:": it names no channel`}},
		{"braces without a column", visible("channel:a.{}"), []string{`todos.visible_to: "channel:a.{}": {} names no column`}},
		{"a brace alone", visible("channel:a.{b"), []string{
			`todos.visible_to: "channel:a.{b": "a.{b" may not stand in a channel's name: use letters, digits and _-=@,.;`,
		}},
		{"a blank in a channel", visible("channel:my team.{id}"), []string{
			`todos.visible_to: "channel:my team.{id}": "my team." may not stand in a channel's name: use letters, digits and _-=@,.;`,
		}},
		{"a slash in a channel", visible("channel:a/{id}"), []string{
			`todos.visible_to: "channel:a/{id}": "a/" may not stand in a channel's name: use letters, digits and _-=@,.;`,
		}},
		{"the user's channel by another name", visible("channel:chorus.user.{user_id}"), []string{
			`todos.visible_to: "channel:chorus.user.{user_id}" can name a user's own channel: write "user:{column}", or start it with other text`,
		}},
		{"one user's channel for all", visible("channel:chorus.user.7"), []string{
			`todos.visible_to: "channel:chorus.user.7" can name a user's own channel: write "user:{column}", or start it with other text`,
		}},
		{"a column that can be the word user", visible("channel:chorus.{kind}.{user_id}"), []string{
			`todos.visible_to: "channel:chorus.{kind}.{user_id}" can name a user's own channel: write "user:{column}", or start it with other text`,
		}},
		{"columns for all of it", visible("channel:{a}.{b}.{c}"), []string{
			`todos.visible_to: "channel:{a}.{b}.{c}" can name a user's own channel: write "user:{column}", or start it with other text`,
		}},
		{"a column that ends the word", visible("channel:chorus.us{x}.{id}"), []string{
			`todos.visible_to: "channel:chorus.us{x}.{id}" can name a user's own channel: write "user:{column}", or start it with other text`,
		}},
		{"channels of other lengths", visible("channel:chorus.user", "channel:chorus.user.{id}.notes", "channel:{a}.{b}", "channel:{x}"), nil},
		{"channels of other words", visible("channel:chorus.users.{id}", "channel:chorus.platform.{id}", "channel:other.user.{id}"), nil},
		{"user channel of the table", with(func(t *mapping.Table) {
			t.UserChannel = "App.Models.User.{id}"
			t.VisibleTo = mapping.AnyOf("channel:App.Models.User.{x}")
		}), []string{
			`todos.visible_to: "channel:App.Models.User.{x}" can name a user's own channel: write "user:{column}", or start it with other text`,
		}},
		{"user channel without id", with(func(t *mapping.Table) { t.UserChannel = "users" }), []string{
			`todos.visible_to: user channel "users" must be text and one {id}, like "chorus.user.{id}"`,
		}},
		{"user channel with two ids", with(func(t *mapping.Table) { t.UserChannel = "u.{id}.{id}" }), []string{
			`todos.visible_to: user channel "u.{id}.{id}" must be text and one {id}, like "chorus.user.{id}"`,
		}},
		{"user channel that starts with the id", with(func(t *mapping.Table) { t.UserChannel = "{id}.user" }), []string{
			`todos.visible_to: user channel "{id}.user" must be text and one {id}, like "chorus.user.{id}"`,
		}},
		{"user channel of a column", with(func(t *mapping.Table) { t.UserChannel = "u.{user_id}" }), []string{
			`todos.visible_to: user channel "u.{user_id}": {user_id} is not known: there are {id}, {@tenant} and the attributes of [users]`,
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := problems(mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{"todos": c.table}})
			same := slices.EqualFunc(got, c.want, strings.HasPrefix)
			if !same {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestProblemsOfAllTablesAtOnce: sorted by table, what is wrong with the
// default once.
func TestProblemsOfAllTablesAtOnce(t *testing.T) {
	got := problems(mapping.Config{UserChannel: "nobody", Tables: map[string]mapping.Table{
		"b": {Fields: []string{"id"}}, "a": {VisibleTo: mapping.AnyOf("user:{id}")}, "c": good(),
	}})
	want := []string{
		`channels.user: user channel "nobody" must be text and one {id}, like "chorus.user.{id}"`,
		`a.fields: missing: list the columns that clients get`,
		`b.visible_to: missing: say who may see a row, like ["user:{user_id}"]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestChannelOfAnotherTablesUsers: a row of one table must not reach a user's
// own channel by a template that is harmless beside its own table's.
func TestChannelOfAnotherTablesUsers(t *testing.T) {
	tables := map[string]mapping.Table{
		"todos": with(func(t *mapping.Table) { t.UserChannel = "App.Models.User.{id}" }),
		"notes": with(func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf("channel:App.Models.{kind}.{owner}") }),
	}
	want := []string{`notes.visible_to: "channel:App.Models.{kind}.{owner}" can name a user's own channel of table "todos": start it with other text`}
	if got := problems(mapping.Config{UserChannel: userTemplate, Tables: tables}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSourcesAndChannelPrefixes(t *testing.T) {
	m, wrong := mapping.New(mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{
		"todos": good(),
		"done":  with(func(t *mapping.Table) { t.Source = "todos" }),
		"tags":  with(func(t *mapping.Table) { t.Broadcast, t.Model = "model", `App\Models\Tag` }),
		"news":  with(func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf("channel:news"); t.UserChannel = "unused.{id}" }),
		"old":   with(func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf("channel:new", "channel:newt") }),
	}}, "app", time.UTC)
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	if got, want := fmt.Sprint(m.Sources()), "[app.news app.old app.tags app.todos]"; got != want {
		t.Errorf("sources %s, want %s", got, want)
	}
	if got := m.ChannelPrefixes(); !slices.Equal(got, []string{"private-App.Models.User.", "private-chorus.user.", "private-new"}) {
		t.Errorf("channels start with %q", got)
	}
	for name, want := range map[string]string{"todos": "app.todos", "done": "app.todos", "news": "app.news"} {
		if source, ok := m.SourceOf(name); !ok || source.String() != want {
			t.Errorf("%s comes from %s, %v; want %s", name, source, ok, want)
		}
	}
	if _, ok := m.SourceOf("nothing"); ok {
		t.Error("a table that is not mapped has a source")
	}
}

// TestHashChangesWithTheRules: with anything that could make the same change
// another harmonic, and with nothing else.
func TestHashChangesWithTheRules(t *testing.T) {
	hash := func(cfg mapping.Config, database string, loc *time.Location) string {
		m, _ := mapping.New(cfg, database, loc)
		return m.Hash()
	}
	config := func(change func(*mapping.Table)) mapping.Config {
		return mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{"todos": with(change), "tags": good()}}
	}
	same := func(*mapping.Table) {}
	base := hash(config(same), "app", time.UTC)
	for range 20 { // maps have no order
		if got := hash(config(same), "app", time.UTC); got != base {
			t.Fatalf("the same rules have the hashes %s and %s", base, got)
		}
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	other := config(same)
	other.UserChannel = "u.{id}"
	prefixed := config(same)
	prefixed.TablePrefix = "app_"
	hashes := map[string]string{
		"base": base, "database": hash(config(same), "other", time.UTC), "zone": hash(config(same), "app", berlin),
		"user channel": hash(other, "app", time.UTC), "prefix": hash(prefixed, "app", time.UTC),
	}
	for name, change := range map[string]func(*mapping.Table){
		"source": func(t *mapping.Table) { t.Source = "s" }, "key": func(t *mapping.Table) { t.Key = []string{"id"} },
		"fields":     func(t *mapping.Table) { t.Fields = []string{"user_id", "id", "title"} },
		"visible_to": func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf("channel:x") },
		"casts":      func(t *mapping.Table) { t.Casts = map[string]string{"id": "string"} },
		"broadcast":  func(t *mapping.Table) { t.Broadcast = "chorus" }, "model": func(t *mapping.Table) { t.Model = "M" },
		"event": func(t *mapping.Table) { t.Event = "e" }, "payload": func(t *mapping.Table) { t.Payload = "data" },
		"table's user channel": func(t *mapping.Table) { t.UserChannel = "t.{id}" },
	} {
		hashes[name] = hash(config(change), "app", time.UTC)
	}
	if distinct := slices.Compact(slices.Sorted(maps.Values(hashes))); len(distinct) != len(hashes) {
		t.Errorf("some changes of the rules have the same hash: %v", hashes)
	}
}

// dictionary is a table as the server's dictionary describes it.
func dictionary() *binlog.Table {
	return &binlog.Table{
		Name: binlog.TableName{Schema: "app", Table: "todos"},
		Columns: []binlog.Column{
			{Name: "id", Kind: binlog.Integer},
			{Name: "user_id", Kind: binlog.Integer, Nullable: true},
			{Name: "title", Kind: binlog.Text, Charset: "utf8mb4"},
			{Name: "at", Kind: binlog.DateTime, SQLType: "datetime"},
			{Name: "place", Kind: binlog.Unsupported, SQLType: "xmltype"},
			{Name: "uuid", Kind: binlog.Text, Charset: "ascii"},
		},
		Key: []int{0}, Unique: [][]int{{0}, {5, 0}},
	}
}

func TestCheckFitsTheRulesToTheTables(t *testing.T) {
	cases := []struct {
		name  string
		rule  mapping.Table
		table func(*binlog.Table)
		want  []string
	}{
		{"good", good(), nil, nil},
		{"in another case", with(func(t *mapping.Table) { t.Fields = []string{"ID", "USER_ID"} }), nil, nil},
		{"no such field", with(func(t *mapping.Table) { t.Fields = append(t.Fields, "done") }), nil, []string{
			`todos.fields: table app.todos has no column "done": it has id, user_id, title, at, place, uuid`,
		}},
		{"type that cannot be read", with(func(t *mapping.Table) { t.Fields = append(t.Fields, "place") }), nil, []string{
			`todos.fields: column app.todos.place: the type (xmltype) cannot be read: leave it out of fields`,
		}},
		{"cast of another column", with(func(t *mapping.Table) { t.Casts = map[string]string{"at": "string"} }), nil, []string{
			`todos.casts: "at" is not one of fields`,
		}},
		{"cast that does not fit", with(func(t *mapping.Table) { t.Casts = map[string]string{"title": "datetime"} }), nil, []string{
			`todos.fields: column app.todos.title: cast "datetime" does not fit its type (text): use one of `,
		}},
		{"no unique key", good(), func(t *binlog.Table) { t.Key, t.Unique = nil, [][]int{} }, []string{
			`todos.key: table app.todos has no primary key and no unique key without nullable columns, so a record cannot be told from others: ` +
				`ALTER TABLE app.todos ADD PRIMARY KEY (id);`,
		}},
		{"no unique key and no id", good(), func(t *binlog.Table) { t.Key, t.Unique, t.Columns[0].Name = nil, nil, "number" }, []string{
			`todos.fields: table app.todos has no column "id": it has number, user_id, title, at, place, uuid`,
			`todos.key: table app.todos has no primary key and no unique key without nullable columns, so a record cannot be told from others: ` +
				`ALTER TABLE app.todos ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY;`,
		}},
		{"key that is not unique", with(func(t *mapping.Table) { t.Key = []string{"title"} }), nil, []string{
			`todos.key: no unique key of app.todos is made of title: use one whose columns are all NOT NULL, or add it: ALTER TABLE app.todos ADD UNIQUE (title);`,
		}},
		{"half of a unique key", with(func(t *mapping.Table) { t.Fields, t.Key = []string{"uuid"}, []string{"uuid"} }), nil, []string{
			`todos.key: no unique key of app.todos is made of uuid: use one whose columns are all NOT NULL, or add it: ALTER TABLE app.todos ADD UNIQUE (uuid);`,
		}},
		{"a unique key in another order", with(func(t *mapping.Table) { t.Fields, t.Key = []string{"uuid", "id"}, []string{"id", "uuid"} }), nil, nil},
		{"primary key that clients do not get", with(func(t *mapping.Table) { t.Fields = []string{"title"} }), nil, []string{
			`todos.fields: the key column "id" must be one of them, since clients find the record by it`,
		}},
		{"key that a cast makes the same for all", with(func(t *mapping.Table) { t.Casts = map[string]string{"id": "boolean"} }), nil, []string{
			`todos.key: column "id": cast "boolean" of a key column loses its value`,
		}},
		{"the same by another name", with(func(t *mapping.Table) { t.Casts = map[string]string{"id": "bool"} }), nil, []string{
			`todos.key: column "id": cast "bool" of a key column loses its value`,
		}},
		{"no such scope column", with(func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf("user:{owner}") }), nil, []string{
			`todos.visible_to: table app.todos has no column "owner": it has id, user_id, title, at, place, uuid`,
		}},
		{"scope of a time", with(func(t *mapping.Table) { t.VisibleTo = mapping.AnyOf("user:{at}") }), nil, []string{
			`todos.visible_to: column "at" of type datetime cannot be a key: use an integer, a text or a UUID`,
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, wrong := mapping.New(mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{"todos": c.rule}}, "app", time.UTC)
			if len(wrong) > 0 {
				t.Fatal(texts(wrong))
			}
			table := dictionary()
			if c.table != nil {
				c.table(table)
			}
			got := texts(m.Check(map[binlog.TableName]*binlog.Table{table.Name: table}))
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			_, err := m.Plans(table)
			if (err != nil) != (len(c.want) > 0) {
				t.Errorf("Plans says %v", err)
			}
		})
	}
}

func TestCheckPassesOverTablesThatAreNotThere(t *testing.T) {
	m, _ := mapping.New(mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{"todos": good()}}, "app", time.UTC)
	if got := m.Check(nil); len(got) > 0 {
		t.Errorf("problems of a table that is not there: %v", got)
	}
}
