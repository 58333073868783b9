package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

func TestProcessEnded(t *testing.T) {
	if runtime.GOOS != "linux" {
		if name := processName(); name != "" {
			t.Errorf("this process has the name %q", name)
		}
		return
	}
	child := exec.Command("sleep", "600")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	space := processSpace()
	started, _ := processStart(child.Process.Pid)
	name := fmt.Sprintf("%s %d %s", space, child.Process.Pid, started)
	ended := map[string]bool{
		processName(): true, // of this one, what it did before
		name:          false,
		fmt.Sprintf("%s %d 1", space, child.Process.Pid):  true, // another one had its number
		fmt.Sprintf("%s 1 x", space):                      true,
		"another boot " + strings.TrimPrefix(name, space): false,
		"": false, "x": false, space: false, space + " x y": false, space + " -1 1": false, space + " 0 1": false,
	}
	for name, want := range ended {
		if got := processEnded(name); got != want {
			t.Errorf("%q has ended: %v, want %v", name, got, want)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// It is not waited for yet, and still ends.
	eventually(t, "the process has ended", func() bool { return processEnded(name) })
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", child.Process.Pid)); err != nil {
		t.Error("it was waited for")
	}
	if err := child.Wait(); err == nil {
		t.Error("it has ended by itself")
	}
	if !processEnded(name) {
		t.Error("the process that has gone has not ended")
	}
}
