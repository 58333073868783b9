package relay

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/redisstate"
)

// activate makes channels live. What is to be known of users to route by is
// read first; from the transaction on up to which that was read, changes go to
// them, and what came since the last complete poll that lacked them is
// refilled.
func (r *Relay) activate(ctx context.Context, names []string, now time.Time) error {
	r.activating.Add(1)
	defer r.activating.Add(-1)
	in := newNewcomers(slices.Sorted(slices.Values(names)), now.Add(r.cfg.Lease))
	for {
		if err := r.enter(ctx, in); err != nil {
			return err
		}
		live, mark := false, uint64(0)
		err := r.between(ctx, func(context.Context) error {
			// A table of memberships that was emptied meanwhile has everybody read again.
			live, mark = len(r.again) == 0, r.window.mark()
			return nil
		})
		if err != nil {
			return err
		}
		if live {
			return r.refillMissed(ctx, in, mark)
		}
	}
}

// refillMissed makes jobs of what newcomers have missed, once all of that is in
// the window up to a mark.
func (r *Relay) refillMissed(ctx context.Context, in *newcomers, mark uint64) error {
	if err := r.window.await(ctx, mark); err != nil {
		return err
	}
	var notices map[string][]redisstate.RecordKey
	var kept []bool
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		if notices, err = r.announce(ctx, in.all, in.from); err != nil {
			return err
		}
		kept, err = r.state.Kept(ctx, in.from, in.streams)
		return err
	})
	if err != nil {
		return err
	}
	defer r.makes()()
	made, err := r.makeJobs(ctx, append(together(notices), in.starts(kept)...))
	if err != nil {
		return err
	}
	// Who was taken out of a scope, or sees by other attributes, has missed
	// what became of the rows since, too. From here on the past tells that.
	var more []redisstate.JobStart
	err = r.between(ctx, func(context.Context) error {
		defer r.list(made)
		for _, j := range append(made, r.selectionsOf(in)...) {
			r.remember(j.Items, j.Channels)
			for _, item := range j.Items {
				more = append(more, r.also(j.Channels, item.Key, in.from)...)
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
	return nil
}

// selectionsOf are the jobs with selections to work off for newcomers, as
// far as they are for these: made before the channels were seen, or by an
// earlier run.
func (r *Relay) selectionsOf(in *newcomers) (jobs []redisstate.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for j := range r.selecting {
		common := slices.DeleteFunc(slices.Clone(j.channels), func(name string) bool { return !in.has(name) })
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

// loadedAtOnce is how many users are read, and then made live between two
// transactions.
const loadedAtOnce = 4000

// enter makes users live, some at a time, and notes what they have missed.
func (r *Relay) enter(ctx context.Context, in *newcomers) error {
	loads, after, err := r.open(ctx, in)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(loads, loadedAtOnce) {
		loaded, err := r.load(ctx, some, after)
		if err != nil {
			return err
		}
		if err := r.await(ctx, func() bool { return r.tail.Covers(loaded.Upto) }); err != nil {
			return err
		}
		err = r.between(ctx, func(context.Context) error {
			arrivals, err := r.audience.Finish(loaded)
			if err != nil {
				return err
			}
			for _, a := range arrivals {
				r.arrived(in, a.User.Key, a.Crossed)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// open has the changes of users collected from here on, and says which of them
// are to be read, and after which point. The others are live already.
func (r *Relay) open(ctx context.Context, in *newcomers) (loads []audience.Load, after binlog.Position, err error) {
	err = r.between(ctx, func(context.Context) error {
		loads, r.again = r.again, nil
		r.mu.Lock()
		after, in.from = r.tail.Clone(), r.complete
		names := slices.DeleteFunc(slices.Clone(in.all), func(name string) bool { _, live := r.active[name]; return live })
		r.mu.Unlock()
		clear(in.names)
		for _, name := range names {
			template, key, ok := r.mapper.UserOf(name)
			if !ok {
				in.names[nobodys] = append(in.names[nobodys], name)
				continue
			}
			in.names[key] = append(in.names[key], name)
			if l, load := r.audience.Open(key, template, name); load {
				loads = append(loads, l)
			}
		}
		_, view := r.audience.Views()
		for key := range in.names {
			if key == nobodys || view.User(key) != nil {
				r.arrived(in, key, nil)
			}
		}
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

// deactivate closes channels that a poll lacked when their lease had ended, or
// since they were to be opened again, but for those to which something is on
// its way: whoever comes back may get that, and has to get what comes after it.
func (r *Relay) deactivate(ctx context.Context, p poll, seen map[string]bool) error {
	r.mu.Lock()
	var gone []string
	for name, expires := range r.active {
		if !seen[name] && expires.Before(p.started) {
			gone = append(gone, name)
		}
	}
	for name := range r.reopening {
		if !seen[name] {
			gone = append(gone, name)
		}
	}
	r.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	slices.Sort(gone)
	return r.between(ctx, func(context.Context) error {
		gone = slices.DeleteFunc(gone, r.queue.holds)
		for _, name := range gone {
			if template, key, ok := r.mapper.UserOf(name); ok {
				r.audience.Close(key, template, name)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, name := range gone {
			delete(r.active, name)
			delete(r.reopening, name)
		}
		return nil
	})
}
