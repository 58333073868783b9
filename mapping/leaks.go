package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// Leaks finds what rules that fit give away, or keep from everybody, by
// mistake, and what is slow for want of an index. Indexes are the columns of
// each index of a table, in order. Certain is what would give something away
// for sure. Of tables by pattern, the first tenant's stands for all.
func (m *Mapper) Leaks(tables map[binlog.TableName]*binlog.Table, indexes map[binlog.TableName][][]string) (certain, warnings []Problem) {
	l := leaks{tables: tables, indexes: indexes, told: map[string]bool{}}
	told := map[*rule]bool{}
	for _, name := range slices.SortedFunc(maps.Keys(tables), byText) {
		if tenant, ok := m.userOf(name); ok && m.firstTenant(tables, m.users.source, tenant) {
			l.table = ""
			l.index("users.key", name, []string{m.users.Key}, "the attributes of users are read by it")
		}
		for _, r := range m.membersOf(name) {
			if m.firstTenant(tables, r.source, r.tenant) {
				l.table = ""
				l.index(r.option+".user", name, []string{r.User}, "memberships are read by it when users connect")
			}
		}
		for _, f := range m.rulesOf(name) {
			p, wrong := m.compile(f, tables[name])
			if told[f.rule] || len(wrong) > 0 {
				continue
			}
			told[f.rule] = true
			l.table, l.certain.table = f.name, f.name
			l.secrets(p)
			l.nulls(p)
			l.paths(p)
			if p.bounded {
				b, _ := p.where.Bound()
				l.index("where", name, []string{p.table.Columns[b.Column].Name}, "rows are read by it when the clock crosses it")
			}
		}
	}
	return l.certain.list, l.list
}

// firstTenant says whether no tenant before this one has a table of the source.
func (m *Mapper) firstTenant(tables map[binlog.TableName]*binlog.Table, s source, tenant string) bool {
	for name := range tables {
		if other, ok := s.of(name); ok && other < tenant {
			return false
		}
	}
	return true
}

// leaks gathers what Leaks finds, mostly warnings.
type leaks struct {
	problems
	certain problems
	tables  map[binlog.TableName]*binlog.Table
	indexes map[binlog.TableName][][]string
	told    map[string]bool // what mends
}

// index warns once of columns by which rows are read, if no index starts with
// them.
func (l *leaks) index(option string, name binlog.TableName, columns []string, why string) {
	if l.tables[name] == nil || l.indexed(name, columns) {
		return
	}
	list := strings.Join(columns, ", ")
	mend := fmt.Sprintf("ALTER TABLE %s ADD INDEX (%s);", name, list)
	if !l.told[mend] {
		l.told[mend] = true
		l.add(option, "no index of %s starts with %s, and %s: %s", name, list, why, mend)
	}
}

// indexed says whether an index of a table starts with columns, in any order.
func (l *leaks) indexed(name binlog.TableName, columns []string) bool {
	return slices.ContainsFunc(l.indexes[name], func(index []string) bool {
		if len(index) < len(columns) {
			return false
		}
		return !slices.ContainsFunc(columns, func(c string) bool {
			return !slices.ContainsFunc(index[:len(columns)], func(i string) bool { return strings.EqualFold(i, c) })
		})
	})
}

// nulls warns of rows that nobody can see: each alternative has a column that
// may be NULL.
func (l *leaks) nulls(p *Plan) {
	var nullable []string
	for _, a := range p.alternatives {
		at := slices.IndexFunc(a, func(s scope) bool { return s.nullable(p.table) != "" })
		if at < 0 {
			return
		}
		nullable = append(nullable, a[at].nullable(p.table))
	}
	slices.Sort(nullable)
	nullable = slices.Compact(nullable)
	columns := make([]string, len(nullable))
	for i, name := range nullable {
		columns[i] = name + " " + p.table.Columns[p.table.Index(name)].SQLType + " NOT NULL"
	}
	l.add("visible_to", "a row in which %s is NULL is seen by nobody; if that is not meant: ALTER TABLE %s MODIFY %s;",
		strings.Join(nullable, " and "), p.table.Name, strings.Join(columns, ", MODIFY "))
}

// nullable is a column of the row that the scope needs and that may be NULL; ""
// if there is none.
func (s *scope) nullable(t *binlog.Table) string {
	trails := []*trail{&s.key}
	for i := range s.parts {
		if s.parts[i].key != nil {
			trails = append(trails, s.parts[i].key)
		}
	}
	for _, r := range trails {
		for _, at := range r.columns {
			if t.Columns[at].Nullable {
				return t.Columns[at].Name
			}
		}
	}
	return ""
}

// paths warns of columns on the way from a scope, or from a parent that moves,
// to the rows: they are read backwards.
func (l *leaks) paths(p *Plan) {
	for _, entries := range p.rule.alternatives {
		for i := range entries {
			e := &entries[i]
			_ = e.eachPath(func(from *path) error { // which fails only if this does
				l.path(p, e, from)
				return nil
			})
		}
	}
}

func (l *leaks) path(p *Plan, e *entry, from *path) {
	const (
		ofScope  = "the rows of a scope are read by it when a membership is granted or revoked"
		ofParent = "the rows of a parent are read by it when that moves"
	)
	name, reference := p.table.Name, from.first
	for _, hop := range from.bound {
		l.reference(name, reference, ofParent)
		name, reference = hop.parent.source.in(name), hop.take
	}
	if e.kind == scopeEntry {
		l.reference(name, reference, ofScope)
	}
}

// reference warns unless rows can be found by what they point to.
func (l *leaks) reference(name binlog.TableName, r reference, why string) {
	if r.typeColumn == "" {
		l.index("visible_to", name, r.columns, why)
		return
	}
	if !l.indexed(name, r.columns) {
		l.index("visible_to", name, append([]string{r.typeColumn}, r.columns...), why)
	}
}
