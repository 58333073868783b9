package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// A source by pattern has a table in each tenant's database, with the same
// keys in each. So that rows of two tenants never meet, each of its channels
// has to name the tenant, and so that it can be told from the name.

// namesTenant says whether the template's channels name the tenant.
func (t *template) namesTenant() bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.column == tenantColumn })
}

// tenantProblem is what is wrong with a template for a source by pattern, or
// for another; "" if nothing is.
func (t *template) tenantProblem(byPattern bool) string {
	switch {
	case !byPattern && t.namesTenant() && t.user:
		return fmt.Sprintf("%q: the user channel has {@tenant}, and the source is one database's: give this table a user_channel without it, like \"chorus.user.{id}\"", t.entry)
	case !byPattern && t.namesTenant():
		return fmt.Sprintf("%q has {@tenant}, and the source is one database's: take it out, or make the source a pattern, like \"tenant_%%.todos\"", t.entry)
	case byPattern && !t.namesTenant() && t.user:
		return fmt.Sprintf("%q: the user channel is the same in every tenant, so users would get rows of others: write user_channel = \"chorus.{@tenant}.user.{id}\"", t.entry)
	case byPattern && !t.namesTenant():
		return fmt.Sprintf("%q is the same channel in every tenant, so they would get each other's rows: put {@tenant} into it, like \"channel:tenant.{@tenant}.board.{board_id}\"", t.entry)
	}
	for _, segment := range segments(t.parts) {
		if strings.Contains(segment, tenantMark) && strings.Count(segment, "{") > 1 {
			return fmt.Sprintf("%q: where the tenant ends and the next value begins cannot be told: put a dot between them, as in \"tenant.{@tenant}.{board_id}\"", t.entry)
		}
	}
	return ""
}

// sameTenant says whether a name that two templates can make is of the same
// tenant by both.
func sameTenant(a, b []part) bool {
	as, bs := segments(a), segments(b)
	for i := range min(len(as), len(bs)) {
		if as[i] == bs[i] && strings.Contains(as[i], tenantMark) {
			return true
		}
	}
	return false
}

// mixes finds channels that would be one tenant's by one template and another's
// by another.
func (r *rule) mixes(rules []*rule) []Problem {
	wrong := problems{table: r.name}
	if r.source.pattern == nil {
		return nil
	}
	for _, t := range r.templates {
		for _, other := range rules {
			mixing := slices.IndexFunc(other.templates, func(o template) bool {
				return other.source.pattern != nil && mayMeet(t.parts, o.parts) && !sameTenant(t.parts, o.parts)
			})
			if mixing >= 0 && t.namesTenant() && other.templates[mixing].namesTenant() {
				wrong.add("visible_to", "a channel by %q can be one of another tenant by %q of table %q: let {@tenant} stand in the same place of both",
					t.entry, other.templates[mixing].entry, other.name)
			}
		}
	}
	return wrong.list
}

// tenantSeparator parts the name of a table by pattern from its database in
// the text that tells tables apart; see Plan.ID.
const tenantSeparator = "@"

// find returns the rule behind a table's ID, and the tenant.
func (m *Mapper) find(id string) (f fitted, ok bool) {
	if r := m.byName[id]; r != nil && r.source.pattern == nil {
		return fitted{rule: r, from: r.source.name}, true
	}
	name, database, _ := strings.Cut(id, tenantSeparator)
	r := m.byName[name]
	if r == nil || r.source.pattern == nil {
		return fitted{}, false
	}
	f = fitted{rule: r, from: binlog.TableName{Schema: database, Table: r.source.pattern.Table}}
	f.tenant, ok = r.source.of(f.from)
	return f, ok
}
