package collector

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
	"github.com/lectern/lectern/storage/vfs/vfstest"
	"github.com/lectern/lectern/wire"
)

// start begins a process, which may die while it does, and compares what it
// recovered with the model.
func (s *system) start() {
	r := s.open()
	switch {
	case r.Last == s.sealed+1 && s.pending != nil:
		s.counts["pending kept"]++
		s.settle()
	case r.Last != s.sealed:
		s.Fatalf("seal %d was acknowledged, the last one recovered is %d", s.sealed, r.Last)
	case s.pending != nil:
		s.counts["pending gone"]++
		s.pending.undo()
	}
	s.running.undo()
	s.running, s.pending = batch{}, nil
	s.rows, s.window, s.through, s.before = rowsOf(r), r.Window, r.Last, r.Before
	sums := totals{books: map[uint16]storage.Book{}}
	for _, b := range r.Books {
		sums.book(b)
	}
	s.books = sums.books
	s.checkSources(r.Sources)
	s.checkTotals(s.everything())

	s.limits.Clock = func() (time.Time, time.Duration) { return s.now, s.steady - s.began }
	s.began = s.steady
	clocks := newClocks(&s.limits, runningTime(r.Sources))
	src := newSources(&s.limits)
	src.restore(r.Sources)
	s.limits.Sink, s.limits.Metrics = s, s.set
	s.cuts = newCutter(&s.limits, src, clocks)
	s.shards = nil
	slots := 16 << s.rand.IntN(5)
	for range 1 + s.rand.IntN(2) {
		// With small tables, since thousands are made.
		s.shards = append(s.shards, doubled(shardOf(slots, s.events, &s.limits, newRules(&s.limits), src, s.cuts, clocks)))
	}
	s.cuts.shards = s.shards
	s.cuts.start = s.now.UnixMilli()
}

func (s *system) open() *spool.Recovered {
	for {
		if s.set != nil {
			s.set.UnregisterAllMetrics()
		}
		s.set = metrics.NewSet()
		if s.rand.IntN(4) == 0 {
			s.disk.CrashAt = s.disk.Steps + 1 + s.rand.IntN(12)
		}
		opened, r, err := spool.Open(s.spoolOptions(s.disk, s.set))
		if s.disk.Dead() {
			s.counts["died at the start"]++
			endProcess(s.disk, s.rand.IntN(2) == 0)
			continue
		}
		s.disk.CrashAt = 0
		if err != nil {
			s.Fatal(err)
		}
		if len(r.SetAside) > 0 {
			s.Errorf("a crash damaged %v", r.SetAside)
		}
		if r.Torn > 0 {
			s.counts["torn"]++
		}
		s.spool = opened
		return r
	}
}

func (s *system) spoolOptions(d *vfstest.Disk, set *metrics.Set) spool.Options {
	return spool.Options{
		Dir: "/spool", SizeMax: s.size, LogSize: 8 << 10, Files: d, Metrics: set,
		Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return s.now },
	}
}

// everything is what the store, the blocks that wait for it and the gatherer add
// up to. The blocks are taken from a copy of the disk.
func (s *system) everything() totals {
	sums := totals{maps.Clone(s.stored.events), s.stored.coarse, map[uint16]storage.Book{}}
	for _, b := range s.stored.books {
		sums.book(b)
	}
	set := metrics.NewSet()
	defer set.UnregisterAllMetrics()
	opened, r, err := spool.Open(s.spoolOptions(s.disk.Clone(), set))
	if err != nil {
		s.Fatal(err)
	}
	for {
		b, ok, err := opened.Oldest()
		if err != nil {
			s.Fatal(err)
		}
		if !ok {
			break
		}
		if !s.sameBytes(b) {
			sums.block(b)
		}
		if err := opened.Stored(b.Number); err != nil {
			s.Fatal(err)
		}
	}
	for _, row := range rowsOf(r) {
		sums.row(row)
	}
	for _, b := range r.Books {
		sums.book(b)
	}
	return sums
}

// checkTotals compares with every frame that was sealed, and none else.
func (s *system) checkTotals(got totals) {
	want := newTotals()
	for _, o := range s.origins {
		first, last, b := o.span(), uint64(0), storage.Book{Stream: o.stream}
		refused := uint64(0)
		for _, p := range o.parcels {
			if !p.sealed {
				continue
			}
			last = max(last, p.position+p.events)
			if p.name != "" {
				b.Names = append(b.Names, storage.Name{Content: named(p.name).Content, Text: p.name})
			}
			switch {
			case p.wrong:
				refused += p.events
			case p.shed:
				b.Counts[storage.Shed] += p.events
			case p.events > 0:
				b.Counts[storage.Accepted] += p.events
				want.events[p.hot]++
				want.events[p.serial] += p.events - 1
			}
		}
		b.Counts[storage.Sent] = last - first
		b.Counts[storage.Lost] = b.Counts[storage.Sent] - b.Counts[storage.Accepted] - b.Counts[storage.Shed] - refused
		b.Counts[storage.RefusedEvents.Of(wire.RefusedKind)] = refused
		want.book(b)
	}
	coarse := got.coarse // of contents that have no rows of their own, or not for all
	for content, n := range want.events {
		missing := n - got.events[content]
		if missing > coarse { // also where there are too many
			s.Errorf("%d events of content %d, want %d, or %d less", got.events[content], content, n, coarse)
		}
		coarse -= min(coarse, missing)
		delete(got.events, content)
	}
	if coarse > 0 || len(got.events) > 0 {
		s.Errorf("%d events without a content and %v are of nobody", coarse, got.events)
	}
	for stream := range uint16(3) {
		w, g := want.books[stream], got.books[stream]
		if !slices.Equal(texts(w.Names), texts(g.Names)) {
			s.Errorf("the names of stream %d are %q, want %q", stream, texts(g.Names), texts(w.Names))
		}
		if g.Counts[storage.Sent] != w.Counts[storage.Sent] || g.Counts[storage.Accepted] != w.Counts[storage.Accepted] || g.Counts[storage.Shed] != w.Counts[storage.Shed] || g.Net(storage.Lost) != w.Net(storage.Lost) || g.RefusedEvents() != w.RefusedEvents() || !g.Balanced() {
			s.Errorf("the book of stream %d is\n%+v, want\n%+v", stream, g, w)
		}
	}
}

// texts are those of names, each once, in order.
func texts(names []storage.Name) (all []string) {
	for _, n := range storage.CompactNames(slices.Clone(names)) {
		all = append(all, n.Text)
	}
	return all
}

// span is the position where what was sealed of a numbering begins.
func (o *origin) span() (first uint64) {
	any := false
	for _, p := range o.parcels {
		if p.sealed && (!any || p.position < first) {
			first, any = p.position, true
		}
	}
	return first
}

// checkSources compares with what each numbering has sealed.
func (s *system) checkSources(all []storage.Source) {
	got := map[uint64]storage.Source{}
	for _, source := range all {
		got[source.ID] = source
	}
	known := 0
	for _, o := range s.origins {
		want := storage.Source{ID: o.id, Stream: o.stream, Session: o.session, Base: o.span()}
		var came uint64
		var heard time.Duration
		for _, p := range o.parcels {
			if p.sealed {
				want.Next, want.Newest = max(want.Next, p.sequence+1), max(want.Newest, p.position)
				want.End = max(want.End, p.position+p.events)
				came += p.events
				heard = max(heard, p.heard)
			}
		}
		if want.Next == 0 || o.gone {
			continue
		}
		known++
		want.Lost = want.End - want.Base - came
		have := got[o.id]
		want.LastSeen, want.Met, want.Standing = have.LastSeen, have.Met, have.Standing
		if silent := runningTime(all) - have.LastSeen; silent > (s.steady - heard).Milliseconds() {
			s.Errorf("source %x is said to have been silent for %d ms, and spoke %v ago", o.id, silent, s.steady-heard)
		}
		if have != want {
			s.Errorf("the source is\n%+v, want\n%+v", have, want)
		}
	}
	if len(all) != known {
		s.Errorf("%d sources are known, want %d", len(all), known)
	}
}

// end lets everything arrive that still can, and looks for it in the store.
func (s *system) end() {
	s.disk.CrashAt, s.disk.Fault, s.away = 0, nil, false
	for len(s.air) > 0 {
		s.land()
		s.drain()
	}
	for _, o := range s.senders {
		s.datagram(s.newParcel(o))
	}
	for n := 0; slices.ContainsFunc(s.callers, func(c *caller) bool { return c.acked < len(c.parcels) }); n++ {
		for _, c := range s.callers {
			s.connect(c)
			s.send(c)
			s.deliver()
			s.receive(c)
		}
		s.sweep()
		s.drain()
		if n > 10000 {
			s.Fatal("clients wait for ever")
		}
	}
	for range s.lines {
		s.deliver()
	}
	if !s.cut(causeStop) {
		s.Fatal("no last cut")
	}
	s.drain()
	s.restart(true)
	s.freeze(true) // what the start may have interrupted
	s.drain()
	s.checkTotals(s.stored)
	for _, c := range s.callers {
		for _, p := range c.parcels {
			if !p.sealed {
				s.Errorf("frame %d of source %x is not there", p.sequence, c.id)
			}
		}
	}
}

// drain brings all that waits to the store.
func (s *system) drain() {
	s.cut(causeTime)
	s.freeze(true)
	s.spool.Unpark()
	for {
		b, ok, err := s.spool.Oldest()
		if err != nil {
			s.Fatal(err)
		}
		if !ok {
			return
		}
		s.store(b)
		if err := s.spool.Stored(b.Number); err != nil {
			s.Fatal(err)
		}
	}
}

// rowsOf lists the rows that were recovered.
func rowsOf(r *spool.Recovered) (rows []storage.Row) {
	_ = r.Rows.Each(func(row *storage.Row) error {
		rows = append(rows, *row)
		return nil
	})
	return rows
}
