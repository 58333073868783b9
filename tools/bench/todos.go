package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/tools/services"
)

// The table that is measured: what a Laravel app's migration makes, with a
// column of every common type.
const (
	database    = "app"
	createTodos = `CREATE TABLE todos (
		id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
		user_id BIGINT UNSIGNED NOT NULL,
		title VARCHAR(255) NOT NULL,
		notes TEXT NULL,
		done TINYINT(1) NOT NULL DEFAULT 0,
		price DECIMAL(10,2) NOT NULL,
		meta JSON NULL,
		due_at DATETIME NULL,
		created_at TIMESTAMP NULL,
		updated_at TIMESTAMP NULL
	)`
)

// todos is the table's mapping: every column, to its user.
var todos = mapping.Table{
	Fields:    []string{"id", "user_id", "title", "notes", "done", "price", "meta", "due_at", "created_at", "updated_at"},
	VisibleTo: mapping.AnyOf("user:{user_id}"),
	Casts:     map[string]string{"done": "boolean"},
}

const todoColumns = "id, user_id, title, notes, done, price, meta, due_at, created_at, updated_at"

// userChannel is chorusd's own default for the channel of a user.
const userChannel = "chorus.user.{id}"

// appendTodo writes a row's todoColumns as SQL has them after VALUES. The same arguments give
// the same row.
func appendTodo(dst []byte, id, user int) []byte {
	day := time.Date(2026, time.January, 1, 8, 0, 0, 0, time.UTC).Add(time.Duration(id) * 37 * time.Second)
	stamp := func(after time.Duration) string { return day.Add(after).Format(time.DateTime) }
	return fmt.Appendf(dst, `(%d,%d,'Réviser le "contrat" %d','Appeler le client, puis envoyer la version %d; voir le dossier partagé.',%d,%d.%02d,`+
		`'{"labels":["urgent","client-%d"],"position":%d,"pinned":%t}','%s','%s','%s')`,
		id, user, id, id%7, id&1, id%9000, id%100, id%50, id%1000, id%3 == 0, stamp(72*time.Hour), stamp(0), stamp(time.Hour))
}

// startDatabase starts a MySQL server that has the table. Its owner stops it.
func startDatabase(ctx context.Context, args ...string) (*services.SQLServer, *sql.DB, error) {
	server, err := services.StartMySQL(ctx, services.SQLOptions{Args: args})
	if err != nil {
		return nil, nil, err
	}
	db, err := sql.Open("mysql", server.DSN(""))
	if err == nil {
		_, err = db.ExecContext(ctx, "CREATE DATABASE "+database)
	}
	if err == nil {
		_ = db.Close()
		db, err = sql.Open("mysql", server.DSN(database))
	}
	if err == nil {
		_, err = db.ExecContext(ctx, createTodos)
	}
	if err != nil {
		_ = server.Stop()
		return nil, nil, fmt.Errorf("create the table: %w", err)
	}
	return server, db, nil
}
