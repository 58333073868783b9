package filter_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

// holds says whether a condition is true of a row and a user.
func holds(f *filter.Filter, row *binlog.Row, user *filter.User, now time.Time) (bool, error) {
	if ok, err := f.RowTrue(row, now); !ok || err != nil {
		return false, err
	}
	return f.UserTrue(row, user)
}

func isTrue(t *testing.T, f *filter.Filter, row *binlog.Row, user *filter.User, now time.Time) bool {
	t.Helper()
	ok, err := holds(f, row, user, now)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// TestThreeValues: and, or and not as SQL has them.
func TestThreeValues(t *testing.T) {
	operands := map[string]string{"true": "author_id == 7", "false": "author_id == 8", "null": "price == 1"}
	row := post(map[string]string{"author_id": "7"})
	for _, c := range []struct{ l, op, r, want string }{
		{"true", "and", "true", "true"},
		{"true", "and", "null", "null"},
		{"true", "and", "false", "false"},
		{"null", "and", "null", "null"},
		{"null", "and", "false", "false"},
		{"false", "and", "false", "false"},
		{"true", "or", "true", "true"},
		{"true", "or", "null", "true"},
		{"true", "or", "false", "true"},
		{"null", "or", "null", "null"},
		{"null", "or", "false", "null"},
		{"false", "or", "false", "false"},
	} {
		for _, sides := range [][2]string{{c.l, c.r}, {c.r, c.l}} {
			text := fmt.Sprintf("(%s) %s (%s)", operands[sides[0]], c.op, operands[sides[1]])
			wantValue(t, text, row, c.want)
		}
	}
	for text, want := range map[string]string{
		"not (price == 1)":             "null",
		"not (author_id == 7)":         "false",
		"price != 1":                   "null",
		"price < 1":                    "null",
		"price in [1, 2]":              "null",
		"price not in [1, 2]":          "null",
		"price + 1":                    "null",
		"title + title":                "null",
		`title startsWith ""`:          "null",
		"len(title)":                   "null",
		"price == price":               "null",
		"price == nil":                 "true",
		"price + 1 != nil":             "false",
		"price ?? 3":                   "3",
		"price == 1 ? 1 : 2":           "2",
		"user.level == 1":              "null",
		"user.id != 1":                 "null",
		"user.level == nil":            "true",
		"user.other and true":          "null",
		"author_id / 0 == nil":         "true",
		"9223372036854775807 * 3 == 1": "null",
	} {
		e, err := filter.Compile(text, env)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, nobody := range []*filter.User{nil, {}} {
			v, err := e.Eval(row, nobody)
			if got := string(v.AppendJSON(nil)); err != nil || got != want {
				t.Errorf("%s is %s (%v), want %s", text, got, err, want)
			}
		}
	}
}

func wantValue(t *testing.T, text string, row *binlog.Row, want string) {
	t.Helper()
	e, err := filter.Compile(text, env)
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return
	}
	v, err := e.Eval(row, someone)
	if got := string(v.AppendJSON(nil)); err != nil || got != want {
		t.Errorf("%s is %s (%v), want %s", text, got, err, want)
	}
}

// TestUses: what is read, and by which part.
func TestUses(t *testing.T) {
	f, err := filter.CompileBool(`title == "a" and user.region == region and (id == user.id or user.role == "hr" or id == 1) and photo == nil and published_at <= now`, env)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(f.Columns(), f.Attributes(), f.UsesUser(), f.UsesUserID()), "[0 2 3 8 12] [0 1] true true"; got != want {
		t.Errorf("it uses %s, want %s", got, want)
	}
	e, err := filter.Compile(`upper(title)`, env)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(e.Kind(), e.Columns(), e.Attributes(), e.UsesUser(), e.UsesUserID()), "text [2] [] false false"; got != want {
		t.Errorf("it uses %s, want %s", got, want)
	}
}

// TestRowAndUser: the parts without the user are judged without one.
func TestRowAndUser(t *testing.T) {
	f, err := filter.CompileBool(`active and user.role == "admin"`, env)
	if err != nil {
		t.Fatal(err)
	}
	on, off := post(map[string]string{"active": "1"}), post(map[string]string{"active": "0"})
	if ok, err := f.RowTrue(on, time.Now()); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := f.UserTrue(off, someone); !ok || err != nil {
		t.Error(ok, err)
	}
	if !isTrue(t, f, on, someone, time.Now()) || isTrue(t, f, off, someone, time.Now()) || isTrue(t, f, on, nil, time.Now()) {
		t.Error("the condition is not its parts together")
	}
}

// TestErrors: what cannot be decoded is an error, and neither true nor false.
func TestErrors(t *testing.T) {
	row := post(map[string]string{"published_at": "soon", "id": "x", "active": "1", "title": "a"})
	for _, text := range []string{
		`published_at <= now`, `published_at == nil`, `id == 1`, `1 == id`, `id in [1]`, `id + 1 == 2`, `2 - id == 2`, `not (id == 1)`, `id == author_id`, `5 < id`,
		`id == 1 or active`, `active and id == 1`, `id == 1 ? true : false`, `(id ?? 1) == 1`, `len(id == 1 ? "a" : "b") == 1`, `author_id == nil and title + (id == 1 ? "" : "") == "a"`,
	} {
		f, err := filter.CompileBool(text, env)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if ok, err := holds(f, row, nil, time.Now()); ok || err == nil {
			t.Errorf("%s is %v", text, ok)
		}
	}
}
