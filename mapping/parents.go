package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// ParentPlan is what paths need of a parent's table, fitted to one version of
// it. It is for one goroutine.
type ParentPlan struct {
	table   *binlog.Table
	columns []binlog.Encoder // taken, in the rule's order
	taken   []int
	keys    []parentKey
	read    []int
	buf     []byte
}

// parentKey is a unique key that paths find the parent by.
type parentKey struct {
	unique string // as ParentRef has it
	key    []binlog.KeyColumn
	values []binlog.Encoder
}

// parentOf is the rule of a parent's table, and the tenant; nil if no path
// leads through it.
func (m *Mapper) parentOf(name binlog.TableName) (r *parentRule, tenant string) {
	for _, r := range m.parents {
		if tenant, ok := r.source.of(name); ok {
			return r, tenant
		}
	}
	return nil, ""
}

func (m *Mapper) compileParent(r *parentRule, t *binlog.Table, tenant string) (*ParentPlan, []Problem) {
	c := compiler{problems: &problems{table: r.uses[0].table}, table: t, loc: m.loc, agreed: m.agreed}
	p := &ParentPlan{table: t}
	for _, unique := range r.uniques {
		if k, ok := c.parentKey(r, unique); ok {
			p.keys = append(p.keys, k)
		}
	}
	for _, name := range r.columns {
		e, at, ok := c.encoder("visible_to", name, binlog.CastDefault)
		if !ok {
			continue
		}
		p.columns, p.taken = append(p.columns, e), append(p.taken, at)
	}
	if len(c.list) > 0 {
		return p, c.list
	}
	for _, use := range r.uses {
		c.table, c.problems.table = t, use.table
		c.points(use.take.columns, use.topics(t.Name, tenant))
	}
	p.read = c.read
	return p, c.list
}

// topics are what the hop's reference makes keys of.
func (u *parentUse) topics(from binlog.TableName, tenant string) func(i int) string {
	switch {
	case u.next != nil:
		return u.next.topics(from)
	case u.topic != nil:
		return func(int) string { return u.topic(tenant) }
	}
	return nil
}

// topics are the kinds of keys that the hop's parent is found by.
func (b *boundHop) topics(from binlog.TableName) func(i int) string {
	return func(i int) string { return parentTopic(b.parent.source.in(from), b.unique, i) }
}

// points notes that columns, which are there, make keys. Without topics they
// make channels' names.
func (c *compiler) points(columns []string, topics func(i int) string) {
	for i, name := range columns {
		at := c.table.Index(name)
		if topics != nil {
			if problem := c.agreed.note(topics(i), c.table, at); problem != "" {
				c.add("visible_to", "%s", problem)
			}
		} else if column := &c.table.Columns[at]; classOf(column) == noKey {
			c.add("visible_to", "column %q of type %s cannot name a channel: use an integer, a text or a UUID", name, column.Kind)
		}
	}
}

// parentKey fits one key that the parent is found by.
func (c *compiler) parentKey(r *parentRule, unique []string) (k parentKey, ok bool) {
	told := len(c.list)
	columns := c.table.Key
	if unique == nil {
		if len(columns) == 0 {
			c.add("visible_to", "%s is a parent, and has no primary key to find it by: ALTER TABLE %s ADD %s;", c.table.Name, c.table.Name, keyToAdd(c.table))
		}
	} else {
		columns = nil
		for _, name := range unique {
			if at, ok := c.column("visible_to", name); ok {
				columns = append(columns, at)
			}
		}
		if len(columns) == len(unique) {
			c.unique("visible_to", unique)
		}
	}
	if len(c.list) > told {
		return k, false
	}
	k.unique = strings.Join(unique, ",")
	k.key, k.values = c.keyOf("visible_to", columns)
	for i, at := range columns {
		if problem := c.agreed.note(parentTopic(c.table.Name, unique, i), c.table, at); problem != "" {
			c.add("visible_to", "%s", problem)
		}
	}
	for _, use := range r.uses {
		if slices.Equal(use.unique, unique) && use.keys != len(columns) {
			c.list = append(c.list, Problem{use.table, "visible_to", fmt.Sprintf("%q: %d columns stand before the arrow to %s, whose key has %d (%s): write as many, in that order",
				use.entry, use.keys, c.table.Name, len(columns), nameList(c.table, columns))})
		}
	}
	return k, len(c.list) == told
}

// Columns are those that the plan reads.
func (p *ParentPlan) Columns() []int { return p.read }

// Refs are the names by which paths find a row.
func (p *ParentPlan) Refs(row *binlog.Row) ([]ParentRef, error) {
	refs := make([]ParentRef, len(p.keys))
	for i, k := range p.keys {
		var err error
		if p.buf, err = appendKey(p.buf[:0], k.values, row); err != nil {
			return nil, err
		}
		refs[i] = ParentRef{Table: p.table.Name, Unique: k.unique, Key: string(p.buf)}
	}
	return refs, nil
}

// Parent is what paths take from a row.
func (p *ParentPlan) Parent(row *binlog.Row) (Parent, error) {
	parent := Parent{Exists: true, Values: make([]string, len(p.columns))}
	for i := range p.columns {
		if row.Null(p.taken[i]) {
			continue
		}
		var err error
		if p.buf, err = p.columns[i].Append(p.buf[:0], row); err != nil {
			return Parent{}, err
		}
		parent.Values[i] = string(p.buf)
	}
	return parent, nil
}

// Decisive says whether a change can matter to where paths lead.
func (p *ParentPlan) Decisive(c *binlog.Change) bool { return decisive(c, p.read) }

// Key is the key that a ref names the row by, to read it by.
func (p *ParentPlan) Key(ref ParentRef) ([]binlog.KeyColumn, error) {
	for _, k := range p.keys {
		if k.unique == ref.Unique {
			return k.key, nil
		}
	}
	return nil, fmt.Errorf("no path finds a row of %s by the key (%s)", p.table.Name, ref.Unique)
}

func nameList(t *binlog.Table, columns []int) string {
	names := make([]string, len(columns))
	for i, at := range columns {
		names[i] = t.Columns[at].Name
	}
	return strings.Join(names, ", ")
}
