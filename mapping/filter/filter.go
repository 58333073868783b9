package filter

import (
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/chorusd/chorusd/binlog"
)

// Expr is an expression that was compiled for one version of a table. It may
// be used by several goroutines at once.
type Expr struct {
	usage
	kind Kind
	eval node
}

// Compile compiles an expression of any type. Errors are of type *Error.
func Compile(text string, env Env) (*Expr, error) {
	c, root, err := parsed(text, env)
	if err != nil {
		return nil, err
	}
	o, err := c.lower(root)
	if err != nil {
		return nil, err
	}
	if err := c.check(root); err != nil {
		return nil, err
	}
	return &Expr{usage: c.used, kind: o.kind, eval: o.eval}, nil
}

// Kind is the expression's type: Null if it is always null.
func (e *Expr) Kind() Kind { return e.kind }

// Eval evaluates the expression. The row must be of the table that it was
// compiled for; nil is possible if it reads no columns. For a nil user, what
// is read of the user is null.
func (e *Expr) Eval(row *binlog.Row, user *User) (Value, error) {
	v, err := e.eval(frame{row: row, user: user})
	v.text = strings.Clone(v.text)
	return v, err
}

// Filter is a condition that was compiled for one version of a table. It may
// be used by several goroutines at once.
type Filter struct {
	usage
	row, user []node // what must hold, apart by whether the user is read
	bound     *bound
}

// CompileBool compiles a condition. Errors are of type *Error.
func CompileBool(text string, env Env) (*Filter, error) {
	c, root, err := parsed(text, env)
	if err != nil {
		return nil, err
	}
	f := &Filter{}
	for _, part := range conjuncts(root, nil) {
		if err := f.add(c, part); err != nil {
			return nil, err
		}
	}
	if err := c.check(root); err != nil {
		return nil, err
	}
	return f, nil
}

func parsed(text string, env Env) (*compiler, ast.Node, error) {
	c := newCompiler(text, env)
	root, err := c.parse()
	return c, root, err
}

// conjuncts appends the conditions that are joined by and.
func conjuncts(n ast.Node, parts []ast.Node) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && (b.Operator == "and" || b.Operator == "&&") {
		return conjuncts(b.Right, conjuncts(b.Left, parts))
	}
	return append(parts, n)
}

func (f *Filter) add(c *compiler, part ast.Node) error {
	c.used = usage{}
	defer func() { f.usage.add(c.used) }()
	b, err := c.bound(part)
	if err != nil {
		return err
	}
	if b != nil {
		if f.bound != nil {
			return c.wrong(part, "there is a second bound by now: a table can have one, since each needs a timer")
		}
		f.bound = b
		f.row = append(f.row, b.eval)
		return nil
	}
	o, err := c.lower(part)
	if err != nil {
		return err
	}
	if o.kind == Null {
		return c.wrong(part, "nil is no condition")
	}
	if err := c.want(part, "a filter", o, Bool); err != nil {
		return err
	}
	if c.used.UsesUser() {
		f.user = append(f.user, o.eval)
	} else {
		f.row = append(f.row, o.eval)
	}
	return nil
}

// RowTrue says whether all parts that read nothing of the user are true: the
// condition is made of parts by the uppermost and. It is true if there are none.
func (f *Filter) RowTrue(row *binlog.Row, now time.Time) (bool, error) {
	return all(f.row, frame{row: row, now: now.UnixMicro()})
}

// UserTrue says whether all parts that read something of the user are true.
// A row is visible by the condition if RowTrue and UserTrue are both true.
func (f *Filter) UserTrue(row *binlog.Row, user *User) (bool, error) {
	return all(f.user, frame{row: row, user: user})
}

func all(parts []node, f frame) (bool, error) {
	for _, eval := range parts {
		if v, err := eval(f); !v.is() || err != nil {
			return false, err
		}
	}
	return true, nil
}

// Reader reads one column of a table as values.
type Reader struct{ scalar binlog.ScalarReader }

// Column compiles how a column is read; see binlog.Table.Scalar for the cast
// and the zone, and for what is refused.
func Column(t *binlog.Table, column int, cast binlog.Cast, loc *time.Location) (Reader, error) {
	r, err := t.Scalar(column, cast, loc)
	return Reader{r}, err
}

// Kind is the kind of the column's values, as in an expression.
func (r Reader) Kind() Kind { return Kind(r.scalar.Kind()) }

// Value reads the column.
func (r Reader) Value(row *binlog.Row) (Value, error) {
	s, err := r.scalar.Read(row)
	v := ofScalar(s)
	v.text = strings.Clone(v.text)
	return v, err
}
