package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// journal is what happened since the last pause but one, for reports.
type journal struct{ entries []entry }

// entry is a transaction, a message, or something else that happened.
type entry struct {
	point   int
	tx      *transaction
	channel subject
	message *message
	text    string
}

func (j *journal) transaction(tx *transaction) {
	j.entries = append(j.entries, entry{point: tx.point, tx: tx})
}

func (j *journal) message(point int, channel subject, m *message) {
	j.entries = append(j.entries, entry{point: point, channel: channel, message: m})
}

func (j *journal) note(point int, text string) {
	j.entries = append(j.entries, entry{point: point, text: text})
}

// forget drops what was before a point.
func (j *journal) forget(point int) {
	j.entries = slices.DeleteFunc(j.entries, func(e entry) bool { return e.point < point })
}

// reported is how many of the last transactions a report shows whole.
const reported = 6

// about tells what happened that can concern a row, or the user of a channel.
func (j *journal) about(w *World, s subject, r record) string {
	last := 0
	for _, e := range j.entries {
		last = max(last, e.point)
	}
	var b strings.Builder
	for _, e := range j.entries {
		switch {
		case e.tx != nil:
			statements := e.tx.statements
			if e.point <= last-reported || e.point == 0 {
				statements = e.tx.concerning(w, s, r)
			}
			if len(statements) > 0 {
				fmt.Fprintf(&b, "point %d, transaction %d:\n  %s\n", e.point, e.tx.number, strings.Join(statements, ";\n  "))
			}
		case e.message != nil && e.channel == s && e.message.record == r:
			fmt.Fprintf(&b, "  came (after point %d): position %d: %s\n", e.point, e.message.id.Seq(), e.message.text)
		case strings.HasPrefix(e.text, s+" "), e.text != "" && !strings.HasPrefix(e.text, "private-"):
			fmt.Fprintf(&b, "  (after point %d) %s\n", e.point, e.text)
		}
	}
	return b.String()
}

// concerning are the statements that can have written the row or a parent of
// it, or one that names the user.
func (tx *transaction) concerning(w *World, s subject, r record) []string {
	user := ""
	for _, p := range w.People {
		if strings.HasSuffix(s, ".user."+p.text) {
			user = p.SQL()
		}
	}
	table := w.table(s, r.table)
	keys, bulk := tx.touched[table]
	bulk = bulk && (keys == nil || tx.several[table])
	var parents []*Table
	if table != nil {
		parents = table.parents()
	}
	key := ""
	if k := keys[r.key]; k != nil {
		key = k[len(k)-1].SQL()
	}
	var list []string
	for _, statement := range tx.statements {
		words := strings.FieldsFunc(statement, func(c rune) bool { return strings.ContainsRune(" ,()", c) })
		named := func(word string) bool { return word != "" && slices.Contains(words, word) }
		wrote := table != nil && slices.Contains(words, table.sql()) && (named(key) || bulk)
		about := named(user) && slices.ContainsFunc(w.Tables, func(t *Table) bool {
			return (t == t.tenant.Users || t.Rule == nil) && slices.Contains(words, t.sql())
		})
		moved := slices.ContainsFunc(parents, func(t *Table) bool { return slices.Contains(words, t.sql()) })
		if wrote || about || moved {
			list = append(list, statement)
		}
	}
	return list
}

// report is a verdict with all that is needed to understand it.
func (r *Run) report(s subject, about record, verdict string) error {
	return fmt.Errorf("%s\n\nWhat chorusd says of it now:\n%s\nWhat %s was entitled to of %s %s:\n%s\nWhat happened:\n%s\nThe schema:\n%s\n\nThe mapping:\n%s",
		verdict, r.explain(s, about), s, about.table, about.key, r.history.story(s, about), r.log.about(r.World, s, about),
		strings.Join(r.World.Schema(), ";\n"), r.World.TOML())
}

// explain is what chorusd says of a record and the user of a channel.
func (r *Run) explain(s subject, about record) string {
	if _, ok := r.history.persons[s]; !ok || about.table == "" {
		return ""
	}
	table := about.table
	for _, tenant := range r.World.Tenants {
		if tenant.Name != "" && strings.Contains(s, "."+tenant.Name+".") {
			table = about.table + "@" + strings.Trim(tenant.database, "`")
			break
		}
	}
	return r.daemon.Explain(table, about.key, s[strings.LastIndex(s, ".")+1:])
}
