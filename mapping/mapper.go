package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
)

// Payload is the form of an event's data.
type Payload string

// The payloads.
const (
	PayloadHarmonic Payload = "harmonic" // Laravel Chorus's event object
	PayloadModel    Payload = "model"    // Laravel's model broadcasting
	PayloadData     Payload = "data"     // the object of the fields alone
)

// Mapper applies the rules. It is for one goroutine.
type Mapper struct {
	loc    *time.Location
	rules  []*rule // by name
	byName map[string]*rule
	hash   string
	heads  []string // literal heads of the channels' names

	plans map[*binlog.Table][]*Plan
	names map[string]string // channel names made before
	buf   []byte
}

// rule is one table of the TOML, checked but not yet fitted to columns.
type rule struct {
	name    string
	source  source
	table   Table
	scopes  []scope
	events  [3]string // by operation
	payload Payload
	// channels match the names that scopes give.
	channels []*regexp.Regexp
}

// fitted is a rule for one table of the database.
type fitted struct {
	*rule
	from   binlog.TableName
	tenant string
}

// id is what Plan.ID returns.
func (f fitted) id() string {
	if f.source.pattern == nil {
		return f.name
	}
	return f.name + tenantSeparator + f.from.Schema
}

// rulesOf are those for a table of the database.
func (m *Mapper) rulesOf(name binlog.TableName) []fitted {
	var list []fitted
	for _, r := range m.rules {
		if tenant, ok := r.source.of(name); ok {
			list = append(list, fitted{r, name, tenant})
		}
	}
	return list
}

// A Problem is something wrong with the rules.
type Problem struct {
	// Table and Option are where: "todos" and "fields". Without a table,
	// Option is the key of the whole TOML.
	Table, Option string
	// Text says what is wrong and what mends it.
	Text string
}

// problems gathers what is wrong with one table.
type problems struct {
	table string
	list  []Problem
}

func (p *problems) add(option, format string, args ...any) {
	p.list = append(p.list, Problem{Table: p.table, Option: option, Text: fmt.Sprintf(format, args...)})
}

// New checks the rules as far as that goes without the database. loc is how
// DATETIME columns are read.
func New(cfg Config, database string, loc *time.Location) (*Mapper, []Problem) {
	m := &Mapper{
		loc: loc, byName: map[string]*rule{},
		plans: map[*binlog.Table][]*Plan{}, names: map[string]string{},
	}
	var all []Problem
	if _, err := parseUserChannel(cfg.UserChannel); err != nil {
		all = append(all, Problem{Option: "channels.user", Text: err.Error()})
		cfg.UserChannel = "chorus.user.{id}" // so that it is said once
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Tables)) {
		r, wrong := newRule(name, cfg.Tables[name], cfg, database)
		all = append(all, wrong...)
		m.rules = append(m.rules, r)
		m.byName[name] = r
		for _, s := range r.scopes {
			m.heads = append(m.heads, privatePrefix+head(s.parts))
		}
	}
	m.heads = shortest(m.heads)
	for _, r := range m.rules {
		all = append(all, r.trespasses(m.rules)...)
		all = append(all, r.mixes(m.rules)...)
		if len(m.Patterns()) > 0 && strings.Contains(r.name, tenantSeparator) {
			all = append(all, Problem{r.name, "source", "the table's name has an @ in it, by which tenants' tables are told apart: give it another name"})
		}
	}
	text, err := json.Marshal(struct {
		Config
		Database, Location string
	}{cfg, database, loc.String()})
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(text)
	m.hash = hex.EncodeToString(sum[:])
	return m, all
}

// shortest leaves out prefixes that start with another one.
func shortest(prefixes []string) []string {
	slices.Sort(prefixes)
	var kept []string
	for _, p := range prefixes {
		if n := len(kept); n == 0 || !strings.HasPrefix(p, kept[n-1]) {
			kept = append(kept, p)
		}
	}
	return kept
}

// newRule checks one table.
func newRule(name string, t Table, cfg Config, database string) (*rule, []Problem) {
	wrong := problems{table: name}
	r := &rule{name: name, payload: PayloadHarmonic}
	var err error
	if r.source, err = sourceOf(name, t.Source, database, cfg.TablePrefix); err != nil {
		wrong.add("source", "%v", err)
	}
	sourceKnown := err == nil
	userChannel := cfg.UserChannel
	if len(t.Fields) == 0 {
		wrong.add("fields", "missing: list the columns that clients get")
	}
	for i, f := range t.Fields {
		if slices.Contains(t.Fields[:i], f) {
			wrong.add("fields", "%q is there twice: take one out", f)
		}
	}
	for _, k := range t.Key {
		if !slices.Contains(t.Fields, k) {
			wrong.add("key", "column %q must be one of fields, since clients find the record by it", k)
		}
	}
	if t.UserChannel != "" {
		userChannel = t.UserChannel
	}
	event := harmonic.EventCreated
	switch t.Broadcast {
	case "", "chorus":
	case "model":
		r.payload, event = PayloadModel, "{model}{Operation}"
		if t.Model == "" {
			wrong.add("model", "missing: broadcast = \"model\" needs the class, like 'App\\Models\\Todo'")
		}
		if t.UserChannel == "" {
			userChannel = "App.Models.User.{id}"
		}
	default:
		wrong.add("broadcast", "%q is neither \"chorus\" nor \"model\"", t.Broadcast)
	}
	switch Payload(t.Payload) {
	case "":
	case PayloadHarmonic, PayloadModel, PayloadData:
		r.payload = Payload(t.Payload)
	default:
		wrong.add("payload", "%q is none of \"harmonic\", \"model\", \"data\"", t.Payload)
	}
	if t.Event != "" {
		event = t.Event
	}
	if err := r.setEvents(event, t.Model); err != nil {
		wrong.add("event", "%v", err)
	}
	if len(t.VisibleTo) == 0 {
		wrong.add("visible_to", "missing: say who may see a row, like [\"user:{user_id}\"]")
	}
	if slices.ContainsFunc(t.VisibleTo, func(a Alternative) bool { return len(a) != 1 }) {
		wrong.add("visible_to", "an inner list needs one entry")
	}
	for _, entry := range slices.Concat(t.VisibleTo...) {
		s, err := parseScope(entry, userChannel)
		if err != nil {
			wrong.add("visible_to", "%v", err)
			continue
		}
		if problem := s.tenantProblem(r.source.pattern != nil); problem != "" && sourceKnown {
			wrong.add("visible_to", "%s", problem)
		}
		r.scopes = append(r.scopes, s)
		r.channels = append(r.channels, s.pattern())
	}
	r.table = t
	return r, wrong.list
}

// trespasses finds shared channels that could be a user's own by the rules of
// another table; parseScope has looked at the table's own.
func (r *rule) trespasses(rules []*rule) []Problem {
	wrong := problems{table: r.name}
	for _, s := range r.scopes {
		for _, other := range rules {
			owned := slices.ContainsFunc(other.scopes, func(o scope) bool { return o.user && mayMeet(s.parts, o.parts) })
			if !s.user && other != r && owned {
				wrong.add("visible_to", "%q can name a user's own channel of table %q: start it with other text", s.entry, other.name)
			}
		}
	}
	return wrong.list
}

// maxEvent is the longest event name that Pusher takes.
const maxEvent = 200

// setEvents fills in the event's template for each operation.
func (r *rule) setEvents(template, class string) error {
	for i := range r.events {
		op := harmonic.Create + harmonic.Operation(i)
		name := strings.NewReplacer(
			"{operation}", op.String(), "{Operation}", op.Past(),
			"{model}", class[strings.LastIndexByte(class, '\\')+1:], "{table}", r.name,
		).Replace(template)
		if p := placeholder.FindString(name); p != "" {
			return fmt.Errorf("%s in %q is not known: there are {operation}, {Operation}, {model} and {table}", p, template)
		}
		if len(name) > maxEvent || name == harmonic.EventControl {
			return fmt.Errorf("%q cannot be an event's name", name)
		}
		r.events[i] = name
	}
	return nil
}

// Sources lists the tables to read that are named, in order.
func (m *Mapper) Sources() []binlog.TableName {
	sources := []binlog.TableName{}
	for _, r := range m.rules {
		if r.source.pattern == nil && r.source.name != (binlog.TableName{}) {
			sources = append(sources, r.source.name)
		}
	}
	slices.SortFunc(sources, byText)
	return slices.Compact(sources)
}

// Patterns lists those that are not.
func (m *Mapper) Patterns() []binlog.Pattern {
	var patterns []binlog.Pattern
	for _, r := range m.rules {
		if p := r.source.pattern; p != nil && !slices.Contains(patterns, *p) {
			patterns = append(patterns, *p)
		}
	}
	return patterns
}

func byText(a, b binlog.TableName) int { return strings.Compare(a.String(), b.String()) }

// Hash changes when the rules do, and harmonics with them.
func (m *Mapper) Hash() string { return m.hash }

// ChannelPrefixes lists the texts that channels' names start with: each name
// with one of them.
func (m *Mapper) ChannelPrefixes() []string { return slices.Clone(m.heads) }

// Check fits the rules to the tables as they are now; tables that are not
// there are passed over. Of a table by pattern, the first tenant's with a
// problem stands for all.
func (m *Mapper) Check(tables map[binlog.TableName]*binlog.Table) []Problem {
	var all []Problem
	told := map[*rule]bool{}
	for _, name := range slices.SortedFunc(maps.Keys(tables), byText) {
		for _, f := range m.rulesOf(name) {
			if told[f.rule] {
				continue
			}
			_, wrong := compile(f, tables[name], m.loc)
			all = append(all, wrong...)
			told[f.rule] = len(wrong) > 0
		}
	}
	return all
}

// Plans returns the rules fitted to one version of a table.
func (m *Mapper) Plans(t *binlog.Table) ([]*Plan, error) {
	if plans, ok := m.plans[t]; ok {
		return plans, nil
	}
	var plans []*Plan
	for _, f := range m.rulesOf(t.Name) {
		p, wrong := compile(f, t, m.loc)
		if len(wrong) > 0 {
			return nil, fmt.Errorf("the mapping no longer fits table %s: tables.%s.%s: %s", t.Name, f.name, wrong[0].Option, wrong[0].Text)
		}
		plans = append(plans, p)
	}
	const versionsKept = 256
	if len(m.plans) >= versionsKept {
		clear(m.plans)
	}
	m.plans[t] = plans
	return plans, nil
}

// SourceOf is the database's table behind one with an ID; ok is false if there
// is no such table in the mapping.
func (m *Mapper) SourceOf(id string) (source binlog.TableName, ok bool) {
	f, ok := m.find(id)
	return f.from, ok
}

// NameOf is the name by which clients know a table with an ID; "" if there is
// no such table in the mapping.
func (m *Mapper) NameOf(id string) string {
	if f, ok := m.find(id); ok {
		return f.name
	}
	return ""
}

// PlanOf is the plan of a table with an ID, for a version of its source.
func (m *Mapper) PlanOf(id string, t *binlog.Table) (*Plan, error) {
	plans, err := m.Plans(t)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		if p.ID() == id {
			return p, nil
		}
	}
	return nil, fmt.Errorf("the mapping has no table %s of %s", id, t.Name)
}

// Map gives the harmonics of a change in their order: those who lose the row
// first, then those who keep it, then those who gain it. What is given is
// valid only during the call. unroutable counts the scopes whose channel
// could not be named.
func (m *Mapper) Map(c *binlog.Change, give func(*Harmonic) error) (unroutable int, err error) {
	plans, err := m.Plans(c.Table())
	if err != nil {
		return 0, err
	}
	for _, p := range plans {
		if err := p.mapChange(m, c, give); err != nil {
			return unroutable, err
		}
		unroutable += p.unroutable
	}
	return unroutable, nil
}

// intern returns the name as a string that is made once.
func (m *Mapper) intern(name []byte) string {
	if s, ok := m.names[string(name)]; ok {
		return s
	}
	const namesKept = 1 << 16
	if len(m.names) >= namesKept {
		clear(m.names)
	}
	s := string(name)
	m.names[s] = s
	return s
}
