package gmac

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"math/rand"
	"testing"
	"time"
)

// both are a key by its own way, and one that the standard library does all of.
func both(t testing.TB, key []byte) []*Key {
	k, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	return []*Key{k, {aead: standard(t, key)}}
}

func standard(t testing.TB, key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithNonceSize(block, NonceSize)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// Tags are those of the standard library, for each length up to some datagrams, wherever
// the bytes stand. A tag with any bit of it, of the nonce or of the data turned is none.
func TestTags(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d, fast %t", seed, fast)
	r := rand.New(rand.NewSource(seed))
	memory := make([]byte, 8192)
	for length := 0; length < 5000; length++ {
		key, nonce := make([]byte, KeySize), make([]byte, NonceSize)
		r.Read(key)
		r.Read(nonce)
		r.Read(memory)
		data := memory[r.Intn(64):][:length]
		want := standard(t, key).Seal(nil, nonce, nil, data)
		for i, k := range both(t, key) {
			if got := k.Append([]byte("in front"), nonce, data); !bytes.Equal(got, append([]byte("in front"), want...)) {
				t.Fatalf("way %d, %d bytes: the tag is %x, want %x", i, length, got[8:], want)
			}
			if !k.Opens(nonce, data, want) {
				t.Fatalf("way %d, %d bytes: the tag does not open", i, length)
			}
			for _, b := range [][]byte{want, nonce, data} {
				if len(b) == 0 {
					continue
				}
				at, bit := r.Intn(len(b)), byte(1)<<r.Intn(8)
				b[at] ^= bit
				before := bytes.Clone(b)
				if k.Opens(nonce, data, want) {
					t.Fatalf("way %d, %d bytes: it opens with a bit turned", i, length)
				}
				if !bytes.Equal(b, before) {
					t.Fatalf("way %d, %d bytes: it has changed what it looked at", i, length)
				}
				b[at] ^= bit
			}
		}
	}
}

// Hash keys whose bits are at the ends of the field, and data of all ones.
func TestExtremes(t *testing.T) {
	if !fast {
		t.Skip("this processor has no VPCLMULQDQ")
	}
	for _, hash := range [][blockSize]byte{{}, {0: 0x80}, {0: 1}, {15: 1}, {15: 0x80}, [blockSize]byte(bytes.Repeat([]byte{0xFF}, blockSize))} {
		p := powersOf(&hash)
		for length := 0; length < 3000; length += 7 {
			data := bytes.Repeat([]byte{0xFF}, length)
			if got, want := p.ghash(data), slow(hash, data); got != want {
				t.Fatalf("%x, %d bytes: %x, want %x", hash, length, got, want)
			}
		}
	}
}

// slow is GHASH as SP 800-38D writes it, bit by bit.
func slow(hash [blockSize]byte, data []byte) element {
	bits := uint64(len(data)) * 8
	data = append(bytes.Clone(data), make([]byte, -len(data)&(blockSize-1)+blockSize)...)
	element{hi: bits}.put(data[len(data)-blockSize:])
	h, sum := elementOf(hash[:]), element{}
	for ; len(data) > 0; data = data[blockSize:] {
		sum = sum.plus(elementOf(data))
		var z element
		v := h
		for i := 127; i >= 0; i-- {
			word := sum.hi
			if i < 64 {
				word = sum.lo
			}
			if word>>(i%64)&1 == 1 {
				z = z.plus(v)
			}
			over := v.lo & 1
			v = element{v.lo>>1 | v.hi<<63, v.hi >> 1}
			if over == 1 {
				v.hi ^= 0xE1 << 56
			}
		}
		sum = z
	}
	return sum
}

func TestNothingIsAllocated(t *testing.T) {
	for i, k := range both(t, make([]byte, KeySize)) {
		nonce, b := make([]byte, NonceSize), make([]byte, 1400, 1400+TagSize)
		n := testing.AllocsPerRun(100, func() {
			if tagged := k.Append(b, nonce, b); !k.Opens(nonce, b, tagged[len(b):]) {
				t.Error("it does not open")
			}
		})
		if n != 0 {
			t.Errorf("way %d: %v allocations", i, n)
		}
	}
}

func BenchmarkOpens(b *testing.B) {
	for i, k := range both(b, make([]byte, KeySize)) {
		for _, length := range []int{50, 100, 1384} {
			b.Run(fmt.Sprintf("%s/%d", []string{"own", "standard"}[i], length), func(b *testing.B) {
				nonce, data := make([]byte, NonceSize), make([]byte, length)
				tag := k.Append(nil, nonce, data)
				b.ResetTimer()
				for n := 0; n < b.N; n++ {
					if !k.Opens(nonce, data, tag) {
						b.Fatal("it does not open")
					}
				}
			})
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for n := 0; n < b.N; n++ {
		if _, err := New(make([]byte, KeySize)); err != nil {
			b.Fatal(err)
		}
	}
}
