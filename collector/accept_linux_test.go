package collector

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/VictoriaMetrics/metrics"
)

// Where any port will do, one is taken that is free for UDP as well as for TCP: with a
// few ports in all, of which others have half for UDP, the kernel's first choice for
// TCP is often not.
func TestAnyPortIsFreeForBoth(t *testing.T) {
	if os.Getenv(lossyInside) == "" {
		insideNamespaces(t)
		return
	}
	must(t, "ip", "link", "set", "lo", "up")
	const first, last = 40_000, 40_015
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", first, last), 0); err != nil {
		t.Fatal(err)
	}
	for port := first; port <= last; port += 4 {
		for _, taken := range []int{port, port + 1} {
			other, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", taken))
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
		}
	}
	for range 50 {
		c := New(Options{Address: "127.0.0.1:0", Loops: 1, KeysMax: 1, SourcesMax: 1, ConnectionsMax: 1, Sink: newEar(), Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler)})
		l, err := c.listen()
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}
