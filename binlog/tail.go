package binlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// tail turns events into the handler's calls, over as many connections as it takes.
type tail struct {
	source *Source
	h      Handler

	// pos is the end of the last whole transaction: where to read on.
	pos Position
	// file and offset are where the last event ended.
	file   string
	offset uint64
	log    logID // which file that is
	quiet  int   // heartbeats since the last event
	// handled is when the last event was done with.
	handled time.Time
	large   bool   // the last event was one
	skipTo  uint64 // what ends up to here was read before
	away    bool   // the server went away and that was logged
	fresh   bool   // an event came over this connection

	tx     transaction
	parser *replication.BinlogParser
	tables map[uint64]*mapped
	sets   charsets
	fold   bool                 // tables' names have no upper and lower case
	names  *watched             // whose statements matter
	shape  map[TableName]*shape // as of the last statement
	ahead  *ahead
	// presented is set once the handler knows what tables look like at the start.
	presented bool
	// found, if set, takes what statements do in place of the handler.
	found  func(effects []effect, after Position)
	sql    *client.Conn
	reach  *reach  // of statements that were logged as such; nil: none was yet
	second *second // nil for the one that follows the log
	change Change
	before Row
	after  Row
	gtid   replication.GTIDEvent // reused
	zstd   *zstd.Decoder
}

// transaction is the one that is being read.
type transaction struct {
	open       bool
	id         transactionID
	start      uint64 // where its first event starts, to know it again
	file       string
	time       uint64
	standalone bool // MariaDB: ends with its only statement
	begun      bool // a BEGIN came: it ends with COMMIT or an XID
	hold       hold
	given      int // changes given to the handler
	skip       int // changes to leave out: given before the connection broke
}

// mapped is a TABLE_MAP event that rows refer to by its id.
type mapped struct {
	body  []byte
	table *Table // nil: not wanted
}

func newTail(s *Source, from Position, h Handler) *tail {
	t := &tail{source: s, h: h, pos: from, tables: map[uint64]*mapped{}, names: s.wanted, shape: map[TableName]*shape{}}
	t.file, t.offset, t.log = from.File, from.Offset, from.log
	return t
}

func (t *tail) close() {
	if t.sql != nil {
		_ = t.sql.Close()
	}
	if t.zstd != nil {
		t.zstd.Close()
	}
}

// where names the place of the last event for people.
func (t *tail) where() string {
	at := fmt.Sprintf("%s:%d", t.file, t.offset)
	if id := t.tx.id.String(); t.tx.open && id != "" {
		at += " (transaction " + id + ")"
	}
	return at
}

// interrupt forgets what belongs to the connection. An open transaction will
// come again from its first row; what was given of it is then left out.
func (t *tail) interrupt() {
	if t.tx.open {
		t.tx.skip = max(t.tx.skip, t.tx.given)
		t.tx.open = false
	}
	// Where the next connection starts; in the middle of a transaction is no
	// place to be idle.
	t.file, t.offset, t.log = t.pos.File, t.pos.Offset, t.pos.log
	clear(t.tables)
	t.parser = nil
	if t.sql != nil {
		_ = t.sql.Close()
		t.sql = nil
	}
}

// largeEvent is the size in bytes of an event that comes in several packets.
// The syncer reads it into buffers of twice the size each, of which more is
// left over than the event itself has: it is given back before the next one
// makes as much again, which the collector may be too late for.
const largeEvent = int64(mysql.MaxPayloadLen)

// handle takes one event of the syncer, whose raw mode parses only the format
// description and rotations.
func (t *tail) handle(ctx context.Context, e *replication.BinlogEvent) error {
	defer func() { t.handled = time.Now() }()
	if t.large {
		debug.FreeOSMemory()
	}
	t.large = int64(e.Header.EventSize) >= largeEvent
	if !t.fresh {
		t.fresh = true
		if t.away {
			t.away = false
			t.source.cfg.Logger.Info("reading from the database server again", "addr", t.source.cfg.Addr, "position", t.where())
		}
	}
	h := e.Header
	switch h.EventType {
	case replication.HEARTBEAT_EVENT, replication.HEARTBEAT_LOG_EVENT_V2:
	default:
		t.quiet = 0
	}
	if t.second != nil && t.second.seen != nil {
		if err := t.second.seen(h); err != nil {
			return err
		}
	}
	t.offset = follow(t.offset, h)
	if _, ok := e.Event.(*replication.GenericEvent); ok && t.offset <= t.skipTo {
		return nil
	}
	switch ev := e.Event.(type) {
	case *replication.FormatDescriptionEvent:
		clear(t.tables)
		t.log.created = h.Timestamp
		if err := t.formatParser(e.RawData); err != nil {
			return err
		}
		return t.idle(time.Time{})
	case *replication.RotateEvent:
		// A dump by GTID starts with a made-up one to the start of the file,
		// whose events before the GTIDs it leaves out.
		if name := string(ev.NextLogName); name != t.file || h.Flags&replication.LOG_EVENT_ARTIFICIAL_F == 0 {
			t.file, t.offset, t.log.created = name, ev.Position, 0
		}
		return t.idle(time.Time{})
	case *replication.GenericEvent:
		return t.event(ctx, event{
			kind: h.EventType, time: h.Timestamp, flags: h.Flags, server: h.ServerID,
			logPos: h.LogPos, start: t.offset - uint64(h.EventSize), body: ev.Data,
		})
	}
	return fatal("event %s came parsed", h.EventType)
}

// event is an event without its header and checksum.
type event struct {
	kind   replication.EventType
	time   uint32
	flags  uint16
	server uint32
	logPos uint32
	start  uint64 // offset of its first byte
	body   []byte
}

func (t *tail) event(ctx context.Context, e event) error {
	switch e.kind {
	case replication.TABLE_MAP_EVENT:
		return t.tableMap(ctx, e)
	case replication.WRITE_ROWS_EVENTv1, replication.WRITE_ROWS_EVENTv2:
		return t.rows(ctx, Insert, e.body, e.kind == replication.WRITE_ROWS_EVENTv2)
	case replication.UPDATE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv2:
		return t.rows(ctx, Update, e.body, e.kind == replication.UPDATE_ROWS_EVENTv2)
	case replication.DELETE_ROWS_EVENTv1, replication.DELETE_ROWS_EVENTv2:
		return t.rows(ctx, Delete, e.body, e.kind == replication.DELETE_ROWS_EVENTv2)
	case replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1:
		return t.compressedRows(ctx, Insert, e.body)
	case replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1:
		return t.compressedRows(ctx, Update, e.body)
	case replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1:
		return t.compressedRows(ctx, Delete, e.body)
	case replication.PARTIAL_UPDATE_ROWS_EVENT:
		if m := t.tables[tableID(e.body)]; m == nil || m.table != nil {
			return fatal("a partial JSON update, which cannot be read exactly: its session overrode binlog_row_value_options, which must be empty: let no session set it, and %s",
				t.source.server.setting("binlog_row_value_options", ""))
		}
		return nil
	case replication.GTID_EVENT, replication.ANONYMOUS_GTID_EVENT:
		return t.mysqlGTID(e)
	case replication.GTID_TAGGED_LOG_EVENT:
		return t.taggedGTID(e)
	case replication.MARIADB_GTID_EVENT:
		return t.mariadbGTID(e)
	case replication.XID_EVENT:
		return t.commit(ctx)
	case replication.XA_PREPARE_LOG_EVENT:
		return t.prepare(ctx, e.body)
	case replication.QUERY_EVENT, replication.MARIADB_QUERY_COMPRESSED_EVENT:
		return t.query(ctx, e)
	case replication.TRANSACTION_PAYLOAD_EVENT:
		return t.payload(ctx, e)
	case replication.HEARTBEAT_EVENT, replication.HEARTBEAT_LOG_EVENT_V2:
		// Its position is where the server's reader stands, past what it
		// skipped; MariaDB's is 0 above 4 GiB.
		skipped := !t.tx.open && e.logPos > uint32(t.offset)
		if skipped {
			t.offset = page(t.offset) | uint64(e.logPos)
		}
		now := time.Now()
		waited := now.Sub(t.handled)
		if err := t.awaken(ctx); err != nil {
			return err
		}
		if skipped || waited < heartbeatPeriod/2 {
			return t.idle(time.Time{}) // it may be an old one, or of a reader that goes on
		}
		return t.idle(now)
	case replication.EXECUTE_LOAD_QUERY_EVENT:
		return t.loadData(ctx, e.body)
	case replication.INCIDENT_EVENT:
		return fatal("the server logged an incident: it may have lost events, so clients must load again (run --start-over)")
	case replication.PREVIOUS_GTIDS_EVENT, replication.ROWS_QUERY_EVENT, replication.STOP_EVENT,
		replication.BEGIN_LOAD_QUERY_EVENT, replication.INTVAR_EVENT, replication.RAND_EVENT, replication.USER_VAR_EVENT,
		replication.IGNORABLE_EVENT, replication.TRANSACTION_CONTEXT_EVENT, replication.VIEW_CHANGE_EVENT,
		replication.MARIADB_ANNOTATE_ROWS_EVENT, replication.MARIADB_BINLOG_CHECKPOINT_EVENT,
		replication.MARIADB_GTID_LIST_EVENT, replication.MARIADB_START_ENCRYPTION_EVENT:
		return nil
	}
	if e.flags&replication.LOG_EVENT_IGNORABLE_F != 0 {
		return nil
	}
	return fatal("event of type %s (%d) is not known", e.kind, e.kind)
}

func (t *tail) begin(tx transaction) error {
	if t.tx.open {
		return fatal("a transaction starts inside of one")
	}
	if len(t.tables) > tablesKept { // not later: rows refer to several at once
		clear(t.tables)
	}
	tx.open, tx.file = true, t.file
	if t.tx.skip > 0 {
		if !t.tx.place().is(tx.place()) {
			return fatal("transaction %s was half read when the server went away, and has not come again: what was sent of it must be loaded again (run --start-over)", t.tx.id)
		}
		tx.skip = t.tx.skip
	}
	t.tx = tx
	if t.second != nil && t.second.begun != nil {
		return t.second.begun(&t.tx)
	}
	return nil
}

// hold keeps the rows from here on back, unless it is known already which of
// them stay.
func (t *tail) hold() {
	if t.second == nil || t.second.without == nil {
		t.tx.hold.start()
	}
}

func (t *tail) mysqlGTID(e event) error {
	g := &t.gtid
	*g = replication.GTIDEvent{}
	if err := g.Decode(e.body); err != nil {
		return fatal("parse a GTID: %w", err)
	}
	tx := transaction{start: e.start, time: g.OriginalCommitTimestamp}
	if e.kind == replication.GTID_EVENT {
		tx.id = transactionID{source: uuid.UUID(g.SID), number: uint64(g.GNO)}
	}
	return t.begin(timed(tx, e))
}

func (t *tail) taggedGTID(e event) error {
	var g replication.GtidTaggedLogEvent
	if err := g.Decode(e.body); err != nil {
		return fatal("parse a tagged GTID: %w", err)
	}
	id := transactionID{source: uuid.UUID(g.SID), tag: g.Tag, number: uint64(g.GNO)}
	return t.begin(timed(transaction{start: e.start, id: id, time: g.OriginalCommitTimestamp}, e))
}

// Flags of MariaDB's GTID event, from sql/log_event.h.
const (
	mariadbTransactional = 0x02 // FL_TRANSACTIONAL: a ROLLBACK cannot come
	mariadbPreparedXA    = 0x40 // FL_PREPARED_XA: the rows of an XA PREPARE
)

func (t *tail) mariadbGTID(e event) error {
	var g replication.MariadbGTIDEvent
	if err := g.Decode(e.body); err != nil {
		return fatal("parse a GTID: %w", err)
	}
	err := t.begin(timed(transaction{
		start: e.start, standalone: g.IsStandalone(),
		id: transactionID{domain: g.GTID.DomainID, server: e.server, number: g.GTID.SequenceNumber},
	}, e))
	if g.Flags&mariadbPreparedXA != 0 || g.Flags&mariadbTransactional == 0 {
		t.hold()
	}
	return err
}

// timed takes the time from the event's header where the GTID has none.
func timed(tx transaction, e event) transaction {
	if tx.time == 0 {
		tx.time = uint64(e.time) * uint64(time.Second/time.Microsecond)
	}
	return tx
}

func (t *tail) point() Point {
	return Point{Time: t.tx.time, File: t.file, Offset: t.offset, log: t.log, id: t.tx.id}
}

func (t *tail) commit(ctx context.Context) error {
	if !t.tx.open {
		return nil // a server without GTID events, from before MySQL 5.7
	}
	if err := t.giveHeld(ctx); err != nil {
		return err
	}
	return t.end(ctx, t.point())
}

// end moves past the open transaction.
func (t *tail) end(ctx context.Context, pt Point) error {
	if t.tx.given < t.tx.skip {
		return fatal("transaction %s has fewer rows than when it was first read", t.tx.id)
	}
	t.tx = transaction{}
	if err := t.pos.Advance(pt); err != nil {
		return &fatalError{err}
	}
	if err := t.h.Commit(ctx, pt); err != nil {
		return &fatalError{err}
	}
	return nil
}

// idle tells how far the log was read, and when it ended there; the zero Time
// is for not known.
func (t *tail) idle(ended time.Time) error {
	if !t.tx.open && t.offset >= t.skipTo {
		pt := Point{File: t.file, Offset: t.offset, log: t.log}
		if !ended.IsZero() {
			pt.Time = uint64(ended.UnixMicro())
		}
		if err := t.pos.Advance(pt); err != nil {
			return &fatalError{err}
		}
		t.h.Idle(pt)
	}
	return nil
}

// query takes a statement: a mark of a transaction, or one that changes tables.
func (t *tail) query(ctx context.Context, e event) error {
	var q replication.QueryEvent
	if e.kind == replication.QUERY_EVENT {
		if err := q.Decode(e.body); err != nil {
			return fatal("parse a statement: %w", err)
		}
	} else {
		parsed, err := t.parse(e)
		if err != nil {
			return err
		}
		q = *parsed.(*replication.QueryEvent)
	}
	statement := string(q.Query)
	verb, rest := words(statement)
	switch verb {
	case "BEGIN":
		t.tx.begun = true
		return nil
	case "COMMIT":
		return t.commit(ctx)
	case "SAVEPOINT":
		t.hold()
		t.tx.hold.savepoint(savepointName(rest))
		return nil
	case "RELEASE":
		t.tx.hold.release(savepointName(rest))
		return nil
	case "ROLLBACK":
		return t.rollback(ctx, rest)
	case "XA":
		second, xid := words(rest)
		switch second {
		case "START", "BEGIN":
			t.tx.begun = true
			t.hold()
			return nil
		case "COMMIT", "ROLLBACK":
			return t.decide(ctx, xidText(xid), second == "COMMIT")
		}
		return nil // XA END; XA PREPARE is an event of its own
	default:
		if changesRows(verb, statement) {
			if err := t.statement(ctx, string(q.Schema), statement, q.StatusVars); err != nil {
				return err
			}
			if verb != "CREATE" {
				break
			}
		}
		if err := t.reachChanges(string(q.Schema), statement); err != nil {
			return err
		}
		if err := t.definition(ctx, string(q.Schema), statement, q.StatusVars); err != nil {
			return err
		}
		if strings.HasSuffix(strings.ToUpper(strings.TrimSpace(statement)), "START TRANSACTION") {
			t.tx.begun = true // CREATE TABLE … SELECT: its rows follow
		}
	}
	if t.tx.begun || (t.source.server.Flavor == MariaDB && !t.tx.standalone) {
		return nil
	}
	return t.commit(ctx)
}

// rollback takes a ROLLBACK, of all or TO a savepoint. It is in the log only
// where the server could not take the rows out again, and then what tells of it
// has made us hold them: a savepoint, or the flags of MariaDB's GTID.
func (t *tail) rollback(ctx context.Context, rest string) error {
	if t.second != nil && t.second.without != nil {
		return nil // left out already
	}
	hold := &t.tx.hold
	if word, _ := words(rest); word == "TO" {
		if !hold.rollback(savepointName(rest)) && hold.events > 0 {
			return fatal("a transaction was rolled back in the log to a savepoint that is not in it")
		}
		return nil
	}
	if t.tx.given > 0 {
		return fatal("a transaction that changed a mapped table was rolled back in the log, which did not say so before: use InnoDB for all tables that change together with mapped ones (ALTER TABLE … ENGINE=InnoDB)")
	}
	hold.drop(0)
	return t.commit(ctx)
}

// formatParser is a go-mysql parser for events without a checksum, which is
// how the syncer and a compressed transaction give their bodies: it is fed a
// copy of the format description that says so. The algorithm stands before
// the description's own checksum.
func (t *tail) formatParser(description []byte) error {
	description = bytes.Clone(description)
	at := len(description) - replication.BinlogChecksumLength - 1
	if at < replication.EventHeaderSize {
		return fatal("malformed format description")
	}
	description[at] = byte(replication.BINLOG_CHECKSUM_ALG_OFF)
	t.parser = replication.NewBinlogParser()
	t.parser.SetFlavor(string(t.source.server.Flavor))
	if _, err := t.parser.Parse(description); err != nil {
		return fatal("parse the format description: %w", err)
	}
	return nil
}

// parse lets go-mysql parse an event of a kind that is rare.
func (t *tail) parse(e event) (replication.Event, error) {
	if t.parser == nil {
		return nil, fatal("event %s before the format description", e.kind)
	}
	raw := make([]byte, replication.EventHeaderSize, replication.EventHeaderSize+len(e.body))
	binary.LittleEndian.PutUint32(raw, e.time)
	raw[4] = byte(e.kind)
	binary.LittleEndian.PutUint32(raw[5:], e.server)
	binary.LittleEndian.PutUint32(raw[9:], uint32(cap(raw)))
	parsed, err := t.parser.Parse(append(raw, e.body...))
	if err != nil {
		return nil, fatal("parse event %s: %w", e.kind, err)
	}
	return parsed.Event, nil
}

// payload unpacks a compressed transaction event by event; see
// https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Transaction__payload__event.html
func (t *tail) payload(ctx context.Context, e event) error {
	const (
		fieldEnd  = 0
		fieldType = 2
		zstdType  = 0
	)
	body := e.body
	field := func() (uint64, error) {
		n, size := lengthEncoded(body)
		if size == 0 {
			return 0, fatal("malformed compressed transaction")
		}
		body = body[size:]
		return n, nil
	}
	for {
		kind, err := field()
		if err != nil {
			return err
		}
		if kind == fieldEnd {
			break
		}
		size, err := field()
		if err != nil {
			return err
		}
		if size > uint64(len(body)) {
			return fatal("malformed compressed transaction")
		}
		if kind == fieldType {
			if how, _ := lengthEncoded(body); how != zstdType {
				return fatal("a transaction is compressed in a way that is not known (%d)", how)
			}
		}
		body = body[size:]
	}
	if t.zstd == nil {
		decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return fatal("decompress a transaction: %w", err)
		}
		t.zstd = decoder
	}
	if err := t.zstd.Reset(bytes.NewReader(body)); err != nil {
		return fatal("decompress a transaction: %w", err)
	}
	return t.unpack(ctx, e)
}

// unpack gives the events of the payload that t.zstd reads.
func (t *tail) unpack(ctx context.Context, outer event) error {
	header := make([]byte, replication.EventHeaderSize)
	var buf []byte
	for {
		_, err := io.ReadFull(t.zstd, header)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fatal("decompress a transaction: %w", err)
		}
		size := int(binary.LittleEndian.Uint32(header[9:])) - replication.EventHeaderSize
		if size < 0 {
			return fatal("malformed event in a compressed transaction")
		}
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		if _, err := io.ReadFull(t.zstd, buf); err != nil {
			return fatal("decompress a transaction: %w", err)
		}
		err = t.event(ctx, event{
			kind: replication.EventType(header[4]), time: binary.LittleEndian.Uint32(header),
			flags: binary.LittleEndian.Uint16(header[17:]), server: outer.server,
			start: outer.start, body: buf,
		})
		if err != nil {
			return err
		}
	}
}
