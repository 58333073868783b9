package audience

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// Reader reads rows at a known point of the log; *binlog.Reader does.
type Reader interface {
	Table(ctx context.Context, name binlog.TableName) (*binlog.Table, error)
	Rows(ctx context.Context, table *binlog.Table, columns []int, key []binlog.KeyColumn, keys []string,
		after binlog.Position, each func(*binlog.Row) error) (upto binlog.Position, err error)
	Close()
}

// Loader reads the memberships and attributes of users, over several
// connections side by side if there are many. It is for one goroutine.
type Loader struct{ lines []*line }

// line is one connection of a Loader, with rules of its own.
type line struct {
	rules  rules
	reader Reader
	// shapes are the tables as they are during one Load; nil: there is none.
	shapes map[binlog.TableName]*binlog.Table
	key    []byte // what readMember uses
}

const (
	// loadBatch is how many users one query asks for.
	loadBatch = 500
	// loadLines is over how many connections a Loader reads at most.
	loadLines = 4
)

// Close ends the connections; the Loader may be used again.
func (l *Loader) Close() {
	for _, line := range l.lines {
		line.reader.Close()
	}
}

// Load reads users as they are at points of the log that cover after; after
// has to cover what was applied to the State before Open returned their Loads.
// Errors are those of the reader, wrapped.
func (l *Loader) Load(ctx context.Context, users []Load, after binlog.Position) (*Loaded, error) {
	out := &Loaded{Upto: after, users: make([]*loaded, len(users))}
	byTenant := map[string][]*loaded{}
	for i, user := range users {
		u, err := l.lines[0].rules.user(user.User, nil)
		if err != nil {
			return nil, err
		}
		out.users[i] = &loaded{Load: user}
		byTenant[u.Tenant] = append(byTenant[u.Tenant], out.users[i])
	}
	var batches []batch
	for tenant, users := range byTenant {
		for some := range slices.Chunk(users, loadBatch) {
			batches = append(batches, batch{tenant, some})
		}
	}
	return out, l.readAll(ctx, batches, &out.Upto)
}

// batch are users of one tenant that are read together.
type batch struct {
	tenant string
	users  []*loaded
}

// readAll reads batches over as many connections as there are uses for, and
// moves upto on to a point that covers those that they are as of.
func (l *Loader) readAll(ctx context.Context, batches []batch, upto *binlog.Position) error {
	waiting := make(chan batch, len(batches))
	for _, b := range batches {
		waiting <- b
	}
	close(waiting)
	used := l.lines[:min(len(l.lines), len(batches))]
	points, errs := make([]binlog.Position, len(used)), make([]error, len(used))
	var reading sync.WaitGroup
	for i, line := range used {
		points[i] = *upto
		reading.Go(func() {
			line.shapes = map[binlog.TableName]*binlog.Table{}
			for b := range waiting {
				if errs[i] = line.read(ctx, b, &points[i]); errs[i] != nil {
					for range waiting { // nobody needs the rest
					}
				}
			}
			if i > 0 { // crowds are rare
				line.reader.Close()
			}
		})
	}
	reading.Wait()
	for i, err := range errs {
		if err != nil {
			return err
		}
		// Points that one server tells follow one another.
		if !upto.Covers(points[i]) {
			*upto = points[i]
		}
	}
	return nil
}

// read reads a batch, one table after the other.
func (l *line) read(ctx context.Context, b batch, upto *binlog.Position) error {
	for _, name := range l.rules.tables(b.tenant) {
		if err := l.table(ctx, name, b, upto); err != nil {
			return fmt.Errorf("load %d users from %s: %w", len(b.users), name, err)
		}
	}
	return nil
}

// table reads what one table says of users, and moves upto on to the point that
// this is as of.
func (l *line) table(ctx context.Context, name binlog.TableName, b batch, upto *binlog.Position) error {
	shape, err := l.shapeOf(ctx, name)
	if err != nil || shape == nil {
		return err // without a table, nobody is in it
	}
	p, err := l.rules.plans(shape)
	if err != nil {
		return err
	}
	byKey := make(map[mapping.UserKey]*loaded, len(b.users))
	keys := make([]string, len(b.users))
	for i, u := range b.users {
		byKey[u.User] = u
		keys[i] = "[" + withoutTenant(u.User, b.tenant) + "]"
	}
	// Rows that a SELECT finds by collation may be those of others: it is
	// the key's bytes that count.
	read := func(columns []int, key []binlog.KeyColumn, each func(*binlog.Row) error) (err error) {
		*upto, err = l.reader.Rows(ctx, shape, columns, key, keys, *upto, each)
		return err
	}
	for _, plan := range p.members {
		err := read(plan.Columns(), []binlog.KeyColumn{plan.UserColumn()}, func(row *binlog.Row) error {
			return l.readMember(plan, row, byKey)
		})
		if err != nil {
			return err
		}
	}
	for _, plan := range p.users {
		err := read(plan.Columns(), plan.Key(), func(row *binlog.Row) error {
			return readUser(plan, row, byKey)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *line) shapeOf(ctx context.Context, name binlog.TableName) (shape *binlog.Table, err error) {
	shape, known := l.shapes[name]
	if !known {
		if shape, err = l.reader.Table(ctx, name); err == nil {
			l.shapes[name] = shape
		}
	}
	return shape, err
}

func (l *line) readMember(p memberPlan, row *binlog.Row, users map[mapping.UserKey]*loaded) error {
	g, ok, err := grantOf(p, row)
	u := users[g.user]
	if err != nil || !ok || u == nil {
		return err
	}
	if l.key, err = appendRowKey(l.key[:0], p, row); err != nil {
		return err
	}
	g.user = u.User // one text for all of its rows
	u.rows = append(u.rows, loadedRow{string(l.key), g})
	return nil
}

func readUser(p userPlan, row *binlog.Row, users map[mapping.UserKey]*loaded) error {
	key, attributes, err := p.Of(row)
	if u := users[key]; err == nil && u != nil {
		u.attributes = attributes
	}
	return err
}

// withoutTenant is the JSON of a user's key in its tenant's tables.
func withoutTenant(key mapping.UserKey, tenant string) string {
	if tenant == "" {
		return string(key)
	}
	return strings.TrimPrefix(string(key), tenant+"/")
}
