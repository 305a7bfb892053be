package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/pipeline"
	"github.com/lectern/lectern/storage/spool"
)

// heirs takes over what other processes left in places of spool.dir: their
// sources, so that clients go on here, and their blocks, which go to the store
// under the numbers they have. doc.go says why in this order.
type heirs struct {
	d       *daemon
	ctx     context.Context // ends with the shipping
	stop    context.CancelFunc
	working sync.WaitGroup
	total   *metrics.Counter

	elders []string // places of processes that were here before and may run yet
	since  time.Time
	warned time.Time // when it was last said that clients wait,
	failed time.Time // or that a place cannot be taken over

	mu     sync.Mutex // protects places
	places map[string]adopted
}

// adopted is a place that was taken over.
type adopted struct {
	*spool.Spool
	set *metrics.Set // what it counts by itself
}

// An elder's end is looked for more often than other places, whose sources no
// client waits for.
const (
	elderInterval  = 100 * time.Millisecond
	placesInterval = time.Second
	elderPatience  = time.Minute // after which it is said that clients wait
)

func newHeirs(d *daemon, elders []string) *heirs {
	h := &heirs{d: d, elders: elders, since: time.Now(), places: make(map[string]adopted)}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.total = d.set.NewCounter("lectern_spools_adopted_total")
	d.set.NewGauge("lectern_spool_adopted_blocks", func() float64 { return float64(h.sum((*spool.Spool).Blocks)) })
	// What waits is one number, whoever sealed it: an alarm looks at it.
	d.set.NewGauge("lectern_spool_blocks", func() float64 { return float64(d.spool.Blocks() + h.sum((*spool.Spool).Blocks)) })
	d.set.NewGauge("lectern_spool_rows", func() float64 { return float64(d.spool.Rows() + h.sum((*spool.Spool).Rows)) })
	d.set.NewGauge("lectern_spool_parked_blocks", func() float64 { return float64(d.spool.Parked() + h.sum((*spool.Spool).Parked)) })
	d.set.NewGauge("lectern_spool_oldest_block_age_seconds", func() float64 { return max(d.spool.Age(), h.age()).Seconds() })
	return h
}

// age is for how long the oldest block of others has waited.
func (h *heirs) age() (age time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.places {
		age = max(age, s.Age())
	}
	return age
}

// sum adds up what of each adopted spool returns.
func (h *heirs) sum(of func(*spool.Spool) int) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.places {
		n += of(s.Spool)
	}
	return n
}

// watch takes over until ctx ends. alone says that this was done once.
func (h *heirs) watch(ctx context.Context, alone bool) {
	for {
		wait := placesInterval
		if !alone && h.failed.IsZero() {
			wait = elderInterval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		took := h.takeOver()
		if took && !alone {
			alone, h.elders = true, nil
			h.d.collector.Alone()
			h.d.logger.Info("the others on the spool have gone; their clients go on here", "after", time.Since(h.since).Round(time.Millisecond))
		}
		if !alone {
			h.grumble()
		}
		h.count()
	}
}

// grumble says now and then that clients wait.
func (h *heirs) grumble() {
	now := time.Now()
	if len(h.elders) == 0 || now.Sub(h.since) < elderPatience || now.Sub(h.warned) < elderPatience {
		return
	}
	h.warned = now
	h.d.logger.Warn("clients of TCP whose source is not known here wait until the other daemon on the spool has gone, since that may have counted their frames. "+
		"Stop it, or give each a spool.dir of its own", "spool", h.elders, "for", now.Sub(h.since).Round(time.Second))
}

// takeOver adopts the places that no process has, once all elders have gone. It
// says whether nobody else can know a source that is not known here.
func (h *heirs) takeOver() bool {
	h.elders = slices.DeleteFunc(h.elders, h.settled)
	for _, place := range h.elders {
		if h.holds(place) {
			continue
		}
		if running, err := spool.Running(place); running || err != nil {
			return false
		}
	}
	places, err := spool.Places(h.d.config.Spool.Dir)
	if err != nil {
		h.complain(h.d.config.Spool.Dir, err)
		return false
	}
	all := true
	for _, place := range places {
		if place == h.d.spool.Dir() || h.holds(place) {
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
func (h *heirs) settled(place string) bool {
	running, err := spool.Running(place)
	return !running && err == nil && spool.Vacant(place)
}

// complain says why a place cannot be taken over, at most once in elderPatience.
func (h *heirs) complain(place string, err error) {
	if now := time.Now(); now.Sub(h.failed) >= elderPatience {
		h.failed = now
		h.d.logger.Error("what another process left in the spool cannot be taken over; it will be tried again, and clients that it may know wait", "spool", place, "error", err)
	}
}

// succeeded says whether another process is there to take over what this one
// leaves.
func (h *heirs) succeeded() bool {
	places, err := spool.Places(h.d.config.Spool.Dir)
	return err == nil && slices.ContainsFunc(places, func(place string) bool {
		if place == h.d.spool.Dir() || h.holds(place) {
			return false
		}
		running, err := spool.Running(place)
		return running && err == nil
	})
}

func (h *heirs) holds(place string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.places[place]
	return ok
}

// adopt takes over one place.
func (h *heirs) adopt(place string) error {
	d := h.d
	set := metrics.NewSet()
	s, recovered, err := spool.Open(spool.Options{
		Dir: place, SizeMax: int64(d.config.Spool.SizeMax), Logger: d.logger, Metrics: set, Clock: time.Now,
		LockWait: time.Second, // another heir may look at it just now
	})
	if err != nil {
		return err
	}
	window := d.collector.Adopt(recovered.Sources)
	h.mu.Lock()
	h.places[place] = adopted{s, set}
	h.mu.Unlock()
	h.total.Inc()
	d.logger.Info("the spool of another process is taken over", "spool", place, "collector", fmt.Sprintf("%016x", s.Collector()),
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

// count adds what was found damaged in adopted spools to what this process shows
// of its own.
func (h *heirs) count() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.places {
		for _, name := range []string{"lectern_spool_torn_bytes_total", "lectern_spool_files_set_aside_total", "lectern_events_damaged_total"} {
			found := a.set.GetOrCreateCounter(name)
			n := int64(found.Get())
			found.AddInt64(-n)
			h.d.set.GetOrCreateCounter(name).AddInt64(n)
		}
	}
}

// settle brings all that an adopted spool holds to the store. When its sources
// are durable here, too, nothing needs it any more.
func (h *heirs) settle(s *spool.Spool, recovered *spool.Recovered, window uint64) {
	err := h.ship(s, recovered)
	h.count()
	for err == nil && !h.d.collector.Sealed(window) {
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
		h.d.logger.Error("the spool of another process could not be emptied; it stays for the next start", "spool", s.Dir(), "error", err)
		return
	}
	h.mu.Lock()
	delete(h.places, s.Dir())
	h.mu.Unlock()
}

func (h *heirs) ship(s *spool.Spool, recovered *spool.Recovered) error {
	store, err := h.d.openStoreBeside(s)
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
		Metrics: h.d.set, Logger: h.d.logger,
	})
}

// close ends the shipping. What is not stored stays in its place.
func (h *heirs) close() {
	h.stop()
	h.working.Wait()
}
