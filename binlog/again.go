package binlog

import (
	"context"
	"errors"
	"fmt"
)

// second is what a tail is for that reads part of the log again, over a
// connection of its own, while the first one waits.
type second struct {
	// first is the tail that waits for rows; nil if none does.
	first *tail
	// begun, if set, is called at the start of each transaction.
	begun func(tx *transaction) error
	// seen, if set, is called with each event's header before the event is
	// taken: the tail stands where the one before it ended.
	seen func(h *header) error
	// without are the rows events to leave out; nil if that is not known yet.
	without []span
}

// Reasons why a second reading ends.
var (
	errDone      = errors.New("read again")
	errElsewhere = errors.New("another transaction is there")
)

// aside makes a tail that reads from a place of the log, by file and offset.
// The server would end one of two readers with the same id.
func (t *tail) aside(at place, wanted *watched, h Handler) *tail {
	cfg := t.source.cfg
	cfg.ServerID = anyServerID()
	s := &Source{cfg: cfg, server: t.source.server, wanted: wanted}
	sub := newTail(s, Position{Flavor: s.server.Flavor, File: at.File, Offset: at.Offset}, h)
	sub.names = nil // statements are the first one's
	return sub
}

// readAgain gives the rows of the transaction at a place as part of the open
// one.
func (t *tail) readAgain(ctx context.Context, at place, without []span) error {
	sub := t.aside(at, t.source.wanted, repeated{t})
	defer sub.close()
	found := false
	sub.second = &second{first: t.first(), without: without, begun: func(tx *transaction) error {
		if found = at.is(tx.place()); !found {
			return fatal("%w: %s", errElsewhere, tx.place())
		}
		return nil
	}}
	err := sub.source.dump(ctx, sub)
	switch {
	case errors.Is(err, errDone):
		return nil
	case !found && !Passing(err):
		err = fatal("%w: %w", errElsewhere, err)
	}
	return fmt.Errorf("read the transaction at %s again: %w", at, err)
}

// first is the tail that follows the log: it knows what tables look like.
func (t *tail) first() *tail {
	if t.second != nil && t.second.first != nil {
		return t.second.first
	}
	return t
}

// repeated gives what is read again to the tail that waits for it.
type repeated struct{ *tail }

func (r repeated) Change(ctx context.Context, c *Change) error {
	c.Time = r.tx.time
	return r.give(ctx, c)
}

func (repeated) Definition(context.Context, *Definition) error { return nil }

func (repeated) Commit(context.Context, Point) error { return errDone }

func (repeated) Idle(Point) {}

// findPrepared reads the log from its start up to the verdict at hand and
// returns where the XA transaction of this xid was last prepared.
func (t *tail) findPrepared(ctx context.Context, xid string) (*place, error) {
	t.source.cfg.Logger.Warn("an XA transaction was prepared before chorusd began to read; searching the log for it", "xid", xid, "position", t.where())
	server, err := Inspect(ctx, t.source.cfg)
	if err != nil {
		return nil, err
	}
	search := &search{xid: xid, until: t.tx.place()}
	sub := t.aside(place{File: server.Earliest.File, Offset: server.Earliest.Offset}, nil, search)
	defer sub.close()
	sub.second = &second{begun: search.begun}
	err = sub.source.dump(ctx, sub)
	switch {
	case !errors.Is(err, errDone):
		return nil, fmt.Errorf("search the log for XA transaction %s: %w", xid, err)
	case search.found == nil:
		return nil, fatal("%w: the XA transaction %s was committed, and the binary log no longer has what it changed when it was prepared", ErrPositionLost, xid)
	}
	return search.found, nil
}

// search is the handler of a tail that looks for an XA PREPARE.
type search struct {
	xid   string
	until place
	at    place // the open transaction
	found *place
}

func (s *search) begun(tx *transaction) error {
	if s.at = tx.place(); s.at.is(s.until) {
		return &fatalError{errDone}
	}
	return nil
}

func (s *search) Change(context.Context, *Change) error { return nil }

func (s *search) Definition(context.Context, *Definition) error { return nil }

func (s *search) Commit(_ context.Context, pt Point) error {
	switch {
	case pt.prepared != nil && pt.prepared.XID == s.xid:
		at := s.at
		s.found = &at
	case pt.decided == s.xid:
		s.found = nil
	}
	return nil
}

func (s *search) Idle(Point) {}
