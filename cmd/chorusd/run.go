package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
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
		log := newLogger(cmd.ErrOrStderr(), cfg.Log)
		err := run(cmd.Context(), cfg, startOver, log)
		for errors.Is(err, binlog.ErrPositionLost) && cfg.MySQL.OnLostPosition == onLostReload && cmd.Context().Err() == nil {
			log.Error("the binary log does not go on from the checkpoint; going on from now, and all clients load again", "error", err)
			cfg.MySQL.Start = binlog.StartNow
			err = run(cmd.Context(), cfg, true, log)
		}
		return explain(err)
	})
	cmd.Flags().BoolVar(&startOver, "start-over", false, "forget the checkpoint, begin where mysql.start says, and have clients load again")
	return cmd
}

// Values of mysql.on_lost_position.
const (
	onLostStop   = "stop"
	onLostReload = "reload"
)

// run is the daemon's life.
func run(ctx context.Context, cfg Config, startOver bool, log *slog.Logger) error {
	log.Info("starting", "version", version)
	x, err := examineUntilReachable(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer x.close()
	if ctx.Err() != nil {
		return nil
	}
	for _, line := range x.warnings.lines() {
		log.Warn("the configuration may not be meant as it is", "warning", line)
	}

	log.Info("the Pusher server is known", "kind", x.publisher.Dialect().Name, "limits", x.publisher.Limits().String())

	// The addresses are taken before anything is changed, so that a second
	// chorusd started by mistake ends here.
	admin, err := listen(ctx, cfg.Admin.Listen, "admin.listen")
	if err != nil {
		return err
	}
	webhooks, err := listen(ctx, cfg.Webhooks.Listen, "webhooks.listen")
	if err != nil {
		closeListener(admin)
		return err
	}

	start, err := resume(ctx, cfg, x, startOver, log)
	if err != nil {
		closeListener(admin)
		closeListener(webhooks)
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	source := binlog.NewSource(x.binlog, x.server, x.mapper.Sources(), x.mapper.Patterns()...)
	shapes, err := x.store.Shapes(ctx)
	if err == nil {
		err = source.Recall(shapes)
	}
	if err != nil {
		closeListener(admin)
		closeListener(webhooks)
		return err
	}
	parts := relay.Parts{
		Source: source, NewReader: func() relay.Reader { return binlog.NewReader(x.binlog, x.server) },
		Publisher: x.publisher, State: x.store, NewMapper: x.newMapper,
		Logger: log, Registerer: registry,
	}
	if x.policies != nil { // else it would be no nil interface
		parts.Policies = x.policies
		registerPolicies(registry, x.policies)
	}
	r := relay.New(start, parts)

	// The servers end after the relay: its lag is worth seeing until then.
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
	if admin != nil {
		group.Go(func() error { return serve(failed, admin, adminHandler(r, registry)) })
	}
	if webhooks != nil {
		hooks := pusher.NewWebhooks(cfg.Pusher.Key, cfg.Pusher.Secret, log, r.Notify)
		group.Go(func() error {
			if err := hooks.Run(failed); failed.Err() == nil {
				return err
			}
			return nil
		})
		group.Go(func() error { return serve(failed, webhooks, webhookHandler(cfg.Webhooks.Path, hooks)) })
	}
	group.Go(func() error { return announceReady(failed, r, log) })

	if err := group.Wait(); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
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

// explain turns errors that a person must decide on into the choices.
func explain(err error) error {
	switch {
	case errors.Is(err, redisstate.ErrCheckpointLost):
		return &exitError{exitConfig, fmt.Errorf("%w\n%s", err, checkpointChoices)}
	case noStart(err):
		return &exitError{exitConfig, err}
	case errors.Is(err, binlog.ErrPositionLost):
		return &exitError{exitConfig, fmt.Errorf("%w\n%s", err, positionChoices)}
	}
	return err
}

// noStart says whether the binary log has no such start as mysql.start says.
func noStart(err error) bool {
	_, ok := errors.AsType[*binlog.StartError](err)
	return ok
}

const (
	checkpointChoices = `Where to go on is for you to say:
  - if Redis can be restored from a backup, or the wrong Redis or prefix was configured: mend that and start again; nothing is lost
  - chorusd run --start-over --mysql.start=earliest   publishes again all that the binary log still holds; clients may see older states for a while
  - chorusd run --start-over --mysql.start=now        goes on from now; clients are told to load again, those of stock Chorus must do so by themselves`
	positionChoices = `What changed in between is not in the binary log any more. To go on:
  - chorusd run --start-over --mysql.start=now        goes on from now; clients are told to load again, those of stock Chorus must do so by themselves
  - mysql.on_lost_position = "reload"                 does so by itself
Keep the binary log for longer than chorusd may be away (binlog_expire_logs_seconds).`
)

// resume finds where to go on. Only a first run, or one that is told to start
// over, begins where mysql.start says.
func resume(ctx context.Context, cfg Config, x *examined, startOver bool, log *slog.Logger) (relay.Config, error) {
	start := relay.Config{
		Source: x.server.Identity, PollInterval: cfg.Channels.PollInterval, Lease: cfg.Channels.Lease,
		Window: cfg.Channels.Window, Workers: cfg.Pusher.Concurrency, Dir: cfg.StateDir,
		ScopeMessages: cfg.Channels.Revocations == revocationsMessage,
	}
	if x.binlog.ServerID == 0 {
		id, err := x.store.ServerID(ctx)
		if err != nil {
			return start, err
		}
		x.binlog.ServerID = id
	}
	mark := marker{dir: cfg.StateDir, prefix: cfg.Redis.Prefix}
	first := sync.OnceValues(func() (binlog.Position, error) { return findStart(ctx, cfg, x) })
	if startOver {
		if _, err := first(); err != nil {
			return start, err // and nothing is forgotten
		}
		log.Warn("starting over: the checkpoint is forgotten", "from", cfg.MySQL.Start)
		// In this order: a crash in between must not forget the clients.
		if err := x.store.OweReload(ctx, "chorusd was started over"); err != nil {
			return start, err
		}
		if err := errors.Join(x.store.Forget(ctx), mark.remove()); err != nil {
			return start, err
		}
	}
	issued, err := x.store.IssuedSeq(ctx)
	if err != nil {
		return start, err
	}
	cp, err := x.store.LoadCheckpoint(ctx)
	switch {
	case errors.Is(err, redisstate.ErrNoCheckpoint):
		marked, err := mark.exists()
		if err != nil {
			return start, err
		}
		if marked {
			return start, fmt.Errorf("%s says that a checkpoint was saved in Redis %s under the prefix %q: %w",
				mark.path(), cfg.Redis.Addr, cfg.Redis.Prefix, redisstate.ErrCheckpointLost)
		}
		if start.From, err = first(); err != nil {
			return start, err
		}
		start.Generation, start.Seq = harmonic.NewGeneration(), harmonic.Seq(issued)
		if cfg.MySQL.Start == binlog.StartNow {
			// The database's clock may be another one; what was crossed in a
			// minute is told of once more at the worst.
			start.Clock = time.Now().Add(-time.Minute)
		}
		log.Info("first run", "start", cfg.MySQL.Start, "position", start.From.String())
		return begin(ctx, x, start, mark)
	case err != nil:
		return start, fmt.Errorf("in Redis %s under the prefix %q: %w", cfg.Redis.Addr, cfg.Redis.Prefix, err)
	}
	if start.From, err = binlog.ParsePosition(cp.Position); err != nil {
		return start, fmt.Errorf("read the checkpoint: %w", err)
	}
	start.Seq, start.Generation = harmonic.Seq(cp.LastSeq), harmonic.Generation(cp.Generation)
	if start.Clock, err = x.store.Clock(ctx); err != nil {
		return start, err
	}
	if cp.Source != x.server.Identity {
		if !start.From.HasGTIDs() {
			return start, fmt.Errorf("the checkpoint is of the server %s, this is %s, and without GTIDs its positions mean something else: %w",
				cp.Source, x.server.Identity, binlog.ErrPositionLost)
		}
		log.Warn("another database server than at the last run", "before", cp.Source, "now", x.server.Identity)
	}
	if cp.Source != x.server.Identity || cp.MappingHash != x.mapper.Hash() {
		// Reading the same changes again would give other ids to other
		// harmonics, so they go on above everything that was issued.
		start.Seq = max(start.Seq, harmonic.Seq(issued))
	}
	log.Info("going on from the checkpoint", "position", cp.Position)
	return start, mark.write()
}

// findStart looks mysql.start up in the binary log.
func findStart(ctx context.Context, cfg Config, x *examined) (binlog.Position, error) {
	start, err := binlog.ParseStart(cfg.MySQL.Start)
	if err != nil {
		panic(err) // loadConfig has checked it
	}
	return start.Find(ctx, x.binlog, x.server)
}

// begin saves the clock, if it is known, and makes the first checkpoint, before
// anything is read.
func begin(ctx context.Context, x *examined, start relay.Config, mark marker) (relay.Config, error) {
	if !start.Clock.IsZero() {
		if err := x.store.SaveClock(ctx, start.Clock); err != nil {
			return start, err
		}
	}
	err := x.store.SaveCheckpoint(ctx, redisstate.Checkpoint{
		Source: start.Source, Position: start.From.String(), LastSeq: uint64(start.Seq),
		Generation: uint64(start.Generation), MappingHash: x.mapper.Hash(), SavedAt: time.Now(),
	})
	if err != nil {
		return start, err
	}
	return start, mark.write()
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
