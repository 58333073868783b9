package mapping

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
)

// KeyNamed is the key of a record that a person names: the JSON array of its
// columns' values, or of a single column the value as it is.
func (p *Plan) KeyNamed(text string) (string, error) {
	if values := []json.RawMessage{}; strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &values) == nil {
		if len(values) != len(p.key) {
			return "", fmt.Errorf("the key %s has %d values, and a record of %s is found by %d (%s)",
				text, len(values), p.rule.name, len(p.key), strings.Join(p.keyNames, ", "))
		}
		key := []byte{'['}
		for i, v := range values {
			if i > 0 {
				key = append(key, ',')
			}
			key = append(key, v...)
		}
		return string(append(key, ']')), nil
	}
	if len(p.key) != 1 {
		return "", fmt.Errorf("a record of %s is found by %s: name it by a JSON array, as '[%s]'",
			p.rule.name, strings.Join(p.keyNames, ", "), strings.Join(p.keyNames, ", "))
	}
	if p.table.Columns[p.key[0].Column].Kind == binlog.Integer && p.key[0].Cast != binlog.CastString && wholeNumber(text) {
		return "[" + text + "]", nil
	}
	return "[" + string(harmonic.AppendString(nil, text)) + "]", nil
}

// UserNamed is the key of the user whom a person names by his id, of the
// tenant whose rows the plan is about.
func (p *Plan) UserNamed(id string) (UserKey, error) {
	switch p.mapper.agreed.of(usersTopic(p.rule.tenant)) {
	case textKey:
		id = string(harmonic.AppendString(nil, id))
	default:
		if !wholeNumber(id) {
			return "", fmt.Errorf("users have integers for keys, and %q is none", id)
		}
	}
	return UserKey(append(appendTenant(nil, p.rule.tenant), id...)), nil
}

// KeyOf puts a tenant, empty without tenants, and the JSON of a user's key
// together again that Split has parted.
func KeyOf(tenant, id string) UserKey { return UserKey(append(appendTenant(nil, tenant), id...)) }
