package collector

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/lectern/lectern/wire"
)

// Salt is what UsersDaily hashes users with for one day.
type Salt [16]byte

// salts give the salt of the day. The one before is forgotten.
type salts struct {
	draw    func(day int64) Salt
	current atomic.Pointer[salt]
	mu      sync.Mutex // held while the salt of a new day is drawn
}

// salt is that of one day, ready to hash with.
type salt struct {
	day   int64 // since 1970, UTC
	block cipher.Block
}

// of is the salt of a day. Whoever asks first on a new day draws it.
func (s *salts) of(day int64) *salt {
	if now := s.current.Load(); now != nil && now.day == day {
		return now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.current.Load(); now != nil && now.day == day {
		return now
	}
	var key Salt
	if s.draw != nil {
		key = s.draw(day)
	} else {
		_, _ = rand.Read(key[:]) // never fails
	}
	block, _ := aes.NewCipher(key[:]) // fails for other lengths
	now := &salt{day, block}
	s.current.Store(now)
	return now
}

// disguise is the room in which users are hashed.
type disguise struct{ plain, hashed [aes.BlockSize]byte }

const millisPerDay = 24 * 60 * millisPerMinute

// disguise leaves of the users of a frame what its stream keeps. A user of 0 is
// nobody, and stays so.
func (s *shard) disguise(stream uint16, users Users, events []wire.Event) {
	if users == UsersNone {
		for i := range events {
			events[i].User = 0
		}
		return
	}
	salt, d := s.rules.salts.of(s.now/millisPerDay), &s.disguised
	// The stream, too: its readers are to be found in no other.
	binary.LittleEndian.PutUint16(d.plain[8:], stream)
	var before, hash uint64
	for i := range events {
		if user := events[i].User; user != before {
			binary.LittleEndian.PutUint64(d.plain[:], user)
			salt.block.Encrypt(d.hashed[:], d.plain[:])
			before, hash = user, binary.LittleEndian.Uint64(d.hashed[:])
			if user == 0 {
				hash = 0
			}
		}
		events[i].User = hash
	}
}
