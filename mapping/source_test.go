package mapping

import (
	"strings"
	"testing"

	"github.com/chorusd/chorusd/binlog"
)

func TestSourceOf(t *testing.T) {
	for source, want := range map[string]binlog.TableName{
		"":                           {Schema: "app", Table: "pre_todos"},
		"tasks":                      {Schema: "app", Table: "tasks"},
		"other.tasks":                {Schema: "other", Table: "tasks"},
		"`other`.tasks":              {Schema: "other", Table: "tasks"},
		"other.`tasks`":              {Schema: "other", Table: "tasks"},
		"`a.b`":                      {Schema: "app", Table: "a.b"},
		"`a.b`.`c.d`":                {Schema: "a.b", Table: "c.d"},
		"`odd``name`":                {Schema: "app", Table: "odd`name"},
		"`a\"b`.`it's 100% (of) it`": {Schema: "a\"b", Table: "it's 100% (of) it"},
		"größen":                     {Schema: "app", Table: "größen"},
	} {
		got, err := sourceOf("todos", source, "app", "pre_")
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", source, got, err, want)
		}
	}
	for source, words := range map[string]string{
		".":             "empty",
		"a.":            "empty",
		".a":            "empty",
		"a. b":          "blanks",
		" a":            "blanks",
		"a.b.c":         "backticks",
		"`a`b":          "backticks",
		"`a`.`b`.`c`":   "backticks",
		"a`b":           "quote",
		"\"a\".\"b\"":   "quote",
		"`a":            "closes",
		"`a``":          "closes",
		"``":            "empty",
		"tenant_%.todo": "pattern",
	} {
		if got, err := sourceOf("todos", source, "app", ""); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, %v, want an error with %q", source, got, err, words)
		}
	}
}
