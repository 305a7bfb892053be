package segment

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

type key struct {
	stream        uint16
	minute        uint32
	content, user uint64
}

// randomRows are sorted rows without a key twice, some with counters that are full.
func randomRows(r *rand.Rand) []storage.Row {
	of := map[key]storage.Row{}
	for range 1 + r.IntN(60) {
		row := storage.Row{
			Stream: uint16(r.IntN(2)), Minute: uint32(20000+r.IntN(2))*86400 + uint32(r.IntN(3))*60, Content: r.Uint64N(4), User: r.Uint64N(4),
			Opens: 1 + uint32(r.IntN(3)), Dwell: r.Uint64N(1000), First: 5, Last: 5 + int64(r.IntN(9)),
		}
		if r.IntN(10) == 0 {
			row.Reads = math.MaxUint32 - 10
		}
		of[key{row.Stream, row.Minute, row.Content, row.User}] = row
	}
	var rows []storage.Row
	for _, row := range of {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
	return rows
}

// write makes a segment of blocks of five rows at most.
func write(t *testing.T, disk *vfstest.Disk, name Name, books []storage.Book, rows func(*Writer) error) (*Segment, vfs.File) {
	t.Helper()
	f, err := disk.Create(name.String())
	if err != nil {
		t.Fatal(err)
	}
	w := NewWriter(f, books, 5, 1000)
	if err := rows(w); err != nil {
		t.Fatal(err)
	}
	blocks, err := w.End()
	if err != nil {
		t.Fatal(err)
	}
	name.Last = name.First + uint64(blocks) - 1
	written, err := w.Name(Header{Collector: 7, Name: name, Window: storage.Window{Start: 1, End: 2}, Created: 3}, []Name{{First: 1, Last: 2}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Read(f, written.Size, name)
	if err != nil || !reflect.DeepEqual(s, written) {
		t.Fatalf("read %+v, %v, written was %+v", s, err, written)
	}
	return s, f
}

// rowsOf loads all blocks and returns their rows and books.
func rowsOf(t *testing.T, s *Segment, f vfs.File) (rows []storage.Row, books []storage.Book) {
	t.Helper()
	for i := range s.Blocks {
		b, err := s.Load(f, i, storage.Columns{})
		if err != nil {
			t.Fatal(err)
		}
		if b.Number != s.Name.First+uint64(i) || b.Collector != 7 || b.Rows.Len() > 5 {
			t.Errorf("block %d is %+v", i, b)
		}
		for k := range b.Rows.Len() {
			if row := b.Rows.Row(k); row.Day() != b.Day {
				t.Errorf("a row of day %d is in a block of day %d", row.Day(), b.Day)
			} else {
				rows = append(rows, row)
			}
		}
		books = append(books, b.Books...)
	}
	return rows, books
}

// What is written is read, and what is compacted is the sum, whatever a plain map makes
// of it.
func TestSegments(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		disk := vfstest.New(1)
		sums := map[key]storage.Row{}
		var cursors []*Cursor
		sent := uint64(0)
		for n := range uint64(1 + r.IntN(4)) {
			rows, books := randomRows(r), []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: n, storage.Accepted: n}}}
			s, f := write(t, disk, Name{First: 1 + 100*n, Applied: Applied{Through: n}}, books, func(w *Writer) error {
				for i := range rows {
					if err := w.Row(&rows[i]); err != nil {
						return err
					}
				}
				return nil
			})
			if got, of := rowsOf(t, s, f); !slices.Equal(got, rows) || !reflect.DeepEqual(of, books) {
				t.Fatalf("read %v and %v, written were %v and %v", got, of, rows, books)
			}
			for _, row := range rows {
				k := key{row.Stream, row.Minute, row.Content, row.User}
				sum := sums[k]
				sum.Opens += row.Opens
				sum.Dwell += row.Dwell
				sum.Last = max(sum.Last, row.Last)
				sums[k] = sum
			}
			c, of, err := NewCursor(f, s)
			if err != nil {
				t.Fatal(err)
			}
			cursors, sent = append(cursors, c), sent+of[0].Counts[storage.Sent]
		}
		s, f := write(t, disk, Name{First: 1000}, []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: sent}}}, func(w *Writer) error { return Compact(t.Context(), cursors, w) })
		rows, books := rowsOf(t, s, f)
		for i, row := range rows {
			k := key{row.Stream, row.Minute, row.Content, row.User}
			sum := sums[k]
			if sum.Opens < row.Opens || sum.Dwell < row.Dwell || sum.Last < row.Last {
				t.Fatalf("row %+v is more than %+v", row, sum)
			}
			sum.Opens -= row.Opens
			sum.Dwell -= row.Dwell
			sums[k] = sum
			if i > 0 {
				if c := storage.CompareKeys(&rows[i-1], &row); c > 0 || c == 0 && rows[i-1].Events()+row.Events() <= math.MaxUint32 {
					t.Errorf("%+v is behind %+v", row, rows[i-1])
				}
			}
		}
		for k, sum := range sums {
			if sum.Opens+uint32(sum.Dwell) > 0 {
				t.Errorf("of %v %+v is missing", k, sum)
			}
		}
		if len(books) != 1 || books[0].Counts[storage.Sent] != sent {
			t.Errorf("the books are %+v, want %d sent", books, sent)
		}
	}
}

// One byte that is another is damage, wherever it is, and of no block but its own. Nothing
// is compacted that has some.
func TestEveryByte(t *testing.T) {
	disk := vfstest.New(1)
	rows := randomRows(rand.New(rand.NewPCG(1, 1)))
	s, f := write(t, disk, Name{First: 1}, nil, func(w *Writer) error {
		for i := range rows {
			if err := w.Row(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
	data := disk.Data(Name{First: 1}.String())
	for at := range data {
		data[at] ^= 0x40
		bad := 0
		read, err := Read(f, s.Size, s.Name)
		if err == nil {
			for i := range read.Blocks {
				if _, err := read.Load(f, i, storage.Columns{}); errors.Is(err, format.ErrDamaged) {
					bad++
				}
			}
		}
		if err == nil && !errors.Is(compactOne(t, read, f), format.ErrDamaged) {
			t.Fatalf("byte %d: what is damaged was compacted", at)
		}
		if err == nil && bad != 1 || err != nil && !errors.Is(err, format.ErrDamaged) && !errors.Is(err, format.ErrVersion) {
			t.Fatalf("byte %d: %v, %d blocks are damaged", at, err, bad)
		}
		data[at] ^= 0x40
	}
}

// compactOne writes the rows of a segment to another.
func compactOne(t *testing.T, s *Segment, f vfs.File) error {
	t.Helper()
	to, err := vfstest.New(1).Create("to")
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := NewCursor(f, s)
	if err != nil {
		return err
	}
	return Compact(t.Context(), []*Cursor{c}, NewWriter(to, nil, 5, 1000))
}

// Both numbers of a name decide which of two says more.
func TestApplied(t *testing.T) {
	a := Applied{Through: 3, Part: 5, Before: 600}
	for _, c := range []struct {
		record uint64
		minute uint32
		has    bool
	}{{3, 6000, true}, {4, 540, true}, {4, 600, false}, {5, 0, true}, {6, 0, false}} {
		if a.Has(c.record, c.minute) != c.has {
			t.Errorf("record %d, minute %d: %t", c.record, c.minute, !c.has)
		}
	}
	for _, c := range []struct{ o, want Applied }{
		{Applied{Through: 1, Part: 5, Before: 540}, a},
		{Applied{Through: 4, Part: 5, Before: 660}, Applied{4, 5, 660}},
		{Applied{Through: 2, Part: 6}, Applied{3, 6, 0}},
	} {
		if got := a.With(c.o); got != c.want {
			t.Errorf("%+v with %+v is %+v, want %+v", a, c.o, got, c.want)
		}
		if a.Knows(c.o) != (c.want == a) {
			t.Errorf("%+v knows %+v: %t", a, c.o, a.Knows(c.o))
		}
	}
	if !a.Divides(4) || a.Divides(3) || a.Divides(6) {
		t.Error("other records than 4 and 5 are divided")
	}
}
