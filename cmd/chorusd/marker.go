package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// marker is a file that says that a checkpoint was saved in Redis under a
// prefix, and the token of the state there, so that a Redis that comes back
// empty is not taken for a first run, nor another one for the same.
type marker struct{ dir, prefix string }

func (m marker) path() string {
	sum := sha256.Sum256([]byte(m.prefix))
	return filepath.Join(m.dir, fmt.Sprintf("checkpointed-%x", sum[:6]))
}

// tokenLine begins the line with the token.
const tokenLine = "token "

// token is what the marker says; ok is false if there is none.
func (m marker) token() (token string, ok bool, err error) {
	content, err := os.ReadFile(m.path())
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("state_dir: %w; name a folder that chorusd may use", err)
	}
	for line := range strings.Lines(string(content)) {
		if text, found := strings.CutPrefix(line, tokenLine); found {
			return strings.TrimSpace(text), true, nil
		}
	}
	return "", false, fmt.Errorf("state_dir: %s has no token; if Redis was never emptied, remove that file", m.path())
}

// write makes the marker, or has it say another token.
func (m marker) write(token string) error {
	if old, ok, err := m.token(); err == nil && ok && old == token {
		return nil
	}
	text := fmt.Sprintf("chorusd saved a checkpoint in Redis under the prefix %q.\nWithout this file, a Redis that has lost it would look like a first run.\n%s%s\n",
		m.prefix, tokenLine, token)
	next := m.path() + ".new"
	err := os.MkdirAll(m.dir, 0o700)
	if err == nil {
		err = os.WriteFile(next, []byte(text), 0o600)
	}
	if err == nil {
		err = os.Rename(next, m.path())
	}
	if err != nil {
		return fmt.Errorf("state_dir: %w; name a folder that chorusd may write to", err)
	}
	return nil
}

func (m marker) remove() error {
	if err := os.Remove(m.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
