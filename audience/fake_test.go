package audience

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/mapping/filter"
)

// The tables of the tests. A row of platform_user ends at a time, one of guests
// begins at one; both make members of a platform.
var (
	platformUser = integers("platform_user", "id", "platform_id", "user_id", "active", "ends")
	guests       = integers("guests", "id", "platform_id", "user_id", "active", "begins")
	people       = integers("users", "id", "role", "region")
	posts        = integers("posts", "id", "uuid", "platform_id")
)

func integers(name string, columns ...string) *binlog.Table {
	t := &binlog.Table{Name: binlog.TableName{Schema: "app", Table: name}, Key: []int{0}, Unique: [][]int{{0}}}
	for _, c := range columns {
		t.Columns = append(t.Columns, binlog.Column{Name: c, Kind: binlog.Integer, Nullable: true})
	}
	return t
}

// encoders are those of each table's columns.
var encoders sync.Map

func encodersOf(t *binlog.Table) []binlog.Encoder {
	if known, ok := encoders.Load(t); ok {
		return known.([]binlog.Encoder)
	}
	list := make([]binlog.Encoder, len(t.Columns))
	for i := range list {
		var err error
		if list[i], err = t.Encoder(i, binlog.CastDefault, time.UTC); err != nil {
			panic(err)
		}
	}
	encoders.Store(t, list)
	return list
}

// null is NULL in a row of integers.
const null = -1

func row(t *binlog.Table, values ...int) *binlog.Row {
	texts := make([][]byte, len(values))
	for i, v := range values {
		if v != null {
			texts[i] = []byte(strconv.Itoa(v))
		}
	}
	return binlog.TextRow(t, texts)
}

func change(t *binlog.Table, before, after []int) *binlog.Change {
	c := &binlog.Change{Kind: binlog.Update}
	if before != nil {
		c.Before = row(t, before...)
	} else {
		c.Kind = binlog.Insert
	}
	if after != nil {
		c.After = row(t, after...)
	} else {
		c.Kind = binlog.Delete
	}
	return c
}

// at is a column's value; null if there is none.
func at(r *binlog.Row, column int) int {
	if r.Null(column) {
		return null
	}
	e := encodersOf(r.Table)[column]
	text, err := e.Append(nil, r)
	if err != nil {
		panic(err)
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		panic(err)
	}
	return n
}

// fakeRules know the tables above. Channels are named "own.ROLE.ID" and "ID".
type fakeRules struct{ schema string }

func (fakeRules) plans(t *binlog.Table) (*plans, error) {
	switch t.Name.Table {
	case "platform_user", "guests":
		return &plans{members: []memberPlan{fakeMembers{t}}}, nil
	case "users":
		return &plans{users: []userPlan{fakeUsers{}}, members: []memberPlan{fakeRegions{}}}, nil
	case "posts":
		return &plans{parents: []parentPlan{fakePosts{}}}, nil
	}
	return &plans{}, nil
}

func (fakeRules) user(key mapping.UserKey, attributes []filter.Value) (*mapping.User, error) {
	tenant, id, ok := strings.Cut(string(key), "/")
	if !ok {
		tenant, id = "", string(key)
	}
	if attributes == nil {
		attributes = []filter.Value{{}}
	}
	return &mapping.User{Key: key, Tenant: tenant, ID: id, Subject: filter.User{Attributes: attributes}}, nil
}

func (fakeRules) channel(template int, u *mapping.User) (string, bool) {
	if template == 1 {
		return u.ID, true
	}
	return fmt.Sprintf("own.%s.%s", u.Subject.Attributes[0].AppendText(nil), u.ID), true
}

func (fakeRules) templates() int { return 2 }
func (r fakeRules) tables(string) []binlog.TableName {
	return []binlog.TableName{{Schema: r.schema, Table: "platform_user"}, {Schema: r.schema, Table: "guests"}, {Schema: r.schema, Table: "users"}}
}

func scope(name string, id int) mapping.ScopeKey {
	return mapping.ScopeKey(fmt.Sprintf("%s:%d", name, id))
}
func user(id int) mapping.UserKey { return mapping.UserKey(strconv.Itoa(id)) }

type fakeMembers struct{ table *binlog.Table }

func (p fakeMembers) ID() string                   { return p.table.Name.Table }
func (fakeMembers) Decisive(c *binlog.Change) bool { return decisive(c, 1, 2, 3, 4) }
func (fakeMembers) Columns() []int                 { return []int{0, 1, 2, 3, 4} }
func (fakeMembers) Key() []binlog.KeyColumn        { return []binlog.KeyColumn{{Column: 0}} }
func (fakeMembers) UserColumn() binlog.KeyColumn   { return binlog.KeyColumn{Column: 2} }
func (fakeMembers) AppendKey(dst []byte, r *binlog.Row) ([]byte, error) {
	return strconv.AppendInt(dst, int64(at(r, 0)), 10), nil
}

func (p fakeMembers) Of(r *binlog.Row, now time.Time) (mapping.ScopeKey, mapping.UserKey, bool, error) {
	if at(r, 1) == null || at(r, 2) == null || at(r, 3) != 1 {
		return "", "", false, nil
	}
	if bound := at(r, 4); bound != null && (now.UnixMicro() >= int64(bound)) != (p.table == guests) {
		return "", "", false, nil
	}
	return scope("platform", at(r, 1)), user(at(r, 2)), true, nil
}

func (fakeMembers) Crosses(r *binlog.Row) (time.Time, bool) {
	return time.UnixMicro(int64(at(r, 4))), at(r, 4) != null
}

// fakeRegions make the users of a region members of it.
type fakeRegions struct{}

func (fakeRegions) ID() string                     { return "regions" }
func (fakeRegions) Columns() []int                 { return []int{0, 2} }
func (fakeRegions) Key() []binlog.KeyColumn        { return []binlog.KeyColumn{{Column: 0}} }
func (fakeRegions) UserColumn() binlog.KeyColumn   { return binlog.KeyColumn{Column: 0} }
func (fakeRegions) Decisive(c *binlog.Change) bool { return decisive(c, 0, 2) }
func (fakeRegions) AppendKey(dst []byte, r *binlog.Row) ([]byte, error) {
	return strconv.AppendInt(dst, int64(at(r, 0)), 10), nil
}

func (fakeRegions) Of(r *binlog.Row, _ time.Time) (mapping.ScopeKey, mapping.UserKey, bool, error) {
	return scope("region", at(r, 2)), user(at(r, 0)), at(r, 2) != null, nil
}
func (fakeRegions) Crosses(*binlog.Row) (time.Time, bool) { return time.Time{}, false }

type fakeUsers struct{}

func (fakeUsers) Columns() []int          { return []int{0, 1} }
func (fakeUsers) Key() []binlog.KeyColumn { return []binlog.KeyColumn{{Column: 0}} }

func (fakeUsers) Decisive(c *binlog.Change) bool { return decisive(c, 0, 1) }
func (fakeUsers) Of(r *binlog.Row) (mapping.UserKey, []filter.Value, error) {
	return user(at(r, 0)), []filter.Value{filter.OfInt(int64(at(r, 1)))}, nil
}

type fakePosts struct{}

func (fakePosts) Decisive(c *binlog.Change) bool { return decisive(c, 0, 1, 2) }
func (fakePosts) Refs(r *binlog.Row) ([]mapping.ParentRef, error) {
	refs := []mapping.ParentRef{postRef("", at(r, 0))}
	if uuid := at(r, 1); uuid != null {
		refs = append(refs, postRef("uuid", uuid))
	}
	return refs, nil
}

func (fakePosts) Parent(r *binlog.Row) (mapping.Parent, error) {
	return mapping.Parent{Exists: true, Values: []string{strconv.Itoa(at(r, 2))}}, nil
}

func postRef(unique string, key int) mapping.ParentRef {
	return mapping.ParentRef{Table: posts.Name, Unique: unique, Key: fmt.Sprintf("[%d]", key)}
}

func decisive(c *binlog.Change, columns ...int) bool {
	for _, i := range columns {
		if c.Before == nil || c.After == nil || !c.After.Same(c.Before, i) {
			return true
		}
	}
	return false
}
