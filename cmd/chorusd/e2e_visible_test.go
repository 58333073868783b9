package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/tools/services"
)

// watched is a chorusd whose every message is accounted for: a client listens
// on channels, and what comes on them is compared step by step.
type watched struct {
	*stack
	daemon *daemon
	client *client
	seen   map[string]int // events of a channel that were compared
	marks  int
}

// told is what is to come, by channel.
type told map[string][]string

const (
	marksTable   = "CREATE TABLE marks (id INT PRIMARY KEY)"
	marksMapping = `
[tables.marks]
fields = ["id"]
visible_to = ["channel:marks"]
`
)

// watch starts chorusd, and listens on the channels of all who may get
// something. No channel lapses, however slow the machine is.
func (s *stack) watch(t *testing.T, channels ...string) *watched {
	t.Helper()
	w := &watched{stack: s, seen: map[string]int{}}
	w.daemon = s.start(t, "--channels.lease=10m")
	w.client = s.subscribe(t, append(channels, "marks")...)
	w.daemon.awaitActive(t, len(w.client.channels))
	w.quiet(t)
	for _, name := range channels {
		w.seen[name] = len(w.client.got(name))
	}
	return w
}

// quiet waits until everything that was committed has come to the client,
// whose one connection gives it in the order in which it was sent.
func (w *watched) quiet(t *testing.T) {
	t.Helper()
	w.mark(t)
	j := &judged{T: t, stack: w.stack, daemon: w.daemon}
	eventually(t, "chorusd has nothing left to do", func() bool { return j.Left() == "" })
	w.mark(t)
}

// mark has a message of its own pass behind all others.
func (w *watched) mark(t *testing.T) {
	t.Helper()
	w.marks++
	w.db.MustExec(t, fmt.Sprintf("INSERT INTO marks VALUES (%d)", w.marks))
	want := fmt.Sprintf(`create marks %[1]d {"id":%[1]d}`, w.marks)
	eventually(t, "the mark has come", func() bool {
		texts := w.client.texts("marks")
		return slices.Contains(texts[max(0, len(texts)-5):], want)
	})
}

var controlFields = regexp.MustCompile(`^` + regexp.QuoteMeta(harmonic.EventControl) + ` \{"type":"([^"]*)".*`)

// step executes statements, and has exactly what is wanted come of it, and
// nothing on the other channels. Rows that nobody wrote are sent in no order,
// and again where there are two reasons. A control message is wanted by its type.
func (w *watched) step(t *testing.T, what string, want told, statements ...string) {
	t.Helper()
	w.db.MustExec(t, statements...)
	w.quiet(t)
	for name := range want {
		if _, ok := w.seen[name]; !ok {
			t.Fatalf("%s: nobody listens on %s", what, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.seen)) {
		all := w.client.texts(name)
		got := slices.Clone(all[w.seen[name]:])
		w.seen[name] = len(all)
		texts := slices.Clone(want[name])
		for i, text := range got {
			got[i] = controlFields.ReplaceAllString(text, "$1")
		}
		slices.Sort(got)
		slices.Sort(texts)
		got = slices.Compact(got)
		if !slices.Equal(got, texts) {
			t.Errorf("%s: %s got\n\t%s\nwant\n\t%s", what, name, strings.Join(got, "\n\t"), strings.Join(texts, "\n\t"))
		}
	}
}

const visibleTables = `
[users]
source = "users"
key = "id"
attributes = ["role"]
[[scopes.team.members]]
source = "seats"
scope = "team_id"
user = "user_id"
where = 'role in ["editor", "owner"]'
[tables.docs]
fields = ["id", "team_id", "title", "salary"]
visible_to = ["team:{team_id}", "user:{author_id}"]
where = 'deleted_at == nil and (secret == 0 or user.role == "boss")'
[tables.docs.columns.salary]
visible_if = 'user.role == "boss"'
[tables.comments]
fields = ["id", "body"]
visible_to = ["team:{post_id -> posts.thread_id -> threads.team_id}"]
[tables.replies]
fields = ["id", "body"]
visible_to = ["team:{comment_id -> comments.post_id -> posts.thread_id -> threads.team_id}"]
[tables.reactions]
fields = ["id", "emoji"]
visible_to = [
	'team:{target(App\Models\Post) -> posts.thread_id -> threads.team_id}',
	'team:{target(comment) -> comments.post_id -> posts.thread_id -> threads.team_id}',
]
[tables.lines]
key = ["org_id", "order_no", "line"]
fields = ["org_id", "order_no", "line", "item"]
visible_to = ["team:{org_id, order_no -> purchases.team_id}"]
`

// visibleRows: users 1 and 2 are editors of teams 1 and 2, 3 is an owner of
// both, and 4 only reads in team 1, which is no membership.
var visibleRows = []string{
	marksTable,
	"CREATE TABLE users (id INT PRIMARY KEY, role VARCHAR(10) NOT NULL)",
	"CREATE TABLE seats (team_id INT, user_id INT, role VARCHAR(10) NOT NULL, PRIMARY KEY (team_id, user_id), KEY (user_id))",
	`CREATE TABLE docs (id INT PRIMARY KEY, team_id INT, author_id INT, title VARCHAR(20), salary INT, secret TINYINT(1) NOT NULL DEFAULT 0,
		deleted_at DATETIME NULL, KEY (team_id), KEY (author_id))`,
	"CREATE TABLE threads (id INT PRIMARY KEY, team_id INT, KEY (team_id))",
	"CREATE TABLE posts (id INT PRIMARY KEY, thread_id INT, KEY (thread_id))",
	"CREATE TABLE comments (id INT PRIMARY KEY, post_id INT, body VARCHAR(20), KEY (post_id))",
	"CREATE TABLE replies (id INT PRIMARY KEY, comment_id INT, body VARCHAR(20), KEY (comment_id))",
	"CREATE TABLE reactions (id INT PRIMARY KEY, target_type VARCHAR(30), target_id INT, emoji VARCHAR(10), KEY (target_id))",
	"CREATE TABLE purchases (org_id INT, order_no INT, team_id INT, PRIMARY KEY (org_id, order_no), KEY (team_id))",
	"CREATE TABLE `lines` (org_id INT, order_no INT, line INT, item VARCHAR(10), PRIMARY KEY (org_id, order_no, line))",
	"INSERT INTO users VALUES (1, 'dev'), (2, 'dev'), (3, 'dev'), (4, 'dev')",
	"INSERT INTO seats VALUES (1, 1, 'editor'), (2, 2, 'editor'), (1, 3, 'owner'), (2, 3, 'owner'), (1, 4, 'reader')",
}

// TestRowsComeAndLeave has rows come to users and leave them for every reason that
// there is, and looks at each message that anybody gets.
func TestRowsComeAndLeave(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		s := newStack(t, onServers{kind: kind}, marksMapping+visibleTables, visibleRows...)
		const one, two, three, four = "chorus.user.1", "chorus.user.2", "chorus.user.3", "chorus.user.4"
		w := s.watch(t, one, two, three, four)
		step := func(what string, want told, statements ...string) {
			t.Helper()
			w.step(t, what, want, statements...)
		}
		plain := func(operation string, id, team int, title string) string {
			return fmt.Sprintf(`%s docs %d {"id":%d,"team_id":%d,"title":"%s"}`, operation, id, id, team, title)
		}
		paid := func(operation string, id, team int, title string) string {
			return fmt.Sprintf(`%s docs %d {"id":%d,"team_id":%d,"title":"%s","salary":%d}`, operation, id, id, team, title, 100*id)
		}
		lost := func(table, key, data string) string { return fmt.Sprintf("delete %s %s {%s}", table, key, data) }

		step("documents are written", told{
			one:   {plain("create", 1, 1, "a"), plain("create", 2, 1, "b")},
			two:   {plain("create", 1, 1, "a"), plain("create", 4, 2, "d")},
			three: {plain("create", 1, 1, "a"), plain("create", 2, 1, "b"), plain("create", 4, 2, "d")},
		}, `INSERT INTO docs VALUES (1, 1, 2, 'a', 100, 0, NULL), (2, 1, NULL, 'b', 200, 0, NULL),
			(3, 1, NULL, 'c', 300, 1, NULL), (4, 2, NULL, 'd', 400, 0, NULL)`)

		// By the row's own columns: the image before, in what each could see.
		step("a row moves to another team, and its author keeps it", told{
			one:   {plain("delete", 1, 1, "a")},
			two:   {plain("update", 1, 2, "a2")},
			three: {plain("update", 1, 2, "a2")},
		}, "UPDATE docs SET team_id = 2, title = 'a2' WHERE id = 1")
		step("its author gives it away, and keeps it by the team", nil, "UPDATE docs SET author_id = NULL WHERE id = 1")
		step("it is nobody's", told{
			two: {plain("delete", 1, 2, "a2")}, three: {plain("delete", 1, 2, "a2")},
		}, "UPDATE docs SET team_id = NULL, title = 'none' WHERE id = 1")
		step("a row is deleted softly", told{
			one: {plain("delete", 2, 1, "b")}, three: {plain("delete", 2, 1, "b")},
		}, "UPDATE docs SET deleted_at = '2026-11-22 12:00:00', title = 'gone' WHERE id = 2")
		step("nobody is told of what is deleted", nil, "UPDATE docs SET title = 'still gone' WHERE id = 2")
		step("it is restored", told{
			one: {plain("create", 2, 1, "back")}, three: {plain("create", 2, 1, "back")},
		}, "UPDATE docs SET deleted_at = NULL, title = 'back' WHERE id = 2")

		// By a role, in the filter and in the columns.
		step("a user becomes boss", told{
			one: {paid("update", 2, 1, "back"), paid("update", 3, 1, "c")},
		}, "UPDATE users SET role = 'boss' WHERE id = 1")
		step("a column that a boss alone sees changes", told{
			one: {`update docs 2 {"id":2,"team_id":1,"title":"back","salary":250}`},
		}, "UPDATE docs SET salary = 250 WHERE id = 2")
		step("a secret is told to the boss", told{
			one: {`delete docs 3 {"id":3,"team_id":1,"title":"c","salary":300}`},
		}, "DELETE FROM docs WHERE id = 3")
		step("another one", told{one: {paid("create", 5, 1, "e")}}, "INSERT INTO docs VALUES (5, 1, NULL, 'e', 500, 1, NULL)")
		step("the user is no boss any more", told{
			one: {plain("update", 2, 1, "back"), lost("docs", "5", `"id":5`)},
		}, "UPDATE users SET role = 'dev' WHERE id = 1")

		// By parents: two hops to a comment's team, three to a reply's.
		step("parents are written", nil,
			"INSERT INTO threads VALUES (1, 1), (2, 2), (3, 1)", "INSERT INTO posts VALUES (1, 1), (2, 2)",
			"INSERT INTO purchases VALUES (1, 1, 1), (1, 2, 2)")
		ofOne := []string{
			`create comments 1 {"id":1,"body":"c1"}`, `create comments 2 {"id":2,"body":"c2"}`, `create replies 1 {"id":1,"body":"r1"}`,
			`create reactions 1 {"id":1,"emoji":"tada"}`,
			`create lines [1,1,1] {"org_id":1,"order_no":1,"line":1,"item":"tea"}`, `create lines [1,1,2] {"org_id":1,"order_no":1,"line":2,"item":"milk"}`,
		}
		ofTwo := []string{
			`create comments 3 {"id":3,"body":"c3"}`, `create replies 2 {"id":2,"body":"r2"}`, `create reactions 2 {"id":2,"emoji":"heart"}`,
			`create lines [1,2,1] {"org_id":1,"order_no":2,"line":1,"item":"ink"}`,
		}
		step("comments are, and what else hangs on them", told{one: ofOne[:2], two: ofTwo[:1], three: slices.Concat(ofOne[:2], ofTwo[:1])},
			"INSERT INTO comments VALUES (1, 1, 'c1'), (2, 1, 'c2'), (3, 2, 'c3')")
		step("and what hangs on those", told{one: ofOne[2:], two: ofTwo[1:], three: slices.Concat(ofOne[2:], ofTwo[1:])},
			"INSERT INTO replies VALUES (1, 1, 'r1'), (2, 3, 'r2')",
			`INSERT INTO reactions VALUES (1, 'App\\Models\\Post', 1, 'tada'), (2, 'comment', 3, 'heart'), (3, 'video', 1, 'no')`,
			"INSERT INTO `lines` VALUES (1, 1, 1, 'tea'), (1, 1, 2, 'milk'), (1, 2, 1, 'ink')")
		step("a parent's parent moves", told{
			one: {
				lost("comments", "1", `"id":1`), lost("comments", "2", `"id":2`), lost("replies", "1", `"id":1`),
				lost("reactions", "1", `"id":1`),
			},
			two: {
				`update comments 1 {"id":1,"body":"c1"}`, `update comments 2 {"id":2,"body":"c2"}`, `update replies 1 {"id":1,"body":"r1"}`,
				`update reactions 1 {"id":1,"emoji":"tada"}`,
			},
		}, "UPDATE threads SET team_id = 2 WHERE id = 1")
		step("a parent between them moves", told{
			one: {`update comments 3 {"id":3,"body":"c3"}`, `update replies 2 {"id":2,"body":"r2"}`, `update reactions 2 {"id":2,"emoji":"heart"}`},
			two: {lost("comments", "3", `"id":3`), lost("replies", "2", `"id":2`), lost("reactions", "2", `"id":2`)},
		}, "UPDATE posts SET thread_id = 3 WHERE id = 2")
		step("a comment moves by its own column, and its reply with it", told{
			one: {`create comments 1 {"id":1,"body":"c1"}`, `update replies 1 {"id":1,"body":"r1"}`},
			two: {`delete comments 1 {"id":1,"body":"c1"}`, lost("replies", "1", `"id":1`)},
		}, "UPDATE comments SET post_id = 2 WHERE id = 1")
		step("what is written below is told of to whom the parents say", told{
			one:   {`create replies 3 {"id":3,"body":"r3"}`},
			two:   {`create replies 4 {"id":4,"body":"r4"}`},
			three: {`create replies 3 {"id":3,"body":"r3"}`, `create replies 4 {"id":4,"body":"r4"}`},
		}, "INSERT INTO replies VALUES (3, 1, 'r3'), (4, 2, 'r4')")

		// Polymorphic parents.
		step("a reaction gets a parent of another type, and keeps its key", told{
			one: {`create reactions 1 {"id":1,"emoji":"tada"}`},
			two: {`delete reactions 1 {"id":1,"emoji":"tada"}`},
		}, "UPDATE reactions SET target_type = 'comment' WHERE id = 1")
		step("one of a type that is not mapped is nobody's", told{
			one:   {`delete reactions 1 {"id":1,"emoji":"tada"}`},
			three: {`delete reactions 1 {"id":1,"emoji":"tada"}`},
		}, "UPDATE reactions SET target_type = 'video' WHERE id = 1")

		// Composite keys, of the row and of its parent.
		step("an order moves", told{
			one: {lost("lines", "[1,1,1]", `"org_id":1,"order_no":1,"line":1`), lost("lines", "[1,1,2]", `"org_id":1,"order_no":1,"line":2`)},
			two: {
				`update lines [1,1,1] {"org_id":1,"order_no":1,"line":1,"item":"tea"}`,
				`update lines [1,1,2] {"org_id":1,"order_no":1,"line":2,"item":"milk"}`,
			},
		}, "UPDATE purchases SET team_id = 2 WHERE order_no = 1")
		step("a line gets another key", told{
			two: {
				`delete lines [1,1,2] {"org_id":1,"order_no":1,"line":2,"item":"milk"}`,
				`create lines [1,2,2] {"org_id":1,"order_no":2,"line":2,"item":"milk"}`,
			},
			three: {
				`delete lines [1,1,2] {"org_id":1,"order_no":1,"line":2,"item":"milk"}`,
				`create lines [1,2,2] {"org_id":1,"order_no":2,"line":2,"item":"milk"}`,
			},
		}, "UPDATE `lines` SET order_no = 2 WHERE line = 2")

		// A role has nothing to do with tables that do not ask for it.
		step("a user who has much else becomes boss", told{
			one: {paid("update", 5, 1, "e"), `update docs 2 {"id":2,"team_id":1,"title":"back","salary":250}`},
		}, "UPDATE users SET role = 'boss' WHERE id = 1")
		step("and boss no more", told{
			one: {plain("update", 2, 1, "back"), lost("docs", "5", `"id":5`)},
		}, "UPDATE users SET role = 'dev' WHERE id = 1")

		// By a membership: one sees of team 1 the document 2, all that hangs on
		// post 2; nothing that has moved to team 2, and not the secret 5.
		ones := []string{
			plain("update", 2, 1, "back"), `update comments 1 {"id":1,"body":"c1"}`, `update comments 3 {"id":3,"body":"c3"}`,
			`update replies 1 {"id":1,"body":"r1"}`, `update replies 2 {"id":2,"body":"r2"}`, `update replies 3 {"id":3,"body":"r3"}`,
			`update reactions 2 {"id":2,"emoji":"heart"}`,
		}
		taken := []string{
			lost("docs", "2", `"id":2`), lost("comments", "1", `"id":1`), lost("comments", "3", `"id":3`),
			lost("replies", "1", `"id":1`), lost("replies", "2", `"id":2`), lost("replies", "3", `"id":3`), lost("reactions", "2", `"id":2`),
		}
		step("the role of a reader lets him in", told{four: ones}, "UPDATE seats SET role = 'editor' WHERE user_id = 4")
		step("another role changes nothing", nil, "UPDATE seats SET role = 'owner' WHERE user_id = 4")
		step("his own row", told{one: {plain("create", 6, 1, "f")}, three: {plain("create", 6, 1, "f")}, four: {plain("create", 6, 1, "f")}},
			"INSERT INTO docs VALUES (6, 1, 4, 'f', 600, 0, NULL)")
		step("he is put out, and keeps what is his", told{four: taken}, "UPDATE seats SET role = 'reader' WHERE user_id = 4")
		step("a member is granted", told{four: ones},
			"DELETE FROM seats WHERE user_id = 4", "INSERT INTO seats VALUES (1, 4, 'owner')")
		step("and revoked", told{four: taken}, "DELETE FROM seats WHERE user_id = 4")
		step("what is not his any more goes its way without him", told{
			one:   {`update comments 3 {"id":3,"body":"x"}`, plain("delete", 6, 1, "f")},
			three: {`update comments 3 {"id":3,"body":"x"}`, plain("delete", 6, 1, "f")},
			four:  {plain("delete", 6, 1, "f")},
		}, "UPDATE comments SET body = 'x' WHERE id = 3", "DELETE FROM docs WHERE id = 6")
		w.daemon.terminate(t)
	})
}
