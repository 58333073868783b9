package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/chorusd/chorusd/harmonic"
)

// Version is that of the protocol.
const Version = 1

// What one request holds at most; its bytes are Config.MaxRequestBytes.
const (
	MaxRows  = 200
	MaxUsers = 500
	MaxPairs = 1000 // of rows and users
)

// Tolerance is how far the app lets a request's timestamp be off its own clock.
// It remembers nonces for twice as long.
const Tolerance = 5 * time.Minute

// The letters of an answer, one for each user of a row.
const (
	letterYes     = 'y'
	letterNo      = 'n'
	letterUnknown = '?'
)

// appendRequest writes the body of a request.
func appendRequest(dst []byte, b *batch) []byte {
	dst = append(dst, `{"version":`...)
	dst = strconv.AppendInt(dst, Version, 10)
	dst = append(dst, `,"table":`...)
	dst = harmonic.AppendString(dst, b.subject.Table)
	dst = append(dst, `,"tenant":`...)
	if b.subject.Tenant == "" {
		dst = append(dst, "null"...)
	} else {
		dst = harmonic.AppendString(dst, b.subject.Tenant)
	}
	dst = append(dst, `,"model":`...)
	dst = harmonic.AppendString(dst, b.subject.Model)
	dst = append(dst, `,"ability":`...)
	dst = harmonic.AppendString(dst, b.subject.Ability)
	dst = append(dst, `,"users":[`...)
	for i, id := range b.users {
		dst = append(comma(dst, i), id...)
	}
	dst = append(dst, `],"rows":[`...)
	for i, p := range b.pieces {
		row := &p.ask.rows[p.row]
		dst = append(comma(dst, i), `{"key":`...)
		dst = append(dst, row.Key...)
		dst = append(dst, `,"version":"`...)
		dst = append(dst, p.ask.versions[p.row]...)
		dst = append(dst, `","data":`...)
		dst = append(dst, row.Data...)
		dst = append(dst, `,"users":[`...)
		for j, u := range p.users {
			dst = strconv.AppendInt(comma(dst, j), int64(b.index[row.Users[u].ID]), 10)
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, "]}"...)
}

func comma(dst []byte, i int) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	return dst
}

// reply is the body of an answer.
type reply struct {
	Version int `json:"version"`
	// Answers are a text for each row, with a letter for each of its users.
	Answers []string `json:"answers"`
	// Message says why something is unknown.
	Message string `json:"message"`
}

// readReply reads a body that was signed. An error concerns all of it.
func readReply(body []byte, rows int) (reply, error) {
	var r reply
	if err := json.Unmarshal(body, &r); err != nil {
		return reply{}, fmt.Errorf("its answer is not JSON of the protocol: %w", err)
	}
	if r.Version != Version {
		return reply{}, fmt.Errorf("it answers by version %d of the protocol, not %d", r.Version, Version)
	}
	if r.Answers == nil || len(r.Answers) != rows {
		return reply{}, fmt.Errorf("it answers for %d rows and was asked about %d", len(r.Answers), rows)
	}
	return r, nil
}

// readLetters reads the answers about one row. Unless each of its users has
// one, all of them are unknown.
func readLetters(letters string, users int) ([]Answer, error) {
	answers := make([]Answer, users)
	if len(letters) != users {
		return answers, fmt.Errorf("it answers with %d letters for a row with %d users", len(letters), users)
	}
	for i := range letters {
		switch letters[i] {
		case letterYes:
			answers[i] = Yes
		case letterNo:
			answers[i] = No
		case letterUnknown:
		default:
			clear(answers)
			return answers, fmt.Errorf("it answers %q, which is none of y, n and ?", letters[i])
		}
	}
	return answers, nil
}

// answerBytes bounds the body of the answer to a batch.
func answerBytes(b *batch) int64 { return int64(4<<10 + 8*len(b.pieces) + 2*b.pairs) }
