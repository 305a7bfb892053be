package storage

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// anyRows draws rows of few keys, some with numbers that no slot holds.
func anyRows(r *rand.Rand, n int) []Row {
	minutes := []uint32{1_740_002_400, 20_000 * SecondsPerDay, 20_000*SecondsPerDay - 60}
	minutes = append(minutes, minutes[0]+60, minutes[0]-120)
	rows := make([]Row, n)
	for i := range rows {
		minute := minutes[min(r.IntN(3*len(minutes)), len(minutes)-1)%len(minutes)]
		if i > 0 && r.IntN(4) > 0 {
			minute = rows[i-1].Minute
		}
		at := int64(minute)*1000 + r.Int64N(60_000)
		rows[i] = Row{
			Stream: uint16(r.IntN(2)), Minute: minute, Content: r.Uint64N(1<<r.IntN(8)) << (8 * r.IntN(8)), User: r.Uint64N(8) << (8 * r.IntN(8)),
			Opens: r.Uint32N(3), Reads: 1 + r.Uint32N(3), Finishes: r.Uint32N(2), Saves: r.Uint32N(2), Shares: r.Uint32N(2),
			Dwell: r.Uint64N(60_000), Progress: uint8(r.IntN(101)), First: at, Last: at + r.Int64N(int64(minute+60)*1000-at),
		}
		if r.IntN(5) == 0 {
			rows[i].Coarse, rows[i].Skipped = Coarse(r.IntN(Coarses)), r.Uint32N(2)*9
		}
		if r.IntN(2) == 0 {
			rows[i].Resume, rows[i].ResumeLag = uint8(1+r.IntN(101)), uint16(r.Int64N(1+rows[i].Last-at))
		}
		if r.IntN(6) == 0 {
			rows[i] = Row{
				Stream: rows[i].Stream, Minute: minute, Content: rows[i].Content, User: rows[i].User % 2, Variant: uint8(1 + r.IntN(255)*r.IntN(2)),
				Impressions: r.Uint32N(200), Clicks: 1 + r.Uint32N(3), First: at, Last: rows[i].Last, Coarse: rows[i].Coarse,
			}
			continue
		}
		switch r.IntN(40) {
		case 0:
			rows[i].Dwell = r.Uint64N(math.MaxInt64)
		case 1:
			rows[i].Reads = r.Uint32()
		case 2:
			rows[i].Saves = 200
		case 3:
			rows[i].First -= 1
		case 4:
			rows[i].Last += 120_000
		case 5:
			rows[i].Opens = 65_535
		}
	}
	return rows
}

type minuteKey struct {
	stream        uint16
	minute        uint32
	content, user uint64
	coarse        Coarse
	skipped       uint32
	variant       uint8
}

// total is a row whose counters never overflow.
type total struct {
	opens, reads, finishes, saves, shares, dwell uint64
	impressions, clicks                          uint64
	progress                                     uint8
	first, last                                  int64
	resume                                       uint8
	resumed                                      int64 // when, Unix milliseconds
}

func addUp(sums map[minuteKey]total, rows ...Row) {
	for _, r := range rows {
		k := minuteKey{r.Stream, r.Minute, r.Content, r.User, r.Coarse, r.Skipped, r.Variant}
		t, ok := sums[k]
		if !ok {
			t.first, t.last = r.First, r.Last
		}
		resumed := r.Last - int64(r.ResumeLag)
		switch {
		case r.Resume == 0, t.resume > 0 && t.resumed > resumed, t.resume > r.Resume && t.resumed == resumed:
			r.Resume, resumed = t.resume, t.resumed
		}
		sums[k] = total{
			t.opens + uint64(r.Opens), t.reads + uint64(r.Reads), t.finishes + uint64(r.Finishes), t.saves + uint64(r.Saves),
			t.shares + uint64(r.Shares), t.dwell + r.Dwell, t.impressions + uint64(r.Impressions), t.clicks + uint64(r.Clicks), max(t.progress, r.Progress), min(t.first, r.First), max(t.last, r.Last), r.Resume, resumed,
		}
	}
}

// What comes out is what a plain map adds up, in order, no key twice that would
// have fitted; what is taken and what is left are together what was added.
func TestMinutesAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 150 {
		m, want, got := NewMinutes(), map[minuteKey]total{}, map[minuteKey]total{}
		var events, counted uint64
		take := func(before uint64) {
			taken := m.Take(before)
			for _, n := range taken.Events(0) {
				counted += n
			}
			var last Row
			n := 0
			if err := taken.Each(func(row *Row) error {
				if uint64(row.Minute) >= before {
					t.Fatalf("a row of minute %d came of those before %d", row.Minute, before)
				}
				switch c := CompareKeys(&last, row); {
				case n > 0 && c > 0:
					t.Fatalf("%+v comes after %+v", *row, last)
				case n > 0 && c == 0 && last.fits(row):
					t.Fatalf("%+v comes twice", *row)
				}
				last = *row
				n++
				addUp(got, *row)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if n > taken.Len() {
				t.Fatalf("%d rows came of at most %d", n, taken.Len())
			}
			taken.Free()
		}
		for range 1 + r.IntN(30) {
			rows := anyRows(r, r.IntN(4000))
			for i := range rows {
				events += rows[i].Events()
			}
			addUp(want, rows...)
			m.Add(rows)
			clear(rows)
			if r.IntN(8) == 0 {
				take(uint64(20_000*SecondsPerDay + r.IntN(2)*60))
			}
		}
		take(All)
		if m.Len() != 0 || len(m.tables) != 0 {
			t.Fatalf("%d rows are left", m.Len())
		}
		if counted != events {
			t.Fatalf("%d events are counted, %d came", counted, events)
		}
		if len(got) != len(want) {
			t.Fatalf("%d keys, want %d", len(got), len(want))
		}
		for k, w := range want {
			if w.dwell >= math.MaxInt64/2 { // sums beyond 64 bits are nobody's reading
				continue
			}
			if w.last >= int64(k.minute+60)*1000 { // a lag has no room for more than a minute
				w.resumed, w.resume = got[k].resumed, got[k].resume
			}
			if got[k] != w {
				t.Fatalf("%+v is %+v, want %+v", k, got[k], w)
			}
		}
	}
}

// A row costs no allocation once its minute has a table of the right size.
func TestMinutesDoNotAllocate(t *testing.T) {
	rows := anyRows(rand.New(rand.NewPCG(1, 1)), 5000)
	rows = slices.DeleteFunc(rows, func(r Row) bool {
		fits := (&minuteTable{period: period{minute: r.Minute}}).count(new(minuteSlot), &r)
		return !fits
	})
	for i := range rows {
		rows[i].Opens, rows[i].Saves, rows[i].Reads = 0, 0, 1
		rows[i].Finishes, rows[i].Shares = 0, 0
		rows[i].User, rows[i].Impressions = uint64(i), rows[i].Impressions%2 // so that no counter gets beyond its slot
	}
	m := NewMinutes()
	m.Add(rows)
	if n := testing.AllocsPerRun(3, func() { m.Add(rows) }); n > 0 {
		t.Errorf("%v allocations for %d rows", n, len(rows))
	}
}

// BenchmarkMinutes adds up the rows of sixty cuts and takes them out in order: a
// million readers, a tenth of whom are in each cut.
func BenchmarkMinutes(b *testing.B) {
	for _, keys := range []int{100_000, 1_000_000} {
		r := rand.New(rand.NewPCG(1, uint64(keys)))
		zipf := rand.NewZipf(r, 1.1, 1, 49_999)
		const minute = 29_000_040
		cuts := make([][]Row, 60)
		ids := make([][2]uint64, keys)
		for i := range ids {
			ids[i] = [2]uint64{zipf.Uint64() * 0x9E3779B97F4A7C15, r.Uint64()}
		}
		for c := range cuts {
			cuts[c] = make([]Row, keys/10)
			for i := range cuts[c] {
				id := ids[(i*10+c%10)%keys]
				at := int64(minute*1000 + c*1000 + i%1000)
				cuts[c][i] = Row{Stream: 1, Minute: minute, Content: id[0], User: id[1], Reads: 1, Dwell: 10_000, Progress: uint8(c), First: at, Last: at}
			}
			r.Shuffle(len(cuts[c]), func(i, j int) { cuts[c][i], cuts[c][j] = cuts[c][j], cuts[c][i] })
		}
		m := NewMinutes()
		b.Run(fmt.Sprintf("add/keys=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, rows := range cuts {
					m.Add(rows)
				}
				b.StopTimer()
				m.Take(All).Free()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys*6), "ns/delta")
		})
		b.Run(fmt.Sprintf("take/keys=%d", keys), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				for _, rows := range cuts[:10] {
					m.Add(rows)
				}
				b.StartTimer()
				taken := m.Take(All)
				if err := taken.Each(func(*Row) error { return nil }); err != nil {
					b.Fatal(err)
				}
				taken.Free()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/row")
		})
	}
}

// Whoever sends events of thousands of minutes, or streams, takes no more memory
// than Footprint says, and neither does a crowd.
func TestMinutesOfFewRowsTakeLittle(t *testing.T) {
	const minute = 29_000_040
	bytes := func(m *Minutes) (n int) {
		for _, table := range m.tables {
			n += len(table.slots)*int(unsafe.Sizeof(minuteSlot{})) + int(unsafe.Sizeof(*table)) + int(unsafe.Sizeof(*table.memory))
		}
		return n
	}
	within := func(m *Minutes) {
		if most := m.Footprint() * memoryOfRow; bytes(m) > most {
			t.Errorf("%d rows in %d tables take %d bytes, %d at the most", m.Len(), len(m.tables), bytes(m), most)
		}
	}
	m := NewMinutes()
	for user := range uint64(600_000) {
		m.Add([]Row{{Minute: minute, User: user, Reads: 1, First: minute * 1000, Last: minute * 1000}})
		if user > 100_000 && user%1000 == 0 {
			within(m)
		}
	}
	m.Take(All).Free()
	late := func(minutes, streams uint32) {
		for i := range minutes {
			for stream := range streams {
				at := minute - 60*i
				m.Add([]Row{{Stream: uint16(stream), Minute: at, Reads: 1, First: int64(at) * 1000, Last: int64(at) * 1000}})
			}
		}
	}
	late(2000, 1)
	late(10, 3000)
	within(m)
}

// memoryOfRow is what `lectern check` says of a row that waits, in bytes.
const memoryOfRow = 72

// A table of many keys grows where it lies, again and again; at each size it has what a
// plain map has.
func TestMinuteTableGrowsAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const minute = 29_000_040
	type key struct{ content, user uint64 }
	m, want, slots := NewMinutes(), map[key]uint8{}, 0
	rows := make([]Row, 1000)
	for len(want) < 450_000 {
		for i := range rows {
			k := key{random.Uint64N(100_000), random.Uint64N(64)}
			if i%2 == 0 {
				k.user = random.Uint64()
			}
			want[k]++
			rows[i] = Row{Minute: minute, Content: k.content, User: k.user, Reads: 1, First: minute * 1000, Last: minute * 1000}
		}
		m.Add(rows)
		table := m.tables[period{minute: minute}]
		if len(table.slots) == slots {
			continue
		}
		slots = len(table.slots)
		if table.len() != len(want) {
			t.Fatalf("%d rows in %d slots, want %d", table.len(), slots, len(want))
		}
		for k, n := range want {
			if s := table.find(table.seed.Hash(k.content, k.user), k.content, k.user); s.reads != n {
				t.Fatalf("in %d slots %+v has %d reads, want %d", slots, k, s.reads, n)
			}
		}
	}
	if slots <= 2*slotsLarge {
		t.Errorf("the table ends with %d slots, which is no large one", slots)
	}
}
