package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
	"github.com/chorusd/chorusd/relay"
)

func runCommand() *cobra.Command {
	var startOver bool
	cmd := configured("run", "Tail the binary log and publish", func(cmd *cobra.Command, cfg Config) error {
		return explain(runOn(cmd.Context(), cfg, startOver, newLogger(cmd.ErrOrStderr(), cfg.Log)))
	})
	cmd.Flags().BoolVar(&startOver, "start-over", false, "forget the checkpoint, begin where mysql.start says, and have clients load again")
	return cmd
}

// Values of mysql.on_lost_position and redis.on_lost_state.
const (
	onLostStop   = "stop"
	onLostReload = "reload"
)

// before is what a run has of the one that ended before it in this process.
type before struct {
	// startOver has the checkpoint forgotten, if there is one; asked says that
	// a person wants that.
	startOver, asked bool
	// ran says that there was one that came as far as at, and gave out
	// positions up to issued at the most.
	ran    bool
	at     binlog.Position
	issued harmonic.Seq
}

// process is what all runs of one have.
type process struct {
	admin  *admin
	tracer relay.Tracer // nil: nothing is traced
}

// runOn runs until ctx ends, or for as long as what ends a run is something
// that the next one may go on after. All the time it tells how it does.
func runOn(ctx context.Context, cfg Config, startOver bool, log *slog.Logger) error {
	// The address is taken first, so that a second chorusd started by mistake
	// ends here.
	l, err := listen(ctx, cfg.Admin.Listen, "admin.listen")
	if err != nil {
		return err
	}
	p := process{admin: newAdmin(ctx, cfg.Admin)}
	if cfg.Tracing.Endpoint != "" {
		t, err := newTracing(ctx, cfg.Tracing, log)
		if err != nil {
			closeListener(l)
			return err
		}
		defer t.close(ctx)
		p.tracer = t
	}
	// It ends after the last run: how far that comes is worth seeing until then.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	group, failed := errgroup.WithContext(serving)
	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	defer context.AfterFunc(failed, stopWork)()
	group.Go(func() error {
		defer stopServing()
		return runs(work, cfg, startOver, p, log)
	})
	if l != nil {
		group.Go(func() error { return p.admin.serve(failed, l) })
	}
	return group.Wait()
}

// runs is a run after the other.
func runs(ctx context.Context, cfg Config, startOver bool, p process, log *slog.Logger) error {
	b := before{startOver: startOver, asked: startOver}
	for {
		err := run(ctx, cfg, &b, p, log)
		p.admin.running.Store(nil)
		switch {
		case ctx.Err() != nil:
			return err
		case errors.Is(err, redisstate.ErrDeposed): // whatever else there is
			log.Error("another chorusd leads; looking again who does", "error", err)
			b = before{}
		case errors.Is(err, binlog.ErrPositionLost) && cfg.MySQL.OnLostPosition == onLostReload:
			log.Error("the binary log does not go on from the checkpoint; going on from now, and all clients load again", "error", err)
			cfg.MySQL.Start = binlog.StartNow
			b = before{startOver: true, issued: b.issued}
		case errors.Is(err, redisstate.ErrWritesLost):
			// What it has is what it had a moment ago, so this is a restart as
			// after a crash then.
			log.Error("redis has come back without its last writes; going on from the checkpoint that it has", "error", err)
		case errors.Is(err, redisstate.ErrStateLost) && cfg.Redis.OnLostState == onLostReload && b.ran:
			log.Error("redis has lost what chorusd kept there; looking where to go on", "error", err)
		default:
			return err
		}
	}
}

// run is the daemon's life: it stands by until it leads, and then leads. It goes
// by what was before, and notes how far it came itself.
func run(ctx context.Context, cfg Config, b *before, p process, log *slog.Logger) error {
	log.Info("starting", "version", version)
	x, leadership, err := p.standBy(ctx, cfg, b, log)
	if err != nil || x == nil {
		return err
	}
	defer x.close()
	for _, line := range x.warnings.lines() {
		log.Warn("the configuration may not be meant as it is", "warning", line)
	}
	log.Info("the Pusher server is known", "kind", x.publisher.Dialect().Name, "limits", x.publisher.Limits().String())

	// The lead is kept until nothing is done by it any more.
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	group, failed := errgroup.WithContext(keeping)
	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	defer context.AfterFunc(failed, stopWork)()
	finished := false
	group.Go(func() (err error) {
		defer stopKeeping()
		finished, err = lead(work, cfg, x, leadership, b, p, log)
		return err
	})
	group.Go(func() error { return leadership.Keep(failed) })
	err = group.Wait()
	p.admin.leads.Set(0)

	resigning, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	switch resigned := leadership.Resign(resigning, finished); {
	case err != nil && errors.Is(resigned, redisstate.ErrDeposed):
		// Whatever else went wrong may come of that: the database ends the
		// connection of whoever was its replica before.
		return errors.Join(resigned, err)
	case resigned != nil:
		log.Warn("redis was not told that this chorusd has ended; the next one waits some seconds", "error", resigned)
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// lead does the work of the one that leads. Finished says that none of its
// requests is of unknown outcome.
func lead(ctx context.Context, cfg Config, x *examined, leadership *redisstate.Leadership, b *before, p process, log *slog.Logger) (finished bool, err error) {
	// It is taken before anything is changed.
	webhooks, err := listen(ctx, cfg.Webhooks.Listen, "webhooks.listen")
	if err != nil {
		return true, err
	}
	start, err := resume(ctx, cfg, x, *b, log)
	if err != nil {
		closeListener(webhooks)
		return true, err
	}
	registry := prometheus.NewRegistry()
	source := binlog.NewSource(x.binlog, x.server, x.mapper.Sources(), x.mapper.Patterns()...)
	shapes, err := x.store.Shapes(ctx)
	if err == nil {
		err = source.Recall(shapes)
	}
	if err != nil {
		closeListener(webhooks)
		return true, err
	}
	parts := relay.Parts{
		Source: source, NewReader: func() relay.Reader { return binlog.NewReader(x.binlog, x.server) },
		Publisher: x.publisher, State: x.store, Lead: leadership, NewMapper: x.newMapper, Backlog: binlog.NewBacklog(x.binlog, x.server),
		Tracer: p.tracer, Logger: log, Registerer: registry,
	}
	registerPublisher(registry, x.publisher)
	if x.policies != nil { // else it would be no nil interface
		parts.Policies = x.policies
		registerPolicies(registry, x.policies)
	}
	r := relay.New(start, parts)
	p.admin.running.Store(&running{r, registry})

	// The server ends after the relay.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	relaying, stopRelaying := context.WithCancel(ctx)
	defer stopRelaying()
	group, failed := errgroup.WithContext(serving)
	group.Go(func() error {
		defer stopServing()
		return r.Run(relaying)
	})
	group.Go(func() error {
		<-failed.Done()
		stopRelaying()
		return nil
	})
	if webhooks != nil {
		hooks := pusher.NewWebhooks(cfg.Pusher.Key, cfg.Pusher.Secret, log, r.Notify)
		group.Go(func() error {
			if err := hooks.Run(failed); failed.Err() == nil {
				return err
			}
			return nil
		})
		group.Go(func() error { return serveWebhooks(failed, webhooks, cfg.Webhooks.Path, hooks) })
	}
	group.Go(func() error { return announceReady(failed, r, log) })

	err = group.Wait()
	*b = before{ran: true}
	b.at, b.issued = r.Reached()
	return r.Finished(), err
}

// reachPause is how long to wait before the servers are looked at again.
const reachPause = time.Second

// examineUntilReachable waits for servers that are away, which a restart of
// the machine makes likely, and refuses everything else that is wrong.
func examineUntilReachable(ctx context.Context, cfg Config, log *slog.Logger) (*examined, error) {
	for said := false; ; {
		x := examine(ctx, cfg, log)
		if len(x.problems) > 0 {
			defer x.close()
			return nil, &exitError{exitConfig, refusal(x.all())}
		}
		if len(x.passing) == 0 || ctx.Err() != nil {
			return x, nil
		}
		if !said {
			said = true
			log.Warn("waiting for servers that cannot be reached", "error", x.passing.err())
		}
		x.close()
		select {
		case <-ctx.Done():
		case <-time.After(reachPause):
		}
	}
}

// listen takes an address; none if it is empty.
func listen(ctx context.Context, addr, key string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; end what uses it, or choose another address", key, err)
	}
	return l, nil
}

func closeListener(l net.Listener) {
	if l != nil {
		_ = l.Close()
	}
}

// announceReady logs once when the relay is ready.
func announceReady(ctx context.Context, r *relay.Relay, log *slog.Logger) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if s := r.Status(); s.Ready() {
				log.Info("ready", "position", s.Position, "active_channels", s.ActiveChannels)
				return nil
			}
		}
	}
}
