package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/chorusd/chorusd/redisstate"
)

// stored makes a command that shows something of what is in Redis.
func stored(use, short string, show func(ctx context.Context, w io.Writer, s *redisstate.Store) error) *cobra.Command {
	return configured(use, short, func(cmd *cobra.Command, cfg Config) error {
		store, err := redisstate.Open(cmd.Context(), cfg.Redis.store(), slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		defer store.Close()
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		if err := show(cmd.Context(), w, store); err != nil {
			return err
		}
		return w.Flush()
	})
}

func channelsCommand() *cobra.Command {
	return stored("channels", "List the active channels", func(ctx context.Context, w io.Writer, s *redisstate.Store) error {
		leases, err := s.Channels(ctx)
		if err != nil {
			return err
		}
		return printChannels(w, leases, time.Now())
	})
}

func printChannels(w io.Writer, leases []redisstate.Lease, now time.Time) error {
	slices.SortFunc(leases, func(a, b redisstate.Lease) int { return strings.Compare(a.Channel, b.Channel) })
	fmt.Fprintln(w, "CHANNEL\tAGE\tLAST SEEN\tSOURCE\tLEASE")
	for _, l := range leases {
		lease := "ends in " + span(l.Expires.Sub(now))
		if !l.Expires.After(now) {
			lease = "ended " + span(now.Sub(l.Expires)) + " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t%s ago\t%s\t%s\n", l.Channel, span(now.Sub(l.Since)), span(now.Sub(l.Seen)), l.Source, lease)
	}
	_, err := fmt.Fprintf(w, "%d active channels\n", len(leases))
	return err
}

// span writes a duration to the second, or to the tenth below ten seconds.
func span(d time.Duration) string {
	d = max(0, d)
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func deadLettersCommand() *cobra.Command {
	var retry bool
	cmd := stored("deadletters", "List the records that could not be published, or send them again", func(ctx context.Context, w io.Writer, s *redisstate.Store) error {
		letters, err := s.DeadLetters(ctx)
		if err != nil {
			return err
		}
		if !retry {
			return printDeadLetters(w, letters)
		}
		if err := s.AskRetry(ctx); err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%d set aside; chorusd sends them again as they are now, within a second if it runs and knows who is there; what is refused again is listed again\n", len(letters))
		return err
	})
	cmd.Flags().BoolVar(&retry, "retry", false, "have them sent again, as they are now, to those who are there")
	return cmd
}

func printDeadLetters(w io.Writer, letters []redisstate.DeadLetter) error {
	fmt.Fprintln(w, "AT\tTABLE\tKEY\tCHANNELS\tREASON")
	for _, l := range letters {
		channels := strings.Join(l.Channels, " ")
		if l.Many {
			channels = "(many)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.At.UTC().Format(time.RFC3339), l.Table, cmp.Or(l.Key, "(others)"), channels, cmp.Or(l.Reason, "-"))
	}
	_, err := fmt.Fprintf(w, "%d set aside\n", len(letters))
	return err
}
