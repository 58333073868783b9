package mapping

import (
	"slices"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping/filter"
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

// Judge says whether a user sees a row as it is, and which variant. had is
// whether he would if he were a member of extra, too, and his attributes were
// was; without them it is visible. Parents must be known, see Needs. How it
// was by other parents or at another time, another View tells.
func (p *Plan) Judge(row *binlog.Row, view View, u *User, extra ScopeKey, was []filter.Value) (visible bool, variant Variant, had bool, err error) {
	img := &p.images[0]
	p.unroutable = 0
	if err := p.look(img, row, view); err != nil || !img.lit {
		return false, 0, false, err
	}
	if visible, variant, err = p.sees(img, u, ""); err != nil || visible {
		return visible, variant, visible, err
	}
	if extra != "" || was != nil {
		then := *u
		if was != nil {
			then.Subject.Attributes = was
		}
		// The key is that of the user who is connected.
		had, _, err = p.sees(img, &then, extra)
	}
	return false, 0, had, err
}

// sees says whether a user sees an image, as a member of extra, too.
func (p *Plan) sees(img *image, u *User, extra ScopeKey) (visible bool, v Variant, err error) {
	in := slices.ContainsFunc(img.groups, func(g group) bool {
		return !slices.ContainsFunc(img.keys[g.from:g.to], func(k reached) bool {
			switch k.kind {
			case userEntry:
				return u.Key != k.user
			case publicEntry:
				return u.Tenant != p.rule.tenant
			}
			return k.key != extra && !img.view.IsMember(u, k.key)
		})
	})
	if !in || len(p.judged) == 0 {
		return in, 0, nil
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

// Shows says whether a row is shown on a shared channel.
func (p *Plan) Shows(row *binlog.Row, view View, channel string) (bool, error) {
	err := p.look(&p.images[0], row, view)
	return slices.Contains(p.images[0].shared, channel), err
}

// Streams appends the names under which changes of a row are kept for those
// who are not there.
func (p *Plan) Streams(dst []ScopeKey, row *binlog.Row, view View) ([]ScopeKey, error) {
	err := p.look(&p.images[0], row, view)
	return append(dst, p.images[0].streams...), err
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
