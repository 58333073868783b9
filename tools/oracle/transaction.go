package oracle

import (
	"context"
	"database/sql"
	"fmt"
)

// transaction is one that the writer makes: open, or as it was committed.
type transaction struct {
	number     int
	point      int // how many were committed with it
	statements []string
	// touched are the keys of rows that it wrote, by table and their JSON;
	// nil stands for any of them.
	touched map[*Table]map[string]Key

	conn *sql.Conn
	undo []func() // takes back what the writer knows of rows
}

// touch notes that the row with a key is written.
func (tx *transaction) touch(t *Table, key Key) {
	keys, ok := tx.touched[t]
	if !ok {
		keys = map[string]Key{}
		tx.touched[t] = keys
	}
	if keys != nil {
		keys[key.JSON()] = key
	}
}

// touchAll notes that any row may be written.
func (tx *transaction) touchAll(t *Table) { tx.touched[t] = nil }

// wrote says whether the transaction has written rows of a table.
func (tx *transaction) wrote(t *Table) bool {
	_, ok := tx.touched[t]
	return ok
}

// holds says whether the transaction has written the row with a key.
func (tx *transaction) holds(t *Table, key string) bool {
	keys, ok := tx.touched[t]
	return ok && (keys == nil || keys[key] != nil)
}

func (tx *transaction) exec(ctx context.Context, format string, args ...any) error {
	statement := fmt.Sprintf(format, args...)
	tx.statements = append(tx.statements, statement)
	if _, err := tx.conn.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// undoTo takes back what is known of rows since there were n entries.
func (tx *transaction) undoTo(n int) {
	for i := len(tx.undo) - 1; i >= n; i-- {
		tx.undo[i]()
	}
	tx.undo = tx.undo[:n]
}

func (tx *transaction) added(t *Table, one *row) {
	t.rows.add(one)
	tx.undo = append(tx.undo, func() { t.rows.remove(one) })
}

func (tx *transaction) removed(t *Table, one *row) {
	t.rows.remove(one)
	tx.undo = append(tx.undo, func() { t.rows.add(one) })
}
