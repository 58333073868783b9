package relay

import (
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// Whose own a tenant's channel is can be told once a table of the tenant is
// known: before, nobody knows what keys its users have. A client may well be
// there earlier than the log is read to where its tenant's tables are made.

// meet has the mapper know the tables of a transaction before it is routed.
// Channels that are users' own by them and were opened as nobody's are opened
// again by the next poll.
func (r *Relay) meet(t *transaction) {
	t.tables(func(table *binlog.Table) {
		_, _ = r.mapper.Plans(table) // who needs one that the mapping does not fit is told so
	})
	known := r.mapper.KeysKnown()
	if known == r.keysKnown {
		return
	}
	r.keysKnown = known
	_, view := r.audience.Views()
	r.close(func(key mapping.UserKey) bool { return view.User(key) == nil })
}

// close makes channels of users inactive, until the next poll finds them.
func (r *Relay) close(of func(mapping.UserKey) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.active {
		if _, key, ok := r.mapper.UserOf(name); ok && of(key) {
			r.reopen(name)
		}
	}
}

// reopen makes a channel inactive that the next poll is to open again. The jobs
// wait for it: those of channels that are not active are given up. r.mu is held.
func (r *Relay) reopen(name string) {
	delete(r.active, name)
	r.reopening[name] = true
	r.polled = false
}
