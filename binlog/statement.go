package binlog

import (
	"strings"
	"unicode/utf8"
)

// references are what the text of a statement, or of the body of a trigger or
// routine, may change and call. A chain is a name with what stands before it
// and dots: schema, table, column, as far as they are there.
type references struct {
	written []chain // tables and views that it changes
	called  []chain // what stands before a parenthesis, or after CALL
	named   []chain // all names, keywords among them
}

type chain []string

// tables are the tables that a chain can mean, for whom schema is the default.
func (c chain) tables(schema string) []TableName {
	out := []TableName{{schema, c[0]}}
	if len(c) > 1 {
		out = append(out, TableName{c[0], c[1]})
	}
	return out
}

// table is the table that a chain means where only a table can stand.
func (c chain) table(schema string) TableName {
	if len(c) == 1 {
		return TableName{schema, c[0]}
	}
	return TableName{c[0], c[1]}
}

// sqlMode is what matters of the sql_mode that a statement was parsed with.
type sqlMode struct{ ansiQuotes, plainBackslash bool }

// token is a chain, a string, or a sign.
type token struct {
	chain chain
	word  string // in upper case, of a chain of one name that is not quoted
	sign  byte   // of neither; 's' for a string, '0' for a number
}

func (t token) is(words ...string) bool {
	for _, w := range words {
		if t.word != "" && t.word == w {
			return true
		}
	}
	return false
}

// referencesOf reads a statement or body. It knows as much of SQL as tells
// where tables that are written can stand; what it takes for one too many
// stops the stream, so it takes none too few.
func referencesOf(text string, mode sqlMode) references {
	p := parser{tokens: tokens(text, mode)}
	for p.at < len(p.tokens) {
		p.step()
	}
	for i, t := range p.tokens {
		if t.chain == nil {
			continue
		}
		p.named = append(p.named, t.chain)
		if i+1 < len(p.tokens) && p.tokens[i+1].sign == '(' || i > 0 && p.tokens[i-1].is("CALL") {
			p.called = append(p.called, t.chain)
		}
	}
	return p.references
}

type parser struct {
	references
	tokens []token
	at     int
}

// peek is the token at hand, or a semicolon after the last one.
func (p *parser) peek() token {
	if p.at >= len(p.tokens) {
		return token{sign: ';'}
	}
	return p.tokens[p.at]
}

func (p *parser) before() token {
	if p.at == 0 {
		return token{sign: ';'}
	}
	return p.tokens[p.at-1]
}

// step takes a token and, after a keyword that writes, the tables that it writes.
func (p *parser) step() {
	before, t := p.before(), p.peek()
	p.at++
	switch {
	case t.is("INSERT", "REPLACE"):
		if p.peek().sign == '(' {
			return // the functions of these names
		}
		for p.peek().is("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO") {
			p.at++
		}
		p.write(p.peek())
	case t.is("UPDATE") && !before.is("KEY", "ON", "AFTER", "BEFORE") && (!before.is("FOR") || p.tokens[0].is("SET")):
		p.tables("SET")
	case t.is("DELETE") && !before.is("ON", "AFTER", "BEFORE"):
		p.tables("WHERE", "ORDER", "LIMIT", "RETURNING")
	case t.is("CREATE") && before.sign == ';' && p.at == 1:
		p.create()
	case t.is("LOAD") && p.peek().is("DATA", "XML"):
		for p.peek().sign != ';' {
			t := p.peek()
			p.at++
			if t.is("INTO") && p.peek().is("TABLE") {
				p.at++
				p.write(p.peek())
				return
			}
		}
	}
}

// create takes the table that a CREATE TABLE … SELECT fills, unless it is a
// temporary one.
func (p *parser) create() {
	for p.peek().is("OR", "REPLACE") {
		p.at++
	}
	if !p.peek().is("TABLE") {
		p.at = len(p.tokens) // what else it creates writes nothing yet
		return
	}
	p.at++
	for p.peek().is("IF", "NOT", "EXISTS") {
		p.at++
	}
	table := p.peek()
	for p.at < len(p.tokens) {
		t := p.peek()
		p.at++
		if t.is("SELECT", "TABLE") || t.is("VALUES") && p.peek().is("ROW") {
			p.write(table)
			return
		}
	}
}

func (p *parser) write(t token) {
	if t.chain != nil {
		p.written = append(p.written, t.chain)
	}
}

// tables takes the table references of an UPDATE or DELETE up to a keyword
// that ends them. All of them count as written, derived tables apart.
func (p *parser) tables(ends ...string) {
	var found []chain
	aliases := map[string]bool{}
	for expected := true; ; {
		t := p.peek()
		switch {
		case t.sign == ';', t.is(ends...):
			for _, c := range found {
				if len(c) > 1 || !aliases[strings.ToLower(c[0])] {
					p.written = append(p.written, c)
				}
			}
			return
		case t.is("LOW_PRIORITY", "QUICK", "IGNORE", "LATERAL"):
			p.at++
		case t.sign == ',', t.is("FROM", "USING", "JOIN", "STRAIGHT_JOIN"):
			expected = true
			p.at++
			if t.is("USING") && p.peek().sign == '(' {
				p.group()
				expected = false
			}
		case t.sign == '(':
			p.at++
			if inside := p.peek(); !expected || inside.is("SELECT", "WITH", "VALUES", "TABLE") {
				p.at--
				p.group()
				if expected {
					p.alias(aliases)
					expected = false
				}
			}
		case expected && t.chain != nil:
			found = append(found, t.chain)
			expected = false
			p.at++
			p.alias(aliases)
		default:
			p.at++
		}
	}
}

// alias takes the name that a table has been given, if it was.
func (p *parser) alias(aliases map[string]bool) {
	if p.peek().is("AS") {
		p.at++
	} else if p.peek().is("JOIN", "INNER", "CROSS", "LEFT", "RIGHT", "NATURAL", "STRAIGHT_JOIN", "ON", "USING", "FROM", "SET",
		"WHERE", "ORDER", "LIMIT", "RETURNING", "PARTITION", "USE", "FORCE", "IGNORE", "FOR") {
		return
	}
	if t := p.peek(); len(t.chain) == 1 {
		aliases[strings.ToLower(t.chain[0])] = true
		p.at++
	}
}

// group passes over parentheses and what is in them. What it writes and calls
// is not lost: only a call can write there, and calls are found everywhere.
func (p *parser) group() {
	for depth := 0; p.at < len(p.tokens); {
		switch p.tokens[p.at].sign {
		case '(':
			depth++
		case ')':
			depth--
		}
		p.at++
		if depth == 0 {
			return
		}
	}
}

// tokens splits a statement, without its comments. What only some versions
// run (/*!50000 … */) counts: the server takes out of the log what it did not.
func tokens(s string, mode sqlMode) []token {
	var out []token
	for len(s) > 0 {
		c := s[0]
		switch {
		case strings.HasPrefix(s, "/*!"), strings.HasPrefix(s, "/*M!"):
			_, s, _ = strings.Cut(s, "!")
			s = strings.TrimLeft(s, "0123456789")
		case strings.HasPrefix(s, "*/"): // the end of such
			s = s[2:]
		case strings.HasPrefix(s, "/*"):
			_, s, _ = strings.Cut(s[2:], "*/")
		case c == '#', strings.HasPrefix(s, "--") && (len(s) == 2 || s[2] <= ' '):
			_, s, _ = strings.Cut(s, "\n")
		case c == '\'', c == '"' && !mode.ansiQuotes:
			_, s = quotedText(s, !mode.plainBackslash)
			out = append(out, token{sign: 's'})
		case numberSize(s) > 0:
			s = s[numberSize(s):]
			out = append(out, token{sign: '0'})
		case c == '`', c == '"', isNameByte(c):
			var t token
			t, s = nameToken(s, mode)
			out = append(out, t)
		default:
			if c > ' ' {
				out = append(out, token{sign: c})
			}
			s = s[1:]
		}
	}
	return out
}

func isNameByte(b byte) bool {
	return b == '_' || b == '$' || b >= utf8.RuneSelf || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

// numberSize is how many bytes of s are a whole number, also one with an
// exponent; names may begin with digits, too.
func numberSize(s string) int {
	digits := func(from int) int {
		for from < len(s) && '0' <= s[from] && s[from] <= '9' {
			from++
		}
		return from
	}
	end := digits(0)
	if end > 0 && end < len(s) && (s[end] == 'e' || s[end] == 'E') {
		if more := digits(end + 1); more > end+1 {
			end = more
		}
	}
	if end < len(s) && isNameByte(s[end]) {
		return 0
	}
	return end
}

// nameToken reads names with dots between them.
func nameToken(s string, mode sqlMode) (token, string) {
	var t token
	for {
		var name string
		quoted := s[0] == '`' || s[0] == '"'
		if quoted {
			name, s = quotedText(s, false)
		} else {
			end := 0
			for end < len(s) && isNameByte(s[end]) {
				end++
			}
			name, s = s[:end], s[end:]
		}
		t.chain = append(t.chain, name)
		if t.word = ""; !quoted && len(t.chain) == 1 {
			t.word = strings.ToUpper(name)
		}
		rest := strings.TrimLeft(s, " \t\r\n")
		if !strings.HasPrefix(rest, ".") {
			return t, s
		}
		rest = strings.TrimLeft(rest[1:], " \t\r\n")
		if rest == "" || rest[0] != '`' && (rest[0] != '"' || !mode.ansiQuotes) && !isNameByte(rest[0]) {
			return t, rest // table.*
		}
		s = rest
	}
}

// quotedText takes what is between the quote that s begins with and the next
// one that is not doubled, nor, if they escape, behind a backslash.
func quotedText(s string, backslash bool) (text, rest string) {
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && backslash:
			i++
			if i < len(s) {
				b.WriteByte(s[i])
			}
		case s[i] != quote:
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == quote:
			b.WriteByte(quote)
			i++
		default:
			return b.String(), s[i+1:]
		}
	}
	return b.String(), ""
}
