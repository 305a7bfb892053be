//go:build go1.26

package emit

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/wire"
)

var (
	simRuns = flag.Int("runs", 1000, "simulated runs")
	simSeed = flag.Uint64("seed", 0, "first seed of the simulated runs")
)

// Any faults of connections and of collectors, of which a connection may come to
// any, as long as they end: every event is counted exactly once, or in Stats as
// what became of it.
func TestSimulation(t *testing.T) {
	var total Stats
	forgets, moves, forgings, tags := 0, 0, 0, 0
	for seed := *simSeed; seed < *simSeed+uint64(*simRuns); seed++ {
		synctest.Test(t, func(t *testing.T) {
			stats, f := simulate(t, seed)
			total.Events += stats.Events
			total.Refused += stats.Refused
			total.Dropped += stats.Dropped
			total.Unsure += stats.Unsure
			total.Reconnects += stats.Reconnects
			forgets += f.forgets
			moves += f.moves
			forgings += f.forgings
			if f.seal != nil {
				tags += len(f.seal.tags)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d runs: %+v, forgotten %d times, another spool answered %d times, %d answers were forged, %d frames were sealed", *simRuns, total, forgets, moves, forgings, tags)
	if *simRuns >= 1000 && (total.Refused == 0 || total.Dropped == 0 || total.Unsure == 0 || total.Reconnects == 0 || forgets == 0 || moves <= forgets || forgings == 0 || tags == 0) {
		t.Error("the faults that are to be tried did not happen")
	}
}

func simulate(t *testing.T, seed uint64) (Stats, *fakeCollector) {
	r := rand.New(rand.NewPCG(seed, 7))
	f := newFake(rand.New(rand.NewPCG(seed, 8)))
	f.credit = []uint64{1, 500, 4000, 1 << 20}[r.IntN(4)]
	for range r.IntN(3) {
		f.another()
	}
	o := Options{FrameSize: 100 + r.IntN(400), OnFull: []OnFull{Block, Block, Drop, Fail}[r.IntN(4)], Background: true}
	o.BufferSize = ringFrames*(o.FrameSize+2*slotHeader) + r.IntN(4000)
	var epoch uint8
	if seed%2 == 1 {
		o.Key, o.Audience = secretOf(epoch, 1), testAudience
		f.seal = &fakeSeal{secrets: map[uint8]*wire.Secret{0: o.Key}, tags: map[string][]byte{}}
	}
	var serving sync.WaitGroup
	down, led := false, f.spools[0] // by a load balancer, say
	dial := func(context.Context) (net.Conn, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if down || f.odds(5) {
			return nil, syscall.ECONNREFUSED
		}
		if f.odds(4) {
			led = f.spools[f.rand.IntN(len(f.spools))]
		}
		a, b := net.Pipe()
		to := led
		serving.Go(func() { f.serve(to, b) })
		return a, nil
	}
	s, err := dialTCP(t.Context(), "fake", dial, o)
	if err != nil {
		t.Fatal(err)
	}
	added, want := uint64(0), uint64(200+r.IntN(600))
	var named []string
	for added < want {
		if r.IntN(10) == 0 {
			text := fmt.Sprint("/", r.IntN(1000))
			switch err := s.Name(text); {
			case err == nil:
				named = append(named, text)
			case err != ErrFull || o.OnFull != Fail:
				t.Fatalf("seed %d: Name: %v", seed, err)
			}
		}
		err := s.Add(Event{Time: instant + int64(added), Content: r.Uint64() >> r.IntN(64), User: added})
		switch {
		case err == nil:
			added++
		case err == ErrFull && o.OnFull == Fail:
			time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		default:
			t.Fatalf("seed %d: Add: %v", seed, err)
		}
		switch r.IntN(40) {
		case 0:
			time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
		case 1:
			_ = s.Flush()
		case 3:
			if f.seal != nil { // the collectors learn it first, and drop the old one then
				next := secretOf((epoch+1)%wire.Epochs, byte(r.Uint32()))
				f.mu.Lock()
				f.seal.secrets[next.Epoch()] = next
				f.mu.Unlock()
				if err := s.SetKey(next); err != nil {
					t.Fatal(err)
				}
				f.mu.Lock()
				f.seal.replace(epoch, next)
				epoch = next.Epoch()
				f.mu.Unlock()
			}
		case 2:
			f.mu.Lock()
			down = !down && o.OnFull != Fail && o.OnFull != Block
			f.mu.Unlock()
		}
	}
	f.mu.Lock()
	f.chaos, down = false, false
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("seed %d: Close: %v, %+v", seed, err, s.Stats())
	}
	serving.Wait()
	stats := s.Stats()
	if stats.Buffered != 0 || stats.Events != added {
		t.Errorf("seed %d: stats %+v, %d were added", seed, stats, added)
	}
	for _, bad := range f.check(added, stats) {
		t.Errorf("seed %d: %s; %+v", seed, bad, stats)
	}
	said := map[string]bool{}
	for _, text := range named {
		if n := f.named["name "+text]; n > 1 || n == 0 && f.sure() && o.OnFull != Drop {
			t.Errorf("seed %d: the name %s came %d times", seed, text, n)
		}
		said["name "+text] = true
	}
	for text := range f.named {
		if !said[text] {
			t.Errorf("seed %d: %s was never said", seed, text)
		}
	}
	if f.sure() && stats.Unsure > 0 {
		t.Errorf("seed %d: events are given up for which there is no reason; %+v", seed, stats)
	}
	return stats, f
}
