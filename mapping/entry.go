package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

type entryKind uint8

const (
	userEntry entryKind = iota
	publicEntry
	scopeEntry
	channelEntry
)

// entry is one of visible_to.
type entry struct {
	text  string // as it was written
	kind  entryKind
	scope *scopeRule // of a scopeEntry
	key   path       // of a userEntry or scopeEntry
	parts []part     // of a channelEntry
	paths []path     // of the parts; empty for literals and {@tenant}
}

// The scopes that every mapping has: that of all who are connected, and each
// user's own.
const (
	publicScope = "public"
	userScope   = "user"
)

// scopeName is how a scope may be called.
var scopeName = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// parseEntry reads an entry of visible_to.
func parseEntry(text string, scopes map[string]*scopeRule) (entry, error) {
	if text == publicScope {
		return entry{text: text, kind: publicEntry}, nil
	}
	kind, rest, found := strings.Cut(text, ":")
	if !found {
		return entry{}, fmt.Errorf("%q is none of \"user:{column}\", \"SCOPE:{column}\", \"public\" and \"channel:name.{column}\"", text)
	}
	e := entry{text: text}
	var err error
	switch scope, ok := scopes[kind]; {
	case kind == "channel":
		e.kind = channelEntry
		err = e.parseChannel(rest)
	case kind == userScope:
		e.kind = userEntry
		err = e.parseKey(kind, rest)
	case ok:
		e.kind, e.scope = scopeEntry, scope
		err = e.parseKey(kind, rest)
	default:
		err = fmt.Errorf("there is no scope %q: say who its members are under [[scopes.%s.members]], or use \"user\", \"public\" or \"channel\"", kind, kind)
		if !scopeName.MatchString(kind) {
			err = fmt.Errorf("%q is no scope's name, which is letters, digits and _", kind)
		}
	}
	if err != nil {
		return entry{}, fmt.Errorf("%q: %w", text, err)
	}
	return e, nil
}

// parseKey reads the column or path in braces behind a scope's name.
func (e *entry) parseKey(scope, rest string) (err error) {
	m := placeholder.FindStringSubmatch(rest)
	if m == nil || m[0] != rest || m[1] == "" || m[1] == tenantColumn {
		return fmt.Errorf("behind %q has to stand one column or path in braces, like \"%s:{%s_id}\"", scope, scope, scope)
	}
	e.key, err = parsePath(m[1])
	return err
}

// parseChannel reads the template of a shared channel.
func (e *entry) parseChannel(rest string) (err error) {
	if e.parts, err = parseTemplate(rest); err != nil {
		return err
	}
	if len(e.parts) == 0 {
		return errors.New("it names no channel")
	}
	e.paths = make([]path, len(e.parts))
	for i, p := range e.parts {
		if p.column == "" || p.column == tenantColumn {
			continue
		}
		if e.paths[i], err = parsePath(p.column); err != nil {
			return err
		}
	}
	return nil
}

// parseAlternative reads entries that must all hold.
func parseAlternative(a Alternative, scopes map[string]*scopeRule) ([]entry, error) {
	if len(a) == 0 {
		return nil, errors.New("an inner list is empty: list what a user needs to see the row")
	}
	entries := make([]entry, len(a))
	for i, text := range a {
		var err error
		if entries[i], err = parseEntry(text, scopes); err != nil {
			return nil, err
		}
		if entries[i].kind == channelEntry && len(a) > 1 {
			return nil, fmt.Errorf("%q stands in an inner list, and who hears that channel is for Laravel to say: let it stand by itself", text)
		}
		if slices.Contains(a[:i], text) {
			return nil, fmt.Errorf("%q is twice in an inner list: take one out", text)
		}
	}
	return entries, nil
}

// eachPath calls f for each path of the entry.
func (e *entry) eachPath(f func(*path) error) error {
	if e.kind == userEntry || e.kind == scopeEntry {
		return f(&e.key)
	}
	for i := range e.paths {
		if e.paths[i].text == "" {
			continue
		}
		if err := f(&e.paths[i]); err != nil {
			return err
		}
	}
	return nil
}

// topic tells which kind of key the entry's paths end in; nil if any will do.
func (e *entry) topic() func(tenant string) string {
	switch e.kind {
	case userEntry:
		return usersTopic
	case scopeEntry:
		return func(tenant string) string { return scopeTopic(e.scope.name, tenant) }
	}
	return nil
}
