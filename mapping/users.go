package mapping

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping/filter"
)

// UserPlan is the table of users' attributes, fitted to one version of it. It
// is for one goroutine.
type UserPlan struct {
	table      *binlog.Table
	tenant     string
	user       keyColumn
	key        []binlog.KeyColumn
	attributes []filter.Reader
	read       []int
	buf        []byte
}

// userOf says whether a table of the database has users' attributes, and of
// which tenant.
func (m *Mapper) userOf(name binlog.TableName) (tenant string, ok bool) {
	if m.users == nil {
		return "", false
	}
	return m.users.source.of(name)
}

// compileUser fits the table of users. What it learns of the attributes is for
// expressions that are compiled later.
func (m *Mapper) compileUser(t *binlog.Table, tenant string) (*UserPlan, []Problem) {
	c := compiler{problems: &problems{}, table: t, loc: m.loc, agreed: m.agreed}
	p := &UserPlan{table: t, tenant: tenant}
	if m.users.Key == "" {
		return p, nil // New has said so
	}
	p.user = c.key("users.key", m.users.Key, usersTopic(tenant))
	if len(c.list) == 0 && c.unique("users.key", []string{m.users.Key}) {
		p.key, _ = c.keyOf("users.key", []int{p.user.at})
	}
	for i, name := range m.users.Attributes {
		at, ok := c.column("users.attributes", name)
		if !ok {
			continue
		}
		r, err := filter.Column(t, at, binlog.CastDefault, m.loc)
		if err != nil {
			c.add("users.attributes", "%v", err)
			continue
		}
		p.attributes = append(p.attributes, r)
		m.attributes[i].Kind = r.Kind()
	}
	p.read = c.read
	return p, c.list
}

// Columns are those that the plan reads.
func (p *UserPlan) Columns() []int { return p.read }

// Key is the user's key, which is unique.
func (p *UserPlan) Key() []binlog.KeyColumn { return p.key }

// Of says whose row it is, and the attributes in the mapping's order.
func (p *UserPlan) Of(row *binlog.Row) (UserKey, []filter.Value, error) {
	var err error
	if p.buf, err = p.user.value.Append(appendTenant(p.buf[:0], p.tenant), row); err != nil {
		return "", nil, err
	}
	values := make([]filter.Value, len(p.attributes))
	for i := range p.attributes {
		if values[i], err = p.attributes[i].Value(row); err != nil {
			return "", nil, err
		}
	}
	return UserKey(p.buf), values, nil
}

// Decisive says whether a change can matter to what is known of a user.
func (p *UserPlan) Decisive(c *binlog.Change) bool { return decisive(c, p.read) }

// Templates is how many templates of users' channels there are: the length of
// User.Channels.
func (m *Mapper) Templates() int { return len(m.templates) }

// NewUser makes a user of a key; without attributes, all are null. Slot and
// Channels are for the View to set.
func (m *Mapper) NewUser(key UserKey, attributes []filter.Value) (*User, error) {
	tenant, id := key.Split()
	u := &User{Key: key, ID: bare(id), Tenant: tenant, Subject: filter.User{Attributes: attributes}}
	if attributes == nil {
		u.Subject.Attributes = make([]filter.Value, len(m.attributes))
	}
	if strings.HasPrefix(id, `"`) {
		var text string
		if err := json.Unmarshal([]byte(id), &text); err != nil {
			return nil, fmt.Errorf("key %s of a user: %w", key, err)
		}
		u.Subject.ID = filter.OfText(text)
	} else if n, err := strconv.ParseInt(id, 10, 64); err == nil {
		u.Subject.ID = filter.OfInt(n)
	} else if n, err := strconv.ParseUint(id, 10, 64); err == nil {
		u.Subject.ID = filter.OfUint(n)
	} else {
		return nil, fmt.Errorf("key %s of a user is neither an integer nor a text", key)
	}
	return u, nil
}

// Split parts the tenant, empty without tenants, from the JSON of the key. A
// tenant that has users has neither a slash nor a quote in its name.
func (k UserKey) Split() (tenant, id string) {
	text := string(k)
	if i := strings.IndexAny(text, `/"`); i >= 0 && text[i] == '/' {
		return text[:i], text[i+1:]
	}
	return "", text
}

// Tenant is that of the user; empty without tenants.
func (k UserKey) Tenant() string {
	tenant, _ := k.Split()
	return tenant
}

// Channel is the whole name of a user's channel by a template; ok is false if
// there is none, since the key or an attribute cannot stand in it. It may be
// called by several goroutines at once.
func (m *Mapper) Channel(number int, u *User) (name string, ok bool) {
	var b strings.Builder
	b.WriteString(m.prefix)
	for _, p := range m.templates[number].parts {
		value := p.literal
		switch p.column {
		case "":
			b.WriteString(value)
			continue
		case tenantColumn:
			value = u.Tenant
		case idColumn:
			value = u.ID
		default:
			value = string(u.Subject.Attributes[m.attribute(p.column)].AppendText(nil))
		}
		if !plain(value) {
			return "", false
		}
		b.WriteString(value)
	}
	return b.String(), m.nameable([]byte(b.String()))
}

// NamesAttributes says whether some users' channels are named by attributes, so
// that one may come to be its user's own while somebody listens.
func (m *Mapper) NamesAttributes() bool {
	return slices.ContainsFunc(m.templates, func(t template) bool {
		return slices.ContainsFunc(t.parts, func(p part) bool { return m.attribute(p.column) >= 0 })
	})
}

func (m *Mapper) attribute(name string) int {
	for i := range m.attributes {
		if m.attributes[i].Name == name {
			return i
		}
	}
	return -1
}

// UserOf says by which template a channel is a user's own, and whose. Of a
// template with attributes it is that only if Channel gives the same name for
// the user. Of a tenant of whom no table is known, there are no users. It may
// be called by several goroutines at once.
func (m *Mapper) UserOf(channel string) (number int, key UserKey, ok bool) {
	for i := range m.templates {
		tenant, id, ok := m.templates[i].makes(channel)
		if !ok {
			continue
		}
		switch m.agreed.of(usersTopic(tenant)) {
		case integerKey:
			if !wholeNumber(id) {
				continue
			}
		case textKey:
			id = string(harmonic.AppendString(nil, id))
		default:
			continue
		}
		return i, UserKey(append(appendTenant(nil, tenant), id...)), true
	}
	return 0, "", false
}

// KeysKnown is greater than it was if UserOf may say of a channel that it is a
// user's and did not before: a table of a tenant was met first.
func (m *Mapper) KeysKnown() int { return m.agreed.size() }

// wholeNumber says whether a text is an integer as JSON and databases write it.
func wholeNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	for _, b := range []byte(digits) {
		if b < '0' || b > '9' {
			return false
		}
	}
	return digits != "" && (digits[0] != '0' || s == "0") && len(digits) <= len("18446744073709551615")
}
