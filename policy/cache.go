package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

// maxCached is how many answers are kept at most; one takes about 80 bytes.
const maxCached = 100_000

// cache keeps answers for a short time. It is two maps: answers go into the
// younger, and when that is full or as old as an answer may become, the older
// is dropped and the younger takes its place. So it is bounded without keeping
// account of single entries.
type cache struct {
	ttl time.Duration

	mu         sync.Mutex
	young, old map[cacheKey]cached
	begun      time.Time // of young
}

// cacheKey is a hash of all that an answer depends on here.
type cacheKey [16]byte

type cached struct {
	yes     bool
	expires time.Time
}

func newCache(ttl time.Duration) *cache { return &cache{ttl: ttl, young: map[cacheKey]cached{}} }

// get returns Unknown where there is no answer.
func (c *cache) get(key cacheKey, now time.Time) Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, ok := c.young[key]
	if !ok {
		entry, ok = c.old[key]
	}
	switch {
	case !ok || !now.Before(entry.expires):
		return Unknown
	case entry.yes:
		return Yes
	default:
		return No
	}
}

// put keeps a yes or a no of a request that was begun at asked.
func (c *cache) put(key cacheKey, a Answer, asked, now time.Time) {
	expires := asked.Add(c.ttl)
	if a == Unknown || !now.Before(expires) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= maxCached/2 || now.Sub(c.begun) >= c.ttl {
		c.young, c.old, c.begun = map[cacheKey]cached{}, c.young, now
	}
	c.young[key] = cached{a == Yes, expires}
}

// keyOf is the key of an answer about a row of this version and a user.
func keyOf(s Subject, rowKey, version string, u User) cacheKey {
	h := sha256.New()
	var n [8]byte
	for _, text := range [...]string{s.Table, s.Tenant, s.Model, s.Ability, rowKey, version, u.ID} {
		binary.BigEndian.PutUint64(n[:], uint64(len(text)))
		_, _ = h.Write(n[:]) // it never fails
		_, _ = h.Write([]byte(text))
	}
	binary.BigEndian.PutUint64(n[:], u.Version)
	_, _ = h.Write(n[:])
	return cacheKey(h.Sum(nil)[:16])
}

// versionOf names a row's state by its data.
func versionOf(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
