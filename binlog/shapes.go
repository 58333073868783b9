package binlog

import (
	"encoding/json"
	"fmt"
	"slices"
)

// history is what the server's dictionary told of tables, by where in the log
// that was so. The log with FULL metadata needs little of it, one without all.
type history struct {
	of map[TableName][]*shape // the oldest first
}

// shape is an answer of the dictionary.
type shape struct {
	// at is a position where the table looked so, if no statement changed it
	// from there up to where the log ended after the dictionary was asked.
	at, upto Position
	answer   dictionaryAnswer
	table    *Table // nil: there was none

	judged bool // whether there was such a statement is known
	wrong  bool // there was
}

// shapeText is the text form of a shape.
type shapeText struct {
	Schema, Table string
	At, Upto      string
	Answer        dictionaryAnswer
}

// at returns what is known of a table at a position; nil if nothing is.
func (s *history) at(name TableName, p Position) *shape {
	for _, known := range slices.Backward(s.of[name]) {
		if p.Covers(known.at) {
			return known
		}
	}
	return nil
}

// add keeps an answer that holds from a position on.
func (s *history) add(name TableName, added *shape) {
	list := s.of[name]
	i := len(list)
	for i > 0 && list[i-1].at.Covers(added.at) {
		i--
	}
	s.of[name] = slices.Insert(list, i, added)
}

// only forgets other tables than these: what was done to those is not followed.
func (s *history) only(wanted *watched) {
	for name := range s.of {
		if !wanted.has(name) {
			delete(s.of, name)
		}
	}
}

// text is what parseShapes reads, without what is not needed to read on from
// settled or later.
func (s *history) text(settled Position) string {
	list := []shapeText{}
	for name, known := range s.of {
		first := 0
		for i := range known {
			if settled.Covers(known[i].at) {
				first = i
			}
		}
		s.of[name] = known[first:]
		for _, k := range known[first:] {
			list = append(list, shapeText{name.Schema, name.Table, k.at.String(), k.upto.String(), k.answer})
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings and bytes only
	}
	return string(text)
}

func parseShapes(text string) (*history, error) {
	s := &history{of: map[TableName][]*shape{}}
	if text == "" {
		return s, nil
	}
	var list []shapeText
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("read the shapes of tables: %w", err)
	}
	for _, k := range list {
		name := TableName{k.Schema, k.Table}
		if !k.Answer.fits() {
			continue // another version of chorusd asked for something else
		}
		one := &shape{answer: k.Answer, table: k.Answer.tableOf(name)}
		var err error
		if one.at, err = ParsePosition(k.At); err == nil {
			one.upto, err = ParsePosition(k.Upto)
		}
		if err != nil {
			return nil, fmt.Errorf("read the shapes of tables: %w", err)
		}
		s.of[name] = append(s.of[name], one)
	}
	return s, nil
}

// Recall gives back what an earlier run's Definition.Shapes gave last, so that
// rows from before a statement are read as tables looked then. It is to be
// called before Run; without it, such rows are refused where the log itself
// does not say.
func (s *Source) Recall(text string) (err error) {
	s.shapes, err = parseShapes(text)
	return err
}
