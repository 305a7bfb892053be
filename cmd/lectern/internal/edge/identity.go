package edge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/lectern/lectern/emit"
)

// Identity says by what readers of a stream are told apart.
type Identity uint8

// What readers can be told apart by.
const (
	Account Identity = iota // the id that the page gives; without one, nobody
	Daily                   // a keyed hash of address, agent and stream, which says nothing tomorrow
	None                    // not at all
)

// Salt is what the readers of a day are hashed with.
type Salt [16]byte

const daySeconds = 86400

// readers tells readers apart. Its methods may be called by several goroutines at
// once.
type readers struct {
	salt func(day int64) Salt // of a day since 1970, UTC

	mu      sync.Mutex // protects the fields below
	day     int64
	current Salt
}

// of is the id of who sent something, as the stream tells readers apart: by account,
// or for a day by the parts. 0 is nobody in particular.
func (r *readers) of(s *Stream, account uint64, now time.Time, parts ...string) uint64 {
	switch s.Identity {
	case Account:
		return account
	case Daily:
		return r.hash(now, s.Name, parts...)
	}
	return 0
}

// page is the id of who reads a page, which may name him.
func (r *readers) page(s *Stream, from *sender, user string, now time.Time) uint64 {
	switch {
	case from.private:
		return 0
	case s.Identity == Daily:
		address := reader(from.address)
		return r.of(s, 0, now, string(address[:]), from.agent)
	case user == "":
		return 0
	}
	return r.of(s, emit.ID(user), now)
}

// given is the id of a reader whom a process of this machine names, by text or by
// id.
func (r *readers) given(s *Stream, text string, id uint64, now time.Time) uint64 {
	if text != "" {
		id = emit.ID(text)
	}
	if id == 0 {
		return 0
	}
	return r.of(s, id, now, strconv.FormatUint(id, 10), "")
}

// keyed is a hash under a salt, which is used again and again.
type keyed struct {
	salt Salt
	mac  hash.Hash
	text []byte
}

// keyeds are those that nobody uses now; garbage collection forgets them, and their salts.
var keyeds = sync.Pool{New: func() any { return new(keyed) }}

// hash tells readers of a stream apart for a day, UTC.
func (r *readers) hash(now time.Time, stream string, parts ...string) uint64 {
	salt := r.today(now.Unix() / daySeconds)
	k := keyeds.Get().(*keyed)
	defer keyeds.Put(k)
	if k.mac == nil || k.salt != salt {
		k.salt = salt
		k.mac = hmac.New(sha256.New, k.salt[:])
	}
	k.text = k.text[:0]
	for _, part := range parts {
		k.add(part)
	}
	k.add(stream)
	k.mac.Reset()
	k.mac.Write(k.text)
	k.text = k.mac.Sum(k.text[:0])
	return max(1, binary.LittleEndian.Uint64(k.text))
}

// add puts the length of a part in front of it, so that no two readers have the same
// text.
func (k *keyed) add(part string) {
	k.text = binary.LittleEndian.AppendUint32(k.text, uint32(len(part)))
	k.text = append(k.text, part...)
}

// reader is an address as a reader has it: of IPv6 the network, since the rest
// changes by itself.
func reader(a netip.Addr) [16]byte { return networkOf(a).As16() }

func (r *readers) today(day int64) Salt {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.day != day || r.current == (Salt{}) {
		r.day, r.current = day, r.salt(day)
	}
	return r.current
}

// sender is who sent something, as far as an edge knows.
type sender struct {
	address netip.Addr
	agent   string
	private bool // he does not want to be told from others (Sec-GPC, DNT)
}
