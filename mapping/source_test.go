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
		"`tenant_%`.todos":           {Schema: "tenant_%", Table: "todos"},
	} {
		got, err := sourceOf("todos", source, "app", "pre_")
		if err != nil || got.name != want || got.pattern != nil {
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
		"tenant_*.todo": "%",
		"todo_%":        "table's name",
		"app.todo_%":    "table's name",
		"t%.todo%":      "table's name",
		"t_%_%.todo":    "more than one",
	} {
		if got, err := sourceOf("todos", source, "app", ""); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, %v, want an error with %q", source, got, err, words)
		}
	}
}

func TestSourceByPattern(t *testing.T) {
	for text, want := range map[string]binlog.Pattern{
		"tenant_%.todos":     {Prefix: "tenant_", Table: "todos"},
		"%.todos":            {Table: "todos"},
		"app_%_db.`to.do %`": {Prefix: "app_", Suffix: "_db", Table: "to.do %"},
	} {
		got, err := sourceOf("x", text, "app", "pre_")
		if err != nil || got.pattern == nil || *got.pattern != want {
			t.Errorf("%s: got %v, %v, want %v", text, got.pattern, err, want)
		}
	}
}
