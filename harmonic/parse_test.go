package harmonic

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	good := string(AppendJSON(nil, &Harmonic{
		ID: NewID(1795368339789123, 7), Table: "todos", RecordID: []byte("42"), Operation: Update,
		Data: []byte(`{"id":42}`), CreatedAt: benchmarkRow.CreatedAt,
	}))
	if _, err := Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, old, new, want string }{
		{"not an object", good, `[1]`, "not a JSON object"},
		{"cut off", `"}`, `"`, "EOF"},
		{"more text", `39"}`, `39"} {}`, "more text after the object"},
		{"not UTF-8", "todos", "to\xffdos", "not UTF-8"},
		{"unknown field", `,"user_id"`, `,"mood":"good","user_id"`, `field "mood" is unknown`},
		{"missing field", `"user_id":null,`, ``, `field "user_id" is missing`},
		{"twice", `"user_id":null,`, `"user_id":null,"user_id":null,`, `field "user_id" is given twice`},
		{"data as an object", `"{\"id\":42}"`, `{"id":42}`, `field "data" is not a string`},
		{"data not an object", `"{\"id\":42}"`, `"[42]"`, `field "data" is not the text of a JSON object: not a JSON object`},
		{"data with a field twice", `"{\"id\":42}"`, `"{\"id\":42,\"id\":43}"`, `field "data" is not the text of a JSON object: field "id" is given twice`},
		{"foreign id", `01a2044a-c94d-7`, `01a2044a-c94d-4`, "not an id of chorusd"},
		{"operation", `"update"`, `"upsert"`, `operation "upsert" is none of create, update, delete`},
		{"user", `"user_id":null`, `"user_id":1`, `field "user_id" is not null`},
		{"ISO date", `2026-11-22 17:25:39`, `2026-11-22T17:25:39Z`, `field "created_at" is not of the form 2006-01-02 15:04:05`},
		{"null key", `"record_id":42`, `"record_id":null`, `field "record_id" is neither`},
		{"object as key", `"record_id":42`, `"record_id":{}`, `field "record_id" is neither`},
		{"key of one in an array", `"record_id":42`, `"record_id":[42]`, `field "record_id" is neither`},
		{"null in a composite key", `"record_id":42`, `"record_id":[42,null]`, `field "record_id" holds null`},
		{"rejected without a reason", `39"}`, `39","rejected":true}`, `field "rejected_reason" is missing`},
		{"not rejected", `39"}`, `39","rejected":false,"rejected_reason":""}`, `field "rejected" is not true`},
	} {
		text := strings.Replace(good, test.old, test.new, 1)
		if text == good {
			t.Fatalf("%s: changes nothing", test.name)
		}
		h, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Parse = %+v, %v, want %q", test.name, h, err, test.want)
		}
	}
}

func TestParseControlRefuses(t *testing.T) {
	const id = `"id":"01a2044a-c94d-707b-8123-456789abcdef"`
	for _, test := range []struct{ name, text, want string }{
		{"no type", `{` + id + `}`, `field "type" is missing`},
		{"no id", `{"type":"reload"}`, `field "id" is missing`},
		{"no table", `{"type":"reset",` + id + `}`, `field "table" is missing`},
		{"number as table", `{"type":"reset",` + id + `,"table":7}`, `field "table" is not a string`},
		{"another type's field", `{"type":"reset",` + id + `,"table":"t","scope":"s"}`, `field "scope" is unknown`},
		{"no condition", string(DeleteWhere{ID: NewID(1, 1), Table: "t"}.AppendJSON(nil)), `field "where" names no column`},
		{"rows that are none", `{"type":"scope-revoked",` + id + `,"scope":"platform:3","rows":[]}`, `field "rows" is not a list of rows`},
		{"rows without a table", `{"type":"scope-revoked",` + id + `,"scope":"platform:3","rows":[{"where":{"a":1}}]}`, `field "rows" has {"where":{"a":1}}: field "table" is missing`},
		{"rows without a condition", `{"type":"scope-revoked",` + id + `,"scope":"platform:3","rows":[{"table":"t","where":{}}]}`, `field "where" names no column`},
		{"condition on an array", `{"type":"delete-where",` + id + `,"table":"t","where":{"a":[1]}}`, `field "where" compares column "a"`},
		{"operation", `{"type":"pointer",` + id + `,"table":"t","record_id":1,"operation":"move"}`, `operation "move" is none`},
		{"text", `reload`, `parse control message`},
	} {
		m, err := ParseControl([]byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: ParseControl = %+v, %v, want %q", test.name, m, err, test.want)
		}
	}
}

// What Parse accepts, AppendJSON must be able to write so that it reads back
// as the same.
func FuzzParse(f *testing.F) {
	for _, c := range goldenCases() {
		if c.harmonic != nil {
			f.Add(AppendJSON(nil, c.harmonic))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(AppendJSON(nil, &h))
		if err != nil || !reflect.DeepEqual(again, h) {
			t.Errorf("%s reads as %+v, then as %+v, %v", text, h, again, err)
		}
	})
}

func FuzzParseControl(f *testing.F) {
	for _, c := range goldenCases() {
		if c.control != nil {
			f.Add(c.control.AppendJSON(nil))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseControl(text)
		if err != nil {
			return
		}
		written := m.AppendJSON(nil)
		again, err := ParseControl(written)
		if err != nil || !bytes.Equal(again.AppendJSON(nil), written) {
			t.Errorf("%s writes %s, then %+v, %v", text, written, again, err)
		}
	})
}
