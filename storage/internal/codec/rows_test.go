package codec

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lectern/lectern/storage"
)

// anyRow draws rows with each number at and around the edges of its encoding.
func anyRow(r *rand.Rand) storage.Row {
	number := func() uint64 { return r.Uint64() >> r.IntN(64) * uint64(min(1, r.IntN(8))) }
	minute := uint32(r.IntN(3)) * 60 * 500
	at := int64(minute)*1000 + r.Int64N(millisPerMinute)
	row := storage.Row{
		Stream: uint16(r.IntN(2)), Minute: minute, Content: number(), User: number(), Dwell: number(),
		Progress: uint8(r.IntN(101) * r.IntN(2)), First: at, Last: at,
	}
	switch r.IntN(4) {
	case 0:
		if row.Resume = uint8(r.IntN(102)); row.Resume > 0 {
			row.ResumeLag = uint16(r.Uint32())
		}
	case 1:
		row.Resume = row.Progress + 1
	}
	counters := []*uint32{&row.Opens, &row.Reads, &row.Finishes, &row.Saves, &row.Shares}
	if r.IntN(4) == 0 {
		row.Variant = uint8(1 + r.IntN(255)*r.IntN(2))
		counters = []*uint32{&row.Impressions, &row.Clicks}
	}
	n := len(counters)
	switch r.IntN(3) {
	case 0:
		*counters[r.IntN(n)] = 1
	case 1:
		*counters[r.IntN(n)] = uint32(number())
		*counters[r.IntN(n)] = uint32(number())
	case 2:
		*counters[r.IntN(n)] = math.MaxUint32
	}
	if r.IntN(4) == 0 {
		row.Coarse, row.Skipped = storage.Coarse(r.IntN(storage.Coarses)), r.Uint32()>>(8+r.IntN(24))
	}
	switch r.IntN(4) {
	case 0:
		row.Last = int64(minute)*1000 + millisPerMinute - 1
	case 1:
		row.First, row.Last = int64(r.Uint64()), int64(r.Uint64())
	}
	return row
}

// What comes out is what went in, and no byte less does.
func TestRowsThereAndBack(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var e RowEncoder
		rows := make([]storage.Row, 1+r.IntN(60))
		for i := range rows {
			rows[i] = anyRow(r)
			if i > 0 && r.IntN(2) == 0 {
				rows[i].Content = rows[i-1].Content
			}
			before := len(e.Buf)
			e.Add(&rows[i])
			if n := len(e.Buf) - before; n > RowSizeMax {
				t.Fatalf("%d bytes for %+v, at most %d are promised", n, rows[i], RowSizeMax)
			}
		}
		d := RowDecoder{Rest: e.Buf}
		for i := range rows {
			var got storage.Row
			if !d.Next(&got) || got != rows[i] {
				t.Fatalf("row %d is %+v, want %+v", i, got, rows[i])
			}
		}
		if len(d.Rest) != 0 {
			t.Fatalf("%d bytes are left", len(d.Rest))
		}
		b := slices.Clone(e.Buf)
		b[1+4+2] = storage.Coarses // behind the first period's stream
		if d = (RowDecoder{Rest: b}); d.Next(new(storage.Row)) {
			t.Fatal("a row that is coarse beyond all there is was taken")
		}
		cut := e.Buf[:r.IntN(len(e.Buf))]
		d = RowDecoder{Rest: cut}
		n := 0
		for row := (storage.Row{}); d.Next(&row); n++ {
		}
		if n >= len(rows) {
			t.Fatalf("%d rows of %d came out of %d bytes of %d", n, len(rows), len(cut), len(e.Buf))
		}
	}
}

// The reader of a minute takes little more than the event did.
func TestRowSize(t *testing.T) {
	const minute = 1_740_002_400
	at := int64(minute)*1000 + 12_345
	heartbeat := storage.Row{Stream: 1, Minute: minute, Content: math.MaxUint64, User: math.MaxUint64, Reads: 1, Dwell: 10_000, Progress: 50, Resume: 51, First: at, Last: at}
	var e RowEncoder
	e.Add(&heartbeat)
	e.Add(&heartbeat)
	if n, want := len(e.Buf), PeriodSize+23+15; n != want {
		t.Errorf("two heartbeats take %d bytes, want %d", n, want)
	}
}

// No bytes make the decoder read others, give up a row that it could not write, or
// not end.
func FuzzRows(f *testing.F) {
	var e RowEncoder
	r := rand.New(rand.NewPCG(1, 1))
	for range 8 {
		row := anyRow(r)
		e.Add(&row)
		f.Add(bytes.Clone(e.Buf))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := RowDecoder{Rest: bytes.Clone(b)}
		for row := (storage.Row{}); d.Next(&row); {
			var again RowEncoder
			again.Add(&row)
			back := RowDecoder{Rest: again.Buf}
			var same storage.Row
			if !back.Next(&same) || same != row {
				t.Fatalf("%+v comes back as %+v", row, same)
			}
		}
	})
}

func BenchmarkRows(b *testing.B) {
	rows := make([]storage.Row, 100_000)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range rows {
		const minute = 1_740_002_400
		at := int64(minute)*1000 + r.Int64N(60_000)
		rows[i] = storage.Row{Stream: 1, Minute: minute, Content: r.Uint64(), User: r.Uint64(), Reads: 1, Dwell: 10_000, Progress: 50, First: at, Last: at}
	}
	var e RowEncoder
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			e = RowEncoder{Buf: e.Buf[:0]}
			for i := range rows {
				e.Add(&rows[i])
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			d := RowDecoder{Rest: e.Buf}
			for row := (storage.Row{}); d.Next(&row); {
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
	})
}

// Numbers that take more bytes than they need make no row longer than one can be.
func TestRowOfLongNumbers(t *testing.T) {
	var e RowEncoder
	e.Add(&storage.Row{Minute: 60, Content: math.MaxUint64, User: math.MaxUint64, Opens: 1, Reads: 1, First: 1, Last: 2, Dwell: 1 << 40})
	at := PeriodSize + 2 + 16
	long := bytes.Clone(e.Buf[:at])
	for range 5 {
		long = append(append(long, bytes.Repeat([]byte{0x80}, 9)...), 0) // 0, in ten bytes
	}
	long = append(long, e.Buf[at+5:]...)
	long = append(long, make([]byte, max(0, RowSizeMax-len(long)))...)
	for n := RowSizeMax; n <= len(long); n++ {
		d := RowDecoder{Rest: slices.Clip(long[:n])}
		if row := (storage.Row{}); d.Next(&row) {
			t.Fatalf("%+v came out of %d bytes", row, n)
		}
	}
}

// The periods of a seal come in any order, and one after the other is the large one.
// No memory stays that is not of the size of a seal.
func TestRowGroupsKeepLittle(t *testing.T) {
	var g RowGroups
	for heavy := range groupsMax {
		var rows []storage.Row
		for p := range uint32(groupsMax) {
			n := 1
			if int(p) == heavy {
				n = 50_000
			}
			for i := range n {
				at := int64(p) * 60_000
				rows = append(rows, storage.Row{Minute: p * 60, Content: math.MaxUint64, User: math.MaxUint64 - uint64(i), Reads: 1, First: at, Last: at})
			}
		}
		g.Encode(rows)
		kept := 0
		for i := range g.encoders {
			kept += cap(g.encoders[i].Buf)
		}
		if kept > 8*g.Size() {
			t.Fatalf("%d bytes are kept for a seal whose rows take %d", kept, g.Size())
		}
	}
}
