package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/policy"
	"github.com/chorusd/chorusd/pusher"
	"github.com/chorusd/chorusd/redisstate"
	"github.com/chorusd/chorusd/transport"
)

// examined is what a look at the servers gave.
type examined struct {
	binlog    binlog.Config
	server    binlog.Server
	mapper    *mapping.Mapper
	tables    map[binlog.TableName]*binlog.Table
	newMapper func() *mapping.Mapper // another one of the same rules
	store     *redisstate.Store      // nil if it cannot be reached
	publisher *pusher.Client
	policies  *policy.Client // nil if no table asks the app

	problems problems
	// passing are those that waiting may mend: a server that is away.
	passing problems
	// warnings are of what may not be meant as it is.
	warnings problems
}

// close ends the connections.
func (x *examined) close() {
	if x.store != nil {
		_ = x.store.Close()
	}
	if x.publisher != nil {
		x.publisher.Close()
	}
}

// examineTimeout bounds a look at all the servers.
const examineTimeout = 30 * time.Second

// examine looks at everything the configuration names and finds all that is
// wrong at once. The caller closes what it returns.
func examine(ctx context.Context, cfg Config, log *slog.Logger) *examined {
	ctx, cancel := context.WithTimeout(ctx, examineTimeout)
	defer cancel()
	x := &examined{}
	loc, err := time.LoadLocation(cfg.MySQL.Timezone)
	if err != nil {
		panic(err) // loadConfig has checked it
	}
	rules := cfg.mapping()
	var wrong []mapping.Problem
	x.mapper, wrong = mapping.New(rules, cfg.MySQL.Database, loc)
	x.newMapper = func() *mapping.Mapper {
		m, _ := mapping.New(rules, cfg.MySQL.Database, loc)
		m.Check(x.tables) // from which it knows the kinds of keys
		return m
	}

	x.examineRedis(ctx, cfg, log)
	x.binlog = binlog.Config{
		Addr: cfg.MySQL.Addr, User: cfg.MySQL.User, ServerID: cfg.MySQL.ServerID, Location: loc, Logger: log,
		Password: cfg.secret("mysql.password", cfg.MySQL.Password, log),
	}
	if cfg.MySQL.TLS.Mode != transport.Disabled {
		x.binlog.TLS = cfg.MySQL.TLS.of("mysql", cfg.MySQL.Addr).Config
	}
	wrong = append(wrong, x.examineMySQL(ctx, cfg)...)
	x.examinePusher(ctx, cfg, log)
	x.examineLaravel(ctx, cfg, log)
	x.problems.addRules(cfg, wrong)
	return x
}

// addRules reports what is wrong with the mapping, where it was written.
func (ps *problems) addRules(cfg Config, wrong []mapping.Problem) {
	for _, w := range wrong {
		key := w.Option
		if w.Table != "" {
			key = joinKey(tablesKey, w.Table) + "." + w.Option
		}
		ps.add(cfg.at(key), "%s: %s", key, w.Text)
	}
}

func (x *examined) examineRedis(ctx context.Context, cfg Config, log *slog.Logger) {
	at := origin{source: sourceServer, name: "Redis " + cfg.Redis.where()}
	redis := cfg.Redis.store()
	redis.Password = cfg.secret("redis.password", cfg.Redis.Password, log)
	redis.SentinelPassword = cfg.secret("redis.sentinel_password", cfg.Redis.SentinelPassword, log)
	wrong := func(err error) {
		list := &x.problems
		if redisstate.Unreachable(err) && transport.Mend("redis", err) == "" {
			list = &x.passing
		}
		list.add(at, "%v", err)
	}
	store, err := redisstate.Open(ctx, redis, log)
	if err != nil {
		wrong(err)
		return
	}
	x.store = store
	problems, warnings := store.Check(ctx)
	for _, err := range problems {
		wrong(err)
	}
	for _, err := range warnings {
		x.warnings.add(at, "%v", err)
	}
}

func (x *examined) examineMySQL(ctx context.Context, cfg Config) []mapping.Problem {
	at := origin{source: sourceServer, name: "MySQL " + cfg.MySQL.Addr}
	report := binlog.Check(ctx, x.binlog, x.mapper.Sources(), x.mapper.Patterns()...)
	x.server = report.Server
	for _, p := range report.Problems {
		list := &x.problems
		if p.Passing {
			list = &x.passing
		}
		list.add(at, "%s", p)
	}
	x.tables = report.Tables
	wrong := x.mapper.Check(report.Tables)
	certain, warnings := x.mapper.Leaks(report.Tables, report.Indexes)
	x.warnings.addRules(cfg, warnings)
	return append(wrong, certain...)
}

func (x *examined) examinePusher(ctx context.Context, cfg Config, log *slog.Logger) {
	at := origin{source: sourceServer, name: "Pusher server " + cfg.Pusher.Host}
	kind, err := pusher.Detect(ctx, cfg.Pusher, log, pusher.Options{})
	switch {
	case cfg.Pusher.Server != pusher.Auto:
		if err == nil && kind != cfg.Pusher.Server {
			x.warnings.add(cfg.at("pusher.server"), "pusher.server is %q, and the server answers as %q does, whose limits differ; see that it is meant so", cfg.Pusher.Server, kind)
		}
	case err == nil:
		cfg.Pusher.Server = kind
	default:
		x.addPusher(at, err)
		return
	}
	client, err := pusher.New(cfg.Pusher, log, pusher.Options{})
	if err != nil {
		x.problems.add(at, "%v", err)
		return
	}
	x.publisher = client
	if _, err := client.Channels(ctx, "private-"); err != nil {
		x.addPusher(at, err)
		return
	}
	if knows, err := client.KnowsKey(ctx); err != nil {
		log.Info("the Pusher server does not tell whether it knows pusher.key", "error", err)
	} else if !knows {
		x.problems.add(at, "it knows no app with this key; set pusher.key to that of the server's app")
	}
	if err := client.TryLargest(ctx); err != nil {
		x.problems.add(at, "%v", err)
	}
	dialect := client.Dialect()
	if cfg.Webhooks.Listen != "" && !dialect.Webhooks {
		x.warnings.add(cfg.at("webhooks.listen"), "webhooks.listen is set, and %s sends no webhooks; leave it empty", dialect.Title)
	}
	if most := client.RateLimit(); most > 0 && dialect.RateSetting != "" {
		x.warnings.add(at, "it says that it limits requests (X-RateLimit-Limit: %d), which publishing has to wait for; raise %s", most, dialect.RateSetting)
	}
}

// addPusher reports a request to the Pusher server that failed, or whose answer
// is not understood.
func (x *examined) addPusher(at origin, err error) {
	if _, ok := errors.AsType[*pusher.UnknownServerError](err); ok {
		x.problems.add(at, "%v", err)
		return
	}
	if e, ok := errors.AsType[*pusher.Error](err); ok && e.Class == pusher.Misconfigured {
		x.problems.add(at, "%v; see that pusher.host, pusher.tls, pusher.app_id, pusher.key and pusher.secret are those of the server's app", err)
		return
	}
	x.passing.add(at, "%v; see that the server runs and that pusher.host is its address", err)
}

func (x *examined) examineLaravel(ctx context.Context, cfg Config, log *slog.Logger) {
	if !cfg.asksLaravel() {
		return
	}
	at := cfg.at("laravel.authorize_url")
	client, err := policy.New(cfg.Laravel.policies(cfg.secret("laravel.secret", cfg.Laravel.Secret, log)), log, policy.Options{})
	if err != nil {
		x.problems.add(at, "%v", err)
		return
	}
	x.policies = client
	if err := client.Check(ctx); err != nil {
		list := &x.problems
		if e, ok := errors.AsType[*policy.Error](err); ok && e.Class == policy.Unavailable {
			list = &x.warnings // the other tables need not wait for it
		}
		list.add(at, "laravel.authorize_url: %v", err)
	}
}

// all is everything that is wrong.
func (x *examined) all() error {
	all := append(append(problems{}, x.problems...), x.passing...)
	return all.err()
}

// checkStart looks mysql.start up as the first run will, if that is to come.
func (x *examined) checkStart(ctx context.Context, cfg Config) error {
	if _, err := x.store.LoadCheckpoint(ctx); !errors.Is(err, redisstate.ErrNoCheckpoint) {
		return nil // what is wrong with a checkpoint is for run to say
	}
	_, err := findStart(ctx, cfg, x)
	return err
}

func checkCommand() *cobra.Command {
	cmd := configured("check", "Check the configuration, the servers, the grants and the mapping", func(cmd *cobra.Command, cfg Config) error {
		x := examine(cmd.Context(), cfg, slog.New(slog.DiscardHandler))
		defer x.close()
		x.examineWidest(cmd.Context(), cfg)
		for _, line := range x.warnings.lines() {
			if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "warning:", line); err != nil {
				return err
			}
		}
		if err := x.all(); err != nil {
			return refusal(err)
		}
		if err := x.checkStart(cmd.Context(), cfg); err != nil {
			return refusal(err)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "all is well: %d tables of %s on %s, Redis %s, Pusher server %s\nthe Pusher server is %s and takes %s\n",
			len(cfg.Tables), cfg.MySQL.Database, x.server.Version, cfg.Redis.where(), cfg.Pusher.Host, x.publisher.Dialect().Title, x.publisher.Limits())
		return err
	})
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		var exit *exitError
		if errors.As(err, &exit) && exit.code == exitConfig {
			return exit.err // check says yes or no: 0 or 1
		}
		return err
	}
	return cmd
}
