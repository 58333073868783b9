package filter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/types"

	"github.com/chorusd/chorusd/binlog"
)

// Env says which names an expression may use.
type Env struct {
	// Table has the row's columns; nil: there is no row.
	Table *binlog.Table
	// Casts by the column's name. boolean makes an integer a boolean; others
	// choose a form in JSON and do not count here, see binlog.Table.Scalar.
	Casts map[string]binlog.Cast
	// Location is the zone of DATETIME and DATE columns, and of dates in the
	// text; nil: UTC.
	Location *time.Location
	// User lists user.*, beside user.id; nil: user is refused.
	User []Attribute
	// UserID is the kind of user.id. Null or Any: it is not known.
	UserID Kind
}

// Attribute is one value that is known of every user. Kind may be Null or Any
// if it is not known: then types are judged when it is evaluated, and one that
// does not fit is unknown.
type Attribute struct {
	Name string
	Kind Kind
}

// User is whom an expression is evaluated for.
type User struct {
	ID         Value
	Attributes []Value // in the order of Env.User
}

// The names that are no columns.
const (
	nameNow  = "now"
	nameUser = "user"
	nameID   = "id"
	nameEnv  = "$env" // the library's way to names that cannot be written plainly
)

// usage is what an expression reads.
type usage struct {
	columns, attributes []int
	id                  bool
}

// Columns lists the columns that are read, in order.
func (u *usage) Columns() []int { return u.columns }

// Attributes lists which of the user's attributes are read, in order.
func (u *usage) Attributes() []int { return u.attributes }

// UsesUserID says whether user.id is read.
func (u *usage) UsesUserID() bool { return u.id }

// UsesUser says whether anything of the user is read.
func (u *usage) UsesUser() bool { return u.id || len(u.attributes) > 0 }

func (u *usage) add(o usage) {
	for _, i := range o.columns {
		u.columns = insert(u.columns, i)
	}
	for _, i := range o.attributes {
		u.attributes = insert(u.attributes, i)
	}
	u.id = u.id || o.id
}

// insert keeps a list sorted and without doubles.
func insert(list []int, n int) []int {
	at, found := slices.BinarySearch(list, n)
	if found {
		return list
	}
	return slices.Insert(list, at, n)
}

// columnIndex finds a column, or says which there are of a name like it.
func (c *compiler) columnIndex(n ast.Node, name string) (int, error) {
	if c.env.Table == nil {
		return 0, c.wrong(n, "%s is not known: there is no row here to take a column from", name)
	}
	if i := c.env.Table.Index(name); i >= 0 {
		return i, nil
	}
	if strings.EqualFold(name, "null") {
		return 0, c.wrong(n, "null is written nil: x == nil and x != nil test for it")
	}
	names := make([]string, len(c.env.Table.Columns))
	for i := range names {
		names[i] = c.env.Table.Columns[i].Name
	}
	return 0, c.wrong(n, "table %s has no column %s: %s", c.env.Table.Name, name, suggestion(name, names))
}

// columnName says whether a node names a column, and which.
func columnName(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value, n.Value != nameNow && n.Value != nameEnv
	case *ast.MemberNode:
		name, ok := member(n, nameEnv)
		return name, ok
	}
	return "", false
}

// member is the name behind the dot of `of.name`, or in of["name"].
func member(n *ast.MemberNode, of string) (string, bool) {
	base, ok := n.Node.(*ast.IdentifierNode)
	property, named := n.Property.(*ast.StringNode)
	if !ok || !named || base.Value != of || n.Optional || n.Method {
		return "", false
	}
	return property.Value, true
}

func (c *compiler) column(n ast.Node, name string) (operand, error) {
	i, err := c.columnIndex(n, name)
	if err != nil {
		return operand{}, err
	}
	column := &c.env.Table.Columns[i]
	reader, err := c.env.Table.Scalar(i, c.env.Casts[column.Name], c.env.Location)
	if err != nil {
		return operand{}, c.wrong(n, "%v; it can only be tested for null (%s == nil)", err, name)
	}
	c.used.columns = insert(c.used.columns, i)
	kind := Kind(reader.Kind())
	c.names[name] = libraryType(kind)
	return operand{kind: kind, name: name, column: &columnOperand{i, reader}, eval: func(f frame) (Value, error) {
		s, err := reader.Read(f.row)
		return ofScalar(s), err
	}}, nil
}

func (c *compiler) attribute(n ast.Node, name string) (operand, error) {
	whole := nameUser + "." + name
	if c.env.User == nil {
		return operand{}, c.wrong(n, "%s cannot be used here", whole)
	}
	if name == nameID {
		c.used.id = true
		kind := c.attributeType(name, c.env.UserID)
		return operand{kind: kind, name: whole, eval: func(f frame) (Value, error) {
			if f.user == nil {
				return Value{}, nil
			}
			return f.user.ID, nil
		}}, nil
	}
	names := []string{nameID}
	for i, a := range c.env.User {
		if a.Name == name {
			c.used.attributes = insert(c.used.attributes, i)
			return operand{kind: c.attributeType(name, a.Kind), name: whole, eval: func(f frame) (Value, error) {
				if f.user == nil || i >= len(f.user.Attributes) {
					return Value{}, nil
				}
				return f.user.Attributes[i], nil
			}}, nil
		}
		names = append(names, a.Name)
	}
	return operand{}, c.wrong(n, "users have no attribute %s: %s, or add it to attributes in [users]", name, suggestion(name, names))
}

// attributeType tells the library's checker of an attribute.
func (c *compiler) attributeType(name string, kind Kind) Kind {
	if kind == Null {
		kind = Any
	}
	c.userNames[name] = libraryType(kind)
	return kind
}

// libraryType is what the library's checker knows a kind as.
func libraryType(k Kind) types.Type {
	switch k {
	case Bool:
		return types.Bool
	case Int, Uint:
		return types.Int
	case Float:
		return types.Float64
	case Text:
		return types.String
	case Time:
		return types.TypeOf(time.Time{})
	default:
		return types.Any
	}
}

// mostNear is how many names a suggestion lists at most.
const mostNear = 5

// suggestion lists the names that are near, or else the first of all.
func suggestion(name string, names []string) string {
	if len(names) == 0 {
		return "there are none"
	}
	distance := func(candidate string) int { return editDistance(strings.ToLower(name), strings.ToLower(candidate)) }
	near := slices.DeleteFunc(slices.Clone(names), func(candidate string) bool {
		return distance(candidate) > max(1, len(name)/2) && !strings.Contains(candidate, name) && !strings.Contains(name, candidate)
	})
	if len(near) > 0 {
		slices.SortStableFunc(near, func(a, b string) int { return distance(a) - distance(b) })
		return fmt.Sprintf("did you mean %s?", strings.Join(near[:min(mostNear, len(near))], " or "))
	}
	if len(names) > mostNear {
		return fmt.Sprintf("there are %s and %d more", strings.Join(names[:mostNear], ", "), len(names)-mostNear)
	}
	return fmt.Sprintf("there are %s", strings.Join(names, ", "))
}

// editDistance counts the bytes to insert, delete or replace between a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
