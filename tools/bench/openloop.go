package main

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	period = time.Second / latencyRate
	// openLoopWorkers is how many actions can be under way at a time.
	openLoopWorkers = 16
)

// prepare makes everything ready for action i and returns the action.
type prepare func(ctx context.Context, i int) (action func() error, err error)

// openLoop does n actions on a fixed timetable, one in each period from start
// on, however long the ones before take, and returns when each began and ended.
//
// An action that is late because all workers were still busy counts from when
// it was due, so that a stall is seen by all that it delayed. One that is late
// because the machine woke its worker late counts from when it began: that
// is not the doing of what is measured.
func openLoop(ctx context.Context, start time.Time, n int, ready prepare) (began, ended []time.Time, err error) {
	began, ended = make([]time.Time, n), make([]time.Time, n)
	var taken atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range min(openLoopWorkers, n) {
		group.Go(func() error {
			timer := time.NewTimer(0)
			defer timer.Stop()
			for {
				i := int(taken.Add(1)) - 1
				if i >= n {
					return nil
				}
				action, err := ready(ctx, i)
				if err != nil {
					return err
				}
				began[i] = start.Add(time.Duration(i) * period)
				if early := time.Until(began[i]); early > 0 {
					timer.Reset(early)
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-timer.C:
					}
					began[i] = time.Now()
				}
				if err := action(); err != nil {
					return err
				}
				ended[i] = time.Now()
			}
		})
	}
	err = group.Wait()
	return began, ended, err
}
