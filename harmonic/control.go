package harmonic

import (
	"errors"
	"fmt"
)

// EventControl is the Pusher event that carries every message but harmonics.
// Stock Chorus clients do not listen for it.
const EventControl = "chorusd.control"

// Control is a message of EventControl: one of the types below, by value. Each
// carries an id in the order of harmonics: it speaks of what was true there.
type Control interface {
	// Type is the message's "type" on the wire.
	Type() string
	// AppendJSON appends the message's payload to dst.
	AppendJSON(dst []byte) []byte
}

// The types of control messages on the wire.
const (
	TypeReset        = "reset"
	TypeReload       = "reload"
	TypeRecheck      = "recheck"
	TypeDeleteWhere  = "delete-where"
	TypePointer      = "pointer"
	TypeScopeGranted = "scope-granted"
	TypeScopeRevoked = "scope-revoked"
	TypeSchema       = "schema"
)

// Reset says that the table was truncated or dropped: drop all its rows.
type Reset struct {
	ID    ID
	Table string
}

// Reload says that changes were not kept one by one: load the scope again, or
// only its rows of Table. Without a scope it means all that the user has.
type Reload struct {
	ID    ID
	Scope string // "" for all scopes
	Table string // "" for all tables
}

// Recheck says that the record may be gone or changed without a trace in the
// binlog: ask the sync API for it.
type Recheck struct {
	ID       ID
	Table    string
	RecordID []byte // as in Harmonic
}

// DeleteWhere says that all rows of the table whose columns equal all given
// values are gone.
type DeleteWhere struct {
	ID    ID
	Table string
	Where []Match // at least one
}

// Match is one column's wanted value.
type Match struct {
	Column string
	Value  []byte // JSON scalar, in the form the column has in Harmonic.Data
}

// Pointer stands for a harmonic too large to send: fetch the record, or drop it
// if Operation is Delete.
type Pointer struct {
	ID        ID
	Table     string
	RecordID  []byte // as in Harmonic
	Operation Operation
}

// ScopeGranted says that the user may now see the scope's rows, which follow.
type ScopeGranted struct {
	ID    ID
	Scope string
}

// ScopeRevoked says that the user is in the scope no more: drop the rows that
// are described. Those among them that the user may see by something else
// follow, and rows of tables that are not described are deleted one by one.
type ScopeRevoked struct {
	ID    ID
	Scope string
	Rows  []Rows
}

// Rows are those of a table whose columns equal all given values.
type Rows struct {
	Table string
	Where []Match // at least one
}

// Schema says that the table's synced shape changed: fetch the schema and load
// the table again.
type Schema struct {
	ID      ID
	Table   string
	Version string // compared for equality only
}

// Type implements Control.
func (Reset) Type() string { return TypeReset }

// Type implements Control.
func (Reload) Type() string { return TypeReload }

// Type implements Control.
func (Recheck) Type() string { return TypeRecheck }

// Type implements Control.
func (DeleteWhere) Type() string { return TypeDeleteWhere }

// Type implements Control.
func (Pointer) Type() string { return TypePointer }

// Type implements Control.
func (ScopeGranted) Type() string { return TypeScopeGranted }

// Type implements Control.
func (ScopeRevoked) Type() string { return TypeScopeRevoked }

// Type implements Control.
func (Schema) Type() string { return TypeSchema }

// AppendJSON implements Control.
func (m Reset) AppendJSON(dst []byte) []byte {
	return open(dst, m, m.ID).text("table", m.Table).close()
}

// AppendJSON implements Control.
func (m Reload) AppendJSON(dst []byte) []byte {
	return open(dst, m, m.ID).optional("scope", m.Scope).optional("table", m.Table).close()
}

// AppendJSON implements Control.
func (m Recheck) AppendJSON(dst []byte) []byte {
	return open(dst, m, m.ID).text("table", m.Table).raw("record_id", m.RecordID).close()
}

// AppendJSON implements Control.
func (m DeleteWhere) AppendJSON(dst []byte) []byte {
	return open(dst, m, m.ID).text("table", m.Table).matches("where", m.Where).close()
}

// AppendJSON implements Control.
func (m Pointer) AppendJSON(dst []byte) []byte {
	return open(dst, m, m.ID).text("table", m.Table).raw("record_id", m.RecordID).
		text("operation", m.Operation.String()).close()
}

// AppendJSON implements Control.
func (m ScopeGranted) AppendJSON(dst []byte) []byte {
	return open(dst, m, m.ID).text("scope", m.Scope).close()
}

// AppendJSON implements Control.
func (m ScopeRevoked) AppendJSON(dst []byte) []byte {
	o := open(dst, m, m.ID).text("scope", m.Scope)
	if len(m.Rows) == 0 {
		return o.close()
	}
	separator := byte('[')
	o = o.raw("rows", nil)
	for _, rows := range m.Rows {
		o = append(o, separator)
		o = append(o, `{"table":`...)
		o = object(AppendString(o, rows.Table)).matches("where", rows.Where).close()
		separator = ','
	}
	return append(o, ']').close()
}

// AppendJSON implements Control.
func (m Schema) AppendJSON(dst []byte) []byte {
	return open(dst, m, m.ID).text("table", m.Table).text("version", m.Version).close()
}

// object is the JSON text of an object that is still open.
type object []byte

func open(dst []byte, m Control, id ID) object {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, m.Type()...)
	dst = append(dst, `","id":"`...)
	return append(id.append(dst), '"')
}

func (o object) raw(name string, value []byte) object {
	o = append(o, `,"`...)
	o = append(o, name...)
	o = append(o, `":`...)
	return append(o, value...)
}

func (o object) text(name, value string) object {
	return AppendString(o.raw(name, nil), value)
}

func (o object) matches(name string, where []Match) object {
	o = o.raw(name, []byte("{"))
	for i, match := range where {
		if i > 0 {
			o = append(o, ',')
		}
		o = append(AppendString(o, match.Column), ':')
		o = append(o, match.Value...)
	}
	return append(o, '}')
}

func (o object) optional(name, value string) object {
	if value == "" {
		return o
	}
	return o.text(name, value)
}

func (o object) close() []byte { return append(o, '}') }

// ErrUnknownControl is returned for a control message of a type that this
// version does not know. WIRE.md asks clients to take it for a Reload of all.
var ErrUnknownControl = errors.New("unknown type of control message")

// ParseControl reads what AppendJSON of one of the Control types wrote, as
// strictly as Parse; the error wraps ErrUnknownControl for another type.
func ParseControl(text []byte) (Control, error) {
	f, err := readFields(text)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	var m Control
	kind, id := f.text("type"), f.id("id")
	switch kind {
	case TypeReset:
		m = Reset{ID: id, Table: f.text("table")}
	case TypeReload:
		m = Reload{ID: id, Scope: f.optionalText("scope"), Table: f.optionalText("table")}
	case TypeRecheck:
		m = Recheck{ID: id, Table: f.text("table"), RecordID: f.key("record_id")}
	case TypeDeleteWhere:
		m = DeleteWhere{ID: id, Table: f.text("table"), Where: f.matches("where")}
	case TypePointer:
		m = Pointer{ID: id, Table: f.text("table"), RecordID: f.key("record_id"), Operation: f.operation("operation")}
	case TypeScopeGranted:
		m = ScopeGranted{ID: id, Scope: f.text("scope")}
	case TypeScopeRevoked:
		m = ScopeRevoked{ID: id, Scope: f.text("scope"), Rows: f.rows("rows")}
	case TypeSchema:
		m = Schema{ID: id, Table: f.text("table"), Version: f.text("version")}
	default:
		if f.err == nil {
			return nil, fmt.Errorf("%w: %q", ErrUnknownControl, kind)
		}
	}
	if err := f.done(); err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	return m, nil
}
