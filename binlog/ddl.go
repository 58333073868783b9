package binlog

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/google/uuid"
)

// definition takes a statement that is neither a mark nor a change of rows:
// tables may look different from here on, and may have other rows. The
// dictionary is asked at once, since the sooner it is, the surer it tells how
// rows after this one look.
func (t *tail) definition(ctx context.Context, schema, statement string, status []byte) error {
	clear(t.tables)
	effects := t.effects(schema, statement, status)
	if len(effects) == 0 {
		return nil
	}
	after := t.pos.Clone()
	if err := after.Advance(t.point()); err != nil {
		return &fatalError{err}
	}
	if t.found != nil {
		t.found(effects, after)
		return nil
	}
	for _, e := range effects {
		if e.kind == Emptied && t.shape[e.name] != nil {
			continue // what is known of its columns still holds
		}
		if err := t.look(ctx, e.name, after); err != nil {
			return err
		}
	}
	for _, e := range effects {
		t.tx.given++
		if t.tx.given <= t.tx.skip {
			continue
		}
		err := t.h.Definition(ctx, &Definition{
			Kind: e.kind, Name: e.name, Time: t.tx.time, Touched: e.touched,
			Table: t.shape[e.name].table, shapes: t.source.shapes,
		})
		if err != nil {
			return &fatalError{err}
		}
	}
	return nil
}

// present finds out what tables look like where reading begins.
func (t *tail) present(ctx context.Context) error {
	if err := t.ask(ctx); err != nil || t.presented {
		return err
	}
	t.source.shapes.only(t.names)
	now, err := matching(t.sql, t.names.patterns)
	if err != nil {
		return err
	}
	for _, name := range now {
		t.names.has(name)
	}
	wanted := t.names.list()
	for _, name := range wanted {
		if err := t.recall(ctx, name); err != nil {
			return err
		}
	}
	t.presented = true
	for i, name := range wanted {
		d := &Definition{Name: name, Table: t.shape[name].table}
		if i == len(wanted)-1 { // those of all are long
			d.shapes = t.source.shapes
		}
		if err := t.h.Definition(ctx, d); err != nil {
			return &fatalError{err}
		}
	}
	return nil
}

// recall finds a table's shape where reading is: what is known of it there, or
// else what the dictionary says.
func (t *tail) recall(ctx context.Context, name TableName) error {
	if known := t.source.shapes.at(name, t.pos); known != nil {
		t.shape[name] = known
		return nil
	}
	return t.look(ctx, name, t.pos)
}

// ask makes sure that there is a connection to ask over, and asks what stays.
func (t *tail) ask(ctx context.Context) error {
	if t.sql == nil {
		conn, err := t.source.cfg.connect(ctx)
		if err != nil {
			return err
		}
		t.sql = conn
		for _, statement := range []string{
			fmt.Sprintf("SET SESSION lock_wait_timeout = %d", int(waitTimeout.Seconds())),
			"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", // of the dictionary, too
		} {
			if _, err := conn.Execute(statement); err != nil {
				return fmt.Errorf("set up the session: %w", err)
			}
		}
	}
	if t.sets != nil {
		return nil
	}
	sets, err := readCharsets(t.sql, t.source.server.Flavor)
	if err != nil {
		return err
	}
	folds, err := one(t.sql, "SELECT @@lower_case_table_names")
	if err != nil {
		return fmt.Errorf("ask for lower_case_table_names: %w", err)
	}
	t.sets, t.fold = sets, folds != "0"
	return nil
}

// look asks the dictionary for a table's shape at a position, unless an
// earlier run has done so at the very same.
func (t *tail) look(ctx context.Context, name TableName, at Position) error {
	if known := t.source.shapes.at(name, at); known != nil && known.at.Covers(at) {
		t.shape[name] = known
		return nil
	}
	if err := t.ask(ctx); err != nil {
		return err
	}
	if err := t.awaitStatement(); err != nil {
		return err
	}
	s := &shape{at: at.Clone()}
	// While this transaction holds the table, no statement about it is half
	// done: whatever is in the dictionary is in the log, and the other way
	// round.
	for said := false; ; {
		if _, err := t.sql.Execute("START TRANSACTION"); err != nil {
			return err
		}
		_, err := t.sql.Execute("SELECT 1 FROM " + name.quoted() + " LIMIT 0")
		if err == nil || isError(err, mysql.ER_NO_SUCH_TABLE, mysql.ER_BAD_DB_ERROR) {
			break
		}
		if !isError(err, mysql.ER_LOCK_WAIT_TIMEOUT) || ctx.Err() != nil {
			if _, answered := serverError(err); answered && !Passing(err) {
				break // the dictionary tells more
			}
			return err
		}
		if !said {
			said = true
			t.source.cfg.Logger.Warn("waiting for a lock on a table, to see what it looks like", "table", name.String())
		}
	}
	var err error
	if s.answer, err = askDictionary(t.sql, name); err != nil {
		return err
	}
	if s.upto, err = t.logEnd(); err != nil {
		return err
	}
	if _, err := t.sql.Execute("COMMIT"); err != nil {
		return err
	}
	s.table = s.answer.tableOf(name)
	t.source.shapes.add(name, s)
	t.shape[name] = s
	return nil
}

// logEnd asks where the log ends.
func (t *tail) logEnd() (Position, error) {
	status, ok, err := logStatus(t.sql, t.source.server.Flavor)
	if err != nil {
		return Position{}, err
	}
	if !ok {
		return Position{}, fatal("the server writes no binary log any more")
	}
	p := Position{Flavor: t.source.server.Flavor}
	if p.File, p.Offset, err = fileAndOffset(status); err != nil || t.pos.gtids == nil {
		return p, err
	}
	variable := "@@GLOBAL.gtid_executed"
	if p.Flavor == MariaDB {
		variable = "@@GLOBAL.gtid_binlog_pos"
	}
	text, err := one(t.sql, "SELECT "+variable)
	if err != nil {
		return p, fmt.Errorf("ask for %s: %w", variable, err)
	}
	p.gtids, err = mysql.ParseGTIDSet(string(p.Flavor), oneLine(text))
	return p, err
}

// awaitStatement waits until the statement at hand is visible to others: it is
// logged a moment before. MariaDB logs it after.
func (t *tail) awaitStatement() error {
	id := t.tx.id
	for t.tx.open && id.source != uuid.Nil {
		visible, err := awaitExecuted(t.sql, id.String(), waitTimeout)
		if err != nil || visible {
			return err
		}
	}
	return nil
}

// certain is a table's shape here; nil if it cannot be known, since a
// statement changed it between here and the dictionary's answer.
func (t *tail) certain(ctx context.Context, name TableName) (*shape, error) {
	if t.shape[name] == nil { // it fits a pattern, and no statement told of it
		if err := t.recall(ctx, name); err != nil {
			return nil, err
		}
	}
	s := t.shape[name]
	if !s.judged {
		if !t.pos.Covers(s.upto) {
			from := t.pos
			if s.at.Covers(from) {
				from = s.at
			}
			changed, err := t.changedAhead(ctx, name, from, s.upto)
			if err != nil {
				return nil, err
			}
			s.wrong = changed
		}
		s.judged = true
	}
	if s.wrong {
		return nil, nil
	}
	return s, nil
}

// names says whether a statement in lower case has a name in it, as it is or
// as it stands in quotes.
func names(statement, name string) bool {
	return hasWord(statement, name) ||
		strings.Contains(name, "`") && hasWord(statement, strings.ReplaceAll(name, "`", "``")) ||
		strings.Contains(name, `"`) && hasWord(statement, strings.ReplaceAll(name, `"`, `""`))
}

// hasWord says whether a statement has a word in it that is not a part of a
// longer one.
func hasWord(statement, name string) bool {
	inner := func(b byte) bool {
		return b == '_' || b == '$' || b >= utf8.RuneSelf || 'a' <= b && b <= 'z' || '0' <= b && b <= '9'
	}
	name = strings.ToLower(name)
	for at := 0; ; {
		i := strings.Index(statement[at:], name)
		if i < 0 {
			return false
		}
		start, end := at+i, at+i+len(name)
		if (start == 0 || !inner(statement[start-1])) && (end == len(statement) || !inner(statement[end])) {
			return true
		}
		at = start + 1
	}
}

// words takes the first word of a statement, in upper case, past comments and
// into those that some versions run.
func words(s string) (first, rest string) {
	for {
		s = strings.TrimLeft(s, " \t\r\n;(")
		switch {
		case strings.HasPrefix(s, "/*!"), strings.HasPrefix(s, "/*M!"):
			_, s, _ = strings.Cut(s, "!")
			s = strings.TrimLeft(s, "0123456789")
			continue
		case strings.HasPrefix(s, "/*"):
			if _, after, found := strings.Cut(s, "*/"); found {
				s = after
				continue
			}
		case strings.HasPrefix(s, "#"), strings.HasPrefix(s, "-- "), strings.HasPrefix(s, "--\n"), strings.HasPrefix(s, "--\t"):
			_, s, _ = strings.Cut(s, "\n")
			continue
		}
		break
	}
	end := strings.IndexAny(s, " \t\r\n;(`'\"*/#")
	if end < 0 {
		end = len(s)
	}
	return strings.ToUpper(s[:end]), s[end:]
}

// cut shortens a statement for a message; it may hold users' data.
func cut(statement string) string {
	const most = 40
	if len(statement) > most {
		return statement[:most] + "…"
	}
	return statement
}
