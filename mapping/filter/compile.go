package filter

import (
	"maps"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"

	"github.com/chorusd/chorusd/binlog"
)

// frame is what an expression is evaluated over. It is passed in registers.
type frame struct {
	row  *binlog.Row
	user *User
	now  int64 // microseconds since the Unix epoch
}

// node evaluates a part of an expression. A text may share the row's bytes.
type node func(f frame) (Value, error)

// operand is a part of an expression that was compiled.
type operand struct {
	kind Kind
	eval node
	name string // of a column or attribute
	// constant is the value of a literal.
	constant *Value
	column   *columnOperand
}

// columnOperand is a column that stands alone.
type columnOperand struct {
	index  int
	reader binlog.ScalarReader
}

func literal(v Value) operand {
	return operand{kind: v.kind, constant: &v, eval: func(frame) (Value, error) { return v, nil }}
}

// compiler holds what is known while one text is compiled.
type compiler struct {
	text             string
	env              Env
	used             usage
	names, userNames types.Map // for the library's checker
	seen             map[ast.Node]bool
}

// maxText is the longest expression, in bytes: the parser calls itself at each bracket.
const maxText = 16 << 10

func newCompiler(text string, env Env) *compiler {
	if env.Location == nil {
		env.Location = time.UTC
	}
	return &compiler{text: text, env: env, names: types.Map{}, userNames: types.Map{}, seen: map[ast.Node]bool{}}
}

// parse gives the tree of the library's language, in which `if` is a name.
func (c *compiler) parse() (ast.Node, error) {
	if len(c.text) > maxText {
		return nil, &Error{Text: c.text, At: 1, Problem: "an expression must not be longer than 16 KiB"}
	}
	cfg := conf.New(nil)
	cfg.DisableIfOperator = true
	tree, err := parser.ParseWithConfig(c.text, cfg)
	if err != nil {
		return nil, c.ofLibrary(err)
	}
	return tree.Node, nil
}

// check has the library judge the types, too: what is accepted here is a part
// of its language.
func (c *compiler) check(root ast.Node) error {
	names := types.Map{nameUser: c.userNames, nameNow: libraryType(Time)}
	maps.Copy(names, c.names)
	if c.names[nameUser] != nil && len(c.userNames) > 0 { // a column of that name, too
		names[nameUser] = types.Any
	}
	cfg := conf.New(names)
	if _, err := checker.Check(&parser.Tree{Node: root, Source: file.NewSource(c.text)}, cfg); err != nil {
		return c.ofLibrary(err)
	}
	return nil
}
