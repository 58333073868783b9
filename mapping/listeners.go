package mapping

import (
	"regexp"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// channelValue is what a column's value may be in a channel's name; see plain.
const channelValue = `[A-Za-z0-9_\-=@,;]+`

// pattern matches the names that a scope's channels can have. What it captures
// are the tenants.
func (s *scope) pattern() *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^" + privatePrefix)
	for _, p := range s.parts {
		switch p.column {
		case "":
		case tenantColumn:
			b.WriteString("(" + channelValue + ")")
		default:
			b.WriteString(channelValue)
		}
		b.WriteString(regexp.QuoteMeta(p.literal))
	}
	b.WriteString("$")
	return regexp.MustCompile(b.String()) // of literals only
}

// Reaches says whether a channel is one that the rules of a table with an ID
// can send to; with "", the rules of any. It may be called by several
// goroutines at once.
func (m *Mapper) Reaches(id, channel string) bool {
	if id == "" {
		return slices.ContainsFunc(m.rules, func(r *rule) bool {
			return slices.ContainsFunc(r.channels, func(p *regexp.Regexp) bool { return p.MatchString(channel) })
		})
	}
	f, ok := m.find(id)
	return ok && slices.ContainsFunc(f.channels, func(p *regexp.Regexp) bool {
		found := p.FindStringSubmatch(channel)
		return found != nil && !slices.ContainsFunc(found[1:], func(tenant string) bool { return tenant != f.tenant })
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
	return slices.ContainsFunc(r.table.Fields, func(f string) bool { return strings.EqualFold(f, column) })
}
