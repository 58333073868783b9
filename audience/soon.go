package audience

import (
	"cmp"
	"slices"

	"github.com/chorusd/chorusd/mapping"
)

// Whoever reads the database by another clock than the State's, which may be
// Config.Lead ahead of it, finds some users in a scope who are not there yet,
// and misses some who are there still. These are soon others. Such a user is
// told what he is when his time comes; but when rows take that away before,
// nothing is left that would tell it, so Commit does.

// soon are the timers within the lead of the clock, by scope and user, in the
// order of their times.
type soon map[mapping.ScopeKey]map[*connected][]*timer

func (o soon) add(t *timer) {
	if o[t.scope] == nil {
		o[t.scope] = map[*connected][]*timer{}
	}
	list := o[t.scope][t.user]
	at, _ := slices.BinarySearchFunc(list, t.at, func(other *timer, at int64) int { return cmp.Compare(other.at, at) })
	o[t.scope][t.user] = slices.Insert(list, at, t)
}

func (o soon) remove(t *timer) {
	of := o[t.scope]
	at := slices.Index(of[t.user], t)
	if of[t.user] = slices.Delete(of[t.user], at, at+1); len(of[t.user]) == 0 {
		delete(of, t.user)
	}
	if len(of) == 0 {
		delete(o, t.scope)
	}
}

// isSoon says whether a user is soon in a scope and is not now, or is now and
// soon is not.
func (s *State) isSoon(c *connected, scope mapping.ScopeKey) bool {
	ahead := s.soon[scope][c]
	if len(ahead) == 0 {
		return false
	}
	now := s.rowsOf(c, scope)
	rows := now
	for i, t := range ahead {
		if t.gains {
			rows += t.rows
		} else {
			rows -= t.rows
		}
		last := i == len(ahead)-1 || ahead[i+1].at != t.at
		if last && (rows > 0) != (now > 0) {
			return true
		}
	}
	return false
}

// rowsOf is how many rows make a user a member of a scope.
func (s *State) rowsOf(c *connected, scope mapping.ScopeKey) int {
	if g := s.scopes.Get(scope, nil); g != nil {
		at, _ := c.places.get(g)
		return int(at.rows)
	}
	return 0
}

// noteSoon is to be called before rows or timers of a user in a scope change: the
// transaction notes whether he was soon another there.
func (s *State) noteSoon(c *connected, scope mapping.ScopeKey) {
	if !s.tx.open {
		return
	}
	of := s.tx.soon[scope]
	if _, again := of[c]; again {
		return
	}
	if of == nil {
		of = map[*connected]bool{}
		s.tx.soon[scope] = of
	}
	of[c] = s.isSoon(c, scope)
}

// settled are users who were soon others in a scope before the transaction, are
// not any more, and became nothing else by it.
func (s *State) settled() (list []Membership) {
	for scope, of := range s.tx.soon {
		for c, was := range of {
			if !was || s.isSoon(c, scope) {
				continue
			}
			is := s.rowsOf(c, scope) > 0
			if before, touched := s.tx.wasMember(s.scopes.Get(scope, nil), c); touched && before != is {
				continue
			}
			list = append(list, Membership{c.user, scope, is, true})
		}
	}
	return list
}

func (v *view) Soon(scope mapping.ScopeKey) (list []*mapping.User) {
	now := v.state.soon[scope]
	for c := range now {
		if v.isSoon(c, scope) {
			list = append(list, v.version(c))
		}
	}
	if !v.old {
		return list
	}
	for c, was := range v.state.tx.soon[scope] {
		if _, is := now[c]; !is && was {
			list = append(list, v.version(c))
		}
	}
	return list
}

func (v *view) IsSoon(u *mapping.User, scope mapping.ScopeKey) bool {
	if !v.AnySoon() {
		return false
	}
	c := v.state.seats.of(u)
	return c != nil && v.isSoon(c, scope)
}

func (v *view) AnySoon() bool { return len(v.state.soon) > 0 || v.old && len(v.state.tx.soon) > 0 }

func (v *view) isSoon(c *connected, scope mapping.ScopeKey) bool {
	if v.old {
		if was, touched := v.state.tx.soon[scope][c]; touched {
			return was
		}
	}
	return v.state.isSoon(c, scope)
}

// version is a user as the view has it.
func (v *view) version(c *connected) *mapping.User {
	if v.old {
		return v.state.tx.userBefore(c)
	}
	return c.user
}
