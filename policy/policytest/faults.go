package policytest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// Fault is something that goes wrong with a request or its answer.
type Fault int

// The faults. But for None, a client that says yes under one of them is wrong.
const (
	None Fault = iota

	// What an app or the way to it does.
	Hang            // no answer at all
	CloseConnection // nor a connection
	CutAnswer       // the connection ends within the answer
	InternalError   // 500
	Down            // 503
	BusyForAnHour   // 429, with Retry-After
	Redirect        // 307 to somewhere else
	CSRF            // 419, Laravel's own
	NotFound        // 404
	HTML            // 200 with a page of something else
	Created         // a good answer, but with 201
	EmptyAnswer     // 200 with nothing, signed
	Garbage         // what is no JSON, signed
	OtherVersion    // an answer of another protocol, signed
	NoAnswers       // an answer without answers, signed
	FewRows         // answers for one row less, signed
	ManyRows        // answers for one row more, signed
	FewLetters      // a letter less for each row, signed
	ManyLetters     // a letter more for each row, signed
	OddLetters      // Y in the place of y, signed
	Endless         // an answer of many megabytes, signed
	TrailingGarbage // JSON and something behind it, signed

	// What one in between does.
	NoSignature    // takes it off
	WrongSignature // with a secret of its own
	OtherNonce     // answers as to another request
	Replay         // an earlier answer again, with its signature
	Forged         // turns every n into y
	EchoedRequest  // the request's own signature on the answer

	endOfFaults
)

// Faults lists all but None.
func Faults() []Fault {
	var all []Fault
	for f := None + 1; f < endOfFaults; f++ {
		all = append(all, f)
	}
	return all
}

var faultNames = [...]string{
	"none", "hang", "close connection", "cut answer", "internal error", "down", "busy for an hour", "redirect", "CSRF",
	"not found", "HTML", "created", "empty answer", "garbage", "other version", "no answers", "few rows", "many rows",
	"few letters", "many letters", "odd letters", "endless", "trailing garbage", "no signature", "wrong signature",
	"other nonce", "replay", "forged", "echoed request",
}

func (f Fault) String() string { return faultNames[f] }

// before does what happens instead of an answer; false if there is to be one.
func (f Fault) before(w http.ResponseWriter, req *http.Request) bool {
	switch f {
	case Hang:
		<-req.Context().Done()
	case CloseConnection:
		panic(http.ErrAbortHandler) // the server's way to do that
	case InternalError:
		http.Error(w, `{"message":"Server Error"}`, http.StatusInternalServerError)
	case Down:
		http.Error(w, "", http.StatusServiceUnavailable)
	case BusyForAnHour:
		w.Header().Set("Retry-After", "3600")
		http.Error(w, "", http.StatusTooManyRequests)
	case Redirect:
		http.Redirect(w, req, "/login", http.StatusTemporaryRedirect)
	case CSRF:
		http.Error(w, "Page Expired", 419)
	case NotFound:
		http.NotFound(w, req)
	case HTML:
		_, _ = w.Write([]byte("<!doctype html><title>Welcome</title>"))
	default:
		return false
	}
	return true
}

// after changes the signed answer to req; earlier is an older one, or nil.
func (f Fault) after(r answer, earlier *answer, secret string, req *http.Request) answer {
	if r.status != http.StatusOK {
		return r
	}
	nonce := req.Header.Get("Chorusd-Nonce")
	r.header = r.header.Clone()
	again := func(body []byte) answer {
		r.body = body
		r.sign(secret, nonce)
		return r
	}
	switch f {
	case CutAnswer:
		r.header.Set("Content-Length", "1000000")
	case Created:
		r.status = http.StatusCreated
	case EmptyAnswer:
		return again(nil)
	case Garbage:
		return again([]byte("yyyy"))
	case OtherVersion:
		return again(bytes.Replace(r.body, []byte(`"version":1`), []byte(`"version":2`), 1))
	case NoAnswers:
		return again([]byte(`{"version":1}`))
	case FewRows:
		return again(edited(r.body, func(rows []string) []string { return rows[:max(0, len(rows)-1)] }))
	case ManyRows:
		return again(edited(r.body, func(rows []string) []string { return append(rows, "y") }))
	case FewLetters:
		return again(editedLetters(r.body, func(row string) string { return row[1:] }))
	case ManyLetters:
		return again(editedLetters(r.body, func(row string) string { return row + "y" }))
	case OddLetters:
		return again(editedLetters(r.body, func(row string) string { return strings.Repeat("Y", len(row)) }))
	case Endless:
		return again(append(r.body, bytes.Repeat([]byte(" "), 8<<20)...))
	case TrailingGarbage:
		return again(append(r.body, "{}"...))
	case NoSignature:
		r.header.Del("Chorusd-Signature")
	case WrongSignature:
		r.sign(strings.Repeat("x", 32), nonce)
	case OtherNonce:
		r.sign(secret, strings.Repeat("0", 32))
	case Replay:
		if earlier != nil {
			return *earlier
		}
		r.sign(secret, "")
	case Forged:
		r.body = editedLetters(r.body, func(row string) string { return strings.Repeat("y", len(row)) })
		// What was a yes already is forged all the same.
		r.body = append(r.body, '\n')
	case EchoedRequest:
		r.header.Set("Chorusd-Signature", req.Header.Get("Chorusd-Signature"))
	default:
	}
	return r
}

// edited changes the answers of a body.
func edited(body []byte, change func(rows []string) []string) []byte {
	var reply struct {
		Version int      `json:"version"`
		Answers []string `json:"answers"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		panic(err) // the fake made it
	}
	reply.Answers = change(reply.Answers)
	body, err := json.Marshal(reply)
	if err != nil {
		panic(err) // texts only
	}
	return body
}

func editedLetters(body []byte, change func(row string) string) []byte {
	return edited(body, func(rows []string) []string {
		for i, row := range rows {
			rows[i] = change(row)
		}
		return rows
	})
}
