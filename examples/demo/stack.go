package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chorusd/chorusd/tools/services"
)

// startTimeout bounds the whole start, compiling chorusd included.
const startTimeout = 3 * time.Minute

// stack is everything that the demo runs.
type stack struct {
	dir      string // the temporary folder
	server   *services.SQLServer
	redis    *services.RedisServer
	soketi   *services.SoketiServer
	accounts accounts
	version  string // the database's, for people
	db       *sql.DB
	chorusd  *chorusd
	page     *page

	mu      sync.Mutex
	closers []func() error // in the order in which they are to be undone last
}

// startStack starts all parts, in parallel where they do not need each other.
// If one fails, those that were started are stopped and the error names it.
func startStack(ctx context.Context, opts options, say *teller) (_ *stack, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	if err := checkPage(opts.page); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "chorusd-demo-")
	if err != nil {
		return nil, fmt.Errorf("create a temporary folder: %w", err)
	}
	s := &stack{dir: dir, accounts: newAccounts()}
	s.onStop(func() error { return os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()

	// Soketi must know where chorusd will listen for its webhooks.
	webhooks, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}

	var program string
	parts, partsCtx := errgroup.WithContext(ctx)
	parts.Go(func() error { return s.startDatabase(partsCtx, opts.database, say) })
	parts.Go(func() error { return s.startRedis(partsCtx, say) })
	parts.Go(func() error { return s.startSoketi(partsCtx, webhooks, say) })
	parts.Go(func() (err error) {
		program, err = findChorusd(partsCtx, opts.chorusd, dir)
		return err
	})
	if err := parts.Wait(); err != nil {
		return nil, err
	}

	began := time.Now()
	s.chorusd, err = startChorusd(ctx, program, dir, settings{
		MySQL:        s.server.Addr,
		MySQLAccount: s.accounts.chorusd,
		Redis:        s.redis.Addr,
		Soketi:       s.soketi.Addr,
		AppID:        s.soketi.AppID,
		Key:          s.soketi.Key,
		Secret:       s.soketi.Secret,
		Webhooks:     webhooks,
		Admin:        admin,
		StateDir:     dir,
	})
	if err != nil {
		return nil, err
	}
	s.onStop(s.chorusd.stop)
	say.ready("chorusd", admin, began)

	s.page, err = startPage(opts.page, &app{
		db:      s.db,
		key:     s.soketi.Key,
		secret:  s.soketi.Secret,
		soketi:  s.soketi.Addr,
		version: s.version,
		log:     slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return nil, err
	}
	s.onStop(s.page.stop)
	return s, nil
}

func (s *stack) startDatabase(ctx context.Context, wanted string, say *teller) error {
	kind, err := databaseKind(wanted)
	if err != nil {
		return err
	}
	began := time.Now()
	if s.server, err = services.StartSQL(ctx, kind, services.SQLOptions{PreferPath: true}); err != nil {
		return fmt.Errorf("start the database: %w", err)
	}
	s.onStop(s.server.Stop)
	if err := createDatabase(ctx, s.server, s.accounts); err != nil {
		return fmt.Errorf("set up the database: %w", err)
	}
	if s.db, err = openDatabase(s.server.Addr, s.accounts.app); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	s.onStop(s.db.Close)
	if s.version, err = serverVersion(ctx, s.db); err != nil {
		return fmt.Errorf("ask for the database's version: %w", err)
	}
	say.ready(s.version, s.server.Addr, began)
	return nil
}

func (s *stack) startRedis(ctx context.Context, say *teller) (err error) {
	began := time.Now()
	if s.redis, err = services.StartRedis(ctx, services.RedisOptions{PreferPath: true}); err != nil {
		return fmt.Errorf("start Redis: %w", err)
	}
	s.onStop(s.redis.Stop)
	say.ready("Redis", s.redis.Addr, began)
	return nil
}

func (s *stack) startSoketi(ctx context.Context, webhooks string, say *teller) (err error) {
	began := time.Now()
	s.soketi, err = services.StartSoketi(ctx, services.SoketiOptions{
		Secret:   newSecret(),
		Webhooks: []services.Webhook{{URL: "http://" + webhooks + webhooksPath}},
	})
	if err != nil {
		return fmt.Errorf("start Soketi: %w", err)
	}
	s.onStop(s.soketi.Stop)
	say.ready("Soketi", s.soketi.Addr, began)
	return nil
}

// databaseKind chooses the database: the one that was asked for, else one that
// the machine has, else one that is installed for the demo.
func databaseKind(wanted string) (services.Kind, error) {
	kinds := []services.Kind{services.MySQL, services.MariaDB}
	if wanted != "" {
		kind, err := services.ParseKind(wanted)
		if err != nil {
			return "", err
		}
		if !kind.IsSQL() {
			return "", fmt.Errorf("%s is no database", wanted)
		}
		return kind, nil
	}
	for _, kind := range kinds {
		if _, ok := services.OnPath(kind); ok {
			return kind, nil
		}
	}
	for _, kind := range kinds {
		if services.Installed(kind) {
			return kind, nil
		}
	}
	return services.MySQL, nil // whose start says how to install it
}

// onStop registers what undoes a step that has just succeeded.
func (s *stack) onStop(closer func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, closer)
}

// stop undoes every step, the last one first.
func (s *stack) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, closer := range slices.Backward(s.closers) {
		errs = append(errs, closer())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// wait returns when ctx ends, or with the reason when a part ends by itself.
func (s *stack) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.chorusd.exited:
		return s.chorusd.failure("chorusd ended")
	case err := <-s.page.failed:
		return fmt.Errorf("serve the page: %w", err)
	case <-s.server.Exited():
		return fmt.Errorf("the database ended: %s", s.server.LogTail())
	case <-s.redis.Exited():
		return fmt.Errorf("redis ended: %s", s.redis.LogTail())
	case <-s.soketi.Exited():
		return fmt.Errorf("soketi ended: %s", s.soketi.LogTail())
	}
}

// mysqlCommand is the command line that opens the database, for those who want
// to change rows in a way of their own.
func (s *stack) mysqlCommand() string {
	return fmt.Sprintf("mysql -h127.0.0.1 -P%d -u%s -p%s %s",
		s.server.Port(), s.accounts.app.User, s.accounts.app.Password, databaseName)
}

// freeAddr returns a loopback address that nothing listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}
