package filter

import (
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/chorusd/chorusd/binlog"
)

// Bound is a condition by a column of the row and the clock.
type Bound struct {
	Column int
	// From says that the condition becomes true at the column's time, and
	// else that it stops being true then.
	From bool
}

// bound is one that was compiled.
type bound struct {
	Bound
	eval node
	read node
	// after says that the condition changes after the column's time, not at it.
	after bool
}

// Bound is the condition's bound by now, if it has one.
func (f *Filter) Bound() (Bound, bool) {
	if f.bound == nil {
		return Bound{}, false
	}
	return f.bound.Bound, true
}

// Crosses is the first instant at which the bound is not any more what it was
// before, whatever else the condition says of the row. There is none without
// a bound, or where the column is null.
func (f *Filter) Crosses(row *binlog.Row) (at time.Time, ok bool) {
	if f.bound == nil {
		return at, false
	}
	v, err := f.bound.read(frame{row: row})
	if err != nil || v.kind != Time { // RowTrue gives the error
		return at, false
	}
	micros := v.int()
	if f.bound.after {
		micros++
	}
	return time.UnixMicro(micros).UTC(), true
}

// bound compiles a part if it has the form of a bound: `column <= now`, or
// `column == nil or column <= now`, either way round. Else it is nil.
func (c *compiler) bound(part ast.Node) (*bound, error) {
	compared, nullable := part, ast.Node(nil)
	if b, ok := part.(*ast.BinaryNode); ok && (b.Operator == "or" || b.Operator == "||") {
		compared, nullable = b.Left, b.Right
		if _, _, ok := comparedWithNow(compared); !ok {
			compared, nullable = b.Right, b.Left
		}
	}
	column, results, ok := comparedWithNow(compared)
	if !ok {
		return nil, nil
	}
	of, err := c.boundColumn(column)
	if err != nil {
		return nil, err
	}
	b := &bound{Bound: Bound{of.column.index, results&less != 0}, read: of.eval}
	b.after = b.From != (results&same != 0)
	if nullable != nil {
		tested, ok := testedForNull(nullable)
		if !ok {
			return nil, c.wrong(nullable, "beside a bound by now, or can only join whether its column is null (%s == nil)", of.name)
		}
		if name, _ := columnName(tested); c.env.Table.Index(name) != of.column.index {
			return nil, c.wrong(tested, "the column that is tested for null must be that of the bound, %s", of.name)
		}
	}
	b.eval = func(f frame) (Value, error) {
		v, err := of.eval(f)
		if err == nil && v.kind == Null && nullable != nil {
			return OfBool(true), nil
		}
		return judge(results, v, Value{kind: Time, bits: uint64(f.now)}), err
	}
	return b, nil
}

// comparedWithNow takes `x < now` apart, or `now > x` as the same.
func comparedWithNow(n ast.Node) (x ast.Node, results uint8, ok bool) {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator == "==" || b.Operator == "!=" {
		return nil, 0, false
	}
	results, ok = comparisons[b.Operator]
	if !ok {
		return nil, 0, false
	}
	if isNow(b.Right) {
		return b.Left, results, !isNow(b.Left)
	}
	return b.Right, mirrored(results), isNow(b.Left)
}

func isNow(n ast.Node) bool {
	i, ok := n.(*ast.IdentifierNode)
	return ok && i.Value == nameNow
}

// testedForNull is the x of `x == nil`.
func testedForNull(n ast.Node) (ast.Node, bool) {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != "==" {
		return nil, false
	}
	if _, ok := b.Right.(*ast.NilNode); ok {
		return b.Left, true
	}
	_, ok = b.Left.(*ast.NilNode)
	return b.Right, ok
}

func (c *compiler) boundColumn(n ast.Node) (operand, error) {
	if _, ok := columnName(n); !ok {
		return operand{}, c.wrong(n, "now can only be compared with a column of the row that holds a date or time")
	}
	o, err := c.lower(n)
	if err != nil {
		return o, err
	}
	if o.kind != Time {
		return o, c.wrong(n, "now cannot be compared with %s: a bound needs a DATETIME, TIMESTAMP or DATE column", o)
	}
	return o, nil
}
