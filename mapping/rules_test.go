package mapping_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// TestRulesNameEveryProblem is of what New says of scopes, users and columns.
func TestRulesNameEveryProblem(t *testing.T) {
	visible := func(alternatives ...mapping.Alternative) func(*mapping.Config) {
		return func(c *mapping.Config) {
			table := c.Tables["todos"]
			table.VisibleTo = alternatives
			c.Tables["todos"] = table
		}
	}
	table := func(change func(*mapping.Table)) func(*mapping.Config) {
		return func(c *mapping.Config) {
			table := c.Tables["todos"]
			change(&table)
			c.Tables["todos"] = table
		}
	}
	column := func(name string, column mapping.Column) func(*mapping.Config) {
		return table(func(t *mapping.Table) { t.Columns = map[string]mapping.Column{name: column} })
	}
	members := func(name string, members ...mapping.Members) func(*mapping.Config) {
		return func(c *mapping.Config) { c.Scopes[name] = mapping.Scope{Members: members} }
	}
	cases := []struct {
		name   string
		change func(*mapping.Config)
		want   []string
	}{
		{"good", func(*mapping.Config) {}, nil},
		{"a scope that is none", visible(mapping.Alternative{"group:{team_id}"}), []string{
			`todos.visible_to: "group:{team_id}": there is no scope "group": say who its members are under [[scopes.group.members]], or use "user", "public" or "channel"`,
		}},
		{"a scope's name", visible(mapping.Alternative{"my group:{team_id}"}), []string{
			`todos.visible_to: "my group:{team_id}": "my group" is no scope's name, which is letters, digits and _`,
		}},
		{"an empty inner list", visible(mapping.Alternative{}), []string{
			`todos.visible_to: an inner list is empty: list what a user needs to see the row`,
		}},
		{"a channel in an inner list", visible(mapping.Alternative{"public", "channel:all"}), []string{
			`todos.visible_to: "channel:all" stands in an inner list, and who hears that channel is for Laravel to say: let it stand by itself`,
		}},
		{"twice in an inner list", visible(mapping.Alternative{"public", "public"}), []string{
			`todos.visible_to: "public" is twice in an inner list: take one out`,
		}},
		{"an arrow to nothing", visible(mapping.Alternative{"team:{post_id -> posts}"}), []string{
			`todos.visible_to: "team:{post_id -> posts}": "posts" behind an arrow is not like "posts.team_id", the parent's table and its column`,
		}},
		{"a path that ends in two", visible(mapping.Alternative{"team:{post_id -> posts.a, b}"}), []string{
			`todos.visible_to: "team:{post_id -> posts.a, b}": "post_id -> posts.a, b" ends in 2 columns, and a key is one: several may stand only before an arrow, for a parent with a key of several columns`,
		}},
		{"no column", visible(mapping.Alternative{"team:{a, , b -> posts.c}"}), []string{
			`todos.visible_to: "team:{a, , b -> posts.c}": "" is no column's name`,
		}},
		{"a parent of a tenant", visible(mapping.Alternative{"team:{post_id -> tenant_%.posts.team_id}"}), []string{
			`todos.visible_to: "team:{post_id -> tenant_%.posts.team_id}": the parent tenant_%.posts is not of the same database's tenants as app.todos: rows of a tenant can have parents of the same tenant only, so write its table's name alone`,
		}},
		{"scopes with other meanings", func(c *mapping.Config) {
			one := c.Scopes["team"]
			c.Scopes["user"], c.Scopes["public"], c.Scopes["a b"] = one, one, one
		}, []string{
			`scopes.a b: "a b" is no scope's name: use letters, digits and _`,
			`scopes.public: "public" has a meaning of its own in visible_to: give the scope another name`,
			`scopes.user: "user" has a meaning of its own in visible_to: give the scope another name`,
		}},
		{"a scope of nobody", members("empty"), []string{
			`scopes.empty: nobody is in it: say which table has its members under [[scopes.empty.members]]`,
		}},
		{"members of nothing", members("empty", mapping.Members{}), []string{
			`scopes.empty.members[0].source: missing: name the table whose rows make users members, like "team_user"`,
			`scopes.empty.members[0].scope: missing: name the column of the scope's key, like "empty_id"`,
			`scopes.empty.members[0].user: missing: name the column of the user's key, like "user_id"`,
		}},
		{"members of different tenants", members("mixed",
			mapping.Members{Source: "a_%.members", Scope: "a", User: "b"}, mapping.Members{Source: "b_%.members", Scope: "a", User: "b"}), []string{
			`scopes.mixed.members[1].source: a_%.members and b_%.members do not name their tenants alike, so rows of one could be seen by members of another: use the same pattern for all members of a scope`,
		}},
		{"a scope of tenants", func(c *mapping.Config) {
			members("team", mapping.Members{Source: "tenant_%.team_user", Scope: "team_id", User: "user_id"})(c)
		}, []string{
			`todos.visible_to: "team:{team_id}": the members of scope "team" come from tenant_%.team_user, and the rows from app.todos: rows of a tenant can be shared only by a scope of the same pattern`,
		}},
		{"attributes of no table", func(c *mapping.Config) { c.Users = mapping.Users{Attributes: []string{"role"}} }, []string{
			`users.source: missing: name the table that has the attributes of users, like "users"`,
		}},
		{"attributes", func(c *mapping.Config) {
			c.Users = mapping.Users{Source: "users", Attributes: []string{"id", "role", "role"}}
		}, []string{
			`users.key: missing: name the column of the user's key, like "id"`,
			`users.attributes: "id" is the user's key already, by whatever column: take it out`,
			`users.attributes: "role" is there twice: take one out`,
		}},
		{"a column that is no field", column("secret", mapping.Column{Mask: "hash"}), []string{
			`todos.columns.secret: "secret" is not one of fields`,
		}},
		{"a column and a value", column("title", mapping.Column{Column: "a", Value: `"b"`}), []string{
			`todos.columns.title.value: a field has a column or a value: take one out`,
		}},
		{"no mask", column("title", mapping.Column{UnmaskedIf: `user.role == "hr"`}), []string{
			`todos.columns.title.unmasked_if: there is no mask to take off: add mask, or take it out`,
		}},
		{"columns by user on a shared channel", table(func(t *mapping.Table) {
			t.VisibleTo = mapping.AnyOf("user:{user_id}", "channel:all")
			t.Columns = map[string]mapping.Column{
				"title": {VisibleIf: `user.role == "hr"`}, "user_id": {Mask: "fixed:x", UnmaskedIf: `user.role == "hr"`},
			}
		}), []string{
			`todos.columns.title.visible_if: who hears "channel:all" is for Laravel to say, and all who do get the same: take it out, or map the table twice`,
			`todos.columns.user_id.unmasked_if: who hears "channel:all" is for Laravel to say, and all who do get the same: take it out, or map the table twice`,
		}},
		{"a cast of a value", table(func(t *mapping.Table) {
			t.Columns = map[string]mapping.Column{"title": {Value: `"b"`}}
			t.Casts = map[string]string{"title": "json"}
		}), []string{`todos.casts: "title" has a value, which has the form that it comes out as: take the cast out`}},
		{"an attribute in a channel", func(c *mapping.Config) { c.UserChannel = "chorus.{role}.user.{id}" }, nil},
		{"no attribute in a channel", func(c *mapping.Config) { c.UserChannel = "chorus.{tenant_id}.user.{id}" }, []string{
			`channels.user: user channel "chorus.{tenant_id}.user.{id}": {tenant_id} is not known: there are {id}, {@tenant} and the attributes of [users]`,
		}},
		{"an attribute that runs into the key", func(c *mapping.Config) { c.UserChannel = "chorus.{role}{id}" }, []string{
			`channels.user: user channel "chorus.{role}{id}": where one value ends and the next begins cannot be told: put a dot between them`,
		}},
		{"channels of users that meet", func(c *mapping.Config) {
			c.Tables["notes"] = mapping.Table{Fields: []string{"id"}, VisibleTo: mapping.AnyOf("user:{user_id}"), UserChannel: "chorus.{role}.{id}"}
		}, []string{
			`notes.visible_to: a user's channel of this table can be another user's of table "todos": give both tables the same user_channel, or start them with other text`,
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := scoped(mapping.Table{Fields: []string{"id", "user_id", "title"}, VisibleTo: mapping.AnyOf("team:{team_id}")})
			c.change(&cfg)
			if got := problems(cfg); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// tables are those of a database by their names.
func tables(list ...*binlog.Table) map[binlog.TableName]*binlog.Table {
	m := map[binlog.TableName]*binlog.Table{}
	for _, t := range list {
		m[t.Name] = t
	}
	return m
}

// TestRulesThatDoNotFit is of what Check says of tables.
func TestRulesThatDoNotFit(t *testing.T) {
	good := func() map[string]*binlog.Table {
		list := map[string]*binlog.Table{
			"todos":         tableOf("todos", "id", "user_id", "team_id", "post_id", "title", "at"),
			"posts":         tableOf("posts", "id", "team_id", "uuid", "thread_id"),
			"users":         tableOf("users", "id", "role", "region"),
			"team_user":     tableOf("team_user", "id", "team_id", "user_id", "role"),
			"platform_user": tableOf("platform_user", "id", "platform_id", "user_id"),
		}
		list["todos"].Columns[5].Kind, list["posts"].Columns[2].Kind = binlog.DateTime, binlog.Text
		return list
	}
	type (
		rule = func(*mapping.Table)
		base = map[string]*binlog.Table
	)
	text := func(table string, column int) func(base) {
		return func(b base) { b[table].Columns[column].Kind = binlog.Text }
	}
	same := func(base) {}
	cases := []struct {
		name   string
		rule   rule
		change func(base)
		want   []string
	}{
		{"good", func(*mapping.Table) {}, same, nil},
		{"a scope of another type", func(*mapping.Table) {}, text("todos", 2), []string{
			`todos.visible_to: column app.todos.team_id is text, but app.team_user.team_id, which makes the key of scope "team" too, is an integer, so no two of them are ever the same: give both the same type`,
		}},
		{"users of another type", func(*mapping.Table) {}, text("team_user", 2), []string{
			`scopes.team.members[0].user: column app.team_user.user_id is text, but app.platform_user.user_id, which makes the key of users too, is an integer, so no two of them are ever the same: give both the same type`,
		}},
		{"a scope by a time", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("team:{at}") }, same, []string{
			`todos.visible_to: column "at" of type datetime cannot be a key: use an integer, a text or a UUID`,
		}},
		{"members without a key", func(*mapping.Table) {}, func(b base) { b["team_user"].Key, b["team_user"].Unique = nil, nil }, []string{
			`scopes.team.members[0].source: table app.team_user has no primary key and no unique key without nullable columns, so a row cannot be told from others: ALTER TABLE app.team_user ADD PRIMARY KEY (id);`,
		}},
		{"a parent", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("team:{post_id -> posts.team_id}") }, same, nil},
		{"a parent of another type", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("team:{post_id -> posts.team_id}") }, text("posts", 0), []string{
			`todos.visible_to: column app.todos.post_id is an integer, but app.posts.id, which makes the primary key of app.posts too, is text, so no two of them are ever the same: give both the same type`,
		}},
		{"a parent's scope of another type", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("team:{post_id -> posts.team_id}") }, text("posts", 1), []string{
			`scopes.team.members[0].scope: column app.team_user.team_id is an integer, but app.posts.team_id, which makes the key of scope "team" too, is text, so no two of them are ever the same: give both the same type`,
		}},
		{"a parent's column", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("team:{post_id -> posts.group_id}") }, same, []string{
			`todos.visible_to: table app.posts has no column "group_id": it has id, team_id, uuid, thread_id`,
		}},
		{"a parent's key that is none", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("team:{title -> posts(uuid).team_id}") }, same, []string{
			`todos.visible_to: no unique key of app.posts is made of uuid: use one whose columns are all NOT NULL, or add it: ALTER TABLE app.posts ADD UNIQUE (uuid);`,
		}},
		{"a parent's key", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("team:{title -> posts(uuid).team_id}") }, func(b base) {
			b["posts"].Unique = append(b["posts"].Unique, []int{2})
		}, nil},
		{"too many columns for a parent", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("team:{user_id, post_id -> posts.team_id}") }, same, []string{
			`todos.visible_to: "team:{user_id, post_id -> posts.team_id}": 2 columns stand before the arrow to app.posts, whose key has 1 (id): write as many, in that order`,
		}},
		{"a parent without a key", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("team:{post_id -> posts.team_id}") }, func(b base) {
			b["posts"].Key, b["posts"].Unique = nil, nil
		}, []string{
			`todos.visible_to: app.posts is a parent, and has no primary key to find it by: ALTER TABLE app.posts ADD PRIMARY KEY (id);`,
		}},
		{"user in a filter for all", func(r *mapping.Table) {
			r.VisibleTo, r.Where = mapping.AnyOf("channel:all"), `user.role == "admin"`
		}, same, []string{
			`todos.where: it asks for the user, and who hears "channel:all" is for Laravel to say: take user out, or map the table twice`,
		}},
		{"time in a field", func(r *mapping.Table) {
			r.Columns = map[string]mapping.Column{"title": {VisibleIf: `at <= now`}}
		}, same, []string{`todos.columns.title.visible_if: "at <= now" changes with the clock, which only where can: leave now out`}},
		{"a key that is made", func(r *mapping.Table) {
			r.Key, r.Columns = []string{"id"}, map[string]mapping.Column{"id": {Value: `1`}}
		}, same, []string{
			`todos.columns.id.value: the key is a column of the table, by which rows are read again: take the value out, or name other fields in key`,
		}},
		{"a key that is masked", func(r *mapping.Table) { r.Columns = map[string]mapping.Column{"id": {Mask: "hash"}} }, same, []string{
			`todos.columns.id: "id" is of the key, by which clients find the record: it can be neither hidden nor masked`,
		}},
		{"a key that is renamed", func(r *mapping.Table) {
			r.Fields, r.Columns = []string{"uid", "title"}, map[string]mapping.Column{"uid": {Column: "id"}}
		}, same, nil},
		{"a field of no column", func(r *mapping.Table) {
			r.Columns = map[string]mapping.Column{"title": {Column: "name"}}
		}, same, []string{
			`todos.columns.title.column: table app.todos has no column "name": it has id, user_id, team_id, post_id, title, at`,
		}},
		{"users without a unique key", func(*mapping.Table) {}, func(b base) { b["users"].Unique = [][]int{{1}} }, []string{
			`users.key: no unique key of app.users is made of id: use one whose columns are all NOT NULL, or add it: ALTER TABLE app.users ADD UNIQUE (id);`,
		}},
		{"an attribute that is not there", func(*mapping.Table) {}, func(b base) { b["users"] = tableOf("users", "id", "role") }, []string{
			`users.attributes: table app.users has no column "region": it has id, role`,
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rule := mapping.Table{Fields: []string{"id", "title"}, VisibleTo: mapping.AnyOf("team:{team_id}")}
			c.rule(&rule)
			b := good()
			c.change(b)
			m := mapperOf(t, scoped(rule))
			got := texts(m.Check(tables(b["todos"], b["posts"], b["users"], b["team_user"], b["platform_user"])))
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}
