package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// fpmRequests is how many requests clients/php/tests/fpm.php makes.
const fpmRequests = 500

// PHP hands the access log and the requests to a php-fpm over a relay, which is a
// real edge in front of a real daemon. What a full socket did not take is told, so
// that the books show it as lost.
func TestClientsRelay(t *testing.T) {
	all := clients(t, "LECTERN_TEST_CLIENTS")
	i := slices.IndexFunc(all, func(c otherClient) bool { return c.name == "php" })
	if i < 0 {
		t.Skip("clients/php alone is for a relay")
	}
	c := all[i]
	if _, ok := c.do(t, nil, "setup"); !ok {
		t.Skip("NOT RUN")
	}
	const log, requests uint16 = 1, 2
	lines, want := logEvents(t)
	h := home(t, "")
	relay := filepath.Join(t.TempDir(), "relay")
	h.configure(t, fmt.Sprintf("window.late_max = \"0s\"\nwindow.flush_interval = \"1s\"\nedge.address = \"127.0.0.1:0\"\nedge.ops_address = \"127.0.0.1:0\"\n"+
		"edge.collector = %q\nedge.dir = %q\nedge.relay = %q\nstream.log.number = %d\nstream.requests.number = %d\n",
		h.address, filepath.Join(t.TempDir(), "edge"), relay, log, requests))
	d, e := serveOn(t, h.config), edgeOn(t, h.config)
	c.do(t, strings.NewReader(strings.Join(lines, "")), "relay", relay, fmt.Sprint(log))
	said, _ := c.do(t, nil, "fpm", relay, fmt.Sprint(requests))
	e.stop()
	d.stop()
	rows := storedRows(t, h.parquet)
	if got := opensOf(rows, log); !maps.Equal(got, want) {
		t.Errorf("the minutes differ from the log's: %d keys, want %d", len(got), len(want))
	}
	contents := make(map[string]bool)
	for _, line := range lines {
		contents[strings.Fields(line)[2]] = true
	}
	if got := storedNames(t, h.parquet, log); !maps.Equal(got, sayings(contents)) {
		t.Errorf("%d names and attributes came, want those of %d contents", len(got), len(contents))
	}
	books := clientBooks(t, d)
	if books[log].Accepted != len(lines) {
		t.Errorf("of %d events %d were accepted", len(lines), books[log].Accepted)
	}
	taken := 0
	if _, count, ok := strings.Cut(strings.TrimSpace(said), "taken="); ok {
		taken, _ = strconv.Atoi(count)
		b := books[requests]
		// A worker tells of what it dropped with its next event, if it has one.
		if taken == 0 || b.Accepted != taken || b.Lost > fpmRequests-taken || b.Sent != b.Accepted+b.Lost {
			t.Errorf("php-fpm's answers: %q, and the books have %+v", said, b)
		}
	}
	t.Logf("%d opens, and %d of php-fpm", len(lines), taken)
}
