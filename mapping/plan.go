package mapping

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
)

// Channel is one that a harmonic is for.
type Channel struct {
	Name string
	// User says that it is a user's own, not one that many share.
	User bool
}

// Harmonic is a change as some channels are to get it. Its Row is valid only
// while its giver says so.
type Harmonic struct {
	Plan      *Plan
	Operation harmonic.Operation
	Row       *binlog.Row
	Channels  []Channel
}

// Plan is one table of the TOML, fitted to one version of the database's table.
type Plan struct {
	rule   fitted
	table  *binlog.Table
	fields []field
	key    []binlog.KeyColumn
	keys   []binlog.Encoder
	scopes []compiledScope
	// columns that are read at all, in order.
	columns []int
	// decisive are the columns that say who sees a row.
	decisive []int

	unroutable            int // of the change at hand
	before, after, common []Channel
	data, record          []byte
}

type field struct {
	name  []byte // as JSON, with the colon
	value binlog.Encoder
}

// Table is the table's name as clients know it.
func (p *Plan) Table() string { return p.rule.name }

// ID tells the table from all others of the mapping: it is its name, and for
// one tenant's of a table by pattern, "todos@tenant_1", the database's, too.
func (p *Plan) ID() string { return p.rule.id() }

// Source is the version of the database's table that the plan fits.
func (p *Plan) Source() *binlog.Table { return p.table }

// Columns are those that the plan reads.
func (p *Plan) Columns() []int { return p.columns }

// Key is the record's key.
func (p *Plan) Key() []binlog.KeyColumn { return p.key }

// Event is the name of the event that carries an operation.
func (p *Plan) Event(op harmonic.Operation) string { return p.rule.events[op-harmonic.Create] }

// scopeKinds are the kinds whose values can stand in a channel's name.
var scopeKinds = map[binlog.Kind]bool{
	binlog.Integer: true, binlog.Text: true, binlog.Enum: true,
	binlog.UUID: true, binlog.Inet4: true,
}

// compile fits a rule to a table.
func compile(r fitted, t *binlog.Table, loc *time.Location) (*Plan, []Problem) {
	wrong := problems{table: r.name}
	p := &Plan{rule: r, table: t}
	casts := map[string]binlog.Cast{}
	for column, cast := range r.table.Casts {
		casts[column] = binlog.Cast(cast)
		if !slices.Contains(r.table.Fields, column) {
			wrong.add("casts", "%q is not one of fields", column)
		}
	}
	encoder := func(key, column string, cast binlog.Cast) (e binlog.Encoder, at int, ok bool) {
		if at = t.Index(column); at < 0 {
			wrong.add(key, "table %s has no column %q: it has %s", t.Name, column, columnNames(t))
			return e, at, false
		}
		e, err := t.Encoder(at, cast, loc)
		if err != nil {
			wrong.add(key, "%v", err)
			return e, at, false
		}
		if !slices.Contains(p.columns, at) {
			p.columns = append(p.columns, at)
		}
		return e, at, true
	}
	for _, name := range r.table.Fields {
		if e, _, ok := encoder("fields", name, casts[name]); ok {
			p.fields = append(p.fields, field{name: append(harmonic.AppendString(nil, name), ':'), value: e})
		}
	}
	for _, k := range p.keyColumns(&wrong) {
		e, at, ok := encoder("key", k, casts[k])
		if !ok {
			continue
		}
		kc := binlog.KeyColumn{Column: at, Cast: casts[k]}
		if problem := t.KeyProblem(kc); problem != "" {
			wrong.add("key", "column %q: %s", k, problem)
		}
		p.key, p.keys = append(p.key, kc), append(p.keys, e)
	}
	for _, s := range r.scopes {
		c := compiledScope{user: s.user}
		for _, part := range s.parts {
			cp := compiledPart{literal: part.literal}
			switch part.column {
			case "":
			case tenantColumn:
				cp.literal = r.tenant
				c.unnameable = c.unnameable || !plain([]byte(r.tenant))
			default:
				e, at, ok := encoder("visible_to", part.column, binlog.CastDefault)
				if !ok {
					continue
				}
				if kind := t.Columns[at].Kind; !scopeKinds[kind] {
					wrong.add("visible_to", "column %q of type %s cannot name a channel: use an integer, a text or a UUID", part.column, kind)
				}
				cp.column, cp.value = at, &e
				if !slices.Contains(p.decisive, at) {
					p.decisive = append(p.decisive, at)
				}
			}
			c.parts = append(c.parts, cp)
		}
		p.scopes = append(p.scopes, c)
	}
	return p, wrong.list
}

// keyColumns are the configured key, or else the table's own.
func (p *Plan) keyColumns(wrong *problems) []string {
	key := p.rule.table.Key
	if len(key) > 0 {
		if p.table.Unique == nil {
			return key // the log does not tell; the dictionary did
		}
		for _, unique := range p.table.Unique {
			if sameColumns(p.table, unique, key) {
				return key
			}
		}
		wrong.add("key", "no unique key of %s is made of %s: use one whose columns are all NOT NULL, or add it: "+
			"ALTER TABLE %s ADD UNIQUE (%s);", p.table.Name, strings.Join(key, ", "), p.table.Name, strings.Join(key, ", "))
		return nil
	}
	if len(p.table.Key) == 0 {
		wrong.add("key", "table %s has no primary key and no unique key without nullable columns, so a record cannot be told from others: ALTER TABLE %s ADD %s;",
			p.table.Name, p.table.Name, keyToAdd(p.table))
		return nil
	}
	for _, i := range p.table.Key {
		name := p.table.Columns[i].Name
		key = append(key, name)
		if !slices.ContainsFunc(p.rule.table.Fields, func(f string) bool { return strings.EqualFold(f, name) }) {
			wrong.add("fields", "the key column %q must be one of them, since clients find the record by it", name)
		}
	}
	return key
}

// keyToAdd is the primary key that a table most likely wants.
func keyToAdd(t *binlog.Table) string {
	if t.Index("id") >= 0 {
		return "PRIMARY KEY (id)"
	}
	return "COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"
}

func sameColumns(t *binlog.Table, unique []int, names []string) bool {
	if len(unique) != len(names) {
		return false
	}
	for _, n := range names {
		if !slices.Contains(unique, t.Index(n)) {
			return false
		}
	}
	return true
}

func columnNames(t *binlog.Table) string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// channels finds who may see a row.
func (p *Plan) channels(m *Mapper, dst []Channel, row *binlog.Row) ([]Channel, error) {
	for i := range p.scopes {
		s := &p.scopes[i]
		name, ok, bad, err := s.appendChannel(m.buf[:0], row)
		m.buf = name
		if err != nil {
			return dst, err
		}
		if bad {
			p.unroutable++
		}
		if !ok {
			continue
		}
		c := Channel{Name: m.intern(name), User: s.user}
		if !slices.Contains(dst, c) {
			dst = append(dst, c)
		}
	}
	return dst, nil
}

// Sees says whether a row is to be seen on a channel.
func (p *Plan) Sees(m *Mapper, row *binlog.Row, channel string) (bool, error) {
	var err error
	p.after, err = p.channels(m, p.after[:0], row)
	return slices.ContainsFunc(p.after, func(c Channel) bool { return c.Name == channel }), err
}

func (p *Plan) mapChange(m *Mapper, c *binlog.Change, give func(*Harmonic) error) error {
	p.unroutable = 0
	var err error
	h := Harmonic{Plan: p}
	switch c.Kind {
	case binlog.Insert:
		if p.after, err = p.channels(m, p.after[:0], c.After); err != nil {
			return err
		}
		return h.give(harmonic.Create, c.After, p.after, give)
	case binlog.Delete:
		if p.before, err = p.channels(m, p.before[:0], c.Before); err != nil {
			return err
		}
		return h.give(harmonic.Delete, c.Before, p.before, give)
	}
	if p.before, err = p.channels(m, p.before[:0], c.Before); err != nil {
		return err
	}
	if !p.same(c, p.decisive) {
		if p.after, err = p.channels(m, p.after[:0], c.After); err != nil {
			return err
		}
	} else {
		p.after = append(p.after[:0], p.before...)
	}
	p.common = p.common[:0]
	if p.sameKey(c) {
		for _, ch := range p.before {
			if slices.Contains(p.after, ch) {
				p.common = append(p.common, ch)
			}
		}
		kept := func(ch Channel) bool { return slices.Contains(p.common, ch) }
		p.before, p.after = slices.DeleteFunc(p.before, kept), slices.DeleteFunc(p.after, kept)
	}
	if err := h.give(harmonic.Delete, c.Before, p.before, give); err != nil {
		return err
	}
	if !p.sameFields(c) {
		if err := h.give(harmonic.Update, c.After, p.common, give); err != nil {
			return err
		}
	}
	return h.give(harmonic.Create, c.After, p.after, give)
}

func (h *Harmonic) give(op harmonic.Operation, row *binlog.Row, to []Channel, give func(*Harmonic) error) error {
	if len(to) == 0 {
		return nil
	}
	h.Operation, h.Row, h.Channels = op, row, to
	return give(h)
}

func (p *Plan) same(c *binlog.Change, columns []int) bool {
	for _, i := range columns {
		if !c.After.Same(c.Before, i) {
			return false
		}
	}
	return true
}

func (p *Plan) sameKey(c *binlog.Change) bool {
	for _, k := range p.key {
		if !c.After.Same(c.Before, k.Column) {
			return false
		}
	}
	return true
}

func (p *Plan) sameFields(c *binlog.Change) bool {
	for i := range p.fields {
		if !p.fields[i].value.Same(c.After, c.Before) {
			return false
		}
	}
	return true
}

// AppendKey writes the record's key: the JSON array of its columns' values.
func (p *Plan) AppendKey(dst []byte, row *binlog.Row) ([]byte, error) {
	var err error
	dst = append(dst, '[')
	for i := range p.keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = p.keys[i].Append(dst, row); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// AppendPayload writes the event's data for the harmonic with this id.
func (h *Harmonic) AppendPayload(dst []byte, id harmonic.ID, at time.Time) ([]byte, error) {
	p := h.Plan
	var err error
	p.data = append(p.data[:0], '{')
	for i := range p.fields {
		f := &p.fields[i]
		if i > 0 {
			p.data = append(p.data, ',')
		}
		if p.data, err = f.value.Append(append(p.data, f.name...), h.Row); err != nil {
			return dst, err
		}
	}
	p.data = append(p.data, '}')
	if p.record, err = p.AppendKey(p.record[:0], h.Row); err != nil {
		return dst, err
	}
	return p.appendPayload(dst, id, at, h.Operation), nil
}

// appendPayload writes the payload of p.data and p.record.
func (p *Plan) appendPayload(dst []byte, id harmonic.ID, at time.Time, op harmonic.Operation) []byte {
	record := p.record
	if len(p.keys) == 1 {
		record = record[1 : len(record)-1]
	}
	w := harmonic.Harmonic{ID: id, Table: p.rule.name, RecordID: record, Operation: op, Data: p.data, CreatedAt: at}
	switch p.rule.payload {
	case PayloadModel:
		return harmonic.AppendModelJSON(dst, &w)
	case PayloadData:
		return append(dst, p.data...)
	default:
		return harmonic.AppendJSON(dst, &w)
	}
}

// AppendGone writes the payload that takes a record away of which only the
// key is known, as AppendKey wrote it.
func (p *Plan) AppendGone(dst []byte, id harmonic.ID, at time.Time, key string) ([]byte, error) {
	var values []json.RawMessage
	if err := json.Unmarshal([]byte(key), &values); err != nil || len(values) != len(p.key) {
		return dst, fmt.Errorf("key %s of %s is not one of %d columns: %w", key, p.rule.name, len(p.key), err)
	}
	p.record = append(p.record[:0], key...)
	p.data = append(p.data[:0], '{')
	for i, k := range p.key {
		if i > 0 {
			p.data = append(p.data, ',')
		}
		p.data = append(harmonic.AppendString(p.data, p.table.Columns[k.Column].Name), ':')
		p.data = append(p.data, values[i]...)
	}
	p.data = append(p.data, '}')
	return p.appendPayload(dst, id, at, harmonic.Delete), nil
}
