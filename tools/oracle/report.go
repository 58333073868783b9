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

// reported is how many of the last transactions a report shows whatever they
// wrote.
const reported = 8

// about tells what happened that can concern a row, or the user of a channel.
func (j *journal) about(w *World, s subject, r record) string {
	last := 0
	for _, e := range j.entries {
		last = max(last, e.point)
	}
	var b strings.Builder
	for _, e := range j.entries {
		switch {
		case e.tx != nil && (e.point > last-reported || e.tx.concerns(w, s, r)):
			fmt.Fprintf(&b, "point %d, transaction %d:\n  %s\n", e.point, e.tx.number, strings.Join(e.tx.statements, ";\n  "))
		case e.message != nil && e.channel == s && e.message.record == r:
			fmt.Fprintf(&b, "  came (after point %d): position %d: %s\n", e.point, e.message.id.Seq(), e.message.text)
		case e.text != "" && (strings.HasPrefix(e.text, s) || !strings.HasPrefix(e.text, "private-")):
			fmt.Fprintf(&b, "  (after point %d) %s\n", e.point, e.text)
		}
	}
	return b.String()
}

// concerns says whether the transaction wrote the row, or a row that names
// the user.
func (tx *transaction) concerns(w *World, s subject, r record) bool {
	for t, keys := range tx.touched {
		if _, ok := keys[r.key]; t.Name == r.table && (ok || keys == nil) {
			return true
		}
	}
	for _, p := range w.People {
		if userChannel(p.text) != s {
			continue
		}
		for t := range tx.touched {
			if t != w.Users && t.Rule != nil {
				continue
			}
			if slices.ContainsFunc(tx.statements, func(sql string) bool { return strings.Contains(sql, p.SQL()) }) {
				return true
			}
		}
	}
	return false
}

// report is a verdict with all that is needed to understand it.
func (r *Run) report(s subject, about record, verdict string) error {
	return fmt.Errorf("%s\n\nWhat %s was entitled to of %s %s:\n%s\nWhat happened:\n%s\nThe schema:\n%s\n\nThe mapping:\n%s",
		verdict, s, about.table, about.key, r.history.story(s, about), r.log.about(r.World, s, about),
		strings.Join(r.World.Schema(), ";\n"), r.World.TOML())
}
