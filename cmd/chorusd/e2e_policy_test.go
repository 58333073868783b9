package main

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chorusd/chorusd/policy/policytest"
	"github.com/chorusd/chorusd/tools/services"
)

// app is one whose policy lets users see what its rule says.
type app struct {
	*policytest.App
	mu    sync.Mutex
	fault policytest.Fault
	rule  func(user string, row *policytest.Row) string
}

func (a *app) set(fault policytest.Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = fault
}

func newApp(t *testing.T, secret string, rule func(user string, row *policytest.Row) string) (a *app, url string) {
	t.Helper()
	a = &app{App: &policytest.App{Secrets: []string{secret}}, rule: rule}
	a.Policy = func(_ *policytest.Request, row *policytest.Row, user string) string { return a.rule(user, row) }
	a.Fault = func(int) policytest.Fault {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.fault
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return a, server.URL + "/chorusd/authorize"
}

// TestPolicies has the app asked about rows: what it denies or does not answer
// for is not sent, and what it did not answer for comes when it does, also
// after a restart.
func TestPolicies(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		secret := strings.Repeat("secret-of-the-app", 2)
		// Users see what is not locked, by a column that clients do not get;
		// user 9 breaks the policy.
		a, url := newApp(t, secret, func(user string, row *policytest.Row) string {
			switch {
			case user == "9":
				return "?"
			case string(row.Data["locked"]) == "0":
				return "y"
			}
			return "n"
		})
		s := newStack(t, onServers{kind: kind}, "")
		s.env = append(s.env, "CHORUSD_LARAVEL_SECRET="+secret)
		s.db.MustExec(t,
			"CREATE TABLE seats (id INT PRIMARY KEY, room_id INT NOT NULL, user_id INT NOT NULL, KEY (user_id))",
			"CREATE TABLE messages (id INT PRIMARY KEY, room_id INT NOT NULL, body VARCHAR(20) NOT NULL, locked TINYINT NOT NULL, KEY (room_id))",
			"INSERT INTO seats VALUES (1, 3, 7), (2, 3, 8), (3, 3, 9)")
		configure := func(url string) {
			s.configure(t, fmt.Sprintf(`
[laravel]
authorize_url = %q
timeout = "1s"
cache_ttl = "1s"
[[scopes.room.members]]
source = "seats"
scope = "room_id"
user = "user_id"
[tables.messages]
fields = ["id", "body"]
visible_to = ["room:{room_id}"]
authorize = "laravel"
model = 'App\Models\Message'
`, url))
		}
		configure(url + "/elsewhere?x=1") // is signed as it is sent
		s.accepted(t)
		s.env[len(s.env)-1] = "CHORUSD_LARAVEL_SECRET=" + strings.Repeat("another", 5)
		s.refused(t, "laravel.authorize_url: ask the app's policies: 401", "laravel.secret")
		s.env[len(s.env)-1] = "CHORUSD_LARAVEL_SECRET=" + secret
		configure(url)

		d := s.start(t)
		c := s.subscribe(t, "chorus.user.7", "chorus.user.8", "chorus.user.9", "chorus.user.10")
		d.awaitActive(t, 4)
		// got are the events of a user, the same in a row once: a job that was
		// not taken off its list in time is worked through again.
		got := func(user int) []string { return slices.Compact(c.texts(fmt.Sprintf("chorus.user.%d", user))) }
		expect := func(when string, want map[int][]string) {
			t.Helper()
			for user, texts := range want {
				eventually(t, fmt.Sprintf("%s: user %d got %q", when, user, texts), func() bool { return slices.Equal(got(user), texts) })
			}
			for _, user := range []int{9, 10} { // whose answer is unknown, and who is in no room
				if texts := got(user); len(texts) > 0 {
					t.Errorf("%s: user %d got %q", when, user, texts)
				}
			}
		}
		s.db.MustExec(t, "INSERT INTO messages VALUES (1, 3, 'open', 0), (2, 3, 'locked', 1)")
		one := []string{`update messages 1 {"id":1,"body":"open"}`}
		expect("inserted", map[int][]string{7: one, 8: one})

		s.db.MustExec(t, "UPDATE messages SET locked = 1 WHERE id = 1")
		one = append(one, `delete messages 1 {"id":1}`)
		expect("locked", map[int][]string{7: one, 8: one})
		s.db.MustExec(t, "UPDATE messages SET locked = 0, body = 'unlocked' WHERE id = 2")
		one = append(one, `update messages 2 {"id":2,"body":"unlocked"}`)
		expect("unlocked", map[int][]string{7: one, 8: one})

		explained := func(user, key, want string) {
			t.Helper()
			if code, out := s.run(t, "explain", "--user", user, "--table", "messages", "--key", key); code != 0 || !strings.Contains(out, want) {
				t.Errorf("explain exits with %d and does not say %q:\n%s", code, want, out)
			}
		}
		explained("7", "1", `no       view of App\Models\Message: the app says so`)
		explained("7", "2", "user 7 sees row [2] of messages")
		explained("9", "2", "whether user 9 sees row [2] of messages cannot be told")
		explained("10", "2", "it is not asked, since the rules keep the row from the user")

		for _, fault := range []policytest.Fault{policytest.Down, policytest.Forged, policytest.FewLetters} {
			a.set(fault)
			before := a.Count()
			s.db.MustExec(t, "UPDATE messages SET body = '"+fault.String()+"' WHERE id = 2")
			eventually(t, fault.String()+": it is asked", func() bool { return a.Count() > before })
			expect(fault.String(), map[int][]string{7: one, 8: one})
			if fault == policytest.FewLetters {
				d.terminate(t)
				d = s.start(t)
				eventually(t, "the new process has asked, too", func() bool { return d.metric(t, "chorusd_policy_failed_requests_total") > 0 })
			}
			a.set(policytest.None)
			one = append(one, fmt.Sprintf(`update messages 2 {"id":2,"body":"%s"}`, fault))
			expect("after "+fault.String(), map[int][]string{7: one, 8: one})
		}

		if asked, up := d.metric(t, "chorusd_policy_questions_total"), d.metric(t, "chorusd_policy_up"); asked < 3 || up != 1 {
			t.Errorf("after a restart while the app was broken, %v pairs were asked about and up is %v", asked, up)
		}

		// Who is let into the room gets what the policy lets him see of it.
		s.db.MustExec(t, "INSERT INTO seats VALUES (4, 3, 10)")
		eventually(t, "user 10 has the row", func() bool { return slices.Equal(got(10), one[len(one)-1:]) })
		s.db.MustExec(t, "DELETE FROM seats WHERE id = 4")
		eventually(t, "user 10 has lost it", func() bool { return slices.Contains(got(10), `delete messages 2 {"id":2}`) })
		if texts := got(10); slices.ContainsFunc(texts, func(s string) bool { return strings.HasPrefix(s, "update messages 1") }) {
			t.Errorf("user 10 got what is locked: %q", texts)
		}

		s.db.MustExec(t, "DELETE FROM messages WHERE id = 2")
		one = append(one, `delete messages 2 {"id":2}`)
		for _, user := range []int{7, 8} {
			eventually(t, "the row is gone", func() bool { return slices.Equal(got(user), one) })
		}
	})
}
