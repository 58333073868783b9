package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// process is a running server and its watcher.
//
// The watcher is a shell that waits for the end of a pipe whose other end only
// this process holds. When this process dies, by kill -9 too, the kernel closes
// the pipe, and the watcher kills its process group: itself, the server and
// whatever the server started. The watcher is started first and leads the
// group, so there is no moment at which a server runs unwatched. (Linux's
// parent-death signal would fire when the thread that forked ends, and reaches
// no grandchildren.)
type process struct {
	server  *exec.Cmd
	watcher *exec.Cmd
	leash   *os.File      // the pipe's write end
	exited  chan struct{} // closed when the server has ended
	err     error         // how it ended; read after exited
}

// startProcess runs argv in dir, in a process group of its own, with its
// output appended to the file log.
func startProcess(argv []string, dir, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open server log: %w", err)
	}
	defer out.Close()
	end, leash, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("create the watcher's pipe: %w", err)
	}
	defer end.Close()

	p := &process{leash: leash, exited: make(chan struct{})}
	// When the parent of a group with a paused member dies, the kernel sends the
	// group a SIGHUP, which must not end the watcher before it has done its work.
	p.watcher = exec.Command("/bin/sh", "-c", "trap '' HUP INT TERM; read -r _; kill -KILL 0")
	p.watcher.Stdin = end
	p.watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.watcher.Start(); err != nil {
		leash.Close()
		return nil, fmt.Errorf("start the watcher: %w", err)
	}

	p.server = exec.Command(argv[0], argv[1:]...)
	p.server.Dir = dir
	p.server.Stdout, p.server.Stderr = out, out
	p.server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: p.watcher.Process.Pid}
	if err := p.server.Start(); err != nil {
		p.endGroup()
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		p.err = p.server.Wait()
		close(p.exited)
	}()
	return p, nil
}

// kill ends the whole group at once and waits until the server is gone.
func (p *process) kill() {
	p.endGroup()
	<-p.exited
}

// terminate asks the server to end and waits for it. When ctx ends first, the
// group is killed.
func (p *process) terminate(ctx context.Context) error {
	defer p.kill()
	// A paused server would not hear it.
	if err := errors.Join(p.signal(syscall.SIGTERM), p.signal(syscall.SIGCONT)); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the server to end: %w", ctx.Err())
	}
}

// signal sends sig to the server alone; one that has ended already is no error.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.server.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v: %w", sig, err)
	}
	return nil
}

// endGroup kills the group. The watcher is reaped last, so that its id, which
// names the group, cannot be another's by then. It may be called repeatedly.
func (p *process) endGroup() {
	if p.watcher.ProcessState != nil {
		return
	}
	// The only error there can be is that nobody is left.
	_ = syscall.Kill(-p.watcher.Process.Pid, syscall.SIGKILL)
	_ = p.watcher.Wait() // "signal: killed"
	p.leash.Close()
}
