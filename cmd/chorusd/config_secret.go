package main

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// Secret is a text that must not be printed: formatting, logging and encoding
// it give a placeholder. string(s) is the text itself.
type Secret string

var _ interface {
	fmt.Formatter
	slog.LogValuer
	encoding.TextMarshaler
} = Secret("")

// redacted stands for a secret that is set; an unset one shows as empty, which
// tells an operator something and gives nothing away.
const redacted = "[redacted]"

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format covers the verbs that pass String by, like %d; only %p, which go vet
// refuses for a text, asks no method.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler, and so covers JSON and TOML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// secret returns a function that gives the present value of a key. Where it
// came from a file, the file is read each time, so that a password that is
// rotated needs no restart; while the file cannot be read, the value stays.
func (c Config) secret(key string, value Secret, log *slog.Logger) func() string {
	path, ok := c.secretFiles[key]
	if !ok {
		return func() string { return string(value) }
	}
	var mu sync.Mutex
	last, failing := string(value), false
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		now, err := readValue(path)
		switch {
		case err == nil:
			last, failing = now, false
		case !failing:
			failing = true
			log.Warn("cannot read a secret again, its last value stays", "key", key, "file", path, "error", cause(err))
		}
		return last
	}
}
