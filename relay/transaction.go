package relay

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"slices"

	"github.com/chorusd/chorusd/binlog"
)

// transaction collects what one transaction did, and gives what that comes to
// for each record: one that was changed several times was changed once, from
// what it was first to what it is last, at the place of its last change. A
// change of a key is a delete of one record and an insert of another.
//
// Changes are kept as bytes, beyond a budget of memory in temporary files. To
// find those of one record, the hashes of their keys are sorted together with
// their places (net.go); what a hash cannot tell, the keys do.
type transaction struct {
	keys     func(*binlog.Table) [][]int
	time     uint64
	versions []tableVersion
	version  int // the last one used
	changes  spool
	index    pairs // hash of a record's key → its places
	verdicts pairs // place → what to do with it, where that is not to give it as it is
	sealed   bool

	definitions []definitionAt

	// What each and seal use.
	scratch       binlog.Change
	before, after binlog.Row
	key           []byte
}

// step is a part of what a transaction did: a net change, or a definition.
type step struct {
	change *binlog.Change
	// set is the number of the key that the change was merged by.
	set        int
	definition *binlog.Definition
}

// tableVersion is a version of a table that occurs.
type tableVersion struct {
	table *binlog.Table
	keys  [][]int // sets of columns
	hash  uint64  // of its name
}

// definitionAt is a definition and the offset of the change before which it comes.
type definitionAt struct {
	offset     int64
	definition *binlog.Definition
}

// A place tells a change's part in a record: twice its offset in the spool,
// and one more for the record that a change of a key makes.
type place = uint64

// What a verdict says instead of the place of the record's first before image.
const (
	leaveOut = ^uint64(0)
	asNew    = leaveOut - 1
)

const (
	// transactionBudget is how many bytes of a transaction are kept in memory.
	transactionBudget = 4 << 20
	// changesAhead is how much of the file is read at once in order, and
	// changesAround elsewhere.
	changesAhead, changesAround = 128 << 10, 4 << 10
)

var hashSeed = maphash.MakeSeed()

// newTransaction makes one that keeps about budget bytes in memory, and more in
// files in a folder; the system's own for those if dir is empty. Keys gives the
// sets of columns that tell records of a table apart; with more than one, each
// change is given once for each.
func newTransaction(budget int, dir string, keys func(*binlog.Table) [][]int) *transaction {
	few := pairs{limit: max(1, budget/4/pairSize), dir: dir}
	return &transaction{keys: keys, changes: spool{limit: budget, dir: dir}, index: few, verdicts: few}
}

// close gives the files back and makes t ready for another transaction.
func (t *transaction) close() error {
	t.sealed = false
	clear(t.versions)
	clear(t.definitions)
	t.versions, t.definitions = t.versions[:0], t.definitions[:0]
	t.scratch, t.before, t.after = binlog.Change{}, binlog.Row{}, binlog.Row{}
	return errors.Join(t.changes.reset(), t.index.reset(), t.verdicts.reset())
}

// defines says whether there are statements in it.
func (t *transaction) defines() bool { return len(t.definitions) > 0 }

// tables gives those of which a row was changed or a statement is there, by
// their versions; some may be gone.
func (t *transaction) tables(give func(*binlog.Table)) {
	for i := range t.versions {
		give(t.versions[i].table)
	}
	for i := range t.definitions {
		if d := t.definitions[i].definition; d.Table != nil {
			give(d.Table)
		}
	}
}

// memory is how many bytes are held.
func (t *transaction) memory() int {
	return cap(t.changes.tail) + pairSize*(cap(t.index.list)+cap(t.verdicts.list))
}

// define adds a definition.
func (t *transaction) define(d *binlog.Definition) {
	t.definitions = append(t.definitions, definitionAt{t.changes.end(), d})
}

// change adds a change, of which a copy is kept. An error is one of the disk.
func (t *transaction) change(c *binlog.Change) error {
	table := c.Table()
	if t.version >= len(t.versions) || t.versions[t.version].table != table {
		t.version = t.numberOf(table)
	}
	t.time = c.Time
	for set := range t.versions[t.version].keys {
		if err := t.changeOf(set, c); err != nil {
			return err
		}
	}
	return nil
}

// changeOf adds a change of the record that a set of columns tells.
func (t *transaction) changeOf(set int, c *binlog.Change) error {
	v := &t.versions[t.version]
	columns := v.keys[set]
	at := place(t.changes.end()) << 1
	note := func(at place, row *binlog.Row) error {
		t.key = row.AppendRaw(t.key[:0], columns)
		return t.index.add(v.hash+uint64(set)^maphash.Bytes(hashSeed, t.key), at)
	}
	moved := c.Kind == binlog.Update && slices.ContainsFunc(columns, func(column int) bool { return !c.Before.Same(c.After, column) })
	if c.Before != nil {
		if err := note(at, c.Before); err != nil {
			return err
		}
	}
	if moved || c.Before == nil {
		if moved {
			at++
		}
		if err := note(at, c.After); err != nil {
			return err
		}
	}
	return t.changes.add(func(dst []byte) []byte {
		kind := byte(c.Kind)
		if moved {
			kind |= keyChanged
		}
		dst = binary.AppendUvarint(append(dst, kind), uint64(t.version))
		dst = binary.AppendUvarint(dst, uint64(set))
		for _, row := range []*binlog.Row{c.Before, c.After} {
			if row != nil {
				dst = row.AppendBytes(dst)
			}
		}
		return dst
	})
}

func (t *transaction) numberOf(table *binlog.Table) int {
	i := slices.IndexFunc(t.versions, func(v tableVersion) bool { return v.table == table })
	if i < 0 {
		i = len(t.versions)
		t.versions = append(t.versions, tableVersion{table, t.keys(table), maphash.Comparable(hashSeed, table.Name)})
	}
	return i
}

// knows makes a version known whose keys are known.
func (t *transaction) knows(v *tableVersion) {
	if !slices.ContainsFunc(t.versions, func(o tableVersion) bool { return o.table == v.table }) {
		t.versions = append(t.versions, *v)
	}
}

// keyChanged is set beside an entry's kind if its key changed.
const keyChanged = 1 << 7

// entry is a change in the spool, or a definition between two.
type entry struct {
	definition *binlog.Definition
	version    *tableVersion
	table      *binlog.Table
	key        []int
	set        int
	kind       binlog.ChangeKind
	moved      bool   // its key changed
	rows       []byte // the images, before and after
}

// read reads the change at an offset, and where the next one is; it refers to
// bytes of r.
func (t *transaction) read(r *spoolReader, offset int64) (e entry, next int64, err error) {
	data, next, err := r.entry(offset)
	if err != nil {
		return entry{}, 0, err
	}
	e.kind, e.moved = binlog.ChangeKind(data[0]&^keyChanged), data[0]&keyChanged != 0
	version, size := binary.Uvarint(data[1:])
	set, more := binary.Uvarint(data[1+size:])
	v := &t.versions[version]
	e.version, e.table, e.set, e.key = v, v.table, int(set), v.keys[set]
	e.rows = data[1+size+more:]
	return e, next, nil
}

// images reads the rows of an entry, as far as it has them.
func (e *entry) images(before, after *binlog.Row) error {
	rows := e.rows
	if e.kind != binlog.Insert {
		var err error
		if rows, err = before.SetBytes(e.table, rows); err != nil {
			return err
		}
	}
	if e.kind != binlog.Delete {
		if _, err := after.SetBytes(e.table, rows); err != nil {
			return err
		}
	}
	return nil
}

// change is the one that an entry is, made of these rows; it has no time.
func (e *entry) change(before, after *binlog.Row) (*binlog.Change, error) {
	c := &binlog.Change{Kind: e.kind}
	if e.kind != binlog.Insert {
		c.Before = before
	}
	if e.kind != binlog.Delete {
		c.After = after
	}
	return c, e.images(before, after)
}

// logged gives what a sealed transaction did as it was logged, in order: each
// change once. An entry is valid until fn returns.
func (t *transaction) logged(fn func(*entry) error) error {
	ahead := spoolReader{spool: &t.changes, ahead: changesAhead}
	definitions := t.definitions
	for offset, end := int64(0), t.changes.end(); ; {
		for len(definitions) > 0 && definitions[0].offset == offset {
			if err := fn(&entry{definition: definitions[0].definition}); err != nil {
				return err
			}
			definitions = definitions[1:]
		}
		if offset == end {
			return nil
		}
		e, next, err := t.read(&ahead, offset)
		if err != nil {
			return err
		}
		if offset = next; e.set != 0 {
			continue // the same change, for other records
		}
		if err := fn(&e); err != nil {
			return err
		}
	}
}

// each gives the steps in order. It may be called again; nothing may be added
// any more. What is given is valid until fn returns. An error is fn's or one
// of the disk.
func (t *transaction) each(fn func(step) error) error {
	if err := t.seal(); err != nil {
		return err
	}
	verdicts, err := t.verdicts.sorted()
	if err != nil {
		return err
	}
	g := giver{
		transaction: t, fn: fn, verdicts: verdicts,
		ahead:  spoolReader{spool: &t.changes, ahead: changesAhead},
		around: spoolReader{spool: &t.changes, ahead: changesAround},
	}
	if err := g.nextVerdict(); err != nil {
		return err
	}
	definitions := t.definitions
	for offset, end := int64(0), t.changes.end(); ; {
		for len(definitions) > 0 && definitions[0].offset == offset {
			if err := fn(step{definition: definitions[0].definition}); err != nil {
				return err
			}
			definitions = definitions[1:]
		}
		if offset == end {
			return nil
		}
		if offset, err = g.next(offset); err != nil {
			return err
		}
	}
}

// giver is one call of each.
type giver struct {
	*transaction
	fn            func(step) error
	verdicts      merge
	verdict       pair
	decided       bool // there is a verdict
	ahead, around spoolReader
}

func (g *giver) nextVerdict() (err error) {
	g.verdict, g.decided, err = g.verdicts.next()
	return err
}

// next gives the change at an offset and returns that of the next one.
func (g *giver) next(offset int64) (int64, error) {
	e, next, err := g.read(&g.ahead, offset)
	if err != nil {
		return 0, err
	}
	at := place(offset) << 1
	if !e.moved {
		return next, g.give(at, &e, e.kind != binlog.Insert, e.kind != binlog.Delete)
	}
	if err := g.give(at, &e, true, false); err != nil {
		return 0, err
	}
	return next, g.give(at+1, &e, false, true)
}

// give gives an entry's part in a record, with what the verdict makes of it.
func (g *giver) give(at place, e *entry, before, after bool) error {
	first := at
	if g.decided && g.verdict.key == at {
		first = g.verdict.value
		if err := g.nextVerdict(); err != nil {
			return err
		}
	}
	if first == leaveOut {
		return nil
	}
	if err := e.images(&g.before, &g.after); err != nil {
		return err
	}
	switch first {
	case at:
	case asNew:
		before = false
	default:
		before = true
		was, _, err := g.read(&g.around, int64(first>>1))
		if err != nil {
			return err
		}
		if _, err := g.before.SetBytes(was.table, was.rows); err != nil {
			return err
		}
	}
	c := &g.scratch
	*c = binlog.Change{Time: g.time, Kind: binlog.Insert}
	if before {
		c.Kind, c.Before = binlog.Delete, &g.before
	}
	if after {
		c.After = &g.after
	}
	if before && after {
		c.Kind = binlog.Update
	}
	return g.fn(step{change: c, set: e.set})
}
