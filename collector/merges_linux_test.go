package collector

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestMerges asks the kernel what it was told: merging is off after a while in
// which nothing was merged, tried again later, and stays where it is of use.
func TestMerges(t *testing.T) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	if err := unix.SetsockoptInt(socket, unix.IPPROTO_UDP, udpGRO, 1); err != nil {
		t.Skipf("DID NOT RUN: the kernel has no UDP_GRO: %v", err)
	}
	var m merges
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
	batches(mergeTrial-batchDatagrams, false)
	now(1)
	batches(10*mergeTrial, true)
	now(1)
	batches(mergeTrial-batchDatagrams, false)
	now(1)
	batches(batchDatagrams, false)
	now(0)
	batches(mergePause-batchDatagrams, false)
	now(0)
	batches(batchDatagrams, false)
	now(1)
	batches(batchDatagrams, true)
	batches(mergeTrial-batchDatagrams, false)
	now(1)
	batches(batchDatagrams, false)
	now(0)
}
