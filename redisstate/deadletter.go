package redisstate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of what is kept of dead letters.
const (
	MaxDeadLetters  = 1000
	maxReason       = 500 // bytes
	maxLetterTarget = 20  // channels
)

// DeadLetter is a harmonic that was given up under an explicit policy. Of the
// user's data it holds the record's key only, so Reason must not quote rows.
type DeadLetter struct {
	Table    string    `json:"table"`
	Key      string    `json:"key"`      // JSON text
	Channels []string  `json:"channels"` // the first ones
	ID       string    `json:"id"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
}

// SetAside keeps the letter; the oldest beyond MaxDeadLetters goes. A long
// reason is cut, as is a long list of channels.
func (s *Store) SetAside(ctx context.Context, letter DeadLetter) error {
	letter.Channels = letter.Channels[:min(len(letter.Channels), maxLetterTarget)]
	letter.Reason = strings.ToValidUTF8(letter.Reason[:min(len(letter.Reason), maxReason)], "")
	text, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("set aside %s: %w", letter.ID, err)
	}
	err = s.apply(ctx, command{"LPUSH", s.keys.deadLetters, text}, command{"LTRIM", s.keys.deadLetters, 0, MaxDeadLetters - 1})
	if err != nil {
		return fmt.Errorf("set aside %s: %w", letter.ID, err)
	}
	return nil
}

// DeadLetters returns what was set aside, the newest first.
func (s *Store) DeadLetters(ctx context.Context) ([]DeadLetter, error) {
	var stored *redis.StringSliceCmd
	if err := s.read(ctx, func(p redis.Pipeliner) { stored = p.LRange(ctx, s.keys.deadLetters, 0, -1) }); err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	texts := stored.Val()
	letters := make([]DeadLetter, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal([]byte(text), &letters[i]); err != nil {
			return nil, fmt.Errorf("read dead letters from %s: %w", s.keys.deadLetters, err)
		}
	}
	return letters, nil
}
