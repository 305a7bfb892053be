package collector

import (
	"unsafe"

	"github.com/lectern/lectern/storage/pages"
	"github.com/lectern/lectern/wire"
)

// foreseeFrom is how many live sources make it worth while to foresee: fewer
// stand in the processor's own cache anyway.
const foreseeFrom = 128

// foresight looks a batch of datagrams ahead: the memory of their sources is
// fetched for all at once, so that one miss of the cache does not wait for the
// other, and where each source is found is remembered. It takes no lock: what
// it finds is a guess that costs nothing when it is wrong.
type foresight struct {
	ids     [batchDatagrams]uint64 // of the sources; what a datagram's bytes say, if they are a frame
	words   [batchDatagrams]uint64 // of their windows, which the frames' sequences are in
	hashes  [batchDatagrams]uint64
	guesses [batchDatagrams]*source
	lines   [batchDatagrams]uintptr
}

// sourceLines is how many lines of the cache of a source a frame in its order
// touches.
const sourceLines = 3

// see is told where each datagram of a batch begins, one after the other.
func (f *foresight) see(i int, b *[wire.HeaderSize]byte) {
	id, sequence := wire.Peek(b)
	f.ids[i], f.words[i] = id, sequence/64%ringWords
}

// look makes the guesses for n datagrams that were seen.
func (f *foresight) look(s *sources, n int) {
	if n == 0 {
		return
	}
	for i, id := range f.ids[:n] {
		h := hashSource(s.seed, id)
		f.hashes[i] = h
		f.lines[i] = uintptr(unsafe.Pointer(s.ofHash(h).entry(h)))
	}
	pages.Prefetch(&f.lines[0], n)
	for i, h := range f.hashes[:n] {
		f.guesses[i] = s.ofHash(h).guess(h)
	}
	for i := range min(n, fetchAhead) {
		f.fetch(i)
	}
}

// fetchAhead is how many datagrams ahead a source is fetched: what all of a
// batch want at once would have to wait in front of the memory.
const fetchAhead = 8

// fetch fetches the source of a datagram.
func (f *foresight) fetch(i int) {
	if src := f.guesses[i]; src != nil {
		at := uintptr(unsafe.Pointer(src))
		lines := [sourceLines]uintptr{at, at + 64, at + unsafe.Offsetof(src.window) + unsafe.Offsetof(src.window.ring) + uintptr(8*f.words[i])}
		pages.Prefetch(&lines[0], sourceLines)
	}
}

// blind makes no guess for n datagrams.
func (f *foresight) blind(n int) { clear(f.guesses[:n]) }
