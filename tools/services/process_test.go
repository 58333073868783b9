package services

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
)

// Whatever a process started is gone after kill -9 of it: servers, paused ones
// and children of servers too. The folders go with the next start.
func TestServersDieWithTheirParent(t *testing.T) {
	h := startHelper(t, "servers")
	var left orphans
	if err := json.Unmarshal([]byte(h.line(t)), &left); err != nil {
		t.Fatal(err)
	}
	for _, addr := range left.Addrs {
		if conn, err := net.Dial("tcp", addr); err != nil {
			t.Fatalf("before the kill: %v", err)
		} else {
			conn.Close()
		}
	}
	neighbour, err := StartRedis(t.Context(), RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, neighbour.Server)
	for _, dir := range left.Folders {
		if !isDir(dir) {
			t.Errorf("%s was swept while its owner lives", dir)
		}
	}

	if err := h.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range left.Pids {
		eventually(t, fmt.Sprintf("process %d gone", pid), func() bool { return !alive(pid) })
	}
	for _, addr := range left.Addrs {
		// Sockets close with the process's last thread, after it looks dead.
		eventually(t, addr+" closed", func() bool {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return true
			}
			conn.Close()
			return false
		})
	}

	next, err := StartRedis(t.Context(), RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, next.Server)
	for _, dir := range left.Folders {
		if isDir(dir) {
			t.Errorf("%s of a dead owner was not swept", dir)
		}
	}
	if !isDir(neighbour.Dir()) {
		t.Error("a living owner's folder was swept")
	}
}

// alive tells whether a process runs; a dead one that nobody has reaped yet
// does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat") // "1234 (name) S …"
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(state, []byte("Z"))
}
