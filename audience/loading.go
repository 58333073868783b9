package audience

import (
	"slices"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// Load is a user that is to be read: one opening of it.
type Load struct {
	User   mapping.UserKey
	number uint64
}

// loading is one who is being read: what changed since that began.
type loading struct {
	number uint64
	opened []opening
	rows   map[string]collected
	// described says that the user's row changed; attributes are nil if it is gone.
	described  bool
	attributes []filter.Value
	written    uint64
}

// collected is the last image of a membership's row, as far as it concerns one user.
type collected struct {
	grant grant
	gives bool
	// written is the transaction that put it there.
	written uint64
}

// Loaded is what was read of users.
type Loaded struct {
	// Upto is the point of the log that it is as of, or past it: it may be
	// given to Finish when all changes up to there were applied.
	Upto  binlog.Position
	users []*loaded
}

type loaded struct {
	Load
	attributes []filter.Value
	rows       []loadedRow
}

type loadedRow struct {
	key   string
	grant grant
}

// Arrival is a user who became live.
type Arrival struct {
	User *mapping.User
	// Crossed are memberships that begin or end at a time that has passed,
	// maybe while the user was not there.
	Crossed []Crossing
}

// Crossing is a time at which a row made its user a member, or did so no longer.
type Crossing struct {
	Scope  mapping.ScopeKey
	At     time.Time
	Gained bool
}

// opening is a channel that is active. A user has several of a template, where
// clients name an attribute's value of before or one that was never the user's.
type opening struct {
	template int
	channel  string
}

// Open tells that a user's channel by a template is active. If load is true,
// nothing is known of the user: from here on its changes are collected, and it
// is to be read at a point that covers all that was applied so far.
func (s *State) Open(user mapping.UserKey, template int, channel string) (l Load, load bool) {
	if c := s.users.Get(user, nil); c != nil {
		c.opened = with(c.opened, opening{template, channel})
		s.replace(c, s.version(c.user, c.user.Subject.Attributes, c.opened))
		return Load{}, false
	}
	if at := s.loading[user]; at != nil {
		at.opened = with(at.opened, opening{template, channel})
		return Load{}, false
	}
	return s.begin(user, []opening{{template, channel}}), true
}

func (s *State) begin(user mapping.UserKey, opened []opening) Load {
	s.loads++
	s.loading[user] = &loading{number: s.loads, opened: opened}
	return Load{user, s.loads}
}

// Close tells that a user's channel by a template is no longer active. With
// its last one, the user leaves.
func (s *State) Close(user mapping.UserKey, template int, channel string) {
	if at := s.loading[user]; at != nil {
		if at.opened = without(at.opened, opening{template, channel}); len(at.opened) == 0 {
			delete(s.loading, user)
		}
		return
	}
	c := s.users.Get(user, nil)
	if c == nil {
		return
	}
	if c.opened = without(c.opened, opening{template, channel}); len(c.opened) == 0 {
		s.leave(c)
		return
	}
	s.replace(c, s.version(c.user, c.user.Subject.Attributes, c.opened))
}

func with(opened []opening, o opening) []opening {
	if slices.Contains(opened, o) {
		return opened
	}
	return append(opened, o)
}

func without(opened []opening, o opening) []opening {
	return slices.DeleteFunc(opened, func(other opening) bool { return other == o })
}

// Reset makes nobody of a tenant live, since its table of users or memberships
// was emptied or altered, and returns all who were, to be read again.
func (s *State) Reset(tenant string) []Load {
	everybody := map[mapping.UserKey][]opening{}
	for user, at := range s.loading {
		if user.Tenant() == tenant {
			everybody[user] = at.opened
		}
	}
	for user, c := range s.users.All() {
		if c.user.Tenant == tenant {
			everybody[user] = c.opened
			s.leave(c)
		}
	}
	loads := make([]Load, 0, len(everybody))
	for user, opened := range everybody {
		loads = append(loads, s.begin(user, opened))
	}
	return loads
}

// collect keeps the last image of a membership's row for those who are being
// read: what the image before gave is gone, unless the same transaction put
// another row in its place.
func (s *State) collect(p memberPlan, row *binlog.Row, g grant, present bool) error {
	l := s.loading[g.user]
	if l == nil {
		return nil
	}
	var err error
	if s.key, err = appendRowKey(s.key[:0], p, row); err != nil {
		return err
	}
	if l.rows == nil {
		l.rows = map[string]collected{}
	}
	switch key := string(s.key); {
	case present:
		l.rows[key] = collected{grant: g, gives: true, written: s.tx.number}
	case l.rows[key].written != s.tx.number:
		l.rows[key] = collected{}
	}
	return nil
}

// Finish makes users live who were read, with what changed since. All changes
// up to Loaded.Upto must have been applied. Who has left meanwhile is passed
// over.
func (s *State) Finish(in *Loaded) ([]Arrival, error) {
	var arrivals []Arrival
	for _, read := range in.users {
		l := s.loading[read.User]
		if l == nil || l.number != read.number {
			continue
		}
		delete(s.loading, read.User)
		attributes := read.attributes
		if l.described {
			attributes = l.attributes
		}
		u, err := s.rules.user(read.User, attributes)
		if err != nil {
			return nil, err
		}
		c := s.join(u, l.opened, len(read.rows))
		arrival := Arrival{User: c.user}
		add := func(g grant) error {
			if g.timed && !g.ahead(s.now) {
				arrival.Crossed = append(arrival.Crossed, Crossing{g.scope, time.UnixMicro(g.at).UTC(), g.gains})
			}
			return s.add(g, 1)
		}
		for _, row := range read.rows {
			if _, newer := l.rows[row.key]; newer {
				continue
			}
			if err := add(row.grant); err != nil {
				return nil, err
			}
		}
		for _, row := range l.rows {
			if !row.gives {
				continue
			}
			if err := add(row.grant); err != nil {
				return nil, err
			}
		}
		arrivals = append(arrivals, arrival)
	}
	return arrivals, nil
}
