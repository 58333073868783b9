package mapping

// ScopeRows describe to clients the rows of a table that are in a scope.
type ScopeRows struct {
	// ID is the table's, Table its name as clients know it, and Template the
	// number of the template of the channels that get them.
	ID, Table string
	Template  int
	// Field and Value, which is JSON, are what they have in common. Field is
	// empty where nothing that clients have tells them from others.
	Field, Value string
}

// RowsIn describes the rows in a scope, of each table that clients get as
// harmonics: in several parts if several columns hold the scope's key. It is
// possible for those whose entries are by columns of their own that everybody
// gets unchanged; rows that are in the scope by a parent are not described.
func (m *Mapper) RowsIn(key ScopeKey) []ScopeRows {
	tenant, name, id := cutScope(key)
	var list []ScopeRows
	for _, r := range m.rules {
		f, ok := r.ofTenant(tenant)
		if !ok || r.payload != PayloadHarmonic {
			continue
		}
		begin, told := len(list), true
		r.eachEntry(func(e *entry) {
			if !e.of(name) {
				return
			}
			rows := ScopeRows{ID: f.id(), Table: r.name, Template: r.template}
			if e.kind != publicEntry {
				rows.Field, rows.Value = r.plainField(&e.key), id
			}
			told = told && rows.Field != ""
			list = append(list, rows)
		})
		if !told {
			list = append(list[:begin], ScopeRows{ID: f.id(), Table: r.name, Template: r.template})
		}
	}
	return list
}

// plainField is the field that is a path's column as it is, "" if none is.
func (r *rule) plainField(p *path) string {
	if len(p.hops) > 0 || p.first.typeColumn != "" {
		return ""
	}
	field := r.fieldOf(p.first.columns[0])
	if field == "" || r.table.Casts[field] != "" {
		return ""
	}
	if c := r.table.Columns[field]; c.Mask != "" || c.VisibleIf != "" {
		return ""
	}
	return field
}

// Name is the scope as clients know it: without its tenant.
func (k ScopeKey) Name() string {
	tenant, _, _ := cutScope(k)
	if tenant == "" {
		return string(k)
	}
	return string(k[len(tenant)+1:])
}
