package oracle

import "math/rand/v2"

// row is what the writer knows of a row: its keys.
type row struct {
	key    Key
	unique Value // of Table.Unique
}

// value is what a link to a column holds.
func (r *row) value(t *Table, c *Column) Value {
	if c == t.Unique {
		return r.unique
	}
	for i, k := range t.Key {
		if k == c {
			return r.key[i]
		}
	}
	panic("oracle: " + c.Name + " is no key of " + t.Name)
}

// rows are those of a table, in an order that a seed repeats.
type rows struct {
	list  []*row
	index map[string]int // by the key's JSON
}

func (r *rows) has(key string) bool {
	_, ok := r.index[key]
	return ok
}

func (r *rows) add(one *row) {
	if r.index == nil {
		r.index = map[string]int{}
	}
	r.index[one.key.JSON()] = len(r.list)
	r.list = append(r.list, one)
}

func (r *rows) remove(one *row) {
	key := one.key.JSON()
	i, last := r.index[key], len(r.list)-1
	r.list[i] = r.list[last]
	r.index[r.list[i].key.JSON()] = i
	r.list = r.list[:last]
	delete(r.index, key)
}

// pick returns any row that is free, nil if there is none.
func (r *rows) pick(rng *rand.Rand, free func(*row) bool) *row {
	for range 5 {
		if len(r.list) == 0 {
			return nil
		}
		if one := r.list[rng.IntN(len(r.list))]; free(one) {
			return one
		}
	}
	return nil
}
