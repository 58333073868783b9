package relay

import (
	"maps"
	"slices"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
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
	ahead, soon := r.ahead(plan, before.row, before.view.Now())
	if soon {
		v.clock = ahead
	}
	scopes, err := plan.Scopes(nil, before.row, v)
	if err != nil {
		return w, false, err
	}
	if len(v.picks) == 0 && v.clock.IsZero() {
		return r.whoeverElse(plan, before, after, scopes)
	}
	v.picks = v.picks[:0]
	had, certain := map[mapping.UserKey]bool{}, map[mapping.UserKey]bool{}
	hadChannels, certainChannels := map[string]bool{}, map[string]bool{}
	var s mapping.Sight
	for first := true; first || v.next(); first = false {
		v.wide = true
		if err := plan.See(&s, before.row, v); err != nil {
			return w, false, err
		}
		for _, u := range s.Users {
			had[u.Key] = true
		}
		for _, stream := range s.Streams {
			if !slices.Contains(w.streams, stream) {
				w.streams = append(w.streams, stream)
			}
		}
		for _, name := range s.Shared {
			hadChannels[name] = true
		}
		if err := r.formerly(plan, before.row, v, had); err != nil {
			return w, false, err
		}
		v.wide = false
		if err := plan.See(&s, before.row, v); err != nil {
			return w, false, err
		}
		certain = meet(certain, first, s.Users, func(u *mapping.User) mapping.UserKey { return u.Key })
		certainChannels = meet(certainChannels, first, s.Shared, func(name string) string { return name })
	}
	r.past.users(func(user mapping.UserKey) { delete(certain, user) })
	if soon { // who sees it then is told when it is time
		if err := plan.See(&s, after.row, atClock{after.view, ahead}); err != nil {
			return w, false, err
		}
		for _, u := range s.Users {
			delete(had, u.Key)
		}
		for _, name := range s.Shared {
			delete(hadChannels, name)
		}
	}
	if err := plan.See(&s, after.row, after.view); err != nil {
		return w, false, err
	}
	for _, u := range s.Users {
		delete(had, u.Key)
		if !certain[u.Key] {
			w.come = append(w.come, u)
		}
	}
	for user := range had {
		if u := after.view.User(user); u != nil {
			w.gone = append(w.gone, u)
		}
	}
	for _, name := range s.Shared {
		delete(hadChannels, name)
		if !certainChannels[name] {
			w.comeChannels = append(w.comeChannels, name)
		}
	}
	for name := range hadChannels {
		w.goneChannels = append(w.goneChannels, name)
	}
	return w, true, nil
}

// whoeverElse is whereabouts of a row whose place was the same: only those are
// looked at of whom something was otherwise.
func (r *Relay) whoeverElse(plan *mapping.Plan, before, after imageOf, scopes []mapping.ScopeKey) (w whereabouts, ok bool, err error) {
	others := map[mapping.UserKey]bool{}
	for _, scope := range scopes {
		maps.Copy(others, r.past.left[scope])
		maps.Copy(others, r.past.joined[scope])
	}
	r.past.users(func(user mapping.UserKey) { others[user] = true })
	for user := range others {
		u := after.view.User(user)
		if u == nil {
			continue
		}
		sees, variant, err := plan.Judge(after.row, after.view, u)
		if err != nil {
			return w, false, err
		}
		if sees {
			sure, err := r.surelyHas(plan, before.row, before.view, u, variant)
			if err != nil {
				return w, false, err
			}
			if !sure {
				w.come = append(w.come, u)
			}
			continue
		}
		had, err := r.hadIt(plan, before.row, before.view, u)
		if err != nil {
			return w, false, err
		}
		if had {
			w.gone = append(w.gone, u)
		}
	}
	return w, len(w.come)+len(w.gone) > 0, nil
}

// imageOf is an image of a row, and the view of its time.
type imageOf struct {
	row  *binlog.Row
	view mapping.View
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

// meet leaves in a set what is in the list, too; first says that it is all.
func meet[T any, K comparable](set map[K]bool, first bool, list []T, key func(T) K) map[K]bool {
	next := map[K]bool{}
	for _, x := range list {
		if k := key(x); first || set[k] {
			next[k] = true
		}
	}
	return next
}

// formerly adds those who saw a row by attributes that they had.
func (r *Relay) formerly(plan *mapping.Plan, row *binlog.Row, v *pastView, had map[mapping.UserKey]bool) (err error) {
	r.past.users(func(user mapping.UserKey) {
		u := v.User(user)
		if u == nil || had[user] || err != nil {
			return
		}
		var has bool
		if has, err = r.mayHave(plan, row, v, u); has {
			had[user] = true
		}
	})
	return err
}

// mayHave says whether a user saw a row by one combination of what was.
func (r *Relay) mayHave(plan *mapping.Plan, row *binlog.Row, v *pastView, u *mapping.User) (bool, error) {
	if r.past.unknown[u.Key] {
		return plan.Reaches(row, v, u)
	}
	has, _, err := plan.Judge(row, v, u)
	if has || err != nil {
		return has, err
	}
	for _, attributes := range r.past.attributes[u.Key] {
		then := *u
		then.Subject.Attributes = attributes
		if has, _, err = plan.Judge(row, v, &then); has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// surelyHas says whether a user who sees a variant of a row has had that by all
// that was. What an app's policy said, nobody knows.
func (r *Relay) surelyHas(plan *mapping.Plan, row *binlog.Row, view mapping.View, u *mapping.User, variant mapping.Variant) (bool, error) {
	if plan.Policy() != nil || r.past.unknown[u.Key] {
		return false, nil
	}
	v := r.pastOf(plan, row, view)
	v.wide = false
	for {
		for _, attributes := range slices.Concat([][]filter.Value{u.Subject.Attributes}, r.past.attributes[u.Key]) {
			then := *u
			then.Subject.Attributes = attributes
			has, was, err := plan.Judge(row, v, &then)
			if err != nil || !has || was != variant {
				return false, err
			}
		}
		if !v.next() {
			return true, nil
		}
	}
}

// hadIt says whether a user who does not see a row may have it.
func (r *Relay) hadIt(plan *mapping.Plan, row *binlog.Row, view mapping.View, u *mapping.User) (bool, error) {
	v := r.pastOf(plan, row, view)
	for {
		has, err := r.mayHave(plan, row, v, u)
		if has || err != nil {
			return has, err
		}
		if !v.next() {
			return false, nil
		}
	}
}

// pastNeeds appends the parents that have to be known to judge a row by the
// view and the past.
func (r *Relay) pastNeeds(refs []mapping.ParentRef, plan *mapping.Plan, row *binlog.Row, view mapping.View) ([]mapping.ParentRef, error) {
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
func (r *Relay) pastNeedsOf(refs []mapping.ParentRef, c *binlog.Change, old mapping.View) ([]mapping.ParentRef, error) {
	if c.Before == nil {
		return refs, nil
	}
	plans, err := r.mapper.Plans(c.Table())
	if err != nil {
		return refs, err
	}
	for _, plan := range plans {
		if !r.anotherClock(plan, c.Before, old.Now()) && r.past.empty() {
			continue
		}
		if refs, err = r.pastNeeds(refs, plan, c.Before, old); err != nil {
			return refs, err
		}
	}
	return refs, nil
}
