package mapping_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping"
)

// explained is an explanation in short lines.
func explained(e mapping.Explanation) string {
	var b strings.Builder
	condition := func(c *mapping.ConditionFinding) {
		fmt.Fprintf(&b, "%s: %s", c.Text, c.Holds)
		for _, v := range c.Reads {
			fmt.Fprintf(&b, " %s=%s", v.Name, v.Value)
		}
		if c.Turns != nil {
			fmt.Fprintf(&b, " until %s", c.Turns.Format(time.RFC3339))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s\n", e.Visible)
	if e.Where != nil {
		condition(e.Where)
	}
	for _, a := range e.Alternatives {
		fmt.Fprintf(&b, "%s:", a.Holds)
		for _, entry := range a.Entries {
			fmt.Fprintf(&b, " (%s: %s %s", entry.Entry, entry.Holds, entry.Key)
			for _, h := range entry.Path {
				fmt.Fprintf(&b, " %s%s", h.Table, h.Key)
				for _, v := range h.Values {
					fmt.Fprintf(&b, " %s=%s", v.Name, v.Value)
				}
			}
			fmt.Fprintf(&b, "; %s)", entry.Why)
		}
		b.WriteByte('\n')
	}
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "%s %s", f.Field, f.State)
		if f.By != nil {
			b.WriteString(" by ")
			condition(f.By)
		} else {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

var (
	explainTable  = tableOf("todos", "id", "owner_id", "team_id", "post_id", "about_type", "about_id", "title", "region", "salary")
	explainFields = []string{"id", "title", "salary"}
)

// explainView has the users 1 (of hr, in team 3), 2 (of team 3 and platform 5)
// and 7; the post 8 is of platform 5, of the team NULL.
func explainView(t *testing.T, m *mapping.Mapper) *view {
	t.Helper()
	v := newView(m)
	v.connect(t, "1", text("hr", "eu"), "team:3")
	v.connect(t, "2", text("dev", "us"), "team:3", "platform:5")
	v.connect(t, "7", text("dev", "eu"))
	posts := binlog.TableName{Schema: "app", Table: "posts"}
	plans := map[string][]string{"[8]": {"5", ""}, "[9]": nil}
	for key, values := range plans {
		v.parents[mapping.ParentRef{Table: posts, Key: key}] = mapping.Parent{Exists: values != nil, Values: values}
	}
	return v
}

func explainPlan(t *testing.T, set func(*mapping.Table)) (*mapping.Mapper, *mapping.Plan) {
	t.Helper()
	rule := mapping.Table{Fields: explainFields}
	set(&rule)
	m := mapperOf(t, scoped(rule))
	plans, err := m.Plans(explainTable)
	if err != nil {
		t.Fatal(err)
	}
	return m, plans[0]
}

func TestExplain(t *testing.T) {
	paths := mapping.AnyOf("platform:{post_id -> posts.platform_id}", `team:{about(Post) -> posts.team_id}`)
	base := []string{"1", "7", "3", "8", "Post", "8", "tea", "eu", "100"}
	for _, tt := range []struct {
		name string
		set  func(*mapping.Table)
		user mapping.UserKey
		row  []string
		want string
	}{
		{"own", func(r *mapping.Table) { r.VisibleTo = mapping.AnyOf("user:{owner_id}", "team:{team_id}") }, "7", base, `
yes
yes: (user:{owner_id}: yes user:7 app.todos owner_id=7; it is the user's own key)
no: (team:{team_id}: no team:3 app.todos team_id=3; the user is no member)
id shown
title shown
salary shown
`},
		{"absent", func(r *mapping.Table) {
			r.VisibleTo = []mapping.Alternative{{"user:{owner_id}", "team:{team_id}"}, {"public"}, {"channel:team.{team_id}"}}
			r.Where = `region == "eu"`
		}, "8", base, `
laravel
region == "eu": yes region=
no: (user:{owner_id}: no user:7 app.todos owner_id=7; it is another user's key) (team:{team_id}: unknown team:3 app.todos team_id=3; the user is not connected, so his memberships are not known)
unknown: (public: unknown public; the user is not connected, and would see it if he were)
laravel: (channel:team.{team_id}: laravel private-team.3 app.todos team_id=3; who may hear this channel is for Laravel to say)
id shown
title shown
salary shown
`},
		{"through parents", func(r *mapping.Table) { r.VisibleTo = paths }, "2", base, `
yes
yes: (platform:{post_id -> posts.platform_id}: yes platform:5 app.todos post_id=8 app.posts[8] platform_id=5; the user is a member)
no: (team:{about(Post) -> posts.team_id}: no  app.todos about_id=8 app.posts[8] team_id=null; team_id of app.posts is NULL)
id shown
title shown
salary shown
`},
		{
			"of a parent that is gone, and of another type", func(r *mapping.Table) { r.VisibleTo = paths }, "2",
			[]string{"1", "7", "3", "9", "Video", "8", "tea", "eu", "100"},
			`
no
no: (platform:{post_id -> posts.platform_id}: no  app.todos post_id=9 app.posts[9]; there is no row [9] in app.posts)
no: (team:{about(Post) -> posts.team_id}: no  app.todos about_id=8; about_type is "Video", not "Post")
id shown
title shown
salary shown
`,
		},
		{
			"of a parent that is not known, and of none", func(r *mapping.Table) { r.VisibleTo = paths }, "2",
			[]string{"1", "7", "3", "10", "Post", "NULL", "tea", "eu", "100"},
			`
unknown
unknown: (platform:{post_id -> posts.platform_id}: unknown  app.todos post_id=10 app.posts[10]; the row [10] of app.posts is not known yet)
no: (team:{about(Post) -> posts.team_id}: no  app.todos about_id=null; about_id is NULL)
id shown
title shown
salary shown
`,
		},
		{"the filter stops it", func(r *mapping.Table) {
			r.VisibleTo = mapping.AnyOf("team:{team_id}")
			r.Where = `user.region == region and title != "x"`
		}, "2", base, `
no
user.region == region and title != "x": no title="tea" region= user.region="us"
yes: (team:{team_id}: yes team:3 app.todos team_id=3; the user is a member)
id shown
title shown
salary shown
`},
		{"columns", func(r *mapping.Table) {
			r.VisibleTo = mapping.AnyOf("team:{team_id}")
			r.Where = `salary != "0"`
			r.Columns = map[string]mapping.Column{
				"salary": {VisibleIf: `user.role == "hr" or user.id == owner_id`}, "title": {Mask: "name", UnmaskedIf: `user.role == "hr"`},
			}
		}, "2", base, `
yes
salary != "0": yes salary=
yes: (team:{team_id}: yes team:3 app.todos team_id=3; the user is a member)
id shown
title masked by user.role == "hr": no user.role="dev"
salary hidden by user.role == "hr" or user.id == owner_id: no owner_id= user.id=2 user.role="dev"
`},
		{"columns of another", func(r *mapping.Table) {
			r.VisibleTo = mapping.AnyOf("team:{team_id}")
			r.Where = `salary != "0"`
			r.Columns = map[string]mapping.Column{"salary": {VisibleIf: `user.role == "hr"`}, "title": {Mask: "name"}}
		}, "1", base, `
yes
salary != "0": yes salary="100"
yes: (team:{team_id}: yes team:3 app.todos team_id=3; the user is a member)
id shown
title masked
salary shown by user.role == "hr": yes user.role="hr"
`},
		{"columns of one who is not there", func(r *mapping.Table) {
			r.VisibleTo = mapping.AnyOf("user:{owner_id}")
			r.Columns = map[string]mapping.Column{"salary": {VisibleIf: `user.role == "hr"`}}
		}, "8", base, `
no
no: (user:{owner_id}: no user:7 app.todos owner_id=7; it is another user's key)
id shown
title shown
salary unknown by user.role == "hr": unknown
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, p := explainPlan(t, tt.set)
			e, err := p.Explain(row(explainTable, tt.row...), explainView(t, m), tt.user)
			if err != nil {
				t.Fatal(err)
			}
			if got := explained(e); got != tt.want[1:] {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want[1:])
			}
			if _, err := json.Marshal(e); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is explained of who is connected is what happens.
func TestExplanationIsWhatHappens(t *testing.T) {
	pick := func(list ...string) string { return list[rand.N(len(list))] }
	entry := func() string {
		return pick("user:{owner_id}", "team:{team_id}", "platform:{post_id -> posts.platform_id}", "team:{about(Post) -> posts.team_id}", "public")
	}
	condition := func() string {
		return pick("", `region == "eu"`, `user.role == "hr"`, `user.id == owner_id`, `title != "tea" or user.region == region`)
	}
	for range 2000 {
		m, p := explainPlan(t, func(r *mapping.Table) {
			for range 1 + rand.N(2) {
				a := mapping.Alternative{entry()}
				if other := entry(); rand.N(2) == 0 && other != a[0] {
					a = append(a, other)
				}
				r.VisibleTo = append(r.VisibleTo, a)
			}
			r.Where = condition()
			r.Columns = map[string]mapping.Column{"salary": {VisibleIf: condition()}}
			if mask := condition(); mask != "" {
				r.Columns["title"] = mapping.Column{Mask: "fixed:x", UnmaskedIf: mask}
			}
		})
		v := explainView(t, m)
		r := row(explainTable, "1", pick("1", "7", "NULL"), pick("3", "4", "NULL"), pick("8", "9", "NULL"), pick("Post", "Video"),
			pick("8", "9", "NULL"), pick("tea", "milk"), pick("eu", "us"), "100")
		for key, u := range v.users.All() {
			e, err := p.Explain(r, v, key)
			if err != nil {
				t.Fatal(err)
			}
			visible, variant, err := p.Judge(r, v, u)
			if err != nil {
				t.Fatal(err)
			}
			if (e.Visible == mapping.Yes) != visible || e.Visible != mapping.Yes && e.Visible != mapping.No {
				t.Fatalf("user %s sees it: %t, and the explanation is\n%s", key, visible, explained(e))
			}
			if !visible {
				continue
			}
			h := mapping.Harmonic{Plan: p, Operation: harmonic.Update, Row: r, Variant: variant}
			payload, err := h.AppendPayload(nil, testID, testAt)
			if err != nil {
				t.Fatal(err)
			}
			sent, err := harmonic.Parse(payload)
			if err != nil {
				t.Fatal(err)
			}
			var data map[string]any
			if err := json.Unmarshal(sent.Data, &data); err != nil {
				t.Fatal(err)
			}
			for _, f := range e.Fields {
				value, there := data[f.Field]
				state := "shown"
				if !there {
					state = "hidden"
				} else if value == "x" {
					state = "masked"
				}
				if f.State != state {
					t.Fatalf("user %s: %s is %s in %s, and the explanation is\n%s", key, f.Field, state, payload, explained(e))
				}
			}
		}
	}
}
