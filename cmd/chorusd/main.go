// Command chorusd keeps browsers in sync with a MySQL or MariaDB database: it
// tails the binary log, maps row changes to Laravel Chorus's harmonics, and
// publishes them to a Pusher-compatible server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "devel"

// Exit codes; docs/OPERATIONS.md tells what a supervisor should do with them.
// Go itself exits with 2 when a program panics.
const (
	exitFailure = 1
	exitUsage   = 64 // EX_USAGE of sysexits.h
	exitConfig  = 78 // EX_CONFIG: starting again changes nothing until a person does
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// garbagePercent is how much garbage may gather, as a percentage of what is in
// use, unless GOGC says otherwise: half of Go's default, since chorusd runs
// beside an app. It allocates little while it works, but a row of tens of MB
// leaves several times its size.
const garbagePercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs the command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := command(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "chorusd: %v\n", err)
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	return exitFailure
}

func command(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "chorusd",
		Short:         "Offline-first, real-time sync for Laravel apps, from the binary log",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	root.CompletionOptions.HiddenDefaultCmd = true

	version := &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "chorusd", version)
			return err
		},
	}
	root.AddCommand(runCommand(), checkCommand(), channelsCommand(), deadLettersCommand(), explainCommand(), version)
	return root
}

// noArguments refuses what is not a flag, as a wrong command line.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &exitError{exitUsage, fmt.Errorf("%q is not known to %s; see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())}
	}
	return nil
}

// configured makes a command that needs the configuration.
func configured(use, short string, run func(cmd *cobra.Command, cfg Config) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: noArguments}
	path := cmd.Flags().StringP("config", "c", "config.toml", "the configuration file")
	bindFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(*path, os.Environ(), cmd.Flags())
		if err != nil {
			return &exitError{exitConfig, refusal(err)}
		}
		return run(cmd, cfg)
	}
	return cmd
}

// refusal puts a line before a list of problems.
func refusal(err error) error { return fmt.Errorf("this cannot work:\n%w", err) }

// newLogger makes the logger that the configuration asks for.
func newLogger(w io.Writer, c logConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		panic(err) // loadConfig has checked it
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
