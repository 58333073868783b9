package oracle

import (
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

// ask asks what may be seen of an area at a time. The view is filled when the
// batch is run.
func (w *World) ask(b *batch, a area, now time.Time) view {
	v := view{}
	w.askBetween(b, a, v, nil, now, now)
	return v
}

// askAround asks what may be seen at some time between two, and what of it not
// at each.
func (w *World) askAround(b *batch, a area, from, to time.Time) (possible view, unsure map[viewed]bool) {
	possible, unsure = view{}, map[viewed]bool{}
	w.askBetween(b, a, possible, unsure, from, to)
	return possible, unsure
}

func (w *World) askBetween(b *batch, a area, v view, unsure map[viewed]bool, from, to time.Time) {
	first, last := timeValue(from).SQL(), timeValue(to).SQL()
	for _, q := range w.queriesOf(a.table) {
		if a.users != nil && !q.users {
			continue
		}
		text := q.text
		if w.isTimed(a.table) {
			text = strings.NewReplacer("@late", last, "@early", first, "@surelyLate", first, "@surelyEarly", last).Replace(text)
		}
		if a.keys != nil {
			text += " AND (" + a.table.names(a.keys) + ")"
		}
		if a.users != nil {
			text += " AND s.id IN (" + literals(a.users) + ")"
		}
		b.ask(text, v.reader(a.table, unsure))
	}
}

// question is SQL that asks for views of a table, up to the end of its
// conditions. In it t is a row, joined with the parents that it leads to, of
// which there is one at most, or with NULL. The tables are read in this order:
// a server would take longer to find a better one.
type question struct {
	text  string
	users bool // of users, s, and not of shared channels
}

// queriesOf are the questions about all views of a table. Each gives a channel,
// the value of each field, for each field whether it may be seen, and whether
// the row may be seen whatever the time is between the two.
func (w *World) queriesOf(t *Table) []question {
	if t.questions == nil {
		t.questions = w.newQuestions(t)
	}
	return t.questions
}

func (w *World) newQuestions(t *Table) (questions []question) {
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
	surely := strings.NewReplacer("@late", "@surelyLate", "@early", "@surelyEarly")
	add := func(channel string, from *joins, condition string, users bool) {
		if t.Rule.Where != nil {
			condition = "(" + t.Rule.Where.SQL + ") AND " + condition
		}
		sure := "1"
		if w.isTimed(t) {
			sure = "COALESCE(" + surely.Replace(condition) + ", 0)"
		}
		questions = append(questions, question{
			fmt.Sprintf("SELECT STRAIGHT_JOIN %s, %s, %s FROM %s WHERE %s", channel, strings.Join(values, ", "), sure, from.text, condition), users,
		})
	}
	var alternatives []string
	rows := newJoins(t)
	for _, all := range t.Rule.Any {
		if e := all[0]; e.Kind == ToChannel {
			from := newJoins(t)
			key := from.end(e.Path)
			add(fmt.Sprintf("CONCAT('private-%s.', %s)", t.tenant.in(e.Channel), key), from, key+" IS NOT NULL", false)
			continue
		}
		parts := make([]string, len(all))
		for i, e := range all {
			parts[i] = e.sql(rows)
		}
		alternatives = append(alternatives, "("+strings.Join(parts, " AND ")+")")
	}
	if len(alternatives) > 0 {
		channel, join := "CONCAT("+quoted(t.tenant.userChannel("", ""))+", s.id)", "LEFT JOIN"
		if w.prefixed { // without one there is no channel
			channel, join = fmt.Sprintf("CONCAT(%s, u.prefix, '.user.', s.id)", quoted(t.tenant.head())), "JOIN"
		}
		rows.text += fmt.Sprintf(" JOIN people s %s %s u ON u.id = s.id", join, t.tenant.Users.sql())
		add(channel, rows, "("+strings.Join(alternatives, " OR ")+")", true)
	}
	return questions
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
	if len(keys) == 0 {
		return "FALSE"
	}
	parts := make([]string, 0, len(keys))
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if len(t.Key) == 1 {
			parts = append(parts, keys[name][0].SQL())
		} else {
			parts = append(parts, "("+t.where("t.", keys[name])+")")
		}
	}
	if len(t.Key) == 1 {
		return "t." + t.Key[0].Name + " IN (" + strings.Join(parts, ", ") + ")"
	}
	return strings.Join(parts, " OR ")
}

// reader takes rows of the answers to questions.
func (v view) reader(t *Table, unsure map[viewed]bool) func(*sql.Rows) error {
	n := len(t.Rule.Fields)
	var channel string
	var sure bool
	texts := make([]sql.NullString, 2*n)
	into := []any{&channel}
	for i := range texts {
		into = append(into, &texts[i])
	}
	into = append(into, &sure)
	return func(rows *sql.Rows) error {
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
		seen := viewed{channel, key.JSON()}
		v[seen] = content(fields)
		if !sure && unsure != nil {
			unsure[seen] = true
		}
		return nil
	}
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
func (e Entry) sql(from *joins) string {
	if e.Kind == ToPublic {
		return "TRUE"
	}
	end := from.end(e.Path)
	if e.Kind == ToUser {
		// Not a bare equality: of two, MySQL 9.7 concludes that the columns are
		// equal, also of a parent that is not there (the row then has NULL).
		return "(" + end + " = s.id) IS TRUE"
	}
	var ways []string
	for _, m := range e.Scope.Members {
		way := fmt.Sprintf("EXISTS (SELECT 1 FROM %s m WHERE m.%s = s.id AND m.%s = %s", m.Table.sql(), m.User.Name, m.Scope.Name, end)
		if m.Where != nil {
			way += " AND (" + m.Where.SQL + ")"
		}
		ways = append(ways, way+")")
	}
	return "(" + strings.Join(ways, " OR ") + ")"
}

// joins is a row t with the parents that it leads to.
type joins struct {
	text    string
	aliases map[string]string // of what is joined, by how
}

func newJoins(t *Table) *joins { return &joins{t.sql() + " t", map[string]string{}} }

// end is the column that a path leads to; NULL if it leads nowhere.
func (j *joins) end(p Path) string { return j.through(p.Hops) + "." + p.Column.Name }

// through joins the parents of a path, and returns what the last is called.
func (j *joins) through(hops []Hop) string {
	child := "t"
	for _, h := range hops {
		join := func(parent string) string {
			var on []string
			for i, from := range h.Link.From {
				on = append(on, fmt.Sprintf("%s.%s = %s.%s", parent, h.Target.To[i].Name, child, from.Name))
			}
			if h.Link.Type != nil {
				on = append(on, fmt.Sprintf("%s.%s = %s", child, h.Link.Type.Name, quoted(h.Target.Type)))
			}
			return fmt.Sprintf(" LEFT JOIN %s %s ON %s", h.Target.Table.sql(), parent, strings.Join(on, " AND "))
		}
		how := join("")
		alias, joined := j.aliases[how]
		if !joined {
			alias = fmt.Sprintf("p%d", len(j.aliases)+1)
			j.aliases[how] = alias
			j.text += join(alias)
		}
		child = alias
	}
	return child
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
	if w.prefixed || t.Rule.asksForUsers() {
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
