package main

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/chorusd/chorusd/tools/services"
)

// databaseName is the app's database.
const databaseName = "app"

//go:embed schema.sql
var schema string

// account is a database user.
type account struct {
	User, Password string
}

// accounts are the database's users.
type accounts struct {
	app     account // the app: reads and writes rows
	chorusd account // chorusd: reads the binlog and rows, writes nothing
}

func newAccounts() accounts {
	return accounts{
		app:     account{User: "app", Password: newSecret()},
		chorusd: account{User: "chorusd", Password: newSecret()},
	}
}

// createDatabase creates the app's database with its rows, and the accounts
// with no more rights than they need.
func createDatabase(ctx context.Context, server *services.SQLServer, accounts accounts) error {
	db, err := sql.Open("mysql", server.DSN("", "multiStatements=true"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return fmt.Errorf("create tables and rows: %w", err)
	}
	statements := []string{
		createUser(accounts.app),
		"GRANT SELECT ON app.* TO 'app'@'%'",
		"GRANT INSERT, UPDATE, DELETE ON app.todos TO 'app'@'%'",
		"GRANT INSERT, UPDATE, DELETE ON app.notes TO 'app'@'%'",
		createUser(accounts.chorusd),
		"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'chorusd'@'%'",
		"GRANT SELECT ON app.* TO 'chorusd'@'%'",
	}
	if _, err := db.ExecContext(ctx, strings.Join(statements, ";\n")); err != nil {
		return fmt.Errorf("create accounts: %w", err)
	}
	return nil
}

// createUser is the statement that creates an account; a password of newSecret
// needs no escaping.
func createUser(a account) string {
	return fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", a.User, a.Password)
}

// openDatabase opens the app's database for an account. Every use gets a
// connection of its own, so that what one statement of the panel sets or
// leaves open does not outlive it.
func openDatabase(addr string, a account) (*sql.DB, error) {
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", addr
	config.User, config.Passwd = a.User, a.Password
	config.DBName = databaseName
	config.ParseTime = true
	config.Params = map[string]string{"time_zone": "'+00:00'"}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(-1)
	return db, nil
}

// serverVersion returns the server's name and version, "MySQL 9.7.4".
func serverVersion(ctx context.Context, db *sql.DB) (string, error) {
	var version string
	if err := db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return "", err
	}
	number, rest, _ := strings.Cut(version, "-")
	if strings.Contains(rest, "MariaDB") {
		return "MariaDB " + number, nil
	}
	return "MySQL " + number, nil
}

// user is a user of the app.
type user struct {
	ID         int64  `json:"id"`
	Name       string `json:"name"`
	PlatformID int64  `json:"platform_id"`
}

// findUser returns a user, or nil if there is none of that id.
func findUser(ctx context.Context, db *sql.DB, id int64) (*user, error) {
	u := user{ID: id}
	err := db.QueryRowContext(ctx, "SELECT name, platform_id FROM users WHERE id = ?", id).Scan(&u.Name, &u.PlatformID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &u, err
}

// todo and note are rows as clients get them: the same fields in the same JSON
// forms as chorusd sends.
type todo struct {
	ID        int64   `json:"id"`
	UserID    int64   `json:"user_id"`
	Title     string  `json:"title"`
	Done      bool    `json:"done"`
	Hours     decimal `json:"hours"`
	CreatedAt isoTime `json:"created_at"`
	UpdatedAt isoTime `json:"updated_at"`
}

type note struct {
	ID         int64   `json:"id"`
	PlatformID int64   `json:"platform_id"`
	Body       string  `json:"body"`
	CreatedAt  isoTime `json:"created_at"`
	UpdatedAt  isoTime `json:"updated_at"`
}

// decimal is a DECIMAL, whose JSON form is a string with its scale.
type decimal = string

// isoTime is a TIMESTAMP; its JSON form is UTC with microseconds.
type isoTime struct{ time.Time }

// MarshalJSON writes the time as Laravel does.
func (t isoTime) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format("2006-01-02T15:04:05.000000Z"))
}

// Scan reads what the driver gives.
func (t *isoTime) Scan(value any) error {
	at, ok := value.(time.Time)
	if !ok {
		return fmt.Errorf("%T is no time", value)
	}
	t.Time = at
	return nil
}

// visibleTodos returns the todos that a user may see.
func visibleTodos(ctx context.Context, db *sql.DB, u *user) ([]todo, error) {
	const query = `SELECT id, user_id, title, done, hours, created_at, updated_at
		FROM todos WHERE user_id = ? ORDER BY id`
	return collect(ctx, db, func(rows *sql.Rows, t *todo) error {
		return rows.Scan(&t.ID, &t.UserID, &t.Title, &t.Done, &t.Hours, &t.CreatedAt, &t.UpdatedAt)
	}, query, u.ID)
}

// visibleNotes returns the notes that a user may see.
func visibleNotes(ctx context.Context, db *sql.DB, u *user) ([]note, error) {
	const query = `SELECT id, platform_id, body, created_at, updated_at
		FROM notes WHERE platform_id = ? ORDER BY id`
	return collect(ctx, db, func(rows *sql.Rows, n *note) error {
		return rows.Scan(&n.ID, &n.PlatformID, &n.Body, &n.CreatedAt, &n.UpdatedAt)
	}, query, u.PlatformID)
}

// collect reads all rows of a query; the result is never nil.
func collect[R any](ctx context.Context, db *sql.DB, scan func(*sql.Rows, *R) error, query string, args ...any) ([]R, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	records := []R{}
	for rows.Next() {
		var record R
		if err := scan(rows, &record); err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, rows.Err()
}
