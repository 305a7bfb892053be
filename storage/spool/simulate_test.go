package spool

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs/vfstest"
	"github.com/lectern/lectern/wire"
)

var (
	seedFlag = flag.Uint64("seed", 0, "seed of the one simulation to run; 0: many, at random")
	simsFlag = flag.Int("sims", 0, "how many simulations; 0: as many as take half a minute")

	simsDefault = 400
)

const simOps = 600

// Seals, flushes, shipping and compactions against a model, with operations that
// fail, processes that are killed and power that is cut at any step.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		simulate(t, *seedFlag)
		return
	}
	sims := *simsFlag
	if sims == 0 {
		sims = simsDefault
	}
	first := rand.Uint64()
	ops := map[string]int{}
	for i := range uint64(sims) {
		seed := first + i
		w := simulate(t, seed)
		if t.Failed() {
			t.Fatalf("replay with: go test ./storage/spool -run TestSimulation -seed %d", seed)
		}
		for what, n := range w.counts {
			ops[what] += n
		}
	}
	t.Logf("first seed %d; %v", first, ops)
	for _, what := range []string{"seal", "seal failed", "retried", "flush", "flush of some minutes", "flush failed", "stored", "unsure", "retry", "parked",
		"compact", "kill", "power loss", "close", "interrupted seal kept", "interrupted seal gone", "torn", "no room",
		"unread start", "unread block", "emptied", "empty start", "came late", "not divisible", "late row", "crowded", "waited"} {
		if sims >= 100 && ops[what] == 0 {
			t.Errorf("no simulation had: %s", what)
		}
	}
}

// sealedThing is a seal that the model gave to the spool.
type sealedThing struct {
	seal  *Seal
	after map[uint64]Source
}

type world struct {
	t      *testing.T
	rng    *rand.Rand
	disk   *vfstest.Disk
	o      Options
	s      *Spool
	counts map[string]int
	odds   []int // running sums

	seals   []sealedThing // number n is at n−1; the last may be open
	open    bool          // the last one is neither acknowledged nor known to be gone
	sources map[uint64]Source
	nextID  uint64

	rows    []storage.Row // the gatherer
	books   []storage.Book
	window  storage.Window
	through uint64
	before  uint64

	tried map[uint64]uint64         // hash of each block number that was given to the store
	store map[uint64]*storage.Block // what the store has
}

func newWorld(t *testing.T, rng *rand.Rand, seed uint64) *world {
	w := &world{
		t: t, rng: rng, disk: vfstest.New(seed), counts: map[string]int{},
		sources: map[uint64]Source{}, tried: map[uint64]uint64{}, store: map[uint64]*storage.Block{},
	}
	w.o = Options{
		Dir: "/s", LogSize: 4 << 10, SizeMax: int64(24<<10 + rng.IntN(400<<10)), Files: w.disk, Logger: silent,
		blockRows: 1 + rng.IntN(8), compactAt: 2 + rng.IntN(3),
	}
	return w
}

func simulate(t *testing.T, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 5))
	w := newWorld(t, rng, seed)
	w.mood()
	w.disk.Trace = *seedFlag != 0
	w.reopen(false)
	for range simOps {
		if t.Failed() {
			return w
		}
		w.step()
	}
	w.end()
	return w
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf(format, args...)
}

func (w *world) step() {
	if w.disk.CrashAt > 0 && w.disk.Steps >= w.disk.CrashAt {
		w.reboot()
		return
	}
	n := w.rng.IntN(w.odds[len(w.odds)-1])
	for i, below := range w.odds {
		if n < below {
			w.do(i)
			return
		}
	}
}

// mood draws how often each operation comes, so that simulations differ in kind.
func (w *world) mood() {
	sum := 0
	for _, usual := range []int{300, 30, 120, 300, 60, 10, 10, 15, 20, 20, 15, 5, 5} {
		sum += 1 + usual*w.rng.IntN(9)/4
		w.odds = append(w.odds, sum)
	}
}

func (w *world) do(what int) {
	switch what {
	case 0:
		w.seal()
	case 1:
		w.retry()
	case 2:
		w.flush(w.rng.IntN(2) == 0)
	case 3:
		w.ship()
	case 4:
		w.compact()
	case 5:
		w.counts["unparked"] += w.s.Unpark()
	case 6:
		w.counts["close"]++
		_ = w.s.Close()
		w.disk.Kill()
		w.reopen(false)
	case 7:
		w.reboot()
	case 8:
		if w.disk.CrashAt == 0 {
			w.disk.CrashAt = w.disk.Steps + 1 + w.rng.IntN(40)
		}
	case 9:
		w.fault()
	case 10:
		if w.disk.CrashAt == 0 {
			w.checkLive()
		}
	case 11:
		w.empty()
	case 12:
		w.wait()
	}
}

// wait does what happens while no cut finds room: minutes that are over are flushed,
// all of them where the spool is crowded, and the store takes what there is. There
// is room again then, although minutes that go on stay in the logs.
func (w *world) wait() {
	if w.disk.CrashAt > 0 {
		return
	}
	w.disk.Fault = nil
	for range 2 { // a seal that found no room is taken when there is some
		w.retry()
		w.flush(false)
		if w.s.Crowded() {
			w.counts["crowded"]++
			w.flush(true)
		}
		w.s.Unpark()
		w.storeAll()
	}
	w.counts["waited"]++
	w.hasRoom("not crowded")
}

// empty brings all there is to a store that works. However full the spool was, it
// takes seals again then.
func (w *world) empty() {
	if w.disk.CrashAt > 0 {
		return
	}
	w.disk.Fault = nil
	for range 2 { // a seal that found no room is taken when there is some
		w.retry()
		w.flush(true)
		w.s.Unpark()
		w.storeAll()
	}
	w.counts["emptied"]++
	w.hasRoom("emptied")
}

// storeAll stores what waits, with no failure.
func (w *world) storeAll() {
	if !w.ask() {
		w.t.Fatal("the spool cannot be compared with the store")
	}
	for {
		b, ok, err := w.s.Oldest()
		if err != nil {
			w.t.Fatal(err)
		}
		if !ok {
			return
		}
		w.give(b)
		w.store[b.Number] = b
		if err := w.s.Stored(b.Number); err != nil {
			w.t.Fatal(err)
		}
	}
}

// hasRoom fails where an empty spool is full.
func (w *world) hasRoom(how string) {
	w.t.Helper()
	if room := w.s.Room(); room < 8 {
		w.fail("a spool that is %s has room for %d rows, with %d bytes of %d in %d logs", how, room, w.s.place.Bytes(), w.o.SizeMax, len(w.disk.Names("log-")))
	}
}

// fault makes some of the next operations fail, of all kinds or a few.
func (w *world) fault() {
	until := w.disk.Steps + 1 + w.rng.IntN(30)
	odds := 1 + w.rng.IntN(3)
	kinds := map[string]bool{}
	for _, kind := range []string{"create", "write", "sync", "resize", "rename", "remove", "syncdir"} {
		kinds[kind] = w.rng.IntN(3) == 0
	}
	all := w.rng.IntN(3) == 0
	w.disk.Fault = func(o vfstest.Op) error {
		if o.Step > until || !all && !kinds[o.What] || w.rng.IntN(odds) > 0 {
			return nil
		}
		return vfstest.ErrFault
	}
}

// errUnread is what a disk says that does not give what it has.
var errUnread = errors.New("input/output error")

// unread makes one of the next reads fail, once.
func (w *world) unread(within int) {
	left := 1 + w.rng.IntN(within)
	w.disk.Unread = func(vfstest.Op) error {
		if left--; left == 0 {
			return errUnread
		}
		return nil
	}
}

// reboot kills the process, or the machine.
func (w *world) reboot() {
	if w.rng.IntN(2) == 0 {
		w.counts["kill"]++
		w.disk.Kill()
		w.reopen(false)
	} else {
		w.counts["power loss"]++
		w.disk.PowerLoss()
		w.reopen(false)
	}
}

// reopen opens the spool and compares what it recovered with the model.
func (w *world) reopen(quiet bool) {
	for try := 0; ; try++ {
		if !quiet && w.rng.IntN(4) == 0 { // a start may be interrupted as well
			w.disk.CrashAt = w.disk.Steps + 1 + w.rng.IntN(12)
		}
		if !quiet && w.rng.IntN(4) == 0 {
			w.unread(40)
		}
		var before *Contents
		if w.disk.Unread == nil {
			before = must(inspect(w.disk, "/s"))
		}
		s, r, err := Open(w.o)
		w.disk.Unread = nil
		if w.disk.CrashAt > 0 && w.disk.Steps >= w.disk.CrashAt {
			if w.rng.IntN(2) == 0 {
				w.disk.PowerLoss()
			} else {
				w.disk.Kill()
			}
			continue
		}
		w.disk.CrashAt = 0
		if errors.Is(err, errUnread) {
			w.counts["unread start"]++
			continue
		}
		if err != nil {
			w.t.Fatalf("open: %v", err)
		}
		w.s = s
		if before != nil {
			w.looksAs(before, r)
		}
		w.recovered(r)
		return
	}
}

// looksAs compares what whoever looked into the directory before a start was told with
// what the start finds.
func (w *world) looksAs(c *Contents, r *Recovered) {
	var events uint64
	for _, row := range rowsOf(r) {
		events += row.Events() // each row of a seal is one
	}
	if seals, rows, _ := c.Sealed(); uint64(rows) != events || seals > r.Seals {
		w.fail("%d rows of %d seals were sealed before the start, which finds %d of %d", rows, seals, events, r.Seals)
	}
	if n := len(c.Queue()); n != r.Segments {
		w.fail("%d segments waited before the start, which finds %d", n, r.Segments)
	}
	if c.Damaged() {
		w.fail("a crash damaged what was there: %+v", c)
	}
}

func (w *world) recovered(r *Recovered) {
	if len(r.SetAside) > 0 {
		w.fail("a crash damaged %v", r.SetAside)
	}
	if r.Torn > 0 {
		w.counts["torn"]++
	}
	acked := uint64(len(w.seals))
	if w.open {
		acked--
	}
	switch {
	case r.Last < acked:
		w.fail("seal %d was acknowledged, the last one recovered is %d", acked, r.Last)
		return
	case r.Last > uint64(len(w.seals)):
		w.fail("seal %d was never given, the last one is %d", r.Last, len(w.seals))
		return
	}
	if w.open {
		w.counts["interrupted seal "+map[bool]string{true: "kept", false: "gone"}[r.Last > acked]]++
	}
	w.seals, w.open = w.seals[:r.Last], false
	w.sources = map[uint64]Source{}
	if r.Last > 0 {
		w.sources = maps.Clone(w.seals[r.Last-1].after)
	}
	got := map[uint64]Source{}
	for _, s := range r.Sources {
		got[s.ID] = s
	}
	if len(got) != len(r.Sources) || !maps.Equal(got, w.sources) {
		w.fail("sources after seal %d are\n%v, want\n%v", r.Last, got, w.sources)
	}
	w.rows, w.books, w.window, w.through, w.before = rowsOf(r), r.Books, r.Window, r.Last, r.Before
	for number := range w.tried {
		if number > w.s.LastNumber() {
			w.fail("block %d was given to the store, the last number is %d", number, w.s.LastNumber())
		}
	}
	w.checkSums("after a start")
	if len(rowsOf(r))+len(r.Books)+r.Segments == 0 && w.disk.Fault == nil && w.disk.CrashAt == 0 {
		w.counts["empty start"]++
		w.hasRoom("empty at the start")
	}
}

type simKey struct {
	stream        uint16
	minute        uint32
	content, user uint64
}

// simSpan names a span.
type simSpan struct {
	stream uint16
	source uint64
	met    int64
}

type simSum struct{ dwell, events uint64 }

type simBook struct {
	sent, accepted uint64
	lost           int64
}

// checkSums adds up what was sealed, and what is in the store, in segments and in
// the gatherer.
func (w *world) checkSums(when string) {
	w.t.Helper()
	want, got := map[simKey]simSum{}, map[simKey]simSum{}
	wantSent, gotSent := map[storage.Account]simBook{}, map[storage.Account]simBook{}
	inBlocks := map[uint16]int64{} // events of rows less those accepted by books
	wantSpans, gotSpans := map[simSpan]storage.Span{}, map[simSpan]storage.Span{}
	span := func(to map[simSpan]storage.Span, stream uint16, s storage.Span) {
		if k := (simSpan{stream, s.Source, s.Met}); s.Seal >= to[k].Seal {
			to[k] = s
		}
	}
	add := func(to map[simKey]simSum, r storage.Row) {
		k := simKey{r.Stream, r.Minute, r.Content, r.User}
		sum := to[k]
		sum.dwell += r.Dwell
		sum.events += r.Events()
		to[k] = sum
	}
	book := func(to map[storage.Account]simBook, b *storage.Book) {
		sum := to[b.Account()]
		to[b.Account()] = simBook{sum.sent + b.Counts[storage.Sent], sum.accepted + b.Counts[storage.Accepted], sum.lost + b.Net(storage.Lost)}
	}
	for i := range w.seals {
		if i == len(w.seals)-1 && w.open {
			break
		}
		for _, r := range w.seals[i].seal.Rows {
			add(want, r)
		}
		for _, b := range w.seals[i].seal.Books {
			book(wantSent, &b)
			for _, s := range b.Spans {
				s.Seal = uint64(i + 1)
				span(wantSpans, b.Stream, s)
			}
		}
	}
	count := func(b *storage.Block) {
		for i := range b.Rows.Len() {
			row := b.Rows.Row(i)
			add(got, row)
			inBlocks[row.Stream] += int64(row.Events())
		}
		for _, k := range b.Books {
			book(gotSent, &k)
			inBlocks[k.Stream] -= int64(k.Counts[storage.Accepted])
			if int64(k.Counts[storage.Sent]) < 0 || int64(k.Counts[storage.Accepted]) < 0 {
				w.fail("%s: block %d has a book %+v", when, b.Number, k)
			}
			for _, s := range k.Spans {
				span(gotSpans, k.Stream, s)
			}
		}
	}
	for _, b := range w.store {
		count(b)
	}
	for _, r := range w.s.queue {
		for i := range r.Blocks {
			b, err := w.s.load(r, i, storage.Columns{})
			if err != nil {
				w.fail("block %d: %v", r.Name.First+uint64(i), err)
				return
			}
			w.same(b)
			if w.store[b.Number] == nil {
				count(b)
			}
		}
	}
	for _, r := range w.rows {
		add(got, r)
	}
	for stream, n := range inBlocks {
		if n != 0 {
			w.fail("%s: the rows of stream %d in blocks are %d events more than the books there say", when, stream, n)
		}
	}
	for _, b := range w.books {
		book(gotSent, &b)
		for _, s := range b.Spans {
			span(gotSpans, b.Stream, s)
		}
	}
	for k, sum := range want {
		if got[k] != sum {
			w.fail("%s: key %v has %v, %v were sealed", when, k, got[k], sum)
			return
		}
	}
	if len(got) != len(want) {
		w.fail("%s: %d keys, want %d", when, len(got), len(want))
	}
	if !maps.Equal(gotSent, wantSent) {
		w.fail("%s: books have %v, want %v", when, gotSent, wantSent)
	}
	if !maps.Equal(gotSpans, wantSpans) {
		w.fail("%s: spans are %v, want %v", when, gotSpans, wantSpans)
	}
}

// same fails where the number of a block was tried with other bytes.
func (w *world) same(b *storage.Block) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%+v", *b)
	sum, ok := w.tried[b.Number]
	if ok && sum != h.Sum64() {
		w.fail("number %d was given to different bytes", b.Number)
	}
}

// give shows a block to the store.
func (w *world) give(b *storage.Block) {
	w.same(b)
	h := fnv.New64a()
	fmt.Fprintf(h, "%+v", *b)
	w.tried[b.Number] = h.Sum64()
}

// ask compares with the store once a process, before anything goes there.
func (w *world) ask() bool {
	if w.s.checked {
		return true
	}
	var last uint64
	for number := range w.store {
		last = max(last, number)
	}
	err := w.s.CheckStore(last)
	if err != nil && strings.Contains(err.Error(), "older copy") {
		w.fail("%v", err)
	}
	return err == nil
}

// storeOne stores the oldest block.
func (w *world) storeOne() {
	if !w.ask() {
		return
	}
	b, ok, err := w.s.Oldest()
	if err != nil || !ok {
		return
	}
	w.give(b)
	w.store[b.Number] = b
	if err := w.s.Stored(b.Number); err != nil {
		w.fail("%v", err)
	}
}

// checkLive compares while the spool is open.
func (w *world) checkLive() {
	w.counts["check"]++
	if w.open {
		return // it may be in or not: the next start will tell
	}
	w.checkSums("while open")
}

func (w *world) seal() {
	room := w.s.Room()
	if room < 8 {
		w.counts["no room"]++
		if w.rng.IntN(3) > 0 {
			return
		}
	}
	number := len(w.seals)
	seal := &Seal{Window: storage.Window{Start: int64(number+1) * 1000, End: int64(number+2) * 1000}}
	if room >= 8 {
		for range w.rng.IntN(7) {
			minute := uint32(20000*day + w.rng.IntN(2)*day + w.rng.IntN(4)*60)
			if w.through > 0 && uint64(minute) < w.before {
				w.counts["late row"]++
			}
			seal.Rows = append(seal.Rows, storage.Row{
				Stream: uint16(w.rng.IntN(2)), Minute: minute, Content: w.rng.Uint64N(3), User: w.rng.Uint64N(2),
				Opens: 1, Dwell: w.rng.Uint64N(1 << 40), First: 1, Last: 2,
			})
		}
	}
	if w.rng.IntN(2) == 0 {
		stream := w.rng.IntN(3)
		seal.Books = []storage.Book{{Stream: uint16(stream), Class: storage.Class(stream % 2), Counts: storage.Counts{storage.Sent: 1 + w.rng.Uint64N(100)}}}
		seal.Books[0].Counts[storage.RefusedFrames.Of(wire.RefusedMagic)] = 1
		for source := range w.rng.Uint64N(3) {
			seal.Books[0].Spans = append(seal.Books[0].Spans, storage.Span{Source: source, Met: w.rng.Int64N(2), End: w.rng.Uint64()})
		}
	}
	for _, r := range seal.Rows { // whoever counts an event accounts for it
		b := storage.Book{Stream: r.Stream, Class: storage.Class(r.Stream % 2), Counts: storage.Counts{storage.Sent: 1, storage.Accepted: 1}}
		if w.rng.IntN(4) == 0 { // an earlier book has it as sent, and lost
			w.counts["came late"]++
			b.Counts[storage.Sent], b.Counts[storage.Found] = 0, 1
		}
		seal.Books = storage.AddBooks(seal.Books, []storage.Book{b})
	}
	after := maps.Clone(w.sources)
	if w.open {
		after = maps.Clone(w.seals[len(w.seals)-1].after)
	}
	ids := slices.Sorted(maps.Keys(after))
	for _, id := range ids {
		switch w.rng.IntN(12) {
		case 0:
			seal.Forgotten = append(seal.Forgotten, id)
			delete(after, id)
		case 1, 2, 3:
			source := after[id]
			source.Next++
			source.End += w.rng.Uint64N(10)
			source.LastSeen = seal.Window.End
			after[id] = source
			seal.Sources = append(seal.Sources, source)
		}
	}
	if len(after) < 6 && w.rng.IntN(3) == 0 {
		w.nextID++
		source := Source{ID: w.nextID, Next: 1, Stream: 3, Session: w.rng.IntN(2) == 0}
		after[source.ID] = source
		seal.Sources = append(seal.Sources, source)
	}
	given := uint64(len(w.seals) + 1)
	if w.open { // another is held
		if err := w.s.Seal(seal, func(uint64) { w.fail("a seal was taken that is behind one that is not written") }); !errors.Is(err, ErrPending) {
			w.fail("a seal behind one that is not written: %v", err)
		}
		return
	}
	w.seals = append(w.seals, sealedThing{seal, after})
	w.open = true
	err := w.s.Seal(seal, func(n uint64) {
		if n != given || !w.open {
			w.fail("seal %d got number %d", given, n)
		}
		w.acknowledge()
	})
	if (err == nil) == w.open {
		w.fail("seal %d: acknowledged %t, %v", given, !w.open, err)
	}
	if err != nil {
		w.counts["seal failed"]++
		if w.s.Room() != 0 {
			w.fail("room with a pending seal")
		}
		return
	}
	w.counts["seal"]++
}

// acknowledge takes the last seal for durable.
func (w *world) acknowledge() {
	last := w.seals[len(w.seals)-1]
	w.open = false
	w.sources = maps.Clone(last.after)
	w.rows = append(w.rows, last.seal.Rows...)
	for _, b := range last.seal.Books { // as the gatherer does
		for i := range b.Spans {
			b.Spans[i].Seal = uint64(len(w.seals))
		}
	}
	w.books = storage.AddBooks(w.books, last.seal.Books)
	w.window = w.window.With(last.seal.Window)
	w.through = uint64(len(w.seals))
}

func (w *world) retry() {
	waits := w.open
	err := w.s.Retry()
	if waits && (err == nil) == w.open {
		w.fail("a retry: acknowledged %t, %v", !w.open, err)
	}
	if waits && !w.open {
		w.counts["retried"]++
	}
}

// flush makes blocks of all rows, or of those of minutes before some other, as
// pipeline.Gatherer does.
func (w *world) flush(all bool) {
	m := storage.Mark{Through: w.through, Before: storage.All}
	if !all {
		m.Before = uint64(20000*day + w.rng.IntN(3)*day/2 + w.rng.IntN(4)*60)
		if m.Before < w.before {
			m.Before = storage.All
		}
	}
	for _, b := range w.books {
		var open uint64
		for _, r := range w.rows {
			if r.Stream == b.Stream && uint64(r.Minute) >= m.Before {
				open += r.Events()
			}
		}
		if min(b.Counts[storage.Sent], b.Counts[storage.Accepted]) < open {
			w.counts["not divisible"]++
			m.Before = storage.All
			break
		}
	}
	var rows, later []storage.Row
	open := map[uint16]uint64{}
	for _, r := range w.rows {
		if uint64(r.Minute) < m.Before {
			rows = append(rows, r)
			continue
		}
		later = append(later, r)
		open[r.Stream] += r.Events()
	}
	var books, stay []storage.Book
	for _, b := range w.books {
		n := open[b.Stream]
		if n > 0 {
			stay = append(stay, storage.Book{Stream: b.Stream, Class: b.Class, Counts: storage.Counts{storage.Sent: n, storage.Accepted: n}})
		}
		b.Counts[storage.Sent] -= n
		b.Counts[storage.Accepted] -= n
		if b.Counts[storage.Sent] > 0 || b.Counts[storage.Accepted] > 0 || b.Net(storage.Lost) != 0 {
			books = append(books, b)
		}
	}
	if err := w.s.Flush(minutesOf(rows), books, w.window, m); err != nil {
		w.counts["flush failed"]++
		return
	}
	w.counts["flush"]++
	w.rows, w.books, w.window, w.before = later, stay, storage.Window{}, m.Before
	if m.Before == storage.All {
		w.before = 0
	} else if len(later) > 0 && len(rows) > 0 {
		w.counts["flush of some minutes"]++
	}
}

func (w *world) ship() {
	if !w.ask() {
		return
	}
	if w.rng.IntN(8) == 0 {
		w.unread(4)
	}
	b, ok, err := w.s.Oldest()
	w.disk.Unread = nil
	if errors.Is(err, errUnread) {
		w.counts["unread block"]++
	}
	if err != nil || !ok {
		return
	}
	if b.Rows.Len() > w.o.blockRows {
		w.fail("block %d has %d rows", b.Number, b.Rows.Len())
	}
	for i := range b.Rows.Len() {
		r := b.Rows.Row(i)
		if r.Day() != b.Day {
			w.fail("block %d of day %d has a row of day %d", b.Number, b.Day, r.Day())
		}
		if i > 0 {
			if before := b.Rows.Row(i - 1); storage.CompareKeys(&before, &r) >= 0 {
				w.fail("block %d is not in order", b.Number)
			}
		}
	}
	w.give(b)
	switch n := w.rng.IntN(10); {
	case n < 6:
		w.store[b.Number] = b
		w.counts["stored"]++
		if err := w.s.Stored(b.Number); err != nil {
			w.fail("%v", err)
		}
	case n < 7:
		w.store[b.Number] = b // the answer was lost
		w.counts["unsure"]++
	case n < 9:
		w.counts["retry"]++
	default:
		w.counts["parked"]++
		w.s.Park(b.Number)
	}
}

func (w *world) compact() {
	runs := len(w.s.queue)
	if w.rng.IntN(4) == 0 {
		w.unread(20)
	}
	err := w.s.Compact(w.t.Context())
	w.disk.Unread = nil
	if err == nil && len(w.s.queue) < runs {
		w.counts["compact"]++
	}
}

// end brings everything to the store, without failures, and looks at what is
// left.
func (w *world) end() {
	w.disk.Kill()
	w.reopen(true)
	w.flush(true)
	w.storeAll()
	w.checkSums("at the end")
	if len(w.s.queue) > 0 || len(w.rows) > 0 {
		w.fail("%d segments and %d rows are left", len(w.s.queue), len(w.rows))
	}
	entries, _ := w.disk.List("")
	logs := 0
	var bytes int64
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name, "log-"):
			logs++
			bytes += e.Size
		case e.Name != "reserve" && e.Name != "collector":
			w.fail("%s is left", e.Name)
		}
	}
	if logs != 1 {
		w.fail("%d log files are left", logs)
	}
	if used := w.s.place.Bytes(); used < bytes || used > bytes+64 {
		w.fail("%d bytes are accounted for, the log has %d", used, bytes)
	}
	if err := w.s.Close(); err != nil {
		w.fail("%v", err)
	}
	s, r, err := Open(w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Segments != 0 || len(rowsOf(r)) != 0 || !reflect.DeepEqual(s.LastNumber(), w.s.LastNumber()) {
		w.fail("after the end: %+v", r)
	}
	_ = s.Close()
}
