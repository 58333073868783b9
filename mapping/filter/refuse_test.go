package filter_test

import (
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

// refusals are what Compile does not take, and what it says.
var refusals = []struct{ text, want string }{
	{``, `unexpected token EOF, at the end`},
	{`titel == "a"`, `table app.posts has no column titel: did you mean title?, at character 1: titel == "a"`},
	{`author == 1`, `table app.posts has no column author: did you mean author_id?, at character 1: author == 1`},
	{`active = 1`, `unexpected token Operator("="): write == to compare, at character 8: = 1`},
	{`id == 1 AND active`, `unexpected token Identifier("AND"): write and, in small letters, at character 9: AND active`},
	{`id IN [1]`, `unexpected token Identifier("IN"): write in [1, 2, 3], in small letters, at character 4: IN [1]`},
	{`title LIKE "a%"`, `unexpected token Identifier("LIKE"): write startsWith, endsWith or contains, at character 7: LIKE "a%"`},
	{`deleted_at IS NULL`, `unexpected token Identifier("IS"): write == nil or != nil, at character 12: IS NULL`},
	{`deleted_at is null`, `unexpected token Identifier("is"): write == nil or != nil, at character 12: is null`},
	{`deleted_at == null`, `null is written nil: x == nil and x != nil test for it, at character 15: null`},
	{`id <> 1`, `unexpected token Operator(">"): write != for <>, at character 5: > 1`},
	{`published_at <= now()`, `now is written without brackets, at character 17: now()`},
	{`zzzzzz`, `table app.posts has no column zzzzzz: there are id, author_id, title, region, price and 12 more, at character 1: zzzzzz`},
	{`author_id == "7"`, `author_id (integer) cannot be compared with "7" (text): write a number, without quotes, at character 11: == "7"`},
	{`title == 7`, `title (text) cannot be compared with 7 (integer): put it in quotes, at character 7: == 7`},
	{`published_at > "2026-01-01"`, `published_at (time) cannot be compared with "2026-01-01" (text): write date("2026-01-31") or date("2026-01-31 12:00:00"), at character 14: > "2026-01-01"`},
	{`id == true`, `id (integer) cannot be compared with true (boolean): write 1 or 0, or give the column the cast "boolean", at character 4: == true`},
	{`active == 1`, `active (boolean) cannot be compared with 1 (integer): write true or false, at character 8: == 1`},
	{`id and active`, `and needs a condition, and id (integer) is none: write id != 0, or give the column the cast "boolean", at character 4: and active`},
	{`title or active`, `or needs a condition, and title (text) is none: compare it with something, at character 7: or active`},
	{`not id`, `not needs a condition, and id (integer) is none: write id != 0, or give the column the cast "boolean", at character 1: not id`},
	{`active < true`, `conditions have no order: < needs numbers, texts or times, at character 8: < true`},
	{`author_id == title`, `author_id (integer) cannot be compared with title (text): both sides must be of one type, at character 11: == title`},
	{`title < nil`, `< with nil is never true: x == nil and x != nil test for null, at character 7: < nil`},
	{`nil == nil`, `a literal is compared with nil, which always gives the same, at character 5: == nil`},
	{`1 == nil`, `a literal is compared with nil, which always gives the same, at character 3: == nil`},
	{`title + 1`, `+ on text needs texts, not 1 (integer), at character 7: + 1`},
	{`title * 2`, `* needs numbers, not title (text), at character 7: * 2`},
	{`published_at + 1`, `+ needs numbers, not published_at (time), at character 14: + 1`},
	{`score % 2`, `% needs integers, not score (number), at character 7: % 2`},
	{`-title`, `- needs numbers, not title (text), at character 1: -title`},
	{`lower(id)`, `lower needs texts, not id (integer), at character 1: lower(id)`},
	{`lower(title, "x")`, `lower takes one argument, not 2, at character 1: lower(title, "x")`},
	{`date(title)`, `date takes a text in quotes, as date("2026-01-31"), not title (text), at character 1: date(title)`},
	{`date("soon")`, `"soon" is no date: write date("2026-01-31"), date("2026-01-31 12:00:00") or date("2026-01-31T12:00:00+02:00"), at character 1: date("soon")`},
	{`date("2026-02-30")`, `"2026-02-30" is no date: write date("2026-01-31"), date("2026-01-31 12:00:00") or date("2026-01-31T12:00:00+02:00"), at character 1: date("2026-02-30")`},
	{`id in []`, `nothing is in an empty list, at character 7: []`},
	{`id in [1, nil]`, `nil in a list equals nothing: write x == nil or x in […], at character 11: nil]`},
	{`id in [1, "2"]`, `id (integer) cannot be compared with "2" (text): write a number, without quotes, at character 11: "2"]`},
	{`id in [author_id]`, `a list has literals only, not author_id (integer): compare with it by ==, at character 8: author_id]`},
	{`user.other in [1, "a"]`, `the values of a list must be of one type, at character 19: "a"]`},
	{`nil in [1]`, `nil is in no list: x == nil tests for null, at character 5: in [1]`},
	{`title in "abc"`, `in needs a list of literals, as in [1, 2, 3], at character 7: in "abc"`},
	{`title in user.role`, `in needs a list of literals, as in [1, 2, 3], at character 7: in user.role`},
	{`[1, 2]`, `a list that does not stand after in cannot be used here: an expression is made of columns, user.*, literals, operators and lower, upper, trim, len and date, at character 1: [1, 2]`},
	{`{"a": 1}`, `a map cannot be used here: an expression is made of columns, user.*, literals, operators and lower, upper, trim, len and date, at character 1: {"a": 1}`},
	{`meta == "{}"`, `column app.posts.meta is of type json, which cannot be computed with; it can only be tested for null (meta == nil), at character 1: meta == "{}"`},
	{`photo == "x"`, `column app.posts.photo is of type binary, which cannot be computed with; it can only be tested for null (photo == nil), at character 1: photo == "x"`},
	{`opens < "09:00:00"`, `column app.posts.opens is of type time, which cannot be computed with; it can only be tested for null (opens == nil), at character 1: opens < "09:00:00"`},
	{`user.rol == "hr"`, `users have no attribute rol: did you mean role?, or add it to attributes in [users], at character 6: rol == "hr"`},
	{`user?.role == "hr"`, `?. cannot be used here: an expression is made of columns, user.*, literals, operators and lower, upper, trim, len and date, at character 7: role == "hr"`},
	{`user.role.name`, `a part of a value cannot be taken here: columns stand alone, and attributes behind user, as user.role, at character 11: name`},
	{`title.name`, `a part of a value cannot be taken here: columns stand alone, and attributes behind user, as user.role, at character 7: name`},
	{`title[0]`, `a part of a value cannot be taken here: columns stand alone, and attributes behind user, as user.role, at character 6: [0]`},
	{`title[0:2]`, `a slice cannot be used here: an expression is made of columns, user.*, literals, operators and lower, upper, trim, len and date, at character 6: [0:2]`},
	{`title.upper()`, `a method cannot be called here: the functions are lower, upper, trim, len and date, at character 7: upper()`},
	{`now`, "now can only stand in one bound that must hold beside the rest (`published_at <= now and …`, `(expires_at == nil or expires_at > now) and …`), compared with a column of the row: what time alone changes needs a timer, and there is one for each table, at character 1: now"},
	{`title matches "^a+$"`, `matches cannot be used here, since a pattern can take long: use startsWith, endsWith or contains, at character 7: matches "^a+$"`},
	{`1..5`, `a range cannot be used here: write x >= 1 and x <= 9, at character 2: ..5`},
	{`2 ** 3`, `powers (**) cannot be used here, at character 3: ** 3`},
	{`all([1], # > 0)`, `all cannot be called here: the functions are lower, upper, trim, len and date, at character 1: all([1], # > 0)`},
	{`title | len() == now`, "now can only stand in one bound that must hold beside the rest (`published_at <= now and …`, `(expires_at == nil or expires_at > now) and …`), compared with a column of the row: what time alone changes needs a timer, and there is one for each table, at character 18: now"},
	{`let x = 1; x`, `let cannot be used here: an expression is made of columns, user.*, literals, operators and lower, upper, trim, len and date, at character 5: x = 1; x`},
	{`1; 2`, `a sequence with ; cannot be used here: an expression is made of columns, user.*, literals, operators and lower, upper, trim, len and date, at character 1: 1; 2`},
	{`b"abc"`, `a literal of bytes cannot be used here: an expression is made of columns, user.*, literals, operators and lower, upper, trim, len and date, at character 1: b"abc"`},
	{`env()`, `env cannot be called here: the functions are lower, upper, trim, len and date, at character 1: env()`},
	{`$env`, `$env cannot be used here but for columns, as $env["first-name"], at character 1: $env`},
	{`$env["nope"]`, `table app.posts has no column nope: there are id, author_id, title, region, price and 12 more, at character 5: ["nope"]`},
	{`replace(title, "a", "b")`, `replace cannot be called here: the functions are lower, upper, trim, len and date, at character 1: replace(title, "a", "b")`},
	{`id ? 1 : 2`, `? needs a condition, and id (integer) is none: write id != 0, or give the column the cast "boolean", at character 1: id ? 1 : 2`},
	{`active ? 1 : "a"`, `? : gives either 1 (integer) or "a" (text): both must be of one type, at character 14: "a"`},
	{`title ?? 1`, `?? gives either title (text) or 1 (integer): both must be of one type, at character 7: ?? 1`},
	{`title ?? nil`, `nil cannot stand beside ??, at character 7: ?? nil`},
	{`1 < author_id + 1 < 3`, `the middle of a chain of comparisons, and what stands before ?:, must be a column, an attribute or a literal: write it twice, as x + 1 > 0 and x + 1 < 9, at character 15: + 1 < 3`},
	{`id == 18446744073709551615`, `invalid integer literal: strconv.ParseInt: parsing "18446744073709551615": value out of range, at character 26: 5`},
	{`(id == 1`, `unexpected token EOF, at character 8: 1`},
	{`title == "a`, `literal not terminated, at the end`},
	{"title == 1 \n and active", `title (text) cannot be compared with 1 (integer): put it in quotes, at character 7: == 1 and active`},
}

func TestRefusals(t *testing.T) {
	for _, c := range refusals {
		_, err := filter.Compile(c.text, env)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

var conditionRefusals = []struct{ text, want string }{
	{`id`, `a filter needs a condition, and id (integer) is none: write id != 0, or give the column the cast "boolean", at character 1: id`},
	{`title`, `a filter needs a condition, and title (text) is none: compare it with something, at character 1: title`},
	{`nil`, `nil is no condition, at character 1: nil`},
	{`active and 1`, `a filter needs a condition, and 1 (integer) is none: compare it with something, at character 12: 1`},
	{`published_at == now`, "now can only stand in one bound that must hold beside the rest (`published_at <= now and …`, `(expires_at == nil or expires_at > now) and …`), compared with a column of the row: what time alone changes needs a timer, and there is one for each table, at character 17: now"},
	{`published_at <= now or active`, `beside a bound by now, or can only join whether its column is null (published_at == nil), at character 24: active`},
	{`not (published_at <= now)`, "now can only stand in one bound that must hold beside the rest (`published_at <= now and …`, `(expires_at == nil or expires_at > now) and …`), compared with a column of the row: what time alone changes needs a timer, and there is one for each table, at character 22: now)"},
	{`published_at <= now and deleted_at > now`, `there is a second bound by now: a table can have one, since each needs a timer, at character 36: > now`},
	{`published_at <= now < deleted_at`, `there is a second bound by now: a table can have one, since each needs a timer, at character 21: < deleted_at`},
	{`id <= now`, `now cannot be compared with id (integer): a bound needs a DATETIME, TIMESTAMP or DATE column, at character 1: id <= now`},
	{`user.level <= now`, `now can only be compared with a column of the row that holds a date or time, at character 6: level <= now`},
	{`now < now`, "now can only stand in one bound that must hold beside the rest (`published_at <= now and …`, `(expires_at == nil or expires_at > now) and …`), compared with a column of the row: what time alone changes needs a timer, and there is one for each table, at character 1: now < now"},
	{`date("2026-01-01") < now`, `now can only be compared with a column of the row that holds a date or time, at character 1: date("2026-01-01") < now`},
	{`published_at == nil or deleted_at > now`, `the column that is tested for null must be that of the bound, deleted_at, at character 1: published_at == nil or deleted_at > now`},
	{`published_at != nil or published_at > now`, `beside a bound by now, or can only join whether its column is null (published_at == nil), at character 14: != nil or published_at > now`},
	{`active or published_at > now`, `beside a bound by now, or can only join whether its column is null (published_at == nil), at character 1: active or published_at > now`},
	{`active ? published_at <= now : true`, "now can only stand in one bound that must hold beside the rest (`published_at <= now and …`, `(expires_at == nil or expires_at > now) and …`), compared with a column of the row: what time alone changes needs a timer, and there is one for each table, at character 26: now : true"},
	{`titel <= now`, `table app.posts has no column titel: did you mean title?, at character 1: titel <= now`},
}

func TestConditionsRefused(t *testing.T) {
	for _, c := range conditionRefusals {
		_, err := filter.CompileBool(c.text, env)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

// TestRefusedByWhere: the same text, where there is no user, no row or another table.
func TestRefusedByWhere(t *testing.T) {
	table := &binlog.Table{Name: posts.Name, Columns: []binlog.Column{
		{Name: "text", Kind: binlog.Text, Charset: "utf8mb4"}, {Name: "odd", Kind: binlog.Text, Charset: "klingon"},
	}}
	for _, c := range []struct {
		env  filter.Env
		text string
		want string
	}{
		{filter.Env{Table: posts}, `user.id == 1`, `user.id cannot be used here, at character 6: id == 1`},
		{filter.Env{User: []filter.Attribute{}}, `user.id == 1 and id == 1`, `id is not known: there is no row here to take a column from, at character 18: id == 1`},
		{filter.Env{User: []filter.Attribute{}}, `user.role == "a"`, `users have no attribute role: there are id, or add it to attributes in [users], at character 6: role == "a"`},
		{filter.Env{Table: table, Casts: map[string]binlog.Cast{"text": "array"}}, `text == "{}"`, `column app.posts.text holds JSON by its cast, which is no single value; it can only be tested for null (text == nil), at character 1: text == "{}"`},
		{filter.Env{Table: table}, `odd == "Qapla'"`, `column app.posts.odd: character set "klingon" is not known: leave the column out of fields, or convert it to utf8mb4; it can only be tested for null (odd == nil), at character 1: odd == "Qapla'"`},
		{filter.Env{}, strings.Repeat("(", 20_000), `an expression must not be longer than 16 KiB, at character 1: ((((((((((((((((((((((((((((((((((((((((…`},
		{filter.Env{}, strings.Repeat("not ", 3000) + strings.Repeat("(", 3000), `unexpected token EOF, at character 15000: (`},
		{filter.Env{Table: table}, `user == 1`, `user is no value: write user.id, or user. and an attribute, at character 1: user == 1`},
	} {
		_, err := filter.CompileBool(c.text, c.env)
		if err == nil || err.Error() != c.want {
			t.Errorf("%.50s:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}
