package binlog

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// definition takes a statement that is neither a mark nor a change of rows:
// tables may look different from here on. The dictionary is asked at once,
// since the sooner it is, the surer it tells how rows after this one look.
func (t *tail) definition(ctx context.Context, schema, verb, statement string) error {
	clear(t.tables)
	if !t.concerns(schema, statement) {
		return nil
	}
	if verb == "TRUNCATE" || verb == "DROP" {
		t.source.cfg.Logger.Warn("a mapped table may have been emptied or dropped; clients keep its rows until they load again",
			"statement", cut(statement), "position", t.where())
	}
	t.dict = nil
	return t.readDictionary(ctx)
}

// awaitDefinition waits until the statement at hand is visible to others:
// it is logged a moment before. MariaDB logs it after.
func (t *tail) awaitDefinition() error {
	id := t.tx.id
	for t.tx.open && id.source != uuid.Nil {
		timedOut, err := one(t.sql, fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', %d)", id, int(waitTimeout.Seconds())))
		if err != nil || timedOut == "0" {
			return err
		}
	}
	return nil
}

// concerns says whether a statement may be about a mapped table: it runs in
// the database of one and names one, or does not say what it is about.
func (t *tail) concerns(schema, statement string) bool {
	statement = strings.ToLower(statement)
	for name := range t.source.wanted {
		if names(statement, name.Table) && (schema == name.Schema || names(statement, name.Schema)) {
			return true
		}
	}
	return false
}

// names says whether a statement in lower case has a name in it, as it is or
// as it stands in quotes.
func names(statement, name string) bool {
	return hasWord(statement, name) ||
		strings.Contains(name, "`") && hasWord(statement, strings.ReplaceAll(name, "`", "``")) ||
		strings.Contains(name, `"`) && hasWord(statement, strings.ReplaceAll(name, `"`, `""`))
}

// hasWord says whether a statement has a word in it that is not a part of a
// longer one.
func hasWord(statement, name string) bool {
	inner := func(b byte) bool {
		return b == '_' || b == '$' || b >= utf8.RuneSelf || 'a' <= b && b <= 'z' || '0' <= b && b <= '9'
	}
	name = strings.ToLower(name)
	for at := 0; ; {
		i := strings.Index(statement[at:], name)
		if i < 0 {
			return false
		}
		start, end := at+i, at+i+len(name)
		if (start == 0 || !inner(statement[start-1])) && (end == len(statement) || !inner(statement[end])) {
			return true
		}
		at = start + 1
	}
}

// words takes the first word of a statement, in upper case, past comments.
func words(s string) (first, rest string) {
	for {
		s = strings.TrimLeft(s, " \t\r\n;(")
		if !strings.HasPrefix(s, "/*") || strings.HasPrefix(s, "/*!") {
			break
		}
		_, after, found := strings.Cut(s, "*/")
		if !found {
			break
		}
		s = after
	}
	end := strings.IndexAny(s, " \t\r\n;(`'")
	if end < 0 {
		end = len(s)
	}
	return strings.ToUpper(s[:end]), s[end:]
}

// cut shortens a statement for a message; it may hold users' data.
func cut(statement string) string {
	const most = 40
	if len(statement) > most {
		return statement[:most] + "…"
	}
	return statement
}

// readDictionary reads the wanted tables' shapes as they are now, unless that
// was done since the last statement that could have changed one.
func (t *tail) readDictionary(ctx context.Context) error {
	if t.dict != nil {
		return nil
	}
	if t.sql == nil {
		conn, err := t.source.cfg.connect(ctx)
		if err != nil {
			return err
		}
		t.sql = conn
	}
	if err := t.awaitDefinition(); err != nil {
		return err
	}
	if t.sets == nil {
		sets, err := readCharsets(t.sql, t.source.server.Flavor)
		if err != nil {
			return err
		}
		t.sets = sets
	}
	dict := make(map[TableName]*Table, len(t.source.wanted))
	for name := range t.source.wanted {
		table, err := readTable(t.sql, name)
		if err != nil {
			return err
		}
		if table != nil {
			dict[name] = table
		}
	}
	t.dict = dict
	return nil
}
