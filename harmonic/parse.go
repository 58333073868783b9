package harmonic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// Parse reads what AppendJSON wrote. It is for tests and tools and strict where
// clients are lenient: a field that is unknown, missing, given twice or of
// another form is an error. RecordID is returned without insignificant space.
func Parse(text []byte) (Harmonic, error) {
	f, err := readFields(text)
	if err != nil {
		return Harmonic{}, fmt.Errorf("parse harmonic: %w", err)
	}
	h := Harmonic{
		ID:        f.id("id"),
		Table:     f.text("table_name"),
		RecordID:  f.key("record_id"),
		Operation: f.operation("operation"),
		Data:      f.objectText("data"),
	}
	f.null("user_id")
	h.CreatedAt = f.time("created_at", createdAt)
	if f.has("rejected") {
		h.Rejected = f.isTrue("rejected")
		h.RejectedReason = f.text("rejected_reason")
	}
	if err := f.done(); err != nil {
		return Harmonic{}, fmt.Errorf("parse harmonic: %w", err)
	}
	return h, nil
}

// fields is a JSON object taken apart. Its readers take one field each and
// remember the first error; done tells it, or which field nobody took.
type fields struct {
	names  []string // in the object's order
	values map[string]json.RawMessage
	err    error
}

func readFields(text []byte) (*fields, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil {
		return nil, err
	} else if t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	f := &fields{values: map[string]json.RawMessage{}}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name := t.(string) // the decoder accepts nothing else before a value
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		if _, twice := f.values[name]; twice {
			return nil, fmt.Errorf("field %q is given twice", name)
		}
		f.names = append(f.names, name)
		f.values[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more text after the object")
	}
	return f, nil
}

func (f *fields) fail(name, format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("field %q %s", name, fmt.Sprintf(format, args...))
	}
}

func (f *fields) has(name string) bool {
	_, ok := f.values[name]
	return ok
}

func (f *fields) take(name string) json.RawMessage {
	value, ok := f.values[name]
	if !ok {
		f.fail(name, "is missing")
	}
	delete(f.values, name)
	return value
}

func (f *fields) text(name string) string {
	value := f.take(name)
	if f.err != nil {
		return ""
	}
	var s string
	if value[0] != '"' || json.Unmarshal(value, &s) != nil {
		f.fail(name, "is not a string")
	}
	return s
}

func (f *fields) optionalText(name string) string {
	if !f.has(name) {
		return ""
	}
	return f.text(name)
}

func (f *fields) id(name string) ID {
	text := f.text(name)
	if f.err != nil {
		return ID{}
	}
	id, err := ParseID(text)
	if err != nil {
		f.err = fmt.Errorf("field %q: %w", name, err)
	}
	return id
}

func (f *fields) operation(name string) Operation {
	text := f.text(name)
	if f.err != nil {
		return 0
	}
	op, err := ParseOperation(text)
	if err != nil {
		f.err = fmt.Errorf("field %q: %w", name, err)
	}
	return op
}

// key takes a record's key: a number, a string, or an array of two or more.
func (f *fields) key(name string) []byte {
	value := f.take(name)
	if f.err != nil {
		return nil
	}
	var parts []json.RawMessage
	switch {
	case isKeyPart(value):
	case json.Unmarshal(value, &parts) == nil && len(parts) > 1:
		for _, part := range parts {
			if !isKeyPart(part) {
				f.fail(name, "holds %s, which is neither number nor string", part)
			}
		}
	default:
		f.fail(name, "is neither a number nor a string nor an array of such")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		f.fail(name, "is not JSON")
	}
	return compact.Bytes()
}

func isKeyPart(value []byte) bool {
	return value[0] == '"' || value[0] == '-' || '0' <= value[0] && value[0] <= '9'
}

// objectText takes a string that is the JSON text of an object.
func (f *fields) objectText(name string) []byte {
	text := f.text(name)
	if f.err != nil {
		return nil
	}
	if _, err := readFields([]byte(text)); err != nil {
		f.fail(name, "is not the text of a JSON object: %v", err)
	}
	return []byte(text)
}

// rows takes a list of them, which may be missing.
func (f *fields) rows(name string) []Rows {
	if !f.has(name) {
		return nil
	}
	var texts []json.RawMessage
	if value := f.take(name); f.err != nil || json.Unmarshal(value, &texts) != nil || len(texts) == 0 {
		f.fail(name, "is not a list of rows")
		return nil
	}
	list := make([]Rows, len(texts))
	for i, text := range texts {
		one, err := readFields(text)
		if err == nil {
			list[i] = Rows{Table: one.text("table"), Where: one.matches("where")}
			err = one.done()
		}
		if err != nil {
			f.fail(name, "has %s: %v", text, err)
			return nil
		}
	}
	return list
}

func (f *fields) matches(name string) []Match {
	value := f.take(name)
	if f.err != nil {
		return nil
	}
	where, err := readFields(value)
	if err != nil {
		f.fail(name, "is not an object of columns: %v", err)
		return nil
	}
	if len(where.names) == 0 {
		f.fail(name, "names no column")
	}
	matches := make([]Match, 0, len(where.names))
	for _, column := range where.names {
		v := where.values[column]
		if v[0] == '{' || v[0] == '[' {
			f.fail(name, "compares column %q with something that is not a scalar", column)
		}
		matches = append(matches, Match{Column: column, Value: v})
	}
	return matches
}

func (f *fields) time(name, layout string) time.Time {
	text := f.text(name)
	if f.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		f.fail(name, "is not of the form %s", layout)
	}
	return t
}

func (f *fields) null(name string) {
	if value := f.take(name); f.err == nil && string(value) != "null" {
		f.fail(name, "is not null")
	}
}

func (f *fields) isTrue(name string) bool {
	if value := f.take(name); f.err == nil && string(value) != "true" {
		f.fail(name, "is not true")
	}
	return f.err == nil
}

func (f *fields) done() error {
	for _, name := range f.names {
		if f.has(name) {
			f.fail(name, "is unknown")
		}
	}
	return f.err
}
