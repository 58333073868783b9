package relay

import (
	"slices"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// soonView is a view by a clock that an app may have read rows and memberships
// by already: who is soon a member of a scope is one.
type soonView struct {
	audience.View
	clock time.Time
}

func (v *soonView) Now() time.Time { return v.clock }

func (v *soonView) IsMember(u *mapping.User, scope mapping.ScopeKey) bool {
	return v.View.IsMember(u, scope) || v.IsSoon(u, scope)
}

func (v *soonView) Members(scope mapping.ScopeKey, at *mapping.Spot) []*mapping.User {
	members := slices.Clip(v.View.Members(scope, at))
	for _, u := range v.Soon(scope) {
		if !v.View.IsMember(u, scope) {
			members = append(members, u)
		}
	}
	return members
}

// soonOf is the view by which a row is soon seen; ok is false if nothing is
// soon otherwise.
func (r *Relay) soonOf(plan *mapping.Plan, of imageOf) (v *soonView, ok bool) {
	if of.row == nil {
		return nil, false
	}
	clock, soon := r.ahead(plan, of.row, of.view.Now())
	if !soon {
		clock = of.view.Now()
	}
	return &soonView{of.view, clock}, soon || of.view.AnySoon()
}

// anySoon says whether somebody is soon another in a scope by which the row of a
// change was seen.
func (r *Relay) anySoon(t *routed, c *binlog.Change, leader *mapping.Plan) (bool, error) {
	if c.Before == nil || !t.old.AnySoon() {
		return false, nil
	}
	plans, err := r.mapper.Plans(c.Table())
	if err != nil {
		return false, err
	}
	for _, plan := range plans {
		if !sameRecords(plan, leader) {
			continue
		}
		scopes, err := plan.Scopes(nil, c.Before, t.old)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(scopes, func(scope mapping.ScopeKey) bool { return len(t.old.Soon(scope)) > 0 }) {
			return true, nil
		}
	}
	return false, nil
}
