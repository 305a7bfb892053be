package collector

import (
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// withNames lets a bench keep names.
func withNames(o *Options) { o.NamesAMinute, o.NamesMemory = 1000, 1<<20 }

// speaker is a source that sends names.
type speaker struct {
	source, sequence uint64
	stream           uint16
	seal             *wire.EventsKey
}

func (v *speaker) say(b *bench, all ...wire.Name) {
	frame := namesFrame(v.stream, v.source, v.sequence, 0, b.now, all...)
	if v.seal != nil {
		frame = sealed(v.seal, frame)
	}
	v.sequence++
	b.receive(0, frame)
}

// sealedNames cuts, and returns the texts that came, by account.
func (b *bench) sealedNames(t *testing.T) map[storage.Account][]string {
	t.Helper()
	all := make(map[storage.Account][]string)
	b.ear.taken = func(seal *storage.Seal) {
		for _, k := range seal.Books {
			for _, n := range k.Names {
				all[k.Account()] = append(all[k.Account()], n.Attribute.String()+" "+n.Text)
			}
		}
	}
	if !b.cuts.cut(causeTime) {
		t.Fatal("no cut")
	}
	b.ear.taken = nil
	return all
}

func (b *bench) meters() (t tally) {
	for _, s := range b.shards {
		t.add(&s.tally)
	}
	return t
}

func is(t *testing.T, what string, got, want map[storage.Account][]string) {
	t.Helper()
	if !maps.EqualFunc(got, want, func(a, b []string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func title(content uint64, text string) wire.Name {
	return wire.Name{Content: content, Attribute: wire.AttributeTitle, Text: []byte(text)}
}

// A name is sealed once a day, an attribute as often as it changes, and each in the
// book of its account. No count depends on them.
func TestNames(t *testing.T) {
	b := newBench(1, withNames)
	c := &Collector{cuts: b.cuts}
	v, one, two := speaker{source: 7, stream: 1}, storage.Account{Stream: 1}, storage.Account{Stream: 2}
	a, other := named("/a"), speaker{source: 8, stream: 2}
	v.say(b, a, title(a.Content, "A"))
	v.say(b, a)
	other.say(b, a)
	b.receive(0, namesFrame(1, 7, 1, 0, b.now, named("/never"))) // it came
	is(t, "new", b.sealedNames(t), map[storage.Account][]string{one: {"name /a", "title A"}, two: {"name /a"}})
	v.say(b, a, title(a.Content, "A"), title(a.Content, "B"), title(a.Content, "A"))
	is(t, "a changed title", b.sealedNames(t), map[storage.Account][]string{one: {"title B", "title A"}})
	b.pass(23 * time.Hour)
	v.say(b, a)
	is(t, "not a day later", b.sealedNames(t), map[storage.Account][]string{})
	b.pass(2 * time.Hour)
	v.say(b, a)
	is(t, "a day later", b.sealedNames(t), map[storage.Account][]string{one: {"name /a"}})
	if m := b.meters(); m[namesTaken] != 6 || m[namesKnown] != 4 || m[nameFrames] != 6 {
		t.Errorf("%d names are taken, %d known, in %d frames", m[namesTaken], m[namesKnown], m[nameFrames])
	}
	if k := b.book(1); k.Counts[storage.Sent] != 0 || k.Counts[storage.Accepted] != 0 || !k.Balanced() {
		t.Errorf("names are in the book: %+v", k.Counts)
	}
	for _, stream := range []uint16{1, 2} {
		if text, ok := nameOf(c, stream, a.Content); !ok || text != "/a" {
			t.Errorf("the content of stream %d is called %q, %v", stream, text, ok)
		}
	}
	if text, ok := nameOf(c, 3, a.Content); ok {
		t.Errorf("a content of another stream is called %q", text)
	}
}

// A forged name is refused by its word and none of its frame is kept; its number is
// used up, and the source goes on.
func TestForgedName(t *testing.T) {
	b := newBench(1, withNames)
	v := speaker{source: 7, stream: 1}
	forged := named("/a")
	forged.Text = []byte("/b")
	v.say(b, named("/c"), forged)
	v.say(b, named("/d"))
	is(t, "beside a forged one", b.sealedNames(t), map[storage.Account][]string{{Stream: 1}: {"name /d"}})
	if frames, events := refused(b.book(1), wire.RefusedName); frames != 1 || events != 0 {
		t.Errorf("%d frames with %d events are refused as name", frames, events)
	}
	if src := b.sealedSources()[7]; src.Next != 2 || src.Lost != 0 {
		t.Errorf("the source is %+v", src)
	}
}

func (b *bench) sealedSources() map[uint64]storage.Source {
	all := make(map[uint64]storage.Source)
	for _, s := range b.ear.sources {
		all[s.ID] = s
	}
	return all
}

// What a stranger calls a content is not shown where a holder of the stream's key
// says otherwise.
func TestSealedNamesStay(t *testing.T) {
	b := newBench(1, func(o *Options) { withKeys(o); withNames(o) })
	c := &Collector{cuts: b.cuts}
	stranger := speaker{source: 7, stream: 1}
	owner := speaker{source: 8, stream: 1, seal: frameKey(t, older, 1, audience)}
	stranger.say(b, title(42, "theirs"))
	b.sealedNames(t)
	if text, _ := nameOf(c, 1, 42); text != "theirs" {
		t.Errorf("a content without a name is called %q", text)
	}
	owner.say(b, title(42, "ours"))
	stranger.say(b, title(42, "theirs again"))
	is(t, "both", b.sealedNames(t), map[storage.Account][]string{{Stream: 1}: {"title theirs again"}, {Stream: 1, Class: storage.Sealed}: {"title ours"}})
	if text, _ := nameOf(c, 1, 42); text != "ours" {
		t.Errorf("the content is called %q", text)
	}
}

// New names are bounded by source, by stream and by what a loop has room for, each
// counted by its reason; an empty minute later there is room again.
func TestNamesLeftOut(t *testing.T) {
	b := newBench(1, func(o *Options) { withKeys(o); withNames(o) })
	n := 0
	fresh := func() wire.Name { n++; return named(fmt.Sprint("/", n)) }
	left := func(reason meter, want uint64) {
		t.Helper()
		if got := b.meters()[reason]; got != want {
			t.Errorf("%d names are left out, want %d", got, want)
		}
	}
	stranger := speaker{source: 7, stream: 1}
	for range 300 {
		stranger.say(b, fresh())
	}
	left(namesOfSource, 50)
	for source := range uint64(10) {
		another := speaker{source: 100 + source, stream: 1}
		for range 200 {
			another.say(b, fresh())
		}
	}
	left(namesOfSource, 50)
	left(namesOfStream, 2000-750)
	owner := speaker{source: 8, stream: 1, seal: frameKey(t, older, 1, audience)}
	for range 500 {
		owner.say(b, fresh())
	}
	left(namesOfStream, 2000-750) // strangers take nothing from those who seal
	b.pass(time.Minute)
	for range 250 {
		stranger.say(b, fresh())
	}
	left(namesOfSource, 50)

	b = newBench(1, func(o *Options) { o.NamesAMinute, o.NamesMemory = 1<<30, 1<<20 })
	long := speaker{source: 9, stream: 1}
	for i := range 2000 {
		long.say(b, named(fmt.Sprintf("%0512d", i)))
	}
	left(namesNoRoom, 2000-(1<<20)/(512+64))
	if len(b.cuts.wanted) != 1 {
		t.Error("no cut is asked for")
	}
	b.sealedNames(t)
	long.say(b, named("/room"))
	is(t, "after a cut", b.sealedNames(t), map[storage.Account][]string{{Stream: 1}: {"name /room"}})

	b = newBench(1, nil)
	none := speaker{source: 9, stream: 1}
	none.say(b, named("/none"))
	left(namesOfStream, 1)
}

// A million new names take no more memory than the options say, nor what cuts carry
// away; and repeated ones do not even allocate.
func TestAMillionNames(t *testing.T) {
	const memory = 4 << 20
	b := newBench(1, func(o *Options) { o.NamesAMinute, o.NamesMemory = 1<<30, memory })
	b.ear.books, b.ear.accounts = nil, nil
	sink := &forgetful{}
	b.cuts.sink = sink
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what other tests left in pools goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	v := speaker{source: 7, stream: 1}
	v.say(b) // a frame without names is refused, and opens the source
	before, most := heap(), int64(0)
	for n := range 1_000_000 / 50 {
		all := make([]wire.Name, 50)
		for i := range all {
			all[i] = named(fmt.Sprintf("/2026/03/14/an-article-of-some-length-%d", n*50+i))
		}
		v.say(b, all...)
		if b.shards[0].names.cost > namesWindowMax/2 {
			if !b.cuts.cut(causeFull) {
				t.Fatal("no cut")
			}
		}
		if n%2000 == 0 {
			most = max(most, heap())
		}
	}
	b.cuts.cut(causeTime)
	m := b.meters()
	t.Logf("%d names taken, %d bytes more in memory at the most, of which %d may be remembered ones", m[namesTaken], most-before, memory)
	if m[namesTaken] != 1_000_000 || sink.names != 1_000_000 {
		t.Errorf("%d names are taken, %d sealed", m[namesTaken], sink.names)
	}
	if grown := most - before; grown > memory+4*namesWindowMax {
		t.Errorf("%d bytes more in memory for %d names", grown, m[namesTaken])
	}
	c := &Collector{cuts: b.cuts}
	if _, ok := nameOf(c, 1, named("/2026/03/14/an-article-of-some-length-0").Content); ok {
		t.Error("the first of a million names is still known")
	}
	if _, ok := nameOf(c, 1, named("/2026/03/14/an-article-of-some-length-999999").Content); !ok {
		t.Error("the last of a million names is not known")
	}
}

// forgetful is a sink that counts names and keeps nothing.
type forgetful struct{ names int }

func (f *forgetful) Room() int    { return 1 << 30 }
func (f *forgetful) MakeRoom()    {}
func (f *forgetful) Retry() error { return nil }

func (f *forgetful) Seal(seal *storage.Seal, durable func()) error {
	for i := range seal.Books {
		f.names += len(seal.Books[i].Names)
	}
	durable()
	return nil
}

func TestKnownNamesDoNotAllocate(t *testing.T) {
	b := newBench(1, withNames)
	names := []wire.Name{named("/a"), named("/b"), title(42, "Answers")}
	frames := make([][]byte, 1100)
	for i := range frames {
		frames[i] = namesFrame(1, 9, uint64(i), 0, epoch, names...)
	}
	b.receive(0, frames[0])
	next := 1
	if n := testing.AllocsPerRun(1000, func() { b.receive(0, frames[next]); next++ }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
	if m := b.meters(); m[namesTaken] != 3 || m[namesKnown] != 3003 {
		t.Errorf("%d names are taken, %d known", m[namesTaken], m[namesKnown])
	}
}

// nameOf is what a content is called.
func nameOf(c *Collector, stream uint16, content uint64) (string, bool) {
	texts := c.TextsOf(stream, content)
	text := cmp.Or(texts[wire.AttributeName], texts[wire.AttributeTitle])
	return text, text != ""
}

// Names that are asked for stay, those that nobody asks for go first.
func TestNamesThatAreWantedStay(t *testing.T) {
	c := &Collector{cuts: &cutter{names: newNameCache(10 * (calledCost + 8))}}
	learn := func(content uint64) {
		c.Learn([]storage.Book{{Stream: 1, Names: []storage.Name{{Content: content, Text: fmt.Sprintf("%08d", content)}}}})
	}
	learn(0)
	c.cuts.names.learn([]storage.Book{{Stream: 2, Names: []storage.Name{{Content: 1, Text: "new"}}}}, false)
	c.Learn([]storage.Book{{Stream: 2, Names: []storage.Name{{Content: 1, Text: "old"}}}})
	if text, _ := nameOf(c, 2, 1); text != "new" {
		t.Errorf("what the store has replaces what came since: %q", text)
	}
	for content := range uint64(100) {
		learn(1 + content)
		if text, ok := nameOf(c, 1, 0); !ok || text != "00000000" {
			t.Fatalf("after %d more: %q, %v", content, text, ok)
		}
	}
	if _, ok := nameOf(c, 1, 50); ok {
		t.Error("a name that nobody asked for stays")
	}
	if held := c.cuts.names.held.Load(); held > 10 {
		t.Errorf("%d names are held, of which 10 fit", held)
	}
}
