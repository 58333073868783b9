package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/chorusd/chorusd/tools/services"
)

// app is an app of a Pusher-compatible server.
type app struct{ kind, addr, id, key, secret string }

func soketiApp(s *services.SoketiServer) app {
	return app{kind: "soketi", addr: s.Addr, id: s.AppID, key: s.Key, secret: s.Secret}
}

// daemon is chorusd as it is run: a program of its own.
type daemon struct {
	dir   string // its state, and the program and its configuration
	admin string // its address
	cmd   *exec.Cmd
	ended chan struct{} // closed when the program has ended
	err   error         // how; to be read after ended
	end   context.CancelFunc
}

// daemonConfig is a configuration with the defaults wherever there are any.
func daemonConfig(database *services.SQLServer, redis *services.RedisServer, to app, mapping string) string {
	return fmt.Sprintf(`
[mysql]
addr = %q
user = "root"
database = "app"
[redis]
addr = %q
[pusher]
server = %q
host = %q
app_id = %q
key = %q
secret = %q
[log]
format = "json"
%s`, database.Addr, redis.Addr, to.kind, to.addr, to.id, to.key, to.secret, mapping)
}

// todosMapping is that of the table todos.
func todosMapping() string {
	quoted := func(list []string) string { return `"` + strings.Join(list, `", "`) + `"` }
	return fmt.Sprintf(`
[tables.todos]
fields = [%s]
visible_to = [%s]
[tables.todos.casts]
done = "boolean"
`, quoted(todos.Fields), quoted(slices.Concat(todos.VisibleTo...)))
}

// startDaemon builds chorusd, runs it in a folder of its own and returns when
// it says that it is ready. ctx ends it too.
func startDaemon(ctx context.Context, config string) (*daemon, error) {
	d := &daemon{}
	if err := d.build(ctx, config); err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	if err := d.run(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	return d, nil
}

func (d *daemon) program() string { return filepath.Join(d.dir, "chorusd") }

func (d *daemon) config() string { return filepath.Join(d.dir, "config.toml") }

func (d *daemon) build(ctx context.Context, config string) (err error) {
	if d.dir, err = os.MkdirTemp("", "chorusd-bench-"); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", d.program(), "github.com/chorusd/chorusd/cmd/chorusd")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build chorusd: %w\n%s", err, out)
	}
	free, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.admin = free.Addr().String()
	if err := free.Close(); err != nil {
		return err
	}
	return os.WriteFile(d.config(), fmt.Appendf(nil, "state_dir = %q\n%s\n[admin]\nlisten = %q\n", d.dir, config, d.admin), 0o600)
}

// run starts the program, for the first time or after halt.
func (d *daemon) run(ctx context.Context) error {
	ctx, d.end = context.WithCancel(ctx)
	d.cmd = exec.CommandContext(ctx, d.program(), "run", "--config", d.config())
	d.cmd.Cancel = func() error { return d.cmd.Process.Signal(syscall.SIGTERM) }
	d.cmd.WaitDelay = 15 * time.Second // more than a graceful stop may take
	log, err := d.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan struct{})
	d.ended = make(chan struct{})
	go func() {
		d.follow(log, ready)
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	select {
	case <-ready:
		return nil
	case <-d.ended:
		d.end()
		return fmt.Errorf("chorusd ended instead of becoming ready: %w", d.err)
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

// halt ends the program gracefully; run starts it again.
func (d *daemon) halt() {
	d.end()
	<-d.ended
}

// stop ends the program gracefully and removes its folder.
func (d *daemon) stop() error {
	d.halt()
	return os.RemoveAll(d.dir)
}

// metric reads one of the program's metrics, by its name and labels as they are
// served.
func (d *daemon) metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.admin+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("there is no metric %s", name), lines.Err())
}

// awaits waits until a metric is as it has to be.
func (d *daemon) awaits(ctx context.Context, name string, holds func(float64) bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if value, err := d.metric(ctx, name); err != nil || holds(value) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
