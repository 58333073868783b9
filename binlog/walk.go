package binlog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// header is that of any event.
type header = replication.EventHeader

// walk reads the log over a connection of its own, to a place between two
// transactions.
type walk struct {
	tail *tail
	// pos is the end of the last whole transaction, with all GTIDs before.
	pos  Position
	last uint64 // offset of the last event seen
}

func newWalk(cfg Config, server Server, from Position) *walk {
	w := &walk{pos: from.Clone()}
	first := &tail{source: &Source{cfg: cfg, server: server}}
	w.tail = first.aside(place{File: from.File, Offset: from.Offset}, nil, w)
	return w
}

// walkFile makes a walk from the head of a file.
func walkFile(conn *client.Conn, cfg Config, server Server, file string) (*walk, error) {
	head := Position{Flavor: server.Flavor, File: file, Offset: logHeader}
	if server.Current.gtids != nil {
		if err := head.findHeadGTIDs(conn); err != nil {
			return nil, err
		}
	}
	return newWalk(cfg, server, head), nil
}

// to reads until one of look's functions says where the place is, by found.
func (w *walk) to(ctx context.Context, look second) (Position, error) {
	defer w.tail.close()
	seen := look.seen
	look.seen = func(h *header) error {
		if err := seen(h); err != nil {
			return err
		}
		w.last = w.tail.offset
		return nil
	}
	w.tail.second = &look
	err := w.tail.source.dump(ctx, w.tail)
	if !errors.Is(err, errDone) {
		return Position{}, err
	}
	// A verdict on what was prepared before makes the log be searched for it.
	w.pos.xa = nil
	return w.pos, nil
}

// found ends the reading at a place.
func (w *walk) found(file string, offset uint64) error {
	w.pos.File, w.pos.Offset = file, offset
	return errDone
}

func (w *walk) Change(context.Context, *Change) error { return nil }

func (w *walk) Definition(context.Context, *Definition) error { return nil }

func (w *walk) Commit(_ context.Context, pt Point) error { return w.pos.Advance(pt) }

func (w *walk) Idle(Point) {}

// findHeadGTIDs asks which GTIDs come before a file.
func (p *Position) findHeadGTIDs(conn *client.Conn) error {
	if p.Flavor == MariaDB {
		return p.findGTIDs(conn)
	}
	// The format description, then what was before.
	list, err := rows(conn, fmt.Sprintf("SHOW BINLOG EVENTS IN '%s' LIMIT 2", strings.ReplaceAll(p.File, "'", "''")))
	if err != nil {
		return fmt.Errorf("read the head of %s: %w", p.File, err)
	}
	const kind, info = 2, 5 // columns
	for _, row := range list {
		if len(row) <= info || string(row[kind]) != "Previous_gtids" {
			continue
		}
		if p.gtids, err = mysql.ParseMysqlGTIDSet(oneLine(string(row[info]))); err != nil {
			return fmt.Errorf("read the GTIDs before %s: %w", p.File, err)
		}
		return nil
	}
	return fmt.Errorf("the head of %s does not say which GTIDs come before it", p.File)
}

// begun is when a file of the log was begun, in seconds since the Unix epoch:
// its first event says so.
func begun(ctx context.Context, cfg Config, server Server, file string) (seconds uint32, err error) {
	w := newWalk(cfg, server, Position{Flavor: server.Flavor, File: file, Offset: logHeader})
	_, err = w.to(ctx, second{seen: func(h *header) error {
		if h.EventType != replication.FORMAT_DESCRIPTION_EVENT {
			return nil
		}
		seconds = h.Timestamp
		return errDone
	}})
	if err != nil {
		return 0, fmt.Errorf("read when %s was begun: %w", file, err)
	}
	return seconds, nil
}

// tryDump makes sure that the server gives its log from a position on.
func tryDump(ctx context.Context, cfg Config, server Server, from Position) error {
	w := newWalk(cfg, server, from)
	w.tail.pos = from.Clone() // GTIDs, too
	_, err := w.to(ctx, second{seen: func(h *header) error {
		if h.EventType == replication.ROTATE_EVENT {
			return nil // made up, before the server has looked
		}
		return errDone
	}})
	return err
}
