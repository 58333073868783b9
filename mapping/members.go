package mapping

import (
	"maps"
	"slices"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

// MemberPlan is one table that makes users members of a scope, fitted to one
// version of it. It is for one goroutine.
type MemberPlan struct {
	rule   fittedMembers
	id     string
	head   []byte // of its scopes' keys
	key    []binlog.KeyColumn
	keys   []binlog.Encoder
	scope  keyColumn
	user   keyColumn
	where  *filter.Filter
	member []int // columns that say who is a member of what
	read   []int
	buf    []byte
}

// fittedMembers is a rule for one tenant.
type fittedMembers struct {
	*memberRule
	tenant string
}

// membersOf are the rules for a table of the database.
func (m *Mapper) membersOf(name binlog.TableName) []fittedMembers {
	var list []fittedMembers
	for _, scope := range slices.Sorted(maps.Keys(m.scopes)) {
		for _, r := range m.scopes[scope].members {
			if tenant, ok := r.source.of(name); ok {
				list = append(list, fittedMembers{r, tenant})
			}
		}
	}
	return list
}

func (m *Mapper) compileMembers(r fittedMembers, t *binlog.Table) (*MemberPlan, []Problem) {
	c := compiler{problems: &problems{}, table: t, loc: m.loc, agreed: m.agreed}
	p := &MemberPlan{rule: r, id: r.option + tenantSeparator + t.Name.String(), head: scopeHead(r.tenant, r.of.name)}
	if r.Scope == "" || r.User == "" {
		return p, nil // New has said so
	}
	p.scope = c.key(r.option+".scope", r.Scope, scopeTopic(r.of.name, r.tenant))
	p.user = c.key(r.option+".user", r.User, usersTopic(r.tenant))
	p.where = c.condition(r.option+".where", r.Where, c.env(nil))
	p.member = slices.Clone(c.read)
	p.key, p.keys = c.rowKey(r.option + ".source")
	p.read = c.read
	return p, c.list
}

// ID tells the plan's table and rule from those of all other member plans.
func (p *MemberPlan) ID() string { return p.id }

// Columns are those that the plan reads.
func (p *MemberPlan) Columns() []int { return p.read }

// Key is the unique key that tells rows apart.
func (p *MemberPlan) Key() []binlog.KeyColumn { return p.key }

// UserColumn is that of the user's key, by which the rows of users are read.
func (p *MemberPlan) UserColumn() binlog.KeyColumn { return binlog.KeyColumn{Column: p.user.at} }

// AppendKey writes the row's key: the JSON array of Key's values.
func (p *MemberPlan) AppendKey(dst []byte, row *binlog.Row) ([]byte, error) {
	return appendKey(dst, p.keys, row)
}

// Of says whom a row makes a member of which scope; ok is false if nobody: a
// key is NULL, or the condition does not hold at now.
func (p *MemberPlan) Of(row *binlog.Row, now time.Time) (scope ScopeKey, user UserKey, ok bool, err error) {
	if row.Null(p.scope.at) || row.Null(p.user.at) {
		return "", "", false, nil
	}
	if p.where != nil {
		if ok, err = p.where.RowTrue(row, now); err != nil || !ok {
			return "", "", false, err
		}
	}
	if p.buf, err = p.scope.value.Append(append(p.buf[:0], p.head...), row); err != nil {
		return "", "", false, err
	}
	scope = ScopeKey(p.buf)
	p.buf, err = p.user.value.Append(appendTenant(p.buf[:0], p.rule.tenant), row)
	return scope, UserKey(p.buf), err == nil, err
}

// Crosses says when the clock changes what Of says of a row; ok is false if
// it never does.
func (p *MemberPlan) Crosses(row *binlog.Row) (at time.Time, ok bool) {
	if p.where == nil {
		return time.Time{}, false
	}
	return p.where.Crosses(row)
}

// Decisive says whether a change can matter to who is a member.
func (p *MemberPlan) Decisive(c *binlog.Change) bool { return decisive(c, p.member) }

// appendTenant writes what stands before the keys of a tenant's users and scopes.
func appendTenant(dst []byte, tenant string) []byte {
	if tenant == "" {
		return dst
	}
	return append(append(dst, tenant...), '/')
}

// scopeHead is what a scope's keys start with.
func scopeHead(tenant, scope string) []byte {
	return append(append(appendTenant(nil, tenant), scope...), ':')
}
