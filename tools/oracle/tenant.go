package oracle

import "strings"

// Tenant has a database of its own. There is one without a name where a world
// has none.
type Tenant struct {
	Name     string
	Users    *Table
	database string
}

// tenantMark stands for the tenant in what chorusd reads.
const tenantMark = "{@tenant}."

// prefixes are those of users' channels.
var prefixes = []Value{text("eu"), text("us")}

// with is the world with another tenant that was made like its own.
func (w *World) with(other *World) *World {
	if w == nil {
		return other
	}
	w.Tables, w.Tenants = append(w.Tables, other.Tables...), append(w.Tenants, other.Tenants...)
	return w
}

// Place says in which database the world is; those of tenants are named after it.
func (w *World) Place(database string) {
	w.database = database
	for _, tenant := range w.Tenants {
		if tenant.Name != "" {
			tenant.database = "`" + database + "_t_" + tenant.Name + "`"
		}
	}
}

// Databases are those of tenants, quoted; none without.
func (w *World) Databases() (list []string) {
	for _, tenant := range w.Tenants {
		if tenant.database != "" {
			list = append(list, tenant.database)
		}
	}
	return list
}

// sql is the table's name in a statement.
func (t *Table) sql() string {
	if t.tenant.database == "" {
		return t.Name
	}
	return t.tenant.database + "." + t.Name
}

// source is the table's name in the TOML, which means that of each tenant.
func (w *World) source(t *Table) string {
	if t.tenant.Name == "" {
		return t.Name
	}
	return w.database + "_t_%." + t.Name
}

// userTemplate is how the TOML names users' channels.
func (w *World) userTemplate() string {
	template := w.Tenants[0].mark("chorus.")
	if w.prefixed {
		template += "{prefix}."
	}
	return template + "user.{id}"
}

// userChannels are all that a user can have, of whatever prefix.
func (w *World) userChannels() (list []subject) {
	for _, tenant := range w.Tenants {
		for _, person := range w.People {
			list = append(list, tenant.channelsOf(w, person)...)
		}
	}
	return list
}

// channelsOf are all that one of the tenant's users can have.
func (t *Tenant) channelsOf(w *World, person Value) []subject {
	if !w.prefixed {
		return []subject{t.userChannel("", person.text)}
	}
	list := make([]subject, len(prefixes))
	for i, p := range prefixes {
		list[i] = t.userChannel(p.text, person.text)
	}
	return list
}

// mark puts what stands for the tenant behind the head of a channel's name.
func (t *Tenant) mark(head string) string {
	if t.Name == "" {
		return head
	}
	return head + tenantMark
}

// in is a channel's name of the tenant.
func (t *Tenant) in(channel string) string {
	return strings.ReplaceAll(channel, tenantMark, t.Name+".")
}

// head is what the channels of the tenant's users start with.
func (t *Tenant) head() string { return "private-" + t.in(t.mark("chorus.")) }

// userChannel is the channel of a user by its prefix, if it has one.
func (t *Tenant) userChannel(prefix, key string) subject {
	if prefix != "" {
		prefix += "."
	}
	return t.head() + prefix + "user." + key
}

// owns says whether a channel is one of the tenant's.
func (t *Tenant) owns(s subject) bool {
	return strings.HasPrefix(s, t.head()) || strings.HasPrefix(s, "private-"+t.in(t.mark("shared.")))
}

// table is the one that a client on a channel knows by a name; nil if there is
// none.
func (w *World) table(s subject, name string) *Table {
	for _, t := range w.Tables {
		if t.Name == name && t.tenant.owns(s) {
			return t
		}
	}
	return nil
}
