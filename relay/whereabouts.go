package relay

import (
	"slices"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
)

// whereabouts is what is to be told of a row, beside what its change tells by
// itself.
type whereabouts struct {
	// gone are users who may have it and do not see it, come those who see it
	// and may not have it. Channels are those of no user.
	gone, come                 []*mapping.User
	goneChannels, comeChannels []string
	// streams are those of who may have it.
	streams []mapping.ScopeKey
}

// whereabouts compares who may have had a row, by the view that was of then and
// the past, with who sees it now. ok is false if the past adds nothing. Parents
// must be known, see pastNeeds.
func (r *Relay) whereabouts(plan *mapping.Plan, before, after imageOf) (w whereabouts, ok bool, err error) {
	v := r.pastOf(plan, before.row, before.view)
	then, err := seenBy(plan, before.row, v)
	if err != nil {
		return w, false, err
	}
	w.streams = then.streams
	others := r.past.others(then.scopes)
	for _, scope := range then.scopes {
		for _, u := range before.view.Soon(scope) {
			others[u.Key] = true
		}
	}
	if then.moments > 0 {
		if err := r.compare(&w, plan, then, after, others); err != nil {
			return w, false, err
		}
	}
	for user := range others {
		if u := after.view.User(user); u != nil {
			if err := r.follow(&w, plan, before.row, v, after, u); err != nil {
				return w, false, err
			}
		}
	}
	return w, then.moments > 0 || len(w.come)+len(w.gone) > 0, nil
}

// sightings are who saw a row at the moments of a view, by the memberships of
// now, and at how many of these; none if there was one alone.
type sightings struct {
	moments  int
	users    map[mapping.UserKey]int
	channels map[string]int
	streams  []mapping.ScopeKey
	scopes   []mapping.ScopeKey
}

func seenBy(plan *mapping.Plan, row *binlog.Row, v *pastView) (seen sightings, err error) {
	seen.users, seen.channels = map[mapping.UserKey]int{}, map[string]int{}
	var s mapping.Sight
	v.begin(false, false)
	for {
		if seen.scopes, err = plan.Scopes(seen.scopes, row, v); err != nil {
			return seen, err
		}
		if seen.moments == 0 && v.earlier == 0 && v.clock.IsZero() {
			return seen, nil
		}
		if err := plan.See(&s, row, v); err != nil {
			return seen, err
		}
		seen.moments++
		for _, u := range s.Users {
			seen.users[u.Key]++
		}
		for _, name := range s.Shared {
			seen.channels[name]++
		}
		for _, stream := range s.Streams {
			if !slices.Contains(seen.streams, stream) {
				seen.streams = append(seen.streams, stream)
			}
		}
		if !v.next() {
			return seen, nil
		}
	}
}

// compare compares who saw a row with who sees it now, but for the users of
// whom something was otherwise. Who sees it soon is told when it is time.
func (r *Relay) compare(w *whereabouts, plan *mapping.Plan, then sightings, after imageOf, others map[mapping.UserKey]bool) error {
	var s, awaits mapping.Sight
	if soon, ok := r.soonOf(plan, after); ok {
		if err := plan.See(&awaits, after.row, soon); err != nil {
			return err
		}
	}
	if err := plan.See(&s, after.row, after.view); err != nil {
		return err
	}
	for _, u := range s.Users {
		if !others[u.Key] && then.users[u.Key] < then.moments {
			w.come = append(w.come, u)
		}
		delete(then.users, u.Key)
	}
	for _, u := range awaits.Users {
		delete(then.users, u.Key)
	}
	for user := range then.users {
		if u := after.view.User(user); u != nil && !others[user] {
			w.gone = append(w.gone, u)
		}
	}
	for _, name := range s.Shared {
		if then.channels[name] < then.moments {
			w.comeChannels = append(w.comeChannels, name)
		}
		delete(then.channels, name)
	}
	for name := range then.channels {
		if !slices.Contains(awaits.Shared, name) {
			w.goneChannels = append(w.goneChannels, name)
		}
	}
	return nil
}

// follow compares what one user may have had with what he sees now.
func (r *Relay) follow(w *whereabouts, plan *mapping.Plan, row *binlog.Row, v *pastView, after imageOf, u *mapping.User) error {
	sees, variant, err := plan.Judge(after.row, after.view, u)
	if err != nil {
		return err
	}
	if sees {
		sure, err := v.surelyHas(plan, row, u, variant)
		if err == nil && !sure {
			w.come = append(w.come, u)
		}
		return err
	}
	gone, err := r.isGone(plan, row, v, after, u)
	if gone {
		w.gone = append(w.gone, u)
	}
	return err
}

// isGone says whether a user who does not see a row may have it, and is to be
// told: who sees it soon is told then.
func (r *Relay) isGone(plan *mapping.Plan, row *binlog.Row, v *pastView, after imageOf, u *mapping.User) (bool, error) {
	if soon, ok := r.soonOf(plan, after); ok {
		if sees, _, err := plan.Judge(after.row, soon, u); sees || err != nil {
			return false, err
		}
	}
	return v.had(plan, row, u)
}

// surelyHas says whether a user who sees a variant of a row has had that at
// every moment. What an app's policy said, nobody knows.
func (v *pastView) surelyHas(plan *mapping.Plan, row *binlog.Row, u *mapping.User, variant mapping.Variant) (bool, error) {
	if plan.Policy() != nil || v.past.unknown[u.Key] {
		return false, nil
	}
	for v.begin(true, true); ; {
		has, was, err := plan.Judge(row, v, v.user(u))
		if err != nil || !has || was != variant {
			return false, err
		}
		if !v.next() {
			return true, nil
		}
	}
}

// had says whether a user may have had a row at some moment.
func (v *pastView) had(plan *mapping.Plan, row *binlog.Row, u *mapping.User) (has bool, err error) {
	for v.begin(true, false); ; {
		if v.past.unknown[u.Key] {
			has, err = plan.Reaches(row, v, u)
		} else {
			has, _, err = plan.Judge(row, v, v.user(u))
		}
		if has || err != nil || !v.next() {
			return has, err
		}
	}
}

// imageOf is an image of a row, and the view of its time.
type imageOf struct {
	row  *binlog.Row
	view audience.View
}

// tell gives what is to be told, and to which channels: deletes, and updates of
// each variant.
func (w *whereabouts) tell(plan *mapping.Plan, now imageOf, give func(harmonic.Operation, mapping.Variant, []string) error) error {
	gone := w.goneChannels
	for _, u := range w.gone {
		if name := u.Channels[plan.Template()]; name != "" {
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 {
		if err := give(harmonic.Delete, 0, gone); err != nil {
			return err
		}
	}
	variants := map[mapping.Variant][]string{}
	if len(w.comeChannels) > 0 {
		variants[0] = w.comeChannels
	}
	for _, u := range w.come {
		name := u.Channels[plan.Template()]
		if name == "" {
			continue
		}
		_, v, err := plan.Judge(now.row, now.view, u)
		if err != nil {
			return err
		}
		variants[v] = append(variants[v], name)
	}
	for v, names := range variants {
		if err := give(harmonic.Update, v, names); err != nil {
			return err
		}
	}
	return nil
}

// pastNeeds appends the parents that have to be known to judge a row by the
// view and the past.
func (r *Relay) pastNeeds(refs []mapping.ParentRef, plan *mapping.Plan, row *binlog.Row, view audience.View) ([]mapping.ParentRef, error) {
	v := r.pastOf(plan, row, view)
	for {
		var err error
		if refs, err = plan.Needs(refs, row, v); err != nil || !v.next() {
			return refs, err
		}
	}
}

// pastNeedsOf appends those that have to be known to tell of a change by what
// was.
func (r *Relay) pastNeedsOf(refs []mapping.ParentRef, c *binlog.Change, old audience.View) ([]mapping.ParentRef, error) {
	if c.Before == nil {
		return refs, nil
	}
	plans, err := r.mapper.Plans(c.Table())
	if err != nil {
		return refs, err
	}
	for _, plan := range plans {
		if !r.anotherClock(plan, c.Before, old.Now()) && r.past.empty() && !old.AnySoon() {
			continue
		}
		if refs, err = r.pastNeeds(refs, plan, c.Before, old); err != nil {
			return refs, err
		}
	}
	return refs, nil
}
