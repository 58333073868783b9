package filter

import (
	"fmt"

	"github.com/expr-lang/expr/ast"
)

// lower compiles a part of the tree.
func (c *compiler) lower(n ast.Node) (operand, error) {
	switch n := n.(type) {
	case *ast.NilNode:
		return literal(Value{}), nil
	case *ast.BoolNode:
		return literal(OfBool(n.Value)), nil
	case *ast.IntegerNode:
		return literal(OfInt(int64(n.Value))), nil
	case *ast.FloatNode:
		return literal(OfFloat(n.Value)), nil
	case *ast.StringNode:
		return literal(OfText(n.Value)), nil
	case *ast.IdentifierNode:
		return c.identifier(n)
	case *ast.MemberNode:
		return c.member(n)
	}
	// The tree can have a part twice (the middle of a chain of comparisons, the
	// left of ?:), which can make a short text a long way to go.
	if c.seen[n] {
		return operand{}, c.wrong(n, "the middle of a chain of comparisons, and what stands before ?:, must be a column, an attribute or a literal: write it twice, as x + 1 > 0 and x + 1 < 9")
	}
	c.seen[n] = true
	switch n := n.(type) {
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.BuiltinNode:
		return c.function(n, n.Name, n.Arguments)
	case *ast.CallNode:
		name := "a call"
		switch callee := n.Callee.(type) {
		case *ast.IdentifierNode:
			name = callee.Value
		case *ast.MemberNode:
			name = "a method"
		}
		return c.function(n, name, n.Arguments)
	}
	return operand{}, c.wrong(n, "%s cannot be used here: an expression is made of columns, user.*, literals, operators and lower, upper, trim, len and date", constructs(n))
}

// constructs names what the language leaves out of the library's.
func constructs(n ast.Node) string {
	switch n.(type) {
	case *ast.ArrayNode:
		return "a list that does not stand after in"
	case *ast.MapNode, *ast.PairNode:
		return "a map"
	case *ast.ChainNode:
		return "?."
	case *ast.SliceNode:
		return "a slice"
	case *ast.PredicateNode, *ast.PointerNode:
		return "a closure"
	case *ast.VariableDeclaratorNode:
		return "let"
	case *ast.SequenceNode:
		return "a sequence with ;"
	case *ast.BytesNode:
		return "a literal of bytes"
	}
	return fmt.Sprintf("%T", n)
}

func (c *compiler) identifier(n *ast.IdentifierNode) (operand, error) {
	switch n.Value {
	case nameNow:
		return operand{}, c.wrong(n, "now can only stand in one bound that must hold beside the rest (`published_at <= now and …`, `(expires_at == nil or expires_at > now) and …`), "+
			"compared with a column of the row: what time alone changes needs a timer, and there is one for each table")
	case nameEnv:
		return operand{}, c.wrong(n, `$env cannot be used here but for columns, as $env["first-name"]`)
	case nameUser:
		if c.env.Table == nil || c.env.Table.Index(nameUser) < 0 {
			return operand{}, c.wrong(n, "user is no value: write user.id, or user. and an attribute")
		}
	}
	return c.column(n, n.Value)
}

func (c *compiler) member(n *ast.MemberNode) (operand, error) {
	if name, ok := member(n, nameUser); ok {
		return c.attribute(n, name)
	}
	if name, ok := columnName(n); ok {
		return c.column(n, name)
	}
	return operand{}, c.wrong(n, "a part of a value cannot be taken here: columns stand alone, and attributes behind user, as user.role")
}

func (c *compiler) unary(n *ast.UnaryNode) (operand, error) {
	o, err := c.lower(n.Node)
	if err != nil {
		return o, err
	}
	if n.Operator == "not" || n.Operator == "!" {
		if err := c.want(n, n.Operator, o, Bool); err != nil {
			return o, err
		}
		return operand{kind: Bool, eval: not(o.eval)}, nil
	}
	if err := c.want(n, n.Operator, o, Float); err != nil {
		return o, err
	}
	if n.Operator == "+" {
		return o, nil
	}
	if o.constant != nil {
		return literal(arithmetic('-', OfInt(0), *o.constant)), nil
	}
	zero := literal(OfInt(0))
	return operand{kind: o.kind, eval: calculated('-', zero.eval, o.eval)}, nil
}

func (c *compiler) binary(n *ast.BinaryNode) (operand, error) {
	switch n.Operator {
	case "in":
		return c.in(n)
	case "==", "!=":
		if _, ok := n.Right.(*ast.NilNode); ok {
			return c.nullTest(n, n.Left)
		}
		if _, ok := n.Left.(*ast.NilNode); ok {
			return c.nullTest(n, n.Right)
		}
	case "matches":
		return operand{}, c.wrong(n, "matches cannot be used here, since a pattern can take long: use startsWith, endsWith or contains")
	case "..":
		return operand{}, c.wrong(n, "a range cannot be used here: write x >= 1 and x <= 9")
	case "**", "^":
		return operand{}, c.wrong(n, "powers (%s) cannot be used here", n.Operator)
	}
	l, err := c.lower(n.Left)
	if err != nil {
		return l, err
	}
	r, err := c.lower(n.Right)
	if err != nil {
		return r, err
	}
	switch op := n.Operator; op {
	case "and", "&&", "or", "||":
		if err := c.wantBoth(n, op, l, r, Bool); err != nil {
			return l, err
		}
		if op == "and" || op == "&&" {
			return operand{kind: Bool, eval: and(l.eval, r.eval)}, nil
		}
		return operand{kind: Bool, eval: or(l.eval, r.eval)}, nil
	case "==", "!=", "<", "<=", ">", ">=":
		return c.comparison(n, l, r)
	case "startsWith", "endsWith", "contains":
		if err := c.wantBoth(n, op, l, r, Text); err != nil {
			return l, err
		}
		return operand{kind: Bool, eval: textTest(op, l.eval, r.eval)}, nil
	case "+", "-", "*", "/", "%":
		return c.calculation(n, l, r)
	case "??":
		kind, err := c.common(n, op, l, r)
		if err != nil {
			return l, err
		}
		return operand{kind: kind, eval: coalesce(l.eval, r.eval)}, nil
	default:
		return l, c.wrong(n, "the operator %s cannot be used here", op)
	}
}

func (c *compiler) conditional(n *ast.ConditionalNode) (operand, error) {
	var parts [3]operand
	for i, p := range []ast.Node{n.Cond, n.Exp1, n.Exp2} {
		var err error
		if parts[i], err = c.lower(p); err != nil {
			return operand{}, err
		}
	}
	condition, yes, no := parts[0], parts[1], parts[2]
	if err := c.want(n.Cond, "?", condition, Bool); err != nil {
		return operand{}, err
	}
	kind := yes.kind
	switch {
	case kind == Null:
		kind = no.kind
	case no.kind != Null:
		var err error
		if kind, err = c.common(n.Exp2, "? :", yes, no); err != nil {
			return operand{}, err
		}
	}
	return operand{kind: kind, eval: func(f frame) (Value, error) {
		v, err := condition.eval(f)
		if err != nil {
			return Value{}, err
		}
		if v.is() {
			return yes.eval(f)
		}
		return no.eval(f)
	}}, nil
}

// common is the type of either of two values.
func (c *compiler) common(n ast.Node, op string, l, r operand) (Kind, error) {
	if l.kind == Null || r.kind == Null {
		return Null, c.wrong(n, "nil cannot stand beside %s", op)
	}
	switch {
	case !l.kind.fits(r.kind):
		return Null, c.wrong(n, "%s gives either %s or %s: both must be of one type", op, l, r)
	case l.kind == r.kind:
		return l.kind, nil
	case l.kind == Any || r.kind == Any:
		return Any, nil
	default:
		return Float, nil
	}
}

// want refuses an operand that is known not to be of a type.
func (c *compiler) want(n ast.Node, op string, o operand, kind Kind) error {
	switch {
	case o.kind == Null:
		return c.wrong(n, "%s cannot be applied to nil: x == nil and x != nil test for null", op)
	case o.kind.fits(kind):
		return nil
	case kind == Bool && o.kind.class() == Float && o.column != nil:
		return c.wrong(n, `%s needs a condition, and %s is none: write %s != 0, or give the column the cast "boolean"`, op, o, o.name)
	case kind == Bool:
		return c.wrong(n, "%s needs a condition, and %s is none: compare it with something", op, o)
	default:
		return c.wrong(n, "%s needs %s, not %s", op, plural[kind], o)
	}
}

func (c *compiler) wantBoth(n ast.Node, op string, l, r operand, kind Kind) error {
	if err := c.want(n, op, l, kind); err != nil {
		return err
	}
	return c.want(n, op, r, kind)
}

var plural = map[Kind]string{Bool: "conditions", Int: "integers", Float: "numbers", Text: "texts", Time: "times"}

// String names the operand in an error.
func (o operand) String() string {
	switch {
	case o.name != "":
		return fmt.Sprintf("%s (%s)", o.name, o.kind)
	case o.kind == Null:
		return "nil"
	case o.constant != nil && o.kind != Text:
		return fmt.Sprintf("%s (%s)", o.constant.AppendText(nil), o.kind)
	case o.constant != nil:
		return fmt.Sprintf("%q (text)", o.constant.text)
	default:
		return map[Kind]string{Bool: "a condition", Int: "an integer", Float: "a number", Text: "a text", Time: "a time", Any: "a value"}[o.kind]
	}
}
