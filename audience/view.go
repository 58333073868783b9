package audience

import (
	"time"

	"github.com/chorusd/chorusd/mapping"
)

// View is a mapping.View that also knows what a clock that is ahead by up to
// Config.Lead makes of memberships.
type View interface {
	mapping.View
	// IsSoon says whether a user is soon a member of a scope and is not now, or
	// is now and soon is not.
	IsSoon(*mapping.User, mapping.ScopeKey) bool
	// Soon are the users of whom IsSoon says so, each once, in no order.
	Soon(mapping.ScopeKey) []*mapping.User
	// AnySoon is false if there are none of any scope.
	AnySoon() bool
}

// view is the state before the transaction at hand (old), or with it.
type view struct {
	state *State
	old   bool
}

// Views are the state before the transaction at hand and with what was applied
// of it. Both are the same if no change of it was decisive for users,
// memberships or parents, whoever is connected; so they are between two
// transactions. What they return is valid until the State is changed.
func (s *State) Views() (old, now View) {
	if !s.tx.decisive {
		return &s.after, &s.after
	}
	return &s.before, &s.after
}

func (v *view) User(key mapping.UserKey) *mapping.User { return v.UserAt(key, nil) }

func (v *view) UserAt(key mapping.UserKey, at *mapping.Spot) *mapping.User {
	c := v.state.users.Get(key, at)
	if c == nil {
		return nil
	}
	return v.version(c)
}

func (v *view) Members(scope mapping.ScopeKey, at *mapping.Spot) []*mapping.User {
	g := v.state.scopes.Get(scope, at)
	switch {
	case g == nil:
		return nil
	case v.old:
		return v.state.tx.membersBefore(g)
	}
	return g.members
}

func (v *view) Everyone(tenant string) []*mapping.User { return v.Members(everyone(tenant), nil) }

func (v *view) IsMember(u *mapping.User, scope mapping.ScopeKey) bool {
	g, c := v.state.scopes.Get(scope, nil), v.state.seats.of(u)
	if g == nil || c == nil {
		return false
	}
	if v.old {
		if was, touched := v.state.tx.wasMember(g, c); touched {
			return was
		}
	}
	_, is := c.places.get(g)
	return is
}

func (v *view) Parent(ref mapping.ParentRef) (p mapping.Parent, known bool) {
	if change := v.state.tx.parents[ref]; change != nil {
		if v.old {
			return change.was, true
		}
		return change.is, true
	}
	return v.state.parents.get(ref)
}

func (v *view) Now() time.Time { return time.UnixMicro(v.state.now).UTC() }
