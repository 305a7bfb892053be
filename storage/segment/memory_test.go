package segment

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs"
)

// What compacting takes in memory does not depend on how large segments and their blocks
// are: all that it allocates, from begin to end, is a piece of a block for each segment.
func TestCompactTakesAPieceOfEach(t *testing.T) {
	const segments, blocks, blockRows = 4, 2, 25_000
	dir := t.TempDir()
	create := func(name string) vfs.File {
		f, err := vfs.OS{}.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	var files []vfs.File
	var all []*Segment
	for n := range uint64(segments) {
		name := Name{First: 1 + n*blocks, Last: (n + 1) * blocks}
		f := create(name.String())
		w := NewWriter(f, []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: blocks * blockRows}}}, blockRows, 1<<30)
		for i := range uint64(blocks * blockRows) {
			if err := w.Row(&storage.Row{Minute: 20000 * 86400, Content: i, User: 1<<40 + n, Opens: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.End(); err != nil {
			t.Fatal(err)
		}
		s, err := w.Name(Header{Collector: 7, Name: name}, nil)
		if err != nil || s.Blocks[0].Length <= readSize {
			t.Fatalf("%+v, %v", s, err)
		}
		files, all = append(files, f), append(all, s)
	}
	w := NewWriter(create("compacted"), nil, blockRows, 1<<30)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var cursors []*Cursor
	for i := range all {
		c, _, err := NewCursor(files[i], all[i])
		if err != nil {
			t.Fatal(err)
		}
		cursors = append(cursors, c)
	}
	if err := Compact(t.Context(), cursors, w); err != nil {
		t.Fatal(err)
	}
	written, err := w.End()
	runtime.ReadMemStats(&after)
	if err != nil || written != segments*blocks {
		t.Errorf("%d blocks are written, want %d: %v", written, segments*blocks, err)
	}
	took := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d bytes for %d segments of %d", took, segments, all[0].Size)
	if most := uint64(segments*readSize + 256<<10); took > most {
		t.Errorf("compacting allocated %d bytes, want at most %d", took, most)
	}
}
