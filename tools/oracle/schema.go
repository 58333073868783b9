package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// World is a schema and the rules over it.
type World struct {
	Tables []*Table // all of them, parents before their children
	// Tenants are those whose tables they are: alike in each, with the same
	// keys, and nothing of one is anybody's of another. Users, Scopes and
	// attributes are the first one's.
	Tenants []*Tenant
	Users   *Table
	People  []Value // keys of everybody, with a row in Users or not
	Scopes  []*Scope
	// attributes are the columns of Users that rules use.
	attributes []*Column
	// timed says that the clock decides about some rows.
	timed bool
	// prefixed says that users' channels are named by their prefix.
	prefixed bool
	// messages tell of scopes that are lost.
	messages bool
	// database is where all that is no tenant's is.
	database string
}

// Table is one table of the database.
type Table struct {
	Name    string
	tenant  *Tenant
	Columns []*Column
	Key     []*Column
	Unique  *Column // has another unique value; nil: none
	Links   []*Link
	Rule    *Rule // nil: clients get nothing of it
	pool    []Key // the keys that its rows can have
	rows    rows
	timed   bool         // the clock decides about its rows
	stays   bool         // no row of it ever goes
	extra   bool         // it has the extra column
	altered *transaction // the last that altered it; nil: none did
	// questions are made when they are asked first.
	questions []question
}

// Column is one column of a table.
type Column struct {
	Name   string
	Kind   Kind
	Null   bool
	Domain []Value // what it holds; nil: anything of its kind
	Ref    bool    // is compared as a key
	Soon   bool    // holds times around now
	Fixed  bool    // never changes
}

// Link is how rows of a table name a parent.
type Link struct {
	From    []*Column
	Type    *Column // of a polymorphic link: which target it is
	Targets []Target
}

// Target is a table that a link leads to.
type Target struct {
	Table *Table
	To    []*Column // its key, or its unique column
	Type  string    // what Link.Type holds then
}

// versionColumn holds the number of the transaction that wrote the row.
const versionColumn = "version"

// column returns the column of that name, nil if there is none.
func (t *Table) column(name string) *Column {
	for _, c := range t.Columns {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// linked says whether a column is part of a link, or of a key.
func (t *Table) linked(c *Column) bool {
	if c.Name == versionColumn || c.Fixed || c == t.Unique || slices.Contains(t.Key, c) {
		return true
	}
	for _, l := range t.Links {
		if l.Type == c || slices.Contains(l.From, c) {
			return true
		}
	}
	return false
}

// Schema is the SQL that makes the tables.
func (w *World) Schema() []string {
	statements := []string{
		"CREATE TABLE people (id " + w.People[0].kind.sqlType(true) + " PRIMARY KEY)",
		"CREATE TABLE beacon (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)",
		"INSERT INTO beacon VALUES (1, 0)",
	}
	for _, p := range w.People {
		statements = append(statements, "INSERT INTO people VALUES ("+p.SQL()+")")
	}
	for _, tenant := range w.Tenants {
		if tenant.Name != "" {
			statements = append(statements, "CREATE DATABASE "+tenant.database)
		}
	}
	for _, t := range w.Tables {
		statements = append(statements, t.schema())
	}
	return statements
}

func (t *Table) schema() string {
	var lines []string
	for _, c := range t.Columns {
		line := c.Name + " " + c.Kind.sqlType(c.Ref)
		if !c.Null {
			line += " NOT NULL"
		}
		lines = append(lines, line)
	}
	lines = append(lines, "PRIMARY KEY ("+strings.Join(names(t.Key), ", ")+")")
	if t.Unique != nil {
		lines = append(lines, "UNIQUE KEY ("+t.Unique.Name+")")
	}
	for _, c := range t.Columns {
		if c.Ref && c != t.Unique && !slices.Contains(t.Key, c) {
			lines = append(lines, "KEY ("+c.Name+")")
		}
	}
	return fmt.Sprintf("CREATE TABLE %s (\n  %s\n) CHARSET utf8mb4", t.sql(), strings.Join(lines, ",\n  "))
}

func names(columns []*Column) []string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.Name
	}
	return list
}
