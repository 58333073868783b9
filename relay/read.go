package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// What the goroutine that reads does: it gathers each transaction to its
// commit and hands it on whole. So nothing of a transaction is routed before
// it is known to be committed, and each record of it has one change, from what
// it was before to what it is after.

// arrival is what the goroutine that routes takes in one piece: a transaction,
// a definition from before all transactions, or how far the log was read while
// nothing happened.
type arrival struct {
	kind       arrivalKind
	point      binlog.Point
	changes    *transaction       // nil if there are none
	decides    bool               // some of them may change who sees what
	definition *binlog.Definition // if it is one from before all transactions
	// time is when it was committed, in microseconds since the Unix epoch; 0
	// if nothing changed.
	time uint64
	// read is when it was read to its end.
	read time.Time
	// weight is how many bytes of memory it takes.
	weight int
}

type arrivalKind uint8

const (
	committed arrivalKind = iota
	present
	idle
)

// idleWeight is that of an arrival without changes.
const idleWeight = 512

// weigh finds out how much memory it takes.
func (a *arrival) weigh() {
	a.weight = idleWeight
	if a.changes != nil {
		a.weight += a.changes.memory()
	}
}

// collector gathers the transaction that is being read.
type collector struct {
	records records
	// open is it; its time is 0 before its first change.
	open    *transaction
	time    uint64
	decides bool
	// used are those that can be used again.
	used sync.Pool
}

// newCollector makes one whose large transactions are in files in dir.
func newCollector(m *mapping.Mapper, dir string) *collector {
	c := &collector{records: records{m}}
	c.used.New = func() any { return newTransaction(transactionBudget, dir, c.records.keys) }
	return c
}

// empty is a transaction of which nothing is known yet.
func (c *collector) empty() *transaction { return c.used.Get().(*transaction) }

// at notes that something of a transaction comes, which was committed at that
// time, and returns it; first says that it is the first of it.
func (c *collector) at(time uint64) (t *transaction, first bool) {
	if c.open == nil {
		c.open, c.time, first = c.empty(), time, true
	}
	return c.open, first
}

// end ends the open transaction and returns it.
func (c *collector) end(pt binlog.Point) (*arrival, error) {
	a := &arrival{kind: committed, point: pt, changes: c.open, decides: c.decides, time: c.time}
	c.open, c.time, c.decides = nil, 0, false
	if a.changes == nil {
		return a, nil
	}
	return a, a.changes.seal()
}

// drop forgets the open transaction.
func (c *collector) drop() error {
	if c.open == nil {
		return nil
	}
	t := c.open
	c.open, c.decides = nil, false
	return t.close()
}

// close gives up what an arrival holds, which may have been nothing.
func (c *collector) close(a *arrival) error {
	t := a.changes
	if t == nil {
		return nil
	}
	a.changes = nil
	if err := t.close(); err != nil {
		return err
	}
	c.used.Put(t)
	return nil
}

// records tells the records of a table by the keys that its plans go by, which
// nearly always are one.
type records struct{ mapper *mapping.Mapper }

// leaders lists a plan for each of those keys.
func (r records) leaders(t *binlog.Table) ([]*mapping.Plan, error) {
	plans, err := r.mapper.Plans(t)
	if err != nil || len(plans) < 2 {
		return plans, err
	}
	var list []*mapping.Plan
	for _, p := range plans {
		if !slices.ContainsFunc(list, func(o *mapping.Plan) bool { return sameRecords(o, p) }) {
			list = append(list, p)
		}
	}
	return list, nil
}

// keys are those keys' columns. A table that clients get nothing of goes by
// its own key.
func (r records) keys(t *binlog.Table) [][]int {
	leaders, err := r.leaders(t)
	if err != nil {
		return nil // Change has told of it
	}
	sets := make([][]int, len(leaders))
	for i, p := range leaders {
		sets[i] = columnsOf(p.Key())
	}
	if len(sets) > 0 {
		return sets
	}
	if len(t.Key) > 0 {
		return [][]int{t.Key}
	}
	if members, err := r.mapper.MemberPlans(t); err == nil && len(members) > 0 {
		return [][]int{columnsOf(members[0].Key())}
	}
	if user, err := r.mapper.UserPlan(t); err == nil && user != nil {
		return [][]int{columnsOf(user.Key())}
	}
	all := make([]int, len(t.Columns))
	for i := range all {
		all[i] = i
	}
	return [][]int{all}
}

func columnsOf(key []binlog.KeyColumn) []int {
	columns := make([]int, len(key))
	for i, k := range key {
		columns[i] = k.Column
	}
	return columns
}

// decide says whether a table's rows may say who sees what.
func (r records) decide(t *binlog.Table) (bool, error) {
	members, err := r.mapper.MemberPlans(t)
	if err != nil || len(members) > 0 {
		return err == nil, err
	}
	user, err := r.mapper.UserPlan(t)
	if err != nil || user != nil {
		return err == nil, err
	}
	parent, err := r.mapper.ParentPlan(t)
	return parent != nil, err
}

// sameRecords says whether two plans tell records by the same key.
func sameRecords(a, b *mapping.Plan) bool { return a == b || slices.Equal(a.Key(), b.Key()) }

// Change notes a change of the open transaction. It implements binlog.Handler.
func (r *Relay) Change(_ context.Context, c *binlog.Change) error {
	r.heard.Store(time.Now().UnixNano())
	r.metrics.changes.Inc()
	r.vigil.step()
	decides, err := r.reading.records.decide(c.Table())
	if err != nil {
		return err
	}
	r.reading.decides = r.reading.decides || decides
	t, first := r.reading.at(c.Time)
	if first {
		r.inbox.begun(c.Time)
	}
	return t.change(c)
}

// Definition notes what a statement did to a table. It implements binlog.Handler.
func (r *Relay) Definition(ctx context.Context, d *binlog.Definition) error {
	r.heard.Store(time.Now().UnixNano())
	if text, ok := d.Shapes(r.ledger.resumable()); ok {
		if err := r.persist(ctx, func(ctx context.Context) error { return r.state.SaveShapes(ctx, text) }); err != nil {
			return err
		}
	}
	kept := *d
	if d.Kind == binlog.Present {
		return r.inbox.push(ctx, &arrival{kind: present, definition: &kept})
	}
	t, _ := r.reading.at(d.Time)
	t.define(&kept)
	return nil
}

// Commit hands the open transaction on. It implements binlog.Handler.
func (r *Relay) Commit(ctx context.Context, pt binlog.Point) error {
	now := time.Now()
	r.heard.Store(now.UnixNano())
	r.readTo.Store(int64(pt.Time))
	r.metrics.transactions.Inc()
	a, err := r.reading.end(pt)
	if err != nil {
		return err
	}
	a.read = now
	if a.changes != nil {
		r.metrics.came(stageRead, a.time, now)
	}
	return r.inbox.push(ctx, a)
}

// Idle notes how far the log was read. It implements binlog.Handler.
func (r *Relay) Idle(pt binlog.Point) {
	r.heard.Store(time.Now().UnixNano())
	if pt.Time > 0 {
		r.readTo.Store(int64(pt.Time))
	}
	r.inbox.idle(pt)
}
