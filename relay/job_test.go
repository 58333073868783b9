package relay

import (
	"testing"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// oneMember is a view with one user in one scope.
type oneMember struct {
	mapping.View
	user  *mapping.User
	scope mapping.ScopeKey
}

func (v oneMember) User(key mapping.UserKey) *mapping.User {
	if key != v.user.Key {
		return nil
	}
	return v.user
}

func (v oneMember) IsMember(_ *mapping.User, scope mapping.ScopeKey) bool { return scope == v.scope }

// TestJobSelects says of which changes a job is told whose rows are still to
// be read: they may be elsewhere when it comes to them.
func TestJobSelects(t *testing.T) {
	user := &mapping.User{Key: "7"}
	at := func(streams ...mapping.ScopeKey) *routed {
		return &routed{old: oneMember{user: user, scope: "team:1"}, now: oneMember{user: user, scope: "team:2"}, streams: streams}
	}
	for _, c := range []struct {
		about string
		item  redisstate.RecordKey
		at    *routed
		want  bool
	}{
		{"of the scope", selection{Scope: "team:3"}.item(""), at("team:4", "team:3"), true},
		{"of the scope in one table", selection{Scope: "team:3"}.item("todos"), at("team:3"), true},
		{"of another scope", selection{Scope: "team:3"}.item(""), at("team:1", "user:7"), false},
		{"of a scope that the user was in", selection{User: "7"}.item(""), at("team:1"), true},
		{"of a scope that the user is in", selection{User: "7"}.item(""), at("team:2"), true},
		{"of the user's own", selection{User: "7"}.item(""), at("user:7"), true},
		{"of no scope of the user", selection{User: "7"}.item(""), at("team:3", "user:8"), false},
		{"of nobody who is there", selection{User: "8"}.item(""), at("team:1"), false},
		{"beside a record", redisstate.RecordKey{Table: "todos", Key: "[1]"}, at("team:1"), false},
	} {
		j := &job{items: []redisstate.JobItem{{RecordKey: c.item}}}
		if got := j.selects(c.at); got != c.want {
			t.Errorf("a change %s: %v, want %v", c.about, got, c.want)
		}
	}
}
