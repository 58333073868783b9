package filter_test

import (
	"testing"
	"time"

	"github.com/chorusd/chorusd/mapping/filter"
)

const micro = time.Microsecond

// bounds are the forms of a bound by now: whether it is one from the column's
// time on, at which distance from it the condition changes, and what it is
// where the column is null.
var bounds = []struct {
	text  string
	from  bool
	after time.Duration
	null  bool
}{
	{`published_at <= now`, true, 0, false},
	{`published_at < now`, true, micro, false},
	{`published_at > now`, false, 0, false},
	{`published_at >= now`, false, micro, false},
	{`now >= published_at`, true, 0, false},
	{`now > published_at`, true, micro, false},
	{`now < published_at`, false, 0, false},
	{`now <= published_at`, false, micro, false},
	{`published_at == nil or published_at > now`, false, 0, true},
	{`published_at >= now || nil == published_at`, false, micro, true},
	{`(nil == published_at or now >= published_at)`, true, 0, true},
	{`active and (published_at == nil or published_at < now) and user.role == "admin"`, true, micro, true},
}

func TestBounds(t *testing.T) {
	row := post(fullPost) // published at this time
	at := time.Date(2026, 11, 22, 17, 25, 39, 0, time.UTC)
	never := post(map[string]string{"active": "1"})
	for _, c := range bounds {
		f, err := filter.CompileBool(c.text, env)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if b, ok := f.Bound(); !ok || b.From != c.from || posts.Columns[b.Column].Name != "published_at" {
			t.Errorf("%s: the bound is %v, %v", c.text, b, ok)
		}
		crossing, ok := f.Crosses(row)
		if !ok || !crossing.Equal(at.Add(c.after)) {
			t.Errorf("%s is crossed at %v, %v", c.text, crossing, ok)
		}
		for _, when := range []struct {
			now  time.Time
			want bool
		}{{crossing.Add(-1), !c.from}, {crossing, c.from}, {crossing.Add(time.Hour), c.from}, {crossing.Add(-time.Hour), !c.from}} {
			if got := isTrue(t, f, post(fullPost), someone, when.now); got != when.want {
				t.Errorf("%s is %v at %v", c.text, got, when.now)
			}
		}
		if at, ok := f.Crosses(never); ok {
			t.Errorf("%s is crossed at %v without a time", c.text, at)
		}
		if got := isTrue(t, f, never, someone, at); got != c.null {
			t.Errorf("%s is %v where there is no time", c.text, got)
		}
	}
}

func TestNoBound(t *testing.T) {
	f, err := filter.CompileBool(`active`, env)
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := f.Bound(); ok {
		t.Errorf("a bound: %v", b)
	}
	if at, ok := f.Crosses(post(fullPost)); ok {
		t.Errorf("crossed at %v", at)
	}
}
