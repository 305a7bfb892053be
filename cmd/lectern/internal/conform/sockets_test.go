//go:build unix

package conform

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// A port that another process has when the collector comes back is waited for.
func TestPlaceComesBackToItsPort(t *testing.T) {
	s, err := openSockets()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.places[0].vanish()
	other, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = other.Close() })
	if err := s.reopen(s.places[0]); err != nil {
		t.Error(err)
	}
}
