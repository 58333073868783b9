package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
)

// told are the events of a channel without updates, which refills repeat, and
// control messages once, in words: "reset notes".
func (c *client) told(t *testing.T, channel string) []string {
	t.Helper()
	var texts []string
	seen := map[string]bool{}
	for _, e := range c.got(channel) {
		text := inWords(e)
		if strings.HasPrefix(text, "update ") || seen[text] {
			continue
		}
		seen[text] = true
		if e.name == harmonic.EventControl {
			message, err := harmonic.ParseControl([]byte(e.payload))
			if err != nil {
				t.Fatal(err)
			}
			switch message := message.(type) {
			case harmonic.Reset:
				text = "reset " + message.Table
			case harmonic.Schema:
				text = "schema " + message.Table
			default:
				text = message.Type()
			}
		}
		texts = append(texts, text)
	}
	return texts
}

// TestTenants has a database per tenant, with the same ids and users in each:
// two at the start, one made while chorusd runs, one while it does not. Each
// client gets its tenant's rows alone, live and by refill, and is told of what
// happens to its tenant's table alone.
func TestTenants(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, "")
		database := func(tenant string) string { return s.db.Name + "_t_" + tenant }
		found := func(tenant string) {
			s.db.MustExec(t, "CREATE DATABASE "+database(tenant))
			t.Cleanup(func() { _, _ = s.db.Exec("DROP DATABASE IF EXISTS " + database(tenant)) })
			s.db.MustExec(t, "CREATE TABLE "+database(tenant)+".notes (id INT PRIMARY KEY, user_id INT, body VARCHAR(20))")
		}
		found("a")
		found("b")
		s.configure(t, `
[tables.notes]
source = "`+s.db.Name+`_t_%.notes"
fields = ["id", "user_id", "body"]
visible_to = ["user:{user_id}", "channel:tenant.{@tenant}.notes"]
user_channel = "chorus.{@tenant}.user.{id}"
`)
		s.mend(t, s.refused(t, s.db.Name+"_t_%.notes", strings.ReplaceAll(s.db.Name, "_", `\_`)+`\_t\_%`))
		s.accepted(t)

		slow := []string{"--channels.poll_interval=4s", "--channels.lease=8s"}
		d := s.start(t, slow...)
		s.awaitPoll(t)
		insert := func(tenant string, id int) {
			s.db.MustExec(t, fmt.Sprintf("INSERT INTO %s.notes VALUES (%d, 7, '%s%d')", database(tenant), id, tenant, id))
		}
		insert("a", 1)
		insert("b", 1)
		found("c")
		insert("c", 1)
		d.awaitSettled(t, 3)
		// They are refilled, and see their tenant's row with the id that all have.
		tenants := []string{"a", "b", "c"}
		user := func(tenant string) string { return "chorus." + tenant + ".user.7" }
		c := s.subscribe(t, user("a"), user("b"), user("c"), user("d"), "tenant.a.notes", "tenant.c.notes")
		d.awaitActive(t, 6)
		for _, tenant := range tenants {
			c.awaitTexts(t, user(tenant), false, fmt.Sprintf(`update notes 1 {"id":1,"user_id":7,"body":"%s1"}`, tenant))
		}

		created := func(tenant string, id int) string {
			return fmt.Sprintf(`create notes %d {"id":%d,"user_id":7,"body":"%s%d"}`, id, id, tenant, id)
		}
		want := map[string][]string{}
		verify := func(when string, names ...string) {
			t.Helper()
			for _, tenant := range names {
				eventually(t, when+": all came to "+tenant, func() bool { return len(c.told(t, user(tenant))) >= len(want[tenant]) })
				if got := c.told(t, user(tenant)); !slices.Equal(got, want[tenant]) {
					t.Errorf("%s: %s got\n%s\nwant\n%s", when, tenant, strings.Join(got, "\n"), strings.Join(want[tenant], "\n"))
				}
			}
		}
		add := func(id int, names ...string) {
			for _, tenant := range names {
				insert(tenant, id)
				want[tenant] = append(want[tenant], created(tenant, id))
			}
		}
		add(2, tenants...)
		s.db.MustExec(t, "TRUNCATE "+database("a")+".notes", "ALTER TABLE "+database("b")+".notes MODIFY body VARCHAR(30)")
		want["a"] = append(want["a"], "reset notes")
		want["b"] = append(want["b"], "schema notes")
		add(3, tenants...)
		verify("running", tenants...)

		d.terminate(t)
		found("d")
		s.db.MustExec(t, "TRUNCATE "+database("b")+".notes")
		want["b"] = append(want["b"], "reset notes")
		add(4, "a", "b", "c", "d")
		d = s.start(t, slow...)
		d.awaitActive(t, 6)
		verify("after a restart", "a", "b", "c", "d")

		s.db.MustExec(t, "DROP DATABASE "+database("c"))
		want["c"] = append(want["c"], "reset notes")
		add(5, "a", "b", "d")
		verify("without c", "a", "b", "c", "d")
		if got := c.told(t, "tenant.c.notes"); len(got) == 0 || got[len(got)-1] != "reset notes" {
			t.Errorf("the shared channel of c got %v", got)
		}
		for _, text := range c.texts("tenant.a.notes") {
			if strings.HasPrefix(text, harmonic.EventControl) && !strings.Contains(text, `"reset"`) || strings.Contains(text, `"body":"`) && !strings.Contains(text, `"body":"a`) {
				t.Errorf("the shared channel of a got %s", text)
			}
		}
		// A tenant made again is another table.
		found("c")
		add(6, "a", "c")
		verify("with another c", "a", "b", "c", "d")
		versions, err := s.store(t).Versions(t.Context())
		if err != nil || len(versions) != 4 || versions["notes@"+database("d")] == "" {
			t.Errorf("schema versions: %v, %v", versions, err)
		}
		d.terminate(t)
	})
}

// TestRowsOfTenantsThatNobodyGets: those of a tenant whose name fits no channel
// are counted, and one that is too large is set aside under its tenant.
func TestRowsOfTenantsThatNobodyGets(t *testing.T) {
	t.Parallel()
	s := newStack(t, onServers{}, "")
	odd, plain := "`"+s.db.Name+"_t_a.user`", s.db.Name+"_t_a"
	for _, name := range []string{odd, plain} {
		s.db.MustExec(t, "CREATE DATABASE "+name, "CREATE TABLE "+name+".notes (id INT PRIMARY KEY, user_id INT, body LONGTEXT)")
		t.Cleanup(func() { _, _ = s.db.Exec("DROP DATABASE " + name) })
	}
	s.db.MustExec(t,
		"GRANT SELECT ON `"+strings.ReplaceAll(s.db.Name, "_", `\_`)+`\_t\_%`+"`.* TO '"+s.user+"'@'%'")
	s.configure(t, `
[tables.notes]
source = "`+s.db.Name+`_t_%.notes"
fields = ["id", "user_id", "body"]
visible_to = ["user:{user_id}"]
user_channel = "chorus.{@tenant}.user.{id}"
`)
	s.accepted(t)
	d := s.start(t)
	s.db.MustExec(t, "INSERT INTO "+odd+".notes VALUES (1, 7, 'x')")
	eventually(t, "the row is counted", func() bool { return d.metric(t, "chorusd_unroutable_total", `table="notes"`) == 1 })
	if n := d.metric(t, "chorusd_harmonics_total"); n != 0 {
		t.Errorf("%v harmonics of it were made", n)
	}
	s.subscribe(t, "chorus.a.user.7")
	d.awaitActive(t, 1)
	s.db.MustExec(t, "INSERT INTO "+plain+".notes VALUES (2, 7, REPEAT('x', 2000000))")
	eventually(t, "the row is set aside", func() bool { return d.metric(t, "chorusd_set_aside_total", `table="notes"`) == 1 })
	eventually(t, "it is listed", func() bool {
		letters, err := s.store(t).DeadLetters(t.Context())
		return err == nil && len(letters) == 1 && letters[0].Table == "notes@"+plain && letters[0].Key == "[2]"
	})
	d.terminate(t)
}
