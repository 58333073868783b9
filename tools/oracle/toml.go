package oracle

import (
	"fmt"
	"strings"
)

// beaconChannel is the shared channel on which each transaction tells its number.
const beaconChannel = "private-shared.beacon.1"

// MasksSecret is the key of hashed fields.
const MasksSecret = "a secret of the property test"

// Flags are those that chorusd runs with.
func (w *World) Flags() []string {
	if w.messages {
		return []string{"--channels.revocations=message"}
	}
	return nil
}

// TOML is the mapping as chorusd reads it.
func (w *World) TOML() string {
	var b strings.Builder
	b.WriteString("[tables.beacon]\nfields = [\"id\", \"version\"]\nvisible_to = [\"channel:shared.beacon.{id}\"]\n")
	if len(w.attributes) > 0 {
		fmt.Fprintf(&b, "[users]\nsource = %q\nkey = \"id\"\nattributes = %s\n", w.source(w.Users), list(names(w.attributes)))
	}
	if w.masks() {
		fmt.Fprintf(&b, "[masks]\nsecret = %q\n", MasksSecret)
	}
	for _, s := range w.Scopes {
		for _, m := range s.Members {
			fmt.Fprintf(&b, "[[scopes.%s.members]]\nsource = %q\nscope = %q\nuser = %q\n", s.Name, w.source(m.Table), m.Scope.Name, m.User.Name)
			if m.Where != nil {
				fmt.Fprintf(&b, "where = '%s'\n", m.Where.Text)
			}
		}
	}
	for _, t := range w.Tables {
		if t.Rule != nil && t.tenant == w.Tenants[0] {
			w.writeTOML(&b, t)
		}
	}
	return b.String()
}

// masks says whether a field is masked.
func (w *World) masks() bool {
	for _, t := range w.Tables {
		if t.Rule == nil {
			continue
		}
		for _, f := range t.Rule.Fields {
			if f.Mask != nil {
				return true
			}
		}
	}
	return false
}

func (w *World) writeTOML(b *strings.Builder, t *Table) {
	fields := make([]string, len(t.Rule.Fields))
	for i, f := range t.Rule.Fields {
		fields[i] = f.Name
	}
	alternatives := make([]string, len(t.Rule.Any))
	for i, all := range t.Rule.Any {
		entries := make([]string, len(all))
		for j, e := range all {
			entries[j] = e.text()
		}
		alternatives[i] = "'" + entries[0] + "'"
		if len(entries) > 1 {
			alternatives[i] = "['" + strings.Join(entries, "', '") + "']"
		}
	}
	fmt.Fprintf(b, "[tables.%s]\nsource = %q\nfields = %s\nvisible_to = [%s]\nuser_channel = %q\n",
		t.Name, w.source(t), list(fields), strings.Join(alternatives, ", "), w.userTemplate())
	if t.Rule.Where != nil {
		fmt.Fprintf(b, "where = '%s'\n", t.Rule.Where.Text)
	}
	var casts []string
	for _, c := range t.Columns {
		if c.Kind == Bool {
			casts = append(casts, c.Name+` = "boolean"`)
		}
	}
	if len(casts) > 0 {
		fmt.Fprintf(b, "casts = { %s }\n", strings.Join(casts, ", "))
	}
	for _, f := range t.Rule.Fields {
		f.writeTOML(b, t.Name)
	}
}

func (f *Field) writeTOML(b *strings.Builder, table string) {
	var lines []string
	add := func(option, value string) { lines = append(lines, option+" = '"+value+"'") }
	if f.Column == nil {
		add("value", f.Value.Text)
	} else if f.Column.Name != f.Name {
		add("column", f.Column.Name)
	}
	if f.VisibleIf != nil {
		add("visible_if", f.VisibleIf.Text)
	}
	if f.Mask != nil {
		add("mask", f.Mask.Text)
		if f.Mask.Unmasked != nil {
			add("unmasked_if", f.Mask.Unmasked.Text)
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "[tables.%s.columns.%s]\n%s\n", table, f.Name, strings.Join(lines, "\n"))
	}
}

// text is the entry as the TOML has it.
func (e Entry) text() string {
	switch e.Kind {
	case ToUser:
		return "user:{" + e.Path.text() + "}"
	case ToScope:
		return e.Scope.Name + ":{" + e.Path.text() + "}"
	case ToPublic:
		return "public"
	default:
		return "channel:" + e.Channel + ".{" + e.Path.text() + "}"
	}
}

// text is the path as the TOML has it: each hop is the columns that name the
// parent, then the parent and the column to go on with.
func (p Path) text() string {
	if len(p.Hops) == 0 {
		return p.Column.Name
	}
	hops := make([]string, len(p.Hops))
	for i, h := range p.Hops {
		hops[i] = h.text()
	}
	return strings.Join(hops, ".") + "." + p.Column.Name
}

func (h Hop) text() string {
	from := strings.Join(names(h.Link.From), ", ")
	if h.Link.Type != nil {
		from = strings.TrimSuffix(h.Link.Type.Name, "_type") + "(" + h.Target.Type + ")"
	}
	to := h.Target.Table.Name
	if h.Target.To[0] == h.Target.Table.Unique {
		to += "(" + h.Target.Table.Unique.Name + ")"
	}
	return from + " -> " + to
}

func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
