package collector

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// reader is a client with a session, which sends frames of readers that nobody knows
// yet, and keeps each until it is acknowledged.
type reader struct {
	*bench
	line           *wireline
	frames         [][]byte
	next           int // the frame that it sends next
	credit         uint64
	closed, denied int // connections that were ended, and answers without credit
}

// readersOfFrame is how many events each has.
const readersOfFrame = 1000

func newReader(b *bench, frames int) *reader {
	r := &reader{bench: b}
	for i := range uint64(frames) {
		events := opens(readersOfFrame)
		for n := range events {
			events[n] = wire.Event{Content: 1 + uint64(n)%3, User: i*readersOfFrame + uint64(n)}
		}
		r.frames = append(r.frames, frameOf(1, 8, i, i*readersOfFrame, b.now, events...))
	}
	return r
}

// connect begins a session, and goes on behind what is acknowledged.
func (r *reader) connect() {
	r.line = &wireline{came: wire.AppendHello(nil, 1, 8, 0)}
	r.shards[0].OnOpen(r.line)
	r.shards[0].OnTraffic(r.line)
	r.hear()
}

// hear reads acks.
func (r *reader) hear() {
	for len(r.line.down) > 0 {
		h, _ := wire.ParseHeader(r.line.down)
		a, _ := wire.ParseAck(&h, h.Body(r.line.down))
		r.line.down = r.line.down[h.Size:]
		r.next = max(r.next, int(a.Durable))
		if r.credit = a.Credit; a.Credit == 0 {
			r.denied++
		}
	}
}

// send sends frames until all are sent or the connection is ended, whatever the credit is.
func (r *reader) send() {
	for r.next < len(r.frames) {
		r.line.came = r.frames[r.next]
		if r.shards[0].OnTraffic(r.line) == gnet.Close {
			r.shards[0].OnClose(r.line, nil)
			r.closed++
			return
		}
		r.next++
	}
}

// resend is a connection that takes up where the last ack has left off.
func (r *reader) resend() {
	r.next = 0
	r.connect()
	r.send()
}

// While no cut comes, for whatever reason, a session's frames wait with its client:
// none is counted without its reader or its content. No loop is held for longer than one
// frame may, and when cuts come again, everything is taken, once.
func TestSessionWaitsForALateCut(t *testing.T) {
	for _, c := range []struct {
		name  string
		delay func(b *bench) // has cuts be late from now on
		held  time.Duration  // for which the loop may be held
	}{
		{"it is being sealed", func(*bench) {}, roomWaitMax[overTCP]},
		{"the sink has no room", func(b *bench) {
			b.room = -1
			b.cuts.cut(causeTime)
		}, 0},
		{"a datagram has waited in vain", func(b *bench) {
			flood := voice{stream: 2, id: 1}
			for user := uint64(0); b.userless() == 0; user++ {
				flood.say(b, b.now, wire.Event{Content: 1, User: user})
			}
		}, roomWaitMax[overUDP] + roomWaitMax[overTCP]},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(1, func(o *Options) { o.CreditMax = 1 << 30 })
				r := newReader(b, 200)
				began := time.Now()
				c.delay(b)
				for range 5 { // nobody runs the cutter
					r.resend()
				}
				if held := time.Since(began); held > c.held {
					t.Errorf("the loop was held for %v, want at most %v", held, c.held)
				}
				if r.closed != 5 || r.denied < 4 || r.credit > 0 {
					t.Errorf("of 5 connections %d were ended, and %d were told that there is no credit, the last one of %d", r.closed, r.denied, r.credit)
				}
				b.room = 1 << 30
				r.next = 0
				for r.connect(); r.next < len(r.frames); r.connect() {
					b.cuts.cut(causeTime)
					if r.hear(); r.credit == 0 {
						t.Fatal("a cut is durable, and the session is not told that it may go on")
					}
					r.send()
				}
				b.cuts.cut(causeTime)
				r.want(t)
			})
		})
	}
}

// want compares what was counted with what was sent.
func (r *reader) want(t *testing.T) {
	t.Helper()
	all := uint64(len(r.frames) * readersOfFrame)
	k := r.book(1)
	if k.Counts[storage.Accepted] != all || k.Counts[storage.Sent] != all || k.Counts[storage.Userless]+k.Counts[storage.Contentless] != 0 || !k.Balanced() {
		t.Errorf("%+v, of %d events", k, all)
	}
	seen := make([]uint32, all)
	for _, row := range r.rows {
		if row.Stream != 1 {
			continue
		}
		if row.Coarse != storage.CoarseNot || row.User >= all || row.Content != 1+row.User%readersOfFrame%3 {
			t.Fatalf("%+v", row)
		}
		seen[row.User] += row.Opens
	}
	for user, n := range seen {
		if n != 1 {
			t.Fatalf("reader %d has %d events, want 1", user, n)
		}
	}
}

// A frame with more readers than its stream may ever hold waits for nothing: what has no
// room is counted coarsely.
func TestSessionFrameThatNoCutHelps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(1, func(o *Options) {
			o.CreditMax = 1 << 30
			o.Streams.Known = []Stream{{Name: "small", Number: 1, Share: 1}, {Name: "large", Number: 2, Share: 200}}
		})
		large := voice{stream: 2, id: 1}
		for user := range uint64(45_000) { // from now on it is sure of its whole share
			large.say(b, b.now, wire.Event{Content: 1, User: user})
		}
		r := newReader(b, 3)
		began := time.Now()
		r.resend()
		if held := time.Since(began); held != 0 {
			t.Errorf("the loop was held for %v", held)
		}
		if r.closed != 0 || r.next != len(r.frames) {
			t.Errorf("%d frames were taken, and %d connections ended", r.next, r.closed)
		}
		b.cuts.cut(causeTime)
		k := b.book(1)
		if all := uint64(3 * readersOfFrame); k.Counts[storage.Accepted] != all || k.Counts[storage.Userless] == 0 || !k.Balanced() {
			t.Errorf("%+v, of %d events", k, all)
		}
	})
}
