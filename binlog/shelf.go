package binlog

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/go-mysql-org/go-mysql/client"
)

// A shelf keeps what the server's dictionary said of tables over one
// connection. It takes a server several times as long to answer from there as to
// write a table's CREATE statement (MySQL joins a dozen tables for it), so it is
// only asked again when that is another one.
type shelf struct {
	conn *client.Conn
	kept map[TableName]*shelved
}

// shelved is a table as it was when its CREATE statement was this one.
type shelved struct {
	statement string
	*Table
	// collations are those of its columns, by their names; nil until somebody asks.
	collations map[string]string
}

// shelfSize bounds the tables that are kept: some of hundreds of tenants.
const shelfSize = 4096

func newShelf(conn *client.Conn) *shelf { return &shelf{conn, map[TableName]*shelved{}} }

// table is a table as it is now; nil if there is none.
func (s *shelf) table(name TableName) (*shelved, error) {
	statement, err := createStatement(s.conn, name)
	if err != nil {
		return nil, err
	}
	if known := s.kept[name]; known != nil && known.statement == statement {
		return known, nil
	}
	delete(s.kept, name)
	t, err := readTable(s.conn, name)
	if err != nil || t == nil {
		return nil, err
	}
	made := &shelved{statement: statement, Table: t}
	if statement != "" {
		if len(s.kept) >= shelfSize {
			clear(s.kept)
		}
		s.kept[name] = made
	}
	return made, nil
}

// collation is that of one of a table's columns; empty if it has none.
func (s *shelf) collation(t *shelved, column string) (string, error) {
	if t.collations == nil {
		list, err := rows(s.conn, fmt.Sprintf("SELECT column_name, collation_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
			literal(t.Name.Schema), literal(t.Name.Table)))
		if err != nil {
			return "", fmt.Errorf("read the collations of %s: %w", t.Name, err)
		}
		t.collations = make(map[string]string, len(list))
		for _, row := range list {
			t.collations[string(row[0])] = string(row[1])
		}
	}
	return t.collations[column], nil
}

// counter is the part of a CREATE statement that changes with each row, behind
// the columns and keys.
var counter = regexp.MustCompile(`(\n\) [^\n]*?) AUTO_INCREMENT=\d+`)

// createStatement is the statement that would make a table as it is; empty if
// the server does not tell, as of a table that is not there.
func createStatement(conn *client.Conn, name TableName) (string, error) {
	list, err := rows(conn, "SHOW CREATE TABLE "+name.quoted())
	if _, refused := serverError(err); refused {
		return "", nil // the dictionary knows why
	}
	if err != nil {
		return "", fmt.Errorf("ask what %s is like: %w", name, err)
	}
	const fields = 2 // a view has more, and hides what is below it
	if len(list) != 1 || len(list[0]) != fields {
		return "", nil
	}
	text := string(list[0][1])
	if end := strings.LastIndex(text, "\n) "); end >= 0 {
		text = text[:end] + counter.ReplaceAllString(text[end:], "$1")
	}
	return text, nil
}
