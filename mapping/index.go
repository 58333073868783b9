package mapping

import (
	"iter"
	"maps"
	"sync/atomic"
)

// Index finds what a View knows by keys. Who asks for the same key again and
// again keeps what was found at a Spot, so that the key is looked up only after
// another one was put in or taken out. What is found is the thing itself, not a
// copy: that it changes need not be told.
type Index[K comparable, V any] struct {
	of map[K]*V
	// version is that of the keys, and no other Index ever has it.
	version uint64
}

// Spot is where an Index keeps what it found for one key, also that it found
// nothing. It is for one goroutine. The zero Spot keeps nothing yet.
type Spot struct {
	version uint64
	found   any
}

// versions is the last one of all.
var versions atomic.Uint64

// NewIndex makes an empty one.
func NewIndex[K comparable, V any]() Index[K, V] {
	return Index[K, V]{map[K]*V{}, versions.Add(1)}
}

// Get is what the key leads to; nil if it leads nowhere. At is where the caller
// keeps that for this key, and nil if he does not.
func (x *Index[K, V]) Get(key K, at *Spot) *V {
	if at == nil {
		return x.of[key]
	}
	if at.version != x.version {
		at.version, at.found = x.version, x.of[key]
	}
	return at.found.(*V) // a version is of one Index
}

// Put makes a key lead to v.
func (x *Index[K, V]) Put(key K, v *V) {
	x.of[key], x.version = v, versions.Add(1)
}

// Delete makes a key lead nowhere.
func (x *Index[K, V]) Delete(key K) {
	delete(x.of, key)
	x.version = versions.Add(1)
}

// Len is how many keys lead somewhere.
func (x *Index[K, V]) Len() int { return len(x.of) }

// All are the keys and what they lead to, in no order. Keys may be deleted
// meanwhile.
func (x *Index[K, V]) All() iter.Seq2[K, *V] { return maps.All(x.of) }
