package oracle

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// extent is which views of a table are looked at: those of its rows with the
// keys and those of the users, each of them all with nil.
type extent struct {
	keys  map[string]Key
	users map[string]Value
}

// everything is all views of a table.
var everything = extent{}

// area is an extent of a table.
type area struct {
	table *Table
	extent
}

// subjects are the channels of the users; nil for all.
func (a area) subjects(w *World) map[subject]bool {
	if a.users == nil {
		return nil
	}
	subjects := map[subject]bool{}
	for _, user := range a.users {
		for _, channel := range a.table.tenant.channelsOf(w, user) {
			subjects[channel] = true
		}
	}
	return subjects
}

// finish has a transaction know the rows that it changed by one statement: they
// have its number.
func (h *history) finish(ctx context.Context, tx *transaction) error {
	var b batch
	for t := range tx.several {
		columns := slices.Clone(t.Key)
		if t.Unique != nil {
			columns = append(columns, t.Unique)
		}
		query := fmt.Sprintf("SELECT %s FROM %s WHERE %s = %d", strings.Join(names(columns), ", "), t.sql(), versionColumn, tx.number)
		askValues(&b, query, columns, func(values []Value) {
			one := &row{key: Key(values[:len(t.Key)])}
			if t.Unique != nil {
				one.unique = values[len(t.Key)]
			}
			tx.touch(t, one)
		})
	}
	return b.run(ctx, h.db)
}

// askValues asks for values of columns that are not NULL; take may keep them.
func askValues(b *batch, query string, columns []*Column, take func([]Value)) {
	b.ask(query, func(rows *sql.Rows) error {
		values, into := make([]Value, len(columns)), make([]any, len(columns))
		for i, c := range columns {
			values[i].kind, values[i].set = c.Kind, true
			into[i] = &values[i].text
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		take(values)
		return nil
	})
}

// changed lists what a transaction can have changed of who sees what. That it
// leaves nothing out is what history.verify is for.
func (h *history) changed(ctx context.Context, tx *transaction) ([]area, error) {
	if err := h.finish(ctx, tx); err != nil {
		return nil, err
	}
	var b batch
	users := h.usersIn(&b, tx)
	keys := map[*Table]map[string]Key{}
	for _, t := range h.ruled {
		keys[t] = maps.Clone(tx.touched[t])
		if keys[t] == nil {
			keys[t] = map[string]Key{}
		}
		for _, query := range t.below(tx) {
			askValues(&b, query, t.Key, func(values []Value) { keys[t][Key(values).JSON()] = values })
		}
	}
	if err := b.run(ctx, h.db); err != nil {
		return nil, err
	}
	var areas []area
	for _, t := range h.ruled {
		if tx.emptied(t) || slices.ContainsFunc(h.world.reads(t), tx.emptied) {
			areas = append(areas, area{t, everything})
			continue
		}
		areas = append(areas, h.areas(t, keys[t], users())...)
	}
	return areas, nil
}

// areas are those of a table's rows with the keys, and of the users whom tables
// that decide about its rows name.
func (h *history) areas(t *Table, keys map[string]Key, users map[*Table]map[string]Value) (list []area) {
	of := map[string]Value{}
	for _, other := range h.world.reads(t) {
		maps.Copy(of, users[other])
	}
	if len(keys) > 0 {
		list = append(list, area{t, extent{keys: keys}})
	}
	if len(of) > 0 {
		list = append(list, area{t, extent{users: of}})
	}
	return list
}

// crossed are the areas about which the clock decides between two times.
func (h *history) crossed(ctx context.Context, from, to time.Time) ([]area, error) {
	var b batch
	keys, users := map[*Table]map[string]Key{}, map[*Table]map[string]Value{}
	for _, t := range h.world.Tables {
		if !t.timed {
			continue
		}
		near := fmt.Sprintf("(t.published_at BETWEEN %[1]s AND %[2]s OR t.expires_at BETWEEN %[1]s AND %[2]s)", timeValue(from).SQL(), timeValue(to).SQL())
		if t.Rule != nil {
			keys[t] = map[string]Key{}
			askValues(&b, fmt.Sprintf("SELECT t.%s FROM %s t WHERE %s", strings.Join(names(t.Key), ", t."), t.sql(), near), t.Key,
				func(values []Value) { keys[t][Key(values).JSON()] = values })
		} else if user := h.columns[t]; user != nil {
			users[t] = map[string]Value{}
			askValues(&b, fmt.Sprintf("SELECT t.%s FROM %s t WHERE t.%[1]s IS NOT NULL AND %[3]s", user.Name, t.sql(), near), []*Column{user},
				func(values []Value) { users[t][values[0].text] = values[0] })
		}
	}
	if err := b.run(ctx, h.db); err != nil {
		return nil, err
	}
	var areas []area
	for _, t := range h.ruled {
		if h.world.isTimed(t) {
			areas = append(areas, h.areas(t, keys[t], users)...)
		}
	}
	return areas, nil
}

// usersIn are the users whom a transaction concerns by rows of tables of users
// and members, as they were or as they are; none of a table of which any row
// may have been written. They are known when the batch was run.
func (h *history) usersIn(b *batch, tx *transaction) func() map[*Table]map[string]Value {
	users := map[*Table]map[string]Value{}
	for t, column := range h.columns {
		keys, wrote := tx.touched[t]
		if !wrote {
			continue
		}
		of := map[string]Value{}
		users[t] = of
		if i := slices.Index(t.Key, column); i >= 0 {
			for _, key := range keys {
				of[key[i].text] = key[i]
			}
			continue
		}
		for name := range keys {
			if user, ok := h.members[t][name]; ok {
				of[user.text] = user
				delete(h.members[t], name)
			}
		}
		h.askMembers(b, t, column, keys)
	}
	return func() map[*Table]map[string]Value {
		for t, of := range users {
			for name := range tx.touched[t] {
				if user, ok := h.members[t][name]; ok {
					of[user.text] = user
				}
			}
		}
		return users
	}
}

// userColumns are the columns that name users, of the tables of users and members.
func (w *World) userColumns() map[*Table]*Column {
	columns := map[*Table]*Column{}
	for _, tenant := range w.Tenants {
		columns[tenant.Users] = tenant.Users.Key[0]
	}
	for _, t := range w.Tables {
		if t.Rule == nil {
			continue
		}
		for _, all := range t.Rule.Any {
			for _, e := range all {
				if e.Kind == ToScope {
					for _, m := range e.Scope.Members {
						columns[m.Table] = m.User
					}
				}
			}
		}
	}
	return columns
}

// askMembers asks whom rows of a table of members name: those with the keys,
// with nil all.
func (h *history) askMembers(b *batch, t *Table, column *Column, keys map[string]Key) {
	query := fmt.Sprintf("SELECT t.%s, t.%s FROM %s t WHERE t.%s IS NOT NULL", t.Key[0].Name, column.Name, t.sql(), column.Name)
	if keys != nil {
		query += " AND (" + t.names(keys) + ")"
	} else {
		h.members[t] = map[string]Value{}
	}
	askValues(b, query, []*Column{t.Key[0], column}, func(values []Value) {
		h.members[t][Key(values[:1]).JSON()] = values[1]
	})
}

// below are the queries for the keys of rows that lead, over parents that a
// transaction left as they were, to one that it wrote.
func (t *Table) below(tx *transaction) []string {
	var queries []string
	for _, all := range t.Rule.Any {
		for _, e := range all {
			for i, h := range e.Path.Hops {
				named := tx.naming(h.Target)
				if len(named) == 0 {
					continue
				}
				from := newJoins(t)
				child := from.through(e.Path.Hops[:i])
				ways := make([]string, len(named))
				for j, values := range named {
					parts := make([]string, len(values))
					for k, v := range values {
						parts[k] = child + "." + h.Link.From[k].Name + " = " + v.SQL()
					}
					ways[j] = "(" + strings.Join(parts, " AND ") + ")"
				}
				query := fmt.Sprintf("SELECT t.%s FROM %s WHERE %s", strings.Join(names(t.Key), ", t."), from.text, strings.Join(ways, " OR "))
				if !slices.Contains(queries, query) {
					queries = append(queries, query)
				}
			}
		}
	}
	return queries
}

// naming are the values by which links name the rows that the transaction has written.
func (tx *transaction) naming(target Target) (list [][]Value) {
	if target.To[0] == target.Table.Unique {
		for _, name := range slices.Sorted(maps.Keys(tx.uniques[target.Table])) {
			list = append(list, []Value{tx.uniques[target.Table][name]})
		}
		return list
	}
	keys := tx.touched[target.Table]
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		list = append(list, keys[name])
	}
	return list
}
