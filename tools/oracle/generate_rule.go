package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// rule says who sees a table.
func (g *generator) rule(t *Table) {
	r := &Rule{}
	t.Rule = r
	own, shared := g.entries(t)
	if len(own) == 0 {
		t.Rule = nil // nobody could see it
		return
	}
	withChannel := len(shared) > 0 && g.chance(0.25)
	for range 1 + g.IntN(3) {
		all := []Entry{pick(g.Rand, own)}
		if g.features.AllOf && g.chance(0.25) {
			all = append(all, pick(g.Rand, own))
		}
		r.Any = append(r.Any, all)
	}
	if withChannel {
		r.Any = append(r.Any, []Entry{pick(g.Rand, shared)})
	}
	r.Any = distinct(r.Any)
	users := g.features.Users && !withChannel
	if g.features.Where && g.chance(0.6) {
		r.Where = g.bounded(t, "t", g.condition(t, "t", users))
	}
	for _, c := range t.Columns {
		if t.linked(c) && !slices.Contains(t.Key, c) && c.Name != versionColumn && g.chance(0.5) {
			continue
		}
		r.Fields = append(r.Fields, g.field(t, c, users))
	}
	if g.features.Computed && g.chance(0.3) {
		r.Fields = append(r.Fields, g.computed())
	}
}

// distinct leaves out entries that are there twice.
func distinct(anyOf [][]Entry) [][]Entry {
	seen := map[string]bool{}
	kept := anyOf[:0]
	for _, all := range anyOf {
		all = slices.CompactFunc(all, func(a, b Entry) bool { return a.text() == b.text() })
		texts := make([]string, len(all))
		for i, e := range all {
			texts[i] = e.text()
		}
		name := strings.Join(texts, " ")
		if !seen[name] {
			kept = append(kept, all)
		}
		seen[name] = true
	}
	return kept
}

// entries lists what may stand in visible_to of a table.
func (g *generator) entries(t *Table) (own, shared []Entry) {
	for _, p := range g.paths(t, 3) {
		if p.Column.Name == "owner_id" || t == g.world.Users && p.Column == t.Key[0] {
			own = append(own, Entry{Kind: ToUser, Path: p})
		}
		for _, s := range g.world.Scopes {
			if p.Column.Name == s.Name+"_id" {
				own = append(own, Entry{Kind: ToScope, Scope: s, Path: p})
				shared = append(shared, Entry{Kind: ToChannel, Channel: g.world.Tenants[0].mark("shared.") + s.Name, Path: p})
			}
		}
		if p.Column.Name == "kind" && len(p.Hops) == 0 && !g.features.Scopes {
			shared = append(shared, Entry{Kind: ToChannel, Channel: g.world.Tenants[0].mark("shared.") + "done", Path: Path{Column: t.column("done")}})
		}
	}
	if g.features.Public && g.chance(0.15) {
		own = append(own, Entry{Kind: ToPublic})
	}
	return own, shared
}

// paths lists the columns of a table and of its parents, by how to get there.
func (g *generator) paths(t *Table, hops int) []Path {
	var paths []Path
	for _, c := range t.Columns {
		if !t.linked(c) || slices.Contains(t.Key, c) && t == g.world.Users {
			paths = append(paths, Path{Column: c})
		}
	}
	if hops == 0 || !g.features.Paths {
		return paths
	}
	for _, l := range t.Links {
		for _, target := range l.Targets {
			for _, p := range g.paths(target.Table, hops-1) {
				p.Hops = slices.Concat([]Hop{{l, target}}, p.Hops)
				paths = append(paths, p)
			}
		}
	}
	return paths
}

// field makes the field of a column. What clients find the row by, and its
// version, everybody gets as it is.
func (g *generator) field(t *Table, c *Column, users bool) *Field {
	f := &Field{Name: c.Name, Column: c, Kind: c.Kind}
	if slices.Contains(t.Key, c) || c.Name == versionColumn {
		return f
	}
	if g.features.Computed && c.Kind != Bool && g.chance(0.1) { // casts go by the fields' names, conditions by the columns'
		f.Name = c.Name + "_renamed"
	}
	if !users {
		return f
	}
	switch {
	case g.features.Columns && g.chance(0.2):
		f.VisibleIf = g.condition(t, "t", true)
	case g.features.Masks && c.Kind == Text && g.chance(0.3):
		f.Mask = g.mask(t, c)
	}
	return f
}

// mask hides a column from some, or from all.
func (g *generator) mask(t *Table, c *Column) *Mask {
	column := "t." + c.Name
	masks := []Mask{
		{Text: "fixed:secret", SQL: "IF(" + column + " IS NULL, NULL, 'secret')"},
		{Text: "truncate:2", SQL: "LEFT(" + column + ", 2)"},
		{Text: "email", SQL: fmt.Sprintf("IF(%[1]s LIKE '%%@%%', CONCAT(LEFT(SUBSTRING_INDEX(%[1]s, '@', 1), 1), '***@', SUBSTRING_INDEX(%[1]s, '@', -1)), IF(%[1]s IS NULL, NULL, '***'))", column)},
		{Text: "hash", SQL: hmacSQL(column)},
	}
	m := pick(g.Rand, masks)
	if g.chance(0.6) {
		m.Unmasked = g.condition(t, "t", true)
	}
	return &m
}

// computed makes a field that is no column.
func (g *generator) computed() *Field {
	return pick(g.Rand, []*Field{
		{Name: "label", Kind: Text, Value: &Cond{`"fixed"`, "'fixed'"}},
		{Name: "heading", Kind: Text, Value: &Cond{`title + ": " + kind`, "CONCAT(t.title, ': ', t.kind)"}},
		{Name: "total", Kind: Int, Value: &Cond{`amount * 2 + 1`, "t.amount * 2 + 1"}},
	})
}

// condition makes a condition over the row under an alias and, with users,
// over the user's attributes.
func (g *generator) condition(t *Table, alias string, users bool) *Cond {
	return g.term(t, alias, users, 2)
}

func and(a, b *Cond) *Cond {
	return &Cond{"(" + a.Text + ") and (" + b.Text + ")", "(" + a.SQL + ") AND (" + b.SQL + ")"}
}

func (g *generator) term(t *Table, alias string, users bool, depth int) *Cond {
	if depth > 0 {
		switch g.IntN(5) {
		case 0:
			return and(g.term(t, alias, users, depth-1), g.term(t, alias, users, depth-1))
		case 1:
			a, b := g.term(t, alias, users, depth-1), g.term(t, alias, users, depth-1)
			return &Cond{"(" + a.Text + ") or (" + b.Text + ")", "(" + a.SQL + ") OR (" + b.SQL + ")"}
		case 2:
			a := g.term(t, alias, users, depth-1)
			return &Cond{"not (" + a.Text + ")", "NOT (" + a.SQL + ")"}
		}
	}
	if users && g.chance(0.5) {
		return g.aboutUser(t)
	}
	return g.aboutRow(t, alias)
}

// aboutUser compares the user with the row or with a literal.
func (g *generator) aboutUser(t *Table) *Cond {
	var candidates []*Cond
	for _, c := range t.Columns {
		switch c.Name {
		case "owner_id":
			candidates = append(candidates, &Cond{"user.id == owner_id", "s.id = t.owner_id"})
		case "region":
			candidates = append(candidates, &Cond{"user.region == region", "CAST(u.region AS BINARY) = CAST(t.region AS BINARY)"})
		case "amount":
			candidates = append(candidates, &Cond{"user.level * 20 > amount", "u.level * 20 > t.amount"})
		}
	}
	role := pick(g.Rand, roles)
	candidates = append(candidates,
		compare("user.role", "u.role", Text, "==", role),
		compare("user.role", "u.role", Text, "!=", role),
		&Cond{"user.region == nil", "u.region IS NULL"},
		&Cond{"(user.level ?? 2) >= 2", "COALESCE(u.level, 2) >= 2"},
		among("user.role", "u.role", roles[:2]))
	return pick(g.Rand, candidates)
}

// aboutRow compares a column with a literal.
func (g *generator) aboutRow(t *Table, alias string) *Cond {
	var columns []*Column
	for _, c := range t.Columns {
		if !t.linked(c) && (c.Domain != nil && !c.Ref || c.Kind == Bool || c.Kind == Time || c.Name == "amount") {
			columns = append(columns, c)
		}
	}
	c := pick(g.Rand, columns)
	name := alias + "." + c.Name
	switch {
	case c.Kind == Time || c.Null && g.chance(0.3):
		if g.chance(0.6) {
			return &Cond{c.Name + " == nil", name + " IS NULL"}
		}
		return &Cond{c.Name + " != nil", name + " IS NOT NULL"}
	case c.Kind == Bool:
		if g.chance(0.5) {
			return &Cond{c.Name, name + " = 1"}
		}
		return &Cond{c.Name + " == false", name + " = 0"}
	case c.Name == "amount":
		return compare(c.Name, name, Int, pick(g.Rand, []string{"<", ">=", "!="}), number(g.IntN(100)))
	case g.chance(0.4):
		return among(c.Name, name, c.Domain[:2])
	default:
		return compare(c.Name, name, c.Kind, pick(g.Rand, []string{"==", "!="}), pick(g.Rand, c.Domain))
	}
}

// compare compares texts by their bytes, as chorusd does.
func compare(text, sql string, k Kind, op string, v Value) *Cond {
	sqlOp := op
	switch op {
	case "==":
		sqlOp = "="
	case "!=":
		sqlOp = "<>"
	}
	if k == Text {
		return &Cond{fmt.Sprintf("%s %s %q", text, op, v.text), fmt.Sprintf("%s %s CAST(%s AS BINARY)", binary(sql), sqlOp, v.SQL())}
	}
	return &Cond{fmt.Sprintf("%s %s %s", text, op, v.text), fmt.Sprintf("%s %s %s", sql, sqlOp, v.SQL())}
}

func binary(sql string) string { return "CAST(" + sql + " AS BINARY)" }

// among looks a column up in a list.
func among(text, sql string, values []Value) *Cond {
	texts, literals := "", ""
	for i, v := range values {
		if i > 0 {
			texts += ", "
			literals += ", "
		}
		if v.kind == Text {
			texts += fmt.Sprintf("%q", v.text)
			literals += binary(v.SQL())
		} else {
			texts += v.text
			literals += v.SQL()
		}
	}
	if values[0].kind == Text {
		sql = binary(sql)
	}
	return &Cond{text + " in [" + texts + "]", sql + " IN (" + literals + ")"}
}

// bounded may add a bound that the clock crosses.
func (g *generator) bounded(t *Table, alias string, c *Cond) *Cond {
	if !g.world.timed || g.chance(0.3) {
		return c
	}
	t.timed = true
	published, expires := alias+".published_at", alias+".expires_at"
	return and(c, pick(g.Rand, []*Cond{
		{"published_at <= now", published + " <= @late"},
		{"now > published_at", "@late > " + published},
		{"expires_at > now", expires + " > @early"},
		{"expires_at == nil or expires_at >= now", expires + " IS NULL OR " + expires + " >= @early"},
	}))
}

// hmacSQL is the HMAC-SHA256 of a column in hex, with MasksSecret.
func hmacSQL(column string) string {
	inner, outer := make([]byte, 64), make([]byte, 64)
	copy(inner, MasksSecret)
	copy(outer, MasksSecret)
	for i := range inner {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	return fmt.Sprintf("SHA2(CONCAT(x'%x', UNHEX(SHA2(CONCAT(x'%x', CAST(%s AS BINARY)), 256))), 256)", outer, inner, column)
}
