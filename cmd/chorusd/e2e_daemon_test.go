package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// daemon is a running chorusd.
type daemon struct {
	stack  *stack
	cmd    *exec.Cmd
	output output
	exited chan struct{} // closed when it has ended
}

// output is what a process writes; it may be read meanwhile.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs chorusd and returns when it is ready.
func (s *stack) start(t *testing.T, flags ...string) *daemon {
	t.Helper()
	d := s.launch(t, flags...)
	d.awaitReady(t)
	return d
}

// launch runs chorusd and does not wait.
func (s *stack) launch(t *testing.T, flags ...string) *daemon {
	t.Helper()
	return s.launchProgram(t, program(t), flags...)
}

func (s *stack) launchProgram(t *testing.T, path string, flags ...string) *daemon {
	t.Helper()
	d := &daemon{stack: s, exited: make(chan struct{})}
	d.cmd = exec.Command(path, slices.Concat([]string{"run", "--config", s.config}, flags)...)
	d.cmd.Env = s.environ()
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// When the tests are killed, the pipe ends, and with it chorusd.
	watcher := exec.Command("/bin/sh", "-c", `read -r line; test -n "$line" || kill -9 "$0"`, strconv.Itoa(d.cmd.Process.Pid))
	leash, err := watcher.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in ProcessState
		_, _ = io.WriteString(leash, "done\n")
		_ = watcher.Wait()
		close(d.exited)
	}()
	t.Cleanup(func() {
		d.kill(t)
		_ = leash.Close()
		log := d.output.String()
		if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
			t.Error("chorusd has a data race or panicked")
		}
		if t.Failed() {
			t.Logf("chorusd %v said:\n%s", flags, lastOf(log, 6000))
		}
	})
	return d
}

// lastOf cuts a text to its last n bytes.
func lastOf(text string, n int) string {
	return text[max(0, len(text)-n):]
}

func (d *daemon) hasExited() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

func (d *daemon) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, "chorusd is ready", func() bool {
		if d.hasExited() {
			t.Fatalf("chorusd ended with %v", d.cmd.ProcessState)
		}
		code, _ := d.get(t, "/readyz")
		return code == http.StatusOK
	})
}

func (d *daemon) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// kill is kill -9.
func (d *daemon) kill(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-d.exited
}

// terminate is a graceful stop, which is promised within ten seconds.
func (d *daemon) terminate(t *testing.T) {
	t.Helper()
	began := time.Now()
	d.signal(t, syscall.SIGTERM)
	if code := d.exitCode(t); code != 0 {
		t.Fatalf("after SIGTERM chorusd exits with %d, want 0", code)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("chorusd took %v to stop, want at most 10 s", took)
	}
}

// exitCode waits until it has ended.
func (d *daemon) exitCode(t *testing.T) int {
	t.Helper()
	eventually(t, "chorusd has ended", d.hasExited)
	return d.cmd.ProcessState.ExitCode()
}

// get asks the admin address; without an answer the code is 0.
func (d *daemon) get(t *testing.T, path string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.stack.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(text)
}

// isReady asks /readyz.
func (d *daemon) isReady(t *testing.T) bool {
	t.Helper()
	code, _ := d.get(t, "/readyz")
	return code == http.StatusOK
}

// metric sums the samples of a metric; labels are parts like `outcome="accepted"`
// that a sample must have.
func (d *daemon) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	code, body := d.get(t, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics answers %d", code)
	}
	sum := 0.0
	for line := range strings.Lines(body) {
		sample, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(sample, "{"); base != name {
			continue
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(sample, l) }) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("metric %q: %v", line, err)
		}
		sum += n
	}
	return sum
}

// logged counts the log lines with a message.
func (d *daemon) logged(message string) int {
	n := 0
	for line := range strings.Lines(d.output.String()) {
		var entry struct {
			Msg string `json:"msg"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == message {
			n++
		}
	}
	return n
}

// run runs a command of chorusd to its end.
func (s *stack) run(t *testing.T, command string, flags ...string) (code int, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t), slices.Concat([]string{command, "--config", s.config}, flags)...)
	cmd.Env = s.environ()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}
