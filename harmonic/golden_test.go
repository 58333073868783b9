package harmonic

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the goldens in testdata anew")

// golden is one file of testdata; WIRE.md, "Goldens", describes it.
type golden struct {
	Name    string          `json:"name"`
	About   string          `json:"about"`
	Event   string          `json:"event"`
	Data    string          `json:"data"`
	Message json.RawMessage `json:"message"`
	Row     json.RawMessage `json:"row,omitempty"`
	ID      *goldenID       `json:"id,omitempty"`
}

type goldenID struct {
	Seq        uint64 `json:"seq"`
	Generation string `json:"generation"` // decimal, since JavaScript's numbers are too small for it
}

// goldenCase is what one golden is made of: a harmonic, a model broadcast of
// one, or a control message.
type goldenCase struct {
	name, about string
	harmonic    *Harmonic
	modelEvent  string
	control     Control
}

func goldenCases() []goldenCase {
	id := func(micros Seq) ID { return NewID(1795368339789000+micros, 0x0123456789abcdef) }
	at := time.Date(2026, 11, 22, 17, 25, 39, 0, time.UTC)
	const uuid = "01a2044a-c617-7000-8000-000000000001"
	todo := func(micros Seq, op Operation, data string) *Harmonic {
		return &Harmonic{
			ID: id(micros), Table: "todos", RecordID: []byte(`"` + uuid + `"`),
			Operation: op, Data: []byte(data), CreatedAt: at,
		}
	}
	return []goldenCase{
		{
			name: "harmonic-create", about: "a new row; the key is a UUID made by the client",
			harmonic: todo(1, Create, `{"id":"`+uuid+`","user_id":1,"title":"Buy milk","done":false,"price":"0.00","meta":null,"completed_at":null,"updated_at":"2026-11-22T17:25:39.000000Z"}`),
		},
		{
			name: "harmonic-update", about: "all fields, not only the changed ones",
			harmonic: todo(2, Update, `{"id":"`+uuid+`","user_id":1,"title":"Buy milk","done":true,"price":"0.00","meta":null,"completed_at":"2026-11-22T17:25:39.123456Z","updated_at":"2026-11-22T17:25:39.000000Z"}`),
		},
		{
			name: "harmonic-delete", about: "the last values the receiver could see",
			harmonic: todo(3, Delete, `{"id":"`+uuid+`","user_id":1,"title":"Buy milk","done":true,"price":"0.00","meta":null,"completed_at":"2026-11-22T17:25:39.123456Z","updated_at":"2026-11-22T17:25:39.000000Z"}`),
		},
		{
			name: "harmonic-text", about: "quotes, backslash, line ends, control characters, line separators and non-ASCII; inside data they are escaped twice",
			harmonic: todo(4, Create, `{"id":"`+uuid+`","user_id":1,"title":`+string(AppendString(nil, "café ☕ \"q\" \\ \n\t\x01 \u2028 𝄞 <b>&</b>"))+`}`),
		},
		{
			name: "harmonic-values", about: "decimal as a string with its scale, null, boolean, float, JSON column, date, time, binary as base64",
			harmonic: todo(5, Update, `{"id":"`+uuid+`","price":"9.50","big":"12345678901234567890.1234","done":false,"rating":4.5,"note":null,"meta":{"a":[1,2.5,"x",null],"b":{}},"due":"2026-12-24","at":"08:30:00","blob":"AAEC/w=="}`),
		},
		{
			name: "harmonic-integer-key", about: "record_id has the JSON type that the key has in data: here a number",
			harmonic: &Harmonic{
				ID: id(6), Table: "posts", RecordID: []byte(`42`), Operation: Update,
				Data: []byte(`{"id":42,"title":"Hello"}`), CreatedAt: at,
			},
		},
		{
			name: "harmonic-big-integer", about: "a BIGINT beyond 2^53 under the cast \"string\", as key and as field",
			harmonic: &Harmonic{
				ID: id(7), Table: "events", RecordID: []byte(`"9223372036854775807"`), Operation: Create,
				Data: []byte(`{"id":"9223372036854775807","parent_id":"18446744073709551615","count":9007199254740991}`), CreatedAt: at,
			},
		},
		{
			name: "harmonic-composite-key", about: "record_id is the array of the key's values in key order",
			harmonic: &Harmonic{
				ID: id(8), Table: "post_tag", RecordID: []byte(`[3,"a"]`), Operation: Delete,
				Data: []byte(`{"post_id":3,"tag":"a","position":1}`), CreatedAt: at,
			},
		},
		{
			name: "harmonic-rejected", about: "the app refused a client's write; data is what the client had asked for",
			harmonic: &Harmonic{
				ID: id(9), Table: "todos", RecordID: []byte(`"` + uuid + `"`), Operation: Update,
				Data: []byte(`{"id":"` + uuid + `","title":""}`), CreatedAt: at,
				Rejected: true, RejectedReason: `Validation failed: {"title":["The title field is required."]}`,
			},
		},
		{
			name: "model-created", about: "broadcast = \"model\": what Laravel sends for App\\Models\\Todo; there is no id and no order",
			modelEvent: "TodoCreated", harmonic: todo(10, Create, `{"id":"`+uuid+`","user_id":1,"title":"Buy milk","done":false}`),
		},
		{
			name: "model-deleted", about: "broadcast = \"model\" on a delete: the last values",
			modelEvent: "TodoDeleted", harmonic: todo(11, Delete, `{"id":"`+uuid+`","user_id":1,"title":"Buy milk","done":true}`),
		},
		{name: "control-reset", about: "todos was truncated or dropped", control: Reset{ID: id(20), Table: "todos"}},
		{name: "control-reload-all", about: "load everything again", control: Reload{ID: id(21)}},
		{name: "control-reload-scope", about: "load a scope again", control: Reload{ID: id(22), Scope: "platform:3"}},
		{name: "control-reload-table", about: "load one table of a scope again", control: Reload{ID: id(23), Scope: "platform:3", Table: "todos"}},
		{
			name: "control-recheck", about: "the record may be gone without a trace in the binlog",
			control: Recheck{ID: id(24), Table: "comments", RecordID: []byte(`42`)},
		},
		{
			name: "control-delete-where", about: "a cascade that the binlog does not show: all comments of post 3 are gone",
			control: DeleteWhere{ID: id(25), Table: "comments", Where: []Match{{"post_id", []byte(`3`)}}},
		},
		{
			name: "control-delete-where-composite", about: "all conditions must hold",
			control: DeleteWhere{ID: id(26), Table: "comments", Where: []Match{{"tenant", []byte(`"a \"b\""`)}, {"post_id", []byte(`3`)}}},
		},
		{
			name: "control-pointer", about: "a harmonic too large to send",
			control: Pointer{ID: id(27), Table: "documents", RecordID: []byte(`[3,"a"]`), Operation: Update},
		},
		{name: "control-scope-granted", about: "the user joined platform 3", control: ScopeGranted{ID: id(28), Scope: "platform:3"}},
		{name: "control-scope-revoked", about: "the user left platform 3", control: ScopeRevoked{ID: id(29), Scope: "platform:3"}},
		{
			name: "control-scope-revoked-rows", about: "the user left platform 3, and these are its rows", control: ScopeRevoked{ID: id(29), Scope: "platform:3", Rows: []Rows{
				{Table: "messages", Where: []Match{{"platform_id", []byte(`3`)}}},
				{Table: "files", Where: []Match{{"platform_id", []byte(`3`)}}},
				{Table: "files", Where: []Match{{"shared_with", []byte(`3`)}}},
			}},
		},
		{name: "control-schema", about: "todos has other columns now", control: Schema{ID: id(30), Table: "todos", Version: "3f2a9c"}},
	}
}

// make builds the golden as the package writes it today.
func (c goldenCase) make(t *testing.T) golden {
	g := golden{Name: c.name, About: c.about}
	switch {
	case c.modelEvent != "":
		g.Event, g.Data = c.modelEvent, string(AppendModelJSON(nil, c.harmonic))
		g.Row = c.harmonic.Data
	case c.harmonic != nil:
		g.Event, g.Data = EventCreated, string(AppendJSON(nil, c.harmonic))
		g.Row = c.harmonic.Data
		g.ID = &goldenID{uint64(c.harmonic.ID.Seq()), strconv.FormatUint(uint64(c.harmonic.ID.Generation()), 10)}
	default:
		g.Event, g.Data = EventControl, string(c.control.AppendJSON(nil))
	}
	g.Message = json.RawMessage(g.Data)
	if !json.Valid(g.Message) {
		t.Fatalf("%s: not JSON: %s", c.name, g.Data)
	}
	return g
}

func (g golden) encode(t *testing.T) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(g); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestGoldens(t *testing.T) {
	var files []string
	for _, c := range goldenCases() {
		file := filepath.Join("testdata", c.name+".json")
		files = append(files, file)
		t.Run(c.name, func(t *testing.T) {
			want := c.make(t)
			if *update {
				if err := os.WriteFile(file, want.encode(t), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got golden
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if got.Event != want.Event || got.Data != want.Data {
				t.Errorf("wrote %s %s\ngolden %s %s", want.Event, want.Data, got.Event, got.Data)
			}
			if !bytes.Equal(text, want.encode(t)) {
				t.Errorf("%s is out of date; look at the difference of go test -update", file)
			}
			c.parse(t, got)
		})
	}
	there, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	if !slices.Equal(there, files) {
		t.Errorf("testdata holds %v, want %v", there, files)
	}
}

// parse reads the golden's data back and compares with what it was made of.
func (c goldenCase) parse(t *testing.T, g golden) {
	switch {
	case c.modelEvent != "":
		var payload struct{ Model json.RawMessage }
		if err := json.Unmarshal([]byte(g.Data), &payload); err != nil || string(payload.Model) != string(c.harmonic.Data) {
			t.Errorf("model = %s, %v", payload.Model, err)
		}
	case c.harmonic != nil:
		h, err := Parse([]byte(g.Data))
		if err != nil || !reflect.DeepEqual(h, *c.harmonic) {
			t.Errorf("Parse = %+v, %v\nwant    %+v", h, err, *c.harmonic)
		}
	default:
		m, err := ParseControl([]byte(g.Data))
		if err != nil || !reflect.DeepEqual(m, c.control) {
			t.Errorf("ParseControl = %+v, %v\nwant           %+v", m, err, c.control)
		}
	}
}

func TestEveryControlTypeHasAGolden(t *testing.T) {
	have := map[string]bool{}
	for _, c := range goldenCases() {
		if c.control != nil {
			have[c.control.Type()] = true
		}
	}
	for _, kind := range []string{TypeReset, TypeReload, TypeRecheck, TypeDeleteWhere, TypePointer, TypeScopeGranted, TypeScopeRevoked, TypeSchema} {
		if !have[kind] {
			t.Errorf("no golden of %s", kind)
		}
	}
}

func TestUnknownControl(t *testing.T) {
	_, err := ParseControl([]byte(`{"type":"dance","id":"01a2044a-c64d-707b-8123-456789abcdef","tempo":120}`))
	if !errors.Is(err, ErrUnknownControl) {
		t.Errorf("error = %v, want ErrUnknownControl", err)
	}
}
