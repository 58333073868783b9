package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/chorusd/chorusd/tools/services"
)

// daemon is chorusd as it is run: a program of its own.
type daemon struct {
	cmd    *exec.Cmd
	dir    string
	ended  chan struct{} // closed when the program has ended
	err    error         // how; to be read after ended
	cancel context.CancelFunc
}

// daemonConfig is a configuration with the defaults wherever there are any.
func daemonConfig(database *services.SQLServer, redis *services.RedisServer, soketi *services.SoketiServer) string {
	quoted := func(list []string) string { return `"` + strings.Join(list, `", "`) + `"` }
	return fmt.Sprintf(`
[mysql]
addr = %q
user = "root"
database = "app"
[redis]
addr = %q
[pusher]
server = "soketi"
host = %q
app_id = %q
key = %q
secret = %q
[admin]
listen = ""
[log]
format = "json"
[tables.todos]
fields = [%s]
visible_to = [%s]
[tables.todos.casts]
done = "boolean"
`, database.Addr, redis.Addr, soketi.Addr, soketi.AppID, soketi.Key, soketi.Secret, quoted(todos.Fields), quoted(slices.Concat(todos.VisibleTo...)))
}

// startDaemon builds chorusd, runs it in a folder of its own and returns when
// it says that it is ready. ctx ends it too.
func startDaemon(ctx context.Context, config string) (_ *daemon, err error) {
	dir, err := os.MkdirTemp("", "chorusd-bench-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	program, file := filepath.Join(dir, "chorusd"), filepath.Join(dir, "config.toml")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/chorusd/chorusd/cmd/chorusd")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build chorusd: %w\n%s", err, out)
	}
	if err := os.WriteFile(file, []byte(fmt.Sprintf("state_dir = %q\n%s", dir, config)), 0o600); err != nil {
		return nil, err
	}
	d := &daemon{dir: dir, ended: make(chan struct{})}
	ctx, d.cancel = context.WithCancel(ctx)
	d.cmd = exec.CommandContext(ctx, program, "run", "--config", file)
	d.cmd.Cancel = func() error { return d.cmd.Process.Signal(syscall.SIGTERM) }
	d.cmd.WaitDelay = 15 * time.Second // more than a graceful stop may take
	log, err := d.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		d.follow(log, ready)
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	select {
	case <-ready:
		return d, nil
	case <-d.ended:
		d.cancel()
		return nil, fmt.Errorf("chorusd ended instead of becoming ready: %w", d.err)
	}
}

// follow reads the log, closes ready when the program is, and shows what is
// not as it should be.
func (d *daemon) follow(log io.Reader, ready chan<- struct{}) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct{ Level, Msg string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Level != "INFO" {
			fmt.Fprintf(os.Stderr, "chorusd: %s\n", lines.Bytes())
		}
		if line.Msg == "ready" && ready != nil {
			close(ready)
			ready = nil
		}
	}
}

// stop ends the program gracefully and removes its folder.
func (d *daemon) stop() error {
	d.cancel()
	<-d.ended
	return os.RemoveAll(d.dir)
}
