package filter_test

import (
	"math"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

func TestValueForms(t *testing.T) {
	for _, c := range []struct {
		v          filter.Value
		json, text string
	}{
		{filter.Value{}, `null`, ``},
		{filter.OfBool(true), `true`, `true`},
		{filter.OfBool(false), `false`, `false`},
		{filter.OfInt(math.MinInt64), `-9223372036854775808`, `-9223372036854775808`},
		{filter.OfUint(math.MaxUint64), `18446744073709551615`, `18446744073709551615`},
		{filter.OfFloat(1e17), `1.0e+17`, `1.0e+17`},
		{filter.OfFloat(math.NaN()), `null`, ``},
		{filter.OfFloat(math.Inf(-1)), `null`, ``},
		{filter.OfText(`a"ß`), `"a\"ß"`, `a"ß`},
		{filter.OfTime(time.UnixMicro(1).In(time.FixedZone("", 3600))), `"1970-01-01T00:00:00.000001Z"`, `1970-01-01T00:00:00.000001Z`},
	} {
		if json, text := string(c.v.AppendJSON(nil)), string(c.v.AppendText(nil)); json != c.json || text != c.text {
			t.Errorf("%s and %s, want %s and %s", json, text, c.json, c.text)
		}
	}
	if filter.OfUint(7) != filter.OfInt(7) || filter.OfFloat(math.Copysign(0, -1)) != filter.OfFloat(0) {
		t.Error("equal values differ")
	}
}

// TestColumn: a value that was read stays when the row's bytes change.
func TestColumn(t *testing.T) {
	r, err := filter.Column(posts, posts.Index("title"), binlog.CastDefault, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	bytes := []byte("abc")
	values := make([][]byte, len(posts.Columns))
	values[posts.Index("title")] = bytes
	row := binlog.TextRow(posts, values)
	v, err := r.Value(row)
	if err != nil {
		t.Fatal(err)
	}
	e, err := filter.Compile(`title`, env)
	if err != nil {
		t.Fatal(err)
	}
	w, err := e.Eval(row, nil)
	if err != nil {
		t.Fatal(err)
	}
	copy(bytes, "xyz")
	if v != filter.OfText("abc") || w != v || r.Kind() != filter.Text {
		t.Errorf("%s and %s of kind %s", v.AppendJSON(nil), w.AppendJSON(nil), r.Kind())
	}
	if _, err := filter.Column(posts, posts.Index("meta"), binlog.CastDefault, time.UTC); err == nil {
		t.Error("JSON was taken for a value")
	}
}
