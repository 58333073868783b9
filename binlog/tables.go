package binlog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
)

// A Pattern stands for the table of one name in each database, now or later,
// whose own name starts with Prefix and ends with Suffix.
type Pattern struct{ Prefix, Suffix, Table string }

// systemDatabases are the server's own, which fit no pattern.
var systemDatabases = []string{"mysql", "information_schema", "performance_schema", "sys"}

// Rest is what a database's name has between Prefix and Suffix, perhaps
// nothing; ok is false if it does not fit.
func (p Pattern) Rest(database string) (rest string, ok bool) {
	if len(database) < len(p.Prefix)+len(p.Suffix) || slices.Contains(systemDatabases, strings.ToLower(database)) {
		return "", false
	}
	rest, starts := strings.CutPrefix(database, p.Prefix)
	rest, ends := strings.CutSuffix(rest, p.Suffix)
	return rest, starts && ends
}

// Of is the table in the database that has rest between Prefix and Suffix.
func (p Pattern) Of(rest string) TableName {
	return TableName{Schema: p.Prefix + rest + p.Suffix, Table: p.Table}
}

func (p Pattern) fits(name TableName) bool {
	_, ok := p.Rest(name.Schema)
	return ok && name.Table == p.Table
}

func (p Pattern) lower() Pattern {
	return Pattern{strings.ToLower(p.Prefix), strings.ToLower(p.Suffix), strings.ToLower(p.Table)}
}

// String is the pattern as it is written in a configuration.
func (p Pattern) String() string { return p.Prefix + "%" + p.Suffix + "." + p.Table }

// watched are the tables that are read: those that were named, and those that
// fit a pattern. nil are none.
type watched struct {
	patterns []Pattern
	// known are the named ones and those that fit and were met.
	known map[TableName]bool
}

func watch(names []TableName, patterns ...Pattern) *watched {
	w := &watched{patterns: patterns, known: make(map[TableName]bool, len(names))}
	for _, name := range names {
		w.known[name] = true
	}
	return w
}

// has says whether a table is one of them. One that fits a pattern is known
// from then on.
func (w *watched) has(name TableName) bool {
	if w == nil {
		return false
	}
	if w.known[name] {
		return true
	}
	fits := slices.ContainsFunc(w.patterns, func(p Pattern) bool { return p.fits(name) })
	if fits {
		w.known[name] = true
	}
	return fits
}

func (w *watched) none() bool { return w == nil || len(w.known)+len(w.patterns) == 0 }

// list are the known ones in order.
func (w *watched) list() []TableName {
	if w == nil {
		return nil
	}
	names := make([]TableName, 0, len(w.known))
	for name := range w.known {
		names = append(names, name)
	}
	sortNames(names)
	return names
}

// lower are the same in lower case.
func (w *watched) lower() *watched {
	folded := &watched{known: make(map[TableName]bool, len(w.known))}
	for name := range w.known {
		folded.known[name.lower()] = true
	}
	for _, p := range w.patterns {
		folded.patterns = append(folded.patterns, p.lower())
	}
	return folded
}

// in lists those of a database: also some that are not known, and may not be
// there. fold takes capitals and small letters as the same.
func (w *watched) in(database string, fold bool) []TableName {
	var names []TableName
	for name := range w.known {
		if name.Schema == database || fold && strings.EqualFold(name.Schema, database) {
			names = append(names, name)
		}
	}
	if fold {
		database = strings.ToLower(database)
	}
	for _, p := range w.patterns {
		if _, ok := p.Rest(database); ok {
			names = append(names, TableName{database, p.Table})
		}
	}
	sortNames(names)
	return slices.Compact(names)
}

func sortNames(names []TableName) {
	slices.SortFunc(names, func(a, b TableName) int { return strings.Compare(a.String(), b.String()) })
}

// matching asks the server for the tables that fit patterns now.
func matching(conn *client.Conn, patterns []Pattern) ([]TableName, error) {
	var names []TableName
	for _, p := range patterns {
		list, err := rows(conn, "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name = "+literal(p.Table))
		if err != nil {
			return nil, fmt.Errorf("list the tables like %s: %w", p, err)
		}
		for _, row := range list {
			if name := (TableName{string(row[0]), string(row[1])}); p.fits(name) {
				names = append(names, name)
			}
		}
	}
	sortNames(names)
	return slices.Compact(names), nil
}

// pattern checks that the user may read the tables that fit a pattern, also
// those that are not there yet, and that the server logs them: a table that
// the user may not read is not to be seen either.
func (c *checker) pattern(p Pattern) {
	probe := p.Of("chorusd_probe")
	switch _, err := rows(c.conn, "SELECT * FROM "+probe.quoted()+" LIMIT 0"); {
	case err == nil, isError(err, mysql.ER_NO_SUCH_TABLE, mysql.ER_BAD_DB_ERROR):
	case isError(err, mysql.ER_TABLEACCESS_DENIED_ERROR, mysql.ER_DBACCESS_DENIED_ERROR):
		c.add("the user may not read the databases that fit %s, or only those of now", fmt.Sprintf("GRANT SELECT ON %s TO %s;", c.scope(p), c.user), p)
	default:
		c.add("cannot tell whether the user may read the tables like %s: %v", "", p, err)
	}
	if folds, _ := c.variable("lower_case_table_names"); folds != "0" && p != p.lower() {
		c.add("%s has capital letters, and the server writes all names in small ones (lower_case_table_names)", "write source in small letters", p)
	}
	if only, _ := c.logFilters(); len(only) > 0 {
		c.add("databases that fit %s and are made later are not logged: binlog_do_db names others", "take binlog_do_db out of the server's configuration and restart it", p)
	}
}

// scope is what to grant a privilege on, to have it on the databases that fit a
// pattern. In a name there, % and _ stand for any characters, unless MySQL's
// partial_revokes is on: then for themselves.
func (c *checker) scope(p Pattern) string {
	if literally, _ := c.variable("partial_revokes"); literally == "1" {
		return "*.*"
	}
	escape := strings.NewReplacer(`\`, `\\`, "_", `\_`, "%", `\%`).Replace
	return quote(escape(p.Prefix)+"%"+escape(p.Suffix)) + ".*"
}
