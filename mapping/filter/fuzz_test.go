package filter_test

import (
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chorusd/chorusd/mapping/filter"
)

// FuzzCompile: any text gives either an expression that can be evaluated over
// any row for any user, or an error that says where.
func FuzzCompile(f *testing.F) {
	for _, c := range values {
		f.Add(c.text)
	}
	for _, c := range refusals {
		f.Add(c.text)
	}
	for _, c := range bounds {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, wrong := filter.Compile(text, env)
		wantPlace(t, text, wrong)
		condition, wrongBool := filter.CompileBool(text, env)
		wantPlace(t, text, wrongBool)
		for _, values := range []map[string]string{{}, fullPost} {
			for _, user := range []*filter.User{nil, {}, someone} {
				row := post(values)
				var v filter.Value
				var err error
				if wrong == nil {
					if v, err = e.Eval(row, user); err != nil {
						t.Fatal(err)
					}
					wantKind(t, v.Kind(), e.Kind())
				}
				if wrongBool != nil {
					continue
				}
				visible, err := holds(condition, row, user, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := condition.Bound(); ok {
					condition.Crosses(row)
				} else if wrong != nil || visible != (v == filter.OfBool(true)) {
					t.Fatalf("as a condition it is %v, as an expression %s (%v)", visible, v.AppendJSON(nil), wrong)
				}
			}
		}
	})
}

// FuzzEval: whatever bytes a row has for columns, an expression has a value or
// an error, and the same one twice.
func FuzzEval(f *testing.F) {
	for _, v := range []string{"", "7", "-1", "18446744073709551616", "1e400", "2026-11-22 17:25:39", "2026-11-22 17:25:39.1234567", "0000-00-00", "\xff"} {
		f.Add(v, 0)
	}
	expressions := make([]*filter.Expr, len(values))
	for i, c := range values {
		var err error
		if expressions[i], err = filter.Compile(c.text, env); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, value string, column int) {
		of := map[string]string{}
		for i, c := range posts.Columns {
			if column < 0 || i == column%len(posts.Columns) {
				of[c.Name] = value
			}
		}
		for i, e := range expressions {
			v, err := e.Eval(post(of), someone)
			again, errAgain := e.Eval(post(of), someone)
			if v != again || (err == nil) != (errAgain == nil) {
				t.Errorf("%s is %v and %v", values[i].text, v, again)
			}
		}
	})
}

// wantPlace expects an error that names a place in the text.
func wantPlace(t *testing.T, text string, err error) {
	t.Helper()
	var e *filter.Error
	if err != nil && (!errors.As(err, &e) || e.At < 1 || e.At > utf8.RuneCountInString(text)+1 || e.Error() == "") {
		t.Fatalf("%v", err)
	}
}

// wantKind expects a value of the type that was told before.
func wantKind(t *testing.T, got, static filter.Kind) {
	t.Helper()
	number := got == filter.Int || got == filter.Uint || got == filter.Float
	switch {
	case got == filter.Null || got == static || static == filter.Any:
	case static == filter.Int && got == filter.Uint:
	case static == filter.Float && number:
	default:
		t.Fatalf("a value of kind %s, told as %s", got, static)
	}
}
