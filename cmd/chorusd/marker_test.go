package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMarker(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when needed")
	one, other := marker{dir, "app1"}, marker{dir, "app2"}
	expect := func(m marker, want string) {
		t.Helper()
		if got, ok, err := m.token(); err != nil || got != want || ok != (want != "") {
			t.Errorf("the marker of %s says %q (%v, %v), want %q", m.prefix, got, ok, err, want)
		}
	}
	expect(one, "")
	for _, token := range []string{"A", "A", "B"} { // the same again changes nothing
		if err := one.write(token); err != nil {
			t.Fatal(err)
		}
		expect(one, token)
	}
	expect(other, "")
	if text, err := os.ReadFile(one.path()); err != nil || !strings.Contains(string(text), `"app1"`) {
		t.Errorf("the marker does not say what it is for: %q (%v)", text, err)
	}
	for range 2 {
		if err := one.remove(); err != nil {
			t.Fatal(err)
		}
	}
	expect(one, "")
}

func TestMarkerCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := marker{filepath.Join(file, "folder"), "app"}.write("A")
	if err == nil || !strings.Contains(err.Error(), "state_dir") {
		t.Errorf("got %v, want an error that names state_dir", err)
	}
}

func TestMarkerWithoutToken(t *testing.T) {
	m := marker{t.TempDir(), "app"}
	if err := os.WriteFile(m.path(), []byte("cut off"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.token(); err == nil || !strings.Contains(err.Error(), m.path()) {
		t.Errorf("got %v, want an error that names %s", err, m.path())
	}
}
