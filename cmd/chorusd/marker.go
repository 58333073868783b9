package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// marker is a file that says that a checkpoint was saved in Redis under a
// prefix, so that a Redis that comes back empty is not taken for a first run.
type marker struct{ dir, prefix string }

func (m marker) path() string {
	sum := sha256.Sum256([]byte(m.prefix))
	return filepath.Join(m.dir, fmt.Sprintf("checkpointed-%x", sum[:6]))
}

func (m marker) exists() (bool, error) {
	_, err := os.Stat(m.path())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("state_dir: %w; name a folder that chorusd may use", err)
	}
	return true, nil
}

func (m marker) write() error {
	if ok, err := m.exists(); ok || err != nil {
		return err
	}
	text := fmt.Sprintf("chorusd saved a checkpoint in Redis under the prefix %q.\nWithout this file, a Redis that has lost it would look like a first run.\n", m.prefix)
	err := os.MkdirAll(m.dir, 0o700)
	if err == nil {
		err = os.WriteFile(m.path(), []byte(text), 0o600)
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
