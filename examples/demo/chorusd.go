package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// readyTimeout bounds chorusd's start.
	readyTimeout = 30 * time.Second
	// readyPoll is how often a starting chorusd is asked whether it is ready.
	readyPoll = 50 * time.Millisecond
	// stopTimeout bounds its graceful end, which it promises within ten seconds.
	stopTimeout = 12 * time.Second
	// logTail is how much of its log goes into an error, in bytes.
	logTail = 3000
)

// chorusd is a running chorusd.
type chorusd struct {
	path   string // the program
	config string // its configuration
	log    string // the file that holds its output

	cmd    *exec.Cmd
	leash  io.Closer
	exited chan struct{} // closed when it has ended
}

// findChorusd returns the program to run: path, or else one built into dir
// from the module around the working folder.
func findChorusd(ctx context.Context, path, dir string) (string, error) {
	if path != "" {
		// The process gets another working folder.
		return filepath.Abs(path)
	}
	built := filepath.Join(dir, "chorusd")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", built, "github.com/chorusd/chorusd/cmd/chorusd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build chorusd: %w\n%s", err, out)
	}
	return built, nil
}

// startChorusd writes the configuration into dir, runs the program, and returns
// when it is ready.
func startChorusd(ctx context.Context, program, dir string, set settings) (_ *chorusd, err error) {
	c := &chorusd{
		path:   program,
		config: filepath.Join(dir, "config.toml"),
		log:    filepath.Join(dir, "chorusd.log"),
		exited: make(chan struct{}),
	}
	if err := writeConfig(c.config, set); err != nil {
		return nil, err
	}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, fmt.Errorf("create chorusd's log: %w", err)
	}
	defer log.Close()

	c.cmd = exec.Command(program, "run", "--config", c.config)
	c.cmd.Dir = dir
	c.cmd.Env = slices.DeleteFunc(os.Environ(), isSetting)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	// A group of its own: a terminal's Ctrl-C is the demo's, which stops its parts in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start chorusd: %w", err)
	}
	go func() {
		_ = c.cmd.Wait() // how it ended is in ProcessState
		close(c.exited)
	}()
	if c.leash, err = watch(c.cmd.Process.Pid); err == nil {
		err = c.waitReady(ctx, set.Admin)
	}
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// isSetting reports whether a variable would go over the demo's configuration.
func isSetting(variable string) bool { return strings.HasPrefix(variable, "CHORUSD_") }

// watch ends the process when the demo dies without having closed what watch
// returns, as by kill -9: the kernel then closes the pipe that a shell reads.
func watch(pid int) (io.Closer, error) {
	watcher := exec.Command("/bin/sh", "-c", `read -r line; test -n "$line" || kill -TERM "$0"`, strconv.Itoa(pid))
	watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := watcher.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("watch chorusd: %w", err)
	}
	if err := watcher.Start(); err != nil {
		return nil, fmt.Errorf("watch chorusd: %w", err)
	}
	return closer(func() error {
		_, writeErr := io.WriteString(leash, "done\n")
		return errors.Join(writeErr, leash.Close(), watcher.Wait())
	}), nil
}

type closer func() error

func (c closer) Close() error { return c() }

// waitReady returns nil when chorusd says that it is ready.
func (c *chorusd) waitReady(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		if isReady(ctx, admin) {
			return nil
		}
		select {
		case <-c.exited:
			return c.failure("chorusd did not start")
		case <-ctx.Done():
			return c.failure("chorusd is not ready in time")
		case <-tick.C:
		}
	}
}

func isReady(ctx context.Context, admin string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return false
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// failure is an error with what happened and the end of chorusd's log.
func (c *chorusd) failure(what string) error {
	select {
	case <-c.exited:
		what = fmt.Sprintf("%s (%v)", what, c.cmd.ProcessState)
	default:
	}
	log, err := os.ReadFile(c.log)
	if err != nil {
		return fmt.Errorf("%s, and its log cannot be read: %w", what, err)
	}
	if len(log) > logTail {
		log = log[len(log)-logTail:]
		if _, rest, ok := bytes.Cut(log, []byte("\n")); ok {
			log = rest
		}
	}
	return fmt.Errorf("%s; the end of its log:\n%s", what, bytes.TrimSpace(log))
}

// stop ends chorusd gracefully, or at once when that takes too long.
func (c *chorusd) stop() error {
	var errs []error
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		errs = append(errs, fmt.Errorf("stop chorusd: %w", err))
	}
	select {
	case <-c.exited:
	case <-time.After(stopTimeout):
		errs = append(errs, c.failure("chorusd does not stop"), c.cmd.Process.Kill())
		<-c.exited
	}
	if c.leash != nil {
		errs = append(errs, c.leash.Close())
	}
	return errors.Join(errs...)
}
