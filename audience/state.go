package audience

import (
	"slices"
	"time"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// Config bounds what is kept; the zero value means the defaults.
type Config struct {
	// Parents is the most rows of parents that are kept.
	Parents int
	// ParentBytes is the most memory for them, in bytes.
	ParentBytes int
	// Changed is of how many keys of parents' rows it is known what one
	// transaction made of them.
	Changed int
	// Lead is by how much the clocks by which others read memberships may be
	// ahead of the State's, see View.IsSoon; 0 if none is.
	Lead time.Duration
}

// The defaults of Config.
const (
	DefaultParents     = 200_000
	DefaultParentBytes = 48 << 20
	DefaultChanged     = 40_000
)

// State is who is connected, and what is known of them, as of one point of the
// log. One goroutine changes it; while it does not, others may read its views.
type State struct {
	rules rules
	// now is the clock, in microseconds since the Unix epoch.
	now int64
	// lead is Config.Lead in microseconds.
	lead    int64
	users   mapping.Index[mapping.UserKey, connected]
	scopes  mapping.Index[mapping.ScopeKey, group]
	timers  timers
	soon    soon
	parents *parents
	seats   seats
	loading map[mapping.UserKey]*loading
	// loads counts those that were begun, so that each has its number.
	loads uint64
	key   []byte // what collect uses

	tx            transaction
	before, after view
}

func newState(r rules, cfg Config, now time.Time) *State {
	if cfg.Parents <= 0 {
		cfg.Parents = DefaultParents
	}
	if cfg.ParentBytes <= 0 {
		cfg.ParentBytes = DefaultParentBytes
	}
	if cfg.Changed <= 0 {
		cfg.Changed = DefaultChanged
	}
	s := &State{
		rules: r, now: now.UnixMicro(), lead: cfg.Lead.Microseconds(), soon: soon{},
		users: mapping.NewIndex[mapping.UserKey, connected](), scopes: mapping.NewIndex[mapping.ScopeKey, group](),
		loading: map[mapping.UserKey]*loading{}, parents: newParents(cfg.Parents, cfg.ParentBytes),
		tx: newTransaction(cfg.Changed),
	}
	s.before, s.after = view{s, true}, view{s, false}
	return s
}

// connected is a user who is live.
type connected struct {
	user *mapping.User
	// opened are the active channels, whether or not they are the user's own by
	// its attributes.
	opened []opening
	places places
	timers map[timerKey]*timer
	// written is the transaction that wrote the user's row last.
	written uint64
}

// group are the connected members of a scope.
type group struct {
	scope   mapping.ScopeKey
	members []*mapping.User
}

// everyone is the scope that all connected users of a tenant are in.
func everyone(tenant string) mapping.ScopeKey {
	if tenant == "" {
		return "public"
	}
	return mapping.ScopeKey(tenant + "/public")
}

// Scopes are those that a connected user is a member of, now or soon, `public`
// among them, in no order; none if it has left.
func (s *State) Scopes(u *mapping.User) []mapping.ScopeKey {
	c := s.seats.of(u)
	if c == nil {
		return nil
	}
	scopes := make([]mapping.ScopeKey, 0, c.places.len())
	for g := range c.places.all() {
		scopes = append(scopes, g.scope)
	}
	for key, t := range c.timers {
		if t.soon && !slices.Contains(scopes, key.scope) {
			scopes = append(scopes, key.scope)
		}
	}
	return scopes
}

// count adds rows, or with a negative number takes them away, by which a user
// is a member of a scope. It returns false if there are not as many to take.
func (s *State) count(c *connected, scope mapping.ScopeKey, rows int) bool {
	if len(s.soon[scope][c]) > 0 {
		s.noteSoon(c, scope)
	}
	g := s.scopes.Get(scope, nil)
	if g == nil {
		if rows < 0 {
			return false
		}
		g = &group{scope: scope}
		s.scopes.Put(scope, g)
	}
	at, was := c.places.get(g)
	is := int(at.rows) + rows
	if is < 0 {
		return false
	}
	if was != (is > 0) {
		s.tx.touch(g, c, was)
	}
	at.rows = uint32(is)
	switch {
	case was && is == 0:
		c.places.remove(g)
		s.remove(g, c, at)
	case !was && is > 0:
		at.index = uint32(len(g.members))
		g.members = append(g.members, c.user)
		c.places.set(g, at)
	case was:
		c.places.set(g, at)
	}
	return true
}

// remove takes a user out of a group: the last member takes its place.
func (s *State) remove(g *group, c *connected, at place) {
	end := len(g.members) - 1
	if last := g.members[end]; last != c.user {
		mover := s.seats.of(last)
		moved, _ := mover.places.get(g)
		moved.index = at.index
		mover.places.set(g, moved)
		g.members[at.index] = last
	}
	g.members[end] = nil
	g.members = g.members[:end]
	switch {
	case end == 0 && !s.tx.open:
		s.scopes.Delete(g.scope)
	case cap(g.members) > 64 && end < cap(g.members)/4:
		g.members = append(make([]*mapping.User, 0, end*2), g.members...)
	}
}

// replace puts a new version of a user in the place of the old one.
func (s *State) replace(c *connected, next *mapping.User) {
	if next == c.user {
		return
	}
	s.tx.replaced(c)
	for g, at := range c.places.all() {
		g.members[at.index] = next
	}
	c.user = next
}

// version is the user with these attributes and opened channels; the same one
// if that changes nothing.
func (s *State) version(u *mapping.User, attributes []filter.Value, opened []opening) *mapping.User {
	next := *u
	next.Subject.Attributes = attributes
	next.Channels = make([]string, s.rules.templates())
	for _, o := range opened {
		if own, ok := s.rules.channel(o.template, &next); ok && own == o.channel {
			next.Channels[o.template] = own
		}
	}
	if slices.Equal(next.Subject.Attributes, u.Subject.Attributes) && slices.Equal(next.Channels, u.Channels) {
		return u
	}
	return &next
}

// join makes a user live. Its grants are to be added.
func (s *State) join(u *mapping.User, opened []opening, grants int) *connected {
	c := &connected{opened: opened, places: newPlaces(grants + 1)}
	u.Slot = s.seats.take(c)
	u = s.version(u, u.Subject.Attributes, opened)
	c.user = u
	s.users.Put(u.Key, c)
	s.count(c, everyone(u.Tenant), 1)
	return c
}

// leave makes a user live no more.
func (s *State) leave(c *connected) {
	for g, at := range c.places.all() {
		s.remove(g, c, at)
	}
	for _, t := range c.timers {
		s.drop(t)
	}
	c.places, c.timers = places{}, nil // a Spot may keep what is left
	s.seats.give(c.user.Slot)
	s.users.Delete(c.user.Key)
}

// seats holds connected users by their slots.
type seats struct {
	users []*connected
	free  []int
}

func (s *seats) take(c *connected) (slot int) {
	if n := len(s.free); n > 0 {
		slot = s.free[n-1]
		s.free = s.free[:n-1]
		s.users[slot] = c
		return slot
	}
	s.users = append(s.users, c)
	return len(s.users) - 1
}

func (s *seats) give(slot int) {
	s.users[slot] = nil
	s.free = append(s.free, slot)
}

// of is the connected user of a version of it; nil if it has left.
func (s *seats) of(u *mapping.User) *connected {
	if u.Slot < len(s.users) {
		if c := s.users[u.Slot]; c != nil && (c.user == u || c.user.Key == u.Key) {
			return c
		}
	}
	return nil
}
