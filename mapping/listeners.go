package mapping

import (
	"regexp"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// channelValue is what a column's value may be in a channel's name; see plain.
const channelValue = `[A-Za-z0-9_\-=@,;]+`

// pattern matches the names that a scope's channels can have.
func (s *scope) pattern() *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^" + privatePrefix)
	for _, p := range s.parts {
		if p.column != "" {
			b.WriteString(channelValue)
		}
		b.WriteString(regexp.QuoteMeta(p.literal))
	}
	b.WriteString("$")
	return regexp.MustCompile(b.String()) // of literals only
}

// Reaches says whether a channel is one that the rules of a table, by the name
// that clients know, can send to; with "", the rules of any. It may be called
// by several goroutines at once.
func (m *Mapper) Reaches(table, channel string) bool {
	for _, rules := range m.rules {
		for _, r := range rules {
			if (table == "" || r.name == table) && slices.ContainsFunc(r.channels, func(p *regexp.Regexp) bool { return p.MatchString(channel) }) {
				return true
			}
		}
	}
	return false
}

// TablesOf lists the tables, by the names that clients know, that are made of
// one of the database's.
func (m *Mapper) TablesOf(source binlog.TableName) []string {
	names := make([]string, len(m.rules[source]))
	for i, r := range m.rules[source] {
		names[i] = r.name
	}
	return names
}

// Syncs says whether clients get one of a source's columns as part of a table.
func (m *Mapper) Syncs(table string, columns []string) bool {
	for _, rules := range m.rules {
		for _, r := range rules {
			if r.name == table && slices.ContainsFunc(columns, r.syncs) {
				return true
			}
		}
	}
	return false
}

func (r *rule) syncs(column string) bool {
	return slices.ContainsFunc(r.table.Fields, func(f string) bool { return strings.EqualFold(f, column) })
}
