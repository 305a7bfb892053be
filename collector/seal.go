package collector

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// Of a sealed frame the tag is checked before anything else is looked at: no source
// is found or made, and nothing waits, for who has proved nothing. wire/SPEC.md has
// the rules, in section 8.

// streamKey is one live secret of a stream, and what is derived from it.
type streamKey struct {
	secret   *wire.Secret
	audience string
	frame    *wire.EventsKey
	hello    *wire.ControlKey
	used     atomic.Int64 // Unix seconds: when it last opened something, 0 for never
}

// newStreamKey derives what opens a stream's frames. Frames that a key cannot be
// made for cannot be opened: CheckSecret says so before.
func newStreamKey(secret *wire.Secret, stream uint16, audience string) *streamKey {
	frame, err := secret.FrameKey(stream, audience)
	if err != nil {
		return nil
	}
	return &streamKey{secret: secret, audience: audience, frame: frame, hello: secret.HelloKey(stream, audience)}
}

// CheckSecret says why frames cannot be opened with a secret in this process: its
// cryptography may be restricted (GODEBUG=fips140=only).
func CheckSecret(secret *wire.Secret) error {
	_, err := secret.FrameKey(0, "")
	return err
}

// opened takes note that the key is in use.
func (k *streamKey) opened(now int64) {
	if s := now / 1000; k.used.Load() != s {
		k.used.Store(s)
	}
}

// deriveKeys derives the keys of a stream, and keeps those that the former table has:
// sessions know theirs by it.
func (of *ruled) deriveKeys(audience string, former *streamTable) {
	for _, secret := range of.Secrets {
		var key *streamKey
		if former != nil {
			key = former.key(of.Number, secret.Epoch())
		}
		if key == nil || *key.secret != *secret || key.audience != audience {
			key = newStreamKey(secret, of.Number, audience)
		}
		of.keys[secret.Epoch()] = key
	}
}

// key is the live key of a stream and epoch, nil without one.
func (t *streamTable) key(stream uint16, epoch uint8) *streamKey { return t.find(stream).keys[epoch] }

// freshMax is how far a sealed frame's time may be from the clock where nobody
// chooses.
const freshMax = 30 * time.Minute

// fresh is F of section 8: a recording that is older than that, of a source that
// was forgotten, is not believed.
func (o *Options) fresh() int64 {
	f := freshMax
	for _, idle := range []time.Duration{o.SourceIdleMax, o.SessionIdleMax} {
		if idle > 0 {
			f = min(f, idle/2)
		}
	}
	return f.Milliseconds()
}

// prove checks the tag of a frame, or that it need have none. k is the
// connection that it came on, nil for a datagram. Nothing else is looked at, and
// nothing allocated.
func (s *shard) prove(h *wire.Header, frame []byte, k *connection) wire.Refusal {
	session := k != nil && k.phase.session()
	switch {
	case !h.Type.Numbered():
		return wire.Accepted // it is unexpected, whatever its tag
	case !h.Sealed():
		if s.streams.find(h.Stream).Seal == SealRequire || session && k.keys != nil {
			return wire.RefusedUnsealed
		}
		return wire.Accepted
	case session:
		if k.keys == nil || h.Epoch() != k.keys.of.secret.Epoch() || !k.keys.up.Opens(frame) {
			return wire.RefusedSealed
		}
		k.keys.of.opened(s.now)
		return wire.Accepted
	}
	key := s.streams.key(h.Stream, h.Epoch())
	if key == nil || !key.frame.Opens(frame) {
		s.badSeal = sealName(h)
		return wire.RefusedSealed
	}
	key.opened(s.now)
	if h.Time > s.now+s.fresh {
		return wire.RefusedTime
	}
	return wire.Accepted
}

// mayOpen says whether a proved frame opens a source that is not known. Of a
// session each is fresh: its key is of its connection.
func (s *shard) mayOpen(h *wire.Header, session bool) bool {
	return !h.Sealed() || session || h.Time >= s.now-s.fresh
}

// standingOf is that of a source which begins with this frame.
func standingOf(h *wire.Header) storage.Standing {
	if h.Sealed() {
		return storage.Proved
	}
	return storage.Stranger
}

// displace begins a source anew with a sealed frame, whose number somebody has used
// without a tag. The stripe is locked.
func (s *sources) displace(src *source, position uint64, stream uint16, from address, now int64) {
	if src.generation <= s.sealed.Load() && src.leavesSpan() {
		s.leave(src, src.generation, src.closing.end())
	}
	s.release(src)
	*src = source{
		id: src.id, stream: stream, state: state{base: position, end: position}, lastSeen: now,
		standing: storage.Proved, socket: from.socket, first: seconds(max(0, now)),
	}
	s.hold(src)
}

// sessionKeys are those of one sealed session.
type sessionKeys struct {
	of     *streamKey
	random [wire.RandomSize]byte // the collector's
	up     *wire.EventsKey
	down   *wire.ControlKey
}

// greet checks the tag of a hello, and makes the keys of the session.
func (s *shard) greet(k *connection, h *wire.Header, frame []byte, random [wire.RandomSize]byte) wire.Refusal {
	key := s.streams.key(h.Stream, h.Epoch())
	if key == nil || !key.hello.Opens(frame) {
		s.badSeal = sealName(h)
		return wire.RefusedSealed
	}
	key.opened(s.now)
	keys := &sessionKeys{of: key}
	_, _ = rand.Read(keys.random[:]) // never fails: crypto/rand ends the process instead
	of := wire.Session{Stream: h.Stream, Source: h.Source, Emitter: random, Collector: keys.random}
	up, err := key.secret.UpKey(&of, key.audience)
	if err != nil {
		return wire.RefusedSealed
	}
	keys.up, keys.down = up, key.secret.DownKey(&of, key.audience)
	k.keys = keys
	return wire.Accepted
}

// retired says whether the secret of a sealed session is live no more.
func (s *shard) retired(k *connection) bool {
	return k.keys != nil && s.streams.key(k.stream, k.keys.of.secret.Epoch()) != k.keys.of
}

// refusal is what a client is told. Before its first ack a session has nothing to
// seal it with.
func (k *connection) refusal(h wire.Header, now int64, why wire.Refusal, text string) []byte {
	if k.keys == nil || k.phase == phaseWaiting {
		return wire.AppendRefusal(nil, h, now, why, text)
	}
	return wire.AppendSealedRefusal(nil, h, now, why, text, k.keys.down)
}

// writeKeys writes for each live key when it was last of use: the epoch, and never
// the key.
func (t *streamTable) writeKeys(w io.Writer) {
	const name = "lectern_key_last_used_timestamp_seconds"
	metrics.WriteMetadataIfNeeded(w, name, "gauge")
	for i := range t.list {
		of := &t.list[i]
		for epoch, key := range of.keys {
			if key != nil {
				fmt.Fprintf(w, "%s{stream=\"%d\",name=%q,epoch=\"%d\"} %d\n", name, of.Number, of.Name, epoch, key.used.Load())
			}
		}
	}
}

// sealName is what a shard remembers of a frame whose tag was wrong, or that there is
// no key for: its stream and epoch.
func sealName(h *wire.Header) uint32 { return uint32(h.Stream)*wire.Epochs + uint32(h.Epoch()) }

// tellBadSeal has the log say of which key a tag was wrong, likewise.
func (c *Collector) tellBadSeal(now int64) {
	if name, ok := c.lately(&c.badSealTold, now, func(s *shard) *uint32 { return &s.badSeal }); ok {
		c.options.Logger.Warn("sealed frames are refused: there is no secret of that epoch for the stream, or the tag is of another secret or audience; compare the emitters' keys",
			"stream", name/wire.Epochs, "epoch", name%wire.Epochs)
	}
}

// explainSeal says more of a frame that is refused for its tag, or for want of one.
func (s *shard) explainSeal(h *wire.Header, why wire.Refusal) string {
	name := cmp.Or(s.streams.find(h.Stream).Name, fmt.Sprint(h.Stream))
	switch {
	case why == wire.RefusedUnsealed:
		return fmt.Sprintf("stream %s, this source or this session takes sealed frames alone", name)
	case why != wire.RefusedSealed || !h.Sealed():
		return ""
	case s.streams.key(h.Stream, h.Epoch()) == nil:
		return fmt.Sprintf("the collector has no secret of epoch %d for stream %s", h.Epoch(), name)
	}
	return fmt.Sprintf("the tag is not that of the secret of epoch %d of stream %s, or of another audience", h.Epoch(), name)
}
