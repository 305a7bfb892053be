package main

import (
	"github.com/lectern/lectern/internal/poll"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Bursts of connections on the event port take no descriptor that the daemon
// needs, however few it has: it goes on, and so do its clients.
func TestBurstsOfConnections(t *testing.T) {
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	config := configure(t, filepath.Join(t.TempDir(), "parquet"), "listen.loops = 2")
	d := serveBy(t, config, exec.Command("sh", "-c", `ulimit -n 128 && exec "$0" serve --config "$1"`, path, config))
	for range 3 {
		var burst []net.Conn
		for range 400 {
			c, err := net.DialTimeout("tcp", d.address, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			burst = append(burst, c)
		}
		for _, c := range burst {
			_ = c.Close()
		}
		poll.Until(t, "they are gone", func() bool { return d.metrics()["lectern_connections"] == 0 })
		d.emit("tcp", "--events", "1000")
	}
	m := d.metrics()
	if m[`lectern_frames_refused_total{reason="connections"}`] == 0 || m["lectern_connections_opened_total"] < 1203 {
		t.Errorf("%v connections, %v refused", m["lectern_connections_opened_total"], m[`lectern_frames_refused_total{reason="connections"}`])
	}
	d.stop()
}
