package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// What the Pusher server does not take is set aside. It holds up nobody, and is
// sent again, as it is then, when it may be taken or an operator wants it.

// tooLarge says whether that is why an event is not sent, or not taken.
func tooLarge(err error) bool {
	_, limited := errors.AsType[*pusher.LimitError](err)
	e, answered := errors.AsType[*pusher.Error](err)
	return limited || answered && e.Class == pusher.Refused && e.Status == http.StatusRequestEntityTooLarge
}

// refused sets a message aside that can never be sent as it is. Of one that is
// too large, or not answered, clients get a pointer to the record.
func (r *Relay) refused(ctx context.Context, m *message, cause error) error {
	large := tooLarge(cause)
	if !large && !isNotTaken(cause) {
		return fmt.Errorf("publish %s of %s: %w", m.Name, m.table, cause)
	}
	r.metrics.setAside.WithLabelValues(r.mapper.NameOf(m.table)).Inc()
	r.sayOnce(m, cause)
	letter := redisstate.DeadLetter{Table: m.table, Key: m.key, Channels: m.Channels, ID: m.id.String(), Reason: cause.Error()}
	if large {
		letter.Limits = r.publisher.Limits().String()
	}
	if err := r.setAside(ctx, letter); err != nil || m.operation == 0 || !large && !isUnanswered(cause) {
		return err
	}
	return r.point(ctx, m)
}

// sayOnce logs that a message is set aside, once for each table and reason.
func (r *Relay) sayOnce(m *message, cause error) {
	large, unanswered := tooLarge(cause), isUnanswered(cause)
	said := struct {
		table             string
		large, unanswered bool
	}{m.table, large, unanswered}
	if _, again := r.setAsideOnce.LoadOrStore(said, true); again {
		return
	}
	log := r.log.With("table", m.table, "key", m.key, "error", cause)
	switch {
	case large:
		log.Error("a record is too large to publish: clients get a pointer to it, and it is set aside (see chorusd deadletters); this is said once per table")
	case unanswered:
		log.Error("a record is never answered while others are: clients get a pointer to it, and it is set aside (see chorusd deadletters); this is said once per table")
	default:
		log.Error("a record cannot be published and is set aside (see chorusd deadletters); this is said once per table")
	}
}

func (r *Relay) setAside(ctx context.Context, letter redisstate.DeadLetter) error {
	letter.At = time.Now()
	return r.persist(ctx, func(ctx context.Context) error { return r.state.SetAside(ctx, letter) })
}

// point sends a pointer in place of a record that is too large, with its id, so
// that clients fetch it. If that is not taken either, it is set aside already.
func (r *Relay) point(ctx context.Context, m *message) error {
	name := r.mapper.NameOf(m.table)
	pointer := harmonic.Pointer{ID: m.id, Table: name, RecordID: recordID(m.key), Operation: m.operation}
	cut, err := r.publisher.Cut(pusher.Event{Name: harmonic.EventControl, Channels: m.Channels, Data: pointer.AppendJSON(nil)})
	if err != nil && !tooLarge(err) {
		return fmt.Errorf("make a pointer to a record of %s: %w", m.table, err)
	}
	for _, e := range cut {
		taken := true
		err := r.inParts(ctx, m, e, func(pusher.Event, error) error {
			taken = false
			return nil
		})
		if err != nil {
			return fmt.Errorf("publish a pointer to a record of %s: %w", m.table, err)
		}
		if taken {
			r.metrics.pointers.WithLabelValues(name).Inc()
		}
	}
	return nil
}

// recordID is how a record's key stands in messages.
func recordID(key string) []byte {
	var values []json.RawMessage
	if json.Unmarshal([]byte(key), &values) == nil && len(values) == 1 {
		return values[0]
	}
	return []byte(key)
}

// retryInterval is how often it is looked whether an operator wants what was
// set aside to be sent again.
const retryInterval = time.Second

// resend sends again what was set aside, until ctx ends, which returns nil: once
// after the start what may be taken by now, and all when an operator wants it.
func (r *Relay) resend(ctx context.Context) error {
	ticker := time.NewTicker(retryInterval)
	defer ticker.Stop()
	for started := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var wanted bool
		err := r.persist(ctx, func(ctx context.Context) error {
			kept, err := r.state.CountDeadLetters(ctx)
			if err != nil {
				return err
			}
			r.metrics.deadLetters.Set(float64(kept))
			wanted, err = r.state.RetryAsked(ctx)
			return err
		})
		if err == nil && r.mayRefill() && (wanted || !started) {
			started = true
			err = r.resendLetters(ctx, wanted)
		}
		if ended(ctx) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// resendLetters sends again what was set aside: all, or what was not too large,
// or was so by other limits.
func (r *Relay) resendLetters(ctx context.Context, all bool) error {
	var letters []redisstate.DeadLetter
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		letters, err = r.state.DeadLetters(ctx)
		return err
	})
	if err != nil {
		return err
	}
	slices.Reverse(letters) // the oldest first
	limits := r.publisher.Limits().String()
	letters = slices.DeleteFunc(letters, func(l redisstate.DeadLetter) bool { return !all && l.Limits == limits })
	if len(letters) > 0 {
		r.log.Info("records that were set aside are sent again, as they are now", "records", len(letters))
		if err := r.refillLetters(ctx, letters); err != nil {
			return err
		}
	}
	return r.persist(ctx, func(ctx context.Context) error {
		if err := r.state.RemoveLetters(ctx, letters); err != nil || !all {
			return err
		}
		return r.state.RetryDone(ctx)
	})
}

// refillLetters makes jobs of what was set aside, for those who have it coming
// and are there. What is not named is loaded again.
func (r *Relay) refillLetters(ctx context.Context, letters []redisstate.DeadLetter) error {
	var starts []redisstate.JobStart
	var mark uint64
	err := r.between(ctx, func(ctx context.Context) error {
		for _, l := range letters {
			_, mapped := r.mapper.SourceOf(l.Table)
			switch {
			case l.Key == "" && !mapped:
			case l.Key == "":
				if err := r.tellReload(ctx, nil, l.Table); err != nil {
					return err
				}
			case l.Many:
				starts = append(starts, redisstate.JobStart{
					Channels: r.reachedBy(l.Table), Items: []redisstate.RecordKey{selection{Keys: []string{l.Key}, Anew: true}.item(l.Table)},
				})
			default:
				starts = append(starts, redisstate.JobStart{Channels: r.reachable(slices.Clone(l.Channels)), Items: []redisstate.RecordKey{{Table: l.Table, Key: l.Key}}})
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
	made, err := r.makeJobs(ctx, starts)
	r.list(made)
	return err
}

// reachedBy are the active channels that a table's rules can give.
func (r *Relay) reachedBy(table string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for name := range r.active {
		if r.mapper.Reaches(table, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
