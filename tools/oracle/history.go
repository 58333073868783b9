package oracle

import (
	"context"
	"database/sql"
	"fmt"
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

// history knows who was entitled to what, after each commit.
type history struct {
	world *World
	db    *sql.DB
	// point is how many transactions were committed.
	point int
	now   map[*Table]map[viewed]*span
	past  map[*Table]map[viewed][]*span
	// unsure are rows about which the clock is just deciding.
	unsure map[*Table]map[viewed]bool
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

// newHistory begins with what is there now.
func newHistory(ctx context.Context, w *World, db *sql.DB) (*history, error) {
	h := &history{
		world: w, db: db, now: map[*Table]map[viewed]*span{}, past: map[*Table]map[viewed][]*span{},
		unsure: map[*Table]map[viewed]bool{}, lost: map[*Table]map[viewed]int{}, members: map[*Table]map[string]Value{}, told: []harmonic.Seq{0},
	}
	for t, column := range w.userColumns() {
		if slices.Contains(t.Key, column) {
			continue
		}
		if err := h.readMembers(ctx, t, column, nil); err != nil {
			return nil, err
		}
	}
	for _, t := range w.Tables {
		if t.Rule != nil {
			h.now[t], h.past[t], h.unsure[t], h.lost[t] = map[viewed]*span{}, map[viewed][]*span{}, map[viewed]bool{}, map[viewed]int{}
			if err := h.look(ctx, t, everything); err != nil {
				return nil, err
			}
		}
	}
	return h, nil
}

// committed takes a transaction that was committed after all before it: what
// it can have changed is looked at.
func (h *history) committed(ctx context.Context, tx *transaction) error {
	h.point++
	h.told = append(h.told, 0)
	users, err := h.usersIn(ctx, tx)
	if err != nil {
		return err
	}
	for _, t := range h.world.Tables {
		if t.Rule == nil {
			continue
		}
		changed, err := h.changed(ctx, t, tx, users)
		if err != nil {
			return err
		}
		for _, e := range changed {
			if err := h.look(ctx, t, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// clockError is how far from the time chorusd may judge: its clock follows
// that of the log, which on MariaDB has whole seconds.
const clockError = 3 * time.Second

// look asks what there is to see of t now, and notes what is not as it was.
// Where the clock decides, whoever may see a row at some time around now is
// entitled to it.
func (h *history) look(ctx context.Context, t *Table, e extent) error {
	seen, err := h.around(ctx, t, e)
	if err != nil {
		return err
	}
	h.note(t, e, seen, h.point)
	return nil
}

// around is what there is to see at some time around now.
func (h *history) around(ctx context.Context, t *Table, e extent) (view, error) {
	now := time.Now()
	if !h.world.isTimed(t) {
		return h.world.see(ctx, h.db, t, e, now, now)
	}
	before, after := now.Add(-clockError), now.Add(clockError)
	possible, err := h.world.see(ctx, h.db, t, e, after, before)
	if err != nil {
		return nil, err
	}
	certain, err := h.world.see(ctx, h.db, t, e, before, after)
	if err != nil {
		return nil, err
	}
	asked := h.asked(t, e)
	maps.DeleteFunc(h.unsure[t], func(v viewed, _ bool) bool { return asked(v) })
	for v := range possible {
		if _, sure := certain[v]; !sure {
			h.unsure[t][v] = true
		}
	}
	return possible, nil
}

// note notes what there is to see of t; what there was has ended at a point.
func (h *history) note(t *Table, e extent, seen view, end int) {
	asked := h.asked(t, e)
	for v, s := range h.now[t] {
		if !asked(v) {
			continue
		}
		if content, ok := seen[v]; !ok || content != s.content {
			s.to = end
			h.past[t][v] = append(h.past[t][v], s)
			h.lost[t][v] = end
			delete(h.now[t], v)
		}
	}
	for v, content := range seen {
		if h.now[t][v] == nil {
			h.now[t][v] = &span{h.point, lasting, content}
		}
	}
}

// tick looks at what the clock has decided meanwhile.
func (h *history) tick(ctx context.Context) error {
	for t := range h.now {
		if !h.world.isTimed(t) {
			continue
		}
		seen, err := h.around(ctx, t, everything)
		if err != nil {
			return err
		}
		h.note(t, everything, seen, h.point+1) // at this point there was a time at which it was so
	}
	return nil
}

// verify compares what is known with what the whole database gives, which
// finds mistakes of the oracle itself.
func (h *history) verify(ctx context.Context) error {
	for t := range h.now {
		if h.world.isTimed(t) {
			continue // it has moved on
		}
		now := time.Now()
		seen, err := h.world.see(ctx, h.db, t, everything, now, now)
		if err != nil {
			return err
		}
		for v, s := range h.now[t] {
			if seen[v] != s.content {
				return fmt.Errorf("the oracle is wrong: it has not noticed that %s of %s is %q, not %q, for %s", v.key, t.Name, seen[v], s.content, v.subject)
			}
		}
		for v := range seen {
			if h.now[t][v] == nil {
				return fmt.Errorf("the oracle is wrong: it has not noticed that %s sees %s of %s", v.subject, v.key, t.Name)
			}
		}
	}
	return nil
}

// load reads the rows that a subject may see, as an app would.
func (h *history) load(ctx context.Context, s subject) (map[record]string, error) {
	rows := map[record]string{}
	for t, spans := range h.now {
		if !h.world.isTimed(t) {
			for v, span := range spans {
				if v.subject == s {
					rows[record{t.Name, v.key}] = span.content
				}
			}
			continue
		}
		now := time.Now()
		seen, err := h.world.see(ctx, h.db, t, everything, now, now)
		if err != nil {
			return nil, err
		}
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
	for t, spans := range h.now {
		for v, span := range spans {
			if v.subject == s {
				rows[record{t.Name, v.key}] = wanted{span.content, !h.unsure[t][v]}
			}
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
	return h.now[t][v] == nil && (!ever || lost < since)
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
	if now := h.now[t][v]; now != nil {
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
	if now := h.now[t][v]; now != nil {
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
		for v := range spans {
			set[v.subject] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}
