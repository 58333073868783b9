package mapping

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping/filter"
)

// A Variant is what a user gets of a row, of all that others may get: each bit
// stands for a condition that holds, see Plan.conditions. It is 0 of a table
// whose fields are the same for all.
type Variant uint64

// mostConditions is how many fields of a table can depend on the user: one bit
// of a verdict is the filter's.
const mostConditions = 63

// field is one of the record as clients get it.
type field struct {
	name  []byte // as JSON, with the colon
	value binlog.Encoder
	// expr makes the value instead, if it is set; columns are what it or the
	// encoder reads.
	expr    *filter.Expr
	columns []int
	// mask hides the value, unless a condition says no; reader is of the
	// column then.
	masked bool
	mask   filter.Mask
	reader filter.Reader
	// shown and unmasked are the bits of the conditions for the field to be
	// there, and not to be masked; 0 if it has none.
	shown, unmasked Variant
}

// checkFields looks at the fields as far as that goes without the database.
func (r *rule) checkFields(wrong *problems) {
	t := &r.table
	if len(t.Fields) == 0 {
		wrong.add("fields", "missing: list the columns that clients get")
	}
	for i, f := range t.Fields {
		if slices.Contains(t.Fields[:i], f) {
			wrong.add("fields", "%q is there twice: take one out", f)
		}
	}
	for _, k := range t.Key {
		if !slices.Contains(t.Fields, k) {
			wrong.add("key", "column %q must be one of fields, since clients find the record by it", k)
		}
	}
	shared := r.sharedEntry()
	for _, name := range slices.Sorted(maps.Keys(t.Columns)) {
		option, c := "columns."+name, t.Columns[name]
		switch {
		case !slices.Contains(t.Fields, name):
			wrong.add(option, "%q is not one of fields", name)
		case c.Column != "" && c.Value != "":
			wrong.add(option+".value", "a field has a column or a value: take one out")
		case c.UnmaskedIf != "" && c.Mask == "":
			wrong.add(option+".unmasked_if", "there is no mask to take off: add mask, or take it out")
		case shared != "" && c.VisibleIf != "":
			wrong.add(option+".visible_if", "who hears %q is for Laravel to say, and all who do get the same: take it out, or map the table twice", shared)
		case shared != "" && c.UnmaskedIf != "":
			wrong.add(option+".unmasked_if", "who hears %q is for Laravel to say, and all who do get the same: take it out, or map the table twice", shared)
		}
		if _, ok := t.Casts[name]; ok && c.Value != "" {
			wrong.add("casts", "%q has a value, which has the form that it comes out as: take the cast out", name)
		}
	}
}

// sharedEntry is an entry of visible_to that is a shared channel; "" if none is.
func (r *rule) sharedEntry() string {
	for _, entry := range slices.Concat(r.table.VisibleTo...) {
		if strings.HasPrefix(entry, "channel:") {
			return entry
		}
	}
	return ""
}

// columnOf is the table's column behind a field; "" if it has a value.
func (r *rule) columnOf(field string) string {
	switch c := r.table.Columns[field]; {
	case c.Value != "":
		return ""
	case c.Column != "":
		return c.Column
	}
	return field
}

// fieldOf is the field that a column is, "" if it is none.
func (r *rule) fieldOf(column string) string {
	for _, f := range r.table.Fields {
		if strings.EqualFold(r.columnOf(f), column) {
			return f
		}
	}
	return ""
}

// compileFields fits the fields: env is of those that are made of the row
// alone, users of conditions.
func (p *Plan) compileFields(c *compiler, env, users filter.Env) {
	for _, name := range p.rule.table.Fields {
		option, cfg := "columns."+name, p.rule.table.Columns[name]
		f := field{name: append(harmonic.AppendString(nil, name), ':')}
		if cfg.Value != "" {
			var err error
			if f.expr, err = filter.Compile(cfg.Value, env); err != nil {
				c.add(option+".value", "%v", err)
				continue
			}
			c.reads(f.expr.Columns()...)
			f.columns = f.expr.Columns()
		} else {
			where := "fields"
			if cfg.Column != "" {
				where = option + ".column"
			}
			cast := binlog.Cast(p.rule.table.Casts[name])
			e, at, ok := c.encoder(where, p.rule.columnOf(name), cast)
			if !ok {
				continue
			}
			f.value, f.columns = e, []int{at}
		}
		if cfg.Mask != "" {
			p.compileMask(c, &f, option, name, cfg.Mask)
			f.unmasked = p.bit(c, option+".unmasked_if", cfg.UnmaskedIf, users)
		}
		for _, at := range f.columns {
			if !slices.Contains(p.sources, at) {
				p.sources = append(p.sources, at)
			}
		}
		p.made = p.made || cfg.Value != "" || cfg.Mask != ""
		f.shown = p.bit(c, option+".visible_if", cfg.VisibleIf, users)
		p.fields = append(p.fields, f)
	}
}

func (p *Plan) compileMask(c *compiler, f *field, option, name, mask string) {
	var err error
	if f.mask, err = filter.ParseMask(mask, p.mapper.secret); err != nil {
		c.add(option+".mask", "%v", err)
		return
	}
	f.masked = true
	if f.expr == nil {
		if f.reader, err = filter.Column(c.table, f.columns[0], binlog.Cast(p.rule.table.Casts[name]), c.loc); err != nil {
			c.add(option+".mask", "%v", err)
		}
	}
}

// bit adds a condition of a field; 0 if it has none.
func (p *Plan) bit(c *compiler, option, text string, env filter.Env) Variant {
	f := c.condition(option, text, env)
	if f == nil {
		return 0
	}
	if _, bounded := f.Bound(); bounded {
		c.add(option, "%q changes with the clock, which only where can: leave now out", text)
		return 0
	}
	if len(p.conditions) == mostConditions {
		c.add(option, "more than %d fields depend on the user: map the table twice", mostConditions)
		return 0
	}
	p.conditions = append(p.conditions, f)
	return 1 << (len(p.conditions) - 1)
}

// append writes the field's value as a variant has it.
func (f *field) append(dst []byte, row *binlog.Row, v Variant) ([]byte, error) {
	masked := f.masked && v&f.unmasked == 0
	if f.expr == nil && !masked {
		return f.value.Append(dst, row)
	}
	var value filter.Value
	var err error
	if f.expr != nil {
		value, err = f.expr.Eval(row, nil)
	} else {
		value, err = f.reader.Value(row)
	}
	if err != nil {
		return dst, err
	}
	if masked {
		value = f.mask.Apply(value)
	}
	return value.AppendJSON(dst), nil
}

// visible says whether a variant has the field.
func (f *field) visible(v Variant) bool { return f.shown == 0 || v&f.shown != 0 }

// appendData writes the object of the fields that a variant has.
func (p *Plan) appendData(dst []byte, row *binlog.Row, v Variant) ([]byte, error) {
	var err error
	dst = append(dst, '{')
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		if !f.visible(v) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if dst, err = f.append(append(dst, f.name...), row, v); err != nil {
			return dst, fmt.Errorf("field %s %w", f.name[:len(f.name)-1], err)
		}
	}
	return append(dst, '}'), nil
}

// touched says whether a change touches a column that a field is made of.
func (p *Plan) touched(c *binlog.Change) bool {
	for i, at := range p.sources {
		if !c.After.Same(c.Before, at) {
			p.sources[0], p.sources[i] = at, p.sources[0]
			return true
		}
	}
	return false
}

// alters says whether a variant of the row is another one after a change.
func (p *Plan) alters(c *binlog.Change, v Variant) (bool, error) {
	for i := range p.fields {
		f := &p.fields[i]
		if !f.visible(v) || same(c, f.columns) {
			continue
		}
		if f.expr == nil && (!f.masked || v&f.unmasked != 0) {
			return true, nil
		}
		var err error
		if p.data, err = f.append(p.data[:0], c.Before, v); err != nil {
			return false, err
		}
		if p.record, err = f.append(p.record[:0], c.After, v); err != nil {
			return false, err
		}
		if !bytes.Equal(p.data, p.record) {
			return true, nil
		}
	}
	return false, nil
}
