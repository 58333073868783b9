package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMarker(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when needed")
	one, other := marker{dir, "app1:"}, marker{dir, "app2:"}
	expect := func(m marker, want bool) {
		t.Helper()
		if got, err := m.exists(); err != nil || got != want {
			t.Errorf("the marker of %s exists: %v (%v), want %v", m.prefix, got, err, want)
		}
	}
	expect(one, false)
	for range 2 { // again changes nothing
		if err := one.write(); err != nil {
			t.Fatal(err)
		}
	}
	expect(one, true)
	expect(other, false)
	if text, err := os.ReadFile(one.path()); err != nil || !strings.Contains(string(text), `"app1:"`) {
		t.Errorf("the marker does not say what it is for: %q (%v)", text, err)
	}
	for range 2 {
		if err := one.remove(); err != nil {
			t.Fatal(err)
		}
	}
	expect(one, false)
}

func TestMarkerCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := marker{filepath.Join(file, "folder"), "app:"}.write()
	if err == nil || !strings.Contains(err.Error(), "state_dir") {
		t.Errorf("got %v, want an error that names state_dir", err)
	}
}
