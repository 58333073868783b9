package redisstate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrDeposed says that another daemon leads under this prefix by now, so that
// this one must not do anything any more.
var ErrDeposed = errors.New("another chorusd has taken over")

// Of several daemons under one prefix, one leads. It renews that in Redis; the
// others watch whether it does. No clocks are compared: each goes by its own.
const (
	renewInterval = time.Second
	watchInterval = renewInterval / 2
	// leaderSlack is for what clocks differ in speed, and for goroutines that
	// wait for their turn.
	leaderSlack = time.Second
)

// Candidate is who may come to lead.
type Candidate struct {
	// Name tells people which process it is, and App what it works for.
	Name, App string
	// Process names the process among all there ever are; "" if that is not
	// possible. Ended says of such a name whether it is certain that the process
	// has ended.
	Process string
	Ended   func(process string) bool
	// Request is how long a request to others takes at most, and is acted on
	// at most after it was given up.
	Request time.Duration
}

// silence is for how long the leader renews nothing until another one leads. It
// stops making requests early enough for all of them to be over by then.
func (c Candidate) silence() time.Duration { return c.Request + 2*renewInterval + leaderSlack }

// Leader is who leads, as Redis has it; the zero value is nobody.
type Leader struct {
	Name, App                string
	holder, process, renewed string
	// silent says that all its requests are over.
	silent bool
}

// Leads says whether there is somebody who leads, or did until it died.
func (l Leader) Leads() bool { return l.holder != "" }

// Leader reads who leads.
func (s *Store) Leader(ctx context.Context) (Leader, error) {
	fields, err := s.client.HGetAll(ctx, s.keys.leader).Result()
	if err != nil {
		return Leader{}, fmt.Errorf("read who leads: %w", err)
	}
	return Leader{
		Name: fields["name"], App: fields["app"],
		holder: fields["holder"], process: fields["process"], renewed: fields["renewed"],
	}, nil
}

// AwaitVacancy waits until nobody leads any more, and returns who did last, for
// Lead. Found is called for each leader that is to be waited for; its error ends
// the wait. It goes on while Redis is away.
func (s *Store) AwaitVacancy(ctx context.Context, c Candidate, found func(Leader) error) (Leader, error) {
	w := watch{candidate: c}
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		leader, err := s.Leader(ctx)
		switch {
		case ctx.Err() != nil:
			return Leader{}, ctx.Err()
		case Unreachable(err):
			w.lookAway()
		case err != nil:
			return Leader{}, err
		default:
			known := w.seen.holder == leader.holder
			if w.look(time.Now(), &leader) {
				return leader, nil
			}
			if !known {
				err = found(leader)
			}
			if err != nil {
				return Leader{}, err
			}
		}
		select {
		case <-ctx.Done():
			return Leader{}, ctx.Err()
		case <-ticker.C:
		}
	}
}

// watch is what a candidate has seen of the leader.
type watch struct {
	candidate Candidate
	seen      Leader
	since     time.Time // when seen was first seen as it is; zero: it has to be seen anew
}

// look says whether another one may lead, and notes if the leader is silent.
func (w *watch) look(now time.Time, leader *Leader) bool {
	c := w.candidate
	if !leader.Leads() || c.Ended != nil && leader.process != "" && c.Ended(leader.process) {
		return true
	}
	if w.since.IsZero() || *leader != w.seen {
		w.seen, w.since = *leader, now
	}
	leader.silent = now.Sub(w.since) >= c.silence()
	return leader.silent
}

// lookAway notes that Redis cannot be asked: the leader cannot renew either.
func (w *watch) lookAway() { w.since = time.Time{} }

// leaderFirst is what take_leader.lua answers where nobody led, and whoever did
// before has left nothing unfinished.
const leaderFirst = "first"

var (
	takeLeader  = script("take_leader")
	renewLeader = script("renew_leader")
	leaveLeader = plainScript("leave_leader")
)

// Lead makes this Store the leader's, if last is still who led last; else it
// returns nil. From then on every method but those for leases returns
// ErrDeposed once another one leads. Keep has to run from then on.
func (s *Store) Lead(ctx context.Context, c Candidate, last Leader) (*Leadership, error) {
	begun := time.Now()
	answer, err := s.ask(ctx, takeLeader, []string{s.keys.leader},
		last.holder, last.renewed, s.writer, c.Name, c.App, c.Process)
	switch {
	case err != nil:
		return nil, fmt.Errorf("take the lead: %w", err)
	case answer == nil:
		return nil, nil
	}
	l := &Leadership{store: s, candidate: c, changed: make(chan struct{})}
	if answer != leaderFirst && !last.silent {
		l.opens = time.Now().Add(c.Request)
	}
	l.extend(begun)
	s.leads.Store(true)
	return l, nil
}

// Leadership is for how long a Store leads.
type Leadership struct {
	store     *Store
	candidate Candidate
	// opens is when all requests of the leader before are over.
	opens time.Time

	mu      sync.Mutex
	until   time.Time
	lost    error
	changed chan struct{} // closed and renewed when one of the two changes
}

// Keep renews the leadership until ctx ends, which returns nil. Its error is
// ErrDeposed, ErrStateLost or ErrWritesLost; before it returns, Hold returns
// the same.
func (l *Leadership) Keep(ctx context.Context) error {
	ticker := time.NewTicker(renewInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		begun := time.Now()
		err := l.renew(ctx)
		switch {
		case err == nil:
			l.extend(begun)
		case Final(err):
			l.lose(err)
			return err
		}
		// Else nothing is known: Hold waits, and so does everybody.
	}
}

func (l *Leadership) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*renewInterval)
	defer cancel()
	if _, err := l.store.ask(ctx, renewLeader, []string{l.store.keys.leader}); err != nil {
		return fmt.Errorf("renew the lead: %w", err)
	}
	return nil
}

// extend notes a renewal that was begun at a time.
func (l *Leadership) extend(begun time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = begun.Add(l.candidate.silence())
	l.wake()
}

func (l *Leadership) lose(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = err
	l.wake()
}

func (l *Leadership) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Hold waits until a request may be made: all of an earlier leader are over, and
// this one will be before another may lead.
func (l *Leadership) Hold(ctx context.Context) error {
	for {
		l.mu.Lock()
		wait, err, changed := l.wait(time.Now()), l.lost, l.changed
		l.mu.Unlock()
		if err != nil {
			return err
		}
		if wait == 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Holds says whether Hold would not wait.
func (l *Leadership) Holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost == nil && l.wait(time.Now()) == 0
}

// wait is for how long to wait before it is worth looking again, 0 if a request
// may be made. A machine that sleeps stops the monotonic clock and not the
// other one, so both have to agree.
func (l *Leadership) wait(now time.Time) time.Duration {
	last := l.until.Add(-l.candidate.Request - leaderSlack) // for a request to begin
	switch {
	case now.After(last), now.Round(0).After(last.Round(0)):
		return renewInterval // or until it is renewed
	default:
		return max(0, l.opens.Sub(now))
	}
}

// Resign has another one lead at once. Clean says that none of this one's requests
// is of unknown outcome. It returns ErrDeposed where another one leads already. It
// is for after Keep.
func (l *Leadership) Resign(ctx context.Context, clean bool) error {
	s := l.store
	deposed, err := leaveLeader.Run(ctx, s.client, []string{s.keys.leader}, s.writer, clean).Bool()
	switch {
	case err != nil:
		return fmt.Errorf("give up the lead: %w", err)
	case deposed:
		return ErrDeposed
	}
	return nil
}
