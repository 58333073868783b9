package mapping

import (
	"slices"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
)

// Policy is what the app is asked about a row, beside the rules.
type Policy struct{ Model, Ability string }

// authorizeLaravel is the value of Table.Authorize that has the app asked.
const authorizeLaravel = "laravel"

// defaultAbility is that of reading in Laravel's policies.
const defaultAbility = "view"

// attribute is a column as a model has it.
type attribute struct {
	name   []byte // as JSON, with the colon
	value  binlog.Encoder
	binary bool
}

// Policy is what the app is to be asked before a user gets a row; nil if the
// rules alone say who does. Then Route gives harmonics to all whom the rules
// let see the row, at each change of any column.
func (p *Plan) Policy() *Policy { return p.policy }

// checkPolicy looks at what a table says of the app's policies.
func (r *rule) checkPolicy(wrong *problems) {
	t := &r.table
	switch t.Authorize {
	case "":
		if t.Ability != "" {
			wrong.add("ability", "nobody is asked for it: add authorize = %q, or take it out", authorizeLaravel)
		}
		return
	case authorizeLaravel:
	default:
		wrong.add("authorize", "%q is not %q, which is all there is", t.Authorize, authorizeLaravel)
		return
	}
	if t.Model == "" {
		wrong.add("model", "missing: authorize = %q needs the class whose policy is asked, like 'App\\Models\\Todo'", authorizeLaravel)
	}
	if shared := r.sharedEntry(); shared != "" {
		wrong.add("authorize", "who hears %q is for Laravel to say, and all who do get the same: take one of the two out, or map the table twice", shared)
	}
}

// compilePolicy fits what the app is asked: all columns of the row.
func (p *Plan) compilePolicy(c *compiler) {
	t := &p.rule.table
	if t.Authorize == "" {
		return
	}
	p.policy = &Policy{Model: t.Model, Ability: t.Ability}
	if t.Ability == "" {
		p.policy.Ability = defaultAbility
	}
	p.direct, p.exact = false, false
	for i := range c.table.Columns {
		column := &c.table.Columns[i]
		cast, binary := modelCast(column.Kind)
		value, err := c.table.Encoder(i, cast, c.loc)
		if err != nil {
			c.add("authorize", "the model has a column that cannot be read: %v", err)
			continue
		}
		p.attributes = append(p.attributes, attribute{append(harmonic.AppendString(nil, column.Name), ':'), value, binary})
		c.reads(i)
	}
}

// modelCast is the form in which PDO gives a column to a model.
func modelCast(k binlog.Kind) (cast binlog.Cast, binary bool) {
	switch k {
	case binlog.Integer, binlog.Bit, binlog.Year:
		return binlog.CastInteger, false
	case binlog.Float, binlog.Double:
		return binlog.CastFloat, false
	case binlog.Timestamp:
		return binlog.CastDateTime, false
	case binlog.Binary, binlog.Geometry, binlog.Vector:
		return binlog.CastBase64, true
	default:
		return binlog.CastString, false
	}
}

// AppendModel writes the object of all columns as the app's model has them,
// see docs/POLICIES.md, of a plan with a Policy.
func (p *Plan) AppendModel(dst []byte, row *binlog.Row) ([]byte, error) {
	dst = append(dst, '{')
	for i := range p.attributes {
		a := &p.attributes[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, a.name...)
		wrapped := a.binary && !row.Null(i)
		if wrapped {
			dst = append(dst, `{"base64":`...)
		}
		var err error
		if dst, err = a.value.Append(dst, row); err != nil {
			return dst, err
		}
		if wrapped {
			dst = append(dst, '}')
		}
	}
	return append(dst, '}'), nil
}

// alteredModel says whether a change is one of a model that a policy may judge
// otherwise then.
func (p *Plan) alteredModel(c *binlog.Change) bool {
	return p.policy != nil && slices.ContainsFunc(p.columns, func(at int) bool { return !c.After.Same(c.Before, at) })
}
