package filter

import (
	"math"
	"math/bits"

	"github.com/expr-lang/expr/ast"
)

func (c *compiler) calculation(n *ast.BinaryNode, l, r operand) (operand, error) {
	op := n.Operator[0]
	if op == '+' && (l.kind == Text || r.kind == Text) {
		if err := c.wantBoth(n, "+ on text", l, r, Text); err != nil {
			return l, err
		}
		return operand{kind: Text, eval: calculated('+', l.eval, r.eval)}, nil
	}
	if err := c.wantBoth(n, n.Operator, l, r, Float); err != nil {
		return l, err
	}
	kind := Float
	switch {
	case op == '%':
		for _, o := range []operand{l, r} {
			if o.kind == Float {
				return l, c.wrong(n, "%% needs integers, not %s", o)
			}
		}
		kind = Int
	case op == '+' && l.kind == Any && r.kind == Any:
		kind = Any
	case op != '/' && l.kind == Int && r.kind == Int:
		kind = Int
	}
	return operand{kind: kind, eval: calculated(op, l.eval, r.eval)}, nil
}

func calculated(op byte, l, r node) node {
	return func(f frame) (Value, error) {
		a, err := l(f)
		if err != nil || a.kind == Null {
			return Value{}, err
		}
		b, err := r(f)
		if err != nil {
			return Value{}, err
		}
		return arithmetic(op, a, b), nil
	}
}

// arithmetic calculates exactly with integers, else with float64. What no
// number can hold, a division by zero, and what is no number are null.
func arithmetic(op byte, a, b Value) Value {
	if a.kind == Text && b.kind == Text && op == '+' {
		return OfText(a.text + b.text)
	}
	if a.kind.class() != Float || b.kind.class() != Float {
		return Value{}
	}
	if a.kind != Float && b.kind != Float && op != '/' {
		return ofIntegers(op, integerOf(a), integerOf(b))
	}
	x, y := a.number(), b.number()
	switch op {
	case '+':
		return OfFloat(x + y)
	case '-':
		return OfFloat(x - y)
	case '*':
		return OfFloat(x * y)
	case '/':
		return OfFloat(x / y)
	default:
		return Value{}
	}
}

// integer is one as its size and sign, which hold int64 and uint64 alike.
type integer struct {
	size     uint64
	negative bool
}

func integerOf(v Value) integer {
	if v.kind == Int && v.int() < 0 {
		return integer{-v.bits, true}
	}
	return integer{v.bits, false}
}

func (i integer) value() Value {
	switch {
	case !i.negative || i.size == 0:
		return OfUint(i.size)
	case i.size <= -math.MinInt64:
		return OfInt(int64(-i.size))
	default:
		return Value{}
	}
}

func ofIntegers(op byte, a, b integer) Value {
	switch op {
	case '-':
		b.negative = !b.negative
		fallthrough
	case '+':
		if a.negative == b.negative {
			sum, carry := bits.Add64(a.size, b.size, 0)
			if carry != 0 {
				return Value{}
			}
			return integer{sum, a.negative}.value()
		}
		if a.size < b.size {
			a, b = b, a
		}
		return integer{a.size - b.size, a.negative}.value()
	case '*':
		high, low := bits.Mul64(a.size, b.size)
		if high != 0 {
			return Value{}
		}
		return integer{low, a.negative != b.negative}.value()
	default: // %
		if b.size == 0 {
			return Value{}
		}
		return integer{a.size % b.size, a.negative}.value()
	}
}
