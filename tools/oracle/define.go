package oracle

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// define empties or alters a table. It is alone: a statement like that waits
// for all transactions that have used the table. It alters no table anew of
// which it is not known that chorusd has read the last alteration: what the table
// looked like in between, chorusd could not ask, and stops.
func (w *writer) define(ctx context.Context, read func(point int) bool) (*transaction, error) {
	t := pick(w.rand, w.world.Tables)
	alters := t.stays || w.chance(0.6)
	if alters && t.altered != nil && !read(t.altered.point) {
		return w.next(ctx)
	}
	if err := w.abandon(ctx); err != nil {
		return nil, err
	}
	tx := w.begin(0)
	tx.later, tx.statements, tx.defined = nil, nil, true // it commits by itself
	var statement string
	if alters {
		statement, t.altered = w.alteration(t), tx
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
	if t.extra = !t.extra; !t.extra {
		return alter + "DROP COLUMN " + extraColumn
	}
	return strings.TrimSpace(alter + "ADD COLUMN " + extraColumn + " INT DEFAULT 7 " + pick(w.rand, []string{"", "FIRST"}))
}
