package redisstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrStateLost says that Redis has no longer, or not at all, what was kept
	// there: it was emptied, restarted without its data, or is another one.
	// What is missing is unknown.
	ErrStateLost = errors.New("redis has lost what chorusd kept there")
	// ErrWritesLost says that Redis has come back without its last writes, as
	// after a failover to a replica that was behind. What it has is as it was
	// at some earlier moment, so another Store goes on from its checkpoint.
	ErrWritesLost = errors.New("redis has come back without its last writes")
)

// Final tells whether err is of a kind that trying again does not mend: the
// Store is of no more use.
func Final(err error) bool {
	return errors.Is(err, ErrStateLost) || errors.Is(err, ErrWritesLost) || errors.Is(err, ErrDeposed)
}

// token is what a Store knows of the state in Redis. The id is drawn with the
// first checkpoint and never changes. The mark rises with every write that must
// not be lost, and such writes are made one at a time: where it is below that
// of the last answer, Redis has lost that write, and else it has all of them.
type token struct {
	mu   sync.Mutex
	id   string // "": unknown, and then nothing is held against it
	mark int64
}

// held is the id that Redis must have and the least mark.
func (t *token) held() (id string, mark int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.id, t.mark
}

// set begins with what Redis has.
func (t *token) set(id string, mark int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id, t.mark = id, mark
}

// found notes the id of a token that may be new.
func (t *token) found(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id = id
}

// judge takes what guard.lua returns and gives the answer of the script's own
// part, nil for none.
func (t *token) judge(list []any) (any, error) {
	mark, ok := int64(0), len(list) > 0
	if ok {
		mark, ok = list[0].(int64)
	}
	switch {
	case !ok:
		return nil, fmt.Errorf("a script answers %v", list)
	case mark == -1:
		return nil, ErrStateLost
	case mark == -2:
		return nil, ErrWritesLost
	case mark == -3:
		return nil, ErrDeposed
	}
	t.mu.Lock()
	t.mark = max(t.mark, mark)
	t.mu.Unlock()
	if len(list) < 2 {
		return nil, nil
	}
	return list[1], nil
}

// Token is the name of the state in Redis, which LoadCheckpoint has found or
// the first SaveCheckpoint has made; "" before. It is the same until Redis is
// emptied, so another one is of another state.
func (s *Store) Token() string {
	id, _ := s.token.held()
	return id
}

var verify = script("verify")

// Verify asks whether Redis has all that this Store knows to be written there.
func (s *Store) Verify(ctx context.Context) error {
	_, err := s.ask(ctx, verify, nil)
	if err != nil {
		return fmt.Errorf("look whether redis has everything: %w", err)
	}
	return nil
}

// ask runs a script that changes nothing which must not be lost.
func (s *Store) ask(ctx context.Context, sc *redis.Script, keys []string, args ...any) (any, error) {
	return s.call(ctx, sc, false, keys, args)
}

// change runs a script that changes what must not be lost. If Redis has lost
// something before, nothing is changed.
func (s *Store) change(ctx context.Context, sc *redis.Script, keys []string, args ...any) (any, error) {
	if err := s.turn(ctx); err != nil {
		return nil, err
	}
	defer s.done()
	return s.call(ctx, sc, true, keys, args)
}

// turn waits until no change is under way.
func (s *Store) turn(ctx context.Context) error {
	select {
	case s.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) done() { <-s.changing }

func (s *Store) call(ctx context.Context, sc *redis.Script, changes bool, keys []string, args []any) (any, error) {
	keys, args = s.guarded(changes, keys, args)
	list, err := sc.Run(ctx, s.client, keys, args...).Slice()
	if err != nil {
		return nil, err
	}
	return s.token.judge(list)
}

// guarded are the keys and arguments of a script with those of guard.lua.
func (s *Store) guarded(changes bool, keys []string, args []any) ([]string, []any) {
	id, least := s.token.held()
	holder := ""
	if s.leads.Load() {
		holder = s.writer
	}
	return append(slices.Clip(keys), s.keys.leader, s.keys.token), append(args, holder, id, least, changes)
}

// command is one for apply: its name, its key, and what follows.
type command []any

var applyAll = script("apply")

// apply runs commands that change what must not be lost: all of them or none.
func (s *Store) apply(ctx context.Context, commands ...command) error {
	keys, args := argumentsOf(commands...)
	_, err := s.change(ctx, applyAll, keys, args...)
	return err
}

// argumentsOf are those of applyAll.
func argumentsOf(commands ...command) (keys []string, args []any) {
	for _, c := range commands {
		keys = append(keys, c[1].(string))
		args = append(append(args, c[0], len(c)-2), c[2:]...)
	}
	return keys, args
}

// read makes requests in one transaction, with the proof that what they show
// is all that this Store knows to be written. That a key is missing is no
// error; the request's own value is the zero one then.
func (s *Store) read(ctx context.Context, requests func(redis.Pipeliner)) error {
	var proof *redis.Cmd
	answers, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		requests(p)
		keys, args := s.guarded(false, nil, nil)
		proof = verify.Eval(ctx, p, keys, args...)
		return nil
	})
	if list, proofErr := proof.Slice(); proofErr == nil {
		if _, err := s.token.judge(list); err != nil {
			return err
		}
	}
	return reason(answers, err)
}

// get reads a string; "" if there is none.
func (s *Store) get(ctx context.Context, key string) (string, error) {
	var stored *redis.StringCmd
	if err := s.read(ctx, func(p redis.Pipeliner) { stored = p.Get(ctx, key) }); err != nil {
		return "", err
	}
	return stored.Val(), nil
}

// reason is why a transaction failed: the error of its first request that has
// one of its own.
func reason(answers []redis.Cmder, err error) error {
	for _, answer := range answers {
		if own := answer.Err(); own != nil && !missing(own) && !redis.IsExecAbortError(own) {
			return own
		}
	}
	if missing(err) {
		return nil
	}
	return err
}

// missing tells whether err is Redis's answer that there is no such key. A
// wrapped one is something else: of Sentinels that do not know the primary.
func missing(err error) bool {
	return err == redis.Nil //nolint:errorlint // see above
}
