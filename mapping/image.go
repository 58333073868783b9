package mapping

import (
	"math"
	"slices"
	"time"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
)

// alternative is one of visible_to, fitted: who has all of its scopes sees the row.
type alternative []scope

// scope is one entry, fitted.
type scope struct {
	kind entryKind
	// head starts the scope's key, userHead that of the user; for publicEntry
	// head is the whole key.
	head, userHead []byte
	key            trail
	parts          []channelPart // of a shared channel
	number         uint32        // of scopes with the same head
	// own is the column whose value is the whole key; -1 if it is not that easy.
	own int
}

// channelPart is text or, if key is set, what that leads to.
type channelPart struct {
	literal string
	key     *trail
}

// judgement is a condition that depends on the user, and its bit in a verdict.
type judgement struct {
	bit    Variant
	filter *filter.Filter
	each   bool // on the user's key, so that it is made of each user
}

// passes is the bit of a verdict that says that the filter holds; the others
// are those of the conditions of fields.
const passes Variant = 1 << mostConditions

// image is one of a change, by one view: who may see it, short of single users.
type image struct {
	row  *binlog.Row
	view View
	// possible says that by the row's own columns somebody may see it at some
	// time; lit that it passes the filter by the view's clock, as far as that
	// is about the row alone.
	possible, lit bool
	holds         Variant // judgements whose part about the row holds
	groups        []group // of keys, one for each alternative that leads to users
	keys          []*reached
	named
}

// named is whom an image names, whoever is connected.
type named struct {
	owners  []UserKey // whose own scope it is in, of plans that are direct
	shared  []string
	streams []ScopeKey
}

func (n *named) clear() { n.owners, n.shared, n.streams = n.owners[:0], n.shared[:0], n.streams[:0] }

// group is the keys from and to which a user needs all of.
type group struct{ from, to int }

// reached is one key. It is never changed, so that it can be remembered; but
// views may keep there what they know of it.
type reached struct {
	at     Spot
	key    ScopeKey
	user   UserKey // of a userEntry
	number uint32  // the scope's
	kind   entryKind
}

// look finds out what is to be known of an image.
func (p *Plan) look(img *image, row *binlog.Row, view View) error {
	img.row, img.view = row, view
	img.possible, img.lit, img.holds = false, false, 0
	img.groups, img.keys = img.groups[:0], img.keys[:0]
	img.clear()
	if ok, err := p.admits(row); err != nil || !ok {
		return err
	}
	img.lit = true
	var err error
	if p.bounded {
		if img.lit, err = p.where.RowTrue(row, view.Now()); err != nil {
			return err
		}
	}
	for _, a := range p.alternatives {
		if err := p.reach(img, a); err != nil {
			return err
		}
	}
	if !img.lit {
		img.owners, img.shared = img.owners[:0], img.shared[:0]
	}
	img.holds, err = p.rowVerdict(row)
	return err
}

// rowVerdict are the judgements that the row alone does not rule out.
func (p *Plan) rowVerdict(row *binlog.Row) (holds Variant, err error) {
	for _, j := range p.judged {
		ok := j.bit == passes // admits has looked
		if !ok {
			if ok, err = j.filter.RowTrue(row, time.Time{}); err != nil {
				return 0, err
			}
		}
		if ok {
			holds |= j.bit
		}
	}
	return holds, nil
}

// Clocks by which a bound holds if it ever does.
var (
	farPast   = time.UnixMicro(math.MinInt64)
	farFuture = time.UnixMicro(math.MaxInt64)
)

// admits says whether a row can pass the filter for somebody at some time.
func (p *Plan) admits(row *binlog.Row) (bool, error) {
	switch {
	case row == nil:
		return false, nil
	case p.unnameable:
		p.unroutable += len(p.alternatives)
		return false, nil
	case p.where == nil:
		return true, nil
	}
	clock := farPast
	if b, ok := p.where.Bound(); ok && b.From {
		clock = farFuture
	}
	return p.where.RowTrue(row, clock)
}

// reach finds the keys of an alternative.
func (p *Plan) reach(img *image, a alternative) error {
	if len(a) == 1 && a[0].own >= 0 && !a[0].key.typed {
		return p.reachOwn(img, &a[0])
	}
	for i := range a {
		if ok, err := a[i].starts(p.mapper, img.row); err != nil || !ok {
			return err
		}
	}
	g := group{from: len(img.keys)}
	for i := range a {
		k, end, err := p.resolve(&a[i], img)
		switch {
		case err != nil:
			return err
		case end == unknown:
			return p.mapper.unknownParent()
		case end == nowhere:
			img.keys = img.keys[:g.from]
			img.possible = img.possible || a[i].far()
			return nil
		}
		if a[i].kind == channelEntry {
			img.addShared(string(k.key))
			return nil
		}
		if !slices.ContainsFunc(img.keys[g.from:], k.same) {
			img.keys = append(img.keys, k)
		}
	}
	img.possible = true
	g.to = len(img.keys)
	img.add(g, p.direct)
	return nil
}

// reachOwn is reach for an alternative of one scope whose key is in a column of
// the row.
func (p *Plan) reachOwn(img *image, s *scope) error {
	if img.row.Null(s.own) {
		return nil
	}
	k, end, err := p.resolve(s, img)
	if err != nil || end != found {
		return err
	}
	img.possible = true
	img.keys = append(img.keys, k)
	img.add(group{len(img.keys) - 1, len(img.keys)}, p.direct)
	return nil
}

// same says whether two keys are one.
func (k *reached) same(o *reached) bool { return k == o || k.number == o.number && k.key == o.key }

// add takes a group, unless one before it has the same users.
func (img *image) add(g group, direct bool) {
	keys := img.keys[g.from:g.to]
	least := keys[0]
	for _, k := range keys[1:] {
		if k.kind == userEntry && least.kind == userEntry {
			img.keys = img.keys[:g.from] // two users are never one
			return
		}
		if k.kind < least.kind {
			least = k
		}
	}
	if !slices.Contains(img.streams, least.key) {
		img.streams = append(img.streams, least.key)
	}
	if direct && !slices.Contains(img.owners, least.user) {
		img.owners = append(img.owners, least.user) // direct: all keys are users'
	}
	for _, o := range img.groups {
		if o.to-o.from == len(keys) && slices.EqualFunc(img.keys[o.from:o.to], keys, (*reached).same) {
			img.keys = img.keys[:g.from]
			return
		}
	}
	img.groups = append(img.groups, g)
}

func (img *image) addShared(name string) {
	img.possible = true
	if slices.Contains(img.shared, name) {
		return
	}
	img.shared = append(img.shared, name)
	img.streams = append(img.streams, ScopeKey("channel:"+name))
}

// starts says whether the row's own columns lead to a key.
func (s *scope) starts(m *Mapper, row *binlog.Row) (bool, error) {
	if s.own >= 0 && !s.key.typed {
		return !row.Null(s.own), nil
	}
	switch s.kind {
	case publicEntry:
		return true, nil
	case channelEntry:
		for _, p := range s.parts {
			if p.key == nil {
				continue
			}
			if ok, err := p.key.starts(m, row); err != nil || !ok {
				return false, err
			}
		}
		return true, nil
	}
	return s.key.starts(m, row)
}

// far says whether the key comes through parents.
func (s *scope) far() bool {
	return len(s.key.hops) > 0 || slices.ContainsFunc(s.parts, func(p channelPart) bool { return p.key != nil && len(p.key.hops) > 0 })
}

// resolve finds the key of a scope that starts, if e says that it was found. Of
// a shared channel it is the whole name.
func (p *Plan) resolve(s *scope, img *image) (k *reached, e end, err error) {
	if s.own < 0 {
		return p.find(s, img)
	}
	id, ok := img.row.Natural(s.own)
	if !ok {
		return p.find(s, img)
	}
	set := p.mapper.keySet(s.number, id)
	if k = set.find(s.number, id); k != nil {
		return k, found, nil
	}
	if k, e, err = p.find(s, img); err == nil && e == found {
		set.add(knownKey{id, k, s.number})
	}
	return k, e, err
}

// find is resolve for a key that is not remembered by an integer.
func (p *Plan) find(s *scope, img *image) (k *reached, e end, err error) {
	m := p.mapper
	m.buf = append(m.buf[:0], s.head...)
	switch s.kind {
	case publicEntry:
	case channelEntry:
		if e, err = p.name(s, img); e != found || err != nil {
			return nil, e, err
		}
	default:
		if m.buf, e, err = s.key.follow(m, m.buf, img.row, img.view); e != found || err != nil {
			return nil, e, err
		}
		if s.kind == userEntry && !plain(bare(m.buf[len(s.head):])) {
			p.unroutable++
			return nil, nowhere, nil
		}
	}
	return m.key(s), found, nil
}

// name writes the name of a shared channel to the mapper's buffer.
func (p *Plan) name(s *scope, img *image) (e end, err error) {
	m := p.mapper
	for _, part := range s.parts {
		if part.key == nil {
			m.buf = append(m.buf, part.literal...)
			continue
		}
		at := len(m.buf)
		if m.buf, e, err = part.key.follow(m, m.buf, img.row, img.view); e != found || err != nil {
			return e, err
		}
		value := bare(m.buf[at:])
		if !plain(value) {
			p.unroutable++
			return nowhere, nil
		}
		m.buf = append(m.buf[:at], value...)
	}
	if !m.nameable(m.buf) {
		p.unroutable++
		return nowhere, nil
	}
	return found, nil
}

// channelOf is the name of an absent user's channel; ok is false if it cannot
// have one. The plan is direct, so that no attributes stand in it.
func (p *Plan) channelOf(key UserKey) (name string, ok bool) {
	m := p.mapper
	_, id := key.Split()
	m.buf = append(m.buf[:0], m.prefix...)
	for _, part := range m.templates[p.rule.template].parts {
		switch part.column {
		case "":
			m.buf = append(m.buf, part.literal...)
		case tenantColumn:
			m.buf = append(m.buf, p.rule.tenant...)
		case idColumn:
			m.buf = append(m.buf, bare(id)...)
		}
	}
	return m.intern(m.buf), m.nameable(m.buf)
}
