package services

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// helperMode names the environment variable that makes this test binary a
// helper process.
const helperMode = "SERVICES_TEST_HELPER"

func TestMain(m *testing.M) {
	switch mode := os.Getenv(helperMode); mode {
	case "":
		goleak.VerifyTestMain(m)
	case "servers":
		exitWith(serversHelper())
	case "cached", "stuck":
		exitWith(cachedHelper(mode == "stuck"))
	case "install":
		exitWith(Install(context.Background(), os.Stdout, Kinds()...))
	}
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// orphans is what serversHelper leaves behind when it is killed.
type orphans struct {
	Addrs   []string
	Folders []string
	Pids    []int // of all processes, children of servers too
}

// serversHelper starts servers, tells about them, and waits to be killed.
func serversHelper() error {
	ctx := context.Background()
	redis, err := StartRedis(ctx, RedisOptions{})
	if err != nil {
		return err
	}
	soketi, err := StartSoketi(ctx, SoketiOptions{})
	if err != nil {
		return err
	}
	paused, err := StartRedis(ctx, RedisOptions{})
	if err != nil {
		return err
	}
	if err := paused.Pause(); err != nil {
		return err
	}
	// A server that has a child of its own and ignores polite signals.
	pidFile := filepath.Join(redis.Dir(), "child")
	parent, err := startProcess([]string{"/bin/sh", "-c", "trap '' TERM HUP; sleep 600 & echo $! >" + pidFile + ".new; mv " + pidFile + ".new " + pidFile + "; wait"}, redis.Dir(), redis.Log())
	if err != nil {
		return err
	}
	var child int
	for child == 0 {
		if text, err := os.ReadFile(pidFile); err == nil {
			if _, err := fmt.Sscan(string(text), &child); err != nil {
				return err
			}
		}
	}
	left := orphans{Pids: []int{parent.server.Process.Pid, parent.watcher.Process.Pid, child}}
	for _, s := range []*Server{redis.Server, soketi.Server, paused.Server} {
		left.Addrs = append(left.Addrs, s.Addr)
		left.Folders = append(left.Folders, s.Dir())
		left.Pids = append(left.Pids, s.proc.server.Process.Pid, s.proc.watcher.Process.Pid)
	}
	if err := json.NewEncoder(os.Stdout).Encode(left); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// cachedHelper asks for a cached folder that takes a moment to make, or is
// never finished.
func cachedHelper(stuck bool) error {
	fmt.Println("begun")
	dir, err := cached(context.Background(), "thing", func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o600); err != nil {
			return err
		}
		fmt.Println("filling")
		if stuck {
			_, err := io.Copy(io.Discard, os.Stdin)
			return err
		}
		return os.WriteFile(filepath.Join(dir, "other half"), nil, 0o600)
	})
	fmt.Println(dir)
	return err
}

// helper is this test binary in a helper mode.
type helper struct {
	*exec.Cmd
	lines *bufio.Scanner
	stdin io.Closer
}

// startHelper runs this test binary in a helper mode; it dies with the test.
func startHelper(t *testing.T, mode string, env ...string) *helper {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), helperMode+"="+mode), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return &helper{cmd, bufio.NewScanner(stdout), stdin}
}

// line returns the helper's next line of output.
func (h *helper) line(t *testing.T) string {
	t.Helper()
	if !h.lines.Scan() {
		t.Fatalf("the helper has ended: %v", h.lines.Err())
	}
	return h.lines.Text()
}

// eventually waits until ok, and fails the test if that takes more than 10 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("after 10 s still not: %s", what)
		case <-tick.C:
		}
	}
}

// stopAtEnd stops s when the test ends.
func stopAtEnd(t *testing.T, s *Server) {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
}
