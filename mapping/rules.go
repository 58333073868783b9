package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// scopeRule is a membership scope of the TOML.
type scopeRule struct {
	name    string
	members []*memberRule
	// from is a source of its members; all are by the same pattern, or by none.
	from source
}

// memberRule is one table that makes users members.
type memberRule struct {
	of     *scopeRule
	option string // its place in the TOML
	index  int
	source source
	Members
}

// userRule is the table of users' attributes.
type userRule struct {
	source source
	Users
}

// parentRule is a table that paths lead through.
type parentRule struct {
	source source
	// uniques are the keys that it is found by; nil is its primary key.
	uniques [][]string
	// columns are those that paths take from it.
	columns []string
	uses    []parentUse
}

// parentUse is one hop of a path that leads through a parent.
type parentUse struct {
	*boundHop
	entry string // of visible_to
	table string // of the mapping
	keys  int    // columns that point to it
	// topic is that of what the path ends in; nil if that is a channel's name.
	topic func(tenant string) string
}

// boundHop is a hop whose parent is known.
type boundHop struct {
	parent *parentRule
	unique []string
	take   reference
	// taken are the places of take's columns in the parent's, typeTaken that
	// of its type's; -1 if it has none.
	taken     []int
	typeTaken int
	next      *boundHop // behind it; nil if it is the last
}

// newScopes checks the membership scopes.
func newScopes(cfg map[string]Scope, database string) (map[string]*scopeRule, []Problem) {
	var wrong problems
	scopes := map[string]*scopeRule{}
	for _, name := range slices.Sorted(maps.Keys(cfg)) {
		option := "scopes." + name
		switch {
		case name == userScope || name == "channel" || name == publicScope:
			wrong.add(option, "%q has a meaning of its own in visible_to: give the scope another name", name)
			continue
		case !scopeName.MatchString(name):
			wrong.add(option, "%q is no scope's name: use letters, digits and _", name)
			continue
		}
		s := &scopeRule{name: name}
		if len(cfg[name].Members) == 0 {
			wrong.add(option, "nobody is in it: say which table has its members under [[scopes.%s.members]]", name)
		}
		for i, members := range cfg[name].Members {
			m := &memberRule{of: s, option: fmt.Sprintf("%s.members[%d]", option, i), index: i, Members: members}
			m.check(&wrong, database)
			if i == 0 {
				s.from = m.source
			} else if !s.from.together(m.source) {
				wrong.add(m.option+".source", "%s and %s do not name their tenants alike, so rows of one could be seen by members of another: use the same pattern for all members of a scope", s.from, m.source)
			}
			s.members = append(s.members, m)
		}
		scopes[name] = s
	}
	return scopes, wrong.list
}

func (m *memberRule) check(wrong *problems, database string) {
	var err error
	if m.Source == "" {
		wrong.add(m.option+".source", "missing: name the table whose rows make users members, like \"team_user\"")
	} else if m.source, err = sourceOf("", m.Source, database, ""); err != nil {
		wrong.add(m.option+".source", "%v", err)
	}
	if m.Scope == "" {
		wrong.add(m.option+".scope", "missing: name the column of the scope's key, like \"%s_id\"", m.of.name)
	}
	if m.User == "" {
		wrong.add(m.option+".user", "missing: name the column of the user's key, like \"user_id\"")
	}
}

// newUsers checks the table of users.
func newUsers(cfg Users, database string) (*userRule, []Problem) {
	var wrong problems
	if cfg.Source == "" {
		if cfg.Key != "" || len(cfg.Attributes) > 0 {
			wrong.add("users.source", "missing: name the table that has the attributes of users, like \"users\"")
		}
		return nil, wrong.list
	}
	r := &userRule{Users: cfg}
	var err error
	if r.source, err = sourceOf("", cfg.Source, database, ""); err != nil {
		wrong.add("users.source", "%v", err)
	}
	if cfg.Key == "" {
		wrong.add("users.key", "missing: name the column of the user's key, like \"id\"")
	}
	for i, a := range cfg.Attributes {
		switch {
		case a == idColumn:
			wrong.add("users.attributes", "%q is the user's key already, by whatever column: take it out", a)
		case slices.Contains(cfg.Attributes[:i], a):
			wrong.add("users.attributes", "%q is there twice: take one out", a)
		}
	}
	return r, wrong.list
}

// together says whether two sources are of the same tenants: by patterns that
// differ in the table only, or both by none.
func (s source) together(o source) bool {
	if s.pattern == nil || o.pattern == nil {
		return s.pattern == o.pattern
	}
	return s.pattern.Prefix == o.pattern.Prefix && s.pattern.Suffix == o.pattern.Suffix
}

// String is the source as it stands in messages.
func (s source) String() string {
	if p := s.pattern; p != nil {
		return p.Prefix + "%" + p.Suffix + "." + p.Table
	}
	return s.name.String()
}

// in is the source's table of the tenant that from is a table of.
func (s source) in(from binlog.TableName) binlog.TableName {
	if s.pattern == nil {
		return s.name
	}
	return binlog.TableName{Schema: from.Schema, Table: s.pattern.Table}
}

// parents gathers the tables that paths lead through.
type parents []*parentRule

// bind finds the parents on a path of an entry of a table from a source.
// topic tells the kind of key that the path ends in; nil if any will do.
func (list *parents) bind(p *path, table, entry string, from source, database string, topic func(string) string) error {
	points := p.first
	var previous *boundHop
	for i := range p.hops {
		h := &p.hops[i]
		source, err := sourceOf("", h.table, database, "")
		if err != nil {
			return err
		}
		if from.pattern != nil && source.pattern == nil && !strings.Contains(h.table, ".") {
			source.pattern = &binlog.Pattern{Prefix: from.pattern.Prefix, Suffix: from.pattern.Suffix, Table: source.name.Table}
			source.name = binlog.TableName{}
		}
		if !from.together(source) {
			return fmt.Errorf("the parent %s is not of the same database's tenants as %s: rows of a tenant can have parents of the same tenant only, so write its table's name alone", source, from)
		}
		b := list.of(source).hop(h)
		use := parentUse{boundHop: b, entry: entry, table: table, keys: len(points.columns)}
		if i == len(p.hops)-1 {
			use.topic = topic
		}
		b.parent.uses = append(b.parent.uses, use)
		if previous != nil {
			previous.next = b
		}
		p.bound = append(p.bound, b)
		points, previous = h.take, b
	}
	return nil
}

// of is the rule of a parent, made if it is new.
func (list *parents) of(s source) *parentRule {
	for _, r := range *list {
		if r.source.together(s) && r.source.in(binlog.TableName{}) == s.in(binlog.TableName{}) {
			return r
		}
	}
	r := &parentRule{source: s}
	*list = append(*list, r)
	return r
}

// hop notes what a path takes from the parent.
func (r *parentRule) hop(h *hop) *boundHop {
	if !slices.ContainsFunc(r.uniques, func(u []string) bool { return slices.Equal(u, h.unique) && (u == nil) == (h.unique == nil) }) {
		r.uniques = append(r.uniques, h.unique)
	}
	b := &boundHop{parent: r, unique: h.unique, take: h.take, typeTaken: -1}
	for _, c := range h.take.columns {
		b.taken = append(b.taken, r.take(c))
	}
	if h.take.typeColumn != "" {
		b.typeTaken = r.take(h.take.typeColumn)
	}
	return b
}

// take is the place of a column in what is known of the parent.
func (r *parentRule) take(column string) int {
	i := slices.IndexFunc(r.columns, func(c string) bool { return strings.EqualFold(c, column) })
	if i < 0 {
		i = len(r.columns)
		r.columns = append(r.columns, column)
	}
	return i
}
