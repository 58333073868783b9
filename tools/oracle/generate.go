package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// What columns hold.
var (
	roles   = []Value{text("admin"), text("editor"), text("hr"), text("Admin")}
	regions = []Value{text("eu"), text("us"), text("é")}
	kinds   = []Value{text("a"), text("b"), text("A"), text("a ")}
)

// generator makes a world.
type generator struct {
	*rand.Rand
	features Features
	world    *World
}

// Generate makes a random world.
func Generate(r *rand.Rand, f Features) *World {
	names := []string{""}
	if f.Tenants && r.Float64() < 0.4 {
		names = []string{"acme", "b-2"}
	}
	var w *World
	a, b := r.Uint64(), r.Uint64()
	for _, name := range names { // the same for each
		g := &generator{rand.New(rand.NewPCG(a, b)), f, &World{Tenants: []*Tenant{{Name: name}}}}
		w = w.with(g.make())
	}
	return w
}

// make makes the world of one tenant.
func (g *generator) make() *World {
	w := g.world
	w.timed = g.features.Deadlines && g.chance(0.3)
	w.prefixed = g.features.Prefixes && g.features.Users && g.chance(0.3)
	w.messages = g.features.Messages && g.features.Scopes && g.chance(0.4)
	g.people()
	if g.features.Scopes {
		g.scopes()
	}
	g.tables()
	for _, t := range w.Tables {
		t.tenant = w.Tenants[0]
	}
	w.Tenants[0].Users = w.Users
	return w
}

// chance is true that often.
func (g *generator) chance(p float64) bool { return g.Float64() < p }

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// uuid is a random one.
func (g *generator) uuid() Value {
	a, b := g.Uint64(), g.Uint64()
	return Value{UUID, fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff), true}
}

// ulid is a random one, but for its time.
func (g *generator) ulid() Value {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	b := []byte("01J0000000")
	for len(b) < 26 {
		b = append(b, alphabet[g.IntN(len(alphabet))])
	}
	return text(string(b))
}

// keys are n different values of a kind.
func (g *generator) keys(k Kind, n int) []Value {
	values := make([]Value, n)
	for i := range values {
		switch k {
		case UUID:
			values[i] = g.uuid()
		case Text:
			values[i] = text(fmt.Sprintf("%c%d", 'k'-32*(i%2), i/2))
		default:
			values[i] = number(i + 1)
		}
	}
	return values
}

func (g *generator) people() {
	w := g.world
	kind := pick(g.Rand, []Kind{Int, Int, UUID, Text})
	for range 7 * g.features.scale() {
		switch kind {
		case Int:
			w.People = append(w.People, number(len(w.People)+1))
		case UUID:
			w.People = append(w.People, g.uuid())
		default:
			w.People = append(w.People, g.ulid())
		}
	}
	if kind == Int {
		w.People[len(w.People)-1] = number(9007199254740993) // beyond what a float64 holds
	}
	users := &Table{Name: "users", pool: keysOf(w.People)}
	users.add(&Column{Name: "id", Kind: kind, Ref: true})
	users.Key = users.Columns
	users.add(&Column{Name: versionColumn},
		&Column{Name: "role", Kind: Text, Null: true, Domain: roles},
		&Column{Name: "region", Kind: Text, Null: true, Domain: regions},
		&Column{Name: "level", Kind: Int, Null: true, Domain: g.keys(Int, 4)},
		&Column{Name: "name", Kind: Text})
	w.Users = users
	w.Tables = append(w.Tables, users)
	if g.features.Users {
		w.attributes = []*Column{users.column("role"), users.column("region"), users.column("level")}
	}
	if w.prefixed {
		prefix := &Column{Name: "prefix", Kind: Text, Domain: prefixes, Fixed: !g.features.Moves}
		users.add(prefix)
		users.stays = !g.features.Moves
		w.attributes = append(w.attributes, prefix)
	}
}

func (t *Table) add(columns ...*Column) { t.Columns = append(t.Columns, columns...) }

func keysOf(values []Value) []Key {
	keys := make([]Key, len(values))
	for i, v := range values {
		keys[i] = Key{v}
	}
	return keys
}

// scopes makes the scopes and the tables of their members.
func (g *generator) scopes() {
	w := g.world
	team := &Scope{Name: "team", Keys: g.keys(pick(g.Rand, []Kind{Int, Int, UUID, Text}), 3*g.features.scale())}
	team.Members = append(team.Members, g.members(team, "team_user"))
	if g.chance(0.4) {
		team.Members = append(team.Members, g.members(team, "team_guests"))
	}
	w.Scopes = append(w.Scopes, team)
	if g.chance(0.6) {
		tenant := &Scope{Name: "tenant", Keys: g.keys(Int, 3*g.features.scale())}
		column := &Column{Name: "tenant_id", Kind: Int, Null: true, Domain: tenant.Keys, Ref: true}
		w.Users.add(column)
		if len(w.attributes) > 0 {
			w.attributes = append(w.attributes, column)
		}
		m := &Members{Table: w.Users, Scope: column, User: w.Users.Key[0]}
		if g.chance(0.4) {
			m.Where = g.condition(w.Users, "m", false)
		}
		tenant.Members = append(tenant.Members, m)
		w.Scopes = append(w.Scopes, tenant)
	}
	if g.chance(0.4) {
		org := &Scope{Name: "org", Keys: g.keys(Text, 3*g.features.scale())}
		org.Members = append(org.Members, g.members(org, "org_members"))
		w.Scopes = append(w.Scopes, org)
	}
}

// members makes a table of members: with a key of its own, or of the pair.
func (g *generator) members(s *Scope, name string) *Members {
	w := g.world
	t := &Table{Name: name}
	scope := &Column{Name: s.Name + "_id", Kind: s.Keys[0].kind, Domain: s.Keys, Ref: true}
	user := &Column{Name: "user_id", Kind: w.People[0].kind, Domain: w.People, Ref: true}
	if g.chance(0.5) {
		t.Key = []*Column{scope, user}
		for _, k := range s.Keys {
			for _, p := range w.People {
				t.pool = append(t.pool, Key{k, p})
			}
		}
	} else {
		t.add(&Column{Name: "id", Ref: true})
		t.Key = t.Columns[:1:1]
		t.pool = keysOf(g.keys(Int, 30*g.features.scale()))
		user.Null = g.chance(0.3)
	}
	t.add(scope, user, &Column{Name: versionColumn},
		&Column{Name: "role", Kind: Text, Null: true, Domain: roles},
		&Column{Name: "active", Kind: Int, Domain: []Value{number(0), number(1), number(1)}},
		&Column{Name: "deleted_at", Kind: Time, Null: true})
	g.times(t)
	w.Tables = append(w.Tables, t)
	m := &Members{Table: t, Scope: scope, User: user}
	if g.features.Where && g.chance(0.7) {
		m.Where = g.bounded(t, "m", g.condition(t, "m", false))
	}
	return m
}

// times gives a table columns that the clock may decide by.
func (g *generator) times(t *Table) {
	if g.world.timed {
		t.add(&Column{Name: "published_at", Kind: Time, Null: true, Soon: true}, &Column{Name: "expires_at", Kind: Time, Null: true, Soon: true})
	}
}

// tables makes the tables of rows and their rules.
func (g *generator) tables() {
	w := g.world
	for i, name := range []string{"threads", "posts", "comments", "tasks", "files", "events"}[:3+g.IntN(4)] {
		t := &Table{Name: name}
		g.key(t)
		t.add(&Column{Name: versionColumn},
			&Column{Name: "title", Kind: Text},
			&Column{Name: "kind", Kind: Text, Null: true, Domain: kinds},
			&Column{Name: "region", Kind: Text, Null: true, Domain: regions},
			&Column{Name: "amount", Kind: Int, Null: true},
			&Column{Name: "done", Kind: Bool},
			&Column{Name: "deleted_at", Kind: Time, Null: true})
		g.times(t)
		if g.chance(0.7) || i == 0 {
			t.add(&Column{Name: "owner_id", Kind: w.People[0].kind, Null: true, Domain: w.People, Ref: true})
		}
		for _, s := range w.Scopes {
			if g.chance(0.6) {
				t.add(&Column{Name: s.Name + "_id", Kind: s.Keys[0].kind, Null: g.chance(0.5), Domain: s.Keys, Ref: true})
			}
		}
		g.links(t)
		w.Tables = append(w.Tables, t)
		if i < 2 || g.chance(0.8) {
			g.rule(t)
		}
	}
}

// key gives a table its key, and perhaps another one.
func (g *generator) key(t *Table) {
	switch g.IntN(5) {
	case 0:
		t.add(&Column{Name: "id", Kind: UUID, Ref: true})
		t.pool = keysOf(g.keys(UUID, 60*g.features.scale()))
	case 1:
		t.add(&Column{Name: "id", Kind: Text, Ref: true})
		t.pool = keysOf(g.keys(Text, 60*g.features.scale()))
	case 2:
		t.add(&Column{Name: "org_no", Ref: true}, &Column{Name: "no", Kind: Text, Ref: true})
		for _, a := range g.keys(Int, 6*g.features.scale()) {
			for _, b := range g.keys(Text, 10) {
				t.pool = append(t.pool, Key{a, b})
			}
		}
	default:
		t.add(&Column{Name: "id", Ref: true})
		t.pool = keysOf(g.keys(Int, 60*g.features.scale()))
	}
	t.Key = slices.Clone(t.Columns)
	if g.features.Paths && g.chance(0.4) {
		t.Unique = &Column{Name: "uuid", Kind: UUID, Ref: true}
		t.add(t.Unique)
	}
}

// links gives a table parents.
func (g *generator) links(t *Table) {
	var parents []*Table
	for _, p := range g.world.Tables {
		if p.column("title") != nil {
			parents = append(parents, p)
		}
	}
	if len(parents) == 0 || !g.features.Paths {
		return
	}
	for i, p := range parents {
		if i < len(parents)-1 && g.chance(0.6) {
			continue
		}
		to := p.Key
		if p.Unique != nil && g.chance(0.5) {
			to = []*Column{p.Unique}
		}
		l := &Link{Targets: []Target{{Table: p, To: to}}}
		for _, c := range to {
			l.From = append(l.From, &Column{Name: p.Name + "_" + c.Name, Kind: c.Kind, Null: true, Ref: true})
		}
		t.add(l.From...)
		t.Links = append(t.Links, l)
	}
	if g.features.Morphs && g.chance(0.5) {
		g.morph(t, parents)
	}
}

// morph gives a table a polymorphic link to parents with keys of one kind.
func (g *generator) morph(t *Table, parents []*Table) {
	kind := pick(g.Rand, parents).Key[0].Kind
	l := &Link{
		From: []*Column{{Name: "target_id", Kind: kind, Null: true, Ref: true}},
		Type: &Column{Name: "target_type", Kind: Text, Null: true, Ref: true},
	}
	for _, p := range parents {
		if len(p.Key) == 1 && p.Key[0].Kind == kind {
			l.Targets = append(l.Targets, Target{Table: p, To: p.Key, Type: `App\Models\` + p.Name})
		}
	}
	if len(l.Targets) > 0 {
		t.add(l.Type, l.From[0])
		t.Links = append(t.Links, l)
	}
}
