package oracle

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Writer changes a world by random transactions. Up to two are open at a time,
// on rows of which neither waits for the other's, so that one goroutine
// decides the order of their commits.
type writer struct {
	world   *World
	rand    *rand.Rand
	conns   []*sql.Conn
	open    []*transaction // by connection, nil: none
	numbers int
	once    bool // a transaction writes a row once
	scale   int
	locked  int // transactions that were rolled back since they waited for another one
}

// newWriter connects a writer; it is to be closed.
func newWriter(ctx context.Context, w *World, db *sql.DB, r *rand.Rand, f Features) (*writer, error) {
	made := &writer{world: w, rand: r, once: !f.Again, scale: f.scale(), open: make([]*transaction, 2)}
	for range made.open {
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, err
		}
		// Without locks on gaps between rows, and without waiting long for
		// one that the writer had not thought of.
		for _, set := range []string{"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET SESSION innodb_lock_wait_timeout = 1"} {
			if _, err := conn.ExecContext(ctx, set); err != nil {
				return nil, err
			}
		}
		made.conns = append(made.conns, conn)
	}
	return made, nil
}

// close rolls back what is open and gives the connections back.
func (w *writer) close(ctx context.Context) {
	for _, conn := range w.conns {
		_, _ = conn.ExecContext(ctx, "ROLLBACK") // without a connection there is nothing open
		_ = conn.Close()
	}
}

func (w *writer) chance(p float64) bool { return w.rand.Float64() < p }

// fill makes the rows that the world begins with.
func (w *writer) fill(ctx context.Context) (*transaction, error) {
	tx := w.begin(0)
	for _, t := range w.world.Tables {
		for range min(len(t.pool)*2/3, 15*w.scale) {
			if err := w.insert(ctx, tx, t); err != nil {
				return nil, err
			}
		}
	}
	return w.commit(ctx, 0)
}

// next goes on until a transaction is committed, and returns it.
func (w *writer) next(ctx context.Context) (*transaction, error) {
	for {
		slot := 0
		if w.open[1] != nil && w.chance(0.5) || w.open[0] != nil && w.open[1] == nil && w.chance(0.1) {
			slot = 1
		}
		tx := w.open[slot]
		if tx == nil {
			tx = w.begin(slot)
		}
		err := w.step(ctx, tx)
		switch {
		case isLocked(err):
			w.locked++
			if err := w.rollback(ctx, slot); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		case len(tx.statements) < 2 && w.chance(0.5) || len(tx.statements) > 1 && w.chance(0.6):
		case w.chance(0.07):
			if err := w.rollback(ctx, slot); err != nil {
				return nil, err
			}
		default:
			return w.commit(ctx, slot)
		}
	}
}

// beacon commits a transaction that changes nothing but its number.
func (w *writer) beacon(ctx context.Context) (*transaction, error) {
	if err := w.abandon(ctx); err != nil {
		return nil, err
	}
	w.begin(0)
	return w.commit(ctx, 0)
}

// abandon rolls back what is open.
func (w *writer) abandon(ctx context.Context) error {
	for slot, tx := range w.open {
		if tx == nil {
			continue
		}
		if err := w.rollback(ctx, slot); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) begin(slot int) *transaction {
	w.numbers++
	tx := &transaction{number: w.numbers, conn: w.conns[slot], touched: map[*Table]map[string]Key{}, several: map[*Table]bool{}, uniques: map[*Table]map[string]Value{}}
	w.open[slot] = tx
	tx.defers("BEGIN")
	return tx
}

func (w *writer) commit(ctx context.Context, slot int) (*transaction, error) {
	tx := w.open[slot]
	w.open[slot] = nil
	// Last, since the other transaction would wait for this row.
	tx.defers("UPDATE beacon SET version = %d", tx.number)
	tx.undo = nil
	return tx, tx.exec(ctx, "COMMIT")
}

func (w *writer) rollback(ctx context.Context, slot int) error {
	tx := w.open[slot]
	w.open[slot] = nil
	tx.undoTo(0)
	return tx.exec(ctx, "ROLLBACK")
}

// isLocked says whether a statement waited for the other transaction: in a
// small table the server may look at all rows to find one.
func isLocked(err error) bool {
	const lockWaitTimeout, deadlock = 1205, 1213
	refused, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (refused.Number == lockWaitTimeout || refused.Number == deadlock)
}

// alone says whether no other transaction is open.
func (w *writer) alone(tx *transaction) bool {
	for _, other := range w.open {
		if other != nil && other != tx {
			return false
		}
	}
	return true
}

// free says whether no other transaction has written the row with a key.
func (w *writer) free(tx *transaction, t *Table, key string) bool {
	for _, other := range w.open {
		if other != nil && (other != tx || w.once) && other.holds(t, key) {
			return false
		}
	}
	return true
}

// row picks a row that the transaction may write.
func (w *writer) row(tx *transaction, t *Table) *row {
	return t.rows.pick(w.rand, func(r *row) bool { return w.free(tx, t, r.key.JSON()) })
}

// step makes one change, or a few that belong together.
func (w *writer) step(ctx context.Context, tx *transaction) error {
	if w.chance(0.05) {
		return w.takeBack(ctx, tx)
	}
	t := w.table()
	switch n := w.rand.IntN(100); {
	case n < 22:
		return w.insert(ctx, tx, t)
	case n < 34:
		return w.remove(ctx, tx, t)
	case n < 36:
		return w.several(ctx, tx, t)
	case n < 41:
		return w.rekey(ctx, tx, t)
	case n < 45 && w.alone(tx) && (!w.once || !tx.wrote(t)):
		return w.bulk(ctx, tx, t)
	case n < 50 && !w.once:
		return w.again(ctx, tx, t)
	default:
		return w.update(ctx, tx, t)
	}
}

// table picks one, more often one with rows for clients.
func (w *writer) table() *Table {
	for {
		t := pick(w.rand, w.world.Tables)
		if t.Rule != nil && t != t.tenant.Users || w.chance(0.4) {
			return t
		}
	}
}

// takeBack makes changes and rolls them back to a savepoint.
func (w *writer) takeBack(ctx context.Context, tx *transaction) error {
	tx.defers("SAVEPOINT here")
	known := len(tx.undo)
	for range 1 + w.rand.IntN(3) {
		t := w.table()
		if err := pick(w.rand, []func(context.Context, *transaction, *Table) error{w.insert, w.remove, w.update})(ctx, tx, t); err != nil {
			return err
		}
	}
	tx.undoTo(known)
	return tx.exec(ctx, "ROLLBACK TO SAVEPOINT here")
}

// again changes one row several times.
func (w *writer) again(ctx context.Context, tx *transaction, t *Table) error {
	r := w.row(tx, t)
	if r == nil {
		return nil
	}
	for range 2 {
		if err := w.set(ctx, tx, t, r, w.changes(t)); err != nil {
			return err
		}
	}
	if t.stays {
		return nil
	}
	switch w.rand.IntN(3) {
	case 0:
		return w.drop(ctx, tx, t, r)
	case 1:
		if err := w.drop(ctx, tx, t, r); err != nil {
			return err
		}
		return w.insertKey(ctx, tx, t, r.key)
	}
	return nil
}

func (w *writer) update(ctx context.Context, tx *transaction, t *Table) error {
	r := w.row(tx, t)
	if r == nil {
		return w.insert(ctx, tx, t)
	}
	return w.set(ctx, tx, t, r, w.changes(t))
}

func (w *writer) remove(ctx context.Context, tx *transaction, t *Table) error {
	r := w.row(tx, t)
	if r == nil || len(t.rows.list) < 3 || t.stays {
		return w.insert(ctx, tx, t)
	}
	return w.drop(ctx, tx, t, r)
}

func (w *writer) drop(ctx context.Context, tx *transaction, t *Table, r *row) error {
	tx.touch(t, r)
	tx.removed(t, r)
	return tx.exec(ctx, "DELETE FROM %s WHERE %s", t.sql(), t.where("", r.key))
}

func (w *writer) set(ctx context.Context, tx *transaction, t *Table, r *row, changes string) error {
	tx.touch(t, r)
	return tx.exec(ctx, "UPDATE %s SET version = %d%s WHERE %s", t.sql(), tx.number, changes, t.where("", r.key))
}

// freeKey is one that no row has, nil if there is none.
func (w *writer) freeKey(tx *transaction, t *Table) Key {
	for range 5 {
		key := pick(w.rand, t.pool)
		if name := key.JSON(); !t.rows.has(name) && w.free(tx, t, name) {
			return key
		}
	}
	return nil
}

func (w *writer) insert(ctx context.Context, tx *transaction, t *Table) error {
	key := w.freeKey(tx, t)
	if key == nil {
		return nil
	}
	return w.insertKey(ctx, tx, t, key)
}

// rekey gives a row another key.
func (w *writer) rekey(ctx context.Context, tx *transaction, t *Table) error {
	r, key := w.row(tx, t), w.freeKey(tx, t)
	if r == nil || key == nil || t.stays {
		return nil
	}
	to := &row{key: key, unique: r.unique}
	tx.touch(t, r)
	tx.touch(t, to)
	set := make([]string, len(key))
	for i, c := range t.Key {
		set[i] = fmt.Sprintf(", %s = %s", c.Name, key[i].SQL())
	}
	tx.removed(t, r)
	tx.added(t, to)
	return tx.exec(ctx, "UPDATE %s SET version = %d%s WHERE %s", t.sql(), tx.number, strings.Join(set, ""), t.where("", r.key))
}

// several deletes or changes some rows by one statement.
func (w *writer) several(ctx context.Context, tx *transaction, t *Table) error {
	var ways []string
	gone := w.alone(tx) && len(t.rows.list) > 8 && !t.stays && w.chance(0.5) // it looks at all rows of a small table
	for range 2 + w.rand.IntN(4) {
		r := w.row(tx, t)
		if r == nil {
			break
		}
		way := "(" + t.where("", r.key) + ")"
		if slices.Contains(ways, way) {
			continue
		}
		ways = append(ways, way)
		tx.touch(t, r)
		if gone {
			tx.removed(t, r)
		}
	}
	switch where := strings.Join(ways, " OR "); {
	case len(ways) == 0:
		return nil
	case gone:
		return tx.exec(ctx, "DELETE FROM %s WHERE %s", t.sql(), where)
	default:
		return tx.exec(ctx, "UPDATE %s SET version = %d%s WHERE %s", t.sql(), tx.number, w.changes(t), where)
	}
}

// bulk changes many rows by one statement.
func (w *writer) bulk(ctx context.Context, tx *transaction, t *Table) error {
	tx.touchSeveral(t)
	where := ""
	if c := w.column(t); c.Domain != nil && w.chance(0.8) {
		where = " WHERE " + c.Name + " = " + pick(w.rand, c.Domain).SQL()
	}
	return tx.exec(ctx, "UPDATE %s SET version = %d%s%s", t.sql(), tx.number, w.changes(t), where)
}
