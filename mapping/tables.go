package mapping

import (
	"fmt"
	"maps"
	"slices"

	"github.com/chorusd/chorusd/binlog"
)

// Tables are tables of the database: some by name, in order, others by pattern.
type Tables struct {
	Names    []binlog.TableName
	Patterns []binlog.Pattern
}

func (t *Tables) add(s source) {
	switch p := s.pattern; {
	case p != nil && !slices.Contains(t.Patterns, *p):
		t.Patterns = append(t.Patterns, *p)
	case p == nil && s.name != (binlog.TableName{}) && !slices.Contains(t.Names, s.name):
		t.Names = append(t.Names, s.name)
		slices.SortFunc(t.Names, byText)
	}
}

// Uses are the tables to read by what for. One can be read for several things.
type Uses struct {
	Mapped  Tables // rows that clients get
	Members Tables // who is in which scope
	Users   Tables // attributes of users
	Parents Tables // rows that paths lead through
}

// Uses lists the tables that the rules name.
func (m *Mapper) Uses() Uses {
	var u Uses
	for _, r := range m.rules {
		u.Mapped.add(r.source)
	}
	for _, name := range slices.Sorted(maps.Keys(m.scopes)) {
		for _, members := range m.scopes[name].members {
			u.Members.add(members.source)
		}
	}
	if m.users != nil {
		u.Users.add(m.users.source)
	}
	for _, p := range m.parents {
		u.Parents.add(p.source)
	}
	return u
}

// all are the tables to read, for whatever reason.
func (m *Mapper) all() Tables {
	uses := m.Uses()
	all := Tables{Names: []binlog.TableName{}}
	for _, t := range []Tables{uses.Mapped, uses.Members, uses.Users, uses.Parents} {
		for _, name := range t.Names {
			all.add(source{name: name})
		}
		for _, p := range t.Patterns {
			all.add(source{pattern: &p})
		}
	}
	return all
}

// of are the tables of a tenant, or those of none.
func (t Tables) of(tenant string) []binlog.TableName {
	if tenant == "" {
		return t.Names
	}
	names := make([]binlog.TableName, len(t.Patterns))
	for i, p := range t.Patterns {
		names[i] = p.Of(tenant)
	}
	return names
}

// MemberTables are the tables that say which users of a tenant are in which
// scopes; some may not be there. Without tenants, tenant is empty.
func (m *Mapper) MemberTables(tenant string) []binlog.TableName { return m.Uses().Members.of(tenant) }

// UserTables are those that have the attributes of a tenant's users, if any.
func (m *Mapper) UserTables(tenant string) []binlog.TableName { return m.Uses().Users.of(tenant) }

// UsersBy lists the tenants of whose users a table of the database says the
// memberships or attributes; "" stands for users without a tenant.
func (m *Mapper) UsersBy(name binlog.TableName) []string {
	var tenants []string
	for _, members := range m.membersOf(name) {
		tenants = append(tenants, members.tenant)
	}
	if tenant, ok := m.userOf(name); ok {
		tenants = append(tenants, tenant)
	}
	slices.Sort(tenants)
	return slices.Compact(tenants)
}

// ParentsBy lists the tenants of whose rows' paths some lead through a table
// of the database, in the same way.
func (m *Mapper) ParentsBy(name binlog.TableName) []string {
	if r, tenant := m.parentOf(name); r != nil {
		return []string{tenant}
	}
	return nil
}

// Sources lists the tables to read that are named, in order.
func (m *Mapper) Sources() []binlog.TableName { return m.all().Names }

// Patterns lists those that are not.
func (m *Mapper) Patterns() []binlog.Pattern { return m.all().Patterns }

// Check fits the rules to the tables as they are now; tables that are not
// there are passed over. Of tables by pattern, the first tenant's with a
// problem stands for all.
func (m *Mapper) Check(tables map[binlog.TableName]*binlog.Table) []Problem {
	var all []Problem
	told := map[any]bool{}
	tell := func(rule any, fit func() []Problem) {
		if told[rule] {
			return
		}
		wrong := fit()
		all = append(all, wrong...)
		told[rule] = len(wrong) > 0
	}
	names := slices.SortedFunc(maps.Keys(tables), byText)
	// Attributes first: expressions of other tables are checked against them.
	for _, name := range names {
		if tenant, ok := m.userOf(name); ok {
			tell(m.users, func() []Problem { return second(m.compileUser(tables[name], tenant)) })
		}
	}
	for _, name := range names {
		for _, members := range m.membersOf(name) {
			tell(members.memberRule, func() []Problem { return second(m.compileMembers(members, tables[name])) })
		}
		if p, tenant := m.parentOf(name); p != nil {
			tell(p, func() []Problem { return second(m.compileParent(p, tables[name], tenant)) })
		}
	}
	for _, name := range names {
		for _, f := range m.rulesOf(name) {
			tell(f.rule, func() []Problem { return second(m.compile(f, tables[name])) })
		}
	}
	return all
}

func second[A, B any](_ A, b B) B { return b }

// fit fits the rules to one version of a table.
func (m *Mapper) fit(t *binlog.Table) (*fits, error) {
	if t == m.last.table {
		return m.last, nil
	}
	if f, ok := m.fits[t]; ok {
		m.last = f
		return f, nil
	}
	f := &fits{table: t}
	var wrong []Problem
	if tenant, ok := m.userOf(t.Name); ok {
		var list []Problem
		f.user, list = m.compileUser(t, tenant)
		wrong = append(wrong, list...)
	}
	for _, members := range m.membersOf(t.Name) {
		p, list := m.compileMembers(members, t)
		f.members, wrong = append(f.members, p), append(wrong, list...)
	}
	if r, tenant := m.parentOf(t.Name); r != nil {
		var list []Problem
		f.parent, list = m.compileParent(r, t, tenant)
		wrong = append(wrong, list...)
	}
	for _, r := range m.rulesOf(t.Name) {
		p, list := m.compile(r, t)
		f.plans, wrong = append(f.plans, p), append(wrong, list...)
	}
	if len(wrong) > 0 {
		w := wrong[0]
		if w.Table != "" {
			w.Option = "tables." + w.Table + "." + w.Option
		}
		return nil, fmt.Errorf("the mapping no longer fits table %s: %s: %s", t.Name, w.Option, w.Text)
	}
	const versionsKept = 4096 // some tables of hundreds of tenants
	if len(m.fits) >= versionsKept {
		clear(m.fits)
	}
	m.fits[t], m.last = f, f
	return f, nil
}

// Plans returns the rules fitted to one version of a table.
func (m *Mapper) Plans(t *binlog.Table) ([]*Plan, error) {
	f, err := m.fit(t)
	if err != nil {
		return nil, err
	}
	return f.plans, nil
}

// MemberPlans returns what a table says of members, for one version of it.
func (m *Mapper) MemberPlans(t *binlog.Table) ([]*MemberPlan, error) {
	f, err := m.fit(t)
	if err != nil {
		return nil, err
	}
	return f.members, nil
}

// UserPlan returns what a table says of users' attributes, for one version of
// it; nil if nothing.
func (m *Mapper) UserPlan(t *binlog.Table) (*UserPlan, error) {
	f, err := m.fit(t)
	if err != nil {
		return nil, err
	}
	return f.user, nil
}

// ParentPlan returns what paths need of a table, for one version of it; nil if
// none leads through it.
func (m *Mapper) ParentPlan(t *binlog.Table) (*ParentPlan, error) {
	f, err := m.fit(t)
	if err != nil {
		return nil, err
	}
	return f.parent, nil
}
