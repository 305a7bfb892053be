package spool

import (
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// A seal waits while it has rows or books that no segment has. One that only says where
// sources are, or that they were forgotten, brings nothing to a block.
func TestSealed(t *testing.T) {
	const minute = 20000 * day
	type flush struct{ through, before uint64 }
	rows := func(minutes ...uint32) *Seal {
		seal := &Seal{Books: []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: uint64(len(minutes)), storage.Accepted: uint64(len(minutes))}}}}
		for i, m := range minutes {
			seal.Rows = append(seal.Rows, storage.Row{Stream: 1, Minute: minute + 60*m, Content: uint64(i), Opens: 1})
		}
		return seal
	}
	books := &Seal{Books: []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: 1, storage.Shed: 1}}}}
	sources := &Seal{Sources: []Source{{ID: 1}}, Forgotten: []uint64{2}}
	for _, c := range []struct {
		about  string
		sealed []*Seal
		flush  *flush
		start  bool // again, which writes the last seal a second time
		seals  int
		rows   int
		since  int64 // number of the first
	}{
		{"nothing", nil, nil, false, 0, 0, 0},
		{"rows and books", []*Seal{rows(0, 0), rows(0)}, nil, false, 2, 3, 1},
		{"books alone", []*Seal{books}, nil, false, 1, 0, 1},
		{"sources alone", []*Seal{sources, sources}, nil, false, 0, 0, 0},
		{"sources alone, before rows", []*Seal{sources, rows(0)}, nil, false, 1, 1, 2},
		{"in a segment", []*Seal{rows(0, 0), rows(0), rows(0)}, &flush{2, storage.All}, false, 1, 1, 3},
		{"in a segment in part", []*Seal{rows(0, 1, 1), rows(0), rows(1, 0), books}, &flush{4, minute + 60}, false, 2, 3, 1},
		{"in a segment in part, and more behind", []*Seal{rows(0, 1), rows(0, 1)}, &flush{1, minute + 60}, false, 2, 3, 1},
		{"written twice", []*Seal{rows(0), rows(0)}, nil, true, 2, 2, 1},
	} {
		m := vfstest.New(1)
		now := int64(0)
		o := testOptions(m)
		o.Clock = func() time.Time { return time.UnixMilli(now) }
		s, _ := mustOpen(t, o)
		var all []storage.Row
		for n, seal := range c.sealed {
			now = int64(n+1) * 1000
			mustSeal(t, s, seal)
			if c.flush != nil && uint64(n) < c.flush.through {
				all = append(all, seal.Rows...)
			}
		}
		if c.flush != nil {
			var flushed []storage.Row
			for _, r := range all {
				if uint64(r.Minute) < c.flush.before {
					flushed = append(flushed, r)
				}
			}
			if err := s.Flush(minutesOf(flushed), nil, storage.Window{}, storage.Mark{Through: c.flush.through, Before: c.flush.before}); err != nil {
				t.Fatal(err)
			}
		}
		if c.start {
			m.Kill()
			mustOpen(t, o2(o))
		}
		contents, err := inspect(m, "/spool")
		if err != nil {
			t.Fatal(err)
		}
		if seals, rows, since := contents.Sealed(); seals != c.seals || rows != c.rows || since != c.since*1000 {
			t.Errorf("%s: %d seals, %d rows, since %d; want %d, %d, %d", c.about, seals, rows, since, c.seals, c.rows, c.since*1000)
		}
	}
}
