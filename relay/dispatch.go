package relay

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
)

// route sends one harmonic to those who are there to get it. With the first
// variant of a position, its key is kept for those who are not.
func (r *Relay) route(ctx context.Context, t *routed, c *binlog.Change, h *mapping.Harmonic) error {
	if h.First {
		if err := r.position(ctx, t, c, h); err != nil {
			return err
		}
	}
	names := t.names(h)
	if len(names) == 0 {
		return nil
	}
	if t.told != nil {
		for _, name := range names {
			t.told[told{h.Plan, name}] = true
		}
	}
	at := time.UnixMicro(int64(c.Time))
	var err error
	switch {
	case h.Plan.Policy() == nil:
		r.payload, err = h.AppendPayload(r.payload[:0], t.id, at)
	case h.Operation == harmonic.Delete: // nobody knows what the policy let them see of it
		r.payload, err = h.Plan.AppendGone(r.payload[:0], t.id, at, t.key)
	default:
		return r.gather(ctx, t, h, names)
	}
	if err != nil {
		return err
	}
	m := &message{
		Event: pusher.Event{Name: h.Plan.Event(h.Operation), Channels: names, Data: r.payload},
		id:    t.id, operation: h.Operation, table: h.Plan.ID(), key: t.key, streams: t.streams, owner: t.page, committed: c.Time,
	}
	pieces, err := r.pieces(m)
	if err == nil && m.misfit != nil && h.Operation == harmonic.Delete {
		if m.Data, err = h.Plan.AppendGone(r.payload[:0], t.id, at, t.key); err != nil {
			return err
		}
		m.misfit = nil
		pieces, err = r.pieces(m)
	}
	if err != nil {
		return err
	}
	m.Data = bytes.Clone(m.Data)
	for _, piece := range pieces {
		piece.Data = m.Data
	}
	if err := r.queue.reserve(ctx, m.Event, pieces); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics.came(stageRouted, m.committed, time.Now())
	r.queue.push(pieces...)
	r.chunk.told(m)
	return nil
}

// position begins a harmonic's position: it gets an id, and its key is kept
// under the streams of those who are not there, and under those of every
// scope, whose members may come at any time.
func (r *Relay) position(ctx context.Context, t *routed, c *binlog.Change, h *mapping.Harmonic) (err error) {
	if t.id, err = r.issue(ctx, c.Time); err != nil {
		return err
	}
	r.metrics.harmonics.WithLabelValues(h.Plan.Table(), h.Operation.String()).Inc()
	r.vigil.step()
	if r.key, err = h.Plan.AppendKey(r.key[:0], h.Row); err != nil {
		return err
	}
	t.key, t.streams = string(r.key), slices.Clone(h.Streams)
	if err := r.window.reserve(ctx, len(t.streams)+1); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = r.seq
	r.chunk.changed(h.Plan.ID(), t.key)
	full := r.window.size() >= r.cfg.Window
	t.open = full || r.unknown
	// Without room it is sent to all who may be there.
	r.keepUnder(t.page, h.Plan, t.key, t.streams, t.now, full, h.Plan.Direct())
	return nil
}

// keepUnder keeps a record's key under those of streams that somebody may
// follow who is not there by the view; room for all and a notice was reserved.
// What is missed, since the window is full, overflows it; but users whom it is
// sent to without being there miss nothing. r.mu is held.
func (r *Relay) keepUnder(owner acknowledger, plan *mapping.Plan, key string, streams []mapping.ScopeKey, view mapping.View, full, sent bool) {
	room, lacks := len(streams)+1, false
	for _, stream := range streams {
		user, own := userOf(stream)
		switch {
		case strings.HasPrefix(string(stream), channelStream): // but in doubt, see there
		// What is sent because nobody knows who is there may reach nobody.
		case own && !r.unknown && isThere(view.User(user), plan):
		case full:
			lacks = lacks || !own || !sent
		default:
			r.keep(owner, stream, plan.ID(), key)
			room--
		}
	}
	if lacks && r.overflow(owner, plan.ID()) {
		room--
	}
	r.window.release(room)
}

// isThere says whether a user is connected to hear of a plan's rows.
func isThere(u *mapping.User, p *mapping.Plan) bool {
	return u != nil && u.Channels[p.Template()] != ""
}

// names are the channels of those who get a harmonic.
func (t *routed) names(h *mapping.Harmonic) []string {
	names := make([]string, 0, len(h.Users)+len(h.Shared))
	for _, u := range h.Users {
		if name := u.Channels[h.Plan.Template()]; name != "" {
			names = append(names, name)
		}
	}
	names = append(names, h.Shared...)
	if t.open {
		names = append(names, h.Absent...)
	}
	return names
}

// channelStream is what the streams of shared channels start with.
const channelStream = "channel:"

// userOf is whose own stream it is; ok is false if it is another one.
func userOf(stream mapping.ScopeKey) (key mapping.UserKey, ok bool) {
	const own = "user:"
	tenant, rest := "", string(stream)
	if i := strings.IndexByte(rest, ':'); i >= 0 {
		if slash := strings.LastIndexByte(rest[:i], '/'); slash >= 0 {
			tenant, rest = rest[:slash+1], rest[slash+1:]
		}
	}
	if !strings.HasPrefix(rest, own) {
		return "", false
	}
	return mapping.UserKey(tenant + rest[len(own):]), true
}

// streamOf is the stream of a user's own.
func streamOf(key mapping.UserKey) mapping.ScopeKey {
	return own(key, "user:")
}

// own puts a scope's name before a user's key, behind the tenant.
func own(key mapping.UserKey, name string) mapping.ScopeKey {
	text := string(key)
	if !strings.HasPrefix(text, `"`) {
		if slash := strings.IndexByte(text, '/'); slash >= 0 {
			return mapping.ScopeKey(text[:slash+1] + name + text[slash+1:])
		}
	}
	return mapping.ScopeKey(name + text)
}

// streamOfChannel is where what a channel alone misses is kept.
func (r *Relay) streamOfChannel(name string) mapping.ScopeKey {
	if _, key, ok := r.mapper.UserOf(name); ok {
		return streamOf(key)
	}
	return mapping.ScopeKey(channelStream + name)
}

// overflow notes that the window lacks changes of a table: clients of it that
// come from here on are told to load it again. It says whether it took the room
// of an entry. r.mu is held.
func (r *Relay) overflow(owner acknowledger, table string) bool {
	if r.overflown[table] == r.epoch {
		return false
	}
	r.overflown[table] = r.epoch
	r.log.Warn("the window is full (channels.window); clients of a table that come now are told to load it again", "table", table)
	r.keep(owner, everybody, table, string(r.reload(table).AppendJSON(nil)))
	return true
}
