package oracle

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// define empties or alters a table. It is alone: a statement like that waits
// for all transactions that have used the table.
func (w *writer) define(ctx context.Context) (*transaction, error) {
	if err := w.abandon(ctx); err != nil {
		return nil, err
	}
	tx := w.begin(0)
	tx.later, tx.statements, tx.defined = nil, nil, true // it commits by itself
	t := pick(w.rand, w.world.Tables)
	var statement string
	if t.stays || w.chance(0.6) {
		statement = w.alteration(t)
	} else {
		statement = "TRUNCATE TABLE " + t.sql()
		tx.touchAll(t)
		for _, r := range slices.Clone(t.rows.list) {
			tx.removed(t, r)
		}
	}
	if err := tx.exec(ctx, "%s", statement); err != nil {
		return nil, err
	}
	tx.defers("BEGIN")
	return w.commit(ctx, 0)
}

// extraColumn is one that is added and dropped again, and that nobody gets.
const extraColumn = "extra"

// alteration is a statement that leaves all values as they are.
func (w *writer) alteration(t *Table) string {
	alter := "ALTER TABLE " + t.sql() + " "
	texts := slices.DeleteFunc(slices.Clone(t.Columns), func(c *Column) bool { return c.Kind != Text || c.Ref })
	if len(texts) > 0 && w.chance(0.5) {
		c := pick(w.rand, texts)
		null := ""
		if !c.Null {
			null = " NOT NULL"
		}
		return alter + fmt.Sprintf("MODIFY %s VARCHAR(%d)%s", c.Name, 80+w.rand.IntN(100), null)
	}
	if t.altered = !t.altered; !t.altered {
		return alter + "DROP COLUMN " + extraColumn
	}
	return strings.TrimSpace(alter + "ADD COLUMN " + extraColumn + " INT DEFAULT 7 " + pick(w.rand, []string{"", "FIRST"}))
}
