package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// actionTimeout bounds one action of the panel.
	actionTimeout = 10 * time.Second
	// actionLimit is the largest request of the panel, in bytes.
	actionLimit = 64 << 10
	// manyRows is how many rows the action "many" adds.
	manyRows = 500
)

// action is what the panel asks for; which fields count depends on its name.
type action struct {
	Key   int64  `json:"key"`
	User  int64  `json:"user"`
	Title string `json:"title"`
	Done  bool   `json:"done"`
	SQL   string `json:"sql"`
}

// statement is SQL with its arguments.
type statement struct {
	text string
	args []any
}

func stmt(text string, args ...any) statement { return statement{text, args} }

var errUnknownAction = errors.New("unknown action")

// statements returns what an action runs, in order and on one connection.
func (a action) statements(name string) ([]statement, error) {
	switch name {
	case "add":
		return []statement{stmt("INSERT INTO todos (user_id, title) VALUES (?, ?)", a.User, a.Title)}, nil
	case "toggle":
		return []statement{stmt("UPDATE todos SET done = NOT done WHERE id = ?", a.Key)}, nil
	case "rename":
		return []statement{stmt("UPDATE todos SET title = ? WHERE id = ?", a.Title, a.Key)}, nil
	case "move":
		return []statement{stmt("UPDATE todos SET user_id = ? WHERE id = ?", a.User, a.Key)}, nil
	case "delete":
		return []statement{stmt("DELETE FROM todos WHERE id = ?", a.Key)}, nil
	case "bulk":
		return []statement{stmt("UPDATE todos SET done = ? WHERE done = ?", a.Done, !a.Done)}, nil
	case "insert":
		return []statement{insertSix()}, nil
	case "many":
		return []statement{insertMany()}, nil
	case "clear":
		return []statement{stmt("DELETE FROM todos WHERE title LIKE 'One of five hundred, no. %'")}, nil
	case "rollback":
		return []statement{
			stmt("START TRANSACTION"),
			stmt("INSERT INTO todos (user_id, title) VALUES (?, ?)", 1, "This never happened"),
			stmt("UPDATE todos SET title = CONCAT(title, '?') WHERE done = 0"),
			stmt("ROLLBACK"),
		}, nil
	case "note":
		body := "Posted at " + time.Now().Format(time.TimeOnly) + ", one event for everybody"
		return []statement{stmt("INSERT INTO notes (platform_id, body) VALUES (?, ?)", 3, body)}, nil
	case "sql":
		return []statement{stmt(strings.TrimRight(strings.TrimSpace(a.SQL), ";"))}, nil
	}
	return nil, fmt.Errorf("%w %q", errUnknownAction, name)
}

// insertSix adds three rows for each user in one statement.
func insertSix() statement {
	return insertTodos([]string{
		"Punch the cards", "Load the drum", "Label the operands",
		"Count the carries", "Read the dials", "Ring the bell",
	})
}

// insertMany adds manyRows rows in one statement.
func insertMany() statement {
	titles := make([]string, manyRows)
	for i := range titles {
		titles[i] = fmt.Sprintf("One of five hundred, no. %d", i+1)
	}
	return insertTodos(titles)
}

// insertTodos adds a row for each title, to the users in turn.
func insertTodos(titles []string) statement {
	args := make([]any, 0, 2*len(titles))
	for i, title := range titles {
		args = append(args, 1+i%2, title)
	}
	rows := strings.TrimSuffix(strings.Repeat("(?, ?), ", len(titles)), ", ")
	return stmt("INSERT INTO todos (user_id, title) VALUES "+rows, args...)
}

// String returns the statement with its arguments in place, for people.
func (s statement) String() string {
	var text strings.Builder
	args := s.args
	for _, c := range s.text {
		if c != '?' || len(args) == 0 {
			text.WriteRune(c)
			continue
		}
		text.WriteString(literal(args[0]))
		args = args[1:]
	}
	return text.String()
}

func literal(arg any) string {
	switch arg := arg.(type) {
	case string:
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(arg) + "'"
	case bool:
		if arg {
			return "1"
		}
		return "0"
	default:
		return fmt.Sprint(arg)
	}
}

// ran is a statement that was run, as the page shows it.
type ran struct {
	SQL  string `json:"sql"`
	Rows *int64 `json:"rows"` // changed rows; null where there can be none
}

// result is what came of an action.
type result struct {
	Statements []ran  `json:"statements"`
	RolledBack bool   `json:"rolledBack"`
	Error      string `json:"error,omitempty"` // what the database said
}

// act runs an action of the panel.
func (a *app) act(w http.ResponseWriter, r *http.Request) {
	var params action
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, actionLimit)).Decode(&params); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	statements, err := params.statements(r.PathValue("name"))
	if errors.Is(err, errUnknownAction) {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), actionTimeout)
	defer cancel()
	res, err := execute(ctx, a.db, statements)
	if err != nil {
		a.internalError(w, r, err)
		return
	}
	reply(w, res)
}

// execute runs statements on one connection. What the database refuses is part
// of the result; an error means that it could not be asked.
func execute(ctx context.Context, db *sql.DB, statements []statement) (result, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return result{}, fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close()
	var res result
	for _, s := range statements {
		done := ran{SQL: s.String()}
		outcome, err := conn.ExecContext(ctx, s.text, s.args...)
		if refusal, ok := errors.AsType[*mysql.MySQLError](err); ok {
			res.Statements = append(res.Statements, done)
			res.Error = refusal.Message
			return res, nil
		}
		if err != nil {
			return result{}, fmt.Errorf("run %s: %w", s.text, err)
		}
		switch s.text {
		case "ROLLBACK":
			res.RolledBack = true
		case "START TRANSACTION":
		default:
			rows, err := outcome.RowsAffected()
			if err != nil {
				return result{}, fmt.Errorf("count the rows of %s: %w", s.text, err)
			}
			done.Rows = &rows
		}
		res.Statements = append(res.Statements, done)
	}
	return res, nil
}
