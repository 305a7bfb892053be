package collector

// windowFrames is how far behind the newest sequence a frame may come and still
// be told from a duplicate. At 100,000 datagrams a second from one source it
// is 10 ms of reordering.
const windowFrames = 1024 - 64

// ringWords is the size of the bitmap: the frames it remembers and one word
// more, RFC 6479's redundant block, which is the one being filled.
const ringWords = windowFrames/64 + 1

// window remembers which sequences of one source have been seen: the sliding
// bitmap of RFC 6479, whose ring moves by whole words so that nothing is
// shifted. The zero value has seen nothing.
type window struct {
	newest uint64 // the largest sequence seen
	floor  uint64 // below it nothing is fresh
	any    bool   // newest is valid
	held   uint16 // not of it: keys that the source holds of those for the last, here since there is room
	taken  uint32 // how many have been seen, modulo 2^32
	ring   [ringWords]uint64
}

// windowAfter returns the window of a source of which every sequence below next
// counts as taken.
func windowAfter(next uint64) window {
	if next == 0 {
		return window{}
	}
	return window{newest: next - 1, floor: next, any: true}
}

type verdict uint8

const (
	fresh     verdict = iota // not seen
	duplicate                // seen
	stale                    // too old to tell
)

// check says what is known of a sequence and changes nothing.
func (w *window) check(sequence uint64) verdict {
	switch {
	case !w.any || sequence > w.newest:
		return fresh
	case sequence < w.floor, w.newest-sequence >= windowFrames:
		return stale
	case w.ring[sequence/64%ringWords]&(1<<(sequence%64)) != 0:
		return duplicate
	}
	return fresh
}

// commit marks a sequence for which check said fresh.
func (w *window) commit(sequence uint64) {
	word := sequence / 64
	switch {
	case !w.any:
		w.any, w.newest = true, sequence
	case sequence > w.newest:
		// Clear the words that the ring moves over, each at most once.
		moved := min(word-w.newest/64, ringWords)
		for i := uint64(0); i < moved; i++ {
			w.ring[(word-i)%ringWords] = 0
		}
		w.newest = sequence
	}
	w.ring[word%ringWords] |= 1 << (sequence % 64)
	w.taken++
}

// whole says whether every sequence from 0 to the newest has been seen. Of more
// than fit into taken, and where a former process saw some, it says no.
func (w *window) whole() bool { return w.any && uint64(w.taken) == w.newest+1 }
