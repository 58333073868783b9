package relay

import (
	"maps"
	"testing"
	"time"

	"github.com/chorusd/chorusd/mapping"
)

// TestChannelOfATenantThatIsNotKnownYet: a client is there before the log was
// read to where its tenant's tables are made. Whose channel it is can be told
// from its first row on, and it lacks none.
func TestChannelOfATenantThatIsNotKnownYet(t *testing.T) {
	const channel = "private-chorus.pp.user.7"
	r := newRig(t)
	r.mapper = func(testing.TB) *mapping.Mapper {
		m, problems := mapping.New(mapping.Config{UserChannel: "chorus.{@tenant}.user.{id}", Tables: map[string]mapping.Table{
			"todos": {Source: "a%.todos", Fields: []string{"id", "user_id", "team_id", "v"}, VisibleTo: mapping.AnyOf("user:{user_id}")},
		}}, "app", time.UTC)
		for _, p := range problems {
			t.Error(p)
		}
		return m
	}
	r.occupy(channel, map[int]todo{})
	r.start()
	r.poll()
	if !r.isOpen(channel) {
		t.Fatal("the channel is not active")
	}
	r.commit(put(1, 7), put(2, 8))
	r.caughtUp()
	r.commit(put(3, 7))
	r.poll()
	r.commit(put(4, 7))
	r.caughtUp()
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	if got, want := r.occupied[channel], r.seen(7); !maps.Equal(got, want) {
		t.Errorf("the client has %v, the database %v", sortedRows(got), sortedRows(want))
	}
}
