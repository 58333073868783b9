package mapping

import (
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

// A ScopeKey names a set of users and of rows: `platform:3`, `platform:"a"`,
// `public`, `user:7`, and `acme/platform:3` of the tenant acme. What follows
// the colon is the key's canonical JSON. It is also the name of the stream
// under which changes are kept for those who are not there; for a shared
// channel that is `channel:` and the whole name.
type ScopeKey string

// A UserKey is the canonical JSON of a user's key, `7` or `"01J…"`, and of a
// tenant `acme/7`. The tenant is what the % of a pattern stands for.
type UserKey string

// ParentRef names a row of a parent table by a unique key.
type ParentRef struct {
	Table binlog.TableName
	// Unique is the key's columns, joined by commas; empty: the primary key.
	Unique string
	// Key is the JSON array of their values.
	Key string
}

// Parent is what is known of a parent's row.
type Parent struct {
	// Exists is false if there is no such row.
	Exists bool
	// Values are the JSON of the columns that paths need, as
	// ParentPlan.Parent gives them; empty is NULL.
	Values []string
}

// User is one who is connected. It is not changed once it is in a View: a user
// with other attributes or channels is a new User, of the same slot.
//
// What routing a change reads of every receiver comes first, in one cache line.
type User struct {
	// Slot is a small number, from 0 on, that no other connected user has.
	Slot int
	// Channels are the user's by the number of the template, see
	// Mapper.Channel; empty is one that is not active.
	Channels []string
	Key      UserKey
	// ID is the key as it stands in a channel's name.
	ID     string
	Tenant string
	// Subject is the user to expressions. Its attributes are in the mapping's
	// order, all null if the user has no row.
	Subject filter.User
}

// View is who is connected, and what is known, at one point of the log. In
// everything that it gives a user is the same *User.
type View interface {
	// User is nil if nobody of that key is connected.
	User(UserKey) *User
	// UserAt is User for one who asks for the key again and again: at may keep
	// what was found.
	UserAt(key UserKey, at *Spot) *User
	// Members are the connected members of a scope, each once, in no order.
	// The list is not to be changed. at may keep what was found, unless it is
	// nil.
	Members(scope ScopeKey, at *Spot) []*User
	// Everyone is who is connected of a tenant: the members of `public`.
	Everyone(tenant string) []*User
	IsMember(*User, ScopeKey) bool
	// Parent is what was read of a row; known is false if it was not.
	Parent(ParentRef) (p Parent, known bool)
	// Now is the clock that bounds of time are judged by.
	Now() time.Time
}
