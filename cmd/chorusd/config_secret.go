package main

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"
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
