package mapping

import (
	"reflect"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// Selections choose the rows that are in a scope by one of its entries: those
// that users may see by it, and perhaps others.
func (p *Plan) Selections(key ScopeKey) []binlog.Selection {
	tenant, name, id := cutScope(key)
	if tenant != p.rule.tenant {
		return nil
	}
	var list []binlog.Selection
	p.eachEntry(func(e *entry) {
		switch {
		case e.kind == publicEntry && name == publicScope:
			list = []binlog.Selection{{}}
		case e.kind == userEntry && name == "user", e.kind == scopeEntry && name == e.scope.name:
			list = addSelection(list, p.selection(&e.key, len(e.key.bound), "["+id+"]"))
		}
	})
	if slices.ContainsFunc(list, func(s binlog.Selection) bool { return len(s.Columns) == 0 }) {
		return []binlog.Selection{{}}
	}
	return list
}

// Children choose the rows whose paths lead through a parent.
func (p *Plan) Children(ref ParentRef) []binlog.Selection {
	var list []binlog.Selection
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
func (p *Plan) selection(path *path, hops int, in string) binlog.Selection {
	s := binlog.Selection{Reference: path.first.names(), In: in}
	for _, b := range path.bound[:hops] {
		s.Via = append(s.Via, binlog.Hop{Table: b.parent.source.in(p.table.Name), Key: b.unique, Reference: b.take.names()})
	}
	return s
}

func (r reference) names() binlog.Reference {
	return binlog.Reference{Columns: r.columns, TypeColumn: r.typeColumn, TypeText: r.typeText}
}

func addSelection(list []binlog.Selection, s binlog.Selection) []binlog.Selection {
	if slices.ContainsFunc(list, func(o binlog.Selection) bool { return reflect.DeepEqual(o, s) }) {
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
