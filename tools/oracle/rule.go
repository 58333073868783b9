package oracle

import (
	"slices"
	"strings"
)

// Rule says who may see the rows of a table, and what of them.
type Rule struct {
	Fields []*Field
	Any    [][]Entry // any of the lists, all of each
	Where  *Cond     // nil: every row
}

// asksForUsers says whether it looks at attributes of users.
func (r *Rule) asksForUsers() bool {
	asks := func(c *Cond) bool { return c != nil && strings.Contains(c.SQL, "u.") }
	return asks(r.Where) || slices.ContainsFunc(r.Fields, func(f *Field) bool {
		return asks(f.VisibleIf) || f.Mask != nil && asks(f.Mask.Unmasked)
	})
}

// Field is one of the fields that clients get.
type Field struct {
	Name   string
	Column *Column // nil: Value
	Value  *Cond   // a text or number in both languages
	Kind   Kind

	VisibleIf *Cond
	Mask      *Mask
}

// Mask hides a text.
type Mask struct {
	Text     string // as the TOML has it
	SQL      string // of what is shown
	Unmasked *Cond  // nil: never
}

// Cond is a condition, or another expression, in both languages. In SQL, t is
// the row, u the user's row, s.id the user's key, @late the time by which
// something has begun, and @early that by which it has not ended.
type Cond struct{ Text, SQL string }

// EntryKind is what an entry of visible_to names.
type EntryKind int

// The kinds.
const (
	ToUser EntryKind = iota
	ToScope
	ToPublic
	ToChannel
)

// Entry is one of visible_to.
type Entry struct {
	Kind    EntryKind
	Scope   *Scope // of ToScope
	Channel string // of ToChannel: what stands before the key in its name
	Path    Path
}

// Path leads from a row to a column, of its own or of a parent.
type Path struct {
	Hops   []Hop
	Column *Column
}

// parents are the tables that the paths of a table's rule lead through.
func (t *Table) parents() (list []*Table) {
	if t.Rule == nil {
		return nil
	}
	for _, e := range slices.Concat(t.Rule.Any...) {
		for _, hop := range e.Path.Hops {
			list = append(list, hop.Target.Table)
		}
	}
	return list
}

// Hop is one step to a parent.
type Hop struct {
	Link   *Link
	Target Target
}

// Scope is a set of users by a key.
type Scope struct {
	Name    string
	Keys    []Value
	Members []*Members
}

// Members is a table whose rows give members of a scope.
type Members struct {
	Table       *Table
	Scope, User *Column
	Where       *Cond // over the row m
}
