package collector

import (
	"fmt"
	"io"
	"testing"

	"github.com/lectern/lectern/internal/load"
	"github.com/lectern/lectern/wire"
)

// What sealing costs is measured with these loads.
var sealedLoads = []ingestLoad{
	{name: "sealed, one event, 1k sources", shape: load.Shape{Sources: 1000, Keys: 1000, Events: 1}, udp: load.UDPOptions{Flows: 64, Burst: 1}, datagrams: 16000},
	{name: "sealed, one event, 1M sources", shape: load.Shape{Sources: 1e6, Keys: 1000, Events: 1}, udp: load.UDPOptions{Flows: 64, Burst: 1}, datagrams: 16000},
	{name: "sealed, full, 1k sources", shape: load.Shape{Sources: 1000, Keys: 1000}, udp: load.UDPOptions{Flows: 64, Burst: 8, GSO: true}, datagrams: 8192},
	{name: "sealed, full, 1M sources", shape: load.Shape{Sources: 1e6, Keys: 1000}, udp: load.UDPOptions{Flows: 64, Burst: 8, GSO: true}, datagrams: 8192},
}

// runSealed measures three collectors in the same rounds, saturated as in run: one
// is sent frames without tags, one sealed ones, and one sealed ones whose tags are
// wrong.
func (l *ingestLoad) runSealed(t *testing.T, out io.Writer, rounds int) {
	l.shape.Stream, l.shape.Size, l.shape.Seed = 1, ingestSize, 1
	forger := wire.NewSecret(0, [wire.SecretSize]byte{99})
	var lecterns []*heldLectern
	var makers []*load.Maker
	var senders []*load.UDP
	for i, key := range []*wire.EventsKey{nil, frameKey(t, older, 1, audience), frameKey(t, forger, 1, audience)} {
		l.shape.Key = key
		m, err := load.NewMaker(l.shape)
		if err != nil {
			t.Fatal(err)
		}
		m.Tick(ingestTime())
		l.streams = Streams{}
		if key != nil {
			l.streams = sealedStreams(older)
		}
		h := newHeldLectern(t, l, 1)
		defer h.stop()
		if h.refuses = i == 2; h.refuses {
			h.unread = uint64(l.datagrams / 100)
		} else {
			h.meetAll(m)
			h.warm(m)
		}
		s, err := load.DialUDP(h.address(), l.udp)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		lecterns, makers, senders = append(lecterns, h), append(makers, m), append(senders, s)
	}
	cost := inTurns(t, rounds, lecterns, makers, senders, l.datagrams)
	fmt.Fprintf(out, "%-34s %9.0f %9.0f %8.2f %9.0f %8.2f\n", l.name,
		median(cost[0]), median(cost[1]), medianRatio(cost[1], cost[0]), median(cost[2]), medianRatio(cost[2], cost[1]))
	if n := lecterns[2].sources.live.Load(); n != 0 {
		t.Errorf("%d sources are known whose frames were forged", n)
	}
}

// meetAll has the collector know all sources.
func (h *heldLectern) meetAll(m *load.Maker) {
	var b []byte
	s := h.shards[0]
	s.Lock()
	defer s.Unlock()
	s.tick()
	for source := range m.Sources() {
		b = m.Beat(b[:0], source)
		s.datagram(b, address{})
	}
}
