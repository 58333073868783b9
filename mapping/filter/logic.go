package filter

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// and is false if either is, else unknown if either is.
func and(l, r node) node {
	return func(f frame) (Value, error) {
		a, err := l(f)
		if err != nil || a.kind == Bool && a.bits == 0 {
			return a, err
		}
		b, err := r(f)
		if err != nil || b.kind == Bool && b.bits == 0 {
			return b, err
		}
		if a.kind != Bool || b.kind != Bool {
			return Value{}, nil
		}
		return a, nil
	}
}

// or is true if either is, else unknown if either is.
func or(l, r node) node {
	return func(f frame) (Value, error) {
		a, err := l(f)
		if err != nil || a.is() {
			return a, err
		}
		b, err := r(f)
		if err != nil || b.is() {
			return b, err
		}
		if a.kind != Bool || b.kind != Bool {
			return Value{}, nil
		}
		return a, nil
	}
}

// not leaves what is unknown unknown.
func not(n node) node {
	return func(f frame) (Value, error) {
		v, err := n(f)
		if err != nil || v.kind != Bool {
			return Value{}, err
		}
		return OfBool(v.bits == 0), nil
	}
}

func coalesce(l, r node) node {
	return func(f frame) (Value, error) {
		if v, err := l(f); err != nil || v.kind != Null {
			return v, err
		}
		return r(f)
	}
}

// nullTest compiles `x == nil` and `x != nil`. A column is not decoded for
// it, unless its type has values that are read as null; so it can be of any type.
func (c *compiler) nullTest(n *ast.BinaryNode, of ast.Node) (operand, error) {
	equal := n.Operator == "=="
	if name, ok := columnName(of); ok {
		i, err := c.columnIndex(of, name)
		if err != nil {
			return operand{}, err
		}
		reader, err := c.env.Table.Scalar(i, c.env.Casts[c.env.Table.Columns[i].Name], c.env.Location)
		if err != nil || Kind(reader.Kind()) != Time {
			c.used.columns = insert(c.used.columns, i)
			if c.names[name] == nil {
				c.names[name] = libraryType(Any)
			}
			return operand{kind: Bool, eval: func(f frame) (Value, error) { return OfBool(f.row.Null(i) == equal), nil }}, nil
		}
	}
	o, err := c.lower(of)
	if err != nil {
		return o, err
	}
	if o.constant != nil {
		return o, c.wrong(n, "a literal is compared with nil, which always gives the same")
	}
	return operand{kind: Bool, eval: func(f frame) (Value, error) {
		v, err := o.eval(f)
		return OfBool((v.kind == Null) == equal), err
	}}, nil
}

// Which results of order a comparison is true for.
const (
	less uint8 = 1 << iota
	same
	greater
)

var comparisons = map[string]uint8{
	"<": less, "<=": less | same, "==": same, "!=": less | greater, ">=": same | greater, ">": greater,
}

// mirrored swaps the sides of a comparison.
func mirrored(results uint8) uint8 { return results&same | results&less<<2 | results&greater>>2 }

func (c *compiler) comparison(n *ast.BinaryNode, l, r operand) (operand, error) {
	switch {
	case l.kind == Null || r.kind == Null:
		return l, c.wrong(n, "%s with nil is never true: x == nil and x != nil test for null", n.Operator)
	case !l.kind.fits(r.kind):
		return l, c.mismatch(n, l, r)
	case (l.kind == Bool || r.kind == Bool) && n.Operator != "==" && n.Operator != "!=":
		return l, c.wrong(n, "conditions have no order: %s needs numbers, texts or times", n.Operator)
	}
	results := comparisons[n.Operator]
	if l.constant != nil {
		l, r, results = r, l, mirrored(results)
	}
	if r.constant != nil {
		return operand{kind: Bool, eval: comparedWith(results, l.eval, *r.constant)}, nil
	}
	return operand{kind: Bool, eval: compared(results, l.eval, r.eval)}, nil
}

// mismatch refuses a comparison of two types, and says how to mend it.
func (c *compiler) mismatch(n ast.Node, l, r operand) error {
	mend := "both sides must be of one type"
	for _, o := range [][2]operand{{l, r}, {r, l}} {
		a, b := o[0], o[1]
		switch {
		case b.constant == nil:
		case a.kind == Time && b.kind == Text:
			mend = `write date("2026-01-31") or date("2026-01-31 12:00:00")`
		case a.kind.class() == Float && b.kind == Text:
			mend = "write a number, without quotes"
		case a.kind == Text && b.kind.class() == Float:
			mend = "put it in quotes"
		case a.kind == Bool && b.kind.class() == Float:
			mend = "write true or false"
		case a.kind.class() == Float && b.kind == Bool && a.column != nil:
			mend = `write 1 or 0, or give the column the cast "boolean"`
		}
	}
	return c.wrong(n, "%s cannot be compared with %s: %s", l, r, mend)
}

func compared(results uint8, l, r node) node {
	return func(f frame) (Value, error) {
		a, err := l(f)
		if err != nil || a.kind == Null {
			return Value{}, err
		}
		b, err := r(f)
		if err != nil {
			return Value{}, err
		}
		return judge(results, a, b), nil
	}
}

func comparedWith(results uint8, l node, b Value) node {
	return func(f frame) (Value, error) {
		a, err := l(f)
		if err != nil {
			return Value{}, err
		}
		return judge(results, a, b), nil
	}
}

// judge says whether the order of two values is among the results, and null
// if there is no order.
func judge(results uint8, a, b Value) Value {
	order, ok := order(a, b)
	if !ok {
		return Value{}
	}
	return OfBool(results>>(order+1)&1 == 1)
}

// order compares two values: numbers exactly, texts by their bytes. Null has
// none, and neither have values of different types.
func order(a, b Value) (int, bool) {
	if a.kind == b.kind {
		switch a.kind {
		case Int, Time:
			return cmp.Compare(a.int(), b.int()), true
		case Text:
			return strings.Compare(a.text, b.text), true
		case Float:
			return cmp.Compare(a.float(), b.float()), true
		case Bool, Uint:
			return cmp.Compare(a.bits, b.bits), true
		}
		return 0, false
	}
	switch {
	case a.kind.class() != Float || b.kind.class() != Float:
		return 0, false
	case a.kind == Float:
		return -orderOfFloat(b, a.float()), true
	case b.kind == Float:
		return orderOfFloat(a, b.float()), true
	case a.kind == Uint:
		return 1, true
	default:
		return -1, true
	}
}

// orderOfFloat compares an integer with a float64 without rounding it.
func orderOfFloat(i Value, f float64) int {
	const above, below = 1 << 64, -1 << 63
	whole := math.Floor(f)
	switch {
	case whole >= above:
		return -1
	case whole < below:
		return 1
	}
	w := OfUint(uint64(max(whole, 0)))
	if whole < 0 {
		w = OfInt(int64(whole))
	}
	if o, _ := order(i, w); o != 0 {
		return o
	}
	return cmp.Compare(whole, f)
}

// linearList is up to how many values of a list are compared one by one.
const linearList = 8

func (c *compiler) in(n *ast.BinaryNode) (operand, error) {
	l, err := c.lower(n.Left)
	if err != nil {
		return l, err
	}
	list, ok := n.Right.(*ast.ArrayNode)
	if !ok {
		return l, c.wrong(n, "in needs a list of literals, as in [1, 2, 3]")
	}
	if len(list.Nodes) == 0 {
		return l, c.wrong(list, "nothing is in an empty list")
	}
	if l.kind == Null {
		return l, c.wrong(n, "nil is in no list: x == nil tests for null")
	}
	values := make([]Value, 0, len(list.Nodes))
	for _, e := range list.Nodes {
		o, err := c.lower(e)
		switch {
		case err != nil:
			return l, err
		case o.constant == nil:
			return l, c.wrong(e, "a list has literals only, not %s: compare with it by ==", o)
		case o.kind == Null:
			return l, c.wrong(e, "nil in a list equals nothing: write x == nil or x in […]")
		case !o.kind.fits(l.kind):
			return l, c.mismatch(e, l, o)
		case len(values) > 0 && !o.kind.fits(values[0].kind):
			return l, c.wrong(e, "the values of a list must be of one type")
		}
		values = append(values, plain(*o.constant))
	}
	return operand{kind: Bool, eval: isIn(l.eval, values)}, nil
}

func isIn(n node, values []Value) node {
	class := values[0].kind.class()
	has := func(v Value) bool { return slices.Contains(values, v) }
	if len(values) > linearList {
		set := make(map[Value]bool, len(values))
		for _, v := range values {
			set[v] = true
		}
		has = func(v Value) bool { return set[v] }
	}
	return func(f frame) (Value, error) {
		v, err := n(f)
		if err != nil || v.kind.class() != class {
			return Value{}, err
		}
		return OfBool(has(plain(v))), nil
	}
}

// plain makes an integer of a number without a fraction, so that equal
// numbers are equal by ==.
func plain(v Value) Value {
	if v.kind != Float {
		return v
	}
	const above, below = 1 << 64, -1 << 63
	f := v.float()
	switch {
	case f != math.Trunc(f) || f < below || f >= above:
		return v
	case f < 0:
		return OfInt(int64(f))
	default:
		return OfUint(uint64(f))
	}
}
