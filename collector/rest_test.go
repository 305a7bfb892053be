package collector

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/panjf2000/gnet/v2"

	"github.com/lectern/lectern/storage"
)

// A rest is as long as the traffic makes it worth while, and its receive buffer allows.
func TestRestFollowsTraffic(t *testing.T) {
	for _, c := range []struct {
		name   string
		buffer int
		each   time.Duration // between two datagrams
		most   time.Duration
		want   time.Duration
	}{
		{"silence", 64 << 20, time.Second, restMax, 0},
		{"one in a rest", 64 << 20, 75 * time.Millisecond, restMax, 0},
		{"a few", 64 << 20, 5 * time.Millisecond, restMax, restMax},
		{"a few, beside clients that wait", 64 << 20, 5 * time.Millisecond, restSessions, restSessions},
		{"a few, the default buffer", 8 << 20, 5 * time.Millisecond, restMax, 67108864},
		{"a few, what a kernel gives by itself", 212992, 5 * time.Millisecond, restMax, 0},
		{"30,000 a second", 64 << 20, time.Second / 30_000, restMax, 8533 * time.Microsecond},
		{"a million a second", 64 << 20, time.Microsecond, restMax, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rest{most: restFor(c.buffer)}
			for now, before := int64(1000), uint64(0); now <= 60_000; now++ {
				taken := uint64(time.Duration(now) * time.Millisecond / c.each)
				if taken != before { // else the loop is not woken
					r.weigh(taken, now, c.most)
				}
				before = taken
			}
			if diff := (r.length - c.want).Abs(); diff > c.want/100 {
				t.Errorf("it rests %v, want %v", r.length, c.want)
			}
		})
	}
}

// A crowd that comes at once ends rests after the first.
func TestRestEndsWhenMuchComes(t *testing.T) {
	r := rest{most: restFor(64 << 20)}
	r.weigh(10, 1000, restMax)
	r.weigh(20, 1030, restMax)
	if r.length != restMax {
		t.Fatalf("it rests %v", r.length)
	}
	r.weigh(20_000, 1050, restMax)
	if r.length != 0 {
		t.Errorf("it rests %v, with a million datagrams a second", r.length)
	}
}

// idleLoop keeps what it is asked to run.
type idleLoop struct {
	gnet.EventLoop
	asked []gnet.Runnable
}

// onIdleLoop is a connection of one.
type onIdleLoop struct {
	deaf
	loop *idleLoop
}

func (c onIdleLoop) EventLoop() gnet.EventLoop { return c.loop }

func (e *idleLoop) Execute(_ context.Context, r gnet.Runnable) error {
	e.asked = append(e.asked, r)
	return nil
}

// A loop rests once a round, and not at all when the round left something to read or
// the collector ends.
func TestLoopRestsOnceARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, loop := new(shard), new(idleLoop)
		c := onIdleLoop{loop: loop}
		s.rest.length, s.rest.at = restMax, 1 // at the time that a new shard has
		round := func(dry ...bool) time.Duration {
			t.Helper()
			loop.asked = nil
			for _, d := range dry {
				s.pace(c, d)
			}
			if len(loop.asked) != 1 {
				t.Fatalf("%d rests in a round", len(loop.asked))
			}
			began := time.Now()
			if err := loop.asked[0].Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		if got := round(true); got != restMax {
			t.Errorf("behind one datagram it rests %v", got)
		}
		if got := round(true, true, true); got != restMax {
			t.Errorf("behind three connections it rests %v", got)
		}
		if got := round(true, false, true); got != 0 {
			t.Errorf("with something left to read it rests %v", got)
		}
		if got := round(true); got != restMax {
			t.Errorf("in the round behind that it rests %v", got)
		}
		s.leaving = true
		loop.asked = nil
		if s.pace(c, true); len(loop.asked) != 0 {
			t.Error("it rests when it ends")
		}
	})
}

// A loop rests for long only where no client of it waits for an ack.
func TestLoopWithClientsRestsBriefly(t *testing.T) {
	for clients, want := range []time.Duration{restMax, restSessions} {
		s := &shard{rest: rest{most: restMax}, steady: 1000}
		s.conns.list = make([]*connection, clients)
		s.tally[readDatagrams] = 100
		if s.pace(onIdleLoop{loop: new(idleLoop)}, true); s.rest.length != want {
			t.Errorf("with %d clients it rests %v, want %v", clients, s.rest.length, want)
		}
	}
}

// A rest ends when there is something to do, and one that would begin behind that is none.
func TestRestEndsWhenSomethingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shard{rest: rest{length: restMax, over: make(chan struct{}, 1)}}
		rests := func() time.Duration {
			t.Helper()
			began := time.Now()
			if err := (sleeper{s}).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		const after = 7 * time.Millisecond
		time.AfterFunc(after, s.rest.end)
		if got := rests(); got != after {
			t.Errorf("it rests %v, and was to do something after %v", got, after)
		}
		s.rest.end()
		s.rest.end()
		if got := rests(); got != 0 {
			t.Errorf("it rests %v, with something to do", got)
		}
		want := restMax - after // until the moment that is the same for all loops
		if got := rests(); got != want {
			t.Errorf("it rests %v, with nothing to do, want %v", got, want)
		}
	})
}

// listener is a client that says when it is told something.
type listener struct {
	peer
	told func()
}

func (l listener) send([]byte) { l.told() }

// Acks do not wait for the end of a rest, and a loop rests on where there are none.
func TestAcksEndRests(t *testing.T) {
	o := Options{Loops: 2, KeysMax: 4096, SourcesMax: 10, Metrics: metrics.NewSet()}
	clocks := newClocks(&o, 0)
	c := newCutter(&o, newSources(&o), clocks)
	for range o.Loops {
		c.shards = append(c.shards, shardOf(4096, nil, &o, newRules(&o), c.sources, c, clocks))
	}
	queued := 0
	for id := range uint64(3) {
		c.sessions.join(&connection{source: id, shard: c.shards[id%2], phase: phaseGreeted, peer: listener{told: func() {
			if queued++; len(c.shards[0].rest.over)+len(c.shards[1].rest.over) > 0 {
				t.Errorf("a rest ends before ack %d waits", queued)
			}
		}}})
	}
	c.sealed([]storage.Source{{ID: 0}, {ID: 1}}, 1) // which came as datagrams
	if queued > 0 || len(c.shards[0].rest.over)+len(c.shards[1].rest.over) > 0 {
		t.Errorf("%d acks, and a rest ends without any", queued)
	}
	c.sealed([]storage.Source{{ID: 0, Session: true}, {ID: 1, Session: true}, {ID: 2, Session: true}}, 1)
	if queued != 3 || len(c.shards[0].rest.over) != 1 || len(c.shards[1].rest.over) != 1 {
		t.Errorf("%d acks wait, want 3, and a loop rests on", queued)
	}
}
