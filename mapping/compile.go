package mapping

import (
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping/filter"
)

// compile fits a rule to a table.
func (m *Mapper) compile(r fitted, t *binlog.Table) (*Plan, []Problem) {
	c := &compiler{problems: &problems{table: r.name}, table: t, loc: m.loc, agreed: m.agreed}
	p := &Plan{mapper: m, rule: r, table: t, direct: true}
	casts := map[string]binlog.Cast{}
	for name, cast := range r.table.Casts {
		if !slices.Contains(r.table.Fields, name) {
			c.add("casts", "%q is not one of fields", name)
		} else if column := r.columnOf(name); column != "" {
			casts[column] = binlog.Cast(cast)
		}
	}
	env := c.env(casts)
	users := env
	users.User = append([]filter.Attribute{}, m.attributes...)
	if m.users != nil && !m.users.source.together(r.source) {
		users.User = []filter.Attribute{} // of other tenants
	}
	users.UserID = kindOf(m.agreed.of(usersTopic(r.tenant)))
	p.compileFields(c, env, users)
	p.compileKey(c)
	for _, entries := range r.alternatives {
		a := make(alternative, len(entries))
		for i := range entries {
			a[i] = p.compileEntry(c, &entries[i])
		}
		p.alternatives = append(p.alternatives, a)
	}
	p.where = c.condition("where", r.table.Where, users)
	p.compileDependence(c)
	p.compilePolicy(c)
	p.columns = c.read
	return p, c.list
}

func kindOf(c class) filter.Kind {
	switch c {
	case integerKey:
		return filter.Int
	case textKey:
		return filter.Text
	}
	return filter.Any
}

// compileKey fits the record's key.
func (p *Plan) compileKey(c *compiler) {
	for _, name := range p.keyFields(c) {
		cfg := p.rule.table.Columns[name]
		switch {
		case cfg.Value != "":
			c.add("columns."+name+".value", "the key is a column of the table, by which rows are read again: take the value out, or name other fields in key")
			continue
		case cfg.Mask != "" || cfg.VisibleIf != "":
			c.add("columns."+name, "%q is of the key, by which clients find the record: it can be neither hidden nor masked", name)
			continue
		}
		cast := binlog.Cast(p.rule.table.Casts[name])
		e, at, ok := c.encoder("key", p.rule.columnOf(name), cast)
		if !ok {
			continue
		}
		k := binlog.KeyColumn{Column: at, Cast: cast}
		if problem := c.table.KeyProblem(k); problem != "" {
			c.add("key", "column %q: %s", c.table.Columns[at].Name, problem)
		}
		p.key, p.keys, p.keyNames = append(p.key, k), append(p.keys, e), append(p.keyNames, name)
	}
}

// keyFields are the configured key, or else the fields that are the table's own.
func (p *Plan) keyFields(c *compiler) []string {
	if key := p.rule.table.Key; len(key) > 0 {
		columns := make([]string, len(key))
		for i, f := range key {
			columns[i] = p.rule.columnOf(f)
		}
		if slices.Contains(columns, "") || c.unique("key", columns) {
			return key
		}
		return nil
	}
	if len(c.table.Key) == 0 {
		c.add("key", "table %s has no primary key and no unique key without nullable columns, so a record cannot be told from others: ALTER TABLE %s ADD %s;",
			c.table.Name, c.table.Name, keyToAdd(c.table))
		return nil
	}
	var key []string
	for _, at := range c.table.Key {
		column := c.table.Columns[at].Name
		name := p.rule.fieldOf(column)
		if name == "" {
			c.add("fields", "the key column %q must be one of them, since clients find the record by it", column)
			continue
		}
		key = append(key, name)
	}
	return key
}

// keyToAdd is the primary key that a table most likely wants.
func keyToAdd(t *binlog.Table) string {
	if t.Index("id") >= 0 {
		return "PRIMARY KEY (id)"
	}
	return "COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"
}

func sameColumns(t *binlog.Table, unique []int, names []string) bool {
	if len(unique) != len(names) {
		return false
	}
	for _, n := range names {
		if !slices.Contains(unique, t.Index(n)) {
			return false
		}
	}
	return true
}

func columnNames(t *binlog.Table) string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// compileEntry fits one entry of visible_to.
func (p *Plan) compileEntry(c *compiler, e *entry) scope {
	tenant := p.rule.tenant
	s := scope{kind: e.kind, own: -1}
	switch e.kind {
	case userEntry:
		s.head, s.userHead = scopeHead(tenant, userScope), appendTenant(nil, tenant)
		s.key = p.compilePath(c, &e.key, func(int) string { return usersTopic(tenant) })
	case scopeEntry:
		s.head = scopeHead(tenant, e.scope.name)
		s.key = p.compilePath(c, &e.key, func(int) string { return scopeTopic(e.scope.name, tenant) })
	case publicEntry:
		s.head = append(appendTenant(nil, tenant), publicScope...)
	case channelEntry:
		s.head = []byte(p.mapper.prefix)
		for i, part := range e.parts {
			switch part.column {
			case "":
				s.parts = append(s.parts, channelPart{literal: part.literal})
			case tenantColumn:
				s.parts = append(s.parts, channelPart{literal: tenant})
			default:
				key := p.compilePath(c, &e.paths[i], nil)
				s.parts = append(s.parts, channelPart{key: &key})
			}
		}
	}
	s.number = p.mapper.number(s.head)
	if (s.kind == userEntry || s.kind == scopeEntry) && len(s.key.hops) == 0 && len(s.key.columns) == 1 {
		s.own = s.key.columns[0]
	}
	return s
}

// compilePath fits a path. topics are the kinds of key that it ends in; without
// them it ends in a part of a channel's name.
func (p *Plan) compilePath(c *compiler, from *path, topics func(i int) string) trail {
	r := trail{hops: make([]step, len(from.bound))}
	for i, b := range from.bound {
		r.hops[i] = step{table: b.parent.source.in(c.table.Name), unique: strings.Join(b.unique, ","), taken: b.taken, typeTaken: b.typeTaken}
		if b.typeTaken >= 0 {
			r.hops[i].typeText = string(harmonic.AppendString(nil, b.take.typeText))
		}
	}
	if len(from.bound) > 0 {
		p.hops = true
		topics = from.bound[0].topics(c.table.Name)
	}
	told := len(c.list)
	for _, name := range from.first.columns {
		if e, at, ok := c.encoder("visible_to", name, binlog.CastDefault); ok {
			r.columns, r.values = append(r.columns, at), append(r.values, e)
		}
	}
	if from.first.typeColumn != "" {
		if e, at, ok := c.encoder("visible_to", from.first.typeColumn, binlog.CastDefault); ok {
			r.typed, r.typeColumn, r.typeValue = true, at, e
			r.typeText = harmonic.AppendString(nil, from.first.typeText)
			p.decides(at)
		}
	}
	if len(c.list) == told {
		c.points(from.first.columns, topics)
		p.decides(r.columns...)
	}
	return r
}

// decides notes columns that say who may see a row.
func (p *Plan) decides(columns ...int) {
	for _, at := range columns {
		if !slices.Contains(p.decisive, at) {
			p.decisive = append(p.decisive, at)
		}
	}
}

// compileDependence finds what who sees a row depends on.
func (p *Plan) compileDependence(c *compiler) {
	if p.where != nil {
		p.decides(p.where.Columns()...)
		if _, p.bounded = p.where.Bound(); p.where.UsesUser() {
			p.direct, p.filtered = false, true
			if shared := p.rule.sharedEntry(); shared != "" {
				c.add("where", "it asks for the user, and who hears %q is for Laravel to say: take user out, or map the table twice", shared)
			}
			p.judges(passes, p.where)
		}
	}
	for i, f := range p.conditions {
		p.direct = false
		p.judges(1<<i, f)
		for _, at := range f.Columns() {
			if !slices.Contains(p.varying, at) {
				p.varying = append(p.varying, at)
			}
		}
	}
	for _, a := range p.alternatives {
		for _, s := range a {
			if s.kind == scopeEntry || s.kind == publicEntry {
				p.direct = false
			}
		}
	}
	for _, t := range p.rule.templates {
		for _, part := range t.parts {
			p.direct = p.direct && (!t.user || p.mapper.attribute(part.column) < 0)
			p.unnameable = p.unnameable || part.column == tenantColumn && !plain(p.rule.tenant)
		}
	}
	p.exact = p.direct && !p.hops && !p.bounded
}

// judges adds a condition that depends on the user to the plan's verdicts.
func (p *Plan) judges(bit Variant, f *filter.Filter) {
	p.judged = append(p.judged, judgement{bit: bit, filter: f, each: f.UsesUserID()})
	if f.UsesUserID() {
		p.each = true
		return
	}
	for _, at := range f.Attributes() {
		if !slices.Contains(p.byAttributes, at) {
			p.byAttributes = append(p.byAttributes, at)
		}
	}
}
