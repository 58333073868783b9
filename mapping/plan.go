package mapping

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping/filter"
)

// Harmonic is a change as some are to get it. It is valid only while its giver
// says so.
type Harmonic struct {
	Plan      *Plan
	Operation harmonic.Operation
	Row       *binlog.Row
	// Variant is what they get of the row.
	Variant Variant
	// First says that the harmonic takes a position; those that follow with
	// the same plan and operation are other variants of it and share it.
	First bool
	// Users see the row by the view. Some may have no active channel of the
	// plan's template.
	Users []*User
	// Shared are channels that Laravel authorises.
	Shared []string
	// Absent are the channels of users who may see the row by its own columns
	// and are not connected by the view. Of a plan that is not Direct there
	// are none.
	Absent []string
	// Streams are where the record's key is kept for those who are not there.
	// Only the first of a position has them.
	Streams []ScopeKey
}

// Plan is one table of the TOML, fitted to one version of the database's
// table. It is for one goroutine.
type Plan struct {
	mapper   *Mapper
	rule     fitted
	table    *binlog.Table
	fields   []field
	key      []binlog.KeyColumn
	keys     []binlog.Encoder
	keyNames []string // the key's fields

	alternatives []alternative
	where        *filter.Filter // nil: every row
	bounded      bool           // the filter has a bound of time
	conditions   []*filter.Filter
	judged       []judgement
	filtered     bool  // the filter is one of them
	each         bool  // some judgements are of each user
	byAttributes []int // what the others are by

	// direct says that the rows and their parents tell all who see them, by
	// name; exact that the row alone does, whatever the time.
	direct, exact bool
	hops          bool // some keys come through parents
	made          bool // some fields are not a column as it is
	unnameable    bool // the tenant's name cannot stand in a channel's

	columns  []int // that are read at all, in order
	sources  []int // that fields are made of; first what changed last
	decisive []int // that say who sees a row
	varying  []int // that say which variant they see

	policy     *Policy     // nil: the rules alone say who sees a row
	attributes []attribute // of the model that the policy is asked about

	unroutable   int      // keys of the change at hand that no channel has a name for
	images       [2]image // of the change at hand
	asked        image    // of a row that is asked about meanwhile
	one          [1]*User
	data, record []byte
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

// Template is the number of the template of its users' channels.
func (p *Plan) Template() int { return p.rule.template }

// Tenant is whose rows they are; empty without tenants.
func (p *Plan) Tenant() string { return p.rule.tenant }

// Direct says that a row and its parents tell by themselves who sees it: by
// the key of a user, or on a shared channel.
func (p *Plan) Direct() bool { return p.direct }

// Bound is the bound of time in the filter, if it has one.
func (p *Plan) Bound() (filter.Bound, bool) {
	if p.where == nil {
		return filter.Bound{}, false
	}
	return p.where.Bound()
}

// Crosses is when the clock brings a row or takes it away; ok is false if it
// does neither. See filter.Filter.Crosses.
func (p *Plan) Crosses(row *binlog.Row) (at time.Time, ok bool) {
	if p.where == nil {
		return at, false
	}
	return p.where.Crosses(row)
}

// Event is the name of the event that carries an operation.
func (p *Plan) Event(op harmonic.Operation) string { return p.rule.events[op-harmonic.Create] }

// AppendKey writes the record's key: the JSON array of its columns' values.
func (p *Plan) AppendKey(dst []byte, row *binlog.Row) ([]byte, error) {
	return appendKey(dst, p.keys, row)
}

func (p *Plan) sameKey(c *binlog.Change) bool {
	for _, k := range p.key {
		if !c.After.Same(c.Before, k.Column) {
			return false
		}
	}
	return true
}

// AppendPayload writes the event's data for the harmonic with this id.
func (h *Harmonic) AppendPayload(dst []byte, id harmonic.ID, at time.Time) ([]byte, error) {
	p := h.Plan
	var err error
	if p.data, err = p.appendData(p.data[:0], h.Row, h.Variant); err != nil {
		return dst, err
	}
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
	for i, name := range p.keyNames {
		if i > 0 {
			p.data = append(p.data, ',')
		}
		p.data = append(harmonic.AppendString(p.data, name), ':')
		p.data = append(p.data, values[i]...)
	}
	p.data = append(p.data, '}')
	return p.appendPayload(dst, id, at, harmonic.Delete), nil
}
