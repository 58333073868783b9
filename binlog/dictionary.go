package binlog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
)

// literal makes a text safe to stand in a statement, whatever the sql_mode. As
// a literal, it takes on the collation of what it is compared with.
func literal(s string) string { return fmt.Sprintf("_utf8mb4 X'%x'", s) }

// readTable asks the server's dictionary for a table's shape; nil without an
// error if there is no such table, or none that this user may see.
func readTable(conn *client.Conn, name TableName) (*Table, error) {
	answer, err := askDictionary(conn, name)
	return answer.tableOf(name), err
}

// dictionaryAnswer is what the dictionary says of a table, as it says it.
type dictionaryAnswer struct{ Columns, Keys [][][]byte }

// columnFields and keyFields are how many fields they have.
const columnFields, keyFields = 9, 4

// fits says whether an answer that was kept is one to the same questions.
func (a dictionaryAnswer) fits() bool {
	other := func(n int) func([][]byte) bool { return func(row [][]byte) bool { return len(row) != n } }
	return !slices.ContainsFunc(a.Columns, other(columnFields)) && !slices.ContainsFunc(a.Keys, other(keyFields))
}

func askDictionary(conn *client.Conn, name TableName) (a dictionaryAnswer, err error) {
	where := fmt.Sprintf("WHERE table_schema = %s AND table_name = %s", literal(name.Schema), literal(name.Table))
	a.Columns, err = rows(conn, `SELECT column_name, data_type, column_type, is_nullable, character_set_name,
		numeric_precision, numeric_scale, datetime_precision, character_octet_length
		FROM information_schema.columns `+where+` ORDER BY ordinal_position`)
	if err != nil {
		return a, fmt.Errorf("read the columns of %s: %w", name, err)
	}
	a.Keys, err = rows(conn, `SELECT index_name, column_name, nullable, sub_part FROM information_schema.statistics `+where+`
		AND non_unique = 0 ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index`)
	if err != nil {
		return a, fmt.Errorf("read the keys of %s: %w", name, err)
	}
	return a, nil
}

// tableOf makes a table of the answer; nil if there is none.
func (a dictionaryAnswer) tableOf(name TableName) *Table {
	if len(a.Columns) == 0 {
		return nil
	}
	t := &Table{Name: name, Columns: make([]Column, len(a.Columns))}
	for i, c := range a.Columns {
		t.Columns[i] = dictionaryColumn(c)
	}
	t.Unique = uniqueKeys(t, a.Keys)
	if len(t.Unique) > 0 {
		t.Key = t.Unique[0]
	}
	return t
}

// readIndexes lists the columns of each index of a table, in order. A part
// that is an expression has no name.
func readIndexes(conn *client.Conn, name TableName) ([][]string, error) {
	parts, err := rows(conn, fmt.Sprintf(`SELECT index_name, column_name FROM information_schema.statistics
		WHERE table_schema = %s AND table_name = %s AND index_type IN ('BTREE', 'HASH') ORDER BY index_name, seq_in_index`,
		literal(name.Schema), literal(name.Table)))
	if err != nil {
		return nil, fmt.Errorf("read the indexes of %s: %w", name, err)
	}
	var indexes [][]string
	for i, part := range parts {
		if i == 0 || string(part[0]) != string(parts[i-1][0]) {
			indexes = append(indexes, nil)
		}
		last := len(indexes) - 1
		indexes[last] = append(indexes[last], string(part[1]))
	}
	return indexes, nil
}

// tableType is what the server's dictionary calls the kind of a table.
func tableType(conn *client.Conn, name TableName) (string, error) {
	kind, err := one(conn, fmt.Sprintf("SELECT table_type FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
		literal(name.Schema), literal(name.Table)))
	if err != nil {
		return "", fmt.Errorf("read the kind of table %s: %w", name, err)
	}
	return kind, nil
}

// uniqueKeys picks the unique keys all of whose columns are whole and cannot be null.
func uniqueKeys(t *Table, keys [][][]byte) [][]int {
	unique := [][]int{}
	for i := 0; i < len(keys); {
		index, usable := string(keys[i][0]), true
		var columns []int
		for ; i < len(keys) && string(keys[i][0]) == index; i++ {
			at := -1
			if keys[i][1] != nil { // functional parts have no column
				at = t.Index(string(keys[i][1]))
			}
			usable = usable && at >= 0 && string(keys[i][2]) != "YES" && keys[i][3] == nil
			columns = append(columns, at)
		}
		if usable {
			unique = append(unique, columns)
		}
	}
	return unique
}

// dictionaryColumn reads a row of information_schema.columns.
func dictionaryColumn(row [][]byte) Column {
	number := func(b []byte) int {
		n, err := strconv.Atoi(string(b))
		if err != nil {
			return 0 // NULL: the type has none
		}
		return n
	}
	dataType := strings.ToLower(string(row[1]))
	c := Column{
		Name: string(row[0]), SQLType: string(row[2]), Nullable: string(row[3]) == "YES",
		Charset: string(row[4]), Unsigned: strings.Contains(strings.ToLower(string(row[2])), "unsigned"),
		precision: number(row[5]), scale: number(row[6]), fraction: number(row[7]),
	}
	switch dataType {
	case "tinyint":
		c.Kind, c.fixed = Integer, 1
	case "smallint":
		c.Kind, c.fixed = Integer, 2
	case "mediumint":
		c.Kind, c.fixed = Integer, 3
	case "int":
		c.Kind, c.fixed = Integer, 4
	case "bigint":
		c.Kind, c.fixed = Integer, 8
	case "decimal":
		c.Kind = Decimal
	case "float":
		c.Kind = Float
	case "double":
		c.Kind = Double
		if strings.Contains(c.SQLType, "(") {
			c.decimals = c.scale
		}
	case "bit":
		c.Kind = Bit
	case "year":
		c.Kind = Year
	case "date":
		c.Kind = Date
	case "time":
		c.Kind = Time
	case "datetime":
		c.Kind = DateTime
	case "timestamp":
		c.Kind = Timestamp
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		c.Kind = Text
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		c.Kind, c.Charset = Binary, "binary"
		if dataType == "binary" {
			c.length = number(row[8])
		}
	case "enum":
		c.Kind, c.Members, c.lossy = Enum, members(c.SQLType), fourBytes[c.Charset]
	case "set":
		c.Kind, c.Members, c.lossy = Set, members(c.SQLType), fourBytes[c.Charset]
	case "json":
		c.Kind = JSON
	case "uuid":
		c.Kind = UUID
	case "inet4":
		c.Kind = Inet4
	case "inet6":
		c.Kind = Inet6
	case "vector":
		c.Kind = Vector
	case "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection":
		c.Kind = Geometry
	}
	// MariaDB marks compressed columns in a comment of the type.
	c.compressed = (c.Kind == Text || c.Kind == Binary) && strings.Contains(c.SQLType, "COMPRESSED")
	return c
}

// fourBytes are the character sets with characters that the dictionary,
// which is in utf8mb3, has not.
var fourBytes = map[string]bool{"utf8mb4": true, "utf16": true, "utf16le": true, "utf32": true, "gb18030": true}

// memberEscapes are how the server writes what it does not write as it is.
var memberEscapes = map[byte]byte{'0': 0, 'n': '\n', 'r': '\r', '\\': '\\'}

// members takes the values out of "enum('a','b')", as append_unescaped in the
// server's sql/unireg.cc has written them: a quote is doubled.
func members(columnType string) []string {
	_, rest, _ := strings.Cut(columnType, "('")
	var out []string
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && i+1 < len(rest):
			i++
			if plain, ok := memberEscapes[rest[i]]; ok {
				b.WriteByte(plain)
			} else {
				b.WriteString(rest[i-1 : i+1])
			}
		case c != '\'':
			b.WriteByte(c)
		case strings.HasPrefix(rest[i:], "''"):
			b.WriteByte('\'')
			i++
		default: // the end of one; after a comma and a quote the next begins
			out = append(out, b.String())
			b.Reset()
			i += len(",'")
		}
	}
	return out
}

// readCharsets lists the server's collations. MariaDB keeps the ids of its
// UCA 14 collations in another table.
func readCharsets(conn *client.Conn, flavor Flavor) (charsets, error) {
	query := `SELECT id, character_set_name FROM information_schema.collations WHERE id IS NOT NULL AND character_set_name IS NOT NULL`
	if flavor == MariaDB {
		query = `SELECT id, character_set_name FROM information_schema.collation_character_set_applicability WHERE id IS NOT NULL`
	}
	list, err := rows(conn, query)
	if flavor == MariaDB && isError(err, mysql.ER_BAD_FIELD_ERROR) { // before 10.10
		list, err = rows(conn, `SELECT id, character_set_name FROM information_schema.collations`)
	}
	if err != nil {
		return nil, fmt.Errorf("read the collations: %w", err)
	}
	out := make(charsets, len(list))
	for _, row := range list {
		id, err := strconv.ParseUint(string(row[0]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the collations: id %q: %w", row[0], err)
		}
		out[id] = string(row[1])
	}
	return out, nil
}
