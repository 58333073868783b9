package services

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Ports come from below the range that systems hand out to clients and to
// listeners on port 0, so that nobody is given the port of a server that is
// down for a while.
const (
	firstPort = 20000
	lastPort  = 31999
)

// folder is a server's place in the temp folder, named by kind and port. It
// exists as long as somebody owns the port.
type folder struct {
	path  string
	port  int
	owner *os.File // locked as long as this process lives
}

// newFolder reserves a free port and creates its folder. It first removes the
// folders of processes that died without doing so.
func newFolder(ctx context.Context, k Kind) (*folder, error) {
	base, unlock, err := lockBase(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	taken, err := sweep(base)
	if err != nil {
		return nil, fmt.Errorf("clear old server folders: %w", err)
	}
	port, err := freePort(taken)
	if err != nil {
		return nil, err
	}
	f := &folder{path: filepath.Join(base, fmt.Sprintf("%s-%d", string(k), port)), port: port}
	if err := os.Mkdir(f.path, 0o700); err != nil {
		return nil, fmt.Errorf("create server folder: %w", err)
	}
	if f.owner, err = tryLock(filepath.Join(f.path, "owner")); err != nil {
		return nil, fmt.Errorf("own server folder: %w", err)
	}
	return f, nil
}

// remove gives the port back and removes the folder with all in it.
func (f *folder) remove() error {
	base, unlock, err := lockBase(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	f.owner.Close()
	if err := os.RemoveAll(f.path); err != nil {
		return fmt.Errorf("remove server folder: %w", err)
	}
	_ = os.Remove(base) // refused while other servers are in it
	return nil
}

// lockBase returns the folder of all server folders of this user, locked
// against other processes.
func lockBase(ctx context.Context) (base string, unlock func(), err error) {
	cache, err := cacheDir()
	if err != nil {
		return "", nil, err
	}
	if unlock, err = lockFile(ctx, filepath.Join(cache, ".folders.lock")); err != nil {
		return "", nil, err
	}
	base = filepath.Join(os.TempDir(), fmt.Sprintf("chorusd-services-%d", os.Getuid()))
	if err := os.Mkdir(base, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		unlock()
		return "", nil, fmt.Errorf("create the folder of servers: %w", err)
	}
	// The temp folder is everybody's: another user may have been first.
	info, err := os.Lstat(base)
	if err == nil && (!info.IsDir() || info.Mode().Perm() != 0o700 || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Getuid())) {
		err = fmt.Errorf("%s is not a private folder of this user", base)
	}
	if err != nil {
		unlock()
		return "", nil, fmt.Errorf("create the folder of servers: %w", err)
	}
	return base, unlock, nil
}

// sweep removes the folders whose owner is dead and returns the ports of the
// others.
func sweep(base string) (taken map[int]bool, err error) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, err
	}
	taken = make(map[int]bool)
	for _, e := range entries {
		path := filepath.Join(base, e.Name())
		owner, err := tryLock(filepath.Join(path, "owner"))
		if errors.Is(err, syscall.EWOULDBLOCK) {
			_, port, _ := strings.Cut(e.Name(), "-")
			n, _ := strconv.Atoi(port)
			taken[n] = true
			continue
		}
		if err != nil {
			return nil, err
		}
		owner.Close()
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
	}
	return taken, nil
}

// tryLock locks the file at path, and creates it if there is none.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// freePort returns a port that nobody listens on and that is not taken.
func freePort(taken map[int]bool) (int, error) {
	var last error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if taken[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		l.Close()
		return port, nil
	}
	return 0, fmt.Errorf("find a free port from %d to %d: %w", firstPort, lastPort, last)
}
