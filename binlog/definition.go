package binlog

// DefinitionKind is what a statement may have done to a table.
type DefinitionKind uint8

// The kinds of definition.
const (
	// Present is how the table is where reading begins.
	Present DefinitionKind = iota
	// Altered tables may have another shape; their rows are the same, as far
	// as columns were not Touched.
	Altered
	// Emptied tables lost all their rows; their shape is the same.
	Emptied
	// Dropped tables are gone, and their rows with them; one of the same name
	// may have taken the place.
	Dropped
	// Replaced tables may have other rows, of which no row event tells.
	Replaced
)

func (k DefinitionKind) String() string {
	return [...]string{"present", "altered", "emptied", "dropped", "replaced"}[k]
}

// Definition is what a statement did to a wanted table, or how the table is
// where reading begins. It is made of the statement's text, and says rather
// too much than too little.
type Definition struct {
	Kind DefinitionKind
	Name TableName
	// Time of the statement, like Change's.
	Time uint64
	// Touched are columns that the statement dropped, added or changed.
	Touched []string
	// Table is the shape that the server's dictionary told afterwards; nil if
	// there is no such table. It may be that of a later statement.
	Table *Table

	shapes *history
}

// Shapes is what a later Recall needs to read on from any position that is not
// before settled; ok is false if it is not known.
func (d *Definition) Shapes(settled Position) (text string, ok bool) {
	if d.shapes == nil {
		return "", false
	}
	return d.shapes.text(settled), true
}
