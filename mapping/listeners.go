package mapping

import (
	"regexp"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// channelValue is what a column's value may be in a channel's name; see plain.
const channelValue = `[A-Za-z0-9_\-=@,;]+`

// pattern matches the names that a template can make, and captures the values.
func pattern(prefix string, parts []part) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^" + prefix)
	for _, p := range parts {
		if p.column != "" {
			b.WriteString("(" + channelValue + ")")
		}
		b.WriteString(regexp.QuoteMeta(p.literal))
	}
	b.WriteString("$")
	return regexp.MustCompile(b.String()) // of literals only
}

// makes says whether the template can make a name, and of which tenant and
// user. A tenant that stands there twice is the same.
func (t *template) makes(name string) (tenant, id string, ok bool) {
	found := t.names.FindStringSubmatch(name)
	if found == nil {
		return "", "", false
	}
	for _, p := range t.parts {
		if p.column == "" {
			continue
		}
		found = found[1:]
		switch p.column {
		case tenantColumn:
			if tenant != "" && tenant != found[0] {
				return "", "", false
			}
			tenant = found[0]
		case idColumn:
			id = found[0]
		}
	}
	return tenant, id, true
}

// Reaches says whether a channel is one that the rules of a table with an ID
// can send to; with "", the rules of any. It may be called by several
// goroutines at once.
func (m *Mapper) Reaches(id, channel string) bool {
	if !m.nameable([]byte(channel)) {
		return false
	}
	if id == "" {
		return slices.ContainsFunc(m.rules, func(r *rule) bool {
			return slices.ContainsFunc(r.templates, func(t template) bool { return t.names.MatchString(channel) })
		})
	}
	f, ok := m.find(id)
	return ok && slices.ContainsFunc(f.templates, func(t template) bool {
		tenant, _, ok := t.makes(channel)
		return ok && tenant == f.tenant
	})
}

// TablesOf lists the IDs of the tables that are made of one of the database's.
func (m *Mapper) TablesOf(source binlog.TableName) []string {
	list := m.rulesOf(source)
	ids := make([]string, len(list))
	for i, f := range list {
		ids[i] = f.id()
	}
	return ids
}

// Syncs says whether clients get one of a source's columns as part of a table
// with an ID.
func (m *Mapper) Syncs(id string, columns []string) bool {
	f, ok := m.find(id)
	return ok && slices.ContainsFunc(columns, f.syncs)
}

func (r *rule) syncs(column string) bool {
	return slices.ContainsFunc(r.table.Fields, func(f string) bool {
		value := r.table.Columns[f].Value
		return strings.EqualFold(r.columnOf(f), column) || strings.Contains(strings.ToLower(value), strings.ToLower(column))
	})
}
