package wire

import (
	"encoding/binary"
	"math/bits"
)

// text is what has an id.
type text interface{ ~string | ~[]byte }

// ID returns the id of content or of a reader that has a text (a slug, a path, a
// UUID) and no number: the XXH64 of its bytes with seed 0, which ClickHouse's
// xxHash64 gives, too. It allocates nothing.
func ID[T text](text T) uint64 {
	var h uint64
	rest := text
	if len(text) >= 32 {
		h, rest = stripes(text)
	} else {
		h = prime5
	}
	h += uint64(len(text))
	for ; len(rest) >= 8; rest = rest[8:] {
		h = bits.RotateLeft64(h^round(0, word64(rest)), 27)*prime1 + prime4
	}
	if len(rest) >= 4 {
		h = bits.RotateLeft64(h^uint64(word32(rest))*prime1, 23)*prime2 + prime3
		rest = rest[4:]
	}
	for i := 0; i < len(rest); i++ {
		h = bits.RotateLeft64(h^uint64(rest[i])*prime5, 11) * prime1
	}
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}

// The primes of XXH64. Variables, since they wrap where they are added up.
var (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

// stripes takes the text 32 bytes at a time and returns what is left of it.
func stripes[T text](text T) (h uint64, rest T) {
	lanes := [4]uint64{prime1 + prime2, prime2, 0, -prime1}
	for ; len(text) >= 32; text = text[32:] {
		for i := range lanes {
			lanes[i] = round(lanes[i], word64(text[8*i:]))
		}
	}
	for i, turn := range [4]int{1, 7, 12, 18} {
		h += bits.RotateLeft64(lanes[i], turn)
	}
	for _, lane := range lanes {
		h = (h^round(0, lane))*prime1 + prime4
	}
	return h, text
}

func round(lane, input uint64) uint64 {
	return bits.RotateLeft64(lane+input*prime2, 31) * prime1
}

func word64[T text](s T) uint64 { return uint64(word32(s)) | uint64(word32(s[4:]))<<32 }

func word32[T text](s T) uint32 {
	return binary.LittleEndian.Uint32([]byte{s[0], s[1], s[2], s[3]})
}
