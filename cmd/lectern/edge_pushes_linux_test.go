package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lectern/lectern/emit"
)

// A CDN pushes a log of which it has kept one line of ten, twice, and in between the
// edge is killed and the collector: the row says what each event stands for, books
// count what came.
func TestPushedLogs(t *testing.T) {
	h, url := edgeHome(t)
	file := filepath.Join(t.TempDir(), "tokens")
	const token = "a-token-of-some-length"
	if err := os.WriteFile(file, []byte("\n"+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	appendTo(t, h.config, fmt.Sprintf("edge.logs_token_file = %q\nedge.logs_fields = \"client=who\"\nedge.fastly_services = \"abc\"\n", file))
	d, e := serveOn(t, h.config), edgeOn(t, h.config)
	push := func(from, to int) int {
		t.Helper()
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		for i := from; i < to; i++ {
			fmt.Fprintf(w, `{"who":"203.0.113.%d","request":"GET /page/%d HTTP/1.1","status":200,"ts":1792267201.5,"agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}`+"\n", i%7, i%50)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest("POST", url+"/v1/logs?sampled=10", &b)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Encoding", "gzip")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	if status := push(0, 1000); status != http.StatusNoContent {
		t.Fatalf("answered with %d", status)
	}
	e.kill()
	d.kill()
	d, e = serveOn(t, h.config), edgeOn(t, h.config)
	if status := push(1000, 2000); status != http.StatusNoContent {
		t.Fatalf("answered with %d", status)
	}
	if err := os.WriteFile(file, []byte("another-token-of-length"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status := push(2000, 2001); status != http.StatusUnauthorized {
		t.Errorf("with a token that is no more: %d", status)
	}
	e.stop()
	d.stop()
	checkBooks(t, h.config, h.spool)
	sum := 0
	for _, row := range storedRows(t, h.parquet) {
		if row.Stream == 7 && row.Skipped != 9 {
			t.Errorf("%+v does not stand for ten", row)
		}
		sum += int(row.Opens)
	}
	stored := storedEvents(t, h.parquet)[7]
	for i := range 50 {
		if n := stored[emit.ID(fmt.Sprintf("/page/%d", i))]; n != 40 {
			t.Errorf("page %d: %d events are stored, want 40", i, n)
		}
	}
	if out := succeed(t, "books", "--json", "--config", h.config); sum != 2000 || !strings.Contains(out, `"accepted":2000`) {
		t.Errorf("%d events are stored; the books have %s", sum, out)
	}
}
