package oracle

import (
	"context"
	"fmt"

	"github.com/chorusd/chorusd/harmonic"
)

// since is the point from which on somebody may know of rows. Who was just
// opened is told of whatever changed before: it may have been his long ago, and
// chorusd keeps no more of it than its key.
func (r *Run) since(s subject) int {
	if max(r.anew, r.entered[s]) >= r.quiet {
		return unknown
	}
	if c := r.clients[s]; c != nil && c.loaded {
		return c.from
	}
	return 0
}

// controlled has a client do what a control message says.
func (r *Run) controlled(ctx context.Context, e event) error {
	r.Count.Control++
	message, err := harmonic.ParseControl([]byte(e.Data))
	if err != nil {
		return fmt.Errorf("on %s: %w: %s", e.Channel, err, e.Data)
	}
	r.log.note(r.history.point, e.Channel+" gets "+e.Data)
	if table := tableOf(message); table != "" {
		if t := r.World.table(e.Channel, table); t == nil || t.Rule == nil {
			return r.report(e.Channel, record{table: table}, "sent to "+e.Channel+", which has nothing to do with the table: "+e.Data)
		}
	}
	c := r.clients[e.Channel]
	if c == nil || !e.heard {
		return nil
	}
	reloads := false
	switch m := message.(type) {
	case harmonic.Reset:
		c.control(func() { c.drop(m.Table, m.ID, func(string) bool { return true }) })
	case harmonic.ScopeRevoked:
		c.control(func() {
			for _, rows := range m.Rows {
				c.drop(rows.Table, m.ID, func(content string) bool { return matches(content, rows.Where) })
			}
		})
	case harmonic.ScopeGranted:
	case harmonic.Reload, harmonic.Schema:
		reloads = true
	default:
		return fmt.Errorf("on %s: not expected: %s", e.Channel, e.Data)
	}
	if !reloads || !c.loaded {
		return nil // it will load
	}
	rows, err := r.history.load(ctx, e.Channel)
	if err != nil {
		return err
	}
	c.reload(tableOf(message), rows)
	return nil
}

// tableOf is the table that a control message is of, "" if it is of none.
func tableOf(message harmonic.Control) string {
	switch m := message.(type) {
	case harmonic.Reset:
		return m.Table
	case harmonic.Reload:
		return m.Table
	case harmonic.Schema:
		return m.Table
	}
	return ""
}
