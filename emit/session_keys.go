package emit

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/lectern/lectern/wire"
)

// errUnproved is for an answer in a sealed session that the collector did not seal.
var errUnproved = errors.New("its answer is not sealed as it should be: either secret, key epoch or audience are not the collector's, or something between answers in its place")

// sessionKeys are those of one connection, once its first ack has come. Nil:
// nothing on it is sealed.
type sessionKeys struct {
	secret   *wire.Secret
	audience string
	session  wire.Session
	up       *wire.EventsKey
	down     *wire.ControlKey // nil before the first ack
}

// hello begins a sealed session: it returns the hello, and what its keys will be
// made from.
func (s *sealer) hello(source uint64) ([]byte, *sessionKeys) {
	k := &sessionKeys{secret: s.secret, audience: s.audience, session: wire.Session{Stream: s.stream, Source: source}}
	_, _ = rand.Read(k.session.Emitter[:]) // never fails: crypto/rand ends the process instead
	key := s.secret.HelloKey(s.stream, s.audience)
	return wire.AppendSealedHello(nil, s.stream, source, time.Now().UnixMilli(), &k.session.Emitter, key), k
}

// check says whether the collector wrote this frame. The first must be an ack,
// with which the keys come about, or a refusal, which nothing can have sealed yet.
func (k *sessionKeys) check(h *wire.Header, frame []byte) error {
	if k == nil {
		if h.Sealed() {
			return errForeign
		}
		return nil
	}
	if k.down == nil {
		if h.Type == wire.TypeRefusal && !h.Sealed() {
			return nil
		}
		if err := k.begin(h, frame); err != nil {
			return err
		}
	}
	if !h.Sealed() || h.Epoch() != k.secret.Epoch() || !k.down.Opens(frame) {
		return errUnproved
	}
	return nil
}

// begin makes the keys from what the first ack says.
func (k *sessionKeys) begin(h *wire.Header, frame []byte) error {
	if h.Type != wire.TypeAck || !h.Sealed() {
		return errUnproved
	}
	ack, why := wire.ParseAck(h, h.Body(frame))
	if why != wire.Accepted {
		return errForeign
	}
	k.session.Collector = ack.Random
	k.down = k.secret.DownKey(&k.session, k.audience)
	var err error
	k.up, err = k.secret.UpKey(&k.session, k.audience)
	return err
}
