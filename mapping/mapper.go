package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
	"github.com/chorusd/chorusd/mapping/filter"
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
	loc       *time.Location
	rules     []*rule // by name
	byName    map[string]*rule
	scopes    map[string]*scopeRule
	users     *userRule // nil if there is none
	parents   parents
	templates []template // of users' channels
	secret    string
	prefix    string // of all channels
	hash      string
	heads     []string // literal heads of the channels' names

	fits       map[*binlog.Table]*fits
	last       *fits // asked for; rows of one table follow each other
	agreed     *agreement
	attributes []filter.Attribute
	names      []string // made before, by their hashes
	seed       maphash.Seed
	texts      []*reached        // found before, by the hashes of their texts
	keys       []keySet          // the same by scope and integer
	numbers    map[string]uint32 // of scopes, by their heads
	missing    ParentRef         // where a trail ended
	routing    routing
	buf, id    []byte
}

// fits are the rules fitted to one version of a table.
type fits struct {
	table   *binlog.Table
	plans   []*Plan
	members []*MemberPlan
	user    *UserPlan
	parent  *ParentPlan
}

// rule is one table of the TOML, checked but not yet fitted to columns.
type rule struct {
	name         string
	source       source
	table        Table
	alternatives [][]entry
	template     int       // of its users' channels
	events       [3]string // by operation
	payload      Payload
	templates    []template // of the channels that it can send to
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
		loc: loc, byName: map[string]*rule{}, secret: cfg.Masks.Secret, prefix: privatePrefix,
		fits: map[*binlog.Table]*fits{}, last: &fits{}, agreed: &agreement{topics: map[string]map[string]class{}}, names: make([]string, namesKept), seed: maphash.MakeSeed(), texts: make([]*reached, namesKept), keys: make([]keySet, keySets), numbers: map[string]uint32{},
	}
	if cfg.Encrypted {
		m.prefix = encryptedPrefix
	}
	var all []Problem
	if _, err := parseUserChannel(cfg.UserChannel, cfg.Users.Attributes); err != nil {
		all = append(all, Problem{Option: "channels.user", Text: err.Error()})
		cfg.UserChannel = "chorus.user.{id}" // so that it is said once
	}
	var wrong []Problem
	m.users, wrong = newUsers(cfg.Users, database)
	all = append(all, wrong...)
	for _, name := range cfg.Users.Attributes {
		m.attributes = append(m.attributes, filter.Attribute{Name: name})
	}
	m.scopes, wrong = newScopes(cfg.Scopes, database)
	all = append(all, wrong...)
	for _, name := range slices.Sorted(maps.Keys(cfg.Tables)) {
		r, wrong := m.newRule(name, cfg.Tables[name], cfg, database)
		all = append(all, wrong...)
		m.rules = append(m.rules, r)
		m.byName[name] = r
		for _, t := range r.templates {
			m.heads = append(m.heads, m.prefix+head(t.parts))
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
func (m *Mapper) newRule(name string, t Table, cfg Config, database string) (*rule, []Problem) {
	wrong := problems{table: name}
	r := &rule{name: name, table: t, payload: PayloadHarmonic}
	var err error
	if r.source, err = sourceOf(name, t.Source, database, cfg.TablePrefix); err != nil {
		wrong.add("source", "%v", err)
	}
	sourceKnown := err == nil
	r.checkFields(&wrong)
	r.checkPolicy(&wrong)
	userChannel := cfg.UserChannel
	event := harmonic.EventCreated
	switch t.Broadcast {
	case "", "chorus":
	case "model":
		r.payload, event = PayloadModel, "{model}{Operation}"
		if t.Model == "" {
			wrong.add("model", "missing: broadcast = \"model\" needs the class, like 'App\\Models\\Todo'")
		}
		userChannel = "App.Models.User.{id}"
	default:
		wrong.add("broadcast", "%q is neither \"chorus\" nor \"model\"", t.Broadcast)
	}
	if t.UserChannel != "" {
		userChannel = t.UserChannel
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
	user, err := parseUserChannel(userChannel, cfg.Users.Attributes)
	if err != nil {
		wrong.add("visible_to", "%v", err)
		return r, wrong.list
	}
	for _, a := range t.VisibleTo {
		entries, err := parseAlternative(a, m.scopes)
		if err == nil && sourceKnown {
			err = m.adopt(r, entries, user, database)
		}
		if err != nil {
			wrong.add("visible_to", "%v", err)
			continue
		}
		r.alternatives = append(r.alternatives, entries)
	}
	return r, wrong.list
}

// adopt takes the entries of an alternative into a rule: the channels that they
// are sent to, and the parents that they need.
func (m *Mapper) adopt(r *rule, entries []entry, user []part, database string) error {
	for i := range entries {
		e := &entries[i]
		t := template{entry: e.text, user: true, parts: user}
		if e.kind == channelEntry {
			if t.user, t.parts = false, e.parts; mayMeet(e.parts, user) {
				return fmt.Errorf("%q can name a user's own channel: write \"user:{column}\", or start it with other text", e.text)
			}
		}
		if e.kind == scopeEntry && !e.scope.from.together(r.source) {
			return fmt.Errorf("%q: the members of scope %q come from %s, and the rows from %s: rows of a tenant can be shared only by a scope of the same pattern", e.text, e.scope.name, e.scope.from, r.source)
		}
		if problem := t.tenantProblem(r.source.pattern != nil); problem != "" {
			return errors.New(problem)
		}
		if err := e.eachPath(func(p *path) error {
			return m.parents.bind(p, r.name, e.text, r.source, database, e.topic())
		}); err != nil {
			return fmt.Errorf("%q: %w", e.text, err)
		}
		t.names = pattern(m.prefix, t.parts)
		if t.user && slices.ContainsFunc(r.templates, func(o template) bool { return o.user }) {
			continue
		}
		if t.user {
			r.template = m.template(t)
		}
		r.templates = append(r.templates, t)
	}
	return nil
}

// template is the number of a template of users' channels.
func (m *Mapper) template(t template) int {
	i := slices.IndexFunc(m.templates, func(o template) bool { return slices.Equal(o.parts, t.parts) })
	if i < 0 {
		i = len(m.templates)
		m.templates = append(m.templates, t)
	}
	return i
}

// trespasses finds channels that could be a user's own by the rules of another
// table; adopt has looked at the table's own.
func (r *rule) trespasses(rules []*rule) []Problem {
	wrong := problems{table: r.name}
	for _, t := range r.templates {
		for _, other := range rules {
			for _, o := range other.templates {
				switch {
				case !o.user || other == r || !mayMeet(t.parts, o.parts):
				case !t.user:
					wrong.add("visible_to", "%q can name a user's own channel of table %q: start it with other text", t.entry, other.name)
				case !slices.Equal(t.parts, o.parts) && r.name < other.name:
					wrong.add("visible_to", "a user's channel of this table can be another user's of table %q: give both tables the same user_channel, or start them with other text", other.name)
				}
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

func byText(a, b binlog.TableName) int { return strings.Compare(a.String(), b.String()) }

// Hash changes when the rules do, and harmonics with them.
func (m *Mapper) Hash() string { return m.hash }

// ChannelPrefixes lists the texts that channels' names start with: each name
// with one of them.
func (m *Mapper) ChannelPrefixes() []string { return slices.Clone(m.heads) }

// Tables are the names by which clients know the tables, in order.
func (m *Mapper) Tables() []string { return slices.Sorted(maps.Keys(m.byName)) }

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

// namesKept is how many names are remembered, and how many keys; a power of 2.
const namesKept = 1 << 14

// keySets is how many sets of keys are remembered by an integer.
const (
	keySetBits = 12
	keySets    = 1 << keySetBits
)

// keySet is the keys that were remembered last of those that belong together.
type keySet [2]knownKey

// knownKey is the key that a scope has for an integer.
type knownKey struct {
	id    uint64
	key   *reached // nil: none
	scope uint32   // its number
}

// keySet is where the key of a scope for an integer is remembered, if it is.
func (m *Mapper) keySet(scope uint32, id uint64) *keySet {
	const spread = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	return &m.keys[(id+uint64(scope)*spread)*spread>>(64-keySetBits)]
}

// find is the key of a scope for an integer; nil if it is not remembered.
func (s *keySet) find(scope uint32, id uint64) *reached {
	for i := range s {
		if k := &s[i]; k.id == id && k.scope == scope {
			return k.key
		}
	}
	return nil
}

// add remembers a key in place of the one that was remembered first.
func (s *keySet) add(k knownKey) { s[0], s[1] = k, s[0] }

// number numbers the scopes by what their keys start with.
func (m *Mapper) number(head []byte) uint32 {
	n, ok := m.numbers[string(head)]
	if !ok {
		n = uint32(len(m.numbers))
		m.numbers[string(head)] = n
	}
	return n
}

// key is the key of a scope whose text is in the buffer; mostly it was made
// before.
func (m *Mapper) key(s *scope) *reached {
	at := &m.texts[maphash.Bytes(m.seed, m.buf)%namesKept]
	if k := *at; k != nil && k.number == s.number && string(k.key) == string(m.buf) {
		return k
	}
	k := &reached{key: ScopeKey(m.buf), number: s.number, kind: s.kind}
	if s.kind == userEntry {
		if k.user = UserKey(k.key[len(s.head):]); len(s.userHead) > 0 {
			k.user = UserKey(s.userHead) + k.user
		}
	}
	*at = k
	return k
}

// intern returns a name as a string that mostly was made before.
func (m *Mapper) intern(name []byte) string {
	s := &m.names[maphash.Bytes(m.seed, name)%namesKept]
	if *s != string(name) {
		*s = string(name)
	}
	return *s
}
