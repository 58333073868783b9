package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/pusher"
)

// A server is given so long to find the widest row of a table, and of all.
const (
	widestTime    = 3 * time.Second
	allWidestTime = 20 * time.Second
)

// examineWidest warns of tables whose widest row, as it is now, is too large for
// the Pusher server. It is for check alone, since all rows have to be looked at.
func (x *examined) examineWidest(ctx context.Context, cfg Config) {
	if len(x.problems)+len(x.passing) > 0 || x.publisher == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, allWidestTime)
	defer cancel()
	reader := binlog.NewReader(x.binlog, x.server)
	defer reader.Close()
	byName := func(a, b binlog.TableName) int { return strings.Compare(a.String(), b.String()) }
	for _, name := range slices.SortedFunc(maps.Keys(x.tables), byName) {
		plans, err := x.mapper.Plans(x.tables[name])
		if err != nil {
			continue // examine has said it
		}
		for _, plan := range plans {
			if err := x.tryWidest(ctx, reader, plan); err != nil {
				x.warnings.add(cfg.at(joinKey(tablesKey, plan.Table())), "%s: %v", joinKey(tablesKey, plan.Table()), err)
			}
		}
	}
}

// tryWidest says what is wrong with the widest row of a table; it is named by its
// key.
func (x *examined) tryWidest(ctx context.Context, reader *binlog.Reader, plan *mapping.Plan) error {
	columns := slices.Clone(plan.Columns())
	for _, k := range plan.Key() {
		if !slices.Contains(columns, k.Column) {
			columns = append(columns, k.Column)
		}
	}
	row, err := reader.Widest(ctx, plan.Source(), columns, widestTime)
	switch {
	case errors.Is(err, binlog.ErrTooSlow) || ctx.Err() != nil:
		return fmt.Errorf("the widest row was not found within %s, so nobody knows whether it is too large for the Pusher server; chorusd_pointers_total counts such rows", widestTime)
	case row == nil || err != nil:
		return err
	}
	h := mapping.Harmonic{Plan: plan, Operation: harmonic.Create, Row: row, Variant: ^mapping.Variant(0)}
	data, err := h.AppendPayload(nil, harmonic.ID{}, time.Now())
	if err != nil {
		return err
	}
	key, err := plan.AppendKey(nil, row)
	if err != nil {
		return err
	}
	channel := x.mapper.ChannelPrefixes()[0] + strings.Repeat("x", 30) // about as long as they are
	err = x.publisher.Fits([]pusher.Event{{Name: plan.Event(harmonic.Create), Channels: []string{channel}, Data: data}})
	if limit, ok := errors.AsType[*pusher.LimitError](err); ok {
		return fmt.Errorf("the row with the key %s is too large for the Pusher server, so clients get a pointer in its place: %w", key, limit)
	}
	return nil
}
