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
	p.rule.eachEntry(func(e *entry) {
		switch {
		case !e.of(name):
		case e.kind == publicEntry:
			list = []binlog.Selection{{}}
		default:
			list = addSelection(list, p.selection(&e.key, len(e.key.bound), "["+id+"]"))
		}
	})
	if slices.ContainsFunc(list, func(s binlog.Selection) bool { return len(s.Columns) == 0 }) {
		return []binlog.Selection{{}}
	}
	return list
}

// Children choose the rows whose paths lead through a parent, or through one of
// more that are named by other values of the same key.
func (p *Plan) Children(ref ParentRef, more []string) []binlog.Selection {
	var list []binlog.Selection
	p.rule.eachHop(ref.Unique, func(path *path, i int) {
		if path.bound[i].parent.source.in(p.table.Name) == ref.Table {
			selection := p.selection(path, i, ref.Key)
			selection.Or = more
			list = addSelection(list, selection)
		}
	})
	return list
}

// TablesIn lists the IDs of the tables that may have rows in a scope: those of
// its tenant with an entry for it. Some may not be there.
func (m *Mapper) TablesIn(key ScopeKey) []string {
	tenant, name, _ := cutScope(key)
	var ids []string
	for _, r := range m.rules {
		f, ok := r.ofTenant(tenant)
		if ok && r.hasEntry(func(e *entry) bool { return e.of(name) }) {
			ids = append(ids, f.id())
		}
	}
	return ids
}

// TablesBelow lists the IDs of the tables whose paths lead through a parent.
// Some may not be there.
func (m *Mapper) TablesBelow(ref ParentRef) []string {
	var ids []string
	for _, r := range m.rules {
		var below fitted
		r.eachHop(ref.Unique, func(path *path, i int) {
			if tenant, ok := path.bound[i].parent.source.of(ref.Table); ok {
				below, _ = r.ofTenant(tenant)
			}
		})
		if below.rule != nil {
			ids = append(ids, below.id())
		}
	}
	return ids
}

// TablesOfTenant lists the IDs of a tenant's tables, of which some may not be
// there; those that are named if tenant is empty.
func (m *Mapper) TablesOfTenant(tenant string) []string {
	var ids []string
	for _, r := range m.rules {
		if f, ok := r.ofTenant(tenant); ok {
			ids = append(ids, f.id())
		}
	}
	return ids
}

// ofTenant is the rule for a tenant's table, or for the one that is named.
func (r *rule) ofTenant(tenant string) (f fitted, ok bool) {
	switch p := r.source.pattern; {
	case p == nil:
		return fitted{rule: r, from: r.source.name}, tenant == ""
	case tenant == "":
		return fitted{}, false
	default:
		return fitted{r, p.Of(tenant), tenant}, true
	}
}

// of says whether the entry's key is that of a scope with the name.
func (e *entry) of(scope string) bool {
	switch e.kind {
	case publicEntry:
		return scope == publicScope
	case userEntry:
		return scope == userScope
	case scopeEntry:
		return scope == e.scope.name
	}
	return false
}

// eachHop gives the hops that find their parent by a unique key, as the place
// of each in its path.
func (r *rule) eachHop(unique string, f func(path *path, i int)) {
	r.eachEntry(func(e *entry) {
		_ = e.eachPath(func(path *path) error {
			for i, b := range path.bound {
				if strings.Join(b.unique, ",") == unique {
					f(path, i)
				}
			}
			return nil
		})
	})
}

func (r *rule) hasEntry(holds func(*entry) bool) (has bool) {
	r.eachEntry(func(e *entry) { has = has || holds(e) })
	return has
}

func (r *rule) eachEntry(f func(*entry)) {
	for _, entries := range r.alternatives {
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
