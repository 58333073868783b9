package binlog

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
)

// Reader reads rows back exactly: as they are at a known point of the binary
// log that is not before a given one. An event can be read from the log
// before a SELECT sees its row, so a plain SELECT proves nothing. A Reader is
// for one goroutine. Its connection ends with the context of the call that
// opened it.
type Reader struct {
	cfg    Config
	server Server
	conn   *client.Conn
}

// NewReader makes a reader; it connects when it is first asked.
func NewReader(cfg Config, server Server) *Reader { return &Reader{cfg: cfg, server: server} }

// Close ends the connection.
func (r *Reader) Close() {
	if r.conn != nil {
		_ = r.conn.Close()
		r.conn = nil
	}
}

// KeyColumn is a column of a key and the cast of its JSON form.
type KeyColumn struct {
	Column int
	Cast   Cast
}

// keyKinds are the kinds whose JSON form can be turned back into the value.
var keyKinds = map[Kind]bool{Integer: true, Text: true, Binary: true, UUID: true, Inet4: true, Inet6: true}

// KeyProblem says why a column cannot be part of a key; "" if it can.
func (t *Table) KeyProblem(k KeyColumn) string {
	c := &t.Columns[k.Column]
	cast := c.resolve(k.Cast, CastDefault)
	switch {
	case !keyKinds[c.Kind]:
		return fmt.Sprintf("a key column of type %s is not supported yet", c.SQLType)
	case cast == CastBoolean || cast == CastJSON || (c.Kind == Binary && cast == CastString):
		return fmt.Sprintf("cast %q of a key column loses its value", k.Cast)
	}
	return ""
}

// waitTimeout bounds the wait for a point of the log to become visible.
const waitTimeout = 10 * time.Second

// ErrNotVisible says that the rows at a point could not be seen in time.
var ErrNotVisible = errors.New("the server has not come so far yet")

// Table reads a table's shape as it is now; nil if there is none.
func (r *Reader) Table(ctx context.Context, name TableName) (*Table, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	t, err := readTable(r.conn, name)
	if err != nil {
		r.Close()
	}
	return t, err
}

func (r *Reader) open(ctx context.Context) error {
	if r.conn != nil {
		return nil
	}
	conn, err := r.cfg.connect(ctx)
	if err != nil {
		return err
	}
	r.conn = conn
	return nil
}

// Rows reads the rows of table with these keys (JSON arrays of the key
// columns' values) and gives them to each; a key that is not found is not
// there. Only the given columns are read, the others look like NULL. What was
// given is the state at upto, which covers after.
func (r *Reader) Rows(ctx context.Context, table *Table, columns []int, key []KeyColumn, keys []string,
	after Position, each func(*Row) error,
) (upto Position, err error) {
	query, err := selectByKey(table, columns, key, keys)
	if err != nil {
		return Position{}, &fatalError{err}
	}
	return r.read(ctx, table, columns, query, after, each)
}

// A Page asks for some rows of a table, in the order of a key.
type Page struct {
	// Scope and In choose rows: those columns' values are a JSON array as
	// keys are. Without columns, all rows are meant.
	Scope []KeyColumn
	In    string
	// Key is a unique key, the order of the rows; only those after From, a
	// key's JSON array, are read. From the first on if it is empty.
	Key  []KeyColumn
	From string
	// Limit is the most rows to read, above zero.
	Limit int
}

// Page reads a page as Rows reads keys: each page is as of a point of its own.
// A row whose key changes from one page to the next may be in both or in
// none; its change is in the log between the two points.
func (r *Reader) Page(ctx context.Context, table *Table, columns []int, page Page,
	after Position, each func(*Row) error,
) (upto Position, err error) {
	query, err := selectPage(table, columns, page)
	if err != nil {
		return Position{}, &fatalError{err}
	}
	return r.read(ctx, table, columns, query, after, each)
}

// read runs a query in the way that the server needs.
func (r *Reader) read(ctx context.Context, table *Table, columns []int, query string,
	after Position, each func(*Row) error,
) (upto Position, err error) {
	defer func() {
		if err != nil {
			r.Close() // an open snapshot or a half-read answer must not be reused
		}
	}()
	if err := r.open(ctx); err != nil {
		return Position{}, err
	}
	var list [][][]byte
	switch {
	case r.server.Flavor == MariaDB:
		list, upto, err = r.snapshot(ctx, query, after)
	case after.HasGTIDs():
		list, upto, err = r.afterGTIDs(query, after)
	default:
		list, upto, err = r.locking(query)
	}
	if err != nil {
		return Position{}, fmt.Errorf("read rows of %s: %w", table.Name, err)
	}
	for _, fields := range list {
		values := make([][]byte, len(table.Columns))
		for i, column := range columns {
			values[column] = fields[i]
		}
		if err := each(TextRow(table, values)); err != nil {
			return Position{}, &fatalError{err}
		}
	}
	return upto, nil
}

// afterGTIDs waits until the transactions are visible, which on MySQL with
// GTIDs is enough.
func (r *Reader) afterGTIDs(query string, after Position) ([][][]byte, Position, error) {
	visible, err := awaitExecuted(r.conn, after.gtids.String(), waitTimeout)
	if err != nil {
		return nil, Position{}, err
	}
	if !visible {
		return nil, Position{}, ErrNotVisible
	}
	list, err := rows(r.conn, query)
	if err != nil {
		return nil, Position{}, err
	}
	executed, err := one(r.conn, "SELECT @@GLOBAL.gtid_executed")
	if err != nil {
		return nil, Position{}, err
	}
	set, err := mysql.ParseMysqlGTIDSet(oneLine(executed))
	return list, Position{Flavor: MySQL, gtids: set}, err
}

// snapshot reads in a consistent snapshot that has come as far as after:
// MariaDB tells where in the binary log its snapshot is.
func (r *Reader) snapshot(ctx context.Context, query string, after Position) ([][][]byte, Position, error) {
	deadline := time.Now().Add(waitTimeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if _, err := r.conn.Execute("START TRANSACTION WITH CONSISTENT SNAPSHOT"); err != nil {
			return nil, Position{}, err
		}
		at, err := snapshotPosition(r.conn)
		if err != nil {
			return nil, Position{}, err
		}
		if at.Covers(Position{File: after.File, Offset: after.Offset}) {
			list, err := rows(r.conn, query)
			if err != nil {
				return nil, Position{}, err
			}
			_, err = r.conn.Execute("COMMIT")
			return list, at, err
		}
		if _, err := r.conn.Execute("COMMIT"); err != nil {
			return nil, Position{}, err
		}
		if time.Now().After(deadline) {
			return nil, Position{}, ErrNotVisible
		}
		select {
		case <-ctx.Done():
			return nil, Position{}, ctx.Err()
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

// locking reads with a shared lock, which waits for writers that have come
// into the log but are not visible yet: for MySQL without GTIDs.
func (r *Reader) locking(query string) ([][][]byte, Position, error) {
	for _, statement := range []string{
		"SET SESSION innodb_lock_wait_timeout = 5",
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
		"START TRANSACTION READ ONLY",
	} {
		if _, err := r.conn.Execute(statement); err != nil {
			return nil, Position{}, err
		}
	}
	list, err := rows(r.conn, query+" FOR SHARE")
	if err != nil {
		return nil, Position{}, err
	}
	if _, err := r.conn.Execute("COMMIT"); err != nil {
		return nil, Position{}, err
	}
	status, ok, err := logStatus(r.conn, MySQL)
	if err != nil || !ok {
		return nil, Position{}, fmt.Errorf("the binary log is off: %w", err)
	}
	at := Position{Flavor: MySQL}
	at.File, at.Offset, err = fileAndOffset(status)
	return list, at, err
}

// selectByKey writes the statement that reads rows by key.
func selectByKey(t *Table, columns []int, key []KeyColumn, keys []string) (string, error) {
	conditions := make([]string, len(keys))
	values := make([]string, len(keys))
	for i, text := range keys {
		literals, err := keyValues(t, key, text)
		if err != nil {
			return "", fmt.Errorf("key %s of %s: %w", text, t.Name, err)
		}
		conditions[i], values[i] = equal(t, key, literals), literals[0]
	}
	query := selectFrom(t, columns) + " WHERE "
	if len(key) == 1 { // conditions would be tried one after the other on each row
		return query + quote(t.Columns[key[0].Column].Name) + " IN (" + strings.Join(values, ", ") + ")", nil
	}
	return query + strings.Join(conditions, " OR "), nil
}

// selectPage writes the statement that reads a page.
func selectPage(t *Table, columns []int, p Page) (string, error) {
	var conditions []string
	if len(p.Scope) > 0 {
		in, err := keyCondition(t, p.Scope, p.In)
		if err != nil {
			return "", fmt.Errorf("scope %s of %s: %w", p.In, t.Name, err)
		}
		conditions = append(conditions, in)
	}
	if p.From != "" {
		values, err := keyValues(t, p.Key, p.From)
		if err != nil {
			return "", fmt.Errorf("key %s of %s: %w", p.From, t.Name, err)
		}
		conditions = append(conditions, greater(t, p.Key, values))
	}
	query := selectFrom(t, columns)
	if len(conditions) > 0 {
		query += " WHERE " + strings.Join(conditions, " AND ")
	}
	names := make([]string, len(p.Key))
	for i, k := range p.Key {
		names[i] = quote(t.Columns[k.Column].Name)
	}
	return fmt.Sprintf("%s ORDER BY %s LIMIT %d", query, strings.Join(names, ", "), p.Limit), nil
}

// greater compares a key with values, column by column as keyCondition does.
func greater(t *Table, key []KeyColumn, values []string) string {
	name := quote(t.Columns[key[0].Column].Name)
	if len(key) == 1 {
		return name + " > " + values[0]
	}
	return fmt.Sprintf("(%s > %s OR %s = %s AND %s)", name, values[0], name, values[0], greater(t, key[1:], values[1:]))
}

func selectFrom(t *Table, columns []int) string {
	expressions := make([]string, len(columns))
	for i, column := range columns {
		expressions[i] = selectExpression(&t.Columns[column])
	}
	return "SELECT " + strings.Join(expressions, ", ") + " FROM " + t.Name.quoted()
}

// selectExpression reads a column in a form that loses nothing as text.
func selectExpression(c *Column) string {
	name := quote(c.Name)
	switch c.Kind {
	case Float: // its own text has six digits only
		return "CAST(" + name + " AS DOUBLE)"
	case Bit:
		return name + "+0"
	case Text: // in its own bytes, since the server writes "?" for characters that Unicode lacks
		if decode, err := transcoderOf(c.Charset); err == nil && decode != nil {
			return "CAST(CONVERT(" + name + " USING " + c.Charset + ") AS BINARY)"
		}
	}
	return name
}

// keyCondition turns a key's JSON array into SQL.
func keyCondition(t *Table, key []KeyColumn, text string) (string, error) {
	values, err := keyValues(t, key, text)
	if err != nil {
		return "", err
	}
	return equal(t, key, values), nil
}

// equal compares a key with values, column by column, since MariaDB does not
// find unsigned integers above 2^63 by tuples.
func equal(t *Table, key []KeyColumn, values []string) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = quote(t.Columns[key[i].Column].Name) + " = " + v
	}
	return "(" + strings.Join(parts, " AND ") + ")"
}

// keyValues turns the values of a JSON array into SQL literals.
func keyValues(t *Table, key []KeyColumn, text string) ([]string, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var values []any
	if err := decoder.Decode(&values); err != nil {
		return nil, err
	}
	if len(values) != len(key) {
		return nil, fmt.Errorf("%d values for %d columns", len(values), len(key))
	}
	out := make([]string, len(values))
	for i, v := range values {
		switch v.(type) {
		case string, json.Number:
		default:
			return nil, fmt.Errorf("%v is neither a string nor a number", v)
		}
		s := fmt.Sprint(v)
		switch t.Columns[key[i].Column].Kind {
		case Integer:
			if !wholeNumber(s) {
				return nil, fmt.Errorf("%q is no integer", s)
			}
			out[i] = s
		case Binary:
			data, err := base64.StdEncoding.DecodeString(s)
			if key[i].Cast == CastHex {
				data, err = hex.DecodeString(s)
			}
			if err != nil {
				return nil, err
			}
			out[i] = fmt.Sprintf("X'%x'", data)
		default:
			out[i] = literal(s)
		}
	}
	return out, nil
}

// wholeNumber says whether s is digits, perhaps with a minus before them.
func wholeNumber(s string) bool {
	digits := bytes.TrimPrefix([]byte(s), []byte("-"))
	for _, b := range digits {
		if b < '0' || b > '9' {
			return false
		}
	}
	return len(digits) > 0
}
