package mapping

import (
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

// compiler fits one rule to one version of a table, and gathers what is wrong.
type compiler struct {
	*problems
	table  *binlog.Table
	loc    *time.Location
	agreed *agreement
	// read are the columns that were asked for, in order.
	read []int
}

// column finds a column and notes that it is read; ok is false if it is not there.
func (c *compiler) column(option, name string) (at int, ok bool) {
	if at = c.table.Index(name); at < 0 {
		c.add(option, "table %s has no column %q: it has %s", c.table.Name, name, columnNames(c.table))
		return at, false
	}
	c.reads(at)
	return at, true
}

func (c *compiler) reads(columns ...int) {
	for _, at := range columns {
		if !slices.Contains(c.read, at) {
			c.read = append(c.read, at)
		}
	}
}

// encoder is how a column becomes JSON.
func (c *compiler) encoder(option, name string, cast binlog.Cast) (e binlog.Encoder, at int, ok bool) {
	if at, ok = c.column(option, name); !ok {
		return e, at, false
	}
	e, err := c.table.Encoder(at, cast, c.loc)
	if err != nil {
		c.add(option, "%v", err)
	}
	return e, at, err == nil
}

// key is a column that makes keys of a topic.
func (c *compiler) key(option, name, topic string) keyColumn {
	e, at, ok := c.encoder(option, name, binlog.CastDefault)
	if !ok {
		return keyColumn{}
	}
	if problem := c.agreed.note(topic, c.table, at); problem != "" {
		c.add(option, "%s", problem)
	}
	return keyColumn{at: at, value: e}
}

// keyColumn is one column of keys.
type keyColumn struct {
	at    int
	value binlog.Encoder
}

// condition compiles one; nil if it is empty or wrong.
func (c *compiler) condition(option, text string, env filter.Env) *filter.Filter {
	if text == "" {
		return nil
	}
	f, err := filter.CompileBool(text, env)
	if err != nil {
		c.add(option, "%v", err)
		return nil
	}
	c.reads(f.Columns()...)
	return f
}

// env is what an expression over the row alone may use.
func (c *compiler) env(casts map[string]binlog.Cast) filter.Env {
	return filter.Env{Table: c.table, Casts: casts, Location: c.loc}
}

// rowKey is the unique key by which the table's rows are told apart.
func (c *compiler) rowKey(option string) ([]binlog.KeyColumn, []binlog.Encoder) {
	if len(c.table.Key) == 0 {
		c.add(option, "table %s has no primary key and no unique key without nullable columns, so a row cannot be told from others: ALTER TABLE %s ADD %s;",
			c.table.Name, c.table.Name, keyToAdd(c.table))
	}
	return c.keyOf(option, c.table.Key)
}

// keyOf is a key of some columns.
func (c *compiler) keyOf(option string, columns []int) (key []binlog.KeyColumn, values []binlog.Encoder) {
	for _, at := range columns {
		k := binlog.KeyColumn{Column: at}
		name := c.table.Columns[at].Name
		e, _, ok := c.encoder(option, name, k.Cast)
		if !ok {
			continue
		}
		if problem := c.table.KeyProblem(k); problem != "" {
			c.add(option, "column %q: %s", name, problem)
		}
		key, values = append(key, k), append(values, e)
	}
	return key, values
}

// unique finds the unique key that columns are, in any order; ok is false if
// there is none.
func (c *compiler) unique(option string, columns []string) bool {
	if c.table.Unique == nil {
		return true // the log does not tell; the dictionary did
	}
	for _, u := range c.table.Unique {
		if sameColumns(c.table, u, columns) {
			return true
		}
	}
	list := strings.Join(columns, ", ")
	c.add(option, "no unique key of %s is made of %s: use one whose columns are all NOT NULL, or add it: ALTER TABLE %s ADD UNIQUE (%s);",
		c.table.Name, list, c.table.Name, list)
	return false
}

// appendKey writes the JSON array of columns' values.
func appendKey(dst []byte, values []binlog.Encoder, row *binlog.Row) ([]byte, error) {
	var err error
	dst = append(dst, '[')
	for i := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = values[i].Append(dst, row); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// same says whether some columns have the same bytes in both images of a change.
func same(c *binlog.Change, columns []int) bool {
	for _, at := range columns {
		if !c.After.Same(c.Before, at) {
			return false
		}
	}
	return true
}

// decisive says whether a change of a row can matter to what is made of some
// of its columns.
func decisive(c *binlog.Change, columns []int) bool {
	return c.Before == nil || c.After == nil || !same(c, columns)
}
