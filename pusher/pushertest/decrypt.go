package pushertest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"
)

// Decrypt reads data of an encrypted channel as a client does to whom the app
// has given the channel's secret; key is the app's master key in base64.
func Decrypt(key, channel, data string) ([]byte, error) {
	master, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return nil, fmt.Errorf("decode the master key: %w", err)
	}
	var box struct{ Nonce, Ciphertext []byte } // as base64
	if err := json.Unmarshal([]byte(data), &box); err != nil {
		return nil, fmt.Errorf("read encrypted data: %w", err)
	}
	var nonce [24]byte
	if copy(nonce[:], box.Nonce) != len(box.Nonce) || len(box.Nonce) < len(nonce) {
		return nil, fmt.Errorf("a nonce of %d bytes", len(box.Nonce))
	}
	secret := sha256.Sum256(append([]byte(channel), master...))
	text, ok := secretbox.Open(nil, box.Ciphertext, &nonce, &secret)
	if !ok {
		return nil, errors.New("it was encrypted with another key")
	}
	return text, nil
}
