package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout bounds a start whose context has no earlier deadline.
	startTimeout = 60 * time.Second
	// readyPoll is how often a starting server is asked whether it is ready.
	readyPoll = 20 * time.Millisecond
	// tailSize is how much of a server's log or a command's output goes into an
	// error, in bytes.
	tailSize = 2000
)

// Server is a server that this process started. Its methods may be called from
// several goroutines.
type Server struct {
	Kind Kind
	Addr string // host:port, the same for the server's whole life

	folder *folder
	argv   []string
	// probe asks the server once whether it is ready.
	probe func(ctx context.Context) error

	mu   sync.Mutex
	proc *process // nil while the server is down
}

// Dir returns the server's own folder; [Server.Stop] removes it.
func (s *Server) Dir() string { return s.folder.path }

// Port returns the port of Addr.
func (s *Server) Port() int { return s.folder.port }

// Log returns the path of the file that holds the server's output.
func (s *Server) Log() string { return filepath.Join(s.folder.path, "server.log") }

// newServer reserves what a server of kind k needs. On success the caller owes
// start or remove.
func newServer(ctx context.Context, k Kind) (*Server, error) {
	f, err := newFolder(ctx, k)
	if err != nil {
		return nil, err
	}
	return &Server{
		Kind:   k,
		Addr:   net.JoinHostPort("127.0.0.1", strconv.Itoa(f.port)),
		folder: f,
	}, nil
}

// start is the end of every Start function: it runs the server and waits until
// it is ready. If it fails, all that the server had is removed.
func (s *Server) start(ctx context.Context) error {
	if err := s.Restart(ctx); err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
}

// Restart ends the server gracefully, if it runs, starts it again with the same
// data on the same address, and returns when it is ready.
func (s *Server) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.Terminate(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.folder.owner == nil {
		return fmt.Errorf("start %v: it was stopped", s.Kind)
	}
	proc, err := startProcess(s.argv, s.folder.path, s.Log())
	if err != nil {
		return err
	}
	if err := s.waitReady(ctx, proc); err != nil {
		proc.kill()
		return fmt.Errorf("start %v: %w; the end of its log:\n%s", s.Kind, err, s.LogTail())
	}
	s.proc = proc
	return nil
}

// Terminate ends the server gracefully and returns when it has ended. Its data
// and its port stay reserved for [Server.Restart]. When ctx ends first, the
// server is killed and the error says so.
func (s *Server) Terminate(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	proc := s.proc
	s.proc = nil
	if err := proc.terminate(ctx); err != nil {
		return fmt.Errorf("terminate %v: %w", s.Kind, err)
	}
	return nil
}

// Kill ends the server as kill -9 does. Its data and its port stay reserved for
// [Server.Restart].
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.kill()
		s.proc = nil
	}
}

// Pause freezes the server: it keeps its connections and answers nothing until
// [Server.Resume].
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume undoes [Server.Pause].
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return fmt.Errorf("%v does not run", s.Kind)
	}
	return s.proc.signal(sig)
}

// Exited returns a channel that is closed when the server's process has ended,
// by itself or by one of the methods here. After a restart there is a new one.
func (s *Server) Exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		gone := make(chan struct{})
		close(gone)
		return gone
	}
	return s.proc.exited
}

// Stop ends the server at once and removes its folder. The server cannot be
// used afterwards; stopping it again does nothing.
func (s *Server) Stop() error {
	s.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.folder.owner == nil {
		return nil
	}
	if err := s.folder.remove(); err != nil {
		return fmt.Errorf("stop %v: %w", s.Kind, err)
	}
	s.folder.owner = nil
	return nil
}

// poll asks until there is no error, or ctx ends.
func poll(ctx context.Context, ask func(ctx context.Context) error) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// waitReady asks the server until it is ready, has ended, or ctx ends.
func (s *Server) waitReady(ctx context.Context, proc *process) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		probeCtx, cancel := context.WithTimeout(ctx, time.Second)
		err := s.probe(probeCtx)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-proc.exited:
			return fmt.Errorf("it ended at once: %w", endedAs(proc.err))
		case <-ctx.Done():
			return fmt.Errorf("it is not ready (%w): %w", err, ctx.Err())
		case <-tick.C:
		}
	}
}

func endedAs(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// LogTail returns the last lines of the server's log.
func (s *Server) LogTail() string {
	log, err := os.ReadFile(s.Log())
	if err != nil {
		return err.Error()
	}
	return tail(log)
}

// tail returns the last whole lines of text, at most tailSize bytes of them.
func tail(text []byte) string {
	text = bytes.TrimSpace(text)
	if len(text) > tailSize {
		text = text[len(text)-tailSize:]
		if _, rest, ok := bytes.Cut(text, []byte("\n")); ok {
			text = rest
		}
	}
	return string(text)
}
