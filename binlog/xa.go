package binlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// prepared is an XA transaction that is in the log and has no verdict yet.
type prepared struct {
	// XID is written as the server logs it: X'6869',X'',1.
	XID string `json:"xid"`
	// The place is where its rows are; none if it changed no wanted table.
	At *place `json:"at,omitempty"`
}

// place is where a transaction starts in the log.
type place struct {
	File   string `json:"file"`
	Offset uint64 `json:"offset"`
	// GTID makes sure that it is that transaction; "" where there are none.
	GTID string `json:"gtid,omitempty"`
}

func (p place) String() string {
	if p.GTID != "" {
		return fmt.Sprintf("%s:%d (%s)", p.File, p.Offset, p.GTID)
	}
	return fmt.Sprintf("%s:%d", p.File, p.Offset)
}

// is says whether two places are of the same transaction.
func (p place) is(o place) bool {
	if p.GTID != "" || o.GTID != "" {
		return p.GTID == o.GTID
	}
	return p == o
}

func (tx *transaction) place() place {
	return place{File: tx.file, Offset: tx.start, GTID: tx.id.String()}
}

// xidText brings an XID, as it stands in a statement, to the one form in
// which XIDs are compared.
func xidText(s string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(s)), "x'", "X'")
}

// prepareEvent reads an XA_PREPARE event: one byte for COMMIT … ONE PHASE, the
// XID's format, and two lengths before its two parts.
func prepareEvent(body []byte) (xid string, onePhase bool, err error) {
	const head = 13
	if len(body) < head {
		return "", false, fatal("malformed XA PREPARE event")
	}
	format := binary.LittleEndian.Uint32(body[1:])
	global, branch := binary.LittleEndian.Uint32(body[5:]), binary.LittleEndian.Uint32(body[9:])
	data := body[head:]
	if uint64(global)+uint64(branch) > uint64(len(data)) {
		return "", false, fatal("malformed XA PREPARE event")
	}
	return fmt.Sprintf("X'%x',X'%x',%d", data[:global], data[global:global+branch], format), body[0] != 0, nil
}

// prepare ends the rows of an XA transaction. They are forgotten, and only
// where they stand is kept, in the position, until there is a verdict.
func (t *tail) prepare(ctx context.Context, body []byte) error {
	xid, onePhase, err := prepareEvent(body)
	if err != nil {
		return err
	}
	if onePhase {
		return t.commit(ctx)
	}
	if t.second != nil {
		if err := t.giveHeld(ctx); err != nil {
			return err
		}
	}
	p := prepared{XID: xid}
	if t.tx.hold.events > 0 {
		at := t.tx.place()
		p.At = &at
	}
	t.tx.hold = hold{}
	pt := t.point()
	pt.prepared = &p
	return t.end(ctx, pt)
}

// decide takes the verdict on an XA transaction that was prepared earlier.
func (t *tail) decide(ctx context.Context, xid string, committed bool) error {
	if committed && t.second == nil {
		i := t.pos.prepared(xid)
		if i < 0 {
			// It was prepared before the place where chorusd once began.
			found, err := t.findPrepared(ctx, xid)
			if err != nil {
				return err
			}
			t.pos.xa = append(t.pos.xa, prepared{xid, found})
			i = len(t.pos.xa) - 1
		}
		if at := t.pos.xa[i].At; at != nil {
			if err := t.readPrepared(ctx, i); err != nil {
				return err
			}
		}
	}
	pt := t.point()
	pt.decided = xid
	return t.end(ctx, pt)
}

// readPrepared gives the rows of a prepared transaction. If they are not
// where the position says, because this is another server, they are searched.
func (t *tail) readPrepared(ctx context.Context, i int) error {
	p := t.pos.xa[i]
	err := t.readAgain(ctx, *p.At, nil)
	if !errors.Is(err, errElsewhere) {
		return err
	}
	t.source.cfg.Logger.Warn("an XA transaction is not where it was prepared; searching the log", "xid", p.XID, "place", p.At.String(), "error", err)
	found, err := t.findPrepared(ctx, p.XID)
	if err != nil {
		return err
	}
	t.pos.xa[i].At = found
	return t.readAgain(ctx, *found, nil)
}

// prepared finds an open XA transaction; -1 if it is not known.
func (p *Position) prepared(xid string) int {
	return slices.IndexFunc(p.xa, func(x prepared) bool { return x.XID == xid })
}
