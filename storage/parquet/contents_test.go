package parquet

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// namedBlock is a block that brings names and nothing else.
func namedBlock(number uint64, at time.Time, books ...storage.Book) *storage.Block {
	return &storage.Block{Collector: 7, Number: number, Window: storage.Window{Start: at.UnixMilli() - 1000, End: at.UnixMilli()}, Books: books}
}

// Names that come over days, blocks and classes are found as a plain map has them,
// before and after they were merged.
func TestContents(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	s, err := open(Options{Dir: dir, Collector: 7, Now: func() time.Time { return now.Add(1000 * time.Hour) }}, quickDisk{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	random := rand.New(rand.NewPCG(1, 2))
	type said struct {
		text   string
		sealed bool
	}
	days, titles := map[int]map[storage.ContentKey]said{}, map[storage.ContentKey]said{} // names by day
	for n := range uint64(300) {
		at := now.Add(time.Duration(n) * 17 * time.Minute) // over three days
		names := days[at.Day()]
		if names == nil {
			names = map[storage.ContentKey]said{}
			days[at.Day()] = names
		}
		b := storage.Book{Stream: uint16(random.IntN(2)), Class: storage.Class(random.IntN(2))}
		for i := range random.IntN(5) {
			name := storage.Name{Content: random.Uint64N(40), Attribute: wire.Attribute(random.IntN(3)), Text: fmt.Sprint("text ", n, ".", i), At: at.UnixMilli()}
			if of := b.Names; len(of) > 0 && of[len(of)-1].Content >= name.Content {
				continue // a book has each once
			}
			b.Names = append(b.Names, name)
			key, sealed := storage.ContentKey{Stream: b.Stream, Content: name.Content}, b.Class == storage.Sealed
			switch of := map[wire.Attribute]map[storage.ContentKey]said{wire.AttributeName: names, wire.AttributeTitle: titles}[name.Attribute]; {
			case of == nil:
			case of[key].text == "", sealed || !of[key].sealed:
				of[key] = said{name.Text, sealed}
			}
		}
		if answer, err := s.Store(t.Context(), namedBlock(n+1, at, b)); answer != storage.Stored {
			t.Fatal(answer, err)
		}
	}
	want := map[storage.ContentKey]string{}
	of := []map[storage.ContentKey]said{titles}
	for _, day := range slices.Sorted(maps.Keys(days)) { // the last day that has a name says it
		of = append(of, days[day])
	}
	for _, of := range of {
		for key, s := range of {
			want[key] = s.text
		}
	}
	check := func(when string) {
		t.Helper()
		r, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		var wanted []storage.ContentKey
		for stream := range uint16(2) {
			for content := range uint64(45) {
				wanted = append(wanted, storage.ContentKey{Stream: stream, Content: content})
			}
		}
		got, err := r.Called(t.Context(), wanted)
		if err != nil {
			t.Fatal(err)
		}
		r.now = func() time.Time { return now.Add(300 * 17 * time.Minute) }
		books, err := r.Names(t.Context(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		latest := 0
		for _, b := range books {
			for _, n := range b.Names {
				if n.Attribute >= wire.AttributePublished || n.At < r.now().Add(-storage.NamesSince).UnixMilli() {
					t.Errorf("%s: %+v is not to be shown, or of another day", when, n)
				}
				latest++
			}
		}
		if few, err := r.Names(t.Context(), 5); err != nil || latest < 100 || len(few) == 0 || len(few) > 4 {
			t.Errorf("%s: %d names, of five in %d books, %v", when, latest, len(few), err)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
		some, err := r.Called(t.Context(), wanted[:1])
		if err != nil || len(some) != 1 || some[wanted[0]] != want[wanted[0]] {
			t.Errorf("%s: of one content: %v, %v", when, some, err)
		}
	}
	check("as it came")
	if err := s.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("merged")
	files, _ := filepath.Glob(filepath.Join(dir, "contents", "*", "*.parquet"))
	if len(files) == 0 || len(files) > 90 {
		t.Errorf("%d files after a merge", len(files))
	}
}

// A block that is stored again leaves one file, and a directory without names none.
func TestContentsAgain(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	s, err := Open(Options{Dir: dir, Collector: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		b := namedBlock(1, now, storage.Book{Stream: 3, Names: []storage.Name{{Content: 5, Text: "/a", At: 1}}})
		if answer, err := s.Store(t.Context(), b); answer != storage.Stored {
			t.Fatal(answer, err)
		}
	}
	if answer, err := s.Store(t.Context(), namedBlock(2, now, storage.Book{Stream: 3})); answer != storage.Stored {
		t.Fatal(answer, err)
	}
	files, _ := os.ReadDir(filepath.Join(dir, "contents", "day=2026-03-14"))
	if len(files) != 1 {
		t.Errorf("%d files", len(files))
	}
}
