package harmonic

import "time"

// EventCreated is the Pusher event that carries harmonics. It has no namespace,
// so Laravel Echo listens for ".harmonic.created".
const EventCreated = "harmonic.created"

// Harmonic is one change of one record, as those who may see it get it.
type Harmonic struct {
	ID    ID
	Table string // the name that clients use, not necessarily the database's

	// RecordID is the record's key as JSON: for a key of one column the same
	// JSON text as that column has in Data, for a composite key the array of
	// its columns' values in key order. See "Keys" in WIRE.md.
	RecordID  []byte
	Operation Operation

	// Data is the JSON text of an object with all synced fields, on deletes
	// too, in their form of WIRE.md, "Values".
	Data []byte

	// CreatedAt is when the change was committed, to the second.
	CreatedAt time.Time

	// Rejected marks the answer to a client's write that the app refused, and
	// RejectedReason says why. Data is then what the client had asked for.
	Rejected       bool
	RejectedReason string
}

// createdAt is the layout of created_at on live events; always UTC.
const createdAt = "2006-01-02 15:04:05"

// AppendJSON appends h to dst as the payload of EventCreated. RecordID and Data
// are taken as they are, so they must be valid JSON. Nothing is allocated but
// what dst needs to grow.
func AppendJSON(dst []byte, h *Harmonic) []byte {
	dst = append(dst, `{"id":"`...)
	dst = h.ID.append(dst)
	dst = append(dst, `","table_name":`...)
	dst = AppendString(dst, h.Table)
	dst = append(dst, `,"record_id":`...)
	dst = append(dst, h.RecordID...)
	dst = append(dst, `,"operation":"`...)
	dst = append(dst, h.Operation.String()...)
	dst = append(dst, `","data":`...)
	dst = AppendString(dst, h.Data)
	dst = append(dst, `,"user_id":null,"created_at":"`...)
	dst = appendCreatedAt(dst, h.CreatedAt)
	dst = append(dst, '"')
	if h.Rejected {
		dst = append(dst, `,"rejected":true,"rejected_reason":`...)
		dst = AppendString(dst, h.RejectedReason)
	}
	return append(dst, '}')
}

// appendCreatedAt writes t in the layout createdAt; AppendFormat would take
// longer than the rest of the envelope.
func appendCreatedAt(dst []byte, t time.Time) []byte {
	two := func(n int, after byte) { dst = append(dst, byte('0'+n/10%10), byte('0'+n%10), after) }
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(dst, byte('0'+year/1000%10), byte('0'+year/100%10))
	two(year, '-')
	two(int(month), '-')
	two(day, ' ')
	two(hour, ':')
	two(minute, ':')
	two(second, ' ')
	return dst[:len(dst)-1]
}
