package binlog

import (
	"bytes"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// tableMap is a parsed TABLE_MAP event and what go-mysql does not tell of it.
type tableMap struct {
	*replication.TableMapEvent
	flavor Flavor
	// compressed are MariaDB's COMPRESSED columns. In the event they look like
	// others of their kind.
	compressed []bool
}

// Types of MariaDB's COMPRESSED columns, which go-mysql does not know; see
// enum_field_types in MariaDB's include/mysql_com.h.
const (
	mariadbBlobCompressed    = 140
	mariadbVarcharCompressed = 141
)

// parseTableMap parses a TABLE_MAP event. COMPRESSED columns are shown to
// go-mysql as the same columns uncompressed, which have the same metadata.
func (t *tail) parseTableMap(e event) (*tableMap, error) {
	e.body = bytes.Clone(e.body)
	types, err := columnTypes(e.body)
	if err != nil {
		return nil, err
	}
	m := &tableMap{flavor: t.source.server.Flavor, compressed: make([]bool, len(types))}
	for i, code := range types {
		switch code {
		case mariadbBlobCompressed:
			types[i], m.compressed[i] = mysql.MYSQL_TYPE_BLOB, true
		case mariadbVarcharCompressed:
			types[i], m.compressed[i] = mysql.MYSQL_TYPE_VARCHAR, true
		}
	}
	parsed, err := t.parse(e)
	if err != nil {
		return nil, err
	}
	m.TableMapEvent = parsed.(*replication.TableMapEvent)
	return m, nil
}

// tableMapHead is the table id and flags of a TABLE_MAP event.
const tableMapHead = 8

// mappedName reads a TABLE_MAP event's names: after id and flags, each with a
// length before it and a zero after.
func mappedName(body []byte) (TableName, error) {
	name, _, err := afterNames(body)
	return name, err
}

func afterNames(body []byte) (name TableName, rest []byte, err error) {
	var parts [2]string
	at := tableMapHead
	for i := range parts {
		if at >= len(body) || at+1+int(body[at]) >= len(body) {
			return TableName{}, nil, fatal("malformed TABLE_MAP event")
		}
		n := int(body[at])
		parts[i] = string(body[at+1 : at+1+n])
		at += n + 2
	}
	return TableName{Schema: parts[0], Table: parts[1]}, body[at:], nil
}

// columnTypes finds a TABLE_MAP event's column types: after the names, with a
// length before them.
func columnTypes(body []byte) ([]byte, error) {
	_, rest, err := afterNames(body)
	if err != nil {
		return nil, err
	}
	n, size := lengthEncoded(rest)
	if size == 0 || n > uint64(len(rest)-size) {
		return nil, fatal("malformed TABLE_MAP event")
	}
	return rest[size : size+int(n)], nil
}
