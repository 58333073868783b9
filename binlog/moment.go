package binlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
)

// A Moment is a point of the log at which a Reader reads. It ends when the
// function returns that it was given to.
type Moment struct {
	reader *Reader
	lock   string // what stands at the end of a SELECT
}

// Rows is the Reader's.
func (m *Moment) Rows(table *Table, columns []int, key []KeyColumn, keys []string, each func(*Row) error) error {
	list, err := m.rows(table, columns, key, keys)
	if err != nil {
		return err
	}
	return giveAll(list, each)
}

// Page is the Reader's.
func (m *Moment) Page(table *Table, columns []int, page Page, each func(*Row) error) (next string, err error) {
	list, next, err := m.page(table, columns, page)
	if err != nil {
		return "", err
	}
	return next, giveAll(list, each)
}

// Within reads several times at one point of the log, upto, which covers after.
// Meanwhile MySQL without GTIDs keeps what was read locked, so read is not to
// wait for anything else.
func (r *Reader) Within(ctx context.Context, after Position, read func(*Moment) error) (upto Position, err error) {
	defer func() {
		if err != nil {
			r.Close() // an open snapshot or a half-read answer must not be reused
		}
	}()
	if err := r.open(ctx); err != nil {
		return Position{}, err
	}
	switch {
	case r.server.Flavor == MariaDB:
		return r.snapshot(ctx, after, read)
	case after.HasGTIDs():
		return r.afterGTIDs(after, read)
	default:
		return r.locking(read)
	}
}

// momentSettings are for the sessions in which moments are read.
var momentSettings = [...]string{
	"SET SESSION innodb_lock_wait_timeout = 5",
	// The server's default may be one that has no snapshots.
	"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
}

// afterGTIDs waits until the transactions are visible, which on MySQL with
// GTIDs is enough.
func (r *Reader) afterGTIDs(after Position, read func(*Moment) error) (Position, error) {
	visible, err := awaitExecuted(r.conn, after.gtids.String(), waitTimeout)
	if err != nil {
		return Position{}, err
	}
	if !visible {
		return Position{}, ErrNotVisible
	}
	if err := r.transaction("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", &Moment{reader: r}, read); err != nil {
		return Position{}, err
	}
	executed, err := one(r.conn, "SELECT @@GLOBAL.gtid_executed")
	if err != nil {
		return Position{}, err
	}
	set, err := mysql.ParseMysqlGTIDSet(oneLine(executed))
	return Position{Flavor: MySQL, gtids: set}, err
}

// transaction reads between a start and a COMMIT.
func (r *Reader) transaction(start string, m *Moment, read func(*Moment) error) error {
	if _, err := r.conn.Execute(start); err != nil {
		return err
	}
	if err := read(m); err != nil {
		return err
	}
	_, err := r.conn.Execute("COMMIT")
	return err
}

// snapshot reads in a consistent snapshot that has come as far as after:
// MariaDB tells where in the binary log its snapshot is.
func (r *Reader) snapshot(ctx context.Context, after Position, read func(*Moment) error) (at Position, err error) {
	deadline := time.Now().Add(waitTimeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		visible := false
		err := r.transaction("START TRANSACTION WITH CONSISTENT SNAPSHOT", &Moment{reader: r}, func(m *Moment) (err error) {
			at, err = snapshotPosition(r.conn)
			if err != nil || !at.Covers(Position{File: after.File, Offset: after.Offset}) {
				return err
			}
			visible = true
			return read(m)
		})
		if err != nil || visible {
			return at, err
		}
		if time.Now().After(deadline) {
			return Position{}, ErrNotVisible
		}
		select {
		case <-ctx.Done():
			return Position{}, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// snapshotPosition asks MariaDB where the open snapshot is in the binary log.
func snapshotPosition(conn *client.Conn) (Position, error) {
	list, err := rows(conn, "SHOW STATUS LIKE 'binlog_snapshot_%'")
	if err != nil {
		return Position{}, err
	}
	p := Position{Flavor: MariaDB}
	for _, row := range list {
		switch strings.ToLower(string(row[0])) {
		case "binlog_snapshot_file":
			p.File = string(row[1])
		case "binlog_snapshot_position":
			if _, err := fmt.Sscan(string(row[1]), &p.Offset); err != nil {
				return Position{}, fmt.Errorf("read the snapshot's position %q: %w", row[1], err)
			}
		}
	}
	if p.File == "" {
		return Position{}, errors.New("the server does not tell its snapshot's position in the binary log")
	}
	return p, nil
}

// locking reads with shared locks, which wait for writers that have come into
// the log but are not visible yet: for MySQL without GTIDs. What was read stays
// as it is until all is read.
func (r *Reader) locking(read func(*Moment) error) (Position, error) {
	if _, err := r.conn.Execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"); err != nil { // the next one: locks no gaps
		return Position{}, err
	}
	if err := r.transaction("START TRANSACTION READ ONLY", &Moment{reader: r, lock: " FOR SHARE"}, read); err != nil {
		return Position{}, err
	}
	status, ok, err := logStatus(r.conn, MySQL)
	if err != nil || !ok {
		return Position{}, fmt.Errorf("the binary log is off: %w", err)
	}
	at := Position{Flavor: MySQL}
	at.File, at.Offset, err = fileAndOffset(status)
	return at, err
}

// rows reads rows by key.
func (m *Moment) rows(table *Table, columns []int, key []KeyColumn, keys []string) ([]*Row, error) {
	query, err := selectByKey(table, columns, key, keys)
	if err != nil {
		return nil, &fatalError{err}
	}
	list, _, err := m.read(table, columns, query, 0)
	return list, err
}

// page reads a page.
func (m *Moment) page(table *Table, columns []int, p Page) (list []*Row, next string, err error) {
	if p.Bytes == 0 {
		p.Bytes = pageBytes
	}
	if width := m.reader.widths[table.Name]; width > 0 {
		p.Limit = max(1, min(p.Limit, p.Bytes/width))
	}
	s, err := m.selector(table, &p)
	if err != nil {
		return nil, "", fmt.Errorf("read a page of %s: %w", table.Name, err)
	}
	list, more, err := m.read(table, s.columns(columns), s.query(columns), p.Bytes)
	if err != nil || len(list) == 0 {
		return nil, "", err
	}
	if more || len(list) == p.Limit {
		if next, err = s.place(list[len(list)-1]); err != nil {
			return nil, "", &fatalError{err}
		}
	}
	return list, next, nil
}

// read runs a SELECT of some columns. It takes rows until they have as many
// bytes as bound says, if that is not 0; more says that there were others.
func (m *Moment) read(table *Table, columns []int, query string, bound int) (list []*Row, more bool, err error) {
	size := 0
	take := func(fields []mysql.FieldValue) error {
		if more = bound > 0 && size >= bound; more {
			return nil // the rest of the answer has to be read all the same
		}
		values := make([][]byte, len(table.Columns))
		for i, column := range columns {
			values[column] = textOf(&fields[i])
			size += len(values[column])
		}
		list = append(list, TextRow(table, values))
		return nil
	}
	if err := m.reader.conn.ExecuteSelectStreaming(query+m.lock, new(mysql.Result), take, nil); err != nil {
		return nil, false, fmt.Errorf("read rows of %s: %w", table.Name, err)
	}
	if bound > 0 && len(list) > 0 {
		m.reader.widths[table.Name] = size / len(list)
	}
	return list, more, nil
}
