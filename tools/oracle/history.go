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
	// told are the positions at which transactions came, by the point after
	// them, as far as that is known.
	told []harmonic.Seq
}

// newHistory begins with what is there now.
func newHistory(ctx context.Context, w *World, db *sql.DB) (*history, error) {
	h := &history{
		world: w, db: db, now: map[*Table]map[viewed]*span{}, past: map[*Table]map[viewed][]*span{},
		unsure: map[*Table]map[viewed]bool{}, told: []harmonic.Seq{0},
	}
	for _, t := range w.Tables {
		if t.Rule != nil {
			h.now[t], h.past[t], h.unsure[t] = map[viewed]*span{}, map[viewed][]*span{}, map[viewed]bool{}
			if err := h.look(ctx, t, nil); err != nil {
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
	for _, t := range h.world.Tables {
		if t.Rule == nil {
			continue
		}
		keys, wrote := tx.touched[t]
		for _, other := range h.world.reads(t) {
			if _, ok := tx.touched[other]; ok {
				keys, wrote = nil, true
			}
		}
		if !wrote {
			continue
		}
		if err := h.look(ctx, t, keys); err != nil {
			return err
		}
	}
	return nil
}

// clockError is how far from the time chorusd may judge: its clock follows
// that of the log, which on MariaDB has whole seconds.
const clockError = 3 * time.Second

// look asks what there is to see of t now, of some rows or with nil of all,
// and notes what is not as it was. Where the clock decides, whoever may see a
// row at some time around now is entitled to it.
func (h *history) look(ctx context.Context, t *Table, keys map[string]Key) error {
	seen, err := h.around(ctx, t, keys)
	if err != nil {
		return err
	}
	h.note(t, keys, seen, h.point)
	return nil
}

// around is what there is to see at some time around now.
func (h *history) around(ctx context.Context, t *Table, keys map[string]Key) (view, error) {
	now := time.Now()
	if !h.world.isTimed(t) {
		return h.world.see(ctx, h.db, t, keys, now)
	}
	early, err := h.world.see(ctx, h.db, t, keys, now.Add(-clockError))
	if err != nil {
		return nil, err
	}
	late, err := h.world.see(ctx, h.db, t, keys, now.Add(clockError))
	if err != nil {
		return nil, err
	}
	if keys == nil {
		h.unsure[t] = map[viewed]bool{}
	}
	both := maps.Clone(early)
	maps.Copy(both, late)
	for v := range both {
		_, before := early[v]
		_, after := late[v]
		delete(h.unsure[t], v)
		if before != after {
			h.unsure[t][v] = true
		}
	}
	return both, nil
}

// note notes what there is to see of t; what there was has ended at a point.
func (h *history) note(t *Table, keys map[string]Key, seen view, end int) {
	for v, s := range h.now[t] {
		if _, asked := keys[v.key]; !asked && keys != nil {
			continue
		}
		if content, ok := seen[v]; !ok || content != s.content {
			s.to = end
			h.past[t][v] = append(h.past[t][v], s)
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
		seen, err := h.around(ctx, t, nil)
		if err != nil {
			return err
		}
		h.note(t, nil, seen, h.point+1) // at this point there was a time at which it was so
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
		seen, err := h.world.see(ctx, h.db, t, nil, time.Now())
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
		seen, err := h.world.see(ctx, h.db, t, nil, time.Now())
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

// judge says what is wrong with a message to a subject: "" if nothing is.
func (h *history) judge(s subject, m *message) string {
	t := h.world.table(s, m.table)
	if t == nil || t.Rule == nil {
		return "there is no such table for clients"
	}
	v := viewed{s, m.key}
	spans := h.past[t][v]
	if now := h.now[t][v]; now != nil {
		spans = append(slices.Clip(spans), now)
	}
	if m.operation == harmonic.Delete {
		return judgeDelete(t, spans, m)
	}
	point := h.pointOf(m.id.Seq())
	known := false
	for _, span := range spans {
		if span.content != m.content {
			continue
		}
		if span.to > point {
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

// judgeDelete allows the values that the subject could see, and the key alone.
func judgeDelete(t *Table, spans []*span, m *message) string {
	onlyKey := true
	for name := range m.fields {
		onlyKey = onlyKey && slices.ContainsFunc(t.Key, func(c *Column) bool { return c.Name == name })
	}
	if onlyKey || slices.ContainsFunc(spans, func(s *span) bool { return s.content == m.content }) {
		return ""
	}
	return "a delete with values that it was never entitled to"
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
