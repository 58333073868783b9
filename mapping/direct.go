package mapping

import (
	"fmt"
	"slices"
	"time"

	"github.com/chorusd/chorusd/binlog"
)

// Channel is one that a harmonic is for.
type Channel struct {
	Name string
	// User says that it is a user's own, not one that many share.
	User bool
}

// nobody is the View of which nobody is connected and nothing known.
type nobody struct{}

func (nobody) User(UserKey) *User              { return nil }
func (nobody) Members(ScopeKey) []*User        { return nil }
func (nobody) Everyone(string) []*User         { return nil }
func (nobody) IsMember(*User, ScopeKey) bool   { return false }
func (nobody) Parent(ParentRef) (Parent, bool) { return Parent{}, false }
func (nobody) Now() time.Time                  { return time.Now() }

// Map is Route without a View, by the names of channels: of plans that are
// Direct and have neither parents nor bounds of time.
func (m *Mapper) Map(c *binlog.Change, give func(*Harmonic) error) (unroutable int, err error) {
	plans, err := m.Plans(c.Table())
	if err != nil {
		return 0, err
	}
	for _, p := range plans {
		if !p.exact {
			return 0, fmt.Errorf("table %s cannot be mapped by its rows alone", p.ID())
		}
	}
	return m.Route(c, nobody{}, nobody{}, func(h *Harmonic) error {
		h.Channels = channels(h.Absent, h.Shared)
		if len(h.Channels) == 0 {
			return nil
		}
		return give(h)
	})
}

func channels(users, shared []string) []Channel {
	var list []Channel
	for _, name := range users {
		list = append(list, Channel{Name: name, User: true})
	}
	for _, name := range shared {
		list = append(list, Channel{Name: name})
	}
	return list
}

// Sees says whether a row is to be seen on a channel.
func (p *Plan) Sees(m *Mapper, row *binlog.Row, channel string) (bool, error) {
	if !p.exact || m != p.mapper {
		return false, fmt.Errorf("table %s cannot be mapped by its rows alone", p.ID())
	}
	img := &p.images[0]
	if err := p.look(img, row, nobody{}); err != nil {
		return false, err
	}
	own := slices.ContainsFunc(img.users, func(u UserKey) bool {
		name, ok := p.channelOf(u)
		return ok && name == channel
	})
	return own || slices.Contains(img.shared, channel), nil
}
