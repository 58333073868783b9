package redisstate

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of what is kept of dead letters.
const (
	MaxDeadLetters    = 1000
	MaxLetterChannels = 100
	maxReason         = 500 // bytes
)

// DeadLetter is a record that could not be sent to some channels. Of the user's
// data it holds the record's key only, so Reason must not quote rows.
type DeadLetter struct {
	Table string `json:"table"`
	// Key is JSON text. The letter without one stands for all records of the
	// table beyond MaxDeadLetters.
	Key string `json:"key"`
	// Channels have the record coming, sorted. Many says that they are more
	// than MaxLetterChannels, and then none is named.
	Channels []string `json:"channels,omitempty"`
	Many     bool     `json:"many,omitempty"`
	// ID is that of the last harmonic of it; empty without one.
	ID     string `json:"id"`
	Reason string `json:"reason"`
	// Limits are what the record was too large for; empty if it was refused for
	// another reason.
	Limits string    `json:"limits,omitempty"`
	At     time.Time `json:"at"`
}

// field is where it is kept.
func (l *DeadLetter) field() string { return l.Table + separator + l.Key }

// join adds what an older letter of the same record says.
func (l *DeadLetter) join(older *DeadLetter) {
	l.Channels = append(slices.Clone(l.Channels), older.Channels...)
	l.Many = l.Many || older.Many
	if older.Limits == "" {
		l.Limits = ""
	}
}

// bound keeps a letter within its bounds.
func (l *DeadLetter) bound() {
	l.Channels = slices.Compact(slices.Sorted(slices.Values(l.Channels)))
	if l.Many = l.Many || l.Key == "" || len(l.Channels) > MaxLetterChannels; l.Many {
		l.Channels = nil
	}
	l.Reason = strings.ToValidUTF8(l.Reason[:min(len(l.Reason), maxReason)], "")
}

// SetAside keeps the letter. Of one record there is one letter, for all channels
// that it could not be sent to. Beyond MaxDeadLetters, the one without a key
// stands for it. A long reason is cut.
func (s *Store) SetAside(ctx context.Context, letter DeadLetter) error {
	s.letters.Lock()
	defer s.letters.Unlock()
	if err := s.setAside(ctx, letter); err != nil {
		return fmt.Errorf("set aside %s of %s: %w", letter.Key, letter.Table, err)
	}
	return nil
}

func (s *Store) setAside(ctx context.Context, letter DeadLetter) error {
	rest := DeadLetter{Table: letter.Table} // stands for those beyond the bound
	var known, others *redis.StringCmd
	var kept *redis.IntCmd
	err := s.read(ctx, func(p redis.Pipeliner) {
		known, others = p.HGet(ctx, s.keys.deadLetters, letter.field()), p.HGet(ctx, s.keys.deadLetters, rest.field())
		kept = p.HLen(ctx, s.keys.deadLetters)
	})
	if err != nil {
		return err
	}
	older := known.Val()
	if older == "" && kept.Val() >= MaxDeadLetters {
		letter.Key, older = "", others.Val()
	}
	if older != "" {
		l, err := s.parseLetter(letter.field(), older)
		if err != nil {
			return err
		}
		letter.join(&l)
	}
	letter.bound()
	text, err := json.Marshal(letter)
	if err != nil {
		return err
	}
	return s.apply(ctx, command{"HSET", s.keys.deadLetters, letter.field(), text})
}

func (s *Store) parseLetter(field, text string) (l DeadLetter, err error) {
	if err = json.Unmarshal([]byte(text), &l); err != nil {
		return l, fmt.Errorf("%s holds %q: %w", s.keys.deadLetters, field, err)
	}
	return l, nil
}

// DeadLetters returns what was set aside, the newest first.
func (s *Store) DeadLetters(ctx context.Context) ([]DeadLetter, error) {
	kept, err := s.readLetters(ctx)
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	letters := make([]DeadLetter, 0, len(kept))
	for _, l := range kept {
		letters = append(letters, l)
	}
	slices.SortFunc(letters, func(a, b DeadLetter) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return strings.Compare(a.field(), b.field())
	})
	return letters, nil
}

// CountDeadLetters says how many there are.
func (s *Store) CountDeadLetters(ctx context.Context) (int, error) {
	var kept *redis.IntCmd
	if err := s.read(ctx, func(p redis.Pipeliner) { kept = p.HLen(ctx, s.keys.deadLetters) }); err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return int(kept.Val()), nil
}

func (s *Store) readLetters(ctx context.Context) (map[string]DeadLetter, error) {
	var stored *redis.MapStringStringCmd
	if err := s.read(ctx, func(p redis.Pipeliner) { stored = p.HGetAll(ctx, s.keys.deadLetters) }); err != nil {
		return nil, err
	}
	letters := make(map[string]DeadLetter, len(stored.Val()))
	for field, text := range stored.Val() {
		l, err := s.parseLetter(field, text)
		if err != nil {
			return nil, err
		}
		letters[field] = l
	}
	return letters, nil
}

// RemoveLetters takes letters away that DeadLetters has returned, except those
// that were set aside again since.
func (s *Store) RemoveLetters(ctx context.Context, letters []DeadLetter) error {
	s.letters.Lock()
	defer s.letters.Unlock()
	kept, err := s.readLetters(ctx)
	if err != nil {
		return fmt.Errorf("remove %d dead letters: %w", len(letters), err)
	}
	same := slices.DeleteFunc(slices.Clone(letters), func(l DeadLetter) bool { return !reflect.DeepEqual(kept[l.field()], l) })
	for some := range slices.Chunk(same, batch) {
		remove := command{"HDEL", s.keys.deadLetters}
		for _, l := range some {
			remove = append(remove, l.field())
		}
		if err := s.apply(ctx, remove); err != nil {
			return fmt.Errorf("remove %d dead letters: %w", len(letters), err)
		}
	}
	return nil
}

// AskRetry asks the daemon, the next one if none runs, to send again what was
// set aside. It may be called from another process: it raises no mark, which
// would hide that a write of the daemon was lost.
func (s *Store) AskRetry(ctx context.Context) error {
	return s.ordered(ctx, command{"SET", s.keys.retry, "1"})
}

// RetryAsked says whether AskRetry was called since RetryDone.
func (s *Store) RetryAsked(ctx context.Context) (bool, error) {
	text, err := s.get(ctx, s.keys.retry)
	if err != nil {
		return false, fmt.Errorf("look whether dead letters are to be sent again: %w", err)
	}
	return text != "", nil
}

// RetryDone says that it was done.
func (s *Store) RetryDone(ctx context.Context) error {
	return s.ordered(ctx, command{"DEL", s.keys.retry})
}

func (s *Store) ordered(ctx context.Context, c command) error {
	keys, args := argumentsOf(c)
	if _, err := s.ask(ctx, applyAll, keys, args...); err != nil {
		return fmt.Errorf("order that dead letters are sent again: %w", err)
	}
	return nil
}
