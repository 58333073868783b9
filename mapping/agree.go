package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/chorusd/chorusd/binlog"
)

// class tells apart kinds whose values are never the same key: keys are
// compared by the bytes of their JSON, in which an integer has no quotes.
type class uint8

const (
	noKey class = iota
	integerKey
	textKey
)

func (c class) String() string { return [...]string{"no key", "an integer", "text"}[c] }

// classOf is the class of a column's keys.
func classOf(c *binlog.Column) class {
	switch c.Kind {
	case binlog.Integer:
		return integerKey
	case binlog.Text, binlog.Enum, binlog.UUID, binlog.Inet4:
		return textKey
	}
	return noKey
}

// agreement holds, for each kind of key, the columns that keys are made of,
// so that two that can never be the same are noticed.
type agreement struct {
	mu     sync.RWMutex
	topics map[string]map[string]class // by the column's whole name
}

// note adds a column that makes keys. It returns what is wrong with that, or "".
func (a *agreement) note(topic string, t *binlog.Table, column int) string {
	c := &t.Columns[column]
	own, place := classOf(c), t.Name.String()+"."+c.Name
	if own == noKey {
		return fmt.Sprintf("column %q of type %s cannot be a key: use an integer, a text or a UUID", c.Name, c.Kind)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	columns := a.topics[topic]
	if columns == nil {
		columns = map[string]class{}
		a.topics[topic] = columns
	}
	columns[place] = own
	for _, other := range slices.Sorted(maps.Keys(columns)) {
		if columns[other] != own {
			return fmt.Sprintf("column %s is %s, but %s, which makes %s too, is %s, so no two of them are ever the same: give both the same type",
				place, own, other, topic, columns[other])
		}
	}
	return ""
}

// size is how many kinds of keys are known.
func (a *agreement) size() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.topics)
}

// of is the class of a kind of key, noKey as long as no table with one is known.
func (a *agreement) of(topic string) class {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, c := range a.topics[topic] {
		return c
	}
	return noKey
}

// The topics; each tenant has its own. They stand in messages.

func usersTopic(tenant string) string { return "the key of users" + ofTenant(tenant) }

func scopeTopic(scope, tenant string) string {
	return fmt.Sprintf("the key of scope %q", scope) + ofTenant(tenant)
}

// parentTopic is that of one column of a parent's key, counted from 0.
func parentTopic(parent binlog.TableName, unique []string, column int) string {
	text := "the primary key of " + parent.String()
	if unique != nil {
		text = fmt.Sprintf("the key %s of %s", strings.Join(unique, ", "), parent)
	}
	if column > 0 {
		text += fmt.Sprintf(" (column %d)", column+1)
	}
	return text
}

func ofTenant(tenant string) string {
	if tenant == "" {
		return ""
	}
	return " of " + tenant
}
