package binlog

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// errMissing says that a selection names what is not there, or not now: a table
// may be replaced in two statements.
var errMissing = errors.New("is not there")

// selector makes the statement of a page.
func (m *Moment) selector(t *Table, p *Page) (*selector, error) {
	s := &selector{table: t, bound: -1, key: p.Key, limit: p.Limit}
	if p.Bound != nil {
		if s.bound = t.Index(p.Bound.Column); s.bound < 0 {
			return nil, fmt.Errorf("column %s.%s %w", t.Name, p.Bound.Column, errMissing)
		}
		if err := s.within(p.Bound, m.reader.cfg.Location); err != nil {
			return nil, &fatalError{err}
		}
	}
	if len(p.Selection.Columns) > 0 {
		if err := m.choose(s, &p.Selection); err != nil {
			return nil, err
		}
	}
	if p.From != "" {
		if err := s.after(p.From); err != nil {
			return nil, fatal("place %s: %w", p.From, err)
		}
	}
	return s, nil
}

// A tableAlias is a table under its name in a statement.
type tableAlias struct {
	*Table
	alias string
	kept  *shelved // nil: it was given, and not read for the statement
}

func (t tableAlias) column(name string) (*Column, error) {
	i := t.Index(name)
	if i < 0 {
		return nil, fmt.Errorf("column %s.%s %w", t.Name, name, errMissing)
	}
	return &t.Columns[i], nil
}

// choose limits a statement to a selection: it joins the rows that the others
// lead to, at most one for each, since keys are unique.
func (m *Moment) choose(s *selector, selection *Selection) error {
	at, reference := tableAlias{Table: s.table, alias: rowAlias}, selection.Reference
	for i, hop := range selection.Via {
		if err := s.typed(at, reference); err != nil {
			return err
		}
		parent, err := m.reader.shelf.table(hop.Table)
		if err != nil {
			return err
		}
		if parent == nil {
			return fmt.Errorf("table %s %w", hop.Table, errMissing)
		}
		to := tableAlias{parent.Table, fmt.Sprintf("p%d", i+1), parent}
		on, err := m.joined(at, reference, to, hop.Key)
		if err != nil {
			return err
		}
		s.joins = append(s.joins, " JOIN "+hop.Table.quoted()+" AS "+to.alias+" ON "+on)
		at, reference = to, hop.Reference
	}
	if err := s.typed(at, reference); err != nil {
		return err
	}
	var key []KeyColumn
	for _, name := range reference.Columns {
		if _, err := at.column(name); err != nil {
			return err
		}
		key = append(key, KeyColumn{Column: at.Index(name)})
	}
	alternatives := make([]string, 1+len(selection.Or))
	for i, in := range append([]string{selection.In}, selection.Or...) {
		values, err := keyValues(at.Table, key, in)
		if err != nil {
			return fatal("values %s: %w", in, err)
		}
		alternatives[i] = equal(at, key, values)
	}
	s.conditions = append(s.conditions, "("+strings.Join(alternatives, " OR ")+")")
	return nil
}

// typed limits a statement to rows whose polymorphic reference is of its type.
func (s *selector) typed(at tableAlias, reference Reference) error {
	if reference.TypeColumn == "" {
		return nil
	}
	column, err := at.column(reference.TypeColumn)
	if err != nil {
		return err
	}
	s.conditions = append(s.conditions, columnOf(at.alias, column)+" = "+literal(reference.TypeText))
	return nil
}

// joined compares a reference with the key of the rows that it leads to; nil
// means their primary key.
func (m *Moment) joined(from tableAlias, reference Reference, to tableAlias, key []string) (string, error) {
	if key == nil {
		for _, i := range to.Key {
			key = append(key, to.Columns[i].Name)
		}
	}
	if len(key) != len(reference.Columns) {
		return "", fatal("%d columns of %s point to a key of %d columns of %s", len(reference.Columns), from.Name, len(key), to.Name)
	}
	parts := make([]string, len(key))
	for i, name := range key {
		pointer, err := from.column(reference.Columns[i])
		if err != nil {
			return "", err
		}
		target, err := to.column(name)
		if err != nil {
			return "", err
		}
		value := columnOf(to.alias, target)
		if pointer.Kind == Text && target.Kind == Text {
			if value, err = m.collated(value, to, target, from, pointer); err != nil {
				return "", err
			}
		}
		parts[i] = columnOf(from.alias, pointer) + " = " + value
	}
	return strings.Join(parts, " AND "), nil
}

// collated gives a column the collation of the one that it is compared with, if
// it has another: the server would refuse to choose. An index of the latter
// serves still.
func (m *Moment) collated(value string, to tableAlias, target *Column, from tableAlias, pointer *Column) (string, error) {
	has, err := m.collation(to, target)
	if err != nil {
		return "", err
	}
	wants, err := m.collation(from, pointer)
	if err != nil || has == wants {
		return value, err
	}
	return fmt.Sprintf("CONVERT(%s USING %s) COLLATE %s", value, pointer.Charset, wants), nil
}

func (m *Moment) collation(t tableAlias, c *Column) (name string, err error) {
	if t.kept == nil {
		if t.kept, err = m.reader.shelf.table(t.Name); err != nil {
			return "", err
		}
	}
	if t.kept == nil {
		return "", fmt.Errorf("table %s %w", t.Name, errMissing)
	}
	return m.reader.shelf.collation(t.kept, c.Name)
}

// equal compares a key with values, column by column, since MariaDB does not
// find unsigned integers above 2^63 by tuples.
func equal(t tableAlias, key []KeyColumn, values []string) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = columnOf(t.alias, &t.Columns[key[i].Column]) + " = " + v
	}
	return strings.Join(parts, " AND ")
}

// keyValues turns the values of a JSON array into SQL literals.
func keyValues(t *Table, key []KeyColumn, text string) ([]string, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var values []any
	if err := decoder.Decode(&values); err != nil {
		return nil, err
	}
	if len(values) != len(key) {
		return nil, fmt.Errorf("%d values for %d columns", len(values), len(key))
	}
	out := make([]string, len(values))
	for i, v := range values {
		switch v.(type) {
		case string, json.Number:
		default:
			return nil, fmt.Errorf("%v is neither a string nor a number", v)
		}
		s := fmt.Sprint(v)
		switch t.Columns[key[i].Column].Kind {
		case Integer:
			if !wholeNumber(s) {
				return nil, fmt.Errorf("%q is no integer", s)
			}
			out[i] = s
		case Binary:
			data, err := base64.StdEncoding.DecodeString(s)
			if key[i].Cast == CastHex {
				data, err = hex.DecodeString(s)
			}
			if err != nil {
				return nil, err
			}
			out[i] = fmt.Sprintf("X'%x'", data)
		default:
			out[i] = literal(s)
		}
	}
	return out, nil
}

// wholeNumber says whether s is digits, perhaps with a minus before them.
func wholeNumber(s string) bool {
	digits := bytes.TrimPrefix([]byte(s), []byte("-"))
	for _, b := range digits {
		if b < '0' || b > '9' {
			return false
		}
	}
	return len(digits) > 0
}
