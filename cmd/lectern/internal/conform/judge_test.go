//go:build unix

package conform

import (
	"testing"

	"github.com/lectern/lectern/wire"
)

// A child has a socket of its own while its parent is there. The port of a process that
// has ended may come to any other.
func TestPortsOfProcesses(t *testing.T) {
	j := newJudge()
	j.udp, j.datagram = true, wire.DatagramSizeDefault
	send := func(process int, from string) {
		j.process = process
		j.took(datagram{placeHere, from, wire.AppendHeader(nil, wire.Header{Type: wire.TypeEvents, Size: wire.HeaderSize, Time: epoch, Source: uint64(process)})})
	}
	send(1, "127.0.0.1:1001")
	send(2, "127.0.0.1:1002")
	j.gone[2] = true
	if send(3, "127.0.0.1:1002"); len(j.violations) > 0 {
		t.Errorf("a port that was another's: %v", j.violations)
	}
	if send(4, "127.0.0.1:1001"); len(j.violations) != 1 {
		t.Errorf("its parent's socket: %v", j.violations)
	}
}
