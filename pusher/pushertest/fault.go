package pushertest

import (
	"bytes"
	"fmt"
)

// Fault handles a request in place of the server: it is what goes wrong. The
// connection is closed behind it.
type Fault func(*Exchange)

// Half does what is asked, and sends the head of the answer and half of its body.
func Half(x *Exchange) {
	answer := x.Do()
	_, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	x.Write(answer[:len(answer)-(len(body)+1)/2])
}

// HalfHead does what is asked, and sends half of the answer's head.
func HalfHead(x *Exchange) {
	head, _, _ := bytes.Cut(x.Do(), []byte("\r\n\r\n"))
	x.Write(head[:len(head)/2])
}

// Lost does what is asked and closes the connection in place of an answer.
func Lost(x *Exchange) { x.Do() }

// LostByReset does what is asked and resets the connection.
func LostByReset(x *Exchange) {
	x.Do()
	x.Reset()
}

// Reset resets the connection while the request still comes in, and does
// nothing of what it asks: Reverb "closes mid-upload on 413, which a Go client
// may see as a reset connection".
func Reset(x *Exchange) { x.Reset() }

// Slow does what is asked, and answers when the channel is closed.
func Slow(until <-chan struct{}) Fault {
	return func(x *Exchange) {
		answer := x.Do()
		x.WaitFor(until)
		x.Write(answer)
	}
}

// Stuck does what is asked, sends the first half of the answer, and the rest
// when the channel is closed.
func Stuck(until <-chan struct{}) Fault {
	return func(x *Exchange) {
		answer := x.Do()
		x.Write(answer[:len(answer)/2])
		x.WaitFor(until)
		x.Write(answer[len(answer)/2:])
	}
}

// Says answers with raw bytes and does nothing of what is asked: what stands
// before a server can say anything.
func Says(raw string) Fault {
	return func(x *Exchange) {
		if _, err := x.read(); err == nil {
			x.Write([]byte(raw))
		}
	}
}

// TooFast refuses with 429 and Retry-After, in seconds.
func TooFast(seconds int) Fault {
	return Says(fmt.Sprintf("HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n", seconds))
}

// OverQuota refuses as hosted Pusher does: "quota → 403".
func OverQuota(x *Exchange) {
	Says("HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nover quota")(x)
}

// Down refuses as a proxy before a server that is not there.
func Down(x *Exchange) {
	Says("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 16\r\n\r\n<html>502</html>")(x)
}
