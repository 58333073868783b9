package mapping

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
)

// leakTables are tables by "name: column kind, …", where a kind with ? is
// nullable. The first column is the primary key.
func leakTables(texts ...string) map[binlog.TableName]*binlog.Table {
	kinds := map[string]binlog.Kind{"int": binlog.Integer, "text": binlog.Text, "time": binlog.DateTime, "blob": binlog.Binary}
	tables := map[binlog.TableName]*binlog.Table{}
	for _, text := range texts {
		name, columns, _ := strings.Cut(text, ": ")
		t := &binlog.Table{Name: binlog.TableName{Schema: "app", Table: name}, Key: []int{0}, Unique: [][]int{{0}}}
		for c := range strings.SplitSeq(columns, ", ") {
			column, kind, _ := strings.Cut(c, " ")
			kind, nullable := strings.CutSuffix(kind, "?")
			t.Columns = append(t.Columns, binlog.Column{Name: column, Kind: kinds[kind], SQLType: kind, Nullable: nullable, Charset: "utf8mb4"})
		}
		tables[t.Name] = t
	}
	return tables
}

func TestLeaks(t *testing.T) {
	team := map[string]Scope{"team": {Members: []Members{{Source: "team_user", Scope: "team_id", User: "user_id"}}}}
	teamUser := "team_user: id int, team_id int, user_id int"
	for _, tt := range []struct {
		name     string
		cfg      Config
		tables   []string
		indexes  map[string][][]string
		leaks    []string
		warnings []string
	}{
		{
			name: "secrets",
			cfg: Config{Tables: map[string]Table{"users": {
				Fields: []string{
					"id", "Password", "remember_token", "two_factor_confirmed_at", "old_password", "webhook_secret", "session_token",
					"public_key", "api_key", "token_id", "masked_token", "has_password", "shown",
				},
				VisibleTo: AnyOf("user:{id}"), NotSecret: []string{"PUBLIC_key"},
				Columns: map[string]Column{
					"masked_token": {Mask: "fixed:x"}, "has_password": {Value: `password != nil`}, "shown": {Value: `"it is " + api_key`},
				},
			}}},
			tables: []string{"users: id int, Password text, remember_token text, two_factor_confirmed_at time, old_password text, " +
				"webhook_secret blob, session_token text, public_key text, api_key text, token_id int, masked_token text"},
			leaks: []string{
				`users.fields: "Password" is a credential, and everybody who sees the row gets it: take it out; if it is something else: not_secret = ["Password"]`,
				`users.fields: "remember_token" is a credential, and everybody who sees the row gets it: take it out; if it is something else: not_secret = ["remember_token"]`,
			},
			warnings: []string{
				`users.fields: "old_password" looks like a secret (password), and everybody who sees the row gets it: take it out, or say that it is none: not_secret = ["old_password"]`,
				`users.fields: "webhook_secret" looks like a secret (secret), and everybody who sees the row gets it: take it out, or say that it is none: not_secret = ["webhook_secret"]`,
				`users.fields: "session_token" looks like a secret (token), and everybody who sees the row gets it: take it out, or say that it is none: not_secret = ["session_token"]`,
				`users.fields: "api_key" looks like a secret (key), and everybody who sees the row gets it: take it out, or say that it is none: not_secret = ["api_key"]`,
			},
		},
		{
			name: "keys that refer",
			cfg: Config{Tables: map[string]Table{"things": {
				Fields: []string{"thing_key", "owner_key"}, VisibleTo: AnyOf("user:{owner_key}"),
			}}},
			tables: []string{"things: thing_key text, owner_key text"},
		},
		{
			name:   "nobody sees",
			cfg:    Config{Tables: map[string]Table{"tasks": {Fields: []string{"id"}, VisibleTo: AnyOf("user:{assignee}", "user:{helper}")}}},
			tables: []string{"tasks: id int, assignee int?, helper int?"},
			warnings: []string{
				"tasks.visible_to: a row in which assignee and helper is NULL is seen by nobody; if that is not meant: ALTER TABLE app.tasks MODIFY assignee int NOT NULL, MODIFY helper int NOT NULL;",
			},
		},
		{
			name:   "somebody sees",
			cfg:    Config{Tables: map[string]Table{"tasks": {Fields: []string{"id"}, VisibleTo: AnyOf("user:{assignee}", "user:{creator}")}}},
			tables: []string{"tasks: id int, assignee int?, creator int"},
		},
		{
			name: "no indexes",
			cfg: Config{
				Scopes: team, Users: Users{Source: "users", Key: "id"},
				Tables: map[string]Table{"comments": {
					Fields:    []string{"id"},
					VisibleTo: AnyOf("team:{post_id -> posts.team_id}", `team:{about(Post) -> posts.team_id}`, "user:{user_id}"),
					Where:     "shown_at <= now",
				}},
			},
			tables: []string{teamUser, "users: id int", "posts: id int, team_id int", "comments: id int, post_id int, about_type text, about_id int, user_id int, shown_at time"},
			warnings: []string{
				"comments.visible_to: no index of app.comments starts with post_id, and the rows of a parent are read by it when that moves: ALTER TABLE app.comments ADD INDEX (post_id);",
				"comments.visible_to: no index of app.posts starts with team_id, and the rows of a scope are read by it when a membership is granted or revoked: ALTER TABLE app.posts ADD INDEX (team_id);",
				"comments.visible_to: no index of app.comments starts with about_type, about_id, and the rows of a parent are read by it when that moves: ALTER TABLE app.comments ADD INDEX (about_type, about_id);",
				"comments.where: no index of app.comments starts with shown_at, and rows are read by it when the clock crosses it: ALTER TABLE app.comments ADD INDEX (shown_at);",
				".scopes.team.members[0].user: no index of app.team_user starts with user_id, and memberships are read by it when users connect: ALTER TABLE app.team_user ADD INDEX (user_id);",
				".users.key: no index of app.users starts with id, and the attributes of users are read by it: ALTER TABLE app.users ADD INDEX (id);",
			},
		},
		{
			name: "indexes",
			cfg: Config{Scopes: team, Tables: map[string]Table{"comments": {
				Fields: []string{"id"}, VisibleTo: AnyOf("team:{post_id -> posts.team_id}", `team:{about(Post) -> posts.team_id}`),
			}}},
			tables: []string{teamUser, "posts: id int, team_id int", "comments: id int, post_id int, about_type text, about_id int"},
			indexes: map[string][][]string{
				"team_user": {{"user_id", "team_id"}}, "posts": {{"id"}, {"Team_ID"}}, "comments": {{"post_id", "id"}, {"about_id", "about_type"}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.UserChannel = "chorus.user.{id}"
			m, wrong := New(tt.cfg, "app", time.UTC)
			tables := leakTables(tt.tables...)
			if wrong = append(wrong, m.Check(tables)...); len(wrong) > 0 {
				t.Fatal(wrong)
			}
			indexes := map[binlog.TableName][][]string{}
			for name, list := range tt.indexes {
				indexes[binlog.TableName{Schema: "app", Table: name}] = list
			}
			leaks, warnings := m.Leaks(tables, indexes)
			for _, list := range []struct {
				what string
				got  []Problem
				want []string
			}{{"leaks", leaks, tt.leaks}, {"warnings", warnings, tt.warnings}} {
				var got []string
				for _, p := range list.got {
					got = append(got, p.Table+"."+p.Option+": "+p.Text)
				}
				if !slices.Equal(got, list.want) {
					t.Errorf("%s are\n%s\nwant\n%s", list.what, strings.Join(got, "\n"), strings.Join(list.want, "\n"))
				}
			}
		})
	}
}
