package pusher

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"golang.org/x/crypto/nacl/secretbox"
)

// encryptedPrefix marks channels whose data only those can read whom the app
// has given the channel's key: the publisher encrypts it.
const encryptedPrefix = "private-encrypted-"

func isEncrypted(channel string) bool { return strings.HasPrefix(channel, encryptedPrefix) }

// isEncrypted says whether the data is encrypted on its way: the channels of an
// event are all of one kind.
func (e Event) isEncrypted() bool { return len(e.Channels) > 0 && isEncrypted(e.Channels[0]) }

// sealed is what pusher-http-go sends as data, without nonce and ciphertext.
const sealed = `{"nonce":"","ciphertext":""}`

const (
	nonceBytes     = 24
	masterKeyBytes = 32
)

// dataBytes is the length of what is sent as data.
func (e Event) dataBytes() int {
	if !e.isEncrypted() {
		return len(e.Data)
	}
	encoded := base64.StdEncoding.EncodedLen
	return len(sealed) + encoded(nonceBytes) + encoded(len(e.Data)+secretbox.Overhead)
}

// dataSize is the same in JSON, where nothing of base64 is escaped.
func (e Event) dataSize() int {
	if !e.isEncrypted() {
		return jsonSize(e.Data)
	}
	return e.dataBytes() + jsonSize(sealed) - len(sealed)
}

// Encrypts says whether events are encrypted.
func (c Config) Encrypts() bool { return c.EncryptionKey != "" }

// KeyFingerprint tells one EncryptionKey from another and says nothing else of
// it; "" without one.
func (c Config) KeyFingerprint() string {
	key, err := c.EncryptionKey.masterKey()
	if err != nil {
		return ""
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("chorusd: fingerprint of pusher.encryption_key"))
	return hex.EncodeToString(mac.Sum(nil))
}

var errNoMasterKey = errors.New("is not base64 of 32 bytes")

// masterKey decodes an EncryptionKey. The error does not show any of it.
func (s Secret) masterKey() ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(string(s))
	if err != nil || len(key) != masterKeyBytes {
		return nil, errNoMasterKey
	}
	return key, nil
}
