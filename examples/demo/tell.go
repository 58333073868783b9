package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// teller tells the person at the terminal how it goes. Its methods may be
// called from several goroutines.
type teller struct {
	mu  sync.Mutex
	out io.Writer
}

// line prints a line.
func (t *teller) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format+"\n", args...)
}

// ready says that a part is up, and where.
func (t *teller) ready(part, where string, began time.Time) {
	t.line("  ✓ %-18s %-22s %4.1f s", part, where, time.Since(began).Seconds())
}
