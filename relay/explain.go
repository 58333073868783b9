package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/policy"
)

// Explained is what is known of a record and a user, and why he sees it or not.
type Explained struct {
	// Table is the table's ID, Key the record's, User the user's.
	Table string          `json:"table"`
	Key   string          `json:"key"`
	User  mapping.UserKey `json:"user"`
	// Position is the point of the binary log as of which it is told.
	Position string `json:"position"`
	// Connected says whether the user has an active channel, and Channels are
	// those.
	Connected bool     `json:"connected"`
	Channels  []string `json:"channels"`
	// Explanation is nil if there is no such record.
	Explanation *mapping.Explanation `json:"explanation,omitempty"`
}

// ErrNotMapped says that there is no such table in the mapping, or in the
// database.
var ErrNotMapped = errors.New("no such table")

// A NamingError says that a record or a user cannot be of that name.
type NamingError struct{ error }

// explainTimeout bounds Explain, which waits for what is being routed.
const explainTimeout = 8 * time.Second

// Explain says why a user sees a record, or does not, by what is known of who
// is connected. The table is named by its ID, key and user as a person does,
// see mapping.Plan.
func (r *Relay) Explain(ctx context.Context, table, key, user string) (Explained, error) {
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	mapper, reader := r.newMapper(), r.newReader()
	defer reader.Close()
	source, ok := mapper.SourceOf(table)
	if !ok {
		return Explained{}, fmt.Errorf("%w in the mapping: %s", ErrNotMapped, table)
	}
	shape, err := reader.Table(ctx, source)
	if err != nil {
		return Explained{}, err
	}
	if shape == nil {
		return Explained{}, fmt.Errorf("%w in the database: %s", ErrNotMapped, source)
	}
	plan, err := mapper.PlanOf(table, shape)
	if err != nil {
		return Explained{}, err
	}
	e := Explained{Table: table, Channels: []string{}}
	if e.Key, err = plan.KeyNamed(key); err != nil {
		return Explained{}, &NamingError{err}
	}
	r.mu.Lock()
	after := r.tail.Clone()
	r.mu.Unlock()
	var row *binlog.Row
	upto, err := reader.Rows(ctx, shape, plan.Columns(), plan.Key(), []string{e.Key}, after, func(found *binlog.Row) error {
		row = found.Clone()
		return nil
	})
	if err != nil {
		return Explained{}, err
	}
	if err := r.await(ctx, func() bool { return r.tail.Covers(upto) }); err != nil {
		return Explained{}, fmt.Errorf("wait until the binary log is read up to %s: %w", upto, err)
	}
	e.Position = upto.String()
	var question *policy.Row
	var subject policy.Subject
	err = r.between(ctx, func(ctx context.Context) (err error) {
		if err = r.explain(ctx, &e, shape, user, row); err != nil || e.Explanation == nil || e.Explanation.Policy == nil {
			return err
		}
		subject, question, err = r.questionOf(&e, shape, row)
		return err
	})
	if err == nil && question != nil {
		r.explainPolicy(ctx, &e, subject, question)
	}
	return e, err
}

// questionOf is what the app is to be asked about the record and the user.
func (r *Relay) questionOf(e *Explained, shape *binlog.Table, row *binlog.Row) (policy.Subject, *policy.Row, error) {
	plan, err := r.mapper.PlanOf(e.Table, shape)
	if err != nil {
		return policy.Subject{}, nil, err
	}
	data, err := plan.AppendModel(nil, row)
	_, id := e.User.Split()
	return subjectOf(plan), &policy.Row{Key: e.Key, Data: data, Users: []policy.User{{ID: id, Version: r.insights}}}, err
}

// explainPolicy asks the app, unless the rules keep the row from the user
// anyway.
func (r *Relay) explainPolicy(ctx context.Context, e *Explained, s policy.Subject, row *policy.Row) {
	x := e.Explanation
	if x.Visible == mapping.No {
		x.Asked(mapping.UpToLaravel, "it is not asked, since the rules keep the row from the user")
		return
	}
	v := r.policies.Ask(ctx, s, []policy.Row{*row})[0]
	switch v.Answers[0] {
	case policy.Yes:
		x.Asked(mapping.Yes, "the app says so")
	case policy.No:
		x.Asked(mapping.No, "the app says so")
	default:
		x.Asked(mapping.Untold, v.Err.Error())
	}
}

// explain fills in what is known between two transactions.
func (r *Relay) explain(ctx context.Context, e *Explained, shape *binlog.Table, user string, row *binlog.Row) error {
	plan, err := r.mapper.PlanOf(e.Table, shape)
	if err != nil {
		return err
	}
	if e.User, err = plan.UserNamed(user); err != nil {
		return &NamingError{err}
	}
	_, view := r.audience.Views()
	if u := view.User(e.User); u != nil {
		for _, name := range u.Channels {
			if name != "" {
				e.Connected, e.Channels = true, append(e.Channels, name)
			}
		}
	}
	if row == nil {
		return nil
	}
	err = r.learnAll(ctx, func(refs []mapping.ParentRef) ([]mapping.ParentRef, error) { return plan.Needs(refs, row, view) })
	if err != nil {
		return err
	}
	found, err := plan.Explain(row, view, e.User)
	e.Explanation = &found
	return err
}
