package oracle

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// batch is questions that the database is asked in one round trip.
type batch struct {
	queries []string
	takes   []func(*sql.Rows) error
}

// ask adds a question; take is given each row of the answer.
func (b *batch) ask(query string, take func(*sql.Rows) error) {
	b.queries, b.takes = append(b.queries, query), append(b.takes, take)
}

// run asks them all, of a database that takes several statements at once.
func (b *batch) run(ctx context.Context, db *sql.DB) error {
	if len(b.queries) == 0 {
		return nil
	}
	rows, err := db.QueryContext(ctx, strings.Join(b.queries, ";\n"))
	if err != nil {
		return fmt.Errorf("ask the oracle: %w\n%s", err, b.queries[0])
	}
	defer rows.Close()
	for i, take := range b.takes {
		err := error(nil)
		for rows.Next() && err == nil {
			err = take(rows)
		}
		if err == nil {
			err = rows.Err()
		}
		if err == nil && i+1 < len(b.takes) && !rows.NextResultSet() {
			i, err = i+1, rows.Err()
		}
		if err != nil {
			return fmt.Errorf("ask the oracle: %w\n%s", err, b.queries[i])
		}
	}
	return nil
}
