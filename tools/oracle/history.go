package oracle

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/harmonic"
)

// span is a time in which a subject was entitled to a row with this content:
// from one commit until, but without, another one.
type span struct {
	from, to int
	content  string
}

// lasting is the end of a span that has none yet.
const lasting = int(^uint(0) >> 1)

// holdings are the spans that have not ended, by rows' keys and subjects.
type holdings map[string]map[subject]*span

func (h holdings) of(v viewed) *span { return h[v.key][v.subject] }

func (h holdings) put(v viewed, s *span) {
	if h[v.key] == nil {
		h[v.key] = map[subject]*span{}
	}
	h[v.key][v.subject] = s
}

func (h holdings) drop(v viewed) {
	delete(h[v.key], v.subject)
	if len(h[v.key]) == 0 {
		delete(h, v.key)
	}
}

// all gives all of them, and in those of an extent's keys and of the subjects,
// which are all with nil.
func (h holdings) all() iter.Seq2[viewed, *span] { return h.in(everything, nil) }

func (h holdings) in(e extent, subjects map[subject]bool) iter.Seq2[viewed, *span] {
	return func(yield func(viewed, *span) bool) {
		row := func(key string) bool {
			for subject := range subjects {
				if s := h[key][subject]; s != nil && !yield(viewed{subject, key}, s) {
					return false
				}
			}
			if subjects != nil {
				return true
			}
			for subject, s := range h[key] {
				if !yield(viewed{subject, key}, s) {
					return false
				}
			}
			return true
		}
		if e.keys == nil {
			for key := range h {
				if !row(key) {
					return
				}
			}
			return
		}
		for key := range e.keys {
			if !row(key) {
				return
			}
		}
	}
}

// history knows who was entitled to what, after each commit.
type history struct {
	world *World
	db    *sql.DB
	// ruled are the tables with rows for clients, columns those of tables of
	// users and members that name users, and persons whose channels are users'.
	ruled   []*Table
	columns map[*Table]*Column
	persons map[subject]Value
	// point is how many transactions were committed.
	point int
	now   map[*Table]holdings
	past  map[*Table]map[viewed][]*span
	// unsure are rows about which the clock is just deciding, and ticked is when
	// all of those were looked at last.
	unsure map[*Table]map[viewed]bool
	ticked time.Time
	// lost is up to which point somebody was last entitled to a row that he is
	// entitled to no more.
	lost map[*Table]map[viewed]int
	// members are the users whom rows of tables of members name, where the
	// key does not tell.
	members map[*Table]map[string]Value
	// told are the positions at which transactions came, by the point after
	// them, as far as that is known.
	told []harmonic.Seq
}

// newHistory begins with what is there now. The database takes several
// statements at once.
func newHistory(ctx context.Context, w *World, db *sql.DB) (*history, error) {
	h := &history{
		world: w, db: db, columns: w.userColumns(), persons: map[subject]Value{}, now: map[*Table]holdings{}, past: map[*Table]map[viewed][]*span{},
		unsure: map[*Table]map[viewed]bool{}, ticked: time.Now(), lost: map[*Table]map[viewed]int{}, members: map[*Table]map[string]Value{}, told: []harmonic.Seq{0},
	}
	var b batch
	for t, column := range h.columns {
		if !slices.Contains(t.Key, column) {
			h.askMembers(&b, t, column, nil)
		}
	}
	if err := b.run(ctx, db); err != nil {
		return nil, err
	}
	for _, tenant := range w.Tenants {
		for _, person := range w.People {
			for _, channel := range tenant.channelsOf(w, person) {
				h.persons[channel] = person
			}
		}
	}
	var areas []area
	for _, t := range w.Tables {
		if t.Rule != nil {
			h.ruled = append(h.ruled, t)
			h.now[t], h.past[t], h.unsure[t], h.lost[t] = holdings{}, map[viewed][]*span{}, map[viewed]bool{}, map[viewed]int{}
			areas = append(areas, area{t, everything})
		}
	}
	return h, h.look(ctx, areas, 0)
}

// committed takes a transaction that was committed after all before it: what
// it can have changed is looked at.
func (h *history) committed(ctx context.Context, tx *transaction) error {
	h.point++
	h.told = append(h.told, 0)
	areas, err := h.changed(ctx, tx)
	if err != nil {
		return err
	}
	return h.look(ctx, areas, h.point)
}

// clockError is how far from the time chorusd may judge: its clock follows
// that of the log, which on MariaDB has whole seconds.
const clockError = 3 * time.Second

// look asks what there is to see now, and notes what is not as it was, and
// ended at a point. Where the clock decides, whoever may see a row at some time
// around now is entitled to it.
func (h *history) look(ctx context.Context, areas []area, end int) error {
	now := time.Now()
	before, after := now.Add(-clockError), now.Add(clockError)
	var b batch
	possible, unsure := make([]view, len(areas)), make([]map[viewed]bool, len(areas))
	for i, a := range areas {
		possible[i], unsure[i] = h.world.askAround(&b, a, before, after)
	}
	if err := b.run(ctx, h.db); err != nil {
		return err
	}
	for i, a := range areas {
		subjects := a.subjects(h.world)
		h.note(a, subjects, possible[i], end)
		maps.DeleteFunc(h.unsure[a.table], func(v viewed, _ bool) bool {
			_, asked := a.keys[v.key]
			return (a.keys == nil || asked) && (subjects == nil || subjects[v.subject])
		})
		maps.Copy(h.unsure[a.table], unsure[i])
	}
	return nil
}

// note notes what there is to see of an area; what there was has ended at a point.
func (h *history) note(a area, subjects map[subject]bool, seen view, end int) {
	now := h.now[a.table]
	for v, s := range now.in(a.extent, subjects) {
		if content, ok := seen[v]; !ok || content != s.content {
			s.to = end
			h.past[a.table][v] = append(h.past[a.table][v], s)
			h.lost[a.table][v] = end
			now.drop(v)
		}
	}
	for v, content := range seen {
		if now.of(v) == nil {
			now.put(v, &span{h.point, lasting, content})
		}
	}
}

// tick looks at what the clock has decided since it was last called.
func (h *history) tick(ctx context.Context) error {
	from := h.ticked.Add(-clockError)
	h.ticked = time.Now()
	areas, err := h.crossed(ctx, from, h.ticked.Add(clockError))
	if err != nil {
		return err
	}
	return h.look(ctx, areas, h.point+1) // at this point there was a time at which it was so
}

// verify compares what is known with what the whole database gives, which
// finds mistakes of the oracle itself: it says which, or nothing, and of whom
// and what.
func (h *history) verify(ctx context.Context) (mistake string, s subject, about record, err error) {
	var b batch
	now := time.Now()
	views := map[*Table]view{}
	for _, t := range h.ruled {
		if !h.world.isTimed(t) { // else it has moved on
			views[t] = h.world.ask(&b, area{t, everything}, now)
		}
	}
	if err := b.run(ctx, h.db); err != nil {
		return "", "", record{}, err
	}
	for t, seen := range views {
		for v, s := range h.now[t].all() {
			if seen[v] != s.content {
				mistake = fmt.Sprintf("the oracle is wrong: it has not noticed that %s of %s is %q, not %q, for %s", v.key, t.Name, seen[v], s.content, v.subject)
				return mistake, v.subject, record{t.Name, v.key}, nil
			}
		}
		for v, content := range seen {
			if h.now[t].of(v) == nil {
				mistake = fmt.Sprintf("the oracle is wrong: it has not noticed that %s sees %s of %s: %q", v.subject, v.key, t.Name, content)
				return mistake, v.subject, record{t.Name, v.key}, nil
			}
		}
	}
	return "", "", record{}, nil
}

// load reads the rows that a subject may see, as an app would.
func (h *history) load(ctx context.Context, s subject) (map[record]string, error) {
	of := everything
	if person, ok := h.persons[s]; ok {
		of.users = map[string]Value{person.text: person}
	}
	rows := map[record]string{}
	var b batch
	now := time.Now()
	timed := map[*Table]view{}
	for _, t := range h.ruled {
		if h.world.isTimed(t) {
			timed[t] = h.world.ask(&b, area{t, of}, now)
			continue
		}
		for v, span := range h.now[t].in(everything, map[subject]bool{s: true}) {
			rows[record{t.Name, v.key}] = span.content
		}
	}
	if err := b.run(ctx, h.db); err != nil {
		return nil, err
	}
	for t, seen := range timed {
		for v, content := range seen {
			if v.subject == s {
				rows[record{t.Name, v.key}] = content
			}
		}
	}
	return rows, nil
}

// wanted is a row that somebody should have.
type wanted struct {
	content string
	sure    bool // or else may have
}

// rows are those that a subject should have now.
func (h *history) rows(s subject) map[record]wanted {
	rows := map[record]wanted{}
	for _, t := range h.ruled {
		for v, span := range h.now[t].in(everything, map[subject]bool{s: true}) {
			rows[record{t.Name, v.key}] = wanted{span.content, !h.unsure[t][v]}
		}
	}
	return rows
}

// tell notes at which position a transaction came, by its point.
func (h *history) tell(point int, seq harmonic.Seq) {
	if h.told[point] == 0 || seq < h.told[point] {
		h.told[point] = seq
	}
}

// pointOf is a point that is not after the one that a position speaks of.
func (h *history) pointOf(seq harmonic.Seq) int {
	for point := len(h.told) - 1; point > 0; point-- {
		if h.told[point] != 0 && h.told[point] <= seq {
			return point
		}
	}
	return 0
}

// unknown is the point from which on somebody may know of rows, if that cannot
// be said.
const unknown = -1

// unfounded says whether a delete takes a row by its key alone from a subject
// that was never entitled to it since a point.
func (h *history) unfounded(s subject, m *message, since int) bool {
	t := h.world.table(s, m.table)
	if m.operation != harmonic.Delete || since == unknown || t == nil || t.Rule == nil || !t.isKey(m.fields) {
		return false
	}
	v := viewed{s, m.key}
	lost, ever := h.lost[t][v]
	return h.now[t].of(v) == nil && (!ever || lost < since)
}

// judge says what is wrong with a message to a subject, "" if nothing is, as
// far as it says more than a key.
func (h *history) judge(s subject, m *message) string {
	t := h.world.table(s, m.table)
	if t == nil || t.Rule == nil {
		return "there is no such table for clients"
	}
	if m.operation == harmonic.Delete && t.isKey(m.fields) {
		return ""
	}
	v := viewed{s, m.key}
	spans := h.past[t][v]
	if now := h.now[t].of(v); now != nil {
		spans = append(slices.Clip(spans), now)
	}
	point := h.pointOf(m.id.Seq())
	known := false
	for _, span := range spans {
		if span.content != m.content {
			continue
		}
		// What a delete says is how the row was before.
		if span.to > point || m.operation == harmonic.Delete && span.to == point {
			return ""
		}
		known = true
	}
	switch {
	case known:
		return fmt.Sprintf("it was entitled to that, but no longer at point %d, which the message is of, or later", point)
	case len(spans) == 0:
		return "it was never entitled to that row"
	default:
		return "it was entitled to the row, but never with that content"
	}
}

// isKey says whether fields are the key's columns alone.
func (t *Table) isKey(fields map[string]string) bool {
	for name := range fields {
		if !slices.ContainsFunc(t.Key, func(c *Column) bool { return c.Name == name }) {
			return false
		}
	}
	return true
}

// forget drops what no message can be of any more: all that ended before a point.
func (h *history) forget(point int) {
	for _, past := range h.past {
		for v, spans := range past {
			if past[v] = slices.DeleteFunc(spans, func(s *span) bool { return s.to < point }); len(past[v]) == 0 {
				delete(past, v)
			}
		}
	}
}

// story tells all that is known of a row for a subject.
func (h *history) story(s subject, r record) string {
	t := h.world.table(s, r.table)
	if t == nil || t.Rule == nil {
		return ""
	}
	v := viewed{s, r.key}
	spans := h.past[t][v]
	if now := h.now[t].of(v); now != nil {
		spans = append(slices.Clip(spans), now)
	}
	var b strings.Builder
	for _, span := range spans {
		until := "now"
		if span.to != lasting {
			until = fmt.Sprint(span.to)
		}
		fmt.Fprintf(&b, "  from point %d until %s: %s\n", span.from, until, span.content)
	}
	return b.String()
}

// subjects are all channels that somebody can listen on now.
func (h *history) subjects() []subject {
	set := map[subject]bool{}
	for _, s := range h.world.userChannels() {
		set[s] = true
	}
	for _, spans := range h.now {
		for v := range spans.all() {
			set[v.subject] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}
