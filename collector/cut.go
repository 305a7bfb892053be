package collector

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
)

// Sink takes what cuts bring. One goroutine calls it.
type Sink interface {
	// Room is how many rows it would take now. A cut that may bring more is
	// not made, and the tables fill. Frames of sessions that find no room there
	// are not taken; the events of others are counted coarsely, and shed only
	// when that finds no room either (package comment, Overload).
	Room() int
	// MakeRoom says that Room was too little for a cut. The next is asked for
	// after some time.
	MakeRoom()
	// Seal makes what a cut brought durable, and calls durable as soon as it is,
	// before it does anything else with it. The seal is to stay as it is until Seal
	// returns; after an error, when the sink has no room, until Retry succeeds.
	Seal(seal *storage.Seal, durable func()) error
	// Retry tries again what Seal could not do. Where nothing is left to do it does
	// nothing.
	Retry() error
}

type cause uint8

const (
	causeTime   cause = iota // ack_interval has passed
	causeFull                // a table is three-quarters full, or a frame found no room
	causeCredit              // a session has used half of its credit
	causeAsked               // Collector.Cut
	causeStop                // shutdown
	causes
)

var causeWords = [causes]string{causeTime: "time", causeFull: "full", causeCredit: "credit", causeAsked: "asked", causeStop: "stop"}

// cutter ends windows. A cut takes the mutex of every shard, swaps their tables
// and books for empty ones, and releases the shards: one moment for all shards. The rows
// are then read on the cutter's own goroutine.
type cutter struct {
	shards  []*shard
	sources *sources
	sink    Sink
	clocks  *clocks

	connected atomic.Int64 // TCP clients on all shards
	company   atomic.Bool  // another process may know sources that are not known here
	config    atomic.Uint64
	ending    atomic.Bool // sessions are to send nothing more
	final     bool        // the next cut is the last: all sources leave their spans
	untold    int         // sources that had to leave none then, for want of room
	sessions  sessions

	waiting atomic.Bool  // a cut wants the shards: loops release them between frames
	gate    sync.RWMutex // held by a cut from then until it has them all and is done

	wanted chan cause
	mu     sync.Mutex    // protects done
	done   chan struct{} // closed when the next cut is done

	start int64 // the running window's, Unix milliseconds
	rows  []storage.Row
	ended ended

	names      *nameCache
	nameLimits *nameLimits

	full atomic.Bool // the sink has no room, or a cut does not come in time: sessions get no credit

	made        [causes]atomic.Uint64
	denied      atomic.Uint64 // cuts that the sink had no room for
	last        atomic.Int64  // running time of the last attempt
	holdSeconds *metrics.PrometheusHistogram
	readSeconds *metrics.PrometheusHistogram
}

func newCutter(o *Options, src *sources, clocks *clocks) *cutter {
	c := &cutter{
		sink: o.Sink, sources: src, clocks: clocks,
		sessions: sessions{of: make(map[uint64]*connection), proving: make(map[*connection]bool)},
		wanted:   make(chan cause, 1), done: make(chan struct{}), ended: ended{books: make(books)},
		// A quarter of the memory of names is for what the loops know, the rest for texts.
		names: newNameCache(o.NamesMemory / 4 * 3), nameLimits: newNameLimits(o.NamesAMinute),
		holdSeconds: o.Metrics.NewPrometheusHistogramExt("lectern_cut_hold_seconds", holdBuckets),
		readSeconds: o.Metrics.NewPrometheusHistogramExt("lectern_cut_read_seconds", readBuckets),
	}
	c.company.Store(o.Company)
	src.connected = func(id uint64) bool { return c.sessions.find(id) != nil }
	return c
}

// The bounds of the histograms, in seconds: a cut holds the loops for some tens of
// microseconds, and reads a full table in some tens of milliseconds.
var (
	holdBuckets = []float64{1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.1, 1}
	readBuckets = []float64{1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10}
)

// request asks for a cut and returns a channel that is closed when the next one
// is done. It never blocks.
func (c *cutter) request(why cause) <-chan struct{} {
	c.mu.Lock()
	done := c.done
	c.mu.Unlock()
	select {
	case c.wanted <- why:
	default: // one is asked for already
	}
	return done
}

// run makes cuts every interval and on request, until stop is closed.
func (c *cutter) run(interval time.Duration, stop <-chan struct{}) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			c.cut(causeTime)
		case why := <-c.wanted:
			if !c.cut(why) {
				// The sink has no room: the store is slower than the sources.
				// Asking again at once would not help it.
				select {
				case <-stop:
					return
				case <-time.After(roomRetry):
				}
			}
		}
	}
}

// rowCost is less than a row takes in a sink, in bytes.
const rowCost = 64

// roomRetry is how long the cutter waits before it asks a full sink again.
const roomRetry = 20 * time.Millisecond

// cut ends the running window. It says false if it was not made, or what it
// brought is not durable. The last cut of all is made even if the sink has no
// room: there is no later.
func (c *cutter) cut(why cause) bool {
	c.last.Store(c.clocks.steady())
	settled := c.sink.Retry() == nil // the cut before is durable
	if !settled || why != causeStop && c.sink.Room() < c.keys() {
		if settled {
			c.sink.MakeRoom()
		}
		c.denied.Add(1)
		c.setFull(true)
		return false
	}
	parts, window, end, begin := c.swap()
	c.made[why].Add(1)

	seal := storage.Seal{Window: storage.Window{Start: min(c.start, end), End: end, Config: c.config.Load()}} // a clock may be set back
	c.start = end
	c.rows = c.rows[:0]
	var moved []uint64
	for _, p := range parts {
		c.rows = p.table.appendRows(c.rows)
		moved = append(moved, p.moved...)
	}
	generation := c.shards[0].generation - 1 // only this goroutine changes it
	c.sources.heard.Store(end)
	if c.final {
		c.untold = c.sources.rest(generation, c.sink.Room())
	}
	seal.Sources = c.sources.collect(moved, generation, end)
	forgotten, left := c.sources.takeLeft()
	window.add(left)
	seal.Rows, seal.Books, seal.Forgotten = c.rows, window.list(), forgotten
	c.names.learn(seal.Books, false)
	c.readSeconds.Update(time.Since(begin).Seconds())

	err := c.sink.Seal(&seal, func() {
		c.sealed(seal.Sources, generation)
		c.setFull(false)
	})
	if err != nil {
		c.setFull(true)
	}
	return err == nil
}

// setFull tells all sessions when their credit ends, or begins again.
func (c *cutter) setFull(full bool) {
	if c.full.Swap(full) != full {
		c.tellAll(c.sources.sealed.Load())
	}
}

// swap takes what all shards have counted, at one moment, which is end.
func (c *cutter) swap() (parts []part, window books, end int64, begin time.Time) {
	c.ended.mu.Lock()
	defer c.ended.mu.Unlock()
	c.gate.Lock()
	c.waiting.Store(true)
	c.shards[0].Lock()
	begin = time.Now()
	for _, s := range c.shards[1:] {
		s.Lock()
	}
	end, _ = c.clocks.now()
	for _, s := range c.shards {
		parts = append(parts, s.swap())
	}
	for _, s := range c.shards {
		s.Unlock()
	}
	c.holdSeconds.Update(time.Since(begin).Seconds())
	c.waiting.Store(false)
	c.gate.Unlock()

	c.mu.Lock()
	close(c.done)
	c.done = make(chan struct{})
	c.mu.Unlock()

	window = make(books)
	for _, p := range parts {
		window.add(p.books)
	}
	c.ended.add(window, c.shards[0].rules.streams.Load())
	return parts, window, end, begin
}

// pass waits until the cut that wants the shards has had them.
func (c *cutter) pass() {
	c.gate.RLock()
	defer c.gate.RUnlock()
}

// keys is how many rows a cut would bring now, or what takes as much.
func (c *cutter) keys() (n int) {
	for _, s := range c.shards {
		s.Lock()
		n += s.table.used + (s.names.cost+rowCost-1)/rowCost
		s.Unlock()
	}
	return n
}
