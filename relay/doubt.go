package relay

import (
	"context"
	"errors"
	"time"

	"github.com/chorusd/chorusd/pusher"
)

// doubt is what a Pusher server leaves that was not to be reached: it may have
// restarted, and then takes harmonics before its clients are back to hear
// them. So it may have while chorusd itself was down for long. While there is
// doubt, what is sent is kept in the window as well, as far as there is room,
// and nothing there is forgotten. From the first poll that is answered again,
// every channel, also a shared one, is refilled when it is seen. One lease
// later the clients had their time to come back.
type doubt struct {
	on       bool
	failed   time.Time // the last failure; a poll begun before it proves nothing
	answered time.Time // when the first answered poll after it began
}

// raiseDoubt notes that a request to the Pusher server was not answered.
func (r *Relay) raiseDoubt(err error) {
	var e *pusher.Error
	if !errors.As(err, &e) || e.Class != pusher.Unsent && e.Class != pusher.Unknown {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubt = doubt{on: true, failed: time.Now()}
}

// inDoubt says whether there is doubt still, given a complete poll. After the
// first such poll every channel counts as one that has just been opened.
func (r *Relay) inDoubt(p poll) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := &r.doubt
	switch {
	case !d.on:
	case p.started.Before(d.failed):
	case d.answered.IsZero():
		d.answered = p.started
		for name := range r.active {
			r.reopen(name)
		}
	case p.started.Sub(d.answered) > r.cfg.Lease:
		*d = doubt{}
	}
	return d.on
}

// keepInDoubt puts the keys of a batch into the window before it is sent, if
// there is doubt whether its channels have listeners. Notices are there anyway.
func (r *Relay) keepInDoubt(ctx context.Context, batch []*message) error {
	r.mu.Lock()
	on := r.doubt.on
	r.mu.Unlock()
	if !on || r.window.size() >= r.cfg.Window {
		return nil
	}
	for _, m := range batch {
		if m.kept || isControl(m.key) {
			continue
		}
		m.kept = true
		streams := m.streams
		if streams == nil { // of a refill
			for _, name := range m.Channels {
				streams = append(streams, r.streamOfChannel(name))
			}
		}
		for _, stream := range streams {
			if err := r.window.reserve(ctx, 1); err != nil {
				return err
			}
			r.mu.Lock()
			r.keep(m.owner, stream, m.table, m.key)
			r.mu.Unlock()
		}
	}
	return nil
}
