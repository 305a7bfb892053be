package main

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/readers"
	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/internal/load"
	"github.com/lectern/lectern/wire"
)

const (
	millionSources  = 1000
	millionContents = 50_000
	millionFlows    = 64
)

// crowdLoad is events as they happen.
type crowdLoad struct {
	length time.Duration
	next   func(e *wire.Event) // what happens next; it sets after
	after  time.Duration       // when the event before happened, since the start
	now    time.Time           // that the next frame carries
	least  uint64              // rows that the events are: minutes of a reader with a content
}

func (l *crowdLoad) minute() int64 { return l.now.Unix() / 60 }

// crowd is the load of readers who are there at once.
func (b *million) crowd() *crowdLoad {
	l := &crowdLoad{length: b.length}
	present := readers.NewPresent(uint64(b.readers), millionContents, 1)
	l.next = func(e *wire.Event) {
		var what emit.Event
		l.after = present.Next(&what)
		percent, known := what.Progress.Percent()
		*e = wire.Event{Content: what.Content, User: what.User, Dwell: what.Dwell, Kind: what.Kind, Progress: percent, HasProgress: known}
		if what.Kind == emit.Open || l.now.Add(-readers.Heartbeat).Unix()/60 != l.minute() {
			l.least++
		}
	}
	return l
}

// byChance is heartbeats of so many pairs of reader and content, at a rate.
func (b *million) byChance(keys uint64, rate float64) *crowdLoad {
	l := &crowdLoad{length: b.length}
	random, last, n := rand.New(rand.NewPCG(1, 1)), make([]int64, keys), 0
	l.next = func(e *wire.Event) {
		key := random.Uint64N(keys)
		id := func(salt uint64) uint64 { return (key*2+salt)*0x9E3779B97F4A7C15 | 1<<63 }
		*e = wire.Event{Content: id(0), User: id(1), Dwell: 10_000, Kind: wire.KindRead}
		if last[key] != l.minute() {
			last[key] = l.minute()
			l.least++
		}
		n++
		l.after = time.Duration(float64(n) / rate * 1e9)
	}
	return l
}

// send sends the load in full frames of 1,000 sources in turn, each when its last
// event happens, and says how many events that were.
func (l *crowdLoad) send(t *testing.T, network, address string) uint64 {
	shape := load.Shape{Stream: 1, Sources: millionSources, Keys: 1, Size: 1400, Seed: 1, Next: l.next}
	if network == "tcp" {
		shape.Size = load.LargestFrame(100) // what a source has in a second
	}
	m, err := load.NewMaker(shape)
	if err != nil {
		t.Fatal(err)
	}
	if network == "tcp" {
		s, err := load.DialTCP(t.Context(), address, millionSources, true, m)
		if err != nil {
			t.Fatal(err)
		}
		l.pace(t, m, func() error { return s.Send(t.Context(), 1) })
		if err := s.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		return m.Events
	}
	u, err := load.DialUDP(netip.MustParseAddrPort(address), load.UDPOptions{Flows: millionFlows, Burst: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	l.pace(t, m, func() error { return u.Send(m, 1) })
	for range 3 { // what the last frames were
		time.Sleep(50 * time.Millisecond)
		if err := sendBeats(t.Context(), u, m); err != nil {
			t.Fatal(err)
		}
	}
	return m.Events
}

// pace calls send for each frame when it is due. What is due within paceStep goes
// out at once.
func (l *crowdLoad) pace(t *testing.T, m *load.Maker, send func() error) {
	began := time.Now()
	for l.after < l.length {
		l.now = time.Now()
		m.Tick(l.now)
		if err := send(); err != nil {
			t.Fatal(err)
		}
		if ahead := l.after - time.Since(began); ahead > paceStep {
			time.Sleep(ahead)
		}
	}
}

// ackProbes are connections that each have one event on its way at a time.
const ackProbes = 4

// probeAcks measures how long a frame waits for its ack while others send. The
// function that it returns ends that, and returns the 99th percentile, and of how many.
func probeAcks(t *testing.T, address string) func() (time.Duration, int) {
	stop, took := make(chan struct{}), make(chan []time.Duration)
	for n := range ackProbes {
		go func() { took <- probeAck(t, address, uint64(n)+2, stop) }()
	}
	return func() (time.Duration, int) {
		close(stop)
		var all []time.Duration
		for range ackProbes {
			all = append(all, <-took...)
		}
		if len(all) == 0 {
			return 0, 0
		}
		slices.Sort(all)
		return all[(len(all)-1)*99/100], len(all)
	}
}

// probeStream is the stream of what is sent to be acknowledged alone.
const probeStream = 2

func probeAck(t *testing.T, address string, seed uint64, stop chan struct{}) (took []time.Duration) {
	m, err := load.NewMaker(load.Shape{Stream: probeStream, Sources: 1, Keys: 1, Events: 1, Size: 1400, Seed: seed})
	if err != nil {
		t.Error(err)
		return nil
	}
	c, err := load.DialTCP(t.Context(), address, 1, true, m)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer c.Close()
	for {
		select {
		case <-stop:
			return took
		case <-time.After(rand.N(time.Second)):
		}
		m.Tick(time.Now())
		began := time.Now()
		err := c.Send(t.Context(), 1)
		if err == nil {
			err = c.Acknowledged(t.Context())
		}
		if err != nil {
			t.Error(err)
			return took
		}
		took = append(took, time.Since(began))
	}
}
