package audience

import (
	"fmt"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// rules are what the mapping says of users; a *mapping.Mapper has them.
type rules interface {
	// plans is what the rows of one version of a table mean.
	plans(t *binlog.Table) (*plans, error)
	// user makes one who is not connected yet; without attributes, all are null.
	user(key mapping.UserKey, attributes []filter.Value) (*mapping.User, error)
	// channel is the user's own by a template; ok is false if it cannot be named.
	channel(template int, u *mapping.User) (name string, ok bool)
	// templates is how many templates of users' channels there are.
	templates() int
	// tables are those with rows of a tenant's users and memberships.
	tables(tenant string) []binlog.TableName
}

// plans are those of one version of a table.
type plans struct {
	members []memberPlan
	users   []userPlan
	parents []parentPlan
}

type memberPlan interface {
	ID() string
	Columns() []int
	Key() []binlog.KeyColumn
	UserColumn() binlog.KeyColumn
	Decisive(c *binlog.Change) bool
	AppendKey(dst []byte, row *binlog.Row) ([]byte, error)
	Of(row *binlog.Row, now time.Time) (scope mapping.ScopeKey, user mapping.UserKey, ok bool, err error)
	Crosses(row *binlog.Row) (at time.Time, ok bool)
}

type userPlan interface {
	Columns() []int
	Key() []binlog.KeyColumn
	Decisive(c *binlog.Change) bool
	Of(row *binlog.Row) (mapping.UserKey, []filter.Value, error)
}

type parentPlan interface {
	Decisive(c *binlog.Change) bool
	Refs(row *binlog.Row) ([]mapping.ParentRef, error)
	Parent(row *binlog.Row) (mapping.Parent, error)
}

// grant is what one row of a membership table gives: a user is a member of a
// scope, always or on one side of a time. It does not depend on the clock.
type grant struct {
	user  mapping.UserKey
	scope mapping.ScopeKey
	bound
}

// bound is a time in microseconds since the Unix epoch from which on a grant
// holds (gains), or from which on it does not. The zero value is no bound.
type bound struct {
	at    int64
	timed bool
	gains bool
}

// holds says whether the grant does at a time in microseconds.
func (b bound) holds(now int64) bool { return !b.timed || (now >= b.at) == b.gains }

// lasts says whether the grant holds from one time to another.
func (b bound) lasts(from, to int64) bool { return b.holds(from) && b.holds(to) }

// holdsOnce says whether it does at some time from one to another.
func (b bound) holdsOnce(from, to int64) bool { return b.holds(from) || b.holds(to) }

// ahead says whether the clock has still to cross the bound.
func (b bound) ahead(now int64) bool { return b.timed && now < b.at }

// grantOf reads a row; ok is false if it never gives anything.
func grantOf(p memberPlan, row *binlog.Row) (g grant, ok bool, err error) {
	at, timed := p.Crosses(row)
	if !timed {
		g.scope, g.user, ok, err = p.Of(row, time.Time{})
		return g, ok, err
	}
	// The clock has whole microseconds, as columns do.
	at = ceilMicro(at)
	scope, user, before, err := p.Of(row, at.Add(-time.Microsecond))
	if err != nil {
		return grant{}, false, err
	}
	scopeAfter, userAfter, after, err := p.Of(row, at)
	switch {
	case err != nil || !before && !after:
		return grant{}, false, err
	case after:
		scope, user = scopeAfter, userAfter
	}
	g = grant{user: user, scope: scope}
	if before != after {
		g.bound = bound{at: at.UnixMicro(), timed: true, gains: after}
	}
	return g, true, nil
}

func ceilMicro(t time.Time) time.Time {
	if cut := t.Truncate(time.Microsecond); !cut.Equal(t) {
		return cut.Add(time.Microsecond)
	}
	return t
}

// appendRowKey writes what tells a row of a membership table from all others.
func appendRowKey(dst []byte, p memberPlan, row *binlog.Row) ([]byte, error) {
	key, err := p.AppendKey(append(append(dst, p.ID()...), ' '), row)
	if err != nil {
		return dst, fmt.Errorf("the key of a row of %s: %w", row.Table.Name, err)
	}
	return key, nil
}
