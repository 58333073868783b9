package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
)

// todos is the table of these tests.
var todos = &binlog.Table{
	Name: binlog.TableName{Schema: "app", Table: "todos"},
	Columns: []binlog.Column{
		{Name: "id", Kind: binlog.Integer},
		{Name: "user_id", Kind: binlog.Integer},
		{Name: "team_id", Kind: binlog.Integer, Nullable: true},
		{Name: "v", Kind: binlog.Text, Charset: "utf8mb4"},
		{Name: "due_at", Kind: binlog.DateTime, Nullable: true},
	},
	Key: []int{0}, Unique: [][]int{{0}},
}

// todo is a row of it. Every change gives a row another v. Without a team, team
// is 0; Due is a whole number of seconds after epochTime, 0 for NULL.
type todo struct {
	ID   int    `json:"id"`
	User int    `json:"user_id"`
	Team int    `json:"team_id"`
	V    string `json:"v"`
	Due  int    `json:"-"`
}

func (d todo) row() *binlog.Row {
	values := [][]byte{strconv.AppendInt(nil, int64(d.ID), 10), strconv.AppendInt(nil, int64(d.User), 10), nil, []byte(d.V), nil}
	if d.Team != 0 {
		values[2] = strconv.AppendInt(nil, int64(d.Team), 10)
	}
	if d.Due != 0 {
		values[4] = []byte(inSeconds(d.Due).Format(time.DateTime))
	}
	return binlog.TextRow(todos, values)
}

// inSeconds is so long after epochTime.
func inSeconds(n int) time.Time { return epochTime.Add(time.Duration(n) * time.Second) }

// userChannel is the channel of a user's own.
func userChannel(user int) string { return fmt.Sprint("private-chorus.user.", user) }

func teamChannel(team int) string { return fmt.Sprint("private-team.", team) }

// world is a database and its binary log, in memory. Transaction n of the log
// ends at offset n+1. Its steps can be made to wait or to fail.
type world struct {
	t testing.TB

	mu    sync.Mutex
	log   [][]binlog.Change
	defs  map[int]binlog.Definition // transactions that are statements
	times map[int]uint64            // of transactions whose time is another one, in microseconds
	shape *binlog.Table             // what todos looks like where reading begins; nil: nothing is said of it
	rows  map[int]todo
	grown chan struct{} // closed and renewed when log grows
	v     int
	ended error // ends Run
	clock int   // seconds after epochTime at which the log ended; 0: nobody knows
	// reads are the points that rows were asked for after.
	reads []uint64

	// step is told of everything that is about to happen, if it is set:
	// "change 0.1" (transaction 0, its second change), "commit 0", and "rows"
	// when rows were read and are about to be given.
	step func(ctx context.Context, name string) error
}

// epochTime is when the first transaction of a world was committed.
var epochTime = time.Date(2026, 11, 22, 17, 25, 39, 0, time.UTC)

func newWorld(t testing.TB) *world {
	t.Helper()
	return &world{t: t, defs: map[int]binlog.Definition{}, times: map[int]uint64{}, rows: map[int]todo{}, grown: make(chan struct{})}
}

// put and del are what a transaction does to a row.
func put(id, user int) todo       { return todo{ID: id, User: user} }
func shared(id, team int) todo    { return todo{ID: id, Team: team} }
func del(id int) todo             { return todo{ID: id, V: "deleted"} }
func due(id, user, at int) todo   { return todo{ID: id, User: user, Due: at} }
func big(id, user, size int) todo { return todo{ID: id, User: user, V: strings.Repeat("x", size)} }

// commit makes a transaction. A todo with a v of "deleted" deletes.
func (w *world) commit(todos ...todo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var changes []binlog.Change
	at := w.at()
	for _, d := range todos {
		c := binlog.Change{Kind: binlog.Insert, Time: at}
		if old, ok := w.rows[d.ID]; ok {
			c.Kind, c.Before = binlog.Update, old.row()
		}
		if d.V == "deleted" {
			if c.Before == nil {
				continue
			}
			c.Kind = binlog.Delete
			delete(w.rows, d.ID)
		} else {
			if d.V == "" {
				w.v++
				d.V = fmt.Sprint("v", w.v)
			}
			w.rows[d.ID] = d
			c.After = d.row()
		}
		changes = append(changes, c)
	}
	if len(changes) > 0 {
		w.log = append(w.log, changes)
		w.wake()
	}
}

// at is when the next transaction is committed, in microseconds.
func (w *world) at() uint64 {
	return uint64(epochTime.Add(time.Duration(len(w.log)) * time.Millisecond).UnixMicro())
}

// define makes a transaction of a statement about todos.
func (w *world) define(d binlog.Definition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.Name, d.Time = todos.Name, w.at()
	if d.Kind == binlog.Emptied || d.Kind == binlog.Dropped {
		clear(w.rows)
	}
	w.defs[len(w.log)] = d
	w.log = append(w.log, []binlog.Change{})
	w.wake()
}

// elsewhere makes a transaction of other tables, so many seconds after epochTime.
func (w *world) elsewhere(clock int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times[len(w.log)] = uint64(inSeconds(clock).UnixMicro())
	w.log = append(w.log, []binlog.Change{})
	w.wake()
}

func (w *world) wake() {
	close(w.grown)
	w.grown = make(chan struct{})
}

// end makes Run return an error.
func (w *world) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = err
	w.wake()
}

// quiet has nothing happen until so many seconds after epochTime.
func (w *world) quiet(clock int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = clock
	w.wake()
}

func (w *world) before(ctx context.Context, format string, args ...any) error {
	w.mu.Lock()
	step := w.step
	w.mu.Unlock()
	if step == nil {
		return nil
	}
	return step(ctx, fmt.Sprintf(format, args...))
}

func (w *world) onStep(step func(ctx context.Context, name string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step = step
}

// gate makes the world wait at one step; it is passed once open is called.
func (w *world) gate(step string) (reached <-chan struct{}, open func()) {
	at, pass := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.onStep(func(ctx context.Context, name string) error {
		if name != step {
			return nil
		}
		once.Do(func() { close(at) })
		select {
		case <-pass:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return at, sync.OnceFunc(func() { close(pass) })
}

func position(offset int) binlog.Position {
	return binlog.Position{Flavor: binlog.MySQL, File: "log.000001", Offset: uint64(offset)}
}

// Run implements Source.
func (w *world) Run(ctx context.Context, from binlog.Position, h binlog.Handler) error {
	if w.shape != nil {
		if err := h.Definition(ctx, &binlog.Definition{Name: todos.Name, Table: w.shape}); err != nil {
			return err
		}
	}
	for n := int(from.Offset); ; n++ {
		changes, err := w.next(ctx, n, h)
		if err != nil || ctx.Err() != nil {
			return err
		}
		committed := uint64(epochTime.Add(time.Duration(n) * time.Millisecond).UnixMicro())
		w.mu.Lock()
		d, ok := w.defs[n]
		if at := w.times[n]; at > 0 {
			committed = at
		}
		w.mu.Unlock()
		if ok {
			if err := h.Definition(ctx, &d); ended(ctx) {
				return nil
			} else if err != nil {
				return err
			}
		}
		for i := range changes {
			err := w.before(ctx, "change %d.%d", n, i)
			if err == nil {
				err = h.Change(ctx, &changes[i])
			}
			if ended(ctx) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read: %w", err)
			}
		}
		err = w.before(ctx, "commit %d", n)
		if err == nil {
			err = h.Commit(ctx, binlog.Point{Time: committed, File: "log.000001", Offset: uint64(n + 1)})
		}
		if ended(ctx) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
}

// next waits for transaction n.
func (w *world) next(ctx context.Context, n int, h binlog.Handler) ([]binlog.Change, error) {
	for {
		w.mu.Lock()
		grown, ended, clock := w.grown, w.ended, w.clock
		var changes []binlog.Change
		if n < len(w.log) {
			changes = w.log[n]
		}
		w.mu.Unlock()
		switch {
		case ended != nil:
			return nil, ended
		case changes != nil:
			return changes, nil
		}
		idle := binlog.Point{File: "log.000001", Offset: uint64(n)}
		if clock > 0 {
			idle.Time = uint64(inSeconds(clock).UnixMicro())
		}
		h.Idle(idle)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-grown:
		}
	}
}

// Table implements Reader.
func (w *world) Table(context.Context, binlog.TableName) (*binlog.Table, error) { return todos, nil }

// Close implements Reader.
func (w *world) Close() {}

// Rows implements Reader: it reads the newest state, wherever the log is read,
// by the id or by the user.
func (w *world) Rows(ctx context.Context, _ *binlog.Table, _ []int, by []binlog.KeyColumn, keys []string,
	after binlog.Position, each func(*binlog.Row) error,
) (binlog.Position, error) {
	w.mu.Lock()
	head := len(w.log)
	w.reads = append(w.reads, after.Offset)
	var found []todo
	for _, key := range keys {
		var id [1]int
		if err := json.Unmarshal([]byte(key), &id); err != nil {
			w.mu.Unlock()
			return binlog.Position{}, err
		}
		if by[0].Column == 1 {
			for _, d := range sortedRows(w.rows) {
				if d.User == id[0] {
					found = append(found, d)
				}
			}
		} else if d, ok := w.rows[id[0]]; ok {
			found = append(found, d)
		}
	}
	w.mu.Unlock()
	if err := w.before(ctx, "rows"); err != nil {
		return binlog.Position{}, err
	}
	for _, d := range found {
		if err := each(d.row()); err != nil {
			return binlog.Position{}, err
		}
	}
	return position(head), nil
}

// Page implements Reader: the rows in the order of their ids. Those of a bound
// are to have their ids in the order of their times.
func (w *world) Page(ctx context.Context, _ *binlog.Table, _ []int, page binlog.Page,
	after binlog.Position, each func(*binlog.Row) error,
) (next string, upto binlog.Position, err error) {
	w.mu.Lock()
	head := len(w.log)
	w.reads = append(w.reads, after.Offset)
	rows := sortedRows(w.rows)
	w.mu.Unlock()
	if err := w.before(ctx, "page"); err != nil {
		return "", binlog.Position{}, err
	}
	if page.Bound != nil {
		rows = slices.DeleteFunc(rows, func(d todo) bool {
			at := inSeconds(d.Due)
			return d.Due == 0 || !at.After(page.Bound.After) || at.After(page.Bound.Upto)
		})
	}
	from := -1
	if page.From != "" {
		if from, err = strconv.Atoi(page.From); err != nil {
			return "", binlog.Position{}, err
		}
	}
	given := 0
	for _, d := range rows {
		if of := page.Selection; slices.Equal(of.Columns, []string{"team_id"}) && of.In != fmt.Sprintf("[%d]", d.Team) || d.ID <= from {
			continue
		}
		if given == page.Limit {
			return next, position(head), nil
		}
		if err := each(d.row()); err != nil {
			return "", binlog.Position{}, err
		}
		given, next = given+1, strconv.Itoa(d.ID)
	}
	return "", position(head), nil
}

func (w *world) head() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.log)
}

func (w *world) all() map[int]todo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.rows)
}

// seen are the rows that belong to a user, by id.
func (w *world) seen(user int) map[int]todo {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[int]todo{}
	for id, d := range w.rows {
		if d.User == user {
			out[id] = d
		}
	}
	return out
}
