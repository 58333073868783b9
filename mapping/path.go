package mapping

import (
	"fmt"
	"regexp"
	"strings"
)

// A path leads from a row to a key: by its own columns, or through parents.
// "post_id -> posts.thread_id -> threads.team_id" has two hops.
type path struct {
	text  string // as it was written
	first reference
	hops  []hop
	bound []*boundHop // the hops, when their parents are known
}

// A hop goes to the parent that the reference before it points to, and takes
// a reference from there.
type hop struct {
	table  string   // as Table.Source is written
	unique []string // the parent's key; nil: its primary one
	take   reference
}

// A reference is columns that point to something.
type reference struct {
	columns []string
	// Of a polymorphic one, typeColumn has to hold typeText exactly.
	typeColumn, typeText string
}

// identifierText is a name in a path: bare, or in backticks.
const identifierText = "(?:[^\\s.,(){}`>]+|`(?:[^`]|``)+`)"

var (
	hopText       = regexp.MustCompile(`^((?:` + identifierText + `\.)?` + identifierText + `)(?:\(([^()]+)\))?\.([^.]+)$`)
	referenceText = regexp.MustCompile(`^(` + identifierText + `)(?:\s*\(([^()]+)\))?$`)
)

// parsePath reads what stands in the braces of an entry of visible_to.
func parsePath(text string) (path, error) {
	p := path{text: text}
	for i, part := range strings.Split(text, "->") {
		part = strings.TrimSpace(part)
		var err error
		if i == 0 {
			if p.first, err = parseReference(part); err != nil {
				return path{}, err
			}
			continue
		}
		m := hopText.FindStringSubmatch(part)
		if m == nil {
			return path{}, fmt.Errorf("%q behind an arrow is not like \"posts.team_id\", the parent's table and its column", part)
		}
		h := hop{table: m[1]}
		if m[2] != "" {
			if h.unique, err = columnList(m[2]); err != nil {
				return path{}, err
			}
		}
		if h.take, err = parseReference(m[3]); err != nil {
			return path{}, err
		}
		p.hops = append(p.hops, h)
	}
	if n := len(p.last().columns); n != 1 {
		return path{}, fmt.Errorf("%q ends in %d columns, and a key is one: several may stand only before an arrow, for a parent with a key of several columns", text, n)
	}
	return p, nil
}

// parseReference reads "post_id", "org_id, post_no" or "commentable(App\Models\Post)".
func parseReference(text string) (reference, error) {
	if m := referenceText.FindStringSubmatch(text); m != nil && m[2] != "" {
		name := unquoted(m[1])
		return reference{columns: []string{name + "_id"}, typeColumn: name + "_type", typeText: m[2]}, nil
	}
	columns, err := columnList(text)
	return reference{columns: columns}, err
}

// columnList reads names with commas between them.
func columnList(text string) ([]string, error) {
	var columns []string
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		if m := referenceText.FindStringSubmatch(name); m == nil || m[2] != "" {
			return nil, fmt.Errorf("%q is no column's name", name)
		}
		columns = append(columns, unquoted(name))
	}
	return columns, nil
}

// unquoted takes the backticks off a name.
func unquoted(name string) string {
	if !strings.HasPrefix(name, "`") {
		return name
	}
	return strings.ReplaceAll(name[1:len(name)-1], "``", "`")
}

// last is the reference whose column is the key.
func (p *path) last() reference {
	if n := len(p.hops); n > 0 {
		return p.hops[n-1].take
	}
	return p.first
}
