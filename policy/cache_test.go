package policy

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chorusd/chorusd/policy/policytest"
)

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newApp()
		app.Policy = func(_ *policytest.Request, _ *policytest.Row, user string) string {
			return map[string]string{"7": "y", "8": "n", "9": "?"}[user]
		}
		c := start(t, app)
		row := rowOf("1", "a", "7")
		// expect asks and says whether a request was to be made.
		expect := func(what string, s Subject, row Row, requests int, want Answer) {
			t.Helper()
			before := app.Count()
			answer := c.Ask(t.Context(), s, []Row{row})[0].Answers[0]
			if n := app.Count() - before; n != requests || answer != want {
				t.Errorf("%s: %s after %d requests, want %s after %d", what, answer, n, want, requests)
			}
		}
		expect("first", messages, row, 1, Yes)
		expect("again", messages, row, 0, Yes)
		expect("another version of the row", messages, rowOf("1", "b", "7"), 1, Yes)
		expect("the first version", messages, row, 0, Yes)
		expect("another row with the same data", messages, Row{Key: "[2]", Data: row.Data, Users: row.Users}, 1, Yes)
		expect("another user", messages, rowOf("1", "a", "8"), 1, No)
		expect("no is kept, too", messages, rowOf("1", "a", "8"), 0, No)
		changed := row
		changed.Users = []User{{ID: "7", Version: 1}}
		expect("the user has changed", messages, changed, 1, Yes)
		for _, change := range []func(*Subject){
			func(s *Subject) { s.Table = "posts" }, func(s *Subject) { s.Tenant = "acme" },
			func(s *Subject) { s.Model = "Post" }, func(s *Subject) { s.Ability = "list" },
		} {
			s := messages
			change(&s)
			expect("another subject", s, row, 1, Yes)
		}
		expect("unknown", messages, rowOf("1", "a", "9"), 1, Unknown)
		expect("unknown is not kept", messages, rowOf("1", "a", "9"), 1, Unknown)
		both := rowOf("1", "a", "7", "8", "10")
		c.Ask(t.Context(), messages, []Row{both})
		if last := app.Requests()[app.Count()-1]; len(last.Users) != 1 || string(last.Users[0]) != "10" {
			t.Errorf("asked about %s, want 10 alone", last.Users)
		}
		<-time.After(DefaultCacheTTL)
		expect("after its time", messages, row, 1, Yes)
	})
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(time.Hour)
	now := time.Now()
	keys := make([]cacheKey, 3*maxCached)
	for i := range keys {
		keys[i] = keyOf(messages, strconv.Itoa(i), "v", User{ID: "7"})
		c.put(keys[i], Yes, now, now)
		if n := len(c.young) + len(c.old); n > maxCached {
			t.Fatalf("%d answers are kept", n)
		}
	}
	if got := c.get(keys[len(keys)-1], now); got != Yes {
		t.Errorf("the last is %s", got)
	}
	if got := c.get(keys[0], now); got != Unknown {
		t.Errorf("the first is %s still", got)
	}
}

// Texts that only differ in where one ends and the next begins have other keys.
func TestCacheKeysAreDistinct(t *testing.T) {
	a := keyOf(Subject{Table: "ab"}, "c", "v", User{ID: "7"})
	b := keyOf(Subject{Table: "a"}, "bc", "v", User{ID: "7"})
	if a == b {
		t.Error("they are one")
	}
}
