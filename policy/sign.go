package policy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a request; an answer has headerSignature alone.
const (
	headerKey       = "Chorusd-Key"       // which secret: KeyID
	headerTimestamp = "Chorusd-Timestamp" // seconds since the Unix epoch
	headerNonce     = "Chorusd-Nonce"     // 32 hexadecimal digits, never used twice
	headerSignature = "Chorusd-Signature" // HMAC-SHA256, 64 hexadecimal digits
)

// The first line of what is signed says what it is, so that no signature can
// stand for something else, nor for a later version of the protocol.
const (
	labelRequest = "chorusd-policy-request-v1"
	labelAnswer  = "chorusd-policy-answer-v1"
	labelKey     = "chorusd-policy-key-v1"
)

// KeyID names a secret without telling it: both sides make it of the secret,
// so that the app can accept an old and a new one for as long as a rotation
// takes.
func KeyID(secret string) string { return hex.EncodeToString(mac(secret, labelKey))[:16] }

// signRequest sets the headers of a request with this body, and returns its
// nonce and its signature.
func signRequest(req *http.Request, body []byte, secret string, now time.Time) (nonce, signature string) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // it never fails
	nonce = hex.EncodeToString(random[:])
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signature = signatureOf(req, body, secret, timestamp, nonce)
	req.Header.Set(headerKey, KeyID(secret))
	req.Header.Set(headerTimestamp, timestamp)
	req.Header.Set(headerNonce, nonce)
	req.Header.Set(headerSignature, signature)
	return nonce, signature
}

// signatureOf is the signature of a request.
func signatureOf(req *http.Request, body []byte, secret, timestamp, nonce string) string {
	return hex.EncodeToString(mac(secret, labelRequest, req.Method, req.URL.RequestURI(), timestamp, nonce, digest(body)))
}

// signed says whether an answer to the request with this nonce was signed by
// one who has the secret.
func signed(signature string, body []byte, secret, nonce string) bool {
	got, err := hex.DecodeString(signature)
	return err == nil && hmac.Equal(got, mac(secret, labelAnswer, nonce, digest(body)))
}

// mac signs lines.
func mac(secret string, lines ...string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = h.Write([]byte(strings.Join(lines, "\n"))) // it never fails
	return h.Sum(nil)
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
