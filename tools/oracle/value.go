package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kind is the type of a column.
type Kind int

// The kinds.
const (
	Int  Kind = iota // BIGINT
	Text             // VARCHAR
	UUID             // CHAR(36)
	Bool             // TINYINT(1)
	Time             // DATETIME(6)
)

// sqlType is the column type of a kind. Texts that are compared as keys have
// a collation that compares by bytes.
func (k Kind) sqlType(key bool) string {
	switch {
	case k == Int:
		return "BIGINT"
	case k == Bool:
		return "TINYINT(1)"
	case k == Time:
		return "DATETIME(6)"
	case k == UUID:
		return "CHAR(36) COLLATE utf8mb4_bin"
	case key:
		return "VARCHAR(40) COLLATE utf8mb4_bin"
	default:
		return "VARCHAR(80)"
	}
}

// Value is one scalar. The zero Value is NULL.
type Value struct {
	kind Kind
	text string // as the server writes it
	set  bool   // not NULL
}

func number(n int) Value { return Value{Int, fmt.Sprint(n), true} }

func timeValue(at time.Time) Value {
	return Value{Time, at.UTC().Format("2006-01-02 15:04:05.000000"), true}
}

func text(s string) Value { return Value{Text, s, true} }

// SQL is the value as a literal.
func (v Value) SQL() string {
	switch {
	case !v.set:
		return "NULL"
	case v.kind == Int || v.kind == Bool:
		return v.text
	default:
		return quoted(v.text)
	}
}

// quoted is a text as an SQL literal.
func quoted(s string) string { return "'" + quoting.Replace(s) + "'" }

var quoting = strings.NewReplacer(`\`, `\\`, "'", "''")

// JSON is the value as clients get it.
func (v Value) JSON() string {
	switch {
	case !v.set:
		return "null"
	case v.kind == Int:
		return v.text
	case v.kind == Bool:
		if v.text == "0" {
			return "false"
		}
		return "true"
	case v.kind == Time:
		return encoded(strings.Replace(v.text, " ", "T", 1) + "Z")
	default:
		return encoded(v.text)
	}
}

// encoded is a text as JSON, in one spelling.
func encoded(s string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		panic(err) // a string
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Key is a row's key.
type Key []Value

// JSON is the key as a harmonic's record_id.
func (k Key) JSON() string {
	if len(k) == 1 {
		return k[0].JSON()
	}
	parts := make([]string, len(k))
	for i, v := range k {
		parts[i] = v.JSON()
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// content is a row as somebody gets it, in one spelling: the fields by name.
func content(fields map[string]string) string {
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name + "=" + fields[name])
	}
	return b.String()
}

// parseData reads the data of a harmonic: its fields and the JSON of each in
// one spelling.
func parseData(data []byte) (map[string]string, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	fields := make(map[string]string, len(raw))
	for name, value := range raw {
		fields[name] = spelled(value)
	}
	return fields, nil
}

// spelled is a JSON value in one spelling.
func spelled(value []byte) string {
	var s string
	if value[0] == '"' && json.Unmarshal(value, &s) == nil {
		return encoded(s)
	}
	return string(value)
}
