package relay

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// activate makes channels live. What is to be known of users to route by is
// read first; from the transaction on up to which that was read, changes go to
// them, and what came since the last complete poll that lacked them is
// refilled.
func (r *Relay) activate(ctx context.Context, names []string, now time.Time) error {
	r.activating.Add(1)
	defer r.activating.Add(-1)
	loads, after, err := r.open(ctx, names)
	if err != nil {
		return err
	}
	loaded, err := r.load(ctx, loads, after)
	if err != nil {
		return err
	}
	if err := r.await(ctx, func() bool { return r.tail.Covers(loaded.Upto) }); err != nil {
		return err
	}
	var starts []redisstate.JobStart
	var late []string // whose users are not live after all: they are to be read once more
	var mark, from uint64
	err = r.between(ctx, func(context.Context) error {
		arrivals, err := r.audience.Finish(loaded)
		if err != nil {
			return err
		}
		_, view := r.audience.Views()
		r.mu.Lock()
		defer r.mu.Unlock()
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			_, key, ok := r.mapper.UserOf(name)
			if !ok || view.User(key) != nil {
				r.active[name] = now.Add(r.cfg.Lease)
				return false
			}
			late = append(late, name)
			return true
		})
		r.metrics.channels.Set(float64(len(r.active)))
		// What changes from here on goes to them; what changed before is in
		// the window, or on its way there.
		from, mark = r.complete, r.window.mark()
		starts = r.missed(view, names, arrivals, from)
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.window.await(ctx, mark); err != nil {
		return err
	}
	var notices map[string][]redisstate.RecordKey
	err = r.persist(ctx, func(ctx context.Context) (err error) {
		notices, err = r.announce(ctx, names, from)
		return err
	})
	if err != nil {
		return err
	}
	defer r.makes()()
	made, err := r.makeJobs(ctx, append(together(notices), starts...))
	if err != nil {
		return err
	}
	// Who was taken out of a scope, or sees by other attributes, has missed
	// what became of the rows since, too. From here on the past tells that.
	var more []redisstate.JobStart
	err = r.between(ctx, func(context.Context) error {
		defer r.list(made)
		for _, j := range append(made, r.selectionsOf(names)...) {
			r.remember(j.Items, j.Channels)
			for _, item := range j.Items {
				more = append(more, r.also(j.Channels, item.Key, from)...)
			}
		}
		mark = r.window.mark()
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.window.await(ctx, mark); err != nil {
		return err
	}
	if made, err = r.makeJobs(ctx, more); err != nil {
		return err
	}
	r.list(made)
	if len(late) > 0 {
		return r.activate(ctx, late, now)
	}
	return nil
}

// selectionsOf are the jobs with selections to work off for some channels, as
// far as they are for these: made before the channels were seen, or by an
// earlier run.
func (r *Relay) selectionsOf(names []string) (jobs []redisstate.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for j := range r.selecting {
		common := slices.DeleteFunc(slices.Clone(j.channels), func(name string) bool { return !slices.Contains(names, name) })
		if len(common) > 0 {
			jobs = append(jobs, redisstate.Job{ID: j.id, Channels: common, Items: slices.Clone(j.items)})
		}
	}
	return jobs
}

// also is what is to be sent beside an item that was kept for a user.
func (r *Relay) also(channels []string, key string, from uint64) (starts []redisstate.JobStart) {
	if !isSelection(key) {
		return nil
	}
	s, err := parseSelection(key)
	switch {
	case err != nil:
	case s.Scope != "":
		starts = append(starts, redisstate.JobStart{Channels: channels, Streams: []string{string(s.Scope)}, From: from})
	case s.User != "":
		_, view := r.audience.Views()
		for _, item := range r.byAttributes(view.User(s.User)) {
			starts = append(starts, redisstate.JobStart{
				Channels: channels, Streams: []string{string(item.Scope)}, From: from, Items: []redisstate.RecordKey{item.item("")},
			})
		}
	}
	return starts
}

// together makes jobs of notices by channel, one for all that get the same.
func together(notices map[string][]redisstate.RecordKey) []redisstate.JobStart {
	var starts []redisstate.JobStart
	for _, name := range slices.Sorted(maps.Keys(notices)) {
		items := notices[name]
		at := slices.IndexFunc(starts, func(s redisstate.JobStart) bool { return slices.Equal(s.Items, items) })
		if at < 0 {
			at = len(starts)
			starts = append(starts, redisstate.JobStart{Items: items})
		}
		starts[at].Channels = append(starts[at].Channels, name)
	}
	return starts
}

// open has the changes of users collected from here on, and says which of them
// are to be read, and after which point.
func (r *Relay) open(ctx context.Context, names []string) (loads []audience.Load, after binlog.Position, err error) {
	err = r.between(ctx, func(context.Context) error {
		loads, r.again = r.again, nil
		for _, name := range names {
			template, key, ok := r.mapper.UserOf(name)
			if !ok {
				continue
			}
			if l, load := r.audience.Open(key, template, name); load {
				loads = append(loads, l)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		after = r.tail.Clone()
		return nil
	})
	return loads, after, err
}

// load reads users. The database may be away for a while.
func (r *Relay) load(ctx context.Context, loads []audience.Load, after binlog.Position) (*audience.Loaded, error) {
	for n, said := 0, false; ; n++ {
		loaded, err := r.loader.Load(ctx, loads, after)
		if err == nil || ctx.Err() != nil || !binlog.Passing(err) {
			return loaded, err
		}
		if !said {
			said = true
			r.log.Warn("cannot read who is in which scope, trying again", "error", err)
		}
		if err := pause(ctx, pauseAfter(n, err)); err != nil {
			return nil, err
		}
	}
}

// missed says what to refill channels with that are live from here on: what
// was kept under the streams of their users, each for all that share it.
// r.mu is held.
func (r *Relay) missed(view mapping.View, names []string, arrivals []audience.Arrival, from uint64) []redisstate.JobStart {
	crossed := map[mapping.UserKey][]audience.Crossing{}
	for _, a := range arrivals {
		crossed[a.User.Key] = a.Crossed
	}
	byStream := map[mapping.ScopeKey]*redisstate.JobStart{}
	var order []mapping.ScopeKey
	add := func(stream mapping.ScopeKey, name string) *redisstate.JobStart {
		s := byStream[stream]
		if s == nil {
			s = &redisstate.JobStart{Streams: []string{string(stream)}, From: from}
			byStream[stream] = s
			order = append(order, stream)
		}
		s.Channels = append(s.Channels, name)
		return s
	}
	for _, name := range names {
		template, key, ok := r.mapper.UserOf(name)
		if !ok {
			add(mapping.ScopeKey(channelStream+name), name)
			continue
		}
		u := view.User(key)
		if u == nil || u.Channels[template] != name {
			continue // somebody else's name
		}
		own := add(streamOf(key), name)
		for _, c := range crossed[key] {
			if c.At.After(r.completeAt) {
				own.Items = append(own.Items, selection{Scope: c.Scope}.item(""))
			}
		}
		for _, scope := range r.audience.Scopes(u) {
			add(scope, name)
		}
	}
	starts := make([]redisstate.JobStart, len(order))
	for i, stream := range order {
		starts[i] = *byStream[stream]
	}
	return starts
}

// deactivate closes channels that a poll lacked when their lease had ended.
func (r *Relay) deactivate(ctx context.Context, p poll, seen map[string]bool) error {
	r.mu.Lock()
	var gone []string
	for name, expires := range r.active {
		if !seen[name] && expires.Before(p.started) {
			gone = append(gone, name)
		}
	}
	r.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	slices.Sort(gone)
	err := r.between(ctx, func(context.Context) error {
		for _, name := range gone {
			if template, key, ok := r.mapper.UserOf(name); ok {
				r.audience.Close(key, template, name)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, name := range gone {
			delete(r.active, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.drop(ctx)
}
