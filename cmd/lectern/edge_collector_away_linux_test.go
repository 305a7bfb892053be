package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
)

// While the collector is away pages are answered as before: 204, each event kept, and
// as fast, since nothing of an answer waits for it. Later all of them are stored once.
// LECTERN_TEST_EDGE_AWAY says for how long it is away.
func TestEdgeCollectorAway(t *testing.T) {
	away := 2 * time.Second
	if text := os.Getenv("LECTERN_TEST_EDGE_AWAY"); text != "" {
		var err error
		if away, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	h, url := edgeHome(t)
	appendTo(t, h.config, "edge.budget_rate = 1000000\nedge.budget_burst = 10000000\n")
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`edge.queue_size = "4MiB"`), []byte(`edge.queue_size = "256MiB"`), 1) // ten minutes are a million events
	if err := os.WriteFile(h.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	d, e := serveOn(t, h.config), edgeOn(t, h.config)
	client := http.Client{Timeout: 30 * time.Second}
	sent := 0
	// Hundreds of beacons a second: what a busy site has in ten minutes.
	read := func(d time.Duration) (took []time.Duration) {
		t.Helper()
		for until := time.Now().Add(d); time.Now().Before(until); {
			began := time.Now()
			if !postPage(&client, url, fmt.Sprintf(`{"stream":"site","events":[{"kind":"open","content":%q}]}`, pageContent(0, sent))) {
				t.Fatalf("beacon %d was not taken", sent)
			}
			took = append(took, time.Since(began))
			sent++
			time.Sleep(time.Millisecond) // a pace, and no wait for anything
		}
		slices.Sort(took)
		return took
	}
	there := read(min(away, 30*time.Second))
	d.kill()
	gone := read(away)
	if waiting := metricOf(e, "lectern_edge_events_waiting"); waiting < float64(len(gone)) {
		t.Errorf("%.0f events wait, and %d were sent while nobody took them", waiting, len(gone))
	}
	at := func(took []time.Duration, part float64) time.Duration { return took[int(part*float64(len(took)-1))] }
	t.Logf("answers while the collector was there: half within %v, 99 %% within %v (%d); while it was away for %v: %v, %v (%d)",
		at(there, 0.5), at(there, 0.99), len(there), away, at(gone, 0.5), at(gone, 0.99), len(gone))
	if said := e.said(); !strings.Contains(said, "no connection to the collector") {
		t.Errorf("the log says nothing of it:\n%s", said)
	}
	d = serveOn(t, h.config)
	waitForMetric(t, e, "lectern_edge_events_waiting", 0)
	e.stop()
	d.stop()
	checkBooks(t, h.config, h.spool)
	stored := storedEvents(t, h.parquet)[7]
	for i := range sent {
		if n := stored[emit.ID(pageContent(0, i))]; n != 1 {
			t.Fatalf("event %d is stored %d times", i, n)
		}
	}
}
