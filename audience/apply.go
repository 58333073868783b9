package audience

import (
	"fmt"
	"maps"
	"slices"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// Note is what the stream of a user has to tell one who comes back: that it
// may have gained or lost a scope or, without a scope, that its attributes are
// others than these were.
type Note struct {
	User  mapping.UserKey
	Scope mapping.ScopeKey
	// Was are the attributes before; nil if the user had no row.
	Was []filter.Value
}

// Effects are what changed for connected users and for parents' rows.
type Effects struct {
	Memberships []Membership
	Users       []UserChange
	Parents     []ParentChange
	// Lost are unique keys, without values, by which the transaction has changed
	// more parents' rows than are kept. Then Parents is empty, and who had the
	// rows below them before is not known.
	Lost []mapping.ParentRef
}

// Membership is a scope that a connected user is a member of, or no longer, or
// was soon to be (see View.IsSoon) and is not.
type Membership struct {
	// User is as it is now.
	User   *mapping.User
	Scope  mapping.ScopeKey
	Gained bool
	// Soon says that he was soon another in it before.
	Soon bool
}

// UserChange is a connected user with other attributes, and with other
// channels if those are named by attributes.
type UserChange struct{ Was, Is *mapping.User }

// ParentChange is a parent's row with other values, told for each unique key
// that a path uses.
type ParentChange struct {
	Ref     mapping.ParentRef
	Was, Is mapping.Parent
}

// Begin starts a transaction. Until Commit, nobody may be opened, closed or
// finished, and the clock stands.
func (s *State) Begin() {
	s.tx.open = true
	s.tx.number++
}

// Apply takes in the net change of a row in the transaction: a key is at most
// once that of an image before, and at most once that of one after. The order
// does not matter. Rows of tables that say nothing of users are passed over.
// Each user for whom it matters is given to note, connected or not. An error
// that is not note's says that the State does not fit the log; it is of no use
// any more.
func (s *State) Apply(c *binlog.Change, note func(Note) error) error {
	p, err := s.rules.plans(c.Table())
	if err != nil {
		return err
	}
	for _, plan := range p.members {
		if err := s.applyMember(plan, c, note); err != nil {
			return fmt.Errorf("apply a membership's row of %s: %w", c.Table().Name, err)
		}
	}
	for _, plan := range p.users {
		if err := s.applyUser(plan, c, note); err != nil {
			return fmt.Errorf("apply a user's row of %s: %w", c.Table().Name, err)
		}
	}
	for _, plan := range p.parents {
		if err := s.applyParent(plan, c); err != nil {
			return fmt.Errorf("apply a parent's row of %s: %w", c.Table().Name, err)
		}
	}
	return nil
}

func (s *State) applyMember(p memberPlan, c *binlog.Change, note func(Note) error) error {
	switch {
	case p.Decisive(c):
		s.tx.decisive = true
	case len(s.loading) == 0 || sameKey(p, c):
		return nil // a row with another key is another one to those who are being read
	}
	var was, is grant
	var had, has bool
	var err error
	if c.Before != nil {
		if was, had, err = grantOf(p, c.Before); err != nil {
			return err
		}
	}
	if c.After != nil {
		if is, has, err = grantOf(p, c.After); err != nil {
			return err
		}
	}
	// The row before goes last, so that who stays a member keeps its place.
	if has {
		if err := s.add(is, 1); err != nil {
			return err
		}
	}
	if had {
		if err := s.add(was, -1); err != nil {
			return err
		}
		if err := s.collect(p, c.Before, was, false); err != nil {
			return err
		}
	}
	if has {
		if err := s.collect(p, c.After, is, true); err != nil {
			return err
		}
	}
	// Who reads his memberships by a clock that is ahead may have found what a
	// row gives soon, and not what it soon gives no more: that ends with what
	// another row gives from then on, too.
	near := s.now + s.lead
	same := had && has && was.user == is.user && was.scope == is.scope
	if same && was.lasts(s.now, near) && is.lasts(s.now, near) {
		return nil
	}
	had, has = had && was.holdsOnce(s.now, near), has && is.holdsOnce(s.now, near)
	if had {
		if err := note(Note{User: was.user, Scope: was.scope}); err != nil || same {
			return err
		}
	}
	if has {
		return note(Note{User: is.user, Scope: is.scope})
	}
	return nil
}

func sameKey(p memberPlan, c *binlog.Change) bool {
	return !slices.ContainsFunc(p.Key(), func(k binlog.KeyColumn) bool { return !c.After.Same(c.Before, k.Column) })
}

// add counts rows that grant the same to a user, if it is connected.
func (s *State) add(g grant, rows int) error {
	c := s.users.Get(g.user, nil)
	if c == nil {
		return nil
	}
	fits := true
	if g.ahead(s.now) {
		fits = s.schedule(c, g, rows)
	}
	if fits && g.holds(s.now) {
		fits = s.count(c, g.scope, rows)
	}
	if !fits {
		return fmt.Errorf("user %s loses %s by a row that was not known: the memberships in memory are not those of the log here; start again, which reads them anew",
			g.user, g.scope)
	}
	return nil
}

func (s *State) applyUser(p userPlan, c *binlog.Change, note func(Note) error) error {
	if !p.Decisive(c) {
		return nil
	}
	s.tx.decisive = true
	var was, is mapping.UserKey
	var old, now []filter.Value
	var err error
	if c.Before != nil {
		if was, old, err = p.Of(c.Before); err != nil {
			return err
		}
	}
	if c.After != nil {
		if is, now, err = p.Of(c.After); err != nil {
			return err
		}
	}
	if was == is && slices.Equal(old, now) {
		return nil
	}
	if was != is && was != "" {
		if err := s.describe(was, nil, false); err != nil {
			return err
		}
		if err := note(Note{User: was, Was: old}); err != nil {
			return err
		}
	}
	if is == "" {
		return nil
	}
	if err := s.describe(is, now, true); err != nil {
		return err
	}
	if was != is {
		old = nil
	}
	return note(Note{User: is, Was: old})
}

// describe gives a user the attributes of its row, or takes them away: not
// those of a row that the same transaction put in its place.
func (s *State) describe(user mapping.UserKey, attributes []filter.Value, exists bool) error {
	if l := s.loading[user]; l != nil && (exists || l.written != s.tx.number) {
		l.described, l.attributes = true, attributes
		if exists {
			l.written = s.tx.number
		}
	}
	c := s.users.Get(user, nil)
	switch {
	case c == nil || !exists && c.written == s.tx.number:
		return nil
	case exists:
		c.written = s.tx.number
	default:
		nobody, err := s.rules.user(user, nil)
		if err != nil {
			return err
		}
		attributes = nobody.Subject.Attributes
	}
	s.replace(c, s.version(c.user, attributes, c.opened))
	return nil
}

func (s *State) applyParent(p parentPlan, c *binlog.Change) error {
	if !p.Decisive(c) {
		return nil
	}
	s.tx.decisive = true
	for _, row := range []*binlog.Row{c.Before, c.After} {
		if row == nil {
			continue
		}
		refs, err := p.Refs(row)
		if err != nil {
			return err
		}
		parent, err := p.Parent(row)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			switch change := s.tx.parent(ref); {
			case change == nil:
				s.parents.remove(ref) // whoever asks reads it as it is after the transaction
			case row == c.Before:
				change.was = parent
			default:
				change.is = parent
			}
		}
	}
	return nil
}

// Commit ends the transaction and returns what it did.
func (s *State) Commit() Effects {
	fx := Effects{Memberships: s.settled()}
	for _, at := range s.tx.order {
		for _, c := range at.order {
			if _, is := c.places.get(at.group); is != at.was[c] {
				fx.Memberships = append(fx.Memberships, Membership{c.user, at.group.scope, is, s.tx.soon[at.group.scope][c]})
			}
		}
		if len(at.group.members) == 0 {
			s.scopes.Delete(at.group.scope)
		}
	}
	for _, c := range s.tx.changed {
		if was := s.tx.users[c]; !slices.Equal(was.Subject.Attributes, c.user.Subject.Attributes) {
			fx.Users = append(fx.Users, UserChange{was, c.user})
		}
	}
	for _, ref := range s.tx.refs {
		change := s.tx.parents[ref]
		s.parents.put(ref, change.is)
		if len(s.tx.lost) == 0 && (change.was.Exists != change.is.Exists || !slices.Equal(change.was.Values, change.is.Values)) {
			fx.Parents = append(fx.Parents, ParentChange{ref, change.was, change.is})
		}
	}
	fx.Lost = slices.Collect(maps.Keys(s.tx.lost))
	s.tx.end()
	return fx
}

// Put tells what was read of a parent's row: what it was before the transaction
// at hand. Of a row that the transaction changed, the log has told.
func (s *State) Put(ref mapping.ParentRef, p mapping.Parent) { s.parents.put(ref, p) }

// Forget drops what is known of a table's rows as parents: it was emptied, or
// has another shape.
func (s *State) Forget(table binlog.TableName) { s.parents.forget(table) }
