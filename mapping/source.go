package mapping

import (
	"errors"
	"fmt"
	"strings"

	"github.com/chorusd/chorusd/binlog"
)

// source is where a table of the mapping comes from: a table, or one in each
// database that fits a pattern.
type source struct {
	name    binlog.TableName
	pattern *binlog.Pattern
}

// of says whether a table of the database is one of it, and of which tenant:
// what the % of the pattern stands for in its database's name.
func (s *source) of(name binlog.TableName) (tenant string, ok bool) {
	if s.pattern == nil {
		return "", name == s.name
	}
	tenant, ok = s.pattern.Rest(name.Schema)
	return tenant, ok && name.Table == s.pattern.Table
}

// sourceOf is the database's table behind the table that clients know as name.
// A source that is written out is the whole name; without one it is the
// client's name behind the prefix.
func sourceOf(name, text, database, prefix string) (source, error) {
	if text == "" {
		return source{name: binlog.TableName{Schema: database, Table: prefix + name}}, nil
	}
	parts, err := identifiers(text)
	if err != nil {
		return source{}, err
	}
	table := parts[len(parts)-1]
	if table.pattern {
		return source{}, fmt.Errorf("%q has a %% in the table's name, and it may stand in the database's only, as in tenant_%%.todos: put a name that has such a character into backticks", text)
	}
	if len(parts) == 1 {
		return source{name: binlog.TableName{Schema: database, Table: table.text}}, nil
	}
	if !parts[0].pattern {
		return source{name: binlog.TableName{Schema: parts[0].text, Table: table.text}}, nil
	}
	before, after, _ := strings.Cut(parts[0].text, "%")
	if strings.Contains(after, "%") {
		return source{}, fmt.Errorf("%q has more than one %%, so which part names the tenant cannot be told: leave one", text)
	}
	return source{pattern: &binlog.Pattern{Prefix: before, Suffix: after, Table: table.text}}, nil
}

// name is one of a source; in a pattern, one % stands for any characters.
type name struct {
	text    string
	pattern bool
}

// identifiers cuts "table" or "database.table", where each name may stand in
// backticks, into its one or two names.
func identifiers(text string) ([]name, error) {
	var parts []name
	for rest := text; ; {
		part, after, err := identifier(rest)
		if err != nil {
			return nil, fmt.Errorf("%q %w", text, err)
		}
		quoted := strings.HasPrefix(rest, "`")
		parts = append(parts, name{part, !quoted && strings.Contains(part, "%")})
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
		case strings.Contains(name, "*"):
			return "", "", errors.New("has a *: the character for any others is %, in a database's name; put a name that has such a character into backticks")
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
