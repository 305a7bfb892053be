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
	// not made: the tables fill, and what finds no room there is shed.
	Room() int
	// Take takes the rows and books of one cut. rows is the caller's again
	// after the return.
	Take(w storage.Window, rows []storage.Row, books []storage.Book)
}

type cause uint8

const (
	causeTime cause = iota // ack_interval has passed
	causeFull              // a table is three-quarters full, or a frame found no room
	causeStop              // shutdown
	causes
)

var causeWords = [causes]string{causeTime: "time", causeFull: "full", causeStop: "stop"}

// cutter ends windows. A cut takes the mutex of every shard, swaps their tables
// and books for empty ones, and lets go: one moment for all shards. The rows
// are then read on the cutter's own goroutine.
type cutter struct {
	shards []*shard
	sink   Sink
	clock  func() time.Time

	connected atomic.Int64 // TCP clients on all shards

	waiting atomic.Bool  // a cut wants the shards: loops let go between frames
	gate    sync.RWMutex // held by a cut from then until it has them all and is done

	wanted chan cause
	mu     sync.Mutex    // protects done
	done   chan struct{} // closed when the next cut is done

	start int64 // the running window's, Unix milliseconds
	rows  []storage.Row

	made   [causes]atomic.Uint64
	denied atomic.Uint64 // cuts that the sink had no room for
	last   atomic.Int64  // Unix milliseconds of the last attempt
	held   *metrics.Summary
	took   *metrics.Summary
}

func newCutter(sink Sink, clock func() time.Time, set *metrics.Set) *cutter {
	return &cutter{
		sink: sink, clock: clock,
		wanted: make(chan cause, 1), done: make(chan struct{}),
		held: set.NewSummary("lectern_cut_hold_seconds"),
		took: set.NewSummary("lectern_cut_read_seconds"),
	}
}

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

// roomRetry is how long the cutter waits before it asks a full sink again.
const roomRetry = 20 * time.Millisecond

// cut ends the running window. It says false if the sink has no room. The last
// cut of all is made even then: there is no later.
func (c *cutter) cut(why cause) bool {
	c.last.Store(c.clock().UnixMilli())
	if why != causeStop && c.sink.Room() < c.keys() {
		c.denied.Add(1)
		return false
	}
	tables := make([]*table, len(c.shards))
	accounts := make([]books, len(c.shards))

	c.gate.Lock()
	c.waiting.Store(true)
	c.shards[0].Lock()
	begin := time.Now()
	for _, s := range c.shards[1:] {
		s.Lock()
	}
	end := c.clock().UnixMilli()
	for i, s := range c.shards {
		tables[i], accounts[i] = s.swap()
	}
	for _, s := range c.shards {
		s.Unlock()
	}
	held := time.Since(begin)
	c.waiting.Store(false)
	c.gate.Unlock()

	c.held.Update(held.Seconds())
	c.made[why].Add(1)
	c.rows = c.rows[:0]
	for _, t := range tables {
		c.rows = t.appendRows(c.rows)
	}
	total := make(map[uint16]*storage.Book)
	for _, a := range accounts {
		for stream, b := range a {
			k := b.export(stream)
			if t, ok := total[stream]; ok {
				t.Add(&k)
			} else {
				total[stream] = &k
			}
		}
	}
	exported := make([]storage.Book, 0, len(total))
	for _, b := range total {
		exported = append(exported, *b)
	}
	c.sink.Take(storage.Window{Start: c.start, End: end}, c.rows, exported)
	c.start = end
	c.took.Update(time.Since(begin).Seconds())

	c.mu.Lock()
	close(c.done)
	c.done = make(chan struct{})
	c.mu.Unlock()
	return true
}

// keys is how many rows a cut would bring now.
func (c *cutter) keys() (n int) {
	for _, s := range c.shards {
		s.Lock()
		n += s.table.used
		s.Unlock()
	}
	return n
}
