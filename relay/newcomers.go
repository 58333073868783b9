package relay

import (
	"maps"
	"slices"
	"time"

	"github.com/chorusd/chorusd/audience"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/redisstate"
)

// newcomers are channels that are being made live, and what they have missed:
// what was kept under the streams of their users.
type newcomers struct {
	all   []string // in order
	names map[mapping.UserKey][]string
	// until is when the leases end, and from the epoch from which on the
	// window has what was missed.
	until time.Time
	from  uint64
	// streams are all that anybody has, by their numbers. Nearly all are empty
	// where many come together, so who has which is noted by numbers alone.
	streams []string
	numbers map[mapping.ScopeKey]uint32
	missed  []missed
	items   map[uint32][]redisstate.RecordKey // to be sent beside what a stream has
}

// missed is a channel, and the numbers of the streams that it has missed.
type missed struct {
	channel string
	streams []uint32
}

// nobodys is whose channels those are that are no user's.
const nobodys mapping.UserKey = ""

func newNewcomers(names []string, until time.Time) *newcomers {
	return &newcomers{
		all: names, names: map[mapping.UserKey][]string{}, until: until,
		numbers: map[mapping.ScopeKey]uint32{}, items: map[uint32][]redisstate.RecordKey{},
	}
}

// has says whether a channel is one of them.
func (in *newcomers) has(name string) bool {
	_, found := slices.BinarySearch(in.all, name)
	return found
}

// number is that of a stream.
func (in *newcomers) number(stream mapping.ScopeKey) uint32 {
	n, known := in.numbers[stream]
	if !known {
		n = uint32(len(in.streams))
		in.numbers[stream] = n
		in.streams = append(in.streams, string(stream))
	}
	return n
}

// starts are the refills, each for all channels that share a stream; kept says
// of which of them the window has anything.
func (in *newcomers) starts(kept []bool) []redisstate.JobStart {
	channels := map[uint32][]string{}
	for _, m := range in.missed {
		for _, n := range m.streams {
			if kept[n] || len(in.items[n]) > 0 {
				channels[n] = append(channels[n], m.channel)
			}
		}
	}
	var starts []redisstate.JobStart
	for _, n := range slices.Sorted(maps.Keys(channels)) {
		names := slices.Compact(slices.Sorted(slices.Values(channels[n])))
		starts = append(starts, redisstate.JobStart{Channels: names, Streams: []string{in.streams[n]}, From: in.from, Items: in.items[n]})
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
		delete(r.reopening, name)
	}
	if user == nobodys {
		for _, name := range in.names[user] {
			in.missed = append(in.missed, missed{name, []uint32{in.number(mapping.ScopeKey(channelStream + name))}})
		}
		return
	}
	u := view.User(user)
	scopes := r.audience.Scopes(u)
	streams := make([]uint32, 1, 1+len(scopes))
	own := in.number(streamOf(user))
	streams[0] = own
	for _, scope := range scopes {
		streams = append(streams, in.number(scope))
	}
	theirs := false
	for _, name := range in.names[user] {
		if template, _, _ := r.mapper.UserOf(name); u.Channels[template] == name {
			in.missed = append(in.missed, missed{name, streams})
			theirs = true
			continue
		}
		// The user's own bears other attributes: nothing comes on this one.
		n := in.number(mapping.ScopeKey(channelStream + name))
		in.items[n] = []redisstate.RecordKey{r.reloadItem()}
		in.missed = append(in.missed, missed{name, []uint32{n}})
	}
	for _, c := range crossed {
		if theirs && c.At.After(r.completeAt) {
			in.items[own] = append(in.items[own], selection{Scope: c.Scope}.item(""))
		}
	}
}
