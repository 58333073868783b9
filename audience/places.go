package audience

import (
	"iter"
	"slices"
)

// place is where a user is in a group, and how many rows put it there.
type place struct{ index, rows uint32 }

// places are those of one user. Nearly all users have few, which take the least
// memory in a list, and are found there as fast as in a map.
type places struct {
	few  []placeIn
	many map[*group]place // in place of few
}

type placeIn struct {
	group *group
	place
}

// fewPlaces is how many are a list at most.
const fewPlaces = 32

// newPlaces has room for so many.
func newPlaces(size int) places {
	if size > fewPlaces {
		return places{many: make(map[*group]place, size)}
	}
	return places{few: make([]placeIn, 0, size)}
}

func (p *places) len() int { return len(p.few) + len(p.many) }

func (p *places) at(g *group) int {
	return slices.IndexFunc(p.few, func(in placeIn) bool { return in.group == g })
}

func (p *places) get(g *group) (at place, is bool) {
	if p.many != nil {
		at, is = p.many[g]
		return at, is
	}
	if i := p.at(g); i >= 0 {
		return p.few[i].place, true
	}
	return place{}, false
}

func (p *places) set(g *group, at place) {
	if p.many != nil {
		p.many[g] = at
		return
	}
	if i := p.at(g); i >= 0 {
		p.few[i].place = at
		return
	}
	if len(p.few) < fewPlaces {
		p.few = append(p.few, placeIn{g, at})
		return
	}
	p.many = make(map[*group]place, 2*fewPlaces)
	for _, in := range p.few {
		p.many[in.group] = in.place
	}
	p.many[g] = at
	p.few = nil
}

func (p *places) remove(g *group) {
	if p.many != nil {
		delete(p.many, g)
		return
	}
	if i := p.at(g); i >= 0 {
		p.few = slices.Delete(p.few, i, i+1)
	}
}

// all gives them in no order. Meanwhile none may come or go.
func (p *places) all() iter.Seq2[*group, place] {
	return func(yield func(*group, place) bool) {
		for _, in := range p.few {
			if !yield(in.group, in.place) {
				return
			}
		}
		for g, at := range p.many {
			if !yield(g, at) {
				return
			}
		}
	}
}
