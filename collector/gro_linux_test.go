package collector

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/storage"
)

// TestGRO asks the kernel what it was told: merging is off after a while in
// which nothing was merged, tried again later, and stays where it is of use.
func TestGRO(t *testing.T) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	if err := unix.SetsockoptInt(socket, unix.IPPROTO_UDP, udpGRO, 1); err != nil {
		t.Skipf("DID NOT RUN: the kernel has no UDP_GRO: %v", err)
	}
	var m gro
	m.ask(socket, true)
	now := func(want int) {
		t.Helper()
		if on, err := unix.GetsockoptInt(socket, unix.IPPROTO_UDP, udpGRO); err != nil || on != want {
			t.Fatalf("UDP_GRO is %d (%v), want %d", on, err, want)
		}
	}
	batches := func(datagrams int, merged bool) {
		for n := 0; n < datagrams; n += batchDatagrams {
			m.seen = m.seen || merged
			m.weigh(socket, batchDatagrams)
		}
	}
	now(1)
	batches(groTrial-batchDatagrams, false)
	now(1)
	batches(10*groTrial, true)
	now(1)
	batches(groTrial-batchDatagrams, false)
	now(1)
	batches(batchDatagrams, false)
	now(0)
	batches(groPause-batchDatagrams, false)
	now(0)
	batches(batchDatagrams, false)
	now(1)
	batches(batchDatagrams, true)
	batches(groTrial-batchDatagrams, false)
	now(1)
	batches(batchDatagrams, false)
	now(0)
}

// What was merged, and waits while merging is turned off, is taken whole; what
// comes afterwards is not merged.
func TestMergedWhileTurnedOff(t *testing.T) {
	b := newBench(1, nil)
	s := b.shards[0]
	in, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(in)
	if _, err := s.udp.open(in, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(in, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	to, err := unix.Getsockname(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(out)
	if err := unix.Connect(out, to); err != nil {
		t.Fatal(err)
	}
	send := func(datagrams []byte) {
		t.Helper()
		if _, err := unix.Write(out, datagrams); err != nil {
			t.Fatal(err)
		}
	}
	drain := func() {
		s.Lock()
		defer s.Unlock()
		for !s.drain(in, batchesMax) {
		}
	}
	const singles, merged = groTrial, 10
	for n := range uint64(singles) {
		if n%(singles/4) == 0 {
			drain() // a full buffer would lose some
		}
		send(frameOf(1, 8, n, n, b.now, opens(1)...))
	}
	var frames [][]byte
	for n := range uint64(merged) {
		frames = append(frames, frameOf(1, 9, n, 2*n, b.now, opens(2)...))
	}
	const udpSegment = 103 // UDP_SEGMENT of linux/udp.h
	if err := unix.SetsockoptInt(out, unix.IPPROTO_UDP, udpSegment, len(frames[0])); err != nil {
		t.Skipf("DID NOT RUN: the kernel has no UDP_SEGMENT: %v", err)
	}
	send(slices.Concat(frames...))
	drain()
	if s.udp.gro.on || s.tally[readDatagrams] != singles+1 {
		t.Fatalf("%d datagrams, merging is on: %v; want one that was merged as it was turned off", s.tally[readDatagrams], s.udp.gro.on)
	}
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: singles + 2*merged, storage.Accepted: singles + 2*merged}}, 0)
	send(slices.Concat(frames...))
	drain()
	if s.tally[readDatagrams] != singles+1+merged {
		t.Errorf("%d datagrams, want %d", s.tally[readDatagrams], singles+1+merged)
	}
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: singles + 2*merged, storage.Accepted: singles + 2*merged, storage.Duplicate: 2 * merged}}, 0)
}
