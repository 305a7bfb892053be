package live

import (
	"iter"
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/lectern/lectern/storage"
)

const (
	minuteSeconds = 60  // of a reader in the last minute
	allSeconds    = 300 // and in the last five
)

// Options configure Readers.
type Options struct {
	ReadersMax  int                      // readers of contents and of streams together: who reads one content is two
	ContentsMax int                      // contents
	Named       func(stream uint16) bool // streams that have room of their own; nil: none
}

// Bytes is how much memory these options may take.
func (o *Options) Bytes() int64 {
	slots := int64(slotsFor(o.ReadersMax)) * slotBytes
	wholes := int64(slotsFor(o.ReadersMax/2)) * int64(unsafe.Sizeof(whole{}))
	wheel := int64(o.ReadersMax)*13 + minuteSeconds*wheelSpare*4 // lists that grow by a quarter, beside those of another minute: wheel.clear
	return slots + wholes + wheel + int64(o.ContentsMax)*int64(contentBytes)
}

// Readers knows who reads what now. It is a storage.Watcher, of the Minutes that are
// told of each cut; its other methods may be called by several goroutines at once.
type Readers struct {
	o Options

	mu       sync.Mutex // protects what follows
	table    *table
	wholes   wholes
	wheel    wheel
	contents *contents
	streams  streams
	now      uint32        // the second up to which due slots have been looked at; 0: nothing has come yet
	minute   uint32        // the second with which the minute of now began
	to       uint32        // what now will be at the end of the cut that is being added
	time     int64         // Unix milliseconds: the end of the last cut,
	since    int64         // and the beginning of the first
	nameless int           // readers of contents for which there was no room
	unplaced uint64        // events that are in no figure of readers, since the start
	took     time.Duration // what all of this has taken

	visits [ahead]visit       // that are looked for together
	fresh  [ahead]uint8       // places in visits of readers who are not known
	lines  [3 * ahead]uintptr // memory to be prefetched
	silent [ahead]uint32      // slots of those who leave or go

	ended     atomic.Int64 // time, as soon as there are figures of it
	cuts      atomic.Uint64
	asked     atomic.Uint64 // cuts, when Latest was last called
	published atomic.Pointer[Figures]
}

// New returns Readers that know of nobody.
func New(o Options) *Readers {
	r := &Readers{o: o, table: newTable(o.ReadersMax)}
	r.wholes.seed, r.wholes.most = [2]uint64{r.table.seed[0], r.table.seed[2]}, o.ReadersMax/2
	r.clear()
	return r
}

// clear forgets everything.
func (r *Readers) clear() {
	if r.contents != nil {
		r.contents.memory.Free()
		r.contents.seriesMemory.Free()
	}
	r.contents = newContents(r.o.ContentsMax, r.table.seed)
	r.forgetAll()
	r.streams = streams{named: r.o.Named, of: make(map[uint16]uint16)}
}

// Seed takes the hash in whose order readers are told (storage.Watcher).
func (r *Readers) Seed(s storage.KeySeed) { r.table.order = s }

// Lock keeps others out until Unlock (storage.Watcher).
func (r *Readers) Lock() { r.mu.Lock() }

// Unlock lets others in (storage.Watcher).
func (r *Readers) Unlock() { r.mu.Unlock() }

// Begin begins a cut (storage.Watcher). A clock that was set back by more than is known,
// and a machine that slept, begin with nobody.
func (r *Readers) Begin(w storage.Window) (before, end uint32) {
	to := uint32(max(0, min(w.End/1000, math.MaxUint32-allSeconds)))
	switch {
	case r.now == 0, to+allSeconds < r.now: // the clock was set back by more than what is known
		if r.now != 0 {
			r.clear()
		}
		r.setNow(to)
		r.since = w.Start
	case to > r.now+allSeconds: // the machine slept
		r.forgetReaders()
		r.setNow(to)
	}
	r.to = max(to, r.now)
	return r.minute, minuteOf(r.to)
}

// Rows adds rows of the cut, and says for which of their readers there was no room
// (storage.Watcher).
func (r *Readers) Rows(rows []*storage.Row) (outside uint64) {
	began := time.Now()
	n := 0
	for i, x := range rows {
		v := &r.visits[n]
		*v = visit{
			print: r.table.print(x.Stream, x.Content, x.User), content: x.Content, user: x.User, events: x.Events(), opens: opensOf(x),
			first: r.second(x.First), last: r.second(x.Last), stream: x.Stream, row: uint8(i), coarse: x.Coarse,
		}
		switch {
		case x.Coarse != storage.CoarseNot:
			r.addCoarse(v)
		case x.Minute > r.to: // its reader is seen when that begins
			r.addOpensOnly(v)
		default:
			n++
		}
	}
	r.meet(r.visits[:n])
	for i := range r.visits[:n] {
		if v := &r.visits[i]; v.outside {
			outside |= 1 << v.row
		}
	}
	r.took += time.Since(began)
	return outside
}

// Outside adds a row of a reader for whom there was no room (storage.Watcher).
func (r *Readers) Outside(x *storage.Row) {
	r.unplaced += x.Events()
	if i, ok := r.streams.place(x.Stream); ok {
		r.streams.list[i].addCoarse(r.second(x.Last), r.to, x.Events())
	}
}

// Seen notes when readers had their last events (storage.Watcher). They come in the order
// of the table, so nothing has to be prefetched for those who are known. Those outside are
// not looked for again, but for the nameless.
func (r *Readers) Seen(stream uint16, all iter.Seq[storage.Sight]) {
	began := time.Now()
	n := 0
	for s := range all {
		v := visit{
			print: r.table.print(stream, s.Content, s.User), content: s.Content, user: s.User, stream: stream, last: r.second(s.Last),
		}
		if r.meets(&v) || s.Outside && r.nameless == 0 {
			continue
		}
		if s.Outside {
			v.print, v.outside = r.table.namelessPrint(stream, s.User), true
		}
		r.visits[n] = v
		if n++; n == ahead {
			r.meet(r.visits[:n])
			n = 0
		}
	}
	r.meet(r.visits[:n])
	r.took += time.Since(began)
}

// End ends the cut: who has been silent for too long leaves (storage.Watcher).
func (r *Readers) End(w storage.Window) {
	began := time.Now()
	r.advance(r.to)
	r.time = w.End
	r.cuts.Add(1)
	r.publish()
	r.ended.Store(w.End)
	r.took += time.Since(began)
}

// second is when something happened, not after the cut that brings it.
func (r *Readers) second(ms int64) uint32 { return uint32(max(0, min(ms/1000, int64(r.to)))) }

// forgetReaders forgets who reads, and not what was opened.
func (r *Readers) forgetReaders() {
	r.forgetAll()
	for i := range r.contents.list {
		r.contents.list[i].minute, r.contents.list[i].all = 0, 0
	}
	for _, s := range r.streams.list {
		if s != nil {
			s.minute, s.all, s.account.readers = 0, 0, 0
		}
	}
}

func (r *Readers) forgetAll() {
	r.nameless = 0
	r.table.clear()
	r.wholes.clear()
	r.wheel = wheel{}
}
