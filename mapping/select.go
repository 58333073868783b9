package mapping

import (
	"reflect"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// A Selection chooses rows of a plan's table by a key that they lead to.
// Without columns, it is all rows.
type Selection struct {
	// From is the row's own columns.
	From Columns
	// Via are the parents that they lead through, in order.
	Via []Via
	// In is the JSON array of the values that the last columns have to have.
	In string
}

// Columns point to something by their values.
type Columns struct {
	Names []string
	// Of polymorphic ones, TypeColumn has to hold TypeText exactly; empty of others.
	TypeColumn, TypeText string
}

// Via is a parent: its Key has the values of the columns before.
type Via struct {
	Table binlog.TableName
	Key   []string // nil: the primary key
	From  Columns
}

// Selections choose the rows that are in a scope by one of its entries: those
// that users may see by it, and perhaps others.
func (p *Plan) Selections(key ScopeKey) []Selection {
	tenant, name, id := cutScope(key)
	if tenant != p.rule.tenant {
		return nil
	}
	var list []Selection
	p.eachEntry(func(e *entry) {
		switch {
		case e.kind == publicEntry && name == publicScope:
			list = []Selection{{}}
		case e.kind == userEntry && name == "user", e.kind == scopeEntry && name == e.scope.name:
			list = addSelection(list, p.selection(&e.key, len(e.key.bound), "["+id+"]"))
		}
	})
	if slices.ContainsFunc(list, func(s Selection) bool { return len(s.From.Names) == 0 }) {
		return []Selection{{}}
	}
	return list
}

// Children choose the rows whose paths lead through a parent.
func (p *Plan) Children(ref ParentRef) []Selection {
	var list []Selection
	p.eachEntry(func(e *entry) {
		_ = e.eachPath(func(path *path) error {
			for i, b := range path.bound {
				if b.parent.source.in(p.table.Name) == ref.Table && strings.Join(b.unique, ",") == ref.Unique {
					list = addSelection(list, p.selection(path, i, ref.Key))
				}
			}
			return nil
		})
	})
	return list
}

func (p *Plan) eachEntry(f func(*entry)) {
	for _, entries := range p.rule.alternatives {
		for i := range entries {
			f(&entries[i])
		}
	}
}

// selection goes a path up to a number of hops.
func (p *Plan) selection(path *path, hops int, in string) Selection {
	s := Selection{From: path.first.names(), In: in}
	for _, b := range path.bound[:hops] {
		s.Via = append(s.Via, Via{Table: b.parent.source.in(p.table.Name), Key: b.unique, From: b.take.names()})
	}
	return s
}

func (r reference) names() Columns { return Columns{r.columns, r.typeColumn, r.typeText} }

func addSelection(list []Selection, s Selection) []Selection {
	if slices.ContainsFunc(list, func(o Selection) bool { return reflect.DeepEqual(o, s) }) {
		return list
	}
	return append(list, s)
}

// cutScope takes a key apart; id is JSON, empty of publicScope.
func cutScope(key ScopeKey) (tenant, name, id string) {
	head, id, _ := strings.Cut(string(key), ":")
	if before, after, ok := strings.Cut(head, "/"); ok {
		return before, after, id
	}
	return "", head, id
}
