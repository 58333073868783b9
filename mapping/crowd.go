package mapping

import "slices"

// A crowd is the users who see an image. Its memory is used again.
type crowd struct {
	list
	own    list   // what list is made in, where it is not a View's
	marks  []mark // by slot
	marked int    // how many of list have theirs
	turn   uint32
	memo   memo
}

// list is users, and what each may see. Without conditions there are no
// variants.
type list struct {
	users    []*User
	variants []Variant
}

func (l *list) clear() { l.users, l.variants = l.users[:0], l.variants[:0] }

// add appends user i of another list.
func (l *list) add(from *list, i int) {
	l.users = append(l.users, from.users[i])
	if len(from.variants) > 0 {
		l.variants = append(l.variants, from.variants[i])
	}
}

// mark says that a user was looked at in a turn, and where in the list he is.
type mark struct {
	turn uint32
	at   int32 // -1: not in the list
}

// find returns a user's place in the crowd, all of whom are marked; -1 if he is
// not in it.
func (c *crowd) find(u *User) int {
	if u.Slot >= len(c.marks) || c.marks[u.Slot].turn != c.turn {
		return -1
	}
	return int(c.marks[u.Slot].at)
}

// begin empties the crowd.
func (c *crowd) begin() {
	c.own.clear()
	c.list, c.marked = c.own, 0
	c.memo.size = 0
	if c.turn++; c.turn == 0 {
		clear(c.marks)
		c.turn = 1
	}
}

// gather finds the users who see an image.
func (p *Plan) gather(c *crowd, img *image) error {
	c.begin()
	if !img.lit {
		return nil
	}
	if len(p.judged) == 0 && len(img.groups) == 1 && len(img.keys) == 1 && img.keys[0].kind != userEntry {
		c.list = list{users: p.usersOf(img.view, img.keys[0])}
		return nil
	}
	for _, g := range img.groups {
		keys := img.keys[g.from:g.to]
		base, from := p.fewest(img.view, keys)
		if len(keys) == 1 && len(p.judged) == 0 {
			c.take(base)
			continue
		}
		c.markAll()
		for _, u := range base {
			if len(keys) > 1 && !p.inAll(img.view, keys, from, u) {
				continue
			}
			if err := p.consider(c, img, u); err != nil {
				return err
			}
		}
	}
	c.own = c.list
	return nil
}

// usersOf are the users of a key, valid until the next one's.
func (p *Plan) usersOf(view View, k *reached) []*User {
	switch k.kind {
	case userEntry:
		if p.one[0] = view.UserAt(k.user, &k.at); p.one[0] == nil {
			return nil
		}
		return p.one[:]
	case publicEntry:
		return view.Everyone(p.rule.tenant)
	}
	return view.Members(k.key, &k.at)
}

// fewest are the users of the key that has the fewest.
func (p *Plan) fewest(view View, keys []*reached) (users []*User, from int) {
	for i, k := range keys {
		list := p.usersOf(view, k)
		if k.kind == userEntry {
			return list, i
		}
		if i == 0 || len(list) < len(users) {
			users, from = list, i
		}
	}
	return users, from
}

// inAll says whether a user of one key is of all others, too.
func (p *Plan) inAll(view View, keys []*reached, from int, u *User) bool {
	for i, k := range keys {
		if i != from && k.kind == scopeEntry && !view.IsMember(u, k.key) {
			return false
		}
	}
	return true
}

// fewUsers are told apart faster by comparing them than by their marks.
const fewUsers = 32

// take takes users into the crowd, each once.
func (c *crowd) take(users []*User) {
	switch {
	case len(c.users) == 0:
		c.users = append(c.users, users...)
		return
	case len(c.users)+len(users) <= fewUsers:
		for _, u := range users {
			if !slices.Contains(c.users, u) {
				c.users = append(c.users, u)
			}
		}
		return
	}
	c.markAll()
	for _, u := range users {
		if m := c.mark(u); m.turn != c.turn {
			m.turn, m.at = c.turn, int32(len(c.users))
			c.users = append(c.users, u)
		}
	}
	c.marked = len(c.users)
}

// markAll marks all who are in the crowd.
func (c *crowd) markAll() {
	for i, u := range c.users[c.marked:] {
		*c.mark(u) = mark{c.turn, int32(c.marked + i)}
	}
	c.marked = len(c.users)
}

// mark is that of a user, who was looked at in this turn or not.
func (c *crowd) mark(u *User) *mark {
	if u.Slot >= len(c.marks) {
		c.grow(u.Slot)
	}
	return &c.marks[u.Slot]
}

func (c *crowd) grow(slot int) {
	c.marks = append(c.marks, make([]mark, slot+1-len(c.marks))...)
}

// consider takes a user into the crowd if the conditions say so, once.
func (p *Plan) consider(c *crowd, img *image, u *User) error {
	m := c.mark(u)
	if m.turn == c.turn {
		return nil
	}
	m.turn, m.at = c.turn, -1
	if len(p.judged) > 0 {
		v, err := p.verdict(&c.memo, img, u)
		if err != nil {
			return err
		}
		if p.filtered && v&passes == 0 {
			return nil
		}
		if len(p.conditions) > 0 {
			c.variants = append(c.variants, v&^passes)
		}
	}
	m.at = int32(len(c.users))
	c.users = append(c.users, u)
	c.marked = len(c.users)
	return nil
}

// memo holds verdicts by attributes, so that they are made once for all users
// who have the same.
type memo struct {
	of   [16]remembered
	size int
	next int // is forgotten first
}

type remembered struct {
	user    *User // one of them
	verdict Variant
}

// verdict says which judgements hold for a user.
func (p *Plan) verdict(m *memo, img *image, u *User) (Variant, error) {
	v, err := p.byAttribute(m, img, u)
	if err != nil || !p.each {
		return v, err
	}
	own, err := p.judge(img, u, true)
	return v | own, err
}

// byAttribute are the judgements that all users of the same attributes share.
func (p *Plan) byAttribute(m *memo, img *image, u *User) (Variant, error) {
	for i := range m.of[:m.size] {
		if p.alike(m.of[i].user, u) {
			return m.of[i].verdict, nil
		}
	}
	v, err := p.judge(img, u, false)
	if err != nil {
		return 0, err
	}
	if m.size < len(m.of) {
		m.next = m.size
		m.size++
	}
	m.of[m.next] = remembered{u, v}
	m.next = (m.next + 1) % len(m.of)
	return v, nil
}

// alike says whether two users have the same attributes, as far as they matter.
func (p *Plan) alike(a, b *User) bool {
	for _, at := range p.byAttributes {
		if a.Subject.Attributes[at] != b.Subject.Attributes[at] {
			return false
		}
	}
	return true
}

// judge makes the judgements that are of each user, or the others.
func (p *Plan) judge(img *image, u *User, each bool) (v Variant, err error) {
	for i := range p.judged {
		j := &p.judged[i]
		if j.each != each || img.holds&j.bit == 0 {
			continue
		}
		ok, err := j.filter.UserTrue(img.row, &u.Subject)
		if err != nil {
			return 0, err
		}
		if ok {
			v |= j.bit
		}
	}
	return v, nil
}
