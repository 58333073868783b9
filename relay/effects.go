package relay

import (
	"context"
	"maps"
	"slices"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// note keeps for a user who is not there that his scopes or attributes have
// changed: what that gave or took is refilled when he comes.
func (r *Relay) note(ctx context.Context, page *page, n audience.Note) error {
	what := selection{Scope: n.Scope}
	if n.Scope == "" {
		what.User = n.User
	}
	item := what.item("")
	if err := r.window.reserve(ctx, 1); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.window.size() >= r.cfg.Window {
		// Whoever comes is told to load everything again.
		if !r.overflow(page, "") {
			r.window.release(1)
		}
		return nil
	}
	r.keep(page, streamOf(n.User), item.Table, item.Key)
	return nil
}

// effects refills those who are there with what a transaction gave them or took
// from them beside the rows that it changed. The jobs are in Redis before the
// transaction is settled.
func (r *Relay) effects(ctx context.Context, fx audience.Effects) error {
	if len(fx.Memberships)+len(fx.Users)+len(fx.Parents) > 0 {
		r.insights++
		r.past.changes++
	}
	change := r.past.changes
	channels := map[string][]string{} // by item
	var left []string
	add := func(s selection, u *mapping.User) {
		item := s.item("").Key
		for _, name := range u.Channels {
			if name != "" {
				channels[item] = append(channels[item], name)
			}
		}
	}
	for _, m := range fx.Memberships {
		r.past.membership(change, m)
		add(selection{Scope: m.Scope}, m.User)
	}
	for _, u := range fx.Users {
		same := slices.Equal(u.Was.Channels, u.Is.Channels)
		if !same {
			r.past.lose(u.Is.Key) // nothing was told on the new ones
		}
		left = append(left, leftBehind(u.Was, u.Is)...)
		r.past.had(change, u.Is.Key, u.Was.Subject.Attributes)
		for _, s := range r.byAttributes(u.Is) {
			s.All = same
			add(s, u.Is)
		}
	}
	var starts []redisstate.JobStart
	for _, m := range moved(fx.Parents, change) {
		m.noteIn(r.past)
		starts = append(starts, redisstate.JobStart{Channels: []string{whoever}, Items: []redisstate.RecordKey{selection{Parents: m}.item("")}})
	}
	for _, item := range slices.Sorted(maps.Keys(channels)) {
		names := slices.Sorted(slices.Values(channels[item]))
		starts = append(starts, redisstate.JobStart{Channels: slices.Compact(names), Items: []redisstate.RecordKey{{Key: item}}})
	}
	if len(left) > 0 {
		starts = append(starts, redisstate.JobStart{Channels: left, Items: []redisstate.RecordKey{r.reloadItem()}})
	}
	defer r.makes()()
	made, err := r.makeJobs(ctx, starts)
	r.list(made)
	return err
}

// leftBehind are the channels that are not a user's own any more, since their
// names bear attributes that have changed. Clients there get nothing from now
// on, so they are told to load again.
func leftBehind(was, is *mapping.User) (names []string) {
	for i, name := range was.Channels {
		if name != "" && is.Channels[i] != name {
			names = append(names, name)
		}
	}
	return names
}

// reloadItem tells a job's channels to load everything again.
func (r *Relay) reloadItem() redisstate.RecordKey {
	return redisstate.RecordKey{Key: string(r.reload("").AppendJSON(nil))}
}

// byAttributes are the rows that a user may see by other attributes than
// before: all of his scopes.
func (r *Relay) byAttributes(u *mapping.User) (list []selection) {
	if u == nil {
		return nil
	}
	for _, scope := range append(slices.Clone(r.audience.Scopes(u)), streamOf(u.Key)) {
		list = append(list, selection{Scope: scope, All: true, Anew: r.mapper.NamesAttributes()})
	}
	return list
}

// tablesOf are the IDs of those that may have rows of a selection.
func (r *Relay) tablesOf(s *selection) []string {
	if s.Parents != nil {
		return r.refillMapper.TablesBelow(s.Parents.ref(0))
	}
	return r.refillMapper.TablesIn(s.Scope)
}

// pagesOf are the ways to find a table's rows of a selection.
func pagesOf(plan *mapping.Plan, s *selection) []binlog.Selection {
	if s.Parents != nil {
		return s.Parents.children(plan)
	}
	return plan.Selections(s.Scope)
}
