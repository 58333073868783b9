package oracle

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// transaction is one that the writer makes: open, or as it was committed.
type transaction struct {
	number     int
	point      int // how many were committed with it
	statements []string
	defined    bool // it emptied or altered a table
	// touched are the keys of rows that it wrote, by table and their JSON;
	// nil stands for any of them.
	touched map[*Table]map[string]Key
	// several are tables of which it has changed many rows by one statement;
	// once it is committed, the history finds their keys.
	several map[*Table]bool
	// uniques are what their Table.Unique held, by its text.
	uniques map[*Table]map[string]Value

	conn *sql.Conn
	// later are statements that go with the next one.
	later []string
	undo  []func() // takes back what the writer knows of rows
}

// touch notes that a row is written.
func (tx *transaction) touch(t *Table, r *row) {
	if t.Unique != nil {
		if tx.uniques[t] == nil {
			tx.uniques[t] = map[string]Value{}
		}
		tx.uniques[t][r.unique.text] = r.unique
	}
	if keys := tx.keys(t); keys != nil {
		keys[r.key.JSON()] = r.key
	}
}

// keys are those of a table that are noted; nil stands for any.
func (tx *transaction) keys(t *Table) map[string]Key {
	keys, ok := tx.touched[t]
	if !ok {
		keys = map[string]Key{}
		tx.touched[t] = keys
	}
	return keys
}

// touchAll notes that any row is written.
func (tx *transaction) touchAll(t *Table) { tx.touched[t] = nil }

// touchSeveral notes that rows are written that nobody knows yet.
func (tx *transaction) touchSeveral(t *Table) {
	tx.keys(t)
	tx.several[t] = true
}

// wrote says whether the transaction has written rows of a table.
func (tx *transaction) wrote(t *Table) bool {
	_, ok := tx.touched[t]
	return ok
}

// emptied says whether the transaction may have written any row of a table.
func (tx *transaction) emptied(t *Table) bool {
	keys, wrote := tx.touched[t]
	return wrote && keys == nil
}

// holds says whether the transaction may have written the row with a key.
func (tx *transaction) holds(t *Table, key string) bool {
	keys, ok := tx.touched[t]
	return ok && (keys == nil || tx.several[t] || keys[key] != nil)
}

// exec executes a statement, in one round trip with those that wait for it.
func (tx *transaction) exec(ctx context.Context, format string, args ...any) error {
	tx.defers(format, args...)
	statements := strings.Join(tx.later, "; ")
	tx.later = tx.later[:0]
	if _, err := tx.conn.ExecContext(ctx, statements); err != nil {
		return fmt.Errorf("%s: %w", statements, err)
	}
	return nil
}

// defers has a statement that cannot fail go with the next one.
func (tx *transaction) defers(format string, args ...any) {
	statement := fmt.Sprintf(format, args...)
	tx.statements = append(tx.statements, statement)
	tx.later = append(tx.later, statement)
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
