package audience

import (
	"slices"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// New makes a State in which nobody is connected. The mapper is used by the
// goroutine that changes the State; now is where its clock begins.
func New(m *mapping.Mapper, cfg Config, now time.Time) *State {
	return newState(&mapper{m, map[*binlog.Table]*plans{}}, cfg, now)
}

// NewLoader makes a loader with mappers and readers of its own, which connect
// when they are needed.
func NewLoader(newMapper func() *mapping.Mapper, newReader func() Reader) *Loader {
	l := &Loader{}
	for range loadLines {
		l.lines = append(l.lines, &line{rules: &mapper{newMapper(), map[*binlog.Table]*plans{}}, reader: newReader()})
	}
	return l
}

// mapper are the rules of a mapping.Mapper.
type mapper struct {
	*mapping.Mapper
	known map[*binlog.Table]*plans
}

func (m *mapper) plans(t *binlog.Table) (*plans, error) {
	if p, ok := m.known[t]; ok {
		return p, nil
	}
	p := &plans{}
	members, err := m.MemberPlans(t)
	if err != nil {
		return nil, err
	}
	for _, plan := range members {
		p.members = append(p.members, plan)
	}
	users, err := m.UserPlan(t)
	if err != nil {
		return nil, err
	}
	if users != nil {
		p.users = append(p.users, users)
	}
	parents, err := m.ParentPlan(t)
	if err != nil {
		return nil, err
	}
	if parents != nil {
		p.parents = append(p.parents, parents)
	}
	const versionsKept = 256
	if len(m.known) >= versionsKept {
		clear(m.known)
	}
	m.known[t] = p
	return p, nil
}

func (m *mapper) user(key mapping.UserKey, attributes []filter.Value) (*mapping.User, error) {
	return m.NewUser(key, attributes)
}

func (m *mapper) channel(template int, u *mapping.User) (string, bool) { return m.Channel(template, u) }

func (m *mapper) templates() int { return m.Templates() }

func (m *mapper) tables(tenant string) []binlog.TableName {
	list := m.UserTables(tenant)
	for _, name := range m.MemberTables(tenant) {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
