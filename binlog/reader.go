package binlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
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
	shelf  *shelf // of conn
	// widths are how many bytes a row of a table had, on the average of the
	// last page of it.
	widths map[TableName]int
}

// NewReader makes a reader; it connects when it is first asked.
func NewReader(cfg Config, server Server) *Reader {
	return &Reader{cfg: cfg, server: server, widths: map[TableName]int{}}
}

// Close ends the connection.
func (r *Reader) Close() {
	if r.conn != nil {
		_ = r.conn.Close()
		r.conn, r.shelf = nil, nil
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

// Table reads a table's shape as it is now, the same one while it stays so; nil
// if there is none.
func (r *Reader) Table(ctx context.Context, name TableName) (*Table, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	t, err := r.shelf.table(name)
	if err != nil {
		r.Close()
		return nil, err
	}
	if t == nil {
		return nil, nil
	}
	return t.Table, nil
}

func (r *Reader) open(ctx context.Context) error {
	if r.conn != nil {
		return nil
	}
	conn, err := r.cfg.connect(ctx)
	if err != nil {
		return err
	}
	for _, statement := range momentSettings {
		if _, err := conn.Execute(statement); err != nil {
			_ = conn.Close()
			return err
		}
	}
	r.conn, r.shelf = conn, newShelf(conn)
	return nil
}

// Rows reads the rows of table with these keys (JSON arrays of the key
// columns' values) and gives them to each; a key that is not found is not
// there. Only the given columns are read, the others look like NULL. What was
// given is the state at upto, which covers after.
func (r *Reader) Rows(ctx context.Context, table *Table, columns []int, key []KeyColumn, keys []string,
	after Position, each func(*Row) error,
) (upto Position, err error) {
	var list []*Row
	upto, err = r.Within(ctx, after, func(m *Moment) error {
		list, err = m.rows(table, columns, key, keys)
		return err
	})
	if err != nil {
		return Position{}, err
	}
	return upto, giveAll(list, each)
}

// Page reads a page as Rows reads keys: each page is as of a point of its own.
// Next is where the page after it begins, as a Page has it; empty after the
// last one. A row whose key changes from one page to the next may be in both
// or in none; its change is in the log between the two points.
func (r *Reader) Page(ctx context.Context, table *Table, columns []int, page Page,
	after Position, each func(*Row) error,
) (next string, upto Position, err error) {
	var list []*Row
	upto, err = r.Within(ctx, after, func(m *Moment) error {
		list, next, err = m.page(table, columns, page)
		return err
	})
	if err != nil {
		return "", Position{}, err
	}
	return next, upto, giveAll(list, each)
}

func giveAll(list []*Row, each func(*Row) error) error {
	for _, row := range list {
		if err := each(row); err != nil {
			return &fatalError{err}
		}
	}
	return nil
}
