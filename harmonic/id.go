package harmonic

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Seq is a position in the one order of all harmonics: microseconds since the
// Unix epoch, raised where needed so that no two positions are equal. Values
// up to MaxSeq fit an ID; those that occur before the year 2255 are also exact
// as the score of a Redis sorted set.
type Seq uint64

// Generation tells the ids of one life of the server's state from those of the
// next: 62 random bits, renewed when that state was lost.
type Generation uint64

// The largest values that fit an ID.
const (
	MaxSeq        Seq        = 1<<48*1000 - 1
	MaxGeneration Generation = 1<<62 - 1
)

// SeqAt is the position of the microsecond that t falls into. Times before the
// Unix epoch have none; they give 0.
func SeqAt(t time.Time) Seq { return Seq(max(0, t.UnixMicro())) }

// Time is the moment s stands for, in UTC.
func (s Seq) Time() time.Time { return time.UnixMicro(int64(s)).UTC() }

// NewGeneration draws a generation from the system's randomness.
func NewGeneration() Generation {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return Generation(binary.BigEndian.Uint64(b[:])) & MaxGeneration
}

// ID identifies a harmonic: a UUIDv7 (RFC 9562) made of seq and generation and
// nothing else, so that re-reading the same change yields the same id. Its 48
// bits of milliseconds and 12 bits of rand_a hold seq (seq/1000 and seq%1000),
// its 62 bits of rand_b the generation. Within a generation, ids compare like
// their seq, as bytes and as text.
type ID [16]byte

// idLen is the length of an ID's text.
const idLen = 36

// NewID makes the id of seq in generation gen. A value above MaxSeq or
// MaxGeneration is a bug of the caller and panics.
func NewID(seq Seq, gen Generation) ID {
	if seq > MaxSeq || gen > MaxGeneration {
		panic(fmt.Sprintf("harmonic: seq %d or generation %d does not fit an id", seq, gen))
	}
	var id ID
	ms, micro := uint64(seq/1000), uint64(seq%1000)
	binary.BigEndian.PutUint64(id[:8], ms<<16|7<<12|micro)
	binary.BigEndian.PutUint64(id[8:], 2<<62|uint64(gen))
	return id
}

// Seq is the position that the id was made of.
func (id ID) Seq() Seq {
	hi := binary.BigEndian.Uint64(id[:8])
	return Seq(hi>>16*1000 + hi&0xfff)
}

// Generation is the generation that the id was made of.
func (id ID) Generation() Generation {
	return Generation(binary.BigEndian.Uint64(id[8:])) & MaxGeneration
}

// String is the id's text: 36 characters, lower case.
func (id ID) String() string { return string(id.append(make([]byte, 0, idLen))) }

// AppendText appends the id's text to dst; it never fails.
func (id ID) AppendText(dst []byte) ([]byte, error) { return id.append(dst), nil }

// MarshalText is AppendText for packages that want a slice of their own.
func (id ID) MarshalText() ([]byte, error) { return id.append(make([]byte, 0, idLen)), nil }

// UnmarshalText is ParseID for packages that decode in place.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

func (id ID) append(dst []byte) []byte {
	dst = hex.AppendEncode(dst, id[:4])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[4:6])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[6:8])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[8:10])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, id[10:])
}

// ErrForeignID is returned for text that is not an id of this package's making:
// not a UUID in lower case, not version 7, or with a rand_a that is no count of
// microseconds within a millisecond. Stock Chorus's random ids are such.
var ErrForeignID = errors.New("not an id of chorusd")

// ParseID reads what String wrote and nothing else; the error wraps
// ErrForeignID. One in four of other makers' UUIDv7 passes for an id all the
// same, so a cursor is ours only if its generation is known too.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != idLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("%w: %q is not a UUID", ErrForeignID, s)
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	for i := range id {
		hi, lo := nibble(digits[2*i]), nibble(digits[2*i+1])
		if hi > 15 || lo > 15 {
			return ID{}, fmt.Errorf("%w: %q is not a UUID in lower case", ErrForeignID, s)
		}
		id[i] = hi<<4 | lo
	}
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		return ID{}, fmt.Errorf("%w: %q is not a UUID of version 7", ErrForeignID, s)
	}
	if binary.BigEndian.Uint16(id[6:8])&0xfff >= 1000 {
		return ID{}, fmt.Errorf("%w: %q does not count microseconds", ErrForeignID, s)
	}
	return id, nil
}

// nibble is the value of a lower-case hexadecimal digit, 255 for anything else.
func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
