package mapping

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

// A Finding is yes, no, or that it cannot be told.
type Finding string

// The findings.
const (
	Yes         Finding = "yes"
	No          Finding = "no"
	Untold      Finding = "unknown"
	UpToLaravel Finding = "laravel" // is asked who may hear a shared channel
)

// Explanation says why a user sees a row, or what keeps him from it. It is for
// the operator; values of columns are in it only where the user gets them, too,
// but for those that keys are made of.
type Explanation struct {
	Visible Finding `json:"visible"`
	// Where is the table's condition; nil if it has none.
	Where *ConditionFinding `json:"where,omitempty"`
	// Alternatives are those of visible_to; one suffices.
	Alternatives []AlternativeFinding `json:"alternatives"`
	Fields       []FieldFinding       `json:"fields"`
	// Policy is what the app is asked besides; nil if it is not.
	Policy *PolicyFinding `json:"policy,omitempty"`
}

// PolicyFinding is what came of a policy of the app's.
type PolicyFinding struct {
	Model   string  `json:"model"`
	Ability string  `json:"ability"`
	Holds   Finding `json:"holds"`
	Why     string  `json:"why"`
}

// Asked takes what the app says.
func (e *Explanation) Asked(holds Finding, why string) {
	e.Policy.Holds, e.Policy.Why = holds, why
	e.Visible = allOf(e.Visible, holds)
}

// ConditionFinding is what came of a condition.
type ConditionFinding struct {
	Text  string  `json:"text"`
	Holds Finding `json:"holds"`
	// Reads are the columns and attributes that it depends on.
	Reads []ValueFinding `json:"reads,omitempty"`
	// Turns is when the clock changes it.
	Turns *time.Time `json:"turns,omitempty"`
}

// ValueFinding is the value of a column, or of an attribute of the user.
type ValueFinding struct {
	Name string `json:"name"`
	// Value is JSON; empty where the user does not get it.
	Value json.RawMessage `json:"value,omitempty"`
}

// AlternativeFinding is what came of an alternative, which wants all entries.
type AlternativeFinding struct {
	Holds   Finding        `json:"holds"`
	Entries []EntryFinding `json:"entries"`
}

// EntryFinding is what came of an entry of visible_to.
type EntryFinding struct {
	Entry string  `json:"entry"`
	Holds Finding `json:"holds"`
	// Key is that of the scope, or the channel's name; empty if the row leads to none.
	Key string `json:"key,omitempty"`
	// Path are the rows on the way to the key, the row itself first.
	Path []HopFinding `json:"path,omitempty"`
	// Why says in words what the finding rests on.
	Why string `json:"why"`
}

// HopFinding is a row on the way to a key: what was taken from it.
type HopFinding struct {
	Table  string         `json:"table"`
	Key    string         `json:"key,omitempty"` // of a parent
	Values []ValueFinding `json:"values,omitempty"`
}

// FieldFinding is what a user gets of a field.
type FieldFinding struct {
	Field string `json:"field"`
	// State is "shown", "masked", "hidden", or "unknown" without the user.
	State string `json:"state"`
	// By is the condition that says so; nil if it is so for everybody.
	By *ConditionFinding `json:"by,omitempty"`
}

// Explain says why the user with a key sees a row by a view, or does not. A
// user who is not connected by it has no attributes or memberships that are
// known; what depends on them is unknown. The app is for the caller to ask: of
// a plan with a policy, it is yes only as far as the rules go, see Asked.
func (p *Plan) Explain(row *binlog.Row, view View, key UserKey) (Explanation, error) {
	x := explainer{plan: p, row: row, view: view, key: key, user: view.User(key)}
	fields, err := x.fields()
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{Fields: fields, Visible: No, Alternatives: make([]AlternativeFinding, len(p.alternatives))}
	for i := range p.alternatives {
		if e.Alternatives[i], err = x.alternative(i); err != nil {
			return Explanation{}, err
		}
		e.Visible = anyOf(e.Visible, e.Alternatives[i].Holds)
	}
	if p.where != nil {
		where, err := x.condition(p.rule.table.Where, p.where)
		if err != nil {
			return Explanation{}, err
		}
		e.Where, e.Visible = &where, allOf(e.Visible, where.Holds)
	}
	if p.policy != nil {
		e.Policy = &PolicyFinding{Model: p.policy.Model, Ability: p.policy.Ability, Holds: UpToLaravel}
	}
	return e, nil
}

// rank orders findings: what allows more is higher.
var rank = []Finding{No, Untold, UpToLaravel, Yes}

func anyOf(a, b Finding) Finding { return rank[max(slices.Index(rank, a), slices.Index(rank, b))] }
func allOf(a, b Finding) Finding { return rank[min(slices.Index(rank, a), slices.Index(rank, b))] }

// explainer explains one row to one user, who is nil if he is not connected.
type explainer struct {
	plan  *Plan
	row   *binlog.Row
	view  View
	key   UserKey
	user  *User
	shown []int // columns that he gets as they are
}

// fields finds what the user gets of each field. What he gets as it is may be
// told of conditions.
func (x *explainer) fields() ([]FieldFinding, error) {
	p := x.plan
	findings := make([]FieldFinding, len(p.rule.table.Fields))
	for _, k := range p.key {
		x.shown = append(x.shown, k.Column)
	}
	conditions := make([]Finding, len(p.conditions))
	for i, c := range p.conditions {
		var err error
		if conditions[i], err = x.holds(c); err != nil {
			return nil, err
		}
	}
	for i, name := range p.rule.table.Fields {
		f := &p.fields[i]
		findings[i] = FieldFinding{Field: name, State: fieldState(f, conditions)}
		if findings[i].State == "shown" && f.expr == nil {
			x.shown = append(x.shown, f.columns...)
		}
	}
	for i := range findings {
		f, cfg := &p.fields[i], p.rule.table.Columns[findings[i].Field]
		bit, text := f.unmasked, cfg.UnmaskedIf
		if f.shown != 0 && (f.unmasked == 0 || findings[i].State == "hidden") {
			bit, text = f.shown, cfg.VisibleIf
		}
		if bit == 0 {
			continue
		}
		by, err := x.condition(text, p.conditions[bitIndex(bit)])
		if err != nil {
			return nil, err
		}
		findings[i].By = &by
	}
	return findings, nil
}

// bitIndex is the place of a condition with a bit.
func bitIndex(bit Variant) int {
	for i := range mostConditions {
		if bit == 1<<i {
			return i
		}
	}
	return 0
}

// fieldState is what becomes of a field by what is found of the conditions.
func fieldState(f *field, conditions []Finding) string {
	of := func(bit Variant) Finding {
		if bit == 0 {
			return Yes
		}
		return conditions[bitIndex(bit)]
	}
	unmasked := Yes
	if f.masked {
		if unmasked = of(f.unmasked); f.unmasked == 0 {
			unmasked = No
		}
	}
	switch shown := of(f.shown); {
	case shown == No:
		return "hidden"
	case shown == Untold || unmasked == Untold:
		return string(Untold)
	case unmasked == No:
		return "masked"
	default:
		return "shown"
	}
}

// holds judges a condition.
func (x *explainer) holds(f *filter.Filter) (Finding, error) {
	ok, err := f.RowTrue(x.row, x.view.Now())
	if err == nil && ok && f.UsesUser() {
		if x.user == nil {
			return Untold, nil
		}
		ok, err = f.UserTrue(x.row, &x.user.Subject)
	}
	return finding(ok), err
}

func finding(ok bool) Finding {
	if ok {
		return Yes
	}
	return No
}

// condition explains a condition.
func (x *explainer) condition(text string, f *filter.Filter) (ConditionFinding, error) {
	holds, err := x.holds(f)
	if err != nil {
		return ConditionFinding{}, err
	}
	c := ConditionFinding{Text: strings.TrimSpace(text), Holds: holds}
	for _, at := range f.Columns() {
		v := ValueFinding{Name: x.plan.table.Columns[at].Name}
		if slices.Contains(x.shown, at) {
			if v.Value, err = x.value(at); err != nil {
				return ConditionFinding{}, err
			}
		}
		c.Reads = append(c.Reads, v)
	}
	if x.user != nil {
		if f.UsesUserID() {
			c.Reads = append(c.Reads, ValueFinding{"user.id", x.user.Subject.ID.AppendJSON(nil)})
		}
		for _, at := range f.Attributes() {
			c.Reads = append(c.Reads, ValueFinding{"user." + x.plan.mapper.attributes[at].Name, x.user.Subject.Attributes[at].AppendJSON(nil)})
		}
	}
	if at, ok := f.Crosses(x.row); ok && at.After(x.view.Now()) {
		c.Turns = &at
	}
	return c, nil
}

// value is a column's JSON.
func (x *explainer) value(column int) (json.RawMessage, error) {
	e, err := x.plan.table.Encoder(column, binlog.CastDefault, x.plan.mapper.loc)
	if err != nil {
		return nil, err
	}
	return e.Append(nil, x.row)
}

func (x *explainer) alternative(i int) (AlternativeFinding, error) {
	a := AlternativeFinding{Holds: Yes}
	for j := range x.plan.alternatives[i] {
		e, err := x.entry(&x.plan.alternatives[i][j], &x.plan.rule.alternatives[i][j])
		if err != nil {
			return a, err
		}
		a.Entries, a.Holds = append(a.Entries, e), allOf(a.Holds, e.Holds)
	}
	return a, nil
}

// entry explains one entry of visible_to.
func (x *explainer) entry(s *scope, from *entry) (EntryFinding, error) {
	e := EntryFinding{Entry: from.text, Holds: No}
	trails := s.trails()
	paths := []*path{}
	_ = from.eachPath(func(p *path) error { // which fails only if this does
		paths = append(paths, p)
		return nil
	})
	for i, t := range trails {
		hops, stop, err := x.path(t, paths[i])
		e.Path = append(e.Path, hops...)
		if err != nil {
			return e, err
		}
		if stop.why != "" {
			e.Holds, e.Why = stop.finding, stop.why
			return e, nil
		}
	}
	k, end, err := x.plan.resolve(s, &image{row: x.row, view: x.view})
	if err != nil {
		return e, err
	}
	if end != found {
		e.Why = "the value cannot stand in a channel's name"
		return e, nil
	}
	e.Key = string(k.key)
	e.Holds, e.Why = x.of(k)
	return e, nil
}

// of says whether the user is of a key, and why.
func (x *explainer) of(k *reached) (Finding, string) {
	switch k.kind {
	case userEntry:
		if k.user == x.key {
			return Yes, "it is the user's own key"
		}
		return No, "it is another user's key"
	case channelEntry:
		return UpToLaravel, "who may hear this channel is for Laravel to say"
	case publicEntry:
		switch {
		case x.user == nil:
			return Untold, "the user is not connected, and would see it if he were"
		case x.user.Tenant != x.plan.rule.tenant:
			return No, "the user is of another tenant"
		}
		return Yes, "everybody who is connected sees it"
	}
	switch {
	case x.user == nil:
		return Untold, "the user is not connected, so his memberships are not known"
	case x.view.IsMember(x.user, k.key):
		return Yes, "the user is a member"
	}
	return No, "the user is no member"
}

// stop is why a path does not lead to a key.
type stop struct {
	finding Finding
	why     string
}

// path follows a path from the row.
func (x *explainer) path(t *trail, from *path) (hops []HopFinding, stopped stop, err error) {
	own := HopFinding{Table: x.plan.table.Name.String()}
	for _, at := range t.columns {
		v := ValueFinding{Name: x.plan.table.Columns[at].Name}
		if v.Value, err = x.value(at); err != nil {
			return nil, stop{}, err
		}
		own.Values = append(own.Values, v)
		if x.row.Null(at) {
			stopped = stop{No, v.Name + " is NULL"}
		}
	}
	hops = append(hops, own)
	if t.typed && stopped.why == "" {
		var kind []byte
		if kind, err = t.typeValue.Append(nil, x.row); err != nil {
			return hops, stop{}, err
		}
		if !bytes.Equal(kind, t.typeText) {
			stopped = stop{No, fmt.Sprintf("%s is %s, not %s", x.plan.table.Columns[t.typeColumn].Name, kind, t.typeText)}
		}
	}
	if stopped.why != "" || len(t.hops) == 0 {
		return hops, stopped, nil
	}
	key, err := appendKey(nil, t.values, x.row)
	if err != nil {
		return hops, stop{}, err
	}
	for i := range t.hops {
		var hop HopFinding
		hop, key, stopped = x.hop(&t.hops[i], &from.hops[i], key)
		if hops = append(hops, hop); stopped.why != "" {
			break
		}
	}
	return hops, stopped, nil
}

// hop looks at a parent, and gives the key of the next.
func (x *explainer) hop(s *step, from *hop, key []byte) (h HopFinding, next []byte, stopped stop) {
	h = HopFinding{Table: s.table.String(), Key: string(key)}
	parent, known := x.view.Parent(ParentRef{Table: s.table, Unique: s.unique, Key: string(key)})
	switch {
	case !known:
		return h, nil, stop{Untold, fmt.Sprintf("the row %s of %s is not known yet", key, s.table)}
	case !parent.Exists:
		return h, nil, stop{No, fmt.Sprintf("there is no row %s in %s", key, s.table)}
	case s.typeTaken >= 0 && parent.Values[s.typeTaken] != s.typeText:
		return h, nil, stop{No, fmt.Sprintf("%s of %s is %s, not %s", from.take.typeColumn, s.table, orNull(parent.Values[s.typeTaken]), s.typeText)}
	}
	next = []byte{'['}
	for i, at := range s.taken {
		value := orNull(parent.Values[at])
		h.Values = append(h.Values, ValueFinding{from.take.columns[i], json.RawMessage(value)})
		if parent.Values[at] == "" {
			stopped = stop{No, fmt.Sprintf("%s of %s is NULL", from.take.columns[i], s.table)}
		}
		if i > 0 {
			next = append(next, ',')
		}
		next = append(next, value...)
	}
	return h, append(next, ']'), stopped
}

// orNull is a parent's value as JSON.
func orNull(value string) string {
	if value == "" {
		return "null"
	}
	return value
}
