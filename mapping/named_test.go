package mapping_test

import (
	"testing"

	"github.com/chorusd/chorusd/mapping"
)

func TestNamedByAPerson(t *testing.T) {
	todos := tableOf("todos", "id", "owner_id")
	notes := tableOf("notes", "slug", "id", "owner")
	notes.Unique, notes.Key = [][]int{{0, 1}}, []int{0, 1}
	words := tableOf("words", "word", "owner")
	m := mapperOf(t, mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{
		"todos": {Fields: []string{"id"}, VisibleTo: mapping.AnyOf("user:{owner_id}")},
	}})
	texts := mapperOf(t, mapping.Config{UserChannel: userTemplate, Tables: map[string]mapping.Table{
		"notes": {Fields: []string{"slug", "id"}, VisibleTo: mapping.AnyOf("user:{owner}")},
		"words": {Fields: []string{"word"}, VisibleTo: mapping.AnyOf("user:{owner}")},
	}})
	plan := func(p []*mapping.Plan, err error) *mapping.Plan {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return p[0]
	}
	byNumber, byTwo, byText := plan(m.Plans(todos)), plan(texts.Plans(notes)), plan(texts.Plans(words))
	for _, tt := range []struct {
		plan       *mapping.Plan
		text, want string
	}{
		{byNumber, "42", "[42]"},
		{byNumber, "[42]", "[42]"},
		{byNumber, "abc", `["abc"]`},
		{byNumber, "[1,2]", "the key [1,2] has 2 values, and a record of todos is found by 1 (id)"},
		{byTwo, `[ "a b", 2 ]`, `["a b",2]`},
		{byTwo, "a", "a record of notes is found by slug, id: name it by a JSON array, as '[slug, id]'"},
		{byText, "42", `["42"]`},
		{byText, `["42"]`, `["42"]`},
		{byText, "[draft", `["[draft"]`},
		{byText, `a"b`, `["a\"b"]`},
	} {
		got, err := tt.plan.KeyNamed(tt.text)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.text, got, tt.want)
		}
	}
	for _, tt := range []struct {
		plan       *mapping.Plan
		text, want string
	}{
		{byNumber, "7", "7"},
		{byNumber, "seven", `users have integers for keys, and "seven" is none`},
		{byText, "7", `"7"`},
		{byText, "01J", `"01J"`},
	} {
		got, err := tt.plan.UserNamed(tt.text)
		if err != nil {
			got = mapping.UserKey(err.Error())
		}
		if string(got) != tt.want {
			t.Errorf("user %s: %s, want %s", tt.text, got, tt.want)
		}
	}
}
