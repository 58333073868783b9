package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A process's name is made of what Linux tells of it: the boot of the machine,
// the namespace that its number is of, the number, and when it was started, which
// tells it from later ones with that number. Elsewhere it has none.

// processName names this process among all there ever are; "" if that cannot be
// told.
func processName() string {
	space, pid := processSpace(), os.Getpid()
	started, _ := processStart(pid)
	if space == "" || started == "" {
		return ""
	}
	return fmt.Sprintf("%s %d %s", space, pid, started)
}

// processEnded says whether it is certain that the process of a name has ended,
// which it is only on its own machine; of this process, what it did before has.
func processEnded(name string) bool {
	words := strings.Fields(name)
	if len(words) != 4 || words[0]+" "+words[1] != processSpace() {
		return false
	}
	pid, err := strconv.Atoi(words[2])
	if err != nil || pid <= 0 {
		return false
	}
	if pid == os.Getpid() {
		return true // this one, or one that had its number before it
	}
	// Who may not see others' /proc may still ask for them by number.
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	started, state := processStart(pid)
	return started != "" && (started != words[3] || state == "Z")
}

// processSpace is where numbers of processes are unique; "" if it is not known.
func processSpace() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + namespace
}

// processStart is when a process was started, in ticks since the boot, and the
// letter of its state (proc_pid_stat(5)); "" if that is not known.
func processStart(pid int) (started, state string) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	// The second field is a name in parentheses, which may have anything in it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", ""
	}
	return fields[19], fields[0]
}
