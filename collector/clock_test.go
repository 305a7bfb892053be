package collector

import (
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// steps are what a wall clock may do: NTP, a virtual machine that is resumed, a
// board whose clock starts in 1970.
func steps(now time.Time) []time.Duration {
	return []time.Duration{
		-time.Second, time.Second, 2 * time.Minute, -2 * time.Hour, 2 * time.Hour, 8 * 24 * time.Hour,
		-3652 * 24 * time.Hour, 3652 * 24 * time.Hour, time.Unix(0, 0).Sub(now),
	}
}

// lived has sources be no strangers any more.
func (b *bench) lived(ids ...uint64) {
	for _, id := range ids {
		src := b.shards[0].sources
		src.raise(src.of(id).known(id), storage.Lived)
	}
}

// No step of the wall clock is anybody's silence: no connection is idle by it, no
// hello has waited for too long, no source is forgotten, and what was sealed
// counts once. The same silence by the steady clock ends all of them.
func TestStepsAreNoSilence(t *testing.T) {
	for _, step := range steps(epoch) {
		t.Run(step.String(), func(t *testing.T) {
			b := newBench(1, func(o *Options) {
				o.CreditMax, o.ConnectionIdleMax, o.SourceIdleMax, o.SessionIdleMax = 1<<20, time.Minute, time.Hour, 168*time.Hour
			})
			s := b.shards[0]
			b.cuts.company.Store(true) // so that a hello of a source that is not known waits
			open := func(bytes []byte) *wireline {
				l := &wireline{came: bytes}
				s.OnOpen(l)
				s.OnTraffic(l)
				return l
			}
			frame := frameOf(1, 7, 0, 0, b.now, opens(3)...)
			lines := []*wireline{open(nil), open(frame[:wire.HeaderSize+1]), open(wire.AppendHello(nil, 1, 9, 0))}
			b.receive(0, frameOf(1, 8, 0, 0, b.now, opens(3)...))
			k := &connection{via: overTCP, shard: s, phase: phaseGreeted, source: 6, stream: 1}
			sealed := frameOf(1, 6, 0, 0, b.now, opens(3)...)
			b.stream(0, k, sealed)
			b.lived(6)
			b.cuts.cut(causeTime)
			sweep := func() (ended, known int) {
				s.sweep()
				for n := range stripes {
					s.sources.forgetSilent(n, b.cuts.clocks.steady(), s.limits)
				}
				for _, l := range lines {
					if l.ended || len(l.down) > 0 {
						ended++
					}
				}
				return ended, int(s.sources.live.Load())
			}

			b.now = b.now.Add(step)
			if ended, known := sweep(); ended != 0 || known != 2 {
				t.Errorf("after the step %d of 3 connections have ended, and %d of 2 sources are known", ended, known)
			}
			b.stream(0, &connection{via: overTCP, shard: s, phase: phaseGreeted, source: 6, stream: 1}, sealed) // its ack was lost
			b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 6, storage.Accepted: 6, storage.Duplicate: 3}}, 0)

			b.steady += 2 * time.Minute
			if ended, _ := sweep(); ended != 3 {
				t.Errorf("after two minutes of silence %d of 3 connections have ended", ended)
			}
			b.steady += 168 * time.Hour
			if _, known := sweep(); known != 0 {
				t.Errorf("after a week of silence %d sources are known", known)
			}
		})
	}
}

// reopen is a bench of a process that goes on with what another had sealed.
func reopen(before *bench, change func(*Options)) *bench {
	b := newBench(1, change)
	last := map[uint64]storage.Source{}
	for _, s := range before.sources {
		last[s.ID] = s
	}
	var all []storage.Source
	for _, s := range last {
		all = append(all, s)
	}
	*b.cuts.clocks = *newClocks(b.shards[0].limits, runningTime(all))
	b.shards[0].sources.restore(all)
	return b
}

// Silence adds up over restarts, whatever the wall clocks of the processes say,
// and the time between them counts as nothing.
func TestSilenceOverARestart(t *testing.T) {
	change := func(o *Options) { o.SourceIdleMax, o.SessionIdleMax = time.Hour, 168*time.Hour }
	first := newBench(1, change)
	session := func(b *bench, source uint64, sequence uint64) {
		b.stream(0, &connection{via: overTCP, shard: b.shards[0], phase: phaseGreeted, source: source, stream: 1}, frameOf(1, source, sequence, sequence, b.now, opens(1)...))
	}
	first.shards[0].limits.CreditMax = 1 << 20
	session(first, 1, 0)
	first.pass(100 * time.Hour)
	session(first, 2, 0)
	first.lived(1, 2)
	first.receive(0, frameOf(1, 3, 0, 0, first.now, opens(1)...))
	first.cuts.cut(causeTime)

	for _, step := range steps(epoch) {
		b := reopen(first, change)
		b.now = b.now.Add(step)
		known := func() (ids [4]bool) {
			s := b.shards[0].sources
			for n := range stripes {
				s.forgetSilent(n, b.cuts.clocks.steady(), b.shards[0].limits)
			}
			for id := range ids {
				ids[id] = s.of(uint64(id)).known(uint64(id)) != nil
			}
			return ids
		}
		for _, want := range []struct {
			after time.Duration
			known [4]bool
		}{
			{0, [4]bool{1: true, 2: true, 3: true}},
			{59 * time.Minute, [4]bool{1: true, 2: true, 3: true}},
			{61 * time.Minute, [4]bool{1: true, 2: true}},
			{67 * time.Hour, [4]bool{1: true, 2: true}},
			{69 * time.Hour, [4]bool{2: true}},
			{167 * time.Hour, [4]bool{2: true}},
			{169 * time.Hour, [4]bool{}},
		} {
			b.steady = want.after
			if got := known(); got != want.known {
				t.Errorf("a step of %v; %v after the restart the sources 1 to 3 are known: %v, want %v", step, want.after, got[1:], want.known[1:])
			}
		}
	}
}

// What another spool says of silence holds here, from its own last word on.
func TestSilenceOfAdoptedSources(t *testing.T) {
	b := newBench(1, func(o *Options) { o.SourceIdleMax, o.SessionIdleMax = time.Hour, 168*time.Hour })
	b.steady = time.Hour
	const start = 5_000_000_000 // of a spool that runs for longer
	c := &Collector{shards: b.shards, sources: b.shards[0].sources}
	c.Adopt([]storage.Source{
		{ID: 1, Next: 1, LastSeen: start, Session: true, Standing: storage.Lived},
		{ID: 2, Next: 1, LastSeen: start + 100*time.Hour.Milliseconds(), Session: true, Standing: storage.Lived},
	})
	b.cuts.cut(causeTime)
	for _, want := range []struct {
		after time.Duration
		known int64
	}{{67 * time.Hour, 2}, {69 * time.Hour, 1}, {167 * time.Hour, 1}, {169 * time.Hour, 0}} {
		b.steady = time.Hour + want.after
		for n := range stripes {
			b.shards[0].sources.forgetSilent(n, b.cuts.clocks.steady(), b.shards[0].limits)
		}
		if n := c.sources.live.Load(); n != want.known {
			t.Errorf("%v later %d sources are known, want %d", want.after, n, want.known)
		}
	}
}
