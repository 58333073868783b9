package redisstate

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// outage is a go-redis hook that logs once when Redis goes away and once when
// it is back, however many calls fail in between.
type outage struct {
	logger *slog.Logger
	addr   string
	// lost, if any, is told of every call that did not reach Redis.
	lost func(context.Context)

	down  atomic.Bool // so that the good case takes no lock
	mu    sync.Mutex  // keeps the two lines in order
	since time.Time
	back  time.Time
}

// observe takes the outcome of a call that was begun at a time.
func (o *outage) observe(ctx context.Context, begun time.Time, err error) {
	gone := Unreachable(err)
	if gone && o.lost != nil && !errors.Is(err, redis.ErrClosed) {
		o.lost(ctx)
	}
	if gone == o.down.Load() || ctx.Err() != nil || errors.Is(err, redis.ErrClosed) {
		return // nothing new, or the caller gave up, which says nothing of Redis
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	// A call that failed late tells of the outage that has ended meanwhile.
	if gone == o.down.Load() || gone && begun.Before(o.back) {
		return
	}
	o.down.Store(gone)
	if gone {
		o.since = time.Now()
		o.logger.Warn("redis is unreachable", "addr", o.addr, "error", err)
		return
	}
	o.back = time.Now()
	o.logger.Info("redis is back", "addr", o.addr, "after", time.Since(o.since).Round(time.Millisecond))
}

// Unreachable tells whether err is anything but the answer of a working server
// or cluster, and not of this package's own.
func Unreachable(err error) bool {
	var answer redis.Error
	return err != nil && !Final(err) && (!errors.As(err, &answer) ||
		redis.IsLoadingError(err) || redis.IsClusterDownError(err) || redis.IsMasterDownError(err) || redis.IsTryAgainError(err))
}

func (o *outage) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (o *outage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		begun := time.Now()
		err := next(ctx, cmd)
		o.observe(ctx, begun, err)
		return err
	}
}

func (o *outage) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		begun := time.Now()
		err := next(ctx, cmds)
		o.observe(ctx, begun, err)
		return err
	}
}
