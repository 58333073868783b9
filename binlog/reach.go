package binlog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
)

// reach follows statements through views, triggers, routines and foreign keys
// to the tables that they may change, as the server's dictionary is now.
type reach struct {
	flavor Flavor
	wanted *watched // in lower case
	// harmless are the things that lead to no mapped table.
	harmless map[thing]bool
	passed   string   // place of the first statement that was let pass
	asked    Position // when the dictionary was last asked for one, or later
	conn     *client.Conn
	open     map[thing]bool // being followed
}

// thingsKept bounds what is remembered from one statement to the next.
const thingsKept = 4096

// thing is a table that is written, a view that is read, or a routine.
type thing struct {
	use  byte
	name TableName
}

const (
	written = 'w'
	read    = 'r'
	called  = 'c'
)

// unclearError says why it cannot be told what a statement changes.
type unclearError struct{ why string }

func (e *unclearError) Error() string { return e.why }

func newReach(s *Source) *reach {
	return &reach{flavor: s.server.Flavor, wanted: s.wanted.lower(), harmless: map[thing]bool{}}
}

func (n TableName) lower() TableName {
	return TableName{strings.ToLower(n.Schema), strings.ToLower(n.Table)}
}

// ofStatement names a mapped table that a statement may change, and how it
// comes to it; "" if there is none.
func (r *reach) ofStatement(conn *client.Conn, schema, text string, mode sqlMode) (string, error) {
	r.conn, r.open = conn, map[thing]bool{}
	refs := referencesOf(text, mode)
	for _, c := range refs.written {
		if name := c.table(schema); r.wanted.has(name.lower()) {
			return name.String(), nil
		}
	}
	if err := r.sees(); err != nil {
		if _, unclear := errors.AsType[*unclearError](err); unclear && r.elsewhere(schema, refs) {
			return "", nil
		}
		return "", err
	}
	table, err := r.follow(schema, refs)
	if table != "" || err != nil {
		return table, err
	}
	if len(refs.written) == 0 && !r.callsRoutine() {
		return "", &unclearError{"it calls a function that is not there any more"}
	}
	if len(r.harmless) > thingsKept {
		clear(r.harmless)
	}
	maps.Copy(r.harmless, r.open)
	return "", nil
}

// elsewhere says whether a statement names nothing in the databases of mapped
// tables. What it leads to by triggers, views and routines of others is left
// out of account.
func (r *reach) elsewhere(schema string, refs references) bool {
	if len(refs.written)+len(refs.called) == 0 {
		return false
	}
	for _, c := range slices.Concat(refs.written, refs.called, refs.named) {
		for _, name := range c.tables(schema) {
			if len(r.wanted.in(name.lower().Schema, false)) > 0 {
				return false
			}
		}
	}
	return true
}

func (r *reach) callsRoutine() bool {
	for t := range r.open {
		if t.use == called {
			return true
		}
	}
	return false
}

// concerns says whether a statement that changes definitions is about a thing
// that was followed, or of a kind that is.
func (r *reach) concerns(schema, statement string) bool {
	for _, t := range tokens(statement, sqlMode{}) {
		if t.is("VIEW", "TRIGGER", "FUNCTION", "PROCEDURE", "PACKAGE") {
			return true
		}
		if t.chain == nil {
			continue
		}
		for _, name := range t.chain.tables(schema) {
			if r.harmless[thing{written, name.lower()}] {
				return true
			}
		}
	}
	return false
}

// follow goes through what a statement or body writes, calls and reads.
func (r *reach) follow(schema string, refs references) (string, error) {
	for _, c := range refs.written {
		if table, err := r.write(c.table(schema)); table != "" || err != nil {
			return table, err
		}
	}
	for _, c := range refs.called {
		for _, name := range c.tables(schema) {
			if table, err := r.call(name); table != "" || err != nil {
				return table, err
			}
		}
	}
	for _, c := range refs.named {
		for _, name := range c.tables(schema) {
			if table, err := r.read(name); table != "" || err != nil {
				return table, err
			}
		}
	}
	return "", nil
}

// enter says whether a thing is still to be followed, and notes that it is.
func (r *reach) enter(use byte, name TableName) bool {
	t := thing{use, name.lower()}
	if r.open[t] || r.harmless[t] {
		r.open[t] = true
		return false
	}
	r.open[t] = true
	return true
}

// through adds a step to the way to a table.
func through(table string, err error, step string, name TableName) (string, error) {
	if table == "" || err != nil {
		return "", err
	}
	return fmt.Sprintf("%s through %s %s", table, step, name), nil
}

// write follows a table or view that is written.
func (r *reach) write(name TableName) (string, error) {
	if r.wanted.has(name.lower()) {
		return name.String(), nil
	}
	if !r.enter(written, name) {
		return "", nil
	}
	kind, err := r.kind(name)
	switch {
	case err != nil:
		return "", err
	case kind == "":
		return "", &unclearError{fmt.Sprintf("table %s is not there any more", name)}
	case strings.HasSuffix(kind, "VIEW"):
		return r.writeView(name)
	}
	list, err := rows(r.conn, fmt.Sprintf(`SELECT action_statement, sql_mode, trigger_schema, trigger_name FROM information_schema.triggers
		WHERE event_object_schema = %s AND event_object_table = %s`, literal(name.Schema), literal(name.Table)))
	if err != nil {
		return "", fmt.Errorf("read the triggers of %s: %w", name, err)
	}
	for _, row := range list {
		table, err := r.follow(string(row[2]), referencesOf(string(row[0]), modeOf(row[1])))
		if table != "" || err != nil {
			return through(table, err, "trigger", TableName{string(row[2]), string(row[3])})
		}
	}
	return r.cascade(name)
}

// cascade follows foreign keys that change the rows that refer to a table's.
func (r *reach) cascade(name TableName) (string, error) {
	list, err := rows(r.conn, fmt.Sprintf(`SELECT constraint_schema, table_name FROM information_schema.referential_constraints
		WHERE unique_constraint_schema = %s AND referenced_table_name = %s
		AND NOT (update_rule IN ('RESTRICT', 'NO ACTION') AND delete_rule IN ('RESTRICT', 'NO ACTION'))`,
		literal(name.Schema), literal(name.Table)))
	if err != nil {
		return "", fmt.Errorf("read the foreign keys to %s: %w", name, err)
	}
	for _, row := range list {
		table, err := r.write(TableName{string(row[0]), string(row[1])})
		if table != "" || err != nil {
			return through(table, err, "a foreign key to", name)
		}
	}
	return "", nil
}

// writeView follows a view to all tables that it is made of.
func (r *reach) writeView(name TableName) (string, error) {
	definition, err := r.definition(name)
	if err != nil {
		return "", err
	}
	refs := referencesOf(definition, sqlMode{})
	for _, c := range refs.named {
		if len(c) < 2 { // the server writes every table with its schema
			continue
		}
		base := TableName{c[0], c[1]}
		kind, err := r.kind(base)
		if err != nil {
			return "", err
		}
		if kind == "" {
			continue // a column of an alias
		}
		if table, err := r.write(base); table != "" || err != nil {
			return through(table, err, "view", name)
		}
	}
	table, err := r.follow(name.Schema, references{called: refs.called, named: refs.named})
	return through(table, err, "view", name)
}

// read follows what a statement reads, if it is a view: functions that it calls.
func (r *reach) read(name TableName) (string, error) {
	if !r.enter(read, name) {
		return "", nil
	}
	kind, err := r.kind(name)
	if err != nil || !strings.HasSuffix(kind, "VIEW") {
		return "", err
	}
	definition, err := r.definition(name)
	if err != nil {
		return "", err
	}
	refs := referencesOf(definition, sqlMode{})
	table, err := r.follow(name.Schema, references{called: refs.called, named: refs.named})
	return through(table, err, "view", name)
}

// call follows a routine, if there is one of that name.
func (r *reach) call(name TableName) (string, error) {
	if !r.enter(called, name) {
		return "", nil
	}
	query := `SELECT routine_definition, sql_mode, routine_body FROM information_schema.routines WHERE routine_schema = %s AND routine_name = %s`
	if r.flavor == MariaDB { // whose information schema leaves out what one may not see
		query = `SELECT body_utf8, sql_mode, language FROM mysql.proc WHERE db = %s AND name = %s`
	}
	list, err := rows(r.conn, fmt.Sprintf(query, literal(name.Schema), literal(name.Table)))
	if isError(err, mysql.ER_TABLEACCESS_DENIED_ERROR) {
		return "", &unclearError{"routines are not to be seen; to show them: GRANT SELECT ON mysql.proc"}
	}
	if err != nil {
		return "", fmt.Errorf("read the routine %s: %w", name, err)
	}
	if len(list) == 0 {
		delete(r.open, thing{called, name.lower()}) // the server's own
		return "", nil
	}
	for _, row := range list {
		if row[0] == nil || !strings.EqualFold(string(row[2]), "SQL") {
			return "", &unclearError{fmt.Sprintf("what the routine %s does is not to be seen", name)}
		}
		table, err := r.follow(name.Schema, referencesOf(string(row[0]), modeOf(row[1])))
		if table != "" || err != nil {
			return through(table, err, "routine", name)
		}
	}
	return "", nil
}

func modeOf(text []byte) sqlMode {
	return sqlMode{
		ansiQuotes:     strings.Contains(string(text), "ANSI_QUOTES"),
		plainBackslash: strings.Contains(string(text), "NO_BACKSLASH_ESCAPES"),
	}
}

// kind is the type of a table, "" if there is none of that name.
func (r *reach) kind(name TableName) (string, error) {
	list, err := rows(r.conn, fmt.Sprintf("SELECT table_type FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
		literal(name.Schema), literal(name.Table)))
	if err != nil {
		return "", fmt.Errorf("read the kind of table %s: %w", name, err)
	}
	if len(list) == 0 {
		return "", nil
	}
	return string(list[0][0]), nil
}

func (r *reach) definition(view TableName) (string, error) {
	text, err := one(r.conn, fmt.Sprintf("SELECT view_definition FROM information_schema.views WHERE table_schema = %s AND table_name = %s",
		literal(view.Schema), literal(view.Table)))
	if err != nil {
		return "", fmt.Errorf("read the definition of view %s: %w", view, err)
	}
	if text == "" {
		return "", &unclearError{fmt.Sprintf("the definition of view %s is not to be seen", view)}
	}
	return text, nil
}

// sees makes sure that nothing is hidden from the user: the dictionary leaves
// out what one may not see, as if it were not there.
func (r *reach) sees() error {
	list, err := rows(r.conn, `SELECT privilege_type FROM information_schema.user_privileges
		WHERE grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')`)
	if err != nil {
		return fmt.Errorf("read the user's privileges: %w", err)
	}
	has := map[string]bool{}
	for _, row := range list {
		has[string(row[0])] = true
	}
	routines := "SELECT" // also shows MariaDB's mysql.proc
	if r.flavor == MySQL {
		has[routines] = has[routines] || has["SHOW_ROUTINE"]
		if !has[routines] {
			routines = "SHOW_ROUTINE"
		}
	}
	var lacks []string
	for _, p := range []string{"TRIGGER", "SHOW VIEW", routines} {
		if !has[p] {
			lacks = append(lacks, p)
		}
	}
	if len(lacks) > 0 {
		return &unclearError{fmt.Sprintf("views, triggers and routines are not to be seen; to show them: GRANT %s ON *.* TO the user of chorusd", strings.Join(lacks, ", "))}
	}
	return nil
}
