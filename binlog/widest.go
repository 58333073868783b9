package binlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// ErrTooSlow says that the server has not found something in the time that it
// was given.
var ErrTooSlow = errors.New("it takes the server too long")

// Codes of a statement that was ended for its time, of MySQL
// (ER_QUERY_TIMEOUT) and of MariaDB (ER_STATEMENT_TIMEOUT).
const (
	errQueryTimeout     = 3024
	errStatementTimeout = 1969
)

// Widest reads the row of a table of which some columns have the most bytes, as
// the server keeps them; nil if there is no row. The server has to look at all
// of them: if it takes longer than that, the error is ErrTooSlow.
func (r *Reader) Widest(ctx context.Context, table *Table, columns []int, within time.Duration) (*Row, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	sizes := make([]string, len(columns))
	for i, column := range columns {
		sizes[i] = "COALESCE(OCTET_LENGTH(" + columnOf(rowAlias, &table.Columns[column]) + "), 0)"
	}
	query := selectFrom(table, columns) + " ORDER BY " + strings.Join(sizes, " + ") + " DESC LIMIT 1"
	if r.server.Flavor == MariaDB {
		query = fmt.Sprintf("SET STATEMENT max_statement_time = %f FOR %s", within.Seconds(), query)
	} else {
		query = fmt.Sprintf("SELECT /*+ MAX_EXECUTION_TIME(%d) */%s", within.Milliseconds(), strings.TrimPrefix(query, "SELECT"))
	}
	list, _, err := (&Moment{reader: r}).read(table, columns, query, 0)
	if err != nil {
		r.Close()
		if e, ok := errors.AsType[*mysql.MyError](err); ok && (e.Code == errQueryTimeout || e.Code == errStatementTimeout) {
			return nil, fmt.Errorf("find the widest row of %s: %w", table.Name, ErrTooSlow)
		}
		return nil, fmt.Errorf("find the widest row of %s: %w", table.Name, err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list[0], nil
}
