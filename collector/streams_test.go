package collector

import (
	"bytes"
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// A frame of a stream that there is not costs no memory and hurts nobody else.
func TestUnknownStreamIsRefused(t *testing.T) {
	b := newBench(1, func(o *Options) {
		o.Streams = Streams{Known: []Stream{{Name: "news", Number: 7}}, RefuseUnknown: true}
	})
	s := b.shards[0]
	for i := range uint64(100) {
		b.receive(0, frameOf(uint16(1000+i), 50+i, 0, 0, epoch, opens(3)...))
	}
	b.receive(0, append(frameOf(8, 9, 0, 0, epoch, opens(3)...), frameOf(7, 9, 0, 0, epoch, opens(1)...)...))
	b.receive(0, frameOf(7, 1, 0, 0, epoch, opens(2)...))
	if n := s.sources.live.Load(); n != 1 {
		t.Errorf("%d sources are remembered, want that of stream 7", n)
	}
	if n := len(s.books); n != 2 {
		t.Errorf("%d streams have books, want 7 and the reserved one", n)
	}
	if n := b.cuts.total().Counts[storage.UnplacedEvents.Of(wire.RefusedStream)]; n != 303 {
		t.Errorf("%d events stand beside the books, want 303", n)
	}
	b.want(t, 7, storage.Book{Counts: storage.Counts{storage.Sent: 2, storage.Accepted: 2}}, 0)
	reserved := b.book(wire.StreamReserved)
	if frames, events := refused(reserved, wire.RefusedStream); frames != 101 || events != 0 {
		t.Errorf("%d frames and %d events refused, want 101 and none", frames, events)
	}
	if frames, _ := refused(reserved, wire.RefusedRest); frames != 1 {
		t.Errorf("%d rests of datagrams refused, want 1", frames)
	}
}

// lockedBuffer is written to by a goroutine of the collector.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// Over TCP the client is told, also at its hello, and a reload takes it in.
func TestUnknownStreamIsTold(t *testing.T) {
	var log lockedBuffer
	r := start(t, func(o *Options) {
		o.Streams = Streams{Known: []Stream{{Name: "news", Number: 7}}, RefuseUnknown: true}
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	const text = "this collector has no stream 8; it takes those that its configuration names"
	for name, first := range map[string][]byte{
		"hello": wire.AppendHello(nil, 8, 9, 0), "events": frameOf(8, 9, 0, 0, epoch, opens(3)...),
	} {
		c := dial(t, "tcp", r.Address())
		write(t, c, first)
		if _, why, said := answer(t, c); why != wire.RefusedStream || said != text {
			t.Errorf("%s: %v %q", name, why, said)
		}
	}
	poll.Until(t, "the log says which stream it was", func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return strings.Contains(log.Buffer.String(), "streams.unknown")
	})
	r.SetStreams(Streams{Known: []Stream{{Name: "news", Number: 7}, {Name: "video", Number: 8}}, RefuseUnknown: true})
	hello(t, r, 8, 9)
	r.stop()
	if said := log.String(); !strings.Contains(said, "stream=8") || strings.Count(said, "streams.unknown") != 1 {
		t.Errorf("the log says %s", said)
	}
}

// readers are the users in the rows of a stream, each once, in the order of their contents.
func (b *bench) readers(stream uint16) (users []uint64) {
	b.cuts.cut(causeTime)
	by := map[uint64]uint64{}
	for i := range b.rows {
		if r := &b.rows[i]; r.Stream == stream {
			by[r.Content] = r.User
		}
	}
	for content := range uint64(len(by)) {
		users = append(users, by[content])
	}
	b.rows = nil
	return users
}

// read has users open the contents 0, 1, …, one each, under a source of its own.
func (b *bench) read(stream uint16, users ...uint64) {
	var events []wire.Event
	for i, user := range users {
		events = append(events, wire.Event{Content: uint64(i), User: user})
	}
	b.sourcesMade++
	b.receive(0, frameOf(stream, b.sourcesMade, 0, 0, b.now, events...))
}

func TestUsersNone(t *testing.T) {
	b := newBench(1, func(o *Options) {
		o.Streams = Streams{Known: []Stream{{Number: 7, Users: UsersNone}}, Unknown: Stream{Users: UsersNone}}
	})
	b.read(7, 1, 2, 3)
	if got := b.readers(7); fmt.Sprint(got) != "[0 0 0]" {
		t.Errorf("stream 7 has the users %d", got)
	}
	b.read(8, 4, 5)
	if got := b.readers(8); fmt.Sprint(got) != "[0 0]" {
		t.Errorf("stream 8, which is unknown, has the users %d", got)
	}
}

// The hash is AES-128 under the salt, of the user and the stream: what openssl says.
func TestUsersDailyIsKnown(t *testing.T) {
	b := newBench(1, func(o *Options) {
		o.Streams.Known = []Stream{{Number: 7, Users: UsersDaily}}
		o.Salt = func(int64) (s Salt) {
			for i := range s {
				s[i] = byte(i)
			}
			return s
		}
	})
	b.read(7, 0x1122334455667788)
	if got := b.readers(7); len(got) != 1 || got[0] != 0x93238654f2e423d9 {
		t.Errorf("%#x", got)
	}
}

// A reader is one for a day and a stream, nobody else, and somebody else tomorrow.
// Whoever has no id stays so.
func TestUsersDaily(t *testing.T) {
	var days []int64
	b := newBench(1, func(o *Options) {
		o.Streams.Known = []Stream{{Number: 7, Users: UsersDaily}, {Number: 8, Users: UsersDaily}, {Number: 9}}
		o.Salt = func(day int64) Salt { days = append(days, day); return Salt{byte(day)} }
	})
	b.read(7, 1, 2, 1, 0, 1, 0)
	first := b.readers(7)
	if len(first) != 6 || first[0] != first[2] || first[0] != first[4] || first[0] == first[1] || first[0] == 1 || first[3] != 0 || first[5] != 0 {
		t.Errorf("%d", first)
	}
	b.read(8, 1)
	if other := b.readers(8); other[0] == first[0] || other[0] == 1 {
		t.Errorf("stream 8 has %d, stream 7 has %d", other, first)
	}
	b.read(9, 1)
	if kept := b.readers(9); kept[0] != 1 {
		t.Errorf("a stream that keeps its users has %d", kept)
	}
	b.pass(epoch.Truncate(24 * time.Hour).Add(24*time.Hour - time.Millisecond).Sub(b.now))
	b.read(7, 1)
	if again := b.readers(7); again[0] != first[0] {
		t.Errorf("a millisecond before midnight: %d, before %d", again, first[0])
	}
	b.pass(time.Millisecond)
	b.read(7, 1)
	if next := b.readers(7); next[0] == first[0] {
		t.Error("after midnight a reader has the same hash")
	}
	if want := epoch.Unix() / 86400; fmt.Sprint(days) != fmt.Sprint([]int64{want, want + 1}) {
		t.Errorf("salts were drawn for the days %d", days)
	}
}

func TestDisguiseDoesNotAllocate(t *testing.T) {
	b := newBench(1, func(o *Options) {
		o.Streams.Known = []Stream{{Number: 7, Users: UsersDaily}, {Number: 8, Users: UsersNone}}
	})
	s := b.shards[0]
	s.tick()
	events := opens(50)
	for i := range events {
		events[i].User = uint64(i)
	}
	for stream, users := range map[uint16]Users{7: UsersDaily, 8: UsersNone} {
		if n := testing.AllocsPerRun(1000, func() { s.disguise(stream, users, events) }); n != 0 {
			t.Errorf("users %d: %v allocations a frame", users, n)
		}
	}
	unknown := frameOf(9, 1, 0, 0, epoch, opens(3)...)
	s.rules.streams.Store(newStreamTable(&Streams{RefuseUnknown: true}, nil))
	if n := testing.AllocsPerRun(1000, func() { b.receive(0, unknown) }); n != 0 || b.cuts.total().Counts[storage.UnplacedEvents.Of(wire.RefusedStream)] == 0 {
		t.Errorf("an unknown stream: %v allocations a frame", n)
	}
}

// What is counted shows by stream, with its name: that of unknown ones together,
// whatever numbers they make up.
func TestStreamsAreCountedByName(t *testing.T) {
	r := start(t, func(o *Options) {
		o.Streams = Streams{Known: []Stream{{Name: "news", Number: 7}, {Name: "video", Number: 8}}}
	})
	u := dial(t, "udp", r.Address())
	write(t, u, frameOf(7, 1, 0, 0, epoch, opens(3)...))
	write(t, u, frameOf(7, 1, 2, 5, epoch, opens(4)...)) // two events between them are missing
	for i := range uint64(20) {
		write(t, u, frameOf(uint16(100+i), 50+i, 0, 0, epoch, opens(1)...))
	}
	bad := frameOf(7, 1, 3, 9, epoch, opens(1)...)
	bad[wire.HeaderSize+1] = 7
	write(t, u, bad)
	r.stop()
	for line, want := range map[string]uint64{
		`{stream="7",name="news",counter="sent"}`: 10, `{stream="7",name="news",counter="accepted"}`: 7,
		`{stream="7",name="news",counter="lost"}`: 2, `{stream="7",name="news",counter="refused"}`: 1,
		`{stream="others",name="",counter="accepted"}`: 20, `{stream="8",name="video",counter="accepted"}`: 0,
	} {
		if got := r.metric("lectern_stream_events_total" + line); got != fmt.Sprint(want) {
			t.Errorf("%s is %q, want %d", line, got, want)
		}
	}
	if got := r.metric(`lectern_stream_events_total{stream="100",name="",counter="accepted"}`); got != "" {
		t.Errorf("a number that somebody made up has a label: %s", got)
	}
	var books []string
	for _, b := range r.StreamBooks() {
		c := b.Book.Counts
		books = append(books, fmt.Sprintf("%s %d %s: sent %d accepted %d lost %d refused %d", b.Name, b.Book.Stream, b.Book.Class,
			c[storage.Sent], c[storage.Accepted], c[storage.Lost], b.Book.RefusedEvents()))
	}
	if want := []string{"news 7 unsealed: sent 10 accepted 7 lost 2 refused 1", " 65535 unsealed: sent 20 accepted 20 lost 0 refused 0"}; !slices.Equal(books, want) {
		t.Errorf("the books by stream are %q, want %q", books, want)
	}
	for i, l := range r.Loops() {
		if l.Slots == 0 || l.Keys != 0 || i >= r.options.Loops {
			t.Errorf("loop %d has %+v after the last cut", i, l)
		}
	}
}
