package audience

import (
	"slices"
	"sync"

	"github.com/chorusd/chorusd/mapping"
)

// transaction is what has to be known of the state before it: only what it
// touched.
type transaction struct {
	open bool
	// number tells it from others.
	number uint64
	// decisive says that a change could matter for who sees what.
	decisive bool
	groups   map[*group]*touched
	order    []*touched
	// soon says of those who may not be as they were whether they were soon
	// others in a scope.
	soon    map[mapping.ScopeKey]map[*connected]bool
	users   map[*connected]*mapping.User // as they were
	changed []*connected                 // in order
	parents map[mapping.ParentRef]*parentChange
	refs    []mapping.ParentRef // in order
	// most bounds parents; lost are the unique keys by which there were more.
	most int
	lost map[mapping.ParentRef]bool

	// mu is for members, which those who read make when they are asked for.
	mu      sync.Mutex
	members map[*group][]*mapping.User
}

// touched is a group with members that came or went.
type touched struct {
	group *group
	was   map[*connected]bool
	order []*connected
}

// parentChange is what a key of a parent's row named before, and names now. What
// no image told of does not exist.
type parentChange struct{ was, is mapping.Parent }

func newTransaction(most int) transaction {
	return transaction{
		most: most, lost: map[mapping.ParentRef]bool{},
		groups: map[*group]*touched{}, users: map[*connected]*mapping.User{},
		parents: map[mapping.ParentRef]*parentChange{}, members: map[*group][]*mapping.User{},
		soon: map[mapping.ScopeKey]map[*connected]bool{},
	}
}

// touch notes whether a user was a member when that changes first.
func (t *transaction) touch(g *group, c *connected, was bool) {
	if !t.open {
		return
	}
	at := t.groups[g]
	if at == nil {
		at = &touched{group: g, was: map[*connected]bool{}}
		t.groups[g] = at
		t.order = append(t.order, at)
	}
	if _, again := at.was[c]; !again {
		at.was[c] = was
		at.order = append(at.order, c)
	}
}

// replaced notes a user as it was when it changes first.
func (t *transaction) replaced(c *connected) {
	if !t.open {
		return
	}
	if _, again := t.users[c]; !again {
		t.users[c] = c.user
		t.changed = append(t.changed, c)
	}
}

func (t *transaction) userBefore(c *connected) *mapping.User {
	if was, changed := t.users[c]; changed {
		return was
	}
	return c.user
}

func (t *transaction) wasMember(g *group, c *connected) (was, known bool) {
	at := t.groups[g]
	if at == nil {
		return false, false
	}
	was, known = at.was[c]
	return was, known
}

// membersBefore are a group's members before the transaction. The list is made
// once, and only of a group that is not the same any more; it stays right
// whatever the transaction goes on to do.
func (t *transaction) membersBefore(g *group) []*mapping.User {
	at := t.groups[g]
	if at == nil && !slices.ContainsFunc(t.changed, func(c *connected) bool { _, is := c.places.get(g); return is }) {
		return g.members
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if list, made := t.members[g]; made {
		return list
	}
	list := slices.Clone(g.members)
	for c, was := range t.users {
		if at, is := c.places.get(g); is {
			list[at.index] = was
		}
	}
	if at != nil {
		for c, was := range at.was {
			switch place, is := c.places.get(g); {
			case is && !was:
				list[place.index] = nil
			case was && !is:
				list = append(list, t.userBefore(c))
			}
		}
	}
	list = slices.DeleteFunc(list, func(u *mapping.User) bool { return u == nil })
	t.members[g] = list
	return list
}

// parent is the change of a key, to be filled in; nil if there are too many.
func (t *transaction) parent(ref mapping.ParentRef) *parentChange {
	change := t.parents[ref]
	if change == nil {
		if len(t.parents) == t.most {
			ref.Key = ""
			t.lost[ref] = true
			return nil
		}
		change = &parentChange{}
		t.parents[ref] = change
		t.refs = append(t.refs, ref)
	}
	return change
}

// end forgets the transaction.
func (t *transaction) end() {
	t.open, t.decisive = false, false
	t.order, t.changed, t.refs = t.order[:0], t.changed[:0], t.refs[:0]
	clear(t.groups)
	clear(t.soon)
	clear(t.users)
	clear(t.parents)
	clear(t.lost)
	clear(t.members)
}
