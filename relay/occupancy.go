package relay

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// Which channels are active: a lease for each, renewed by polls and webhooks.
//
// Polls are numbered (the epoch), and what is kept in the window is kept with
// the number of the last poll that was begun. A channel that a complete poll
// lacked and that is seen now opened after the poll began, so what it missed
// is in the window from that epoch on.

// poll is the answer to the question which channels are occupied.
type poll struct {
	epoch   uint64
	started time.Time
	clock   time.Time // of conditions when it was begun
	names   []string
	err     error
}

// Notify takes the Pusher server's webhooks.
func (r *Relay) Notify(ctx context.Context, events []pusher.WebhookEvent) {
	select {
	case r.notices <- events:
	case <-ctx.Done():
	}
}

// watch keeps the active channels until ctx ends, which returns nil.
func (r *Relay) watch(ctx context.Context) error {
	polls := make(chan poll)
	var asking sync.WaitGroup
	defer asking.Wait()
	begin := time.NewTimer(0)
	defer begin.Stop()
	failing := false
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-begin.C:
			asking.Go(func() { r.ask(ctx, r.beginPoll(), polls) })
		case p := <-polls:
			if p.err != nil {
				r.metrics.polls.WithLabelValues(outcomeFailed).Inc()
				if !failing && ctx.Err() == nil {
					r.log.Warn("cannot ask the Pusher server for its active channels, trying again", "error", p.err)
				}
				failing = true
				r.raiseDoubt(p.err)
				r.forgetIfStale(time.Now())
			} else {
				if failing {
					r.log.Info("asking the Pusher server for its active channels works again")
				}
				failing = false
				r.metrics.polls.WithLabelValues(outcomeComplete).Inc()
				err = r.took(ctx, p)
			}
			begin.Reset(r.cfg.PollInterval - r.cfg.PollInterval/10 + rand.N(r.cfg.PollInterval/5))
		case events := <-r.notices:
			err = r.noticed(ctx, events)
		}
		if ended(ctx) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *Relay) beginPoll() poll {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	return poll{epoch: r.epoch, started: time.Now(), clock: r.timers.now()}
}

// ask makes the poll's requests, one for each form of channel.
func (r *Relay) ask(ctx context.Context, p poll, polls chan<- poll) {
	for _, prefix := range r.mapper.ChannelPrefixes() {
		names, err := r.publisher.Channels(ctx, prefix)
		if p.err = err; err != nil {
			break
		}
		p.names = append(p.names, names...)
	}
	select {
	case polls <- p:
	case <-ctx.Done():
	}
}

// took takes a complete poll.
func (r *Relay) took(ctx context.Context, p poll) error {
	doubtful := r.inDoubt(p)
	if err := r.see(ctx, redisstate.SourcePoll, p.names, p.started); err != nil {
		return err
	}
	seen := make(map[string]bool, len(p.names))
	for _, name := range p.names {
		seen[name] = true
	}
	if err := r.deactivate(ctx, p, seen); err != nil {
		return err
	}
	return r.noted(ctx, p, seen, doubtful)
}

// noted notes that a complete poll was taken, whose channels are active but for
// those that have to be opened again since.
func (r *Relay) noted(ctx context.Context, p poll, seen map[string]bool, doubtful bool) error {
	first, err := r.know(ctx, p)
	if err != nil {
		return err
	}
	r.mu.Lock()
	// Everything seen was refilled from the poll before, so from here on
	// this one is the last that a new channel can have been absent from.
	if !doubtful {
		r.complete, r.completeAt = p.epoch, p.clock
	}
	r.polledAt = p.started
	r.polled = true
	for name := range seen {
		if r.reopening[name] {
			r.polled = false
		}
	}
	r.mu.Unlock()
	if err := r.drop(ctx); err != nil {
		return err
	}
	if first {
		r.log.Info("active channels are known", "channels", len(p.names))
	}
	if doubtful {
		return nil
	}
	r.window.trim(p.epoch)
	return r.persist(ctx, func(ctx context.Context) error {
		if err := r.state.PollDone(ctx, p.epoch, p.started); err != nil {
			return err
		}
		if _, err := r.state.RemoveExpired(ctx, p.started); err != nil {
			return err
		}
		return r.state.TrimWindow(ctx, p.epoch)
	})
}

// know has channels be known again, if they were not. What was sent to users of
// whom nobody knew that they were not there may still be on its way. They are
// live for as long as it is, like those who leave: whoever comes back may get it,
// and has to get what comes after it.
func (r *Relay) know(ctx context.Context, p poll) (first bool, err error) {
	var absent []string
	err = r.between(ctx, func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if first = r.unknown; !first {
			return nil
		}
		r.unknown = false
		absent = slices.DeleteFunc(r.queue.held(), func(name string) bool {
			_, active := r.active[name]
			_, _, users := r.mapper.UserOf(name)
			return active || !users
		})
		return nil
	})
	if err != nil || len(absent) == 0 {
		return first, err
	}
	return first, r.activate(ctx, absent, p.started.Add(-r.cfg.Lease))
}

// noticed takes webhooks. They are hints: a channel seen occupied is active at
// once, one seen vacated stays until a poll confirms it.
func (r *Relay) noticed(ctx context.Context, events []pusher.WebhookEvent) error {
	now := time.Now()
	var occupied []string
	for _, e := range events {
		if !r.isOurs(e.Channel) {
			continue
		}
		if e.Name == pusher.ChannelOccupied {
			occupied = append(occupied, e.Channel)
			continue
		}
		if i := slices.Index(occupied, e.Channel); i >= 0 {
			occupied = slices.Delete(occupied, i, i+1)
		}
		r.mu.Lock()
		_, ok := r.active[e.Channel]
		if ok {
			r.active[e.Channel] = now
		}
		r.mu.Unlock()
		if ok {
			err := r.persist(ctx, func(ctx context.Context) error { return r.state.ShortenLease(ctx, e.Channel, now) })
			if err != nil {
				return err
			}
		}
	}
	if len(occupied) == 0 {
		return nil
	}
	return r.see(ctx, redisstate.SourceWebhook, occupied, now)
}

// isOurs says whether a channel's name is one that the mapping can give.
func (r *Relay) isOurs(name string) bool {
	return slices.ContainsFunc(r.mapper.ChannelPrefixes(), func(h string) bool { return strings.HasPrefix(name, h) })
}

// see notes that channels are active and has those that were not refilled.
func (r *Relay) see(ctx context.Context, source string, names []string, now time.Time) error {
	if len(names) == 0 {
		return nil
	}
	r.mu.Lock()
	var fresh []string
	for _, name := range names {
		if _, ok := r.active[name]; ok {
			r.active[name] = now.Add(r.cfg.Lease)
			continue
		}
		fresh = append(fresh, name)
	}
	r.mu.Unlock()
	if len(fresh) > 0 {
		if err := r.activate(ctx, fresh, now); err != nil {
			return err
		}
	}
	return r.persist(ctx, func(ctx context.Context) error {
		return r.state.RenewChannels(ctx, source, names, now, r.cfg.Lease)
	})
}

// forgetIfStale publishes to everybody again when polls have failed for
// longer than a lease.
func (r *Relay) forgetIfStale(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.unknown && now.Sub(r.polledAt) > r.cfg.Lease {
		r.unknown, r.doubt = true, doubt{on: true, failed: now}
		r.log.Warn("active channels are no longer known; publishing to every user's channel until they are")
	}
}
