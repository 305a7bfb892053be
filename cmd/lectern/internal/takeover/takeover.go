// Package takeover goes on with what other processes left in places of spool.dir: their
// sources, so that clients go on here, and their blocks, which go to the store under the
// numbers they have. Elder is the daemon that was there first, newcomer the one that
// follows.
//
// Places (spool.share). Each daemon locks a place: spool.dir itself, or a directory
// below it, 1, 2, …, each an ordinary spool with a collector id and spool.size_max of its
// own. A start looks at all locks behind a door (an empty file with a lock) that one
// process at a time passes. If none is held, the daemon takes spool.dir, whatever is in it.
// Otherwise it is a newcomer, the holders are its elders, and it takes a place that is
// vacant, or makes one. When all elders' locks are free, it adopts their places and every
// other free place that is not vacant; from then on it adopts every place that becomes
// free. There is always exactly one eldest: of several newcomers, the later waits for the
// earlier.
//
// To adopt a place takes these steps, in this order: lock and recover the place; merge its
// sources into those that live here; bring its seals and blocks to the store under the
// place's collector id and numbers, since some may be stored already; wait until a cut with
// the merged sources is durable here; have the place forget its sources, give back its
// reserve, mark it vacant. The process may end after any step, and the next start adopts
// the place again. A source that is found in several places is taken from the place that
// knows more.
//
// Exactly once, meanwhile. What must not happen: a client sends frames to the elder, which
// makes them durable and dies before the ack; the client comes to the newcomer, which does
// not know the source and counts them again. Nothing shows whether a source is new or the
// elder's, not even its first sequence: the elder may just have made the frames of a source
// that starts at 0 durable. So while an elder runs, a newcomer does not answer the hello of
// a source that it does not know. The client waits, sends nothing, and keeps its events;
// the ack follows within a tenth of a second of the adoption, and says what the elder had
// made durable. After 8 s, before the client's own patience ends, the connection is closed
// without a word, and the client comes again. The elder answers everybody: no newcomer
// has a source that the elder does not know, since a newcomer begins with a vacant place.
// An elder that sees a newcomer does not wait for the store at its end, since the newcomer
// can bring the blocks there, and clients wait.
//
// Disk: each place has spool.size_max, so during a hand-over there may be twice as much. A
// vacant place keeps its last log file (64 MiB) and its collector id, so that ids do not
// multiply.
//
// The price: clients that begin while two daemons are there, and come to the newcomer,
// wait until the elder has gone. So two daemons on one spool are for a hand-over, not for
// good; after a minute the newcomer says so. A daemon with spool.share = false does not
// start where another is.
//
// Both count datagrams without asking. When a source is merged, events between the two
// parts, which neither daemon has seen, are booked as sent and lost; where the parts
// overlap, the spans settle which events are missing. If a place is adopted a second time
// (the first adopter died before it was done), its sources' parts lie within those known
// here, and nothing is booked again.
//
// A restart goes the same way as far as it can: the same recovery reads what is left, and
// the same steps of package pipeline make blocks of it and bring them to the store. A
// restart does not adopt its own place, since it differs in two points. Its sources are
// alone in the new process and go on as they were, while adopted sources are joined to
// those known here. And its place goes on under its number, while an adopted place is
// emptied and left vacant.
package takeover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/pipeline"
	"github.com/lectern/lectern/storage/spool"
)

// Collector is what the sources of others go to.
type Collector interface {
	Adopt(sources []storage.Source) (window uint64)
	Sealed(window uint64) bool
	Alone()
}

// Options configure an Heir. All fields are needed but Elders.
type Options struct {
	Dir       string       // of spool.dir, with all places
	Spool     *spool.Spool // this process's own
	SizeMax   int64        // bytes of each place
	Elders    []string     // places of processes that were here before and may run yet
	Collector Collector
	Open      func(*spool.Spool) (storage.Store, error) // opens the store for the blocks of another's spool
	Metrics   *metrics.Set
	Logger    *slog.Logger
}

// Heir takes over what other processes leave. TakeOver and Watch are one goroutine's,
// the other methods may be called concurrently.
type Heir struct {
	o       Options
	ctx     context.Context // ends with the shipping
	stop    context.CancelFunc
	working sync.WaitGroup
	total   *metrics.Counter

	alone  bool     // no other process can know a source that is not known here
	elders []string // those that are still waited for
	since  time.Time
	warned time.Time // when it was last said that clients wait,
	failed time.Time // or that a place cannot be taken over

	mu     sync.Mutex // protects places
	places map[string]*spool.Spool
}

// An elder's end is looked for more often than other places, whose sources no
// client waits for.
const (
	elderInterval  = 100 * time.Millisecond
	placesInterval = time.Second
	elderPatience  = time.Minute // after which it is said that clients wait
)

// New returns an Heir that does nothing yet. Its gauges of what waits for the store are
// those of the process, with its own spool: what waits is one number, whoever sealed it,
// since an alarm looks at it.
func New(o Options) *Heir {
	h := &Heir{o: o, elders: o.Elders, since: time.Now(), places: make(map[string]*spool.Spool)}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.total = o.Metrics.NewCounter("lectern_spools_adopted_total")
	gauge := func(name string, own int, of func(*spool.Spool) int) {
		o.Metrics.NewGauge(name, func() float64 { return float64(own*of(o.Spool) + h.Sum(of)) })
	}
	gauge("lectern_spool_adopted_blocks", 0, (*spool.Spool).Blocks)
	gauge("lectern_spool_blocks", 1, (*spool.Spool).Blocks)
	gauge("lectern_spool_rows", 1, (*spool.Spool).Rows)
	gauge("lectern_spool_parked_blocks", 1, (*spool.Spool).Parked)
	o.Metrics.NewGauge("lectern_spool_oldest_block_age_seconds", func() float64 { return max(o.Spool.Age(), h.age()).Seconds() })
	return h
}

// age is for how long the oldest block of others has waited.
func (h *Heir) age() (age time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.places {
		age = max(age, s.Age())
	}
	return age
}

// Sum adds up what of returns for each adopted spool.
func (h *Heir) Sum(of func(*spool.Spool) int) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.places {
		n += of(s)
	}
	return n
}

// Watch takes over whatever becomes free, until ctx ends.
func (h *Heir) Watch(ctx context.Context) {
	for {
		wait := placesInterval
		if !h.alone && h.failed.IsZero() {
			wait = elderInterval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		waited := !h.alone
		switch h.TakeOver(); {
		case waited && h.alone:
			h.o.Logger.Info("the others on the spool have gone; their clients go on here", "after", time.Since(h.since).Round(time.Millisecond))
		case waited:
			h.warn()
		}
	}
}

// warn says now and then that clients wait.
func (h *Heir) warn() {
	now := time.Now()
	if len(h.elders) == 0 || now.Sub(h.since) < elderPatience || now.Sub(h.warned) < elderPatience {
		return
	}
	h.warned = now
	h.o.Logger.Warn("clients of TCP whose source is not known here wait until the other daemon on the spool has gone, since that may have counted their frames. "+
		"Stop it, or give each a spool.dir of its own", "spool", h.elders, "for", now.Sub(h.since).Round(time.Second))
}

// TakeOver adopts the places that no process has, once all elders have gone. It says
// whether no other process can know a source that is not known here; the collector
// hears that the first time.
func (h *Heir) TakeOver() (alone bool) {
	h.elders = slices.DeleteFunc(h.elders, h.settled)
	if h.eldersRun() || !h.adoptFree() {
		return false
	}
	if !h.alone {
		h.alone, h.elders = true, nil
		h.o.Collector.Alone()
	}
	return true
}

// eldersRun says whether an elder has its place still, or may have.
func (h *Heir) eldersRun() bool {
	return slices.ContainsFunc(h.elders, func(place string) bool {
		if h.holds(place) {
			return false
		}
		running, err := spool.Running(place)
		return running || err != nil
	})
}

// adoptFree adopts what nobody has, and says whether it has all of it now.
func (h *Heir) adoptFree() bool {
	places, err := spool.Places(h.o.Dir)
	if err != nil {
		h.complain(h.o.Dir, err)
		return false
	}
	all := true
	for _, place := range places {
		if place == h.o.Spool.Dir() || h.holds(place) {
			continue
		}
		if running, err := spool.Running(place); running && err == nil || spool.Vacant(place) {
			continue // a younger one's, or nobody's
		}
		if err := h.adopt(place); err != nil {
			h.complain(place, err)
			all = false
		}
	}
	return all
}

// settled says whether another heir is done with an elder's place. The next who
// takes it is a younger one, which may be waiting for this process.
func (h *Heir) settled(place string) bool {
	running, err := spool.Running(place)
	return !running && err == nil && spool.Vacant(place)
}

// complain says why a place cannot be taken over, at most once in elderPatience.
func (h *Heir) complain(place string, err error) {
	if now := time.Now(); now.Sub(h.failed) >= elderPatience {
		h.failed = now
		h.o.Logger.Error("what another process left in the spool cannot be taken over; it will be tried again, and clients that it may know wait", "spool", place, "error", err)
	}
}

// Succeeded says whether another process is there to take over what this one
// leaves.
func (h *Heir) Succeeded() bool {
	places, err := spool.Places(h.o.Dir)
	return err == nil && slices.ContainsFunc(places, func(place string) bool {
		if place == h.o.Spool.Dir() || h.holds(place) {
			return false
		}
		running, err := spool.Running(place)
		return running && err == nil
	})
}

// Pending says which place of another process may hold what is not in the store yet, nil
// for none.
func (h *Heir) Pending() error {
	places, err := spool.Places(h.o.Dir)
	if err != nil {
		return err
	}
	for _, place := range places {
		if place == h.o.Spool.Dir() {
			continue
		}
		if h.holds(place) {
			return fmt.Errorf("what another process left in %s is on its way to the store", place)
		}
		switch running, err := spool.Running(place); {
		case err != nil:
			return err
		case running:
			return fmt.Errorf("another daemon has %s: this one takes it over when that has gone", place)
		case !spool.Vacant(place):
			return fmt.Errorf("what another process left in %s is not taken over yet", place)
		}
	}
	return nil
}

func (h *Heir) holds(place string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.places[place]
	return ok
}

// adopt takes over one place.
func (h *Heir) adopt(place string) error {
	s, recovered, err := spool.Open(spool.Options{
		Dir: place, SizeMax: h.o.SizeMax, Logger: h.o.Logger, Damage: h.o.Spool.Damage(), Clock: time.Now,
		LockWait: time.Second, // another heir may look at it just now
	})
	if err != nil {
		return err
	}
	window := h.o.Collector.Adopt(recovered.Sources)
	h.mu.Lock()
	h.places[place] = s
	h.mu.Unlock()
	h.total.Inc()
	h.o.Logger.Info("the spool of another process is taken over", "spool", place, "collector", fmt.Sprintf("%016x", s.Collector()),
		"sources", len(recovered.Sources), "seals", recovered.Seals, "segments", recovered.Segments)
	recovered.Books = leaveSpans(recovered, time.Now().UnixMilli())
	recovered.Sources = nil // they are the collector's now
	h.working.Go(func() { h.settle(s, recovered, window) })
	return nil
}

// leaveSpans has the sources of a process that runs no more leave their spans in
// its own books, since nobody else can tell what these have. at is in Unix
// milliseconds.
func leaveSpans(r *spool.Recovered, at int64) []storage.Book {
	books, of := r.Books, make(map[uint16]int)
	for i := range books {
		of[books[i].Stream] = i
	}
	for i := range r.Sources {
		o := &r.Sources[i]
		if o.Session || o.End == 0 {
			continue // all of it is that process's, or there is nothing to tell
		}
		n, ok := of[o.Stream]
		if !ok {
			n = len(books)
			of[o.Stream] = n
			books = append(books, storage.Book{Stream: o.Stream})
		}
		books[n].Spans = append(books[n].Spans, o.Span(at, r.Last+1))
	}
	return books
}

// settle brings all that an adopted spool holds to the store. When its sources
// are durable here, too, nothing needs it any more.
func (h *Heir) settle(s *spool.Spool, recovered *spool.Recovered, window uint64) {
	err := h.ship(s, recovered)
	for err == nil && !h.o.Collector.Sealed(window) {
		select {
		case <-time.After(elderInterval):
		case <-h.ctx.Done():
			err = h.ctx.Err()
		}
	}
	if err == nil {
		err = s.Retire()
	} else {
		err = errors.Join(err, s.Close())
	}
	if err != nil && h.ctx.Err() == nil {
		// It stays in the list, so that it is not taken over again and again.
		h.o.Logger.Error("the spool of another process could not be emptied; it stays for the next start", "spool", s.Dir(), "error", err)
		return
	}
	h.mu.Lock()
	delete(h.places, s.Dir())
	h.mu.Unlock()
}

func (h *Heir) ship(s *spool.Spool, recovered *spool.Recovered) error {
	store, err := h.o.Open(s)
	if err != nil {
		return err
	}
	defer store.Close()
	if recovered.Window == (storage.Window{}) { // all of it is in blocks, but for the spans
		now := time.Now().UnixMilli()
		recovered.Window = storage.Window{Start: now, End: now}
	}
	return pipeline.ShipLeftover(h.ctx, pipeline.GathererOptions{
		Spool: s, Store: store, Recovered: recovered,
		Metrics: h.o.Metrics, Logger: h.o.Logger,
	})
}

// Close ends the shipping. What is not stored stays in its place.
func (h *Heir) Close() {
	h.stop()
	h.working.Wait()
}
