package binlog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Page asks for some rows of a table, in the order of a key.
type Page struct {
	// Selection chooses rows, and so does Bound, if there is one.
	Selection Selection
	Bound     *Bound
	// Key is a unique key, the order of the rows, or after that of Bound's
	// column; only those after From are read, which is what Reader.Page said
	// of the page before. From the first on if it is empty.
	Key  []KeyColumn
	From string
	// Limit is the most rows to read, above zero, and Bytes how many bytes of
	// them are enough; 0 is a sensible number. A page that ends early is not
	// the last one for that.
	Limit, Bytes int
}

// pageBytes is how many bytes are enough for a page.
const pageBytes = 4 << 20

// A Selection chooses the rows whose own columns, or those of rows that they
// lead to, have certain values. Without columns, all rows are meant. It is made
// for rows that are looked at again: as the server compares, so that there may
// be others among them, of another spelling.
type Selection struct {
	Reference
	// Via are the rows that the reference leads to, one after the other.
	Via []Hop
	// In holds the values of the last reference's columns: a JSON array, as
	// Encoders write them by default; or those of one of Or.
	In string
	Or []string
}

// A Reference is columns, by name, that point to a row or have a value.
type Reference struct {
	Columns []string
	// Of a polymorphic one, TypeColumn has to hold TypeText.
	TypeColumn, TypeText string
}

// A Hop goes to the row that the reference before it points to, and takes a
// reference from there.
type Hop struct {
	Table TableName
	// Key is the unique key that is pointed to, by its columns' names; nil:
	// the primary key.
	Key []string
	Reference
}

// Bound chooses rows whose column has a time that is after After, if that is
// not zero, and not after Upto, to the microsecond. Near a change of the clocks
// it chooses more, where the column has local time.
type Bound struct {
	Column      string
	After, Upto time.Time
}

// selectByKey writes the statement that reads rows by key.
func selectByKey(t *Table, columns []int, key []KeyColumn, keys []string) (string, error) {
	conditions := make([]string, len(keys))
	values := make([]string, len(keys))
	for i, text := range keys {
		literals, err := keyValues(t, key, text)
		if err != nil {
			return "", fmt.Errorf("key %s of %s: %w", text, t.Name, err)
		}
		conditions[i], values[i] = "("+equal(tableAlias{Table: t, alias: rowAlias}, key, literals)+")", literals[0]
	}
	query := selectFrom(t, columns) + " WHERE "
	if len(key) == 1 { // conditions would be tried one after the other on each row
		return query + columnOf(rowAlias, &t.Columns[key[0].Column]) + " IN (" + strings.Join(values, ", ") + ")", nil
	}
	return query + strings.Join(conditions, " OR "), nil
}

// rowAlias is what a statement calls the table whose rows it reads.
const rowAlias = "r"

func selectFrom(t *Table, columns []int) string {
	expressions := make([]string, len(columns))
	for i, column := range columns {
		expressions[i] = selectExpression(&t.Columns[column])
	}
	return "SELECT " + strings.Join(expressions, ", ") + " FROM " + t.Name.quoted() + " AS " + rowAlias
}

// selectExpression reads a column in a form that loses nothing as text.
func selectExpression(c *Column) string {
	name := columnOf(rowAlias, c)
	switch c.Kind {
	case Float: // its own text has six digits only
		return "CAST(" + name + " AS DOUBLE)"
	case Bit:
		return name + "+0"
	case Text: // in its own bytes, since the server writes "?" for characters that Unicode lacks
		if decode, err := transcoderOf(c.Charset); err == nil && decode != nil {
			return "CAST(CONVERT(" + name + " USING " + c.Charset + ") AS BINARY)"
		}
	}
	return name
}

func columnOf(alias string, c *Column) string { return alias + "." + quote(c.Name) }

// selector writes the statement of a page.
type selector struct {
	table      *Table
	bound      int // its column; -1 without
	key        []KeyColumn
	joins      []string
	conditions []string
	limit      int
}

// columns are those to read, with those that tell the place of a row.
func (s *selector) columns(wanted []int) []int {
	all := slices.Clone(wanted)
	add := func(column int) {
		if !slices.Contains(all, column) {
			all = append(all, column)
		}
	}
	if s.bound >= 0 {
		add(s.bound)
	}
	for _, k := range s.key {
		add(k.Column)
	}
	return all
}

func (s *selector) query(wanted []int) string {
	query := selectFrom(s.table, s.columns(wanted)) + strings.Join(s.joins, "")
	if len(s.conditions) > 0 {
		query += " WHERE " + strings.Join(s.conditions, " AND ")
	}
	return fmt.Sprintf("%s ORDER BY %s LIMIT %d", query, strings.Join(s.order(), ", "), s.limit)
}

// order names the columns that rows are in the order of.
func (s *selector) order() []string {
	var names []string
	if s.bound >= 0 {
		names = append(names, columnOf(rowAlias, &s.table.Columns[s.bound]))
	}
	for _, k := range s.key {
		names = append(names, columnOf(rowAlias, &s.table.Columns[k.Column]))
	}
	return names
}

// place writes where a row is in the order: the JSON array of the bound's
// text, if there is one, and the key's values.
func (s *selector) place(r *Row) (string, error) {
	out := []byte{'['}
	if s.bound >= 0 {
		text, err := json.Marshal(string(r.values[s.bound]))
		if err != nil {
			return "", err
		}
		out = append(append(out, text...), ',')
	}
	for i, k := range s.key {
		if i > 0 {
			out = append(out, ',')
		}
		e, err := s.table.Encoder(k.Column, k.Cast, time.UTC)
		if err != nil {
			return "", err
		}
		if out, err = e.Append(out, r); err != nil {
			return "", err
		}
	}
	return string(append(out, ']')), nil
}

// after limits the statement to what comes after a place.
func (s *selector) after(place string) error {
	var texts []json.RawMessage
	if err := json.Unmarshal([]byte(place), &texts); err != nil {
		return err
	}
	var values []string
	if s.bound >= 0 && len(texts) > 0 {
		var text string
		if err := json.Unmarshal(texts[0], &text); err != nil {
			return err
		}
		values, texts = append(values, literal(text)), texts[1:]
	}
	key, err := json.Marshal(texts)
	if err != nil {
		return err
	}
	literals, err := keyValues(s.table, s.key, string(key))
	if err != nil {
		return err
	}
	s.conditions = append(s.conditions, greater(s.order(), append(values, literals...)))
	return nil
}

// greater compares columns with values, one after the other as equal does.
func greater(names, values []string) string {
	if len(names) == 1 {
		return names[0] + " > " + values[0]
	}
	return fmt.Sprintf("(%s > %s OR %s = %s AND %s)", names[0], values[0], names[0], values[0], greater(names[1:], values[1:]))
}

// within limits the statement to rows in a bound.
func (s *selector) within(b *Bound, loc *time.Location) error {
	column := &s.table.Columns[s.bound]
	switch column.Kind {
	case DateTime, Date:
	case Timestamp:
		loc = time.UTC // the session's
	default:
		return fmt.Errorf("column %s has no time", b.Column)
	}
	name := columnOf(rowAlias, column)
	compare := func(operator string, at time.Time, shift time.Duration) {
		s.conditions = append(s.conditions, fmt.Sprintf("%s %s TIMESTAMP'%s'", name, operator,
			at.In(loc).Add(shift).Format("2006-01-02 15:04:05.000000")))
	}
	if !b.After.IsZero() {
		compare(">", b.After, -clockShift(b.After, loc))
	}
	compare("<=", b.Upto, clockShift(b.Upto, loc))
	return nil
}

// clockShift is by how much the clocks of a place are put forward or back
// around a time: by so much may what they show be out of order.
func clockShift(at time.Time, loc *time.Location) time.Duration {
	const around = 3 * time.Hour // they are not put by more
	_, before := at.Add(-around).In(loc).Zone()
	_, after := at.Add(around).In(loc).Zone()
	return time.Duration(max(before-after, after-before)) * time.Second
}
