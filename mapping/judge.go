package mapping

import (
	"slices"

	"github.com/chorusd/chorusd/binlog"
)

// Needs appends the parents that have to be known to judge a row and are not,
// see Mapper.Needs.
func (p *Plan) Needs(dst []ParentRef, row *binlog.Row, view View) ([]ParentRef, error) {
	if !p.hops {
		return dst, nil
	}
	if ok, err := p.admits(row); err != nil || !ok {
		return dst, err
	}
	for _, a := range p.alternatives {
		var err error
		if dst, err = p.needs(dst, a, row, view); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func (p *Plan) needs(dst []ParentRef, a alternative, row *binlog.Row, view View) ([]ParentRef, error) {
	for i := range a {
		if ok, err := a[i].starts(p.mapper, row); err != nil || !ok {
			return dst, err
		}
	}
	for i := range a {
		for _, t := range a[i].trails() {
			_, end, err := t.follow(p.mapper, p.data[:0], row, view)
			switch {
			case err != nil:
				return dst, err
			case end == nowhere:
				return dst, nil
			case end == unknown && !slices.Contains(dst, p.mapper.missing):
				dst = append(dst, p.mapper.missing)
			}
		}
	}
	return dst, nil
}

// Judge says whether a user sees a row, and which variant. Parents must be
// known, see Needs.
func (p *Plan) Judge(row *binlog.Row, view View, u *User) (visible bool, v Variant, err error) {
	img := &p.asked
	p.unroutable = 0
	if err := p.look(img, row, view); err != nil || !img.lit || !p.reaches(img, u) {
		return false, 0, err
	}
	if len(p.judged) == 0 {
		return true, 0, nil
	}
	own, err := p.judge(img, u, true)
	if err != nil {
		return false, 0, err
	}
	shared, err := p.judge(img, u, false)
	v = own | shared
	if err != nil || p.filtered && v&passes == 0 {
		return false, 0, err
	}
	return true, v &^ passes, nil
}

// Reaches says whether a row is in a user's scopes, and passes what of the
// filter is not about the user. Parents must be known.
func (p *Plan) Reaches(row *binlog.Row, view View, u *User) (bool, error) {
	img := &p.asked
	err := p.look(img, row, view)
	return img.lit && p.reaches(img, u), err
}

// reaches says whether a user is in all scopes of an alternative.
func (p *Plan) reaches(img *image, u *User) bool {
	return slices.ContainsFunc(img.groups, func(g group) bool {
		return !slices.ContainsFunc(img.keys[g.from:g.to], func(k *reached) bool {
			switch k.kind {
			case userEntry:
				return u.Key != k.user
			case publicEntry:
				return u.Tenant != p.rule.tenant
			}
			return !img.view.IsMember(u, k.key)
		})
	})
}

// ByAttributes says whether who sees the rows, or what of them, depends on
// users' attributes.
func (p *Plan) ByAttributes() bool {
	return slices.ContainsFunc(p.judged, func(j judgement) bool { return len(j.filter.Attributes()) > 0 })
}

// Scopes appends the membership scopes that users may see a row by. Parents must
// be known.
func (p *Plan) Scopes(dst []ScopeKey, row *binlog.Row, view View) ([]ScopeKey, error) {
	img := &p.images[0]
	if err := p.look(img, row, view); err != nil || !img.lit {
		return dst, err
	}
	for _, k := range img.keys {
		if k.kind == scopeEntry && !slices.Contains(dst, k.key) {
			dst = append(dst, k.key)
		}
	}
	return dst, nil
}

// Sight is who sees a row by a view. It can be used again.
type Sight struct {
	Users []*User
	// Shared are the channels that it is shown on, and Streams the names under
	// which its changes are kept for those who are not there.
	Shared  []string
	Streams []ScopeKey
}

// See finds out who sees a row; nobody sees one that is nil. Parents must be
// known, see Needs.
func (p *Plan) See(s *Sight, row *binlog.Row, view View) error {
	img, c := &p.asked, &p.mapper.routing.crowds[0]
	err := p.see(img, row, view, c)
	s.Users = append(s.Users[:0], c.users...)
	s.Shared = append(s.Shared[:0], img.shared...)
	s.Streams = append(s.Streams[:0], img.streams...)
	return err
}

// Shows says whether a row is shown on a shared channel.
func (p *Plan) Shows(row *binlog.Row, view View, channel string) (bool, error) {
	err := p.look(&p.asked, row, view)
	return slices.Contains(p.asked.shared, channel), err
}

// trails are those of a scope.
func (s *scope) trails() []*trail {
	switch s.kind {
	case userEntry, scopeEntry:
		return []*trail{&s.key}
	case channelEntry:
		var list []*trail
		for _, p := range s.parts {
			if p.key != nil {
				list = append(list, p.key)
			}
		}
		return list
	}
	return nil
}
