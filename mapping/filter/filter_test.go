package filter_test

import (
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

// posts has a column of each sort.
var posts = &binlog.Table{Name: binlog.TableName{Schema: "app", Table: "posts"}, Columns: []binlog.Column{
	{Name: "id", Kind: binlog.Integer, Unsigned: true},
	{Name: "author_id", Kind: binlog.Integer, Nullable: true},
	{Name: "title", Kind: binlog.Text, Charset: "utf8mb4"},
	{Name: "region", Kind: binlog.Text, Charset: "utf8mb4"},
	{Name: "price", Kind: binlog.Float},
	{Name: "score", Kind: binlog.Double},
	{Name: "active", Kind: binlog.Integer},
	{Name: "status", Kind: binlog.Enum, Members: []string{"draft", "live"}},
	{Name: "published_at", Kind: binlog.DateTime},
	{Name: "deleted_at", Kind: binlog.Timestamp},
	{Name: "day", Kind: binlog.Date},
	{Name: "meta", Kind: binlog.JSON},
	{Name: "photo", Kind: binlog.Binary},
	{Name: "opens", Kind: binlog.Time},
	{Name: "first-name", Kind: binlog.Text, Charset: "utf8mb4"},
	{Name: "user", Kind: binlog.Integer},
	{Name: "len", Kind: binlog.Integer},
}}

func post(values map[string]string) *binlog.Row {
	out := make([][]byte, len(posts.Columns))
	for i, c := range posts.Columns {
		if v, ok := values[c.Name]; ok {
			out[i] = []byte(v)
		}
	}
	return binlog.TextRow(posts, out)
}

var env = filter.Env{
	Table:  posts,
	Casts:  map[string]binlog.Cast{"active": "boolean"},
	User:   []filter.Attribute{{Name: "role", Kind: filter.Text}, {Name: "region", Kind: filter.Text}, {Name: "level", Kind: filter.Int}, {Name: "other"}},
	UserID: filter.Int,
}

var someone = &filter.User{ID: filter.OfInt(7), Attributes: []filter.Value{
	filter.OfText("admin"), filter.OfText("eu"), filter.OfInt(3), filter.OfText("x"),
}}

var fullPost = map[string]string{
	"id": "18446744073709551615", "author_id": "7", "title": "Größe", "region": "eu", "price": "10.50", "score": "0.5",
	"active": "1", "status": "live", "published_at": "2026-11-22 17:25:39", "first-name": "Ann", "user": "5", "len": "3",
	"deleted_at": "0000-00-00 00:00:00", "day": "2026-11-22", "meta": "{}",
}

// values are what expressions give over fullPost for someone, as JSON.
var values = []struct{ text, want string }{
	{`id`, `18446744073709551615`},
	{`id - 1`, `18446744073709551614`},
	{`id + 1`, `null`},
	{`0 - id`, `null`},
	{`author_id - 8`, `-1`},
	{`-author_id`, `-7`},
	{`-9223372036854775807 - 1`, `-9223372036854775808`},
	{`author_id * 2`, `14`},
	{`author_id / 2`, `3.5`},
	{`author_id / 0`, `null`},
	{`author_id % 4`, `3`},
	{`-author_id % 4`, `-3`},
	{`author_id % 0`, `null`},
	{`price * 2`, `21`},
	{`score`, `0.5`},
	{`id == 18446744073709551615.0`, `false`},
	{`id > 9223372036854775807`, `true`},
	{`title + " " + region`, `"Größe eu"`},
	{`len(title)`, `5`},
	{`len(title) + len`, `8`},
	{`upper(title)`, `"GRÖßE"`},
	{`lower(title)`, `"größe"`},
	{`trim("  a ")`, `"a"`},
	{`title startsWith "Gr" and title endsWith "e" and title contains "ß"`, `true`},
	{`title not contains "x"`, `true`},
	{`active`, `true`},
	{`not active`, `false`},
	{`active ? "yes" : "no"`, `"yes"`},
	{`deleted_at == nil ? nil : 1`, `null`},
	{`price > 10 ? 1 : 2.5`, `1`},
	{`status in ["live", "draft"]`, `true`},
	{`status not in ["live", "draft"]`, `false`},
	{`published_at`, `"2026-11-22T17:25:39.000000Z"`},
	{`published_at == date("2026-11-22T18:25:39+01:00")`, `true`},
	{`day == date("2026-11-22")`, `true`},
	{`day < published_at`, `true`},
	{`deleted_at`, `null`},
	{`deleted_at == nil`, `true`},
	{`meta != nil and photo == nil and opens == nil`, `true`},
	{`$env["first-name"]`, `"Ann"`},
	{`user + user.id`, `12`},
	{`user.role`, `"admin"`},
	{`user.other == "x"`, `true`},
	{`user.other == 3`, `null`},
	{`user.region == region`, `true`},
	{`price ?? 1`, `10.5`},
	{`photo == nil ? "none" : title`, `"none"`},
	{`1 < author_id <= 7`, `true`},
	{`author_id in [1, 7.0]`, `true`},
	{`price in [10.5]`, `true`},
	{`author_id in [1, 2, 3, 4, 5, 6, 8, 9, 10, 7]`, `true`},
	{`"ab" < "b"`, `true`},
	{`title == "größe"`, `false`},
	{`nil`, `null`},
	{`active ?: nil`, `true`},
	{`author_id + 2 * 3 == 13 && !(author_id == 8) || false`, `true`},
}

func TestValues(t *testing.T) {
	row := post(fullPost)
	for _, c := range values {
		e, err := filter.Compile(c.text, env)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		v, err := e.Eval(row, someone)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		if got := string(v.AppendJSON(nil)); got != c.want {
			t.Errorf("%s is %s, want %s", c.text, got, c.want)
		}
	}
}
