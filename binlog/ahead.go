package binlog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
)

// ahead are the statements about wanted tables between here and where the log
// ended when it was looked through.
type ahead struct {
	from, upto Position
	after      map[TableName][]Position // where such statements end
}

// changedAhead says whether a statement between two positions concerns a
// table. The log is read once for that, over a connection of its own, of which
// only the statements are looked at.
func (t *tail) changedAhead(ctx context.Context, name TableName, from, upto Position) (bool, error) {
	if a := t.ahead; a == nil || !from.Covers(a.from) || !a.upto.Covers(upto) {
		end, err := t.logEnd()
		if err != nil {
			return false, err
		}
		t.source.cfg.Logger.Info("looking ahead in the binary log for statements that change tables",
			"because", name.String(), "from", from.String(), "to", end.String())
		if t.ahead, err = t.source.lookAhead(ctx, from, end); err != nil {
			return false, err
		}
	}
	for _, p := range t.ahead.after[name] {
		if !from.Covers(p) && upto.Covers(p) {
			return true, nil
		}
	}
	return false, nil
}

// lookAhead reads the log from one position to another for statements.
func (s *Source) lookAhead(ctx context.Context, from, upto Position) (*ahead, error) {
	cfg := s.cfg
	cfg.ServerID = anyServerID()
	reading := &Source{cfg: cfg, server: s.server, shapes: s.shapes} // it wants no table
	found := &ahead{from: from.Clone(), upto: upto, after: map[TableName][]Position{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := &until{pos: from.Clone(), upto: upto, end: cancel}
	t := newTail(reading, from.Clone(), h)
	defer t.close()
	t.names, t.presented, t.second = s.wanted, true, &second{}
	t.found = func(effects []effect, after Position) {
		for _, e := range effects {
			if e.kind != Emptied { // a TRUNCATE leaves the columns as they are
				found.after[e.name] = append(found.after[e.name], after)
			}
		}
	}
	err := reading.stream(ctx, t)
	if h.reached {
		return found, nil
	}
	return nil, err
}

// anyServerID is one that no other connection has, in all likelihood: MariaDB
// ends the older of two with the same.
func anyServerID() uint32 {
	const wide = 1 << 31
	var b [4]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:]) | wide
}

// until ends the reading at a position.
type until struct {
	pos, upto Position
	end       func()
	reached   bool
}

var errReached = errors.New("read as far as was asked")

func (u *until) Change(context.Context, *Change) error         { return nil }
func (u *until) Definition(context.Context, *Definition) error { return nil }

func (u *until) Commit(_ context.Context, pt Point) error {
	if err := u.pos.Advance(pt); err != nil {
		return err
	}
	if u.there() {
		return errReached
	}
	return nil
}

func (u *until) Idle(pt Point) {
	_ = u.pos.Advance(pt) // names no transaction, so it cannot fail
	if u.there() {
		u.end()
	}
}

func (u *until) there() bool {
	u.reached = u.reached || u.pos.Covers(u.upto) ||
		Position{File: u.pos.File, Offset: u.pos.Offset}.Covers(Position{File: u.upto.File, Offset: u.upto.Offset})
	return u.reached
}
