package binlog

import (
	"context"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"
)

// event4GiB is an event of a kind that the tail takes no interest in.
func event4GiB(kind replication.EventType, logPos, size uint32) *replication.BinlogEvent {
	return &replication.BinlogEvent{
		Header: &replication.EventHeader{EventType: kind, LogPos: logPos, EventSize: size, Timestamp: 1},
		Event:  &replication.GenericEvent{Data: make([]byte, 8)},
	}
}

// TestOffsetsAbove4GiB follows a file whose LogPos has wrapped.
func TestOffsetsAbove4GiB(t *testing.T) {
	const (
		gib4   = 1 << 32
		rows   = replication.ROWS_QUERY_EVENT
		start  = replication.MARIADB_GTID_EVENT
		format = replication.FORMAT_DESCRIPTION_EVENT
		list   = replication.MARIADB_GTID_LIST_EVENT
	)
	for _, test := range []struct {
		name         string
		from         uint64
		kind         replication.EventType
		logPos, size uint32
		want         uint64
	}{
		{"the next one", 100, rows, 150, 50, 150},
		{"MariaDB 11.8 inside of a transaction", 100, rows, 0, 50, 150},
		{"over the wrap", gib4 - 10, rows, 40, 50, gib4 + 40},
		{"to the wrap", gib4 - 50, rows, 0, 50, gib4},
		{"without LogPos over the wrap", gib4 - 10, rows, 0, 50, gib4 + 40},
		{"after the wrap", gib4 + 40, rows, 90, 50, gib4 + 90},
		{"after the second wrap", 2*gib4 - 10, rows, 40, 50, 2*gib4 + 40},
		{"events left out", gib4 + 40, start, 900, 50, gib4 + 900},
		{"events left out over the wrap", gib4 - 10, start, 900, 50, gib4 + 900},
		{"a dump by GTID that starts before the offset", 82_363_423, start, 82_363_000, 50, 82_363_000},
		{"the same after the wrap", gib4 + 900, start, 700, 50, gib4 + 700},
		{"the same back over the wrap", gib4 + 40, start, gib4 - 10, 50, gib4 - 10},
		{"the head of the file again", gib4 + 40, list, 300, 50, gib4 + 40},
		{"the format again, without a place", 5000, format, 0, 120, 5000},
		{"the format again", 5000, format, 124, 120, 5000},
		{"the format", 4, format, 124, 120, 124},
	} {
		if got := follow(test.from, event4GiB(test.kind, test.logPos, test.size).Header); got != test.want {
			t.Errorf("%s: after %d comes %d, want %d", test.name, test.from, got, test.want)
		}
	}

	// A snapshot behind the wrap is not taken for one before it, nor the
	// other way round.
	tl := newTail(&Source{server: Server{Flavor: MariaDB}}, Position{Flavor: MariaDB, File: "b.1", Offset: gib4 - 10}, &discard{})
	if err := tl.handle(context.Background(), event4GiB(rows, 40, 50)); err != nil {
		t.Fatal(err)
	}
	if err := tl.idle(time.Time{}); err != nil {
		t.Fatal(err)
	}
	for offset, want := range map[uint64]bool{gib4 - 10: true, gib4 + 40: true, gib4 + 41: false, 2 * gib4: false} {
		if got := tl.pos.Covers(Position{Flavor: MariaDB, File: "b.1", Offset: offset}); got != want {
			t.Errorf("%s covers %d: %v", tl.pos, offset, got)
		}
	}
	file, offset, err := fileAndOffset([][]byte{[]byte("b.1"), []byte("4294967396")})
	if err != nil || file != "b.1" || offset != gib4+100 {
		t.Errorf("the server's status is read as %s:%d, %v", file, offset, err)
	}
	parsed, err := ParsePosition(tl.pos.String())
	if err != nil || parsed.Offset != gib4+40 {
		t.Errorf("%s is read as %d, %v", tl.pos, parsed.Offset, err)
	}
}

// TestReadingOverTo4GiB: a dump cannot start above 4 GiB without GTIDs, so what
// comes before the position is read over.
func TestReadingOverTo4GiB(t *testing.T) {
	const at = 1<<32 + 100
	tl := newTail(&Source{server: Server{Flavor: MySQL}}, Position{Flavor: MySQL, File: "b.1", Offset: at}, &discard{})
	tl.offset, tl.skipTo = 1<<32-10, at
	// What would stop the stream stands before the position.
	if err := tl.handle(context.Background(), event4GiB(replication.INCIDENT_EVENT, 100, 110)); err != nil {
		t.Errorf("what was read before is read again: %v", err)
	}
	if err := tl.handle(context.Background(), event4GiB(replication.INCIDENT_EVENT, 200, 100)); err == nil {
		t.Error("what comes after is not read")
	}
}

type discard struct{}

func (discard) Change(context.Context, *Change) error { return nil }
func (discard) Commit(context.Context, Point) error   { return nil }
func (discard) Idle(Point)                            {}

func (discard) Definition(context.Context, *Definition) error { return nil }
