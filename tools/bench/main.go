// Command bench measures chorusd on real servers of its own and prints one
// line per figure: name, value, unit and against what, with tabs in between.
//
//	go run ./tools/bench [-only name,name]
//
// Every figure is a ratio to something else that was measured in the same run,
// in turns with it, so that figures of different machines can be compared.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/chorusd/chorusd/tools/services"
)

// figure is one line of the output.
type figure struct {
	name    string
	value   float64
	unit    string
	against string
}

func (f figure) String() string {
	return fmt.Sprintf("%s\t%.2f\t%s\t%s", f.name, f.value, f.unit, f.against)
}

// benchmark is one run, from which come one or more figures.
type benchmark struct {
	figures []string
	needs   []services.Kind
	// run returns the figures, all of them; what it does meanwhile it says
	// on progress.
	run func(ctx context.Context, progress io.Writer) ([]figure, error)
}

var benchmarks = []benchmark{
	{[]string{"capture.bulk", "capture.single", "capture.mapped"}, []services.Kind{services.MySQL}, capture},
	{[]string{"mapping.cost"}, []services.Kind{services.MySQL}, mappingCost},
	{[]string{"route.fanout"}, []services.Kind{services.MySQL, services.Redis}, fanout},
	{
		[]string{
			"publish.ceiling.1", "publish.requests.1", "publish.ceiling.10", "publish.requests.10",
			"publish.ceiling.1000", "publish.requests.1000", "publish.drain",
		},
		[]services.Kind{services.MySQL, services.Redis, services.Soketi},
		delivery,
	},
	{[]string{"rss.slow"}, []services.Kind{services.MySQL, services.Redis}, slow},
	{[]string{"latency.p50", "latency.p99"}, []services.Kind{services.MySQL, services.Redis, services.Soketi}, latency},
}

func main() {
	// Servers and folders are cleaned up by the deferred calls of whoever made
	// them, so a signal only ends the context.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	only := flag.String("only", "", "the `figures` to measure, with commas in between; all of them by default")
	flag.Parse()
	if err := measure(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// measure runs what the wanted figures come from and prints them.
func measure(ctx context.Context, only string) error {
	wanted, err := parseOnly(only)
	if err != nil {
		return err
	}
	for _, b := range benchmarks {
		if !slices.ContainsFunc(b.figures, func(name string) bool { return wanted[name] }) {
			continue
		}
		title := strings.Join(b.figures, ", ")
		fmt.Fprintf(os.Stderr, "== %s\n", title)
		if err := services.Install(ctx, os.Stderr, b.needs...); err != nil {
			return fmt.Errorf("measure %s: %w", title, err)
		}
		figures, err := b.run(ctx, os.Stderr)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			return fmt.Errorf("measure %s: %w", title, err)
		}
		for _, f := range figures {
			if wanted[f.name] {
				fmt.Println(f)
			}
		}
	}
	return nil
}

// parseOnly returns the names in a list with commas; all there are if it is empty.
func parseOnly(only string) (map[string]bool, error) {
	known := map[string]bool{}
	for _, b := range benchmarks {
		for _, name := range b.figures {
			known[name] = true
		}
	}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(only, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !known[name] {
			var names []string
			for _, b := range benchmarks {
				names = append(names, b.figures...)
			}
			return nil, fmt.Errorf("there is no figure %q, only %s", name, strings.Join(names, ", "))
		}
		wanted[name] = true
	}
	if len(wanted) == 0 {
		return known, nil
	}
	return wanted, nil
}
