package relay

import (
	"slices"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// newcomers are channels that are being made live, and what they have missed:
// what was kept under the streams of their users, each for all that share it.
type newcomers struct {
	all   []string // in order
	names map[mapping.UserKey][]string
	// until is when the leases end, and from the epoch from which on the
	// window has what was missed.
	until    time.Time
	from     uint64
	byStream map[mapping.ScopeKey]*redisstate.JobStart
	order    []mapping.ScopeKey
}

// nobodys is whose channels those are that are no user's.
const nobodys mapping.UserKey = ""

func newNewcomers(names []string, until time.Time) *newcomers {
	return &newcomers{
		all: names, names: map[mapping.UserKey][]string{}, until: until,
		byStream: map[mapping.ScopeKey]*redisstate.JobStart{},
	}
}

// has says whether a channel is one of them.
func (in *newcomers) has(name string) bool {
	_, found := slices.BinarySearch(in.all, name)
	return found
}

// missed has a channel refilled with what was kept under a stream.
func (in *newcomers) missed(stream mapping.ScopeKey, name string) *redisstate.JobStart {
	s := in.byStream[stream]
	if s == nil {
		s = &redisstate.JobStart{Streams: []string{string(stream)}, From: in.from}
		in.byStream[stream] = s
		in.order = append(in.order, stream)
	}
	s.Channels = append(s.Channels, name)
	return s
}

// starts are the refills.
func (in *newcomers) starts() []redisstate.JobStart {
	starts := make([]redisstate.JobStart, len(in.order))
	for i, stream := range in.order {
		s := in.byStream[stream]
		slices.Sort(s.Channels)
		s.Channels = slices.Compact(s.Channels)
		starts[i] = *s
	}
	return starts
}

// arrived makes a user's channels live, who is so himself from here on: what
// changes goes to them, and what changed before is in the window, or on its way
// there. It is an errand's.
func (r *Relay) arrived(in *newcomers, user mapping.UserKey, crossed []audience.Crossing) {
	_, view := r.audience.Views()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range in.names[user] {
		r.active[name] = in.until
	}
	r.metrics.channels.Set(float64(len(r.active)))
	if user == nobodys {
		for _, name := range in.names[user] {
			in.missed(mapping.ScopeKey(channelStream+name), name)
		}
		return
	}
	u := view.User(user)
	scopes := r.audience.Scopes(u)
	for _, name := range in.names[user] {
		if template, _, _ := r.mapper.UserOf(name); u.Channels[template] != name {
			continue // somebody else's name
		}
		own := in.missed(streamOf(user), name)
		for _, c := range crossed {
			if c.At.After(r.completeAt) {
				own.Items = append(own.Items, selection{Scope: c.Scope}.item(""))
			}
		}
		for _, scope := range scopes {
			in.missed(scope, name)
		}
	}
}
