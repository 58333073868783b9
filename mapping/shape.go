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
// the name, type, nullability or cast of a field, their order, or the key.
func (p *Plan) Shape() string {
	type column struct {
		Name, Type string
		Nullable   bool
		Cast       binlog.Cast
	}
	var shape struct{ Fields, Key []column }
	describe := func(name string) column {
		c := p.table.Columns[p.table.Index(name)]
		return column{Name: name, Type: c.SQLType, Nullable: c.Nullable, Cast: binlog.Cast(p.rule.table.Casts[name])}
	}
	for _, name := range p.rule.table.Fields {
		shape.Fields = append(shape.Fields, describe(name))
	}
	for _, k := range p.key {
		shape.Key = append(shape.Key, describe(p.table.Columns[k.Column].Name))
	}
	text, err := json.Marshal(shape)
	if err != nil {
		panic(err) // strings and booleans only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:shapeLength]
}
