package mapping

import (
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

// credentials are columns that Laravel, its starter kits and Fortify keep
// credentials in. No client needs them.
var credentials = []string{"password", "remember_token", "two_factor_secret", "two_factor_recovery_codes", "api_token"}

// secretive says by what a name looks like that of a secret; "" if it does not.
func secretive(name string) string {
	name = strings.ToLower(name)
	if strings.HasSuffix(name, "_at") { // password_changed_at, two_factor_confirmed_at
		return ""
	}
	for _, part := range []string{"password", "passwd"} {
		if strings.Contains(name, part) {
			return part
		}
	}
	for _, word := range []string{"secret", "token"} {
		if name == word || strings.HasSuffix(name, "_"+word) {
			return word
		}
	}
	switch {
	case strings.HasPrefix(name, "two_factor_"):
		return "two_factor"
	case strings.HasSuffix(name, "_key"):
		return "key"
	}
	return ""
}

// secretKinds are the kinds that can hold one: a number counts or refers.
var secretKinds = map[binlog.Kind]bool{binlog.Text: true, binlog.Binary: true, binlog.JSON: true}

// secrets finds fields that give a secret away, or look like it.
func (l *leaks) secrets(p *Plan) {
	var told []int
	for i := range p.fields {
		f := &p.fields[i]
		switch {
		case f.masked && f.unmasked == 0:
			continue // for everybody
		case f.expr != nil && f.expr.Kind() != filter.Text:
			continue // whether there is a password is no secret
		}
		for _, at := range f.columns {
			c := &p.table.Columns[at]
			if slices.Contains(told, at) || !secretKinds[c.Kind] || p.points(at) || slices.ContainsFunc(p.rule.table.NotSecret, func(n string) bool { return strings.EqualFold(n, c.Name) }) {
				continue
			}
			told = append(told, at)
			if slices.Contains(credentials, strings.ToLower(c.Name)) {
				l.certain.add("fields", "%q is a credential, and everybody who sees the row gets it: take it out; if it is something else: not_secret = [%q]", c.Name, c.Name)
			} else if word := secretive(c.Name); word != "" {
				l.add("fields", "%q looks like a secret (%s), and everybody who sees the row gets it: take it out, or say that it is none: not_secret = [%q]", c.Name, word, c.Name)
			}
		}
	}
}

// points says whether a column refers to something: it is of the record's key,
// or says who may see the row.
func (p *Plan) points(column int) bool {
	ofKey := slices.ContainsFunc(p.key, func(k binlog.KeyColumn) bool { return k.Column == column })
	return ofKey || slices.Contains(p.decisive, column)
}
