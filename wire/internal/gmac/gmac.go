// Package gmac makes and checks the tags of sealed frames: AES-GMAC (NIST SP 800-38D)
// with a key of 16 bytes and a nonce of 24.
//
// crypto/cipher does all of it on processors that have no AVX-512 with VPCLMULQDQ. On
// those that have it, servers of the last years, GHASH, the sum over all bytes, is done
// here, and a tag of 1,400 bytes takes half the time: the standard library multiplies 16
// bytes at a time, and reduces the sum every 128 bytes, and behind the last 128 every 16,
// which is what the next have to wait for. Here 64 bytes are multiplied at a time, each
// block by a power of the hash key of its own, so that nothing waits, and the sum is
// reduced once. Nothing here depends on secrets in how long it takes.
package gmac

import (
	"crypto/aes"
	"crypto/cipher"
)

// The sizes of a key, a nonce and a tag in bytes.
const (
	KeySize   = 16
	NonceSize = 24
	TagSize   = 16
)

// Key makes and checks tags. It may be used by several goroutines at once.
type Key struct {
	aead   cipher.AEAD  // does all of it; nil where these do:
	block  cipher.Block // encrypts by the key
	powers *powers
}

// New returns the key of these KeySize bytes. The error is that of a process whose
// cryptography is restricted.
func New(key []byte) (*Key, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithNonceSize(block, NonceSize)
	if err != nil {
		return nil, err
	}
	if !fast {
		return &Key{aead: aead}, nil
	}
	var hash [blockSize]byte
	block.Encrypt(hash[:], hash[:])
	return &Key{block: block, powers: powersOf(&hash)}, nil
}

// Append appends the tag of data under a nonce. The nonce may be a part of data, and
// b may end with it.
func (k *Key) Append(b, nonce, data []byte) []byte {
	if k.aead != nil {
		return k.aead.Seal(b, nonce, nil, data)
	}
	sum, counter := k.powers.ghash(data), k.powers.counter(nonce)
	b = append(b, make([]byte, TagSize)...)
	tag := b[len(b)-TagSize:]
	counter.put(tag)
	k.block.Encrypt(tag, tag)
	sum.plus(elementOf(tag)).put(tag)
	return b
}

// Opens says whether tag is that of data under a nonce. While it runs it has its own
// bytes in tag, which are then as they were: for the block cipher to write elsewhere
// would take an allocation.
func (k *Key) Opens(nonce, data, tag []byte) bool {
	if k.aead != nil {
		var none [0]byte
		_, err := k.aead.Open(none[:], nonce, tag, data)
		return err == nil
	}
	if len(tag) != TagSize {
		return false
	}
	sum, said := k.powers.ghash(data), elementOf(tag)
	k.powers.counter(nonce).put(tag)
	k.block.Encrypt(tag, tag)
	rest := sum.plus(elementOf(tag)).plus(said)
	said.put(tag)
	return rest.lo|rest.hi == 0
}
