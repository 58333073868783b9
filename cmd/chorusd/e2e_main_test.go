package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

// The end-to-end tests run the program itself, on real servers, with clients
// that speak the Pusher protocol. They account for every harmonic, and wait
// for conditions, never for time to pass.

// full widens the tests: longer outages, more rounds, more rows.
var full = os.Getenv("TEST_FULL") != ""

// waiting is how many of these tests run at once. They wait for servers and
// polls more than they compute.
const waiting = "6"

func TestMain(m *testing.M) {
	flag.Parse()
	if !given("test.parallel") {
		if err := flag.Set("test.parallel", waiting); err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "chorusd-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs.dir = dir
	servicestest.Main(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func given(name string) (ok bool) {
	flag.Visit(func(f *flag.Flag) { ok = ok || f.Name == name })
	return ok
}

// programs are the builds of chorusd under test.
var programs struct {
	dir string
	sync.Mutex
	built map[string]string
}

// raced says whether the tests look for data races.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// program returns the path of chorusd, built like the tests.
func program(t *testing.T) string {
	t.Helper()
	if raced() {
		return build(t, "chorusd-race", "-race")
	}
	return plainProgram(t)
}

// plainProgram returns the path of chorusd as users run it.
func plainProgram(t *testing.T) string {
	t.Helper()
	return build(t, "chorusd")
}

func build(t *testing.T, name string, flags ...string) string {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	if path, ok := programs.built[name]; ok {
		return path
	}
	path := filepath.Join(programs.dir, name)
	args := slices.Concat([]string{"build"}, flags, []string{"-o", path, "."})
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("build chorusd: %v\n%s", err, out)
	}
	if programs.built == nil {
		programs.built = map[string]string{}
	}
	programs.built[name] = path
	return path
}

// onBoth runs a test on MySQL and on MariaDB, beside other tests.
func onBoth(t *testing.T, test func(t *testing.T, kind services.Kind)) {
	t.Helper()
	t.Parallel()
	for _, kind := range []services.Kind{services.MySQL, services.MariaDB} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

// patience is how long something may take that should take a moment: a
// machine may be busy.
const patience = 3 * time.Minute

// recent is how long ago something may be that has just happened.
const recent = time.Minute

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	within(t, patience, what, condition)
}

func within(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}
