package audience

import (
	"context"
	"fmt"
	"strings"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// Reader reads rows at a known point of the log; *binlog.Reader does.
type Reader interface {
	Table(ctx context.Context, name binlog.TableName) (*binlog.Table, error)
	Rows(ctx context.Context, table *binlog.Table, columns []int, key []binlog.KeyColumn, keys []string,
		after binlog.Position, each func(*binlog.Row) error) (upto binlog.Position, err error)
}

// Loader reads the memberships and attributes of users. It is for one goroutine.
type Loader struct {
	rules  rules
	reader Reader
}

// loadBatch is how many users one query asks for.
const loadBatch = 500

// Load reads users as they are at points of the log that cover after; after
// has to cover what was applied to the State before Open returned their Loads.
// Errors are those of the reader, wrapped.
func (l *Loader) Load(ctx context.Context, users []Load, after binlog.Position) (*Loaded, error) {
	out := &Loaded{Upto: after}
	byTenant := map[string][]*loaded{}
	for _, user := range users {
		u, err := l.rules.user(user.User, nil)
		if err != nil {
			return nil, err
		}
		in := &loaded{Load: user}
		out.users = append(out.users, in)
		byTenant[u.Tenant] = append(byTenant[u.Tenant], in)
	}
	for tenant, users := range byTenant {
		for _, name := range l.rules.tables(tenant) {
			if err := l.table(ctx, name, tenant, users, &out.Upto); err != nil {
				return nil, fmt.Errorf("load %d users from %s: %w", len(users), name, err)
			}
		}
	}
	return out, nil
}

// table reads what one table says of users of a tenant, and moves upto on to
// the point that this is as of.
func (l *Loader) table(ctx context.Context, name binlog.TableName, tenant string, users []*loaded, upto *binlog.Position) error {
	shape, err := l.reader.Table(ctx, name)
	if err != nil || shape == nil {
		return err // without a table, nobody is in it
	}
	p, err := l.rules.plans(shape)
	if err != nil {
		return err
	}
	for first := 0; first < len(users); first += loadBatch {
		batch := users[first:min(first+loadBatch, len(users))]
		byKey := make(map[mapping.UserKey]*loaded, len(batch))
		keys := make([]string, len(batch))
		for i, u := range batch {
			byKey[u.User] = u
			keys[i] = "[" + withoutTenant(u.User, tenant) + "]"
		}
		// Rows that a SELECT finds by collation may be those of others: it is
		// the key's bytes that count.
		read := func(columns []int, key []binlog.KeyColumn, each func(*binlog.Row) error) (err error) {
			*upto, err = l.reader.Rows(ctx, shape, columns, key, keys, *upto, each)
			return err
		}
		for _, plan := range p.members {
			err := read(plan.Columns(), []binlog.KeyColumn{plan.UserColumn()}, func(row *binlog.Row) error {
				return readMember(plan, row, byKey)
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
	}
	return nil
}

func readMember(p memberPlan, row *binlog.Row, users map[mapping.UserKey]*loaded) error {
	g, ok, err := grantOf(p, row)
	u := users[g.user]
	if err != nil || !ok || u == nil {
		return err
	}
	key, err := rowKey(p, row)
	g.user = u.User // one text for all of its rows
	u.rows = append(u.rows, loadedRow{key, g})
	return err
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
