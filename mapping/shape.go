package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/chorusd/chorusd/binlog"
)

// shapeLength is how many hexadecimal digits a shape is told by.
const shapeLength = 16

// Shape is a short text that changes when what clients get of the table does:
// the name, type, nullability or cast of a field, how it is made and for whom,
// their order, or the key.
func (p *Plan) Shape() string {
	type column struct {
		Name, Type string
		Nullable   bool
		Cast       binlog.Cast
		Made       *Column `json:",omitempty"` // if it is not the column of its name
	}
	var shape struct{ Fields, Key []column }
	describe := func(field string) column {
		about := column{Name: field, Cast: binlog.Cast(p.rule.table.Casts[field])}
		if at := p.table.Index(p.rule.columnOf(field)); at >= 0 {
			c := p.table.Columns[at]
			about.Type, about.Nullable = c.SQLType, c.Nullable
		}
		if made, ok := p.rule.table.Columns[field]; ok {
			about.Made = &made
		}
		return about
	}
	for _, name := range p.rule.table.Fields {
		shape.Fields = append(shape.Fields, describe(name))
	}
	for _, name := range p.keyNames {
		shape.Key = append(shape.Key, describe(name))
	}
	text, err := json.Marshal(shape)
	if err != nil {
		panic(err) // strings and booleans only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:shapeLength]
}
