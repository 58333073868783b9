package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/harmonic"
)

// record names a row as clients do.
type record struct{ table, key string }

// message is a harmonic as it came.
type message struct {
	record
	id        harmonic.ID
	operation harmonic.Operation
	fields    map[string]string
	content   string
	text      string // as it came
}

func parseMessage(data string) (*message, error) {
	parsed, err := harmonic.Parse([]byte(data))
	if err != nil {
		return nil, err
	}
	fields, err := parseData(parsed.Data)
	if err != nil {
		return nil, err
	}
	m := &message{
		record: record{parsed.Table, string(parsed.RecordID)}, id: parsed.ID, operation: parsed.Operation,
		fields: fields, content: content(fields), text: data,
	}
	return m, nil
}

// client is somebody who listens on one channel and keeps the rows.
type client struct {
	rows map[record]string
	last map[record]harmonic.ID
	// early is what is done with what came before the client had loaded its
	// rows.
	early  []func()
	loaded bool
	from   int // the point at which it loaded them
}

// load gives the client the rows that it begins with.
func (c *client) load(rows map[record]string, point int) {
	c.rows, c.last, c.loaded, c.from = rows, map[record]harmonic.ID{}, true, point
	for _, do := range c.early {
		do()
	}
	c.early = nil
}

// reload gives the client the rows of a table anew, of all with "".
func (c *client) reload(table string, rows map[record]string) {
	concerned := func(r record, _ string) bool { return table == "" || r.table == table }
	maps.DeleteFunc(c.rows, concerned)
	for r, content := range rows {
		if concerned(r, content) {
			c.rows[r] = content
		}
	}
}

// control does something now, or once the rows are loaded.
func (c *client) control(do func()) {
	if !c.loaded {
		c.early = append(c.early, do)
		return
	}
	do()
}

// apply takes a message by the rule of the wire: one with a lower id than the
// last of its record is old.
func (c *client) apply(m *message) {
	c.control(func() {
		if last, ok := c.last[m.record]; ok && m.id.String() < last.String() {
			return
		}
		c.last[m.record] = m.id
		if m.operation == harmonic.Delete {
			delete(c.rows, m.record)
		} else {
			c.rows[m.record] = m.content
		}
	})
}

// drop drops rows of a table that were not changed by a higher id.
func (c *client) drop(table string, id harmonic.ID, described func(content string) bool) {
	maps.DeleteFunc(c.rows, func(r record, content string) bool {
		return r.table == table && c.last[r].String() <= id.String() && described(content)
	})
}

// matches says whether a row's fields have the values.
func matches(content string, where []harmonic.Match) bool {
	for _, m := range where {
		if !strings.Contains(" "+content+" ", " "+m.Column+"="+spelled(m.Value)+" ") {
			return false
		}
	}
	return true
}

// differences are the rows that a client has otherwise than it should.
func (c *client) differences(want map[record]wanted) []record {
	var wrong []record
	for r, w := range want {
		if content, has := c.rows[r]; content != w.content && (has || w.sure) {
			wrong = append(wrong, r)
		}
	}
	for r := range c.rows {
		if _, ok := want[r]; !ok {
			wrong = append(wrong, r)
		}
	}
	slices.SortFunc(wrong, func(a, b record) int { return strings.Compare(a.table+a.key, b.table+b.key) })
	return wrong
}

// inWords says how a row differs.
func (c *client) inWords(r record, want map[record]wanted) string {
	got, has := c.rows[r]
	wanted, should := want[r]
	switch {
	case !should:
		return fmt.Sprintf("%s %s: has %s, and may not see the row", r.table, r.key, got)
	case !has:
		return fmt.Sprintf("%s %s: lacks the row, %s", r.table, r.key, wanted.content)
	default:
		return fmt.Sprintf("%s %s: has\n  %s, not\n  %s", r.table, r.key, got, wanted.content)
	}
}
