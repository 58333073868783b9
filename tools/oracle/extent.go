package oracle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// extent is which views of a table are looked at: those of its rows with the
// keys and those of the users, each of them all with nil.
type extent struct {
	keys  map[string]Key
	users map[string]Value
}

// everything is all views of a table.
var everything = extent{}

// asked says which views are part of an extent.
func (h *history) asked(t *Table, e extent) func(viewed) bool {
	subjects := map[subject]bool{}
	for _, user := range e.users {
		for _, channel := range t.tenant.channelsOf(h.world, user) {
			subjects[channel] = true
		}
	}
	return func(v viewed) bool {
		_, asked := e.keys[v.key]
		return (e.keys == nil || asked) && (e.users == nil || subjects[v.subject])
	}
}

// changed lists what a transaction can have changed of who sees what of t.
// That it leaves nothing out is what history.verify is for.
func (h *history) changed(ctx context.Context, t *Table, tx *transaction, users map[*Table]map[string]Value) ([]extent, error) {
	keys, all := tx.touched[t]
	if all && keys == nil {
		return []extent{everything}, nil
	}
	keys = maps.Clone(keys)
	if keys == nil {
		keys = map[string]Key{}
	}
	of := map[string]Value{}
	for _, other := range h.world.reads(t) {
		touched, wrote := tx.touched[other]
		if !wrote {
			continue
		}
		if touched == nil {
			return []extent{everything}, nil
		}
		maps.Copy(of, users[other])
	}
	for _, query := range t.below(tx) {
		found, err := h.keysOf(ctx, t, query)
		if err != nil {
			return nil, err
		}
		maps.Copy(keys, found)
	}
	var list []extent
	if len(keys) > 0 {
		list = append(list, extent{keys: keys})
	}
	if len(of) > 0 {
		list = append(list, extent{users: of})
	}
	return list, nil
}

// usersIn are the users whom a transaction concerns by rows of tables of users
// and members, as they were or as they are; none of a table of which any row
// may have been written.
func (h *history) usersIn(ctx context.Context, tx *transaction) (map[*Table]map[string]Value, error) {
	users := map[*Table]map[string]Value{}
	for t, column := range h.world.userColumns() {
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
		if err := h.readMembers(ctx, t, column, keys); err != nil {
			return nil, err
		}
		for name := range keys {
			if user, ok := h.members[t][name]; ok {
				of[user.text] = user
			}
		}
	}
	return users, nil
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

// readMembers reads whom rows of a table of members name: those with the keys,
// with nil all.
func (h *history) readMembers(ctx context.Context, t *Table, column *Column, keys map[string]Key) error {
	query := fmt.Sprintf("SELECT t.%s, t.%s FROM %s t", t.Key[0].Name, column.Name, t.sql())
	if keys != nil {
		query += " WHERE " + t.names(keys)
	} else {
		h.members[t] = map[string]Value{}
	}
	rows, err := h.db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		key, user := Value{kind: t.Key[0].Kind, set: true}, Value{kind: column.Kind, set: true}
		var named *string
		if err := rows.Scan(&key.text, &named); err != nil {
			return err
		}
		if named != nil {
			user.text = *named
			h.members[t][Key{key}.JSON()] = user
		}
	}
	return rows.Err()
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
				child := "t"
				if i > 0 {
					child = fmt.Sprintf("p%d", i)
				}
				ways := make([]string, len(named))
				for j, values := range named {
					parts := make([]string, len(values))
					for k, v := range values {
						parts[k] = child + "." + h.Link.From[k].Name + " = " + v.SQL()
					}
					ways[j] = "(" + strings.Join(parts, " AND ") + ")"
				}
				query := fmt.Sprintf("SELECT t.%s FROM %s t%s WHERE %s", strings.Join(names(t.Key), ", t."), t.sql(),
					Path{Hops: e.Path.Hops[:i]}.joins(), strings.Join(ways, " OR "))
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

// keysOf asks for keys of t.
func (h *history) keysOf(ctx context.Context, t *Table, query string) (map[string]Key, error) {
	rows, err := h.db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	defer rows.Close()
	keys := map[string]Key{}
	key := make(Key, len(t.Key))
	into := make([]any, len(key))
	for i := range key {
		into[i] = &key[i].text
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i, c := range t.Key {
			key[i].kind, key[i].set = c.Kind, true
		}
		keys[key.JSON()] = slices.Clone(key)
	}
	return keys, rows.Err()
}
