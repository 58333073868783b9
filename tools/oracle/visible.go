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

// subject is who gets events: a channel, of a user or shared.
type subject = string

// view is what each subject may see of a table at one moment: the content of
// the row by the subject and the row's key.
type view map[viewed]string

// viewed names a row of a table as one subject sees it.
type viewed struct {
	subject subject
	key     string
}

// see asks the database what may be seen of t, as far as e goes: what has begun
// at one time and has not ended at another.
func (w *World) see(ctx context.Context, db *sql.DB, t *Table, e extent, late, early time.Time) (view, error) {
	v := view{}
	times := strings.NewReplacer("@late", timeValue(late).SQL(), "@early", timeValue(early).SQL())
	for _, query := range w.queries(t, e) {
		query = times.Replace(query)
		if err := v.read(ctx, db, t, query); err != nil {
			return nil, fmt.Errorf("ask the oracle: %w\n%s", err, query)
		}
	}
	return v, nil
}

// queries are the SQL of see. Each gives a channel, the value of each field,
// and for each field whether it may be seen.
func (w *World) queries(t *Table, asked extent) []string {
	var values []string
	for _, f := range t.Rule.Fields {
		values = append(values, f.sql())
	}
	for _, f := range t.Rule.Fields {
		if f.VisibleIf == nil {
			values = append(values, "1")
		} else {
			values = append(values, "COALESCE("+f.VisibleIf.SQL+", 0)")
		}
	}
	conditions := []string{}
	if t.Rule.Where != nil {
		conditions = append(conditions, "("+t.Rule.Where.SQL+")")
	}
	if asked.keys != nil {
		conditions = append(conditions, "("+t.names(asked.keys)+")")
	}
	query := func(channel, from, condition string) string {
		return fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s", channel, strings.Join(values, ", "), from,
			strings.Join(append(slices.Clone(conditions), condition), " AND "))
	}
	var queries, alternatives []string
	for _, all := range t.Rule.Any {
		if e := all[0]; e.Kind == ToChannel {
			if asked.users != nil {
				continue
			}
			from := t.sql() + " t" + e.Path.joins()
			channel := fmt.Sprintf("CONCAT('private-%s.', %s)", t.tenant.in(e.Channel), e.Path.end())
			queries = append(queries, query(channel, from, e.Path.end()+" IS NOT NULL"))
			continue
		}
		parts := make([]string, len(all))
		for i, e := range all {
			parts[i] = e.sql()
		}
		alternatives = append(alternatives, "("+strings.Join(parts, " AND ")+")")
	}
	if len(alternatives) > 0 {
		channel, join := "CONCAT("+quoted(t.tenant.userChannel("", ""))+", s.id)", "LEFT JOIN"
		if w.prefixed { // without one there is no channel
			channel, join = fmt.Sprintf("CONCAT(%s, u.prefix, '.user.', s.id)", quoted(t.tenant.head())), "JOIN"
		}
		from := fmt.Sprintf("people s %s %s u ON u.id = s.id CROSS JOIN %s t", join, t.tenant.Users.sql(), t.sql())
		condition := "(" + strings.Join(alternatives, " OR ") + ")"
		if asked.users != nil {
			condition += " AND s.id IN (" + literals(asked.users) + ")"
		}
		queries = append(queries, query(channel, from, condition))
	}
	return queries
}

// literals are values as a list in SQL.
func literals(values map[string]Value) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, values[name].SQL())
	}
	return strings.Join(list, ", ")
}

// names is the condition for rows t with the keys.
func (t *Table) names(keys map[string]Key) string {
	parts := []string{"FALSE"}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		parts = append(parts, "("+t.where("t.", keys[name])+")")
	}
	return strings.Join(parts, " OR ")
}

func (v view) read(ctx context.Context, db *sql.DB, t *Table, query string) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	n := len(t.Rule.Fields)
	var channel string
	texts := make([]sql.NullString, 2*n)
	into := []any{&channel}
	for i := range texts {
		into = append(into, &texts[i])
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		fields := map[string]string{}
		values := map[*Column]Value{}
		for i, f := range t.Rule.Fields {
			value := Value{f.Kind, texts[i].String, texts[i].Valid}
			if f.Column != nil {
				values[f.Column] = value
			}
			if texts[n+i].String != "0" {
				fields[f.Name] = value.JSON()
			}
		}
		key := Key{}
		for _, c := range t.Key {
			key = append(key, values[c])
		}
		v[viewed{channel, key.JSON()}] = content(fields)
	}
	return rows.Err()
}

// sql is the field's value.
func (f *Field) sql() string {
	switch {
	case f.Column == nil:
		return f.Value.SQL
	case f.Mask == nil:
		return "t." + f.Column.Name
	case f.Mask.Unmasked == nil:
		return f.Mask.SQL
	default:
		return fmt.Sprintf("CASE WHEN %s THEN t.%s ELSE %s END", f.Mask.Unmasked.SQL, f.Column.Name, f.Mask.SQL)
	}
}

// sql says whether user s may see row t by the entry.
func (e Entry) sql() string {
	if e.Kind == ToPublic {
		return "TRUE"
	}
	condition := e.Path.end() + " = s.id"
	if e.Kind == ToScope {
		var ways []string
		for _, m := range e.Scope.Members {
			way := fmt.Sprintf("EXISTS (SELECT 1 FROM %s m WHERE m.%s = s.id AND m.%s = %s", m.Table.sql(), m.User.Name, m.Scope.Name, e.Path.end())
			if m.Where != nil {
				way += " AND (" + m.Where.SQL + ")"
			}
			ways = append(ways, way+")")
		}
		condition = "(" + strings.Join(ways, " OR ") + ")"
	}
	if len(e.Path.Hops) == 0 {
		return condition
	}
	return fmt.Sprintf("EXISTS (SELECT 1 FROM (SELECT 1) here%s WHERE %s)", e.Path.joins(), condition)
}

// joins joins the parents p1, p2 and so on to the row t.
func (p Path) joins() string {
	text, child := "", "t"
	for i, h := range p.Hops {
		parent := fmt.Sprintf("p%d", i+1)
		var on []string
		for j, from := range h.Link.From {
			on = append(on, fmt.Sprintf("%s.%s = %s.%s", parent, h.Target.To[j].Name, child, from.Name))
		}
		if h.Link.Type != nil {
			on = append(on, fmt.Sprintf("%s.%s = %s", child, h.Link.Type.Name, quoted(h.Target.Type)))
		}
		text += fmt.Sprintf(" JOIN %s %s ON %s", h.Target.Table.sql(), parent, strings.Join(on, " AND "))
		child = parent
	}
	return text
}

// end is the column that the path leads to.
func (p Path) end() string {
	if len(p.Hops) == 0 {
		return "t." + p.Column.Name
	}
	return fmt.Sprintf("p%d.%s", len(p.Hops), p.Column.Name)
}

// isTimed says whether the clock decides who sees rows of t.
func (w *World) isTimed(t *Table) bool {
	return t.timed || slices.ContainsFunc(w.reads(t), func(other *Table) bool { return other.timed && other.Rule == nil })
}

// reads lists the tables that decide who sees rows of t, and how.
func (w *World) reads(t *Table) []*Table {
	var tables []*Table
	add := func(table *Table) {
		if !slices.Contains(tables, table) {
			tables = append(tables, table)
		}
	}
	if len(w.attributes) > 0 {
		add(t.tenant.Users)
	}
	for _, all := range t.Rule.Any {
		for _, e := range all {
			for _, h := range e.Path.Hops {
				add(h.Target.Table)
			}
			if e.Kind == ToScope {
				for _, m := range e.Scope.Members {
					add(m.Table)
				}
			}
		}
	}
	return tables
}
