package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/trace"
)

const crashWindow = "window.ack_interval = \"20ms\"\nwindow.flush_interval = \"60ms\"\nparquet.merge_interval = \"1s\""

// The parts of a daemon's life in which it is killed.
const (
	inStart   = "start"   // with empty directories, until it is ready
	inRun     = "run"     // under load
	inStop    = "stop"    // from SIGTERM on
	inRecover = "recover" // after a kill, from its start on
	inMerge   = "merge"   // from a start on, while the files of a past hour are merged
)

var crashPhases = []string{inStart, inRun, inStop, inRecover, inMerge}

// crashPoint is a moment of a daemon's life.
type crashPoint struct {
	phase string
	trace.Aim
}

func (p crashPoint) String() string { return p.phase + ": " + p.Aim.String() }

// A daemon that is killed at any of its system calls, and started again, has
// stored every event that was acknowledged, before the kill or after, once.
// LECTERN_TEST_CRASH_POINTS says how many calls are tried, LECTERN_TEST_SEED which.
func TestCrashPoints(t *testing.T) {
	seed := crashSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	calls := make(map[string]map[string]int)
	for _, phase := range crashPhases {
		l := &life{t: t, phase: phase}
		calls[phase] = l.run(nil)
		t.Logf("%s: %v", phase, calls[phase])
	}
	eachCrashPoint(t, choosePoints(rng, calls, crashCount(12)), func(t *testing.T, p crashPoint) (reached bool, came string) {
		l := &life{t: t, phase: p.phase}
		l.run(&p.Aim)
		return l.hit, fmt.Sprintf("%d acked then, %d acked in the end, %d stored; %d of %d datagrams' events", l.acked, l.tcpSent, l.tcpStored, l.udpStored, l.udpSent)
	})
}

// eachCrashPoint lets each point be a test, several at a time, and wants half of them
// to be reached. die leads a life up to a point, and says what came of it.
func eachCrashPoint(t *testing.T, points []crashPoint, die func(*testing.T, crashPoint) (reached bool, came string)) {
	t.Helper()
	if len(points) == 0 {
		t.Skip("the calls of a traced process cannot be seen here")
	}
	var reached atomic.Int64
	t.Run("points", func(t *testing.T) {
		for i, p := range points {
			t.Run(fmt.Sprintf("%03d", i+1), func(t *testing.T) {
				t.Parallel()
				hit, came := die(t, p)
				where := "not reached, "
				if hit {
					reached.Add(1)
					where = "kill in "
				}
				t.Logf("%s%s: %s", where, p, came)
			})
		}
	})
	t.Logf("%d points, %d of them reached", len(points), reached.Load())
	if reached.Load()*2 < int64(len(points)) {
		t.Errorf("only %d of %d points were reached", reached.Load(), len(points))
	}
}

// crashSeed returns what draws a test's numbers, and prints it.
func crashSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LECTERN_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("LECTERN_TEST_SEED=%d", seed)
	return seed
}

// crashCount is how many points are tried.
func crashCount(otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv("LECTERN_TEST_CRASH_POINTS")); err == nil {
		return n
	}
	return otherwise
}

// choosePoints draws n points: one of each kind of call in each phase in turn.
func choosePoints(rng *rand.Rand, calls map[string]map[string]int, n int) (points []crashPoint) {
	var kinds [][]crashPoint
	for _, phase := range slices.Sorted(maps.Keys(calls)) {
		for _, call := range slices.Sorted(maps.Keys(calls[phase])) {
			var kind []crashPoint
			for i := range calls[phase][call] {
				kind = append(kind, crashPoint{phase, trace.Aim{Call: call, Nth: i + 1}}, crashPoint{phase, trace.Aim{Call: call, Nth: i + 1, After: true}})
			}
			rng.Shuffle(len(kind), func(i, j int) { kind[i], kind[j] = kind[j], kind[i] })
			kinds = append(kinds, kind)
		}
	}
	rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for round := 0; len(points) < n; round++ {
		before := len(points)
		for _, kind := range kinds {
			if round < len(kind) && len(points) < n {
				points = append(points, kind[round])
			}
		}
		if len(points) == before {
			break
		}
	}
	return points
}

// life is one daemon's, from its first start to its last stop, with two clients
// that send all the while: one over TCP, which is exact, one over UDP.
type life struct {
	t     *testing.T
	phase string
	home  *crashed

	tcp              *emit.TCP
	udp              *emit.UDP
	tcpSent, udpSent uint64 // events that were taken; the clients' while they run

	hit                  bool
	acked                uint64 // when the daemon was killed
	tcpStored, udpStored int
}

// run leads the life, with a kill in its phase, and checks what is left of it.
// It returns the calls of the phase.
func (l *life) run(at *trace.Aim) (calls map[string]int) {
	l.home = home(l.t, crashWindow)
	halt := l.load()
	l.prepare()
	d, r := l.serve(at)
	switch l.phase {
	case inStart:
		l.wait(d.ready, r)
		calls = r.Begin(nil)
	case inRun:
		l.wait(d.ready, r)
		r.Begin(at)
		l.let(r, at)
		calls = r.Begin(nil)
	case inStop:
		l.wait(d.ready, r)
		time.Sleep(100 * time.Millisecond)
		r.Begin(at)
		r.Signal(syscall.SIGTERM)
		<-r.Finished
		calls = r.Begin(nil)
	case inRecover, inMerge:
		l.wait(d.ready, r)
		l.let(r, at)
		calls = r.Begin(nil)
	}
	l.hit = r.Killed()
	killTraced(r)
	<-d.finished
	l.acked = l.tcp.Stats().Acked
	if said := complaints(d.said()); len(said) > 0 {
		l.t.Errorf("the daemon that was killed had said:\n%s", strings.Join(said, ""))
	}

	again := serveOn(l.t, l.home.config)
	time.Sleep(50 * time.Millisecond)
	halt()
	l.settle()
	again.stop()
	if said := complaints(again.said()); len(said) > 0 {
		l.t.Errorf("the daemon started again says:\n%s", strings.Join(said, ""))
	}
	l.check()
	return calls
}

// prepare makes the directories what the phase finds.
func (l *life) prepare() {
	switch l.phase {
	case inRecover:
		d := serveOn(l.t, l.home.config)
		time.Sleep(time.Duration(50+rand.IntN(150)) * time.Millisecond)
		d.kill()
	case inMerge:
		d := serveOn(l.t, l.home.config)
		time.Sleep(300 * time.Millisecond)
		d.stop()
		l.age()
	}
}

// age gives the stored files the names that they would have if they had been
// stored two hours before: no block of them is in the spool any more.
func (l *life) age() {
	files, err := filepath.Glob(filepath.Join(l.home.parquet, "*", "day=*", "*.parquet"))
	if err != nil || len(files) == 0 {
		l.t.Fatalf("nothing is stored to be merged: %v", err)
	}
	for _, f := range files {
		hour, rest, _ := strings.Cut(filepath.Base(f), "-")
		at, err := time.Parse("20060102T15", hour)
		if err == nil {
			err = os.Rename(f, filepath.Join(filepath.Dir(f), at.Add(-2*time.Hour).Format("20060102T15")+"-"+rest))
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

// serve starts the daemon that is traced.
func (l *life) serve(at *trace.Aim) (*served, *trace.Tracer) {
	path, err := built()
	if err != nil {
		l.t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		l.t.Fatal(err)
	}
	defer write.Close()
	l.t.Cleanup(func() { _ = read.Close() })
	d := &served{t: l.t, config: l.home.config, ready: make(chan struct{}), finished: make(chan struct{})}
	if l.phase == inRun || l.phase == inStop {
		at = nil // not yet
	}
	r := traced(l.t, at, trace.Start{
		Path: path, Args: []string{"serve", "--config", l.home.config}, Environ: os.Environ(), Dir: l.t.TempDir(), Files: []*os.File{nil, write, write},
	})
	go d.listen(read)
	return d, r
}

// wait waits for a daemon to be ready, or killed.
func (l *life) wait(ready <-chan struct{}, r *trace.Tracer) {
	select {
	case <-ready:
	case <-r.Finished:
	case <-time.After(time.Minute):
		l.t.Fatal("the daemon is not ready")
	}
}

// let lets the daemon work until it is killed, or for a moment where it is not to
// be.
func (l *life) let(r *trace.Tracer, at *trace.Aim) {
	most := 400 * time.Millisecond
	if at != nil {
		most = 3 * time.Second
	}
	select {
	case <-r.Finished:
	case <-time.After(most):
	}
}

// load makes the clients send until halt is called.
func (l *life) load() (halt func()) {
	var err error
	if l.tcp, err = emit.DialTCP(context.Background(), l.home.address, emit.Options{
		Stream: 1, FrameSize: 512, BufferSize: 1 << 20, FlushAge: 2 * time.Millisecond, Background: true,
	}); err != nil {
		l.t.Fatal(err)
	}
	if l.udp, err = emit.DialUDP(context.Background(), l.home.address, emit.Options{Stream: 2, FlushAge: 2 * time.Millisecond}); err != nil {
		l.t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			now := time.Now().UnixMilli()
			for range 8 {
				if l.tcp.Add(crashEvent(l.tcpSent+1, now)) == nil {
					l.tcpSent++
				}
				if l.udp.Add(crashEvent(l.udpSent+1, now)) == nil {
					l.udpSent++
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	halted := false
	halt = func() {
		if !halted {
			halted = true
			close(stop)
			<-done
		}
	}
	l.t.Cleanup(func() {
		halt()
		soon, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = l.tcp.Close(soon)
		_ = l.udp.Close(soon)
	})
	return halt
}

// settle waits until everything is acknowledged.
func (l *life) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := l.tcp.Close(ctx); err != nil {
		l.t.Errorf("not everything was acknowledged: %v", err)
	}
	// It may have failed on the way: nobody was there.
	_ = l.udp.Close(ctx)
	if s := l.tcp.Stats(); s.Acked != l.tcpSent || s.Events != l.tcpSent {
		l.t.Errorf("%d events were taken, and %d acknowledged: %+v", l.tcpSent, s.Acked, s)
	}
}

// check compares what is stored with what was acknowledged.
func (l *life) check() {
	checkBooks(l.t, l.home.config, l.home.spool)
	events := storedEvents(l.t, l.home.parquet)
	l.tcpStored, l.udpStored = len(events[1]), len(events[2])
	if err := compare(events[1], all(l.tcpSent, counted)); err != nil {
		l.t.Errorf("over TCP: %v", err)
	}
	if err := compare(events[2], all(l.udpSent, maybe)); err != nil {
		l.t.Errorf("over UDP: %v", err)
	}
}
