package oracle

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// moved has those leave whose channel is their user's no more after a
// transaction: they get nothing there, and an app listens on another one then.
func (r *Run) moved(ctx context.Context, tx *transaction) error {
	if !r.World.prefixed || !slices.ContainsFunc(r.World.Tenants, func(t *Tenant) bool { return tx.wrote(t.Users) }) {
		return nil
	}
	owned, err := r.own(ctx)
	if err != nil {
		return err
	}
	for _, s := range slices.Sorted(maps.Keys(r.clients)) {
		if r.owned[s] && !owned[s] {
			r.disconnect(s)
		}
	}
	for s := range owned {
		if !r.owned[s] {
			r.entered[s] = r.history.point // for chorusd he comes now
		}
	}
	r.owned = owned
	return nil
}

// own are the channels that are their users' own now.
func (r *Run) own(ctx context.Context) (map[subject]bool, error) {
	owned := map[subject]bool{}
	for _, t := range r.World.Tenants {
		if err := r.ownOf(ctx, t, owned); err != nil {
			return nil, fmt.Errorf("ask for the users' channels: %w", err)
		}
	}
	return owned, nil
}

func (r *Run) ownOf(ctx context.Context, t *Tenant, owned map[subject]bool) error {
	rows, err := r.db.QueryContext(ctx, "SELECT id, prefix FROM "+t.Users.sql())
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, prefix string
		if err := rows.Scan(&id, &prefix); err != nil {
			return err
		}
		owned[t.userChannel(prefix, id)] = true
	}
	return rows.Err()
}
