package binlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// statementStatus is what a statement's event says of the session that ran it,
// as far as it decides what the statement changes. See Query_event in
// libs/mysql/binlog/event/statement_events.h of MySQL's source.
type statementStatus struct {
	mode sqlMode
	// client is the id of a collation of the character set that the text is in.
	client uint64
	// databases are all those of which it read or wrote a table, also through
	// views, triggers, functions and foreign keys. nil: that is not known.
	databases []string
}

// Codes of an event's status variables, and bits of one of them.
const (
	statusMode      = 1
	statusCharset   = 4
	statusDatabases = 12

	modeANSIQuotes     = 1 << 2
	modePlainBackslash = 1 << 20

	tooManyDatabases = 254
)

// statusSizes are the sizes of status variables in bytes. Those with texts are
// left out.
var statusSizes = map[byte]int{0: 4, statusMode: 8, 3: 4, statusCharset: 6, 7: 2, 8: 2, 9: 8, 10: 4}

// statusTexts are the counts of texts, each behind its length, of the others.
var statusTexts = map[byte]int{5: 1, 6: 1, 11: 2}

// readStatus reads status variables up to those that do not matter.
func readStatus(v []byte) statementStatus {
	var s statementStatus
	for len(v) > 0 {
		code := v[0]
		v = v[1:]
		size := statusSizes[code]
		for range statusTexts[code] {
			if len(v) <= size {
				return s
			}
			size += 1 + int(v[size])
		}
		if code == statusDatabases && len(v) > 0 && v[0] != tooManyDatabases {
			s.databases = readDatabases(v[0], v[1:])
			return s
		}
		if size == 0 || len(v) < size {
			return s
		}
		switch code {
		case statusMode:
			bits := binary.LittleEndian.Uint64(v)
			s.mode = sqlMode{ansiQuotes: bits&modeANSIQuotes != 0, plainBackslash: bits&modePlainBackslash != 0}
		case statusCharset:
			s.client = unsignedLE(v[:2])
		}
		v = v[size:]
	}
	return s
}

// readDatabases reads names that end with a zero; nil if they cannot be known.
func readDatabases(count byte, v []byte) []string {
	var list []string
	for range count {
		name, rest, ok := bytes.Cut(v, []byte{0})
		if !ok || len(name) == 0 { // the server does so where foreign keys lead on
			return nil
		}
		list, v = append(list, string(name)), rest
	}
	return list
}

// changesRows says whether a statement is one that changes rows. A SELECT is
// in the log if it called a function that did.
func changesRows(verb, statement string) bool {
	switch verb {
	case "INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "SELECT", "DO":
		return true
	// CREATE TABLE … SELECT; and of MariaDB, which runs what it analyzes, SET
	// STATEMENT … FOR.
	case "CREATE", "ANALYZE", "SET":
		return len(referencesOf(statement, sqlMode{}).written) > 0
	}
	return false
}

// loadData takes a LOAD DATA that was logged as a statement: an event of a
// query, with 13 bytes more after the first 13.
func (t *tail) loadData(ctx context.Context, body []byte) error {
	const head, more = 13, 13
	if len(body) < head+more {
		return fatal("malformed LOAD DATA event")
	}
	schema, status := int(body[8]), int(unsignedLE(body[11:13]))
	rest := body[head+more:]
	if len(rest) < status+schema+1 {
		return fatal("malformed LOAD DATA event")
	}
	return t.statement(ctx, string(rest[status:status+schema]), string(rest[status+schema+1:]), rest[:status])
}

// statement takes a change of rows that is in the log as its statement, so
// that nobody can tell which rows it changed. It may pass if it cannot have
// changed a mapped one.
func (t *tail) statement(ctx context.Context, schema, text string, status []byte) error {
	if t.source.wanted.none() {
		return nil
	}
	s := readStatus(status)
	if s.databases != nil && !t.wantsDatabase(s.databases) {
		return nil
	}
	table, err := t.reached(ctx, schema, text, s)
	if err == nil && table == "" {
		return nil
	}
	mend := "let no session set another, and " + t.source.server.setting("binlog_format", "ROW")
	if unclear, ok := errors.AsType[*unclearError](err); ok {
		return fatal("a change was logged as a statement and not as rows, and whether it changed a mapped table cannot be told: %s; its session overrode binlog_format, which must be ROW: %s; the statement starts %q",
			unclear, mend, cut(text))
	}
	if err != nil {
		return err
	}
	return fatal("a change of %s was logged as a statement and not as rows: its session overrode binlog_format, which must be ROW: %s; the statement starts %q",
		table, mend, cut(text))
}

func (t *tail) wantsDatabase(databases []string) bool {
	return slices.ContainsFunc(databases, func(database string) bool {
		return len(t.source.wanted.in(database, true)) > 0
	})
}

// reached says which mapped table, and by what way, a statement may change; "" if none.
func (t *tail) reached(ctx context.Context, schema, text string, s statementStatus) (string, error) {
	if err := t.ask(ctx); err != nil {
		return "", err
	}
	if err := readable(text, t.sets[s.client]); err != nil {
		return "", err
	}
	if t.reach == nil {
		t.reach = newReach(t.source)
	}
	table, err := t.reach.ofStatement(t.sql, schema, text, s.mode)
	if table != "" || err != nil {
		return table, err
	}
	if len(t.reach.open) == 0 { // nothing was followed
		return "", nil
	}
	// What comes later in the log may show that it looked otherwise then.
	now, err := inspect(t.sql)
	if err != nil {
		return "", err
	}
	if t.reach.passed == "" {
		t.reach.passed = t.where()
	}
	t.reach.asked = now.Current
	return "", nil
}

// readable refuses a text whose names cannot be told because of its character set.
func readable(text, charset string) error {
	ascii := strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
	if ascii || strings.HasPrefix(charset, "utf8") {
		return nil
	}
	return &unclearError{fmt.Sprintf("its text is in the character set %q", charset)}
}

// reachChanges takes a statement that changes tables, views, triggers or
// routines, by which others were let pass. One that had already happened when
// they were judged means that they were judged by what was not there yet.
func (t *tail) reachChanges(schema, statement string) error {
	r := t.reach
	if r == nil {
		return nil
	}
	if r.passed != "" && r.asked.Covers(Position{Flavor: r.asked.Flavor, File: t.file, Offset: t.offset}) && r.concerns(schema, statement) {
		return fatal("this statement changes what decides which tables the statement that was logged at %s changed, and had already run when that was asked, so it may have changed a mapped table: clients must load again (run --start-over); this statement starts %q",
			r.passed, cut(statement))
	}
	t.reach = nil
	return nil
}
