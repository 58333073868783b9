package services

import (
	"os"
	"path/filepath"
	"testing"
)

// Two processes ask for a folder at once: one makes it, both get it.
func TestCachedOnceForTwoProcesses(t *testing.T) {
	home := "XDG_CACHE_HOME=" + t.TempDir()
	helpers := []*helper{startHelper(t, "cached", home), startHelper(t, "cached", home)}
	fills := 0
	var dirs []string
	for _, h := range helpers {
		for h.lines.Scan() {
			switch line := h.lines.Text(); line {
			case "begun":
			case "filling":
				fills++
			default:
				dirs = append(dirs, line)
			}
		}
		if err := h.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if fills != 1 {
		t.Errorf("the folder was made %d times, want once", fills)
	}
	if len(dirs) != 2 || dirs[0] != dirs[1] {
		t.Errorf("got folders %q, want the same twice", dirs)
	}
}

// A process that is killed while it makes a folder leaves nothing that another
// takes for the folder, nor a lock.
func TestCachedAfterAKill(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	stuck := startHelper(t, "stuck")
	for stuck.line(t) != "filling" {
	}
	second := startHelper(t, "cached")
	if got := second.line(t); got != "begun" {
		t.Fatalf("got %q, want begun", got)
	}
	if err := stuck.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := second.line(t); got != "filling" {
		t.Fatalf("got %q, want filling", got)
	}
	dir := second.line(t)
	for _, name := range []string{"half", "other half"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	partial, err := filepath.Glob(filepath.Join(cache, "chorusd/services/.*.partial"))
	if err != nil || len(partial) > 0 {
		t.Errorf("left behind: %q, %v", partial, err)
	}
}
