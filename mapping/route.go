package mapping

import (
	"slices"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/harmonic"
)

// Route gives the harmonics of a record's change in a transaction: old is the
// view before the transaction, now the one after it. Who loses the row gets a
// delete of what he could see, who keeps it an update if something that he
// sees has changed, who gains it a create, in this order. A change of the key
// is a delete and a create. A Harmonic is valid only during the call.
//
// Each of the three takes a position, and is given, if to nobody, exactly if
// the change and the rules say that somebody may get it, whoever is connected.
// If the same view is passed twice, nothing in the transaction changed a
// member, an attribute or a parent; that, too, has to follow from the log
// alone. Views must be comparable by ==.
//
// unroutable counts the keys for which no channel can be named. Parents must
// be known, see Needs.
func (m *Mapper) Route(c *binlog.Change, old, now View, give func(*Harmonic) error) (unroutable int, err error) {
	plans, err := m.Plans(c.Table())
	if err != nil {
		return 0, err
	}
	for _, p := range plans {
		p.unroutable = 0
		err := p.route(c, old, now, give)
		if unroutable += p.unroutable; err != nil {
			return unroutable, err
		}
	}
	return unroutable, nil
}

// Needs appends the parents that have to be known to route a change and are
// not, as far as that can be told by those that are: when they were read, it
// is called again, until it adds none.
func (m *Mapper) Needs(dst []ParentRef, c *binlog.Change, old, now View) ([]ParentRef, error) {
	plans, err := m.Plans(c.Table())
	if err != nil {
		return dst, err
	}
	for _, p := range plans {
		v := p.movement(c, old == now)
		if v.nothing() {
			continue
		}
		if dst, err = p.Needs(dst, c.After, now); err != nil {
			return dst, err
		}
		if !v.moved && !v.varied {
			continue
		}
		if dst, err = p.Needs(dst, c.Before, old); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// movement is what is known of a change before its images are looked at.
type movement struct {
	sameKey bool // it is an update of one record
	touched bool // of a column that clients get something of
	moved   bool // others may see the row than before
	varied  bool // who sees it may see other fields of it
}

// movement looks at a change; still says that no view differs from the other.
func (p *Plan) movement(c *binlog.Change, still bool) movement {
	if c.Before == nil || c.After == nil || !p.sameKey(c) {
		return movement{moved: true}
	}
	return movement{
		sameKey: true,
		touched: p.touched(c) || p.alteredModel(c),
		moved:   !still && !p.exact || !same(c, p.decisive),
		varied:  len(p.conditions) > 0 && (!still || !same(c, p.varying)),
	}
}

// nothing says that nobody gets anything.
func (v movement) nothing() bool { return !v.touched && !v.moved && !v.varied }

// outcome is what one operation of a change gives, and to whom.
type outcome struct {
	operation harmonic.Operation
	image     *image
	due       bool // takes a position
	list           // who is connected; own or a crowd's
	named          // own or the image's; owners are connected or not
	own       struct {
		list
		named
	}
}

// begin empties the outcome, to be filled until its end.
func (o *outcome) begin(img *image) {
	o.own.list.clear()
	o.own.named.clear()
	o.image, o.list, o.named = img, o.own.list, o.own.named
}

func (o *outcome) end() { o.own.list, o.own.named = o.list, o.named }

// whole makes it all of an image.
func (o *outcome) whole(img *image, c *crowd) {
	o.image, o.due, o.list, o.named = img, img.possible, c.list, img.named
}

// routing is the memory that routing a change takes, to be used again.
type routing struct {
	crowds           [2]crowd
	gone, kept, come outcome
	variants         []variantList
	differences      []difference
	harmonic         Harmonic
	absent           []string
}

func (p *Plan) route(c *binlog.Change, old, now View, give func(*Harmonic) error) error {
	v := p.movement(c, old == now)
	if v.nothing() {
		return nil
	}
	r := &p.mapper.routing
	r.gone.operation, r.kept.operation, r.come.operation = harmonic.Delete, harmonic.Update, harmonic.Create
	before, after := &p.images[0], &p.images[1]
	were, are := &r.crowds[0], &r.crowds[1]
	if err := p.see(after, c.After, now, are); err != nil {
		return err
	}
	if !v.moved && !v.varied { // everybody keeps it
		r.kept.whole(after, are)
		if err := p.changed(r, c, false); err != nil {
			return err
		}
		return p.give(r, &r.kept, give)
	}
	if c.Before != nil {
		if err := p.see(before, c.Before, old, were); err != nil {
			return err
		}
	}
	if !v.sameKey {
		if c.Before != nil {
			r.gone.whole(before, were)
			if err := p.give(r, &r.gone, give); err != nil {
				return err
			}
		}
		r.come.whole(after, are)
		return p.give(r, &r.come, give)
	}
	p.compare(r, v)
	if err := p.changed(r, c, true); err != nil {
		return err
	}
	if err := p.give(r, &r.gone, give); err != nil {
		return err
	}
	if err := p.give(r, &r.kept, give); err != nil {
		return err
	}
	return p.give(r, &r.come, give)
}

// see finds out who sees an image.
func (p *Plan) see(img *image, row *binlog.Row, view View, c *crowd) error {
	if err := p.look(img, row, view); err != nil {
		return err
	}
	return p.gather(c, img)
}

// compare parts those who see the row before and after a change.
func (p *Plan) compare(r *routing, v movement) {
	before, after := &p.images[0], &p.images[1]
	were, are := &r.crowds[0], &r.crowds[1]
	gone, kept, come := &r.gone, &r.kept, &r.come
	gone.begin(before)
	kept.begin(after)
	come.begin(after)
	were.markAll()
	are.markAll()
	for i, u := range were.users {
		if are.find(u) < 0 {
			gone.add(&were.list, i)
		}
	}
	for i, u := range are.users {
		if were.find(u) < 0 {
			come.add(&are.list, i)
		} else {
			kept.add(&are.list, i)
		}
	}
	gone.owners, gone.shared = keep(gone.owners, before.owners, after.owners, false), keep(gone.shared, before.shared, after.shared, false)
	kept.owners, kept.shared = keep(kept.owners, after.owners, before.owners, true), keep(kept.shared, after.shared, before.shared, true)
	come.owners, come.shared = keep(come.owners, after.owners, before.owners, false), keep(come.shared, after.shared, before.shared, false)
	gone.streams, come.streams = append(gone.streams, before.streams...), append(come.streams, after.streams...)
	kept.streams = keep(append(kept.streams, before.streams...), after.streams, before.streams, false)
	if p.exact {
		for _, o := range [...]*outcome{gone, kept, come} {
			o.due = len(o.owners)+len(o.shared) > 0
		}
	} else {
		gone.due, come.due = v.moved && before.possible, v.moved && after.possible
		kept.due = before.possible && after.possible
	}
	kept.due = kept.due && (v.touched || v.varied)
	gone.end()
	kept.end()
	come.end()
}

// keep appends what of a is in b, or is not.
func keep[T comparable](dst, a, b []T, in bool) []T {
	for _, x := range a {
		if slices.Contains(b, x) == in {
			dst = append(dst, x)
		}
	}
	return dst
}

// changed leaves those in the update of whose fields one has changed, or who
// see other fields than before; only if compared are there any of these.
func (p *Plan) changed(r *routing, c *binlog.Change, compared bool) error {
	kept := &r.kept
	if p.policy != nil {
		return nil // it may look at any column
	}
	if !kept.due || len(p.conditions) == 0 && !p.made { // it is due since a field was touched
		return nil
	}
	r.differences = r.differences[:0]
	if len(p.conditions) == 0 {
		if alters, err := p.alters(c, 0); err != nil || alters {
			return err
		}
		kept.list, kept.owners, kept.shared = list{}, kept.owners[:0], kept.shared[:0]
		return nil
	}
	n := 0
	for i, u := range kept.users {
		v := kept.variants[i]
		other := compared && r.crowds[0].variants[r.crowds[0].find(u)] != v
		if !other {
			differs, err := p.differs(r, c, v)
			if err != nil {
				return err
			}
			if !differs {
				continue
			}
		}
		kept.users[n], kept.variants[n] = u, v
		n++
	}
	kept.users, kept.variants = kept.users[:n], kept.variants[:n]
	return nil
}

// differs says whether a variant of the row is another one after the change.
func (p *Plan) differs(r *routing, c *binlog.Change, v Variant) (bool, error) {
	for _, d := range r.differences {
		if d.variant == v {
			return d.differs, nil
		}
	}
	differs, err := p.alters(c, v)
	r.differences = append(r.differences, difference{v, differs})
	return differs, err
}

// give gives an outcome, one harmonic for each variant.
func (p *Plan) give(r *routing, o *outcome, give func(*Harmonic) error) error {
	if !o.due {
		return nil
	}
	h := &r.harmonic
	*h = Harmonic{Plan: p, Operation: o.operation, Row: o.image.row, First: true, Streams: o.streams, Shared: o.shared}
	if h.Absent = r.absent[:0]; p.direct {
		for _, key := range o.owners {
			if o.image.view.User(key) != nil {
				continue
			}
			if name, ok := p.channelOf(key); ok {
				h.Absent = append(h.Absent, name)
			} else {
				p.unroutable++
			}
		}
		r.absent = h.Absent
	}
	if len(p.conditions) == 0 {
		h.Users = o.users
		return give(h)
	}
	r.sort(&o.list)
	for i := range r.variants {
		h.Variant, h.Users = r.variants[i].variant, r.variants[i].users
		if err := give(h); err != nil {
			return err
		}
		h.First, h.Streams = false, nil
	}
	if len(r.variants) == 0 {
		return give(h)
	}
	return nil
}

// sort puts users together who get the same variant.
func (r *routing) sort(l *list) {
	r.variants = r.variants[:0]
	for i, u := range l.users {
		at := slices.IndexFunc(r.variants, func(v variantList) bool { return v.variant == l.variants[i] })
		if at < 0 {
			at = len(r.variants)
			if at < cap(r.variants) { // with its memory of before
				r.variants = r.variants[:at+1]
			} else {
				r.variants = append(r.variants, variantList{})
			}
			r.variants[at] = variantList{l.variants[i], r.variants[at].users[:0]}
		}
		r.variants[at].users = append(r.variants[at].users, u)
	}
}

// variantList is the users who get a variant.
type variantList struct {
	variant Variant
	users   []*User
}

// difference says whether a variant of a row is another one after a change.
type difference struct {
	variant Variant
	differs bool
}
