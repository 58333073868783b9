package relay

import (
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/policy"
)

// app is asked in place of one. It lets users see the rows whose v is even.
type app struct {
	t testing.TB

	mu sync.Mutex
	// unsure is how often it does not know.
	unsure float64
	// asked is told of each question before it is answered, if it is set.
	asked func(ctx context.Context, d todo)
}

func (a *app) set(unsure float64, asked func(ctx context.Context, d todo)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unsure, a.asked = unsure, asked
}

func allows(d todo) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(d.V, "v"))
	return err == nil && n%2 == 0
}

func (a *app) Run(ctx context.Context) { <-ctx.Done() }

func (a *app) Ask(ctx context.Context, _ policy.Subject, rows []policy.Row) []policy.Verdict {
	a.mu.Lock()
	unsure, asked := a.unsure, a.asked
	a.mu.Unlock()
	verdicts := make([]policy.Verdict, len(rows))
	for i, row := range rows {
		var d todo
		if err := json.Unmarshal(row.Data, &d); err != nil {
			a.t.Error(err)
		}
		if asked != nil {
			asked(ctx, d)
		}
		v := &verdicts[i]
		v.Answers = make([]policy.Answer, len(row.Users))
		for n := range row.Users {
			switch {
			case rand.Float64() < unsure:
				v.Err = &policy.Error{Class: policy.Undecided}
			case allows(d):
				v.Answers[n] = policy.Yes
			default:
				v.Answers[n] = policy.No
			}
		}
	}
	return verdicts
}

// newPolicyRig makes a running rig in which users 7 and 8 are there, and the
// app is asked.
func newPolicyRig(t testing.TB) (*rig, *app) {
	t.Helper()
	r, a := newRig(t), &app{t: t}
	r.policies = a
	r.mapper = func(t testing.TB) *mapping.Mapper {
		t.Helper()
		return mapperOf(t, mapping.Table{
			Fields: []string{"id", "user_id", "team_id", "v"}, VisibleTo: mapping.AnyOf("user:{user_id}"), Authorize: "laravel", Model: "Todo",
		})
	}
	r.start()
	r.subscribe(7)
	r.subscribe(8)
	r.poll()
	eventually(t, "both are there", func() bool { return r.isActive(7) && r.isActive(8) })
	return r, a
}

// allowed are the rows that the app lets a user see.
func (r *rig) allowed(user int) map[int]todo {
	rows := r.seen(user)
	maps.DeleteFunc(rows, func(_ int, d todo) bool { return !allows(d) })
	return rows
}

// An answer about a row that has changed meanwhile is worth nothing.
func TestAnswerThatIsOvertaken(t *testing.T) {
	r, a := newPolicyRig(t)
	reached, open := make(chan todo), make(chan struct{})
	a.set(0, func(ctx context.Context, d todo) {
		select {
		case reached <- d:
		case <-ctx.Done():
			return
		}
		select {
		case <-open:
		case <-ctx.Done():
		}
	})
	ask := func() todo {
		select {
		case d := <-reached:
			return d
		case <-t.Context().Done():
			t.Fatal("nobody asks")
			return todo{}
		}
	}
	var first todo
	for { // until it is one that is allowed
		r.commit(put(1, 7))
		if first = ask(); allows(first) {
			break
		}
		open <- struct{}{}
	}
	r.commit(put(1, 7))
	eventually(t, "the change is routed", func() bool {
		r.relay.mu.Lock()
		defer r.relay.mu.Unlock()
		return r.relay.tail.Covers(position(r.head()))
	})
	a.set(0, nil)
	open <- struct{}{}
	r.caughtUp()
	if got := r.on(userChannel(7)); slices.Contains(got, "update 1 "+first.V) {
		t.Errorf("user 7 got what was overtaken, %s: %q", first.V, got)
	}
	if got := r.has(7); len(got) > 0 {
		t.Errorf("user 7 has %v, and the last state is denied", got)
	}
}

// Rows come, go, move and are denied at random, and the app often does not
// know: nothing that is denied is ever sent, and in the end each has what the
// app lets him see.
func TestPoliciesAtRandom(t *testing.T) {
	r, a := newPolicyRig(t)
	a.set(0.2, nil)
	random := newRandom(t)
	for range 150 {
		var tx []todo
		for range 1 + random.IntN(4) {
			id := 1 + random.IntN(12)
			switch random.IntN(5) {
			case 0:
				tx = append(tx, del(id))
			default:
				tx = append(tx, put(id, 7+random.IntN(2)))
			}
		}
		r.commit(tx...)
	}
	a.set(0, nil)
	r.caughtUp()
	for _, user := range []int{7, 8} {
		if got, want := r.has(user), r.allowed(user); !maps.Equal(got, want) {
			t.Errorf("user %d has %v, and may see %v", user, sortedRows(got), sortedRows(want))
		}
	}
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	updates := 0
	for _, d := range r.delivered {
		if d.row.V == "" {
			continue
		}
		updates++
		if !allows(d.row) || d.channel != userChannel(d.row.User) {
			t.Errorf("sent: %s", d)
		}
	}
	if updates == 0 {
		t.Error("nothing was sent")
	}
}
