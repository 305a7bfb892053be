package pipeline

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// A block in doubt is asked for again after retryFirst, then twice as long each
// time up to doubtLast, each with half of it at random: for as long as a replica
// is away, say. Many are asked for more slowly, so that all together are asked for
// not more often than one each doubtEach.
const (
	doubtLast  = 2 * time.Minute
	doubtEach  = 50 * time.Millisecond
	doubtTold  = 5 * time.Second  // in doubt, until that is told
	doubtAgain = 10 * time.Minute // and until it is told again
)

// doubt is a block of which the store does not know whether it has it.
type doubt struct {
	since, until, told time.Time
	wait               time.Duration
}

// doubts are the blocks in doubt. The shipper changes them; age is for anybody.
type doubts struct {
	mu    sync.Mutex
	all   map[uint64]*doubt // by block number
	count *metrics.Gauge    // of these, and those of other Gatherers
}

// has says whether a block is in doubt.
func (d *doubts) has(number uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all[number] != nil
}

// early says whether it is too early to ask for a block again.
func (d *doubts) early(number uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.all[number]
	return b != nil && time.Now().Before(b.until)
}

// add puts a block in doubt, or says when it is asked for again. It returns
// whether that is to be told.
func (d *doubts) add(number uint64) (tell bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	b := d.all[number]
	if b == nil {
		if d.all == nil {
			d.all = make(map[uint64]*doubt)
		}
		b = &doubt{since: now, wait: retryFirst}
		d.all[number] = b
		d.count.Inc()
	}
	wait := max(b.wait, time.Duration(len(d.all))*doubtEach)
	b.until = now.Add(wait/2 + rand.N(wait/2))
	b.wait = min(2*b.wait, doubtLast)
	if tell = now.Sub(b.since) >= doubtTold && (b.told.IsZero() || now.Sub(b.told) >= doubtAgain); tell {
		b.told = now
	}
	return tell
}

// settle takes a block out of doubt.
func (d *doubts) settle(number uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all[number] != nil {
		delete(d.all, number)
		d.count.Dec()
	}
}

// clear forgets all of them, when nobody asks any more.
func (d *doubts) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Add(-float64(len(d.all)))
	d.all = nil
}

// due gets a value when the next of them is to be asked for, nil for none.
func (d *doubts) due() <-chan time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	var first time.Time
	for _, b := range d.all {
		if first.IsZero() || b.until.Before(first) {
			first = b.until
		}
	}
	if first.IsZero() {
		return nil
	}
	return time.After(time.Until(first))
}

// age is for how long the oldest of them has been in doubt, as far as this
// process knows.
func (d *doubts) age() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	var age time.Duration
	for _, b := range d.all {
		age = max(age, time.Since(b.since))
	}
	return age
}
