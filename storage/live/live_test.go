package live

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/lectern/lectern/storage"
)

const start = int64(1_700_000_000_000)

// fed is Readers, and the rows that they follow.
type fed struct {
	*Readers
	minutes *storage.Minutes
}

func follow(o Options) *fed {
	f := &fed{New(o), storage.NewMinutes()}
	f.minutes.Watch(f.Readers, storage.Window{})
	return f
}

// cut adds what a cut brings, and has minutes leave that are over, as a flush does.
func (f *fed) cut(w storage.Window, rows []storage.Row) {
	f.minutes.AddCut(w, rows)
	f.minutes.Take(uint64(max(0, w.End/1000-5) / 60 * 60)).Free()
}

// add adds rows of one second that begins so many seconds after start.
func add(f *fed, second int64, rows ...storage.Row) {
	begin := start + second*1000
	for i := range rows {
		rows[i].First, rows[i].Last = begin+500, begin+500
		rows[i].Minute = uint32(begin / 60_000 * 60)
	}
	f.cut(storage.Window{Start: begin, End: begin + 1000}, rows)
}

func streamOf(t *testing.T, r *fed, number uint16) Stream {
	t.Helper()
	all := r.Top(1000, number).Streams
	if len(all) != 1 || all[0].Number != number {
		t.Fatalf("stream %d is not there", number)
	}
	return all[0]
}

// A flood of one stream fills its part of the table, and others have theirs; what
// finds no room is said, and its opens count all the same.
func TestFullTableIsShared(t *testing.T) {
	const most = 9000
	r := follow(Options{ReadersMax: most, ContentsMax: 100, Named: func(s uint16) bool { return s == 7 }})
	for i := range uint64(most) {
		add(r, 0, storage.Row{Stream: 100 + uint16(i%50), Content: 1, User: i, Opens: 1})
	}
	size := r.Size()
	if size.Readers < most/9*8-2 || size.Readers > most/9*8+2 {
		t.Errorf("strangers have %d of %d slots, want eight times what is free", size.Readers, most)
	}
	opens, coarse := uint64(0), uint64(0)
	for i := range uint16(50) {
		s := streamOf(t, r, 100+i)
		opens, coarse = opens+s.Opens, coarse+s.Coarse
	}
	if want := uint64(most - size.Readers/2); opens != most || coarse != want || size.Unplaced != want {
		t.Errorf("%d opens, %d coarse, %d unplaced; want %d, %d, %d", opens, coarse, size.Unplaced, most, want, want)
	}
	for i := range uint64(300) {
		add(r, 0, storage.Row{Stream: 7, Content: i % 3, User: i, Opens: 1})
	}
	if s := streamOf(t, r, 7); s.Minute != 300 || s.Coarse != 0 || s.Contents[0].Minute != 100 {
		t.Errorf("a named stream has %d readers, %d events coarse: strangers took its room", s.Minute, s.Coarse)
	}
}

// Contents beyond their limit are in their stream's figures alone; one that nobody
// reads any more makes room.
func TestContentsMakeRoom(t *testing.T) {
	r := follow(Options{ReadersMax: 1 << 16, ContentsMax: 90})
	for i := range uint64(200) {
		add(r, 0, storage.Row{Stream: 1, Content: i, User: i, Opens: 1})
	}
	s := streamOf(t, r, 1)
	if len(s.Contents) != 80 || s.Minute != 200 || s.Opens != 200 || s.Coarse != 120 {
		t.Errorf("%d contents, %d readers, %d opens, %d events coarse; want 80, 200, 200, 120", len(s.Contents), s.Minute, s.Opens, s.Coarse)
	}
	add(r, 301)
	add(r, 302, storage.Row{Stream: 1, Content: 1000, User: 1, Opens: 1})
	if s = streamOf(t, r, 1); s.Coarse != 0 || s.Contents[0].ID != 1000 {
		t.Errorf("a new content found no room where nobody reads the others: %+v", s)
	}
}

// Each event of a reader for whom there is no room is said, however many he has in a
// minute, until there is room when he begins another.
func TestOutsideIsSaidOfEachEvent(t *testing.T) {
	r := follow(Options{ReadersMax: 90, ContentsMax: 100})
	said := uint64(0)
	cut := func(second int64, from, to, outside uint64) {
		t.Helper()
		for i := from; i < to; i++ {
			row := storage.Row{Stream: 1, Content: i % 3, User: i, Reads: 1}
			other := row // another loop's, in the same cut
			other.Saves = 1
			add(r, second, row, other)
		}
		said += outside
		if got := r.Size().Unplaced; got != said {
			t.Errorf("second %d: %d events unplaced, want %d", second, got, said)
		}
	}
	const each = 3 * 60 // events of 60 readers
	for second := range int64(3) {
		cut(second, 0, 100, each) // 40 have room
	}
	cut(299, 40, 100, each)
	cut(303, 40, 100, each) // there would be room, but their minute says that there is none
	if s := streamOf(t, r, 1); s.Minute != 0 || s.Five != 0 {
		t.Errorf("%d and %d readers are left, want none", s.Minute, s.Five)
	}
	cut(360, 40, 100, each/3)
	if s := streamOf(t, r, 1); s.Minute != 40 || s.Coarse != 3*20 {
		t.Errorf("%d readers, %d events coarse; want 40, 60", s.Minute, s.Coarse)
	}
}

// Nothing of a reader outside is unsaid because he came with an event that was dated ahead,
// nor is his stream forgotten when nobody of it has room.
func TestOutsideIsSaidOfWhoCameAhead(t *testing.T) {
	r := follow(Options{ReadersMax: 2, ContentsMax: 100})
	add(r, 38, storage.Row{Stream: 1, Content: 1, User: 1, Reads: 1}) // all the room
	row := storage.Row{Stream: 2, Content: 1, User: 2, Opens: 1, First: start + 40_000, Last: start + 40_000}
	row.Minute = uint32(row.First / 60_000 * 60)
	r.cut(storage.Window{Start: start + 39_000, End: start + 39_900}, []storage.Row{row})
	for second := int64(40); second < 50; second++ {
		add(r, second, storage.Row{Stream: 2, Content: 1, User: 2, Reads: 1})
	}
	if s := streamOf(t, r, 2); r.Size().Unplaced != 11 || s.Coarse != 11 || s.Opens != 1 {
		t.Errorf("%d events unplaced, %d coarse, %d opens; want 11, 11, 1", r.Size().Unplaced, s.Coarse, s.Opens)
	}
}

// A stream of which nobody has room is there as long as that is to be seen.
func TestStreamOutsideStays(t *testing.T) {
	r := follow(Options{ReadersMax: 2, ContentsMax: 100})
	add(r, 38, storage.Row{Stream: 1, Content: 1, User: 1, Reads: 1})
	for second := int64(0); second < 10; second++ {
		at := start + 40_100 + second*1000 // the first cut brings it, and another minute
		row := storage.Row{Stream: 2, Content: 1, User: 2, Reads: 1, First: at, Last: at, Minute: uint32(at / 60_000 * 60)}
		r.cut(storage.Window{Start: at - 1000, End: at + 500}, []storage.Row{row})
	}
	if s := streamOf(t, r, 2); s.Coarse != 10 {
		t.Errorf("%d events coarse, want 10", s.Coarse)
	}
	add(r, 200)
	add(r, 201)
	if size := r.Size(); size.Streams != 1 {
		t.Errorf("%d streams are left, want 1", size.Streams)
	}
}

// A reader for whom there was no room, and then was, by rows that stand for other numbers
// of events, stays as long as he reads.
func TestOutsideInOneTableAlone(t *testing.T) {
	r := follow(Options{ReadersMax: 2, ContentsMax: 100})
	add(r, 0, storage.Row{Stream: 1, Content: 1, User: 1, Reads: 1})
	add(r, 290, storage.Row{Stream: 1, Content: 1, User: 2, Reads: 1})
	add(r, 301) // user 1 goes
	add(r, 302, storage.Row{Stream: 1, Content: 1, User: 2, Reads: 1, Skipped: 1})
	add(r, 330, storage.Row{Stream: 1, Content: 1, User: 2, Reads: 1})
	for second := int64(331); second < 380; second++ {
		add(r, second)
	}
	if s := streamOf(t, r, 1); s.Minute != 1 {
		t.Errorf("%d readers, want 1", s.Minute)
	}
}

// Who reads contents for which there is no room is counted in the stream as long as he
// reads, though he is not looked for again in each minute.
func TestNamelessStay(t *testing.T) {
	r := follow(Options{ReadersMax: 1 << 16, ContentsMax: 90})
	for second := int64(0); second < 200; second += 5 {
		for i := range uint64(200) {
			add(r, second, storage.Row{Stream: 1, Content: i, User: i, Reads: 1})
		}
		if s := streamOf(t, r, 1); s.Minute != 200 || len(s.Contents) != 80 {
			t.Fatalf("second %d: %d readers, %d contents; want 200, 80", second, s.Minute, len(s.Contents))
		}
	}
	for _, after := range []struct{ seconds, minute uint64 }{{40, 200}, {58, 200}, {59, 0}} {
		add(r, 195+int64(after.seconds))
		if s := streamOf(t, r, 1); s.Minute != after.minute || s.Five != 200 {
			t.Errorf("%d and %d readers are left after %d s, want %d and 200", s.Minute, s.Five, after.seconds, after.minute)
		}
	}
	add(r, 195+300)
	if size := r.Size(); size.Readers != 0 {
		t.Errorf("%d readers are left after five minutes", size.Readers)
	}
}

// Coarse rows have no reader, and are said.
func TestCoarseRows(t *testing.T) {
	r := follow(Options{ReadersMax: 1000, ContentsMax: 100})
	add(r, 0,
		storage.Row{Stream: 1, Content: 5, Opens: 3, Reads: 4, Coarse: storage.CoarseUsers},
		storage.Row{Stream: 1, Opens: 2, Coarse: storage.CoarseContents},
		storage.Row{Stream: 1, Content: 5, User: 9, Opens: 1, Skipped: 9})
	s := streamOf(t, r, 1)
	if s.Minute != 1 || s.Coarse != 9 || s.Opens != 15 {
		t.Errorf("%d readers, %d events coarse, %d opens; want 1, 9, 15", s.Minute, s.Coarse, s.Opens)
	}
	if c := s.Contents[0]; c.ID != 5 || c.Minute != 1 || c.Opens != 13 {
		t.Errorf("the content has %d readers and %d opens, want 1 and 13", c.Minute, c.Opens)
	}
}

// Who is shown a headline reads nothing by that.
func TestHeadlinesAreNoReading(t *testing.T) {
	r := follow(Options{ReadersMax: 1000, ContentsMax: 100})
	add(r, 0, storage.Row{Stream: 1, Content: 5, User: 9, Variant: 1, Impressions: 3, Clicks: 1}, storage.Row{Stream: 1, Content: 6, User: 8, Opens: 1})
	if s := streamOf(t, r, 1); s.Minute != 1 || len(s.Contents) != 1 || s.Contents[0].ID != 6 {
		t.Errorf("%d readers, contents %+v; want one reader of content 6", s.Minute, s.Contents)
	}
}

// Streams without a name are a bounded number; those with one always find a place.
func TestStreamsAreBounded(t *testing.T) {
	r := follow(Options{ReadersMax: 1 << 16, ContentsMax: 1 << 14, Named: func(s uint16) bool { return s >= 60_000 }})
	for i := range uint64(3000) {
		add(r, 0, storage.Row{Stream: uint16(i), Content: 1, User: 1, Opens: 1})
	}
	add(r, 0, storage.Row{Stream: 60_001, Content: 1, User: 1, Opens: 1})
	if size := r.Size(); size.Streams != streamsMax+1 || size.Unplaced != 3000-streamsMax {
		t.Errorf("%+v", size)
	}
	if s := streamOf(t, r, 60_001); s.Minute != 1 {
		t.Errorf("%+v", s)
	}
}

// A reader who comes back again and again leaves nothing behind on the wheel.
func TestWheelIsBounded(t *testing.T) {
	r := follow(Options{ReadersMax: 1000, ContentsMax: 100})
	for i := range int64(2000) {
		add(r, i*61, storage.Row{Stream: 1, Content: 1, User: 1, Reads: 1})
		n := 0
		for _, l := range r.wheel {
			n += len(l)
		}
		if n > 5 {
			t.Fatalf("one reader stands %d times on the wheel", n)
		}
	}
}

// A crowd that comes in another second each minute leaves no memory behind in all of them.
func TestWheelGivesMemoryBack(t *testing.T) {
	const readers = 20_000
	r := follow(Options{ReadersMax: 1 << 17, ContentsMax: 100})
	rows := make([]storage.Row, readers)
	begin := start/60_000*60 - start/1000 // of a minute, from start on
	for minute := range int64(60) {
		for i := range rows {
			rows[i] = storage.Row{Stream: 1, Content: 1, User: uint64(i), Reads: 1}
		}
		add(r, begin+minute*60+60)
		add(r, begin+minute*60+60+minute, rows...)
		places := 0
		for _, l := range r.wheel {
			places += cap(l)
		}
		if most := (2*r.table.used + minuteSeconds*wheelSpare) + r.table.used*5/4; places > most {
			t.Fatalf("minute %d: lists for %d slots, of which %d are in use; %d at the most", minute, places, r.table.used, most)
		}
	}
}

// A clock that is set back by more than what is known begins anew; by less, nobody is
// counted twice or lost.
func TestClockSetBack(t *testing.T) {
	r := follow(Options{ReadersMax: 1000, ContentsMax: 100})
	row := storage.Row{Stream: 1, Content: 1, User: 1, Opens: 1}
	add(r, 1000, row)
	add(r, 900, row)
	if s := streamOf(t, r, 1); s.Minute != 1 || s.Minutes[MinutesKept-1]+s.Minutes[MinutesKept-2]+s.Minutes[MinutesKept-3] != 2 {
		t.Errorf("%+v", s)
	}
	add(r, 10, row)
	if s := streamOf(t, r, 1); s.Minute != 1 || s.Opens != 1 {
		t.Errorf("%+v", s)
	}
	if f := r.Top(1); f.Since != start+10_000 || f.Time != start+11_000 {
		t.Errorf("the figures are of %d to %d", f.Since-start, f.Time-start)
	}
}

// A crowd that comes and goes leaves as little memory taken as there was.
func TestMemoryIsGivenBack(t *testing.T) {
	r := follow(Options{ReadersMax: 1 << 20, ContentsMax: 100})
	for i := range uint64(100_000) {
		add(r, 0, storage.Row{Stream: 1, Content: i % 10, User: i, Reads: 1})
	}
	slots, wholes := len(r.table.slots), len(r.wholes.list)
	add(r, 250, storage.Row{Stream: 1, Content: 3, User: 99, Reads: 1}, storage.Row{Stream: 1, Content: 4, User: 99, Reads: 1})
	for i := range int64(18) {
		add(r, 300+14*i)
	}
	if left, wholesLeft := len(r.table.slots), len(r.wholes.list); left > 1<<15 || wholesLeft > 1<<15 || slots < 100_000 || wholes < 100_000 {
		t.Errorf("%d and %d slots for a crowd, %d and %d when it is gone", slots, wholes, left, wholesLeft)
	}
	// Who is left leaves in his time, and is found until then.
	if s := streamOf(t, r, 1); s.Five != 1 || len(s.Contents) < 2 || s.Contents[0].Five+s.Contents[1].Five != 2 {
		t.Errorf("%+v", s)
	}
	add(r, 550, storage.Row{Stream: 1, Content: 3, User: 99, Reads: 1})
	if s := streamOf(t, r, 1); s.Minute != 1 || s.Five != 1 || s.Contents[0].ID != 3 || s.Contents[1].Five != 0 {
		t.Errorf("%+v", s)
	}
	add(r, 900)
	if size := r.Size(); size.Readers != 0 {
		t.Errorf("%+v", size)
	}
}

// Adding allocates nothing where everybody is known.
func TestAddAllocatesNothing(t *testing.T) {
	r := follow(Options{ReadersMax: 1 << 16, ContentsMax: 100})
	rows := make([]storage.Row, 1000)
	for i := range rows {
		rows[i] = storage.Row{Stream: 1, Content: uint64(i % 7), User: uint64(i), Opens: uint32(i % 2), Reads: 1}
	}
	second := int64(0)
	next := func() {
		w := storage.Window{Start: start + second*1000, End: start + second*1000 + 1000}
		for i := range rows {
			rows[i].First, rows[i].Last, rows[i].Minute = w.Start, w.Start, uint32(w.Start/60_000*60)
		}
		r.minutes.AddCut(w, rows)
		second++
	}
	for second < 1100 || (start/1000+second)%60 != 5 { // until every list of the wheel has been made, and the table of a minute
		next()
	}
	if n := testing.AllocsPerRun(50, next); n > 0.5 {
		t.Errorf("%v allocations a cut", n)
	}
}

// Readers of a minute that has not begun are seen when it begins, however many they are.
func TestReadersOfTheNextMinute(t *testing.T) {
	const readers = 100_000
	r := follow(Options{ReadersMax: 1 << 20, ContentsMax: 100})
	begin := start/60_000*60_000 + 50_000
	rows := make([]storage.Row, readers)
	for i := range rows {
		rows[i] = storage.Row{Stream: 1, Content: uint64(i % 7), User: uint64(i), Opens: 1, First: begin + 11_000, Last: begin + 11_000, Minute: uint32(begin/60_000*60 + 60)}
	}
	r.cut(storage.Window{Start: begin, End: begin + 1000}, rows)
	if s := streamOf(t, r, 1); s.Minute != 0 || s.Opens != readers {
		t.Errorf("%d readers and %d opens before their minute, want 0 and %d", s.Minute, s.Opens, readers)
	}
	r.cut(storage.Window{Start: begin + 1000, End: begin + 12_000}, nil)
	if s := streamOf(t, r, 1); s.Minute != readers || s.Opens != readers {
		t.Errorf("%d readers and %d opens in their minute, want %d each", s.Minute, s.Opens, readers)
	}
}

// What lectern check says is what the slices may have.
func TestBytes(t *testing.T) {
	o := Options{ReadersMax: 3_000_000, ContentsMax: 100_000}
	if got := o.Bytes() >> 20; got < 150 || got > 230 {
		t.Errorf("%d MiB", got)
	}
	if unsafe.Sizeof(slot{}) != 16 || unsafe.Sizeof(whole{}) != 16 || slotsFor(3_000_000) != 1<<22 {
		t.Errorf("a slot has %d bytes, a reader of a stream %d, three million readers %d slots", unsafe.Sizeof(slot{}), unsafe.Sizeof(whole{}), slotsFor(3_000_000))
	}
}

// sampleOf is what Readers say of a set of users.
func sampleOf(users []uint64, max int) Sample {
	var hashes []uint64
	for _, u := range users {
		hashes = append(hashes, readerHash(u))
	}
	slices.Sort(hashes)
	return Sample{Count: uint64(len(users)), Hashes: hashes[:min(len(hashes), max)]}
}

// Small sets are united exactly; of large ones the error is what it is said to be.
func TestUnion(t *testing.T) {
	seed := seedOf(t)
	random := rand.New(rand.NewPCG(seed, 2))
	squares, runs := 0.0, 0
	for run := range 400 {
		users, nodes := 1+random.IntN(2000), 1+random.IntN(5)
		if run%4 == 0 {
			users = 20_000 + random.IntN(20_000)
		}
		sticks := random.Float64() // how likely a reader is to be with a node
		sets, all := make([]Sample, nodes), map[uint64]bool{}
		with := make([][]uint64, nodes)
		for range users {
			u := random.Uint64()
			for n := range nodes {
				if random.Float64() < sticks {
					with[n], all[u] = append(with[n], u), true
				}
			}
		}
		large := false
		for n := range sets {
			sets[n] = sampleOf(with[n], ContentSampleMax)
			large = large || len(with[n]) > ContentSampleMax
		}
		count, failure := Union(sets)
		if !large && (count != uint64(len(all)) || failure != 0) {
			t.Fatalf("%d nodes, %d readers: %d with an error of %v", nodes, len(all), count, failure)
		}
		if large && failure > 0 {
			off := (float64(count)/float64(len(all)) - 1) / failure
			if math.Abs(off) > 6 {
				t.Errorf("%d nodes, %d readers: %d, which is off by %.1f times the error %v", nodes, len(all), count, off, failure)
			}
			squares, runs = squares+off*off, runs+1
		}
	}
	if off := math.Sqrt(squares / float64(runs)); off > 1.5 || off < 0.3 {
		t.Errorf("the error that is said is off by %.2f on average over %d runs", off, runs)
	}
}

// Samples have exactly the readers of the last minute and of five.
func TestSample(t *testing.T) {
	r := follow(Options{ReadersMax: 1 << 16, ContentsMax: 100})
	old, recent := []uint64{}, []uint64{}
	for i := range uint64(3000) {
		add(r, 0, storage.Row{Stream: 1, Content: 1, User: i, Reads: 1})
		if old = append(old, i); i%3 == 0 {
			add(r, 100, storage.Row{Stream: 1, Content: 2 - i%2, User: i, Reads: 1})
			if i%2 == 1 {
				recent = append(recent, i)
			}
		}
	}
	contents, whole := r.Sample([]Key{{1, 1}, {1, 3}, {1, 2}}, []uint16{9, 1}, ContentSampleMax, StreamSampleMax)
	equal := func(what string, got Sample, users []uint64, max int) {
		t.Helper()
		// A set that is large may have a sample that is somewhat smaller than it could be.
		want := sampleOf(users, max)
		if n := len(got.Hashes); n < len(want.Hashes) && n > len(want.Hashes)/10*9 && len(users) > max {
			want.Hashes = want.Hashes[:n]
		}
		if got.Count != want.Count || !slices.Equal(got.Hashes, want.Hashes) {
			t.Errorf("%s: %d readers, %d hashes, want %d, %d", what, got.Count, len(got.Hashes), want.Count, len(want.Hashes))
		}
	}
	equal("five minutes", contents[0].Five, old, ContentSampleMax)
	equal("a minute", contents[0].Minute, recent, ContentSampleMax)
	equal("unknown", contents[1].Five, nil, 1)
	equal("another stream", whole[0].Five, nil, 1)
	equal("the stream", whole[1].Five, old, StreamSampleMax)
	if n := len(contents[2].Minute.Hashes); n != 500 || whole[1].Minute.Count != 1000 {
		t.Errorf("%d readers of the other content, %d of the stream", n, whole[1].Minute.Count)
	}
}
