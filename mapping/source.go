package mapping

import (
	"errors"
	"fmt"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// sourceOf is the database's table behind the table that clients know as name.
// A source that is written out is the whole name; without one it is the
// client's name behind the prefix.
func sourceOf(name, source, database, prefix string) (binlog.TableName, error) {
	if source == "" {
		return binlog.TableName{Schema: database, Table: prefix + name}, nil
	}
	parts, err := identifiers(source)
	if err != nil {
		return binlog.TableName{}, err
	}
	if len(parts) == 1 {
		return binlog.TableName{Schema: database, Table: parts[0]}, nil
	}
	return binlog.TableName{Schema: parts[0], Table: parts[1]}, nil
}

// identifiers cuts "table" or "database.table", where each name may stand in
// backticks, into its one or two names.
func identifiers(text string) ([]string, error) {
	var parts []string
	for rest := text; ; {
		name, after, err := identifier(rest)
		if err != nil {
			return nil, fmt.Errorf("%q %w", text, err)
		}
		parts = append(parts, name)
		switch {
		case after == "" && len(parts) <= 2:
			return parts, nil
		case after == "" || !strings.HasPrefix(after, "."):
			return nil, fmt.Errorf("%q is neither \"table\" nor \"database.table\": put a name with a dot in it into backticks, `like.this`", text)
		}
		rest = after[1:]
	}
}

// identifier takes the first name off a text: up to a dot, or in backticks, of
// which two stand for one.
func identifier(text string) (name, after string, err error) {
	if !strings.HasPrefix(text, "`") {
		end := strings.IndexByte(text, '.')
		if end < 0 {
			end = len(text)
		}
		name, after = text[:end], text[end:]
		switch {
		case name == "" || strings.TrimSpace(name) != name:
			return "", "", errors.New("has an empty name, or one with blanks around it")
		case strings.ContainsAny(name, "`\"'"):
			return "", "", errors.New("has a quote in a name: put the whole name into backticks, a backtick in it twice")
		case strings.ContainsAny(name, "%*"):
			return "", "", errors.New("looks like a pattern, and each table has to be named: put a name that has such a character into backticks")
		}
		return name, after, nil
	}
	var b strings.Builder
	for rest := text[1:]; ; {
		inside, behind, closed := strings.Cut(rest, "`")
		b.WriteString(inside)
		switch {
		case !closed:
			return "", "", errors.New("has a backtick that nothing closes")
		case strings.HasPrefix(behind, "`"):
			b.WriteByte('`')
			rest = behind[1:]
			continue
		case b.Len() == 0:
			return "", "", errors.New("has an empty name")
		}
		return b.String(), behind, nil
	}
}
