//go:build go1.26

package emit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/lectern/lectern/wire"
)

const testAudience = "collector-1"

// secretOf is a secret of an epoch.
func secretOf(epoch uint8, first byte) *wire.Secret {
	return wire.NewSecret(epoch, [wire.SecretSize]byte{first})
}

// fakeSeal is what fake collectors seal and open with.
type fakeSeal struct {
	secrets map[uint8]*wire.Secret // by epoch
	retired []*wire.Secret         // live no more: a hello with one of them may still be on its way
	tags    map[string][]byte      // by key and nonce: the frame
}

// errRetired is for a hello that comes too late.
var errRetired = errors.New("its secret is live no more")

// replace has another secret in the place of an older one.
func (s *fakeSeal) replace(epoch uint8, next *wire.Secret) {
	for _, e := range []uint8{epoch, next.Epoch()} {
		if old := s.secrets[e]; old != nil {
			s.retired = append(s.retired, old)
			delete(s.secrets, e)
		}
	}
	s.secrets[next.Epoch()] = next
}

// fakeSession is one sealed connection. A nil one is not sealed.
type fakeSession struct {
	of     *fakeSeal
	random wire.Session
	up     *wire.EventsKey
	down   *wire.ControlKey
}

// greet takes a hello, whose tag must be right if hellos have to have one.
func (s *fakeSeal) greet(r *rand.Rand, h *wire.Header, hello []byte) (*fakeSession, error) {
	if s == nil {
		return nil, nil
	}
	secret := s.secrets[h.Epoch()]
	if !h.Sealed() || secret == nil || !secret.HelloKey(h.Stream, testAudience).Opens(hello) {
		for _, old := range s.retired {
			if h.Sealed() && old.Epoch() == h.Epoch() && old.HelloKey(h.Stream, testAudience).Opens(hello) {
				return nil, errRetired
			}
		}
		return nil, fmt.Errorf("a hello whose tag is not good, of epoch %d", h.Epoch())
	}
	k := &fakeSession{of: s, random: wire.Session{Stream: h.Stream, Source: h.Source}}
	copy(k.random.Emitter[:], h.Body(hello))
	for i := range k.random.Collector {
		k.random.Collector[i] = byte(r.Uint32())
	}
	k.down = secret.DownKey(&k.random, testAudience)
	var err error
	k.up, err = secret.UpKey(&k.random, testAudience)
	return k, err
}

// say seals an ack or a refusal.
func (k *fakeSession) say(b []byte) []byte {
	if k == nil {
		return b
	}
	f, why := wire.ParseHeader(b)
	if why != wire.Accepted {
		panic(why)
	}
	if f.Type == wire.TypeAck {
		a, _ := wire.ParseAck(&f, f.Body(b))
		a.Random = k.random.Collector
		return wire.AppendSealedAck(nil, f.Stream, f.Source, f.Time, a, k.down)
	}
	reason, text, _ := wire.ParseRefusalBody(f.Body(b))
	return wire.AppendSealedRefusal(nil, f, f.Time, reason, string(text), k.down)
}

// open checks a frame and returns it as it would be without a tag. No nonce may
// come with two frames under one key.
func (k *fakeSession) open(frame []byte) ([]byte, error) {
	if k == nil {
		return frame, nil
	}
	if frame[3]&wire.FlagSealed == 0 || !k.up.Opens(frame) {
		return nil, fmt.Errorf("a frame whose tag is not good")
	}
	nonce := fmt.Sprintf("%x %x %x", k.random.Emitter, k.random.Collector, frame[8:32])
	if before, ok := k.of.tags[nonce]; ok && !bytes.Equal(before, frame) {
		return nil, fmt.Errorf("two frames with one nonce")
	}
	k.of.tags[nonce] = bytes.Clone(frame)
	bare := bytes.Clone(frame[:len(frame)-wire.TagSize])
	bare[3] = 0
	binary.LittleEndian.PutUint16(bare[4:], uint16(len(bare)))
	return bare, nil
}

// forged is what somebody between might say in a sealed session.
func (k *fakeSession) forged(r *rand.Rand, h wire.Header, next uint64) []byte {
	final := wire.Ack{Durable: next, Credit: 1 << 20, Final: true, Spool: 1}
	h.Sequence = next
	switch r.IntN(4) {
	case 0:
		return wire.AppendAck(nil, h.Stream, h.Source, 0, final)
	case 1:
		return wire.AppendRefusal(nil, h, 0, wire.RefusedKind, "")
	case 2: // of another connection
		other := *k
		other.random.Emitter[0]++
		other.down = secretOf(0, 1).DownKey(&other.random, testAudience)
		return other.say(wire.AppendAck(nil, h.Stream, h.Source, 0, final))
	}
	b := k.say(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: next}))
	b[len(b)-1-r.IntN(len(b)-wire.HeaderSize)] ^= 1
	return b
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }
