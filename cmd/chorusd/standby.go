package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/chorusd/chorusd/redisstate"
)

// resignTimeout bounds how long the end waits for Redis.
const resignTimeout = 2 * time.Second

// standBy waits until this process leads. What is wrong is to be known before
// that, and what leads must know the servers as they are then, so they are looked
// at again after a wait. Without an error it returns nil only where ctx has ended.
func (p process) standBy(ctx context.Context, cfg Config, b *before, log *slog.Logger) (*examined, *redisstate.Leadership, error) {
	defer p.admin.leader.Store(nil)
	var last redisstate.Leader
	for {
		x, err := examineUntilReachable(ctx, cfg, log)
		if err != nil {
			return nil, nil, err
		}
		if ctx.Err() != nil { // it may not have reached all of them
			x.close()
			return nil, nil, nil
		}
		leadership, err := p.leadAfter(ctx, cfg, x, &last, b, log)
		if leadership != nil {
			p.admin.leads.Set(1)
			return x, leadership, nil
		}
		x.close()
		_, refused := errors.AsType[*exitError](err)
		switch {
		case ctx.Err() != nil:
			return nil, nil, nil
		case refused, err != nil && !redisstate.Unreachable(err):
			return nil, nil, err
		}
	}
}

// leadAfter has this process lead if nobody does after last, or else waits until
// it may try, with who leads until then as last.
func (p process) leadAfter(ctx context.Context, cfg Config, x *examined, last *redisstate.Leader, b *before, log *slog.Logger) (*redisstate.Leadership, error) {
	me := candidate(cfg)
	for {
		leadership, err := x.store.Lead(ctx, me, *last)
		if leadership != nil && last.Leads() {
			log.Warn("taking over from a chorusd that did not end by itself", "before", last.Name)
		}
		if err != nil || leadership != nil {
			return leadership, err
		}
		waited := false
		*last, err = x.store.AwaitVacancy(ctx, me, func(leader redisstate.Leader) error {
			waited = true
			return p.awaits(cfg, leader, me, b, log)
		})
		if err != nil || waited {
			return nil, err
		}
	}
}

// awaits says that another one leads, or why this one does not wait for it. What
// this process did before counts no more: the other one goes on from there.
func (p process) awaits(cfg Config, leader redisstate.Leader, me redisstate.Candidate, b *before, log *slog.Logger) error {
	switch {
	case leader.App != me.App:
		return &exitError{exitConfig, fmt.Errorf("the chorusd %s, of another app (%s), uses redis.prefix %q in Redis %s, and this one is for %s; "+
			"give each app its own redis.prefix, or stop that one first if the app has moved", leader.Name, leader.App, cfg.Redis.Prefix, cfg.Redis.where(), me.App)}
	case b.asked:
		return &exitError{exitConfig, fmt.Errorf("the chorusd %s leads; stop all that run under redis.prefix %q before one is started with --start-over", leader.Name, cfg.Redis.Prefix)}
	}
	*b = before{}
	p.admin.leader.Store(&leader.Name)
	log.Info("standing by: another chorusd leads, or did a moment ago", "leader", leader.Name)
	return nil
}

// candidate is this process.
func candidate(cfg Config) redisstate.Candidate {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return redisstate.Candidate{
		Name: host + ":" + strconv.Itoa(os.Getpid()), App: fmt.Sprintf("database %s, Pusher app %s", cfg.MySQL.Database, cfg.Pusher.AppID),
		Process: processName(), Ended: processEnded, Request: cfg.Pusher.Timeout,
	}
}
