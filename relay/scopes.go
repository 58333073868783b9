package relay

import (
	"context"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
)

// unfold makes items of a selection, one for each table that may have rows of
// it. Where clients are told of their scopes, that goes first: who is in the
// scope no more drops its rows by the message, so the items need take away only
// what it cannot describe.
func (r *Relay) unfold(ctx context.Context, j *job, s *selection) ([]redisstate.RecordKey, error) {
	told := map[string]bool{}
	if r.cfg.ScopeMessages && s.Scope != "" && !s.All {
		rows := r.refillMapper.RowsIn(s.Scope)
		dropped, err := r.tellScope(ctx, j, s.Scope, rows)
		if err != nil {
			return nil, err
		}
		for _, rows := range rows {
			told[rows.ID] = dropped && rows.Field != ""
		}
	}
	var items []redisstate.RecordKey
	for _, table := range r.tablesOf(s) {
		of := *s
		of.Told = told[table]
		items = append(items, of.item(table))
	}
	return items, nil
}

// tellScope tells each of a job's users whether he is in the scope; dropped
// says that one is not. What changes after that, he is told of after that: a
// user who comes or goes again has a job of his own for it.
func (r *Relay) tellScope(ctx context.Context, j *job, scope mapping.ScopeKey, rows []mapping.ScopeRows) (dropped bool, err error) {
	sent := newTally()
	err = r.between(ctx, func(ctx context.Context) error {
		_, view := r.audience.Views()
		r.mu.Lock()
		id, channels := harmonic.NewID(r.last, r.generation), j.channels
		r.mu.Unlock()
		type kind struct {
			template int
			member   bool
		}
		to := map[kind][]string{}
		for _, name := range channels {
			template, key, ok := r.mapper.UserOf(name)
			if !ok {
				continue
			}
			if u := view.User(key); u != nil && u.Channels[template] == name {
				k := kind{template, view.IsMember(u, scope)}
				to[k] = append(to[k], name)
			}
		}
		for k, names := range to {
			c := scopeMessage(id, scope, rows, k.template, k.member)
			if c == nil {
				continue
			}
			dropped = dropped || !k.member
			r.metrics.control.WithLabelValues(c.Type()).Add(float64(len(names)))
			text := c.AppendJSON(nil)
			m := &message{
				Event: pusher.Event{Name: harmonic.EventControl, Channels: names, Data: text}, id: id, key: string(text), owner: sent,
			}
			if err := r.enqueue(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	return dropped, sent.wait(ctx)
}

// scopeMessage says to channels of a template that their users are in a scope,
// or no more; nil if they get no rows of it.
func scopeMessage(id harmonic.ID, scope mapping.ScopeKey, rows []mapping.ScopeRows, template int, member bool) harmonic.Control {
	concerned := false
	revoked := harmonic.ScopeRevoked{ID: id, Scope: scope.Name()}
	for _, of := range rows {
		if of.Template != template {
			continue
		}
		concerned = true
		if of.Field != "" {
			revoked.Rows = append(revoked.Rows, harmonic.Rows{Table: of.Table, Where: []harmonic.Match{{Column: of.Field, Value: []byte(of.Value)}}})
		}
	}
	switch {
	case !concerned:
		return nil
	case member:
		return harmonic.ScopeGranted{ID: id, Scope: revoked.Scope}
	}
	return revoked
}
