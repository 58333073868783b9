package filter

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"github.com/chorusd/chorusd/binlog"
)

func textTest(op string, l, r node) node {
	test := map[string]func(s, part string) bool{
		"startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix, "contains": strings.Contains,
	}[op]
	return func(f frame) (Value, error) {
		a, err := l(f)
		if err != nil || a.kind != Text {
			return Value{}, err
		}
		b, err := r(f)
		if err != nil || b.kind != Text {
			return Value{}, err
		}
		return OfBool(test(a.text, b.text)), nil
	}
}

// functions are those of a text, as in the library.
var functions = map[string]struct {
	kind Kind
	of   func(text string) Value
}{
	"lower": {Text, func(s string) Value { return OfText(strings.ToLower(s)) }},
	"upper": {Text, func(s string) Value { return OfText(strings.ToUpper(s)) }},
	"trim":  {Text, func(s string) Value { return OfText(strings.TrimSpace(s)) }},
	"len":   {Int, func(s string) Value { return OfInt(int64(utf8.RuneCountInString(s))) }},
}

func (c *compiler) function(n ast.Node, name string, arguments []ast.Node) (operand, error) {
	if name == nameNow {
		return operand{}, c.wrong(n, "now is written without brackets")
	}
	function, ok := functions[name]
	if !ok && name != "date" {
		return operand{}, c.wrong(n, "%s cannot be called here: the functions are lower, upper, trim, len and date", name)
	}
	if len(arguments) != 1 {
		return operand{}, c.wrong(n, "%s takes one argument, not %d", name, len(arguments))
	}
	o, err := c.lower(arguments[0])
	if err != nil {
		return o, err
	}
	if name == "date" {
		return c.date(n, o)
	}
	if err := c.want(n, name, o, Text); err != nil {
		return o, err
	}
	return operand{kind: function.kind, eval: func(f frame) (Value, error) {
		v, err := o.eval(f)
		if err != nil || v.kind != Text {
			return Value{}, err
		}
		return function.of(v.text), nil
	}}, nil
}

// date makes a time of a literal. Without a zone it is read as a DATETIME
// column's value is.
func (c *compiler) date(n ast.Node, o operand) (operand, error) {
	if o.constant == nil || o.kind != Text {
		return o, c.wrong(n, `date takes a text in quotes, as date("2026-01-31"), not %s`, o)
	}
	text := o.constant.text
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return literal(OfTime(t)), nil
	}
	for _, layout := range []string{time.DateOnly, time.DateTime, "2006-01-02T15:04:05"} {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		column := &binlog.Table{Columns: []binlog.Column{{Kind: binlog.DateTime}}}
		reader, err := column.Scalar(0, binlog.CastDefault, c.env.Location)
		if err != nil {
			return o, c.wrong(n, "%v", err)
		}
		s, err := reader.Read(binlog.TextRow(column, [][]byte{t.AppendFormat(nil, "2006-01-02 15:04:05.000000")}))
		if err != nil {
			return o, c.wrong(n, "%v", err)
		}
		return literal(ofScalar(s)), nil
	}
	return o, c.wrong(n, `%q is no date: write date("2026-01-31"), date("2026-01-31 12:00:00") or date("2026-01-31T12:00:00+02:00")`, text)
}
