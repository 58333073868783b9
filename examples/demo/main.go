// Command demo shows chorusd at work: two signed-in browsers side by side, and
// a panel that changes rows in the database they are fed from.
//
// It starts a MySQL or MariaDB, a Redis and a Soketi of its own on free
// loopback ports, chorusd between them, and a web page whose address it prints.
// Ctrl-C ends everything and leaves nothing behind.
//
// The page is built by `npm run build` in this folder, the servers are
// installed by `go run ./tools/services/cmd install`; `make demo` does both.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// options are the command's flags.
type options struct {
	database string // "mysql", "mariadb", or "" for what is there
	chorusd  string // path of the program; "" builds it
	page     string // folder of the built page
}

func main() {
	var opts options
	flag.StringVar(&opts.database, "database", "", "mysql or mariadb (default: what the machine has, else what is installed)")
	flag.StringVar(&opts.chorusd, "chorusd", "", "path of a chorusd `program` (default: built from this module)")
	flag.StringVar(&opts.page, "page", "examples/demo/dist", "`folder` of the built page")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo ends: %v\n", err)
		os.Exit(1)
	}
}

// run starts everything, serves the page until ctx ends or a part fails, and
// stops everything.
func run(ctx context.Context, opts options, out io.Writer) (err error) {
	say := &teller{out: out}
	say.line("chorusd, the demo. Starting its servers …")
	say.line("")
	s, err := startStack(ctx, opts, say)
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted while starting: no failure
		}
		return err
	}
	defer func() {
		say.line("Stopping …")
		if stopErr := s.stop(); stopErr != nil && err == nil {
			err = stopErr
		}
	}()

	say.line("")
	say.line("  Open   %s", s.page.url())
	say.line("")
	say.line("  Your own SQL   %s", s.mysqlCommand())
	say.line("  Who listens    %s channels --config %s", s.chorusd.path, s.chorusd.config)
	say.line("  Its log        %s", s.chorusd.log)
	say.line("")
	say.line("Ctrl-C ends everything.")
	return s.wait(ctx)
}
