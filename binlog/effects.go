package binlog

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// An effect is what a statement may have done to a wanted table.
type effect struct {
	name    TableName
	kind    DefinitionKind
	touched []string
}

// definer reads a statement that defines tables. What it does not understand
// it takes for one that alters every table that it names: nothing is lost by
// that, since such tables are looked at again.
type definer struct {
	parser
	schema  string // the statement's default
	find    func(TableName) (TableName, bool)
	effects map[TableName]*effect
}

// effectsOf lists, by name, what a statement may have done to wanted tables.
// fold says that the server's tables have no upper and lower case.
func effectsOf(wanted *watched, schema, text string, mode sqlMode, fold bool) []effect {
	d := definer{parser: parser{tokens: tokens(text, mode)}, schema: schema, effects: map[TableName]*effect{}}
	d.find = func(n TableName) (TableName, bool) {
		if !fold {
			return n, wanted.has(n)
		}
		for w := range wanted.known {
			if strings.EqualFold(w.Schema, n.Schema) && strings.EqualFold(w.Table, n.Table) {
				return w, true
			}
		}
		return n.lower(), wanted.has(n.lower())
	}
	if wanted.none() || d.harmless() {
		return nil
	}
	d.statement(wanted, fold)
	if len(wanted.patterns) > 0 {
		d.meet()
	}
	for name := range wanted.known {
		if d.mentions(name) || !d.sees(name.Table) && mentions(text, schema, name) {
			d.mark(name, Altered)
		}
	}
	list := make([]effect, 0, len(d.effects))
	for _, e := range d.effects {
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b effect) int { return strings.Compare(a.name.String(), b.name.String()) })
	return list
}

// harmless says whether the statement is of a kind that changes no table's
// columns, keys or rows, whatever it names.
func (d *definer) harmless() bool {
	switch t := d.peek(); {
	case t.is("GRANT", "REVOKE", "ANALYZE", "OPTIMIZE", "CHECK", "CHECKSUM", "REPAIR", "FLUSH"):
		return true
	case !t.is("CREATE", "ALTER", "DROP"):
		return false
	}
	for _, t := range d.tokens { // past OR REPLACE, DEFINER = … and the like
		switch {
		case t.is("VIEW", "TRIGGER", "FUNCTION", "PROCEDURE", "EVENT", "USER", "ROLE"):
			return true
		case t.is("TABLE", "TABLES", "INDEX", "DATABASE", "SCHEMA"), t.sign == '(':
			return false
		}
	}
	return false
}

// mentions says whether the text has the table's name in it, be it in a string
// or comment: it runs in its database or names that too.
func mentions(text, schema string, name TableName) bool {
	text = strings.ToLower(text)
	return names(text, name.Table) && (strings.EqualFold(schema, name.Schema) || names(text, name.Schema))
}

// mentions says the same of the tokens.
func (d *definer) mentions(name TableName) bool {
	return slices.ContainsFunc(d.tokens, func(t token) bool {
		return t.chain != nil && slices.ContainsFunc(t.chain.tables(d.schema), func(n TableName) bool {
			return strings.EqualFold(n.Schema, name.Schema) && strings.EqualFold(n.Table, name.Table)
		})
	})
}

// meet makes known the tables among the tokens that fit a pattern.
func (d *definer) meet() {
	for _, t := range d.tokens {
		if t.chain != nil {
			for _, n := range t.chain.tables(d.schema) {
				d.find(n)
			}
		}
	}
}

// sees says whether a name stands anywhere among the tokens.
func (d *definer) sees(name string) bool {
	return slices.ContainsFunc(d.tokens, func(t token) bool {
		return slices.ContainsFunc(t.chain, func(part string) bool { return strings.EqualFold(part, name) })
	})
}

// mark notes what was done to a table. Altered is the least; of the others,
// the last one counts.
func (d *definer) mark(name TableName, kind DefinitionKind) *effect {
	e := d.effects[name]
	if e == nil {
		e = &effect{name: name}
		d.effects[name] = e
	}
	if kind != Altered || e.kind == Present {
		e.kind = kind
	}
	return e
}

// markWanted does so if the table is wanted.
func (d *definer) markWanted(name TableName, kind DefinitionKind) {
	if w, ok := d.find(name); ok {
		d.mark(w, kind)
	}
}

// take steps over the token at hand if it is one of some words.
func (d *definer) take(words ...string) bool {
	if !d.peek().is(words...) {
		return false
	}
	d.at++
	return true
}

// table steps over a table's name.
func (d *definer) table() TableName {
	d.take("IF")
	d.take("NOT")
	d.take("EXISTS")
	t := d.peek()
	if t.chain == nil {
		return TableName{}
	}
	d.at++
	return t.chain.table(d.schema)
}

func (d *definer) statement(wanted *watched, fold bool) {
	switch {
	case d.take("TRUNCATE"):
		d.take("TABLE")
		d.markWanted(d.table(), Emptied)
	case d.take("DROP"):
		switch {
		case d.take("TABLE", "TABLES"):
			for d.markWanted(d.table(), Dropped); d.peek().sign == ','; d.markWanted(d.table(), Dropped) {
				d.at++
			}
		case d.take("DATABASE", "SCHEMA"):
			d.dropDatabase(d.table().Table, wanted, fold)
		}
	case d.take("CREATE"):
		replace := d.take("OR") && d.take("REPLACE")
		switch {
		case !replace:
		case d.take("TABLE"):
			d.markWanted(d.table(), Dropped) // and made again
		case d.take("DATABASE", "SCHEMA"):
			d.dropDatabase(d.table().Table, wanted, fold)
		}
	case d.take("RENAME"):
		if d.take("TABLE", "TABLES") {
			d.renames()
		}
	case d.take("ALTER"):
		d.take("ONLINE")
		ignore := d.take("IGNORE")
		if d.take("TABLE") {
			name := d.table()
			if !d.take("NOWAIT") && d.take("WAIT") {
				d.at++
			}
			if ignore { // rows that do not fit are dropped
				d.markWanted(name, Replaced)
			}
			d.alter(name)
		}
	}
}

func (d *definer) dropDatabase(database string, wanted *watched, fold bool) {
	for _, name := range wanted.in(database, fold) {
		d.mark(name, Dropped)
	}
}

// renames takes "a TO b, c TO d". They happen one after the other, so of a
// table that is moved away and another moved into its place, the latter counts.
func (d *definer) renames() {
	for {
		from := d.table()
		for d.peek().sign != ';' && d.peek().sign != ',' && !d.take("TO") { // WAIT n
			d.at++
		}
		d.moved(from, d.table())
		if d.peek().sign != ',' {
			return
		}
		d.at++
	}
}

func (d *definer) moved(from, to TableName) {
	d.markWanted(from, Dropped)
	d.markWanted(to, Replaced)
}

// alter takes the clauses of an ALTER TABLE.
func (d *definer) alter(name TableName) {
	if w, ok := d.find(name); ok {
		d.mark(w, Altered)
	}
	depth, first := 0, true
	for d.at < len(d.tokens) {
		t := d.peek()
		if depth == 0 && first && t.word != "" {
			d.at++
			d.clause(name, t)
			first = false
			continue
		}
		first = false
		switch t.sign {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			first = depth == 0
		}
		d.at++
	}
}

// clause takes the start of one.
func (d *definer) clause(name TableName, verb token) {
	switch {
	case verb.is("TRUNCATE", "DISCARD", "IMPORT"):
		d.markWanted(name, Replaced)
	case verb.is("EXCHANGE", "CONVERT"):
		d.markWanted(name, Replaced)
		for d.peek().sign != ';' { // another table is part of it
			if d.take("TABLE") {
				d.markWanted(d.table(), Replaced)
				return
			}
			d.at++
		}
	case verb.is("RENAME"):
		switch {
		case d.take("COLUMN"):
			d.touch(name)
			if d.take("TO") {
				d.touch(name)
			}
		case d.peek().is("INDEX", "KEY"):
		default:
			d.take("TO", "AS")
			if d.peek().sign == '=' {
				d.at++
			}
			d.moved(name, d.table())
		}
	case verb.is("DROP"):
		if d.take("PARTITION") {
			d.markWanted(name, Replaced)
			return
		}
		d.column(name)
	case verb.is("ADD", "MODIFY"):
		d.column(name)
	case verb.is("CHANGE"):
		d.column(name)
		d.touch(name)
	}
}

// column takes the name of a column, or a list of definitions in parentheses.
func (d *definer) column(name TableName) {
	if !d.take("COLUMN") && d.peek().is("INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "FOREIGN", "CONSTRAINT", "CHECK", "PRIMARY", "PARTITION") {
		return
	}
	d.take("IF")
	d.take("NOT")
	d.take("EXISTS")
	if d.peek().sign != '(' {
		d.touch(name)
		return
	}
	d.at++
	d.touch(name)
	for depth := 1; depth > 0 && d.at < len(d.tokens); {
		switch sign := d.peek().sign; {
		case sign == '(':
			depth++
		case sign == ')':
			depth--
		case sign == ',' && depth == 1:
			d.at++
			d.touch(name)
			continue
		}
		d.at++
	}
}

// touch steps over a column's name and notes it.
func (d *definer) touch(table TableName) {
	t := d.peek()
	if t.chain == nil {
		return
	}
	d.at++
	if w, ok := d.find(table); ok {
		e := d.mark(w, Altered)
		e.touched = append(e.touched, t.chain[len(t.chain)-1])
	}
}

// effects are those of a statement. One whose text cannot be read, because of
// its character set, may have done anything.
func (t *tail) effects(schema, text string, status []byte) []effect {
	s := readStatus(status)
	ascii := strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
	if charset := t.sets[s.client]; !ascii && charset != "" && !strings.HasPrefix(charset, "utf8") {
		decoded, ok := decodeText(charset, text)
		if !ok {
			var all []effect
			for _, name := range t.names.list() {
				all = append(all, effect{name: name, kind: Replaced})
			}
			return all
		}
		text = decoded
	}
	return effectsOf(t.names, schema, text, s.mode, t.fold)
}

func decodeText(charset, text string) (string, bool) {
	decode, err := transcoderOf(charset)
	if err != nil || decode == nil {
		return text, err == nil
	}
	return string(decode(nil, []byte(text))), true
}
