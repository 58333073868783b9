package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/redisstate"
	"github.com/chorusd/chorusd/relay"
)

// explain turns errors that a person must decide on into the choices.
func explain(err error) error {
	switch {
	case errors.Is(err, redisstate.ErrStateLost):
		return &exitError{exitConfig, fmt.Errorf("%w\n%s", err, stateChoices)}
	case errors.Is(err, errReplaced):
		return &exitError{exitConfig, fmt.Errorf("%w\n%s", err, replacedChoices)}
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
	stateChoices = `Where to go on is for you to say:
  - if Redis can be restored from a backup, or the wrong Redis or prefix was configured: mend that and start again; nothing is lost
  - chorusd run --start-over --mysql.start=earliest   publishes again all that the binary log still holds; clients may see older states for a while
  - chorusd run --start-over --mysql.start=now        goes on from now; clients are told to load again, those of stock Chorus must do so by themselves
  - redis.on_lost_state = "reload"                    does so by itself, and from where reading was if chorusd is running`
	replacedChoices = `To go on:
  - if the wrong Redis or prefix was configured: mend that and start again; nothing is lost
  - chorusd run --redis.on_lost_state=reload          goes on from the checkpoint that is there; clients are told to load again, those of stock Chorus must do so by themselves
  - if another chorusd is running with it: give one of the two another prefix`
	positionChoices = `What changed in between is not in the binary log any more. To go on:
  - chorusd run --start-over --mysql.start=now        goes on from now; clients are told to load again, those of stock Chorus must do so by themselves
  - mysql.on_lost_position = "reload"                 does so by itself
Keep the binary log for longer than chorusd may be away (binlog_expire_logs_seconds).`
)

// errReplaced says that what is in Redis is not what a run left there.
var errReplaced = errors.New("this is another Redis, or another chorusd has begun anew in it")

// resuming is the search for where to go on.
type resuming struct {
	cfg  Config
	x    *examined
	mark marker
	log  *slog.Logger
	// start is what it comes to.
	start relay.Config
}

// resume finds where to go on. Only a first run, or one that is told to start
// over, begins where mysql.start says.
func resume(ctx context.Context, cfg Config, x *examined, b before, log *slog.Logger) (relay.Config, error) {
	r := &resuming{
		cfg: cfg, x: x, log: log, mark: marker{dir: cfg.StateDir, prefix: cfg.Redis.Prefix},
		start: relay.Config{
			Source: x.server.Identity, PollInterval: cfg.Channels.PollInterval, Lease: cfg.Channels.Lease,
			Window: cfg.Channels.Window, Workers: cfg.Pusher.Concurrency, Late: cfg.Pusher.Timeout, Dir: cfg.StateDir,
			ScopeMessages: cfg.Channels.Revocations == revocationsMessage,
		},
	}
	if x.binlog.ServerID == 0 {
		id, err := x.store.ServerID(ctx)
		if err != nil {
			return r.start, err
		}
		x.binlog.ServerID = id
	}
	err := r.find(ctx, b)
	return r.start, err
}

// find decides by what Redis has, and by what the marker says of it.
func (r *resuming) find(ctx context.Context, b before) error {
	cp, err := r.x.store.LoadCheckpoint(ctx)
	none := errors.Is(err, redisstate.ErrNoCheckpoint)
	lost := errors.Is(err, redisstate.ErrStateLost)
	if err != nil && !none && !lost {
		return r.inRedis(err)
	}
	if b.startOver {
		from, err := findStart(ctx, r.cfg, r.x)
		if err != nil {
			return err // and nothing is forgotten
		}
		r.log.Warn("starting over: the checkpoint is forgotten", "from", r.cfg.MySQL.Start)
		return r.beginAgain(ctx, from, r.clockAt(r.cfg.MySQL.Start), b.issued, "chorusd was started over")
	}
	token, marked, err := r.mark.token()
	switch {
	case err != nil:
		return err
	case none && (marked || b.ran):
		return r.renew(ctx, b, fmt.Errorf("%s says that a checkpoint was saved: %w", r.mark.path(), r.inRedis(redisstate.ErrStateLost)))
	case lost:
		return r.renew(ctx, b, r.inRedis(redisstate.ErrStateLost))
	case none:
		return r.first(ctx)
	case marked && token != r.x.store.Token():
		if err := r.adopt(ctx); err != nil {
			return err
		}
	}
	if b.issued > 0 {
		// It may have lost that as well.
		if err := r.x.store.ReserveSeq(ctx, uint64(b.issued)); err != nil {
			return err
		}
	}
	return r.goOn(ctx, cp)
}

func (r *resuming) inRedis(err error) error {
	return fmt.Errorf("in Redis %s under the prefix %q: %w", r.cfg.Redis.where(), r.cfg.Redis.Prefix, err)
}

// clockAt is what the clock of conditions begins with: nothing was missed
// before a start now, and what is read tells it otherwise.
func (r *resuming) clockAt(start string) time.Time {
	if start == binlog.StartNow {
		// The database's clock may be another one; what was crossed in a
		// minute is told of once more at the worst.
		return time.Now().Add(-time.Minute)
	}
	return time.Time{}
}

// first is a first run.
func (r *resuming) first(ctx context.Context) error {
	from, err := findStart(ctx, r.cfg, r.x)
	if err != nil {
		return err
	}
	r.log.Info("first run", "start", r.cfg.MySQL.Start, "position", from.String())
	return r.begin(ctx, from, r.clockAt(r.cfg.MySQL.Start), 0)
}

// renew goes on after Redis has lost what was there, if that is wanted: from
// where this process had come, or else from now.
func (r *resuming) renew(ctx context.Context, b before, cause error) error {
	if r.cfg.Redis.OnLostState != onLostReload {
		return cause
	}
	from, clock := b.at, time.Time{}
	if !b.ran {
		now := r.cfg
		now.MySQL.Start = binlog.StartNow
		var err error
		if from, err = findStart(ctx, now, r.x); err != nil {
			return err
		}
		clock = r.clockAt(binlog.StartNow)
	}
	r.log.Error("redis has lost what chorusd kept there; going on, and all clients load again", "error", cause, "position", from.String())
	return r.beginAgain(ctx, from, clock, b.issued, "Redis had lost what chorusd kept there")
}

// beginAgain is begin where something was before, of which clients may have
// missed something.
func (r *resuming) beginAgain(ctx context.Context, from binlog.Position, clock time.Time, issued harmonic.Seq, reason string) error {
	// In this order: a crash in between must not forget the clients.
	if err := r.x.store.OweReload(ctx, reason); err != nil {
		return err
	}
	if err := errors.Join(r.x.store.Forget(ctx), r.mark.remove()); err != nil {
		return err
	}
	return r.begin(ctx, from, clock, issued)
}

// begin saves the clock, if it is known, and makes the first checkpoint, before
// anything is read. Positions go on above those that were issued.
func (r *resuming) begin(ctx context.Context, from binlog.Position, clock time.Time, issued harmonic.Seq) error {
	known, err := r.x.store.IssuedSeq(ctx)
	if err != nil {
		return err
	}
	s := &r.start
	s.From, s.Clock, s.Generation, s.Seq = from, clock, harmonic.NewGeneration(), max(issued, harmonic.Seq(known))
	if !clock.IsZero() {
		if err := r.x.store.SaveClock(ctx, clock); err != nil {
			return err
		}
	}
	if err := r.x.store.SaveKeyFingerprint(ctx, r.cfg.Pusher.KeyFingerprint()); err != nil {
		return err
	}
	err = r.x.store.SaveCheckpoint(ctx, redisstate.Checkpoint{
		Source: s.Source, Position: s.From.String(), LastSeq: uint64(s.Seq),
		Generation: uint64(s.Generation), MappingHash: r.x.mapper.Hash(), SavedAt: time.Now(),
	})
	if err != nil {
		return err
	}
	return r.mark.write(r.x.store.Token())
}

// adopt takes another state than the one that was left for its own, if that is
// wanted. Nobody knows what clients have by it.
func (r *resuming) adopt(ctx context.Context) error {
	if r.cfg.Redis.OnLostState != onLostReload {
		return fmt.Errorf("%s names another state than there is in Redis %s under the prefix %q: %w",
			r.mark.path(), r.cfg.Redis.where(), r.cfg.Redis.Prefix, errReplaced)
	}
	r.log.Error("what is in redis is not what was left there; going on from its checkpoint, and all clients load again", "marker", r.mark.path())
	return r.x.store.OweReload(ctx, "Redis was another one than before")
}

// goOn goes on from a checkpoint.
func (r *resuming) goOn(ctx context.Context, cp redisstate.Checkpoint) (err error) {
	s, server := &r.start, r.x.server.Identity
	if s.From, err = binlog.ParsePosition(cp.Position); err != nil {
		return fmt.Errorf("read the checkpoint: %w", err)
	}
	if err := r.rekey(ctx); err != nil {
		return err
	}
	s.Seq, s.Generation = harmonic.Seq(cp.LastSeq), harmonic.Generation(cp.Generation)
	if s.Clock, err = r.x.store.Clock(ctx); err != nil {
		return err
	}
	if cp.Source != server {
		if !s.From.HasGTIDs() {
			return fmt.Errorf("the checkpoint is of the server %s, this is %s, and without GTIDs its positions mean something else: %w",
				cp.Source, server, binlog.ErrPositionLost)
		}
		r.log.Warn("another database server than at the last run", "before", cp.Source, "now", server)
	}
	if cp.Source != server || cp.MappingHash != r.x.mapper.Hash() {
		// Reading the same changes again would give other ids to other
		// harmonics, so they go on above everything that was issued.
		issued, err := r.x.store.IssuedSeq(ctx)
		if err != nil {
			return err
		}
		s.Seq = max(s.Seq, harmonic.Seq(issued))
	}
	r.log.Info("going on from the checkpoint", "position", cp.Position)
	return r.mark.write(r.x.store.Token())
}

// rekey has all clients load again if the last run encrypted with another key,
// or one of the two with none: some could not read what came since theirs, the
// app's, was changed, or had it on channels of another name.
func (r *resuming) rekey(ctx context.Context) error {
	is := r.cfg.Pusher.KeyFingerprint()
	was, err := r.x.store.KeyFingerprint(ctx)
	if err != nil || was == is {
		return err
	}
	r.log.Warn("pusher.encryption_key is another one than at the last run; all clients load again")
	if err := r.x.store.OweReload(ctx, "pusher.encryption_key was changed"); err != nil {
		return err
	}
	return r.x.store.SaveKeyFingerprint(ctx, is)
}

// findStart looks mysql.start up in the binary log.
func findStart(ctx context.Context, cfg Config, x *examined) (binlog.Position, error) {
	start, err := binlog.ParseStart(cfg.MySQL.Start)
	if err != nil {
		panic(err) // loadConfig has checked it
	}
	return start.Find(ctx, x.binlog, x.server)
}
