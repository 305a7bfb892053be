package spool

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs/vfstest"
	"github.com/lectern/lectern/storage/wal"
)

// Whatever seals of the log are damaged, the books of what a start recovers and of
// what was flushed before say all that was sealed, and of it as damaged exactly
// what the damaged seals had brought; also when the process is killed again, and
// only until it is flushed.
func TestBooksSayWhatDamageTook(t *testing.T) {
	vague, exact := 0, 0
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := vfstest.New(seed)
		o := testOptions(m)
		o.LogSize = int64(1+rng.IntN(4)) << 11 // some seeds have several logs
		o.SizeMax = 1 << 30
		s, _ := mustOpen(t, o)
		flushed := map[uint16]uint64{}
		sealed := map[uint16]uint64{}
		var books []storage.Book
		through := uint64(0)
		at := map[uint64]int64{} // of the seals in the newest log
		seals := map[uint64][]storage.Book{}
		newest := uint64(0)
		for range 4 + rng.IntN(20) {
			if rng.IntN(6) == 0 {
				if err := flushRows(s, nil, books, storage.Window{Start: 1, End: 2}, s.sealed); err != nil {
					t.Fatal(err)
				}
				for _, b := range books {
					flushed[b.Stream] += b.Counts[storage.Sent]
				}
				books, through = nil, s.sealed
			}
			seal := &Seal{Window: storage.Window{Start: 5, End: 6}, Sources: []Source{{ID: rng.Uint64N(3)}}}
			for stream := range uint16(4) {
				if rng.IntN(3) == 0 {
					n := rng.Uint64N(100)
					seal.Books = append(seal.Books, storage.Book{Stream: stream, Counts: storage.Counts{storage.Sent: n, storage.Accepted: n}})
					sealed[stream] += n
				}
			}
			begin := s.log.End()
			if n := mustSeal(t, s, seal); s.log.ID() != newest {
				clear(at)
				newest = s.log.ID()
			} else {
				at[n] = begin
				seals[n] = seal.Books
			}
			books = storage.AddBooks(books, seal.Books)
		}
		// Some seals that are not neighbours; the last one too, which the mark behind it
		// tells from one that was cut off.
		want := map[uint16]uint64{}
		taken := uint64(0)
		for i, n := range slices.Sorted(maps.Keys(at)) {
			if n <= through || i%2 == 0 || rng.IntN(2) == 0 {
				continue
			}
			spot := at[n] + wal.HeaderSize + rng.Int64N(sealHeadSize)
			if rng.IntN(3) == 0 {
				spot = at[n] + rng.Int64N(60)
			}
			m.Data(wal.FileName(newest))[spot] ^= 1 << rng.IntN(8)
			for _, b := range seals[n] {
				want[b.Stream] += b.Counts[storage.Sent]
				taken += b.Counts[storage.Sent]
			}
		}
		m.Kill()
		for life := range 2 {
			s, r := mustOpen(t, o2(o))
			got, damaged := maps.Clone(flushed), map[uint16]uint64{}
			var all, sum uint64
			for _, b := range r.Books {
				got[b.Stream] += b.Counts[storage.Sent]
				damaged[b.Stream] += b.Counts[storage.Damaged]
				sum += b.Counts[storage.Damaged]
				if !b.Balanced() {
					t.Errorf("seed %d: %+v is not balanced", seed, b)
				}
			}
			for stream, n := range got {
				all += n
				if stream != unknown.Stream && (n > sealed[stream] || damaged[stream] > want[stream]) {
					t.Errorf("seed %d, life %d: stream %d was sent %d, and %d are damaged; want %d and %d", seed, life, stream, n, damaged[stream], sealed[stream], want[stream])
				}
			}
			var sent uint64
			for _, n := range sealed {
				sent += n
			}
			if all != sent || sum != taken || r.Damaged != taken || s.meters.damage.events.Get() != taken {
				t.Errorf("seed %d, life %d: the books say %d sent, %d damaged (%d, %d), want %d and %d", seed, life, all, sum, r.Damaged, s.meters.damage.events.Get(), sent, taken)
			}
			if damaged[unknown.Stream] > 0 {
				vague++
			} else if taken > 0 {
				exact++
			}
			if life == 1 {
				if err := flushRows(s, rowsOf(r), r.Books, r.Window, r.Last); err != nil {
					t.Fatal(err)
				}
			}
			m.Kill()
		}
		if _, r := mustOpen(t, o2(o)); r.Damaged > 0 || len(r.Books) > 0 {
			t.Errorf("seed %d: after all is flushed, recovered %+v", seed, r)
		}
		if t.Failed() {
			return
		}
	}
	if vague == 0 || exact == 0 {
		t.Errorf("%d starts with damage of an unknown stream, %d without", vague, exact)
	}
}
