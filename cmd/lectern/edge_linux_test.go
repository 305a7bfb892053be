package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/internal/testca"
)

// edgeOn starts an edge and waits until it is ready.
func edgeOn(t testing.TB, config string) *served {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return serveBy(t, config, exec.Command(path, "edge", "--config", config))
}

// edgeHome is a home for a collector and an edge in front of it.
func edgeHome(t testing.TB) (h *crashed, pages string) {
	h = home(t, "")
	at := loopback(t)
	pages = "http://" + at
	h.configure(t, fmt.Sprintf("limits.keys_max = 524288\nwindow.ack_interval = \"20ms\"\nwindow.flush_interval = \"300ms\"\n"+
		"edge.address = %q\nedge.ops_address = \"127.0.0.1:0\"\nedge.collector = %q\nedge.dir = %q\nedge.queue_size = \"4MiB\"\nstream.site.number = 7\n",
		at, h.address, filepath.Join(t.TempDir(), "edge")))
	return h, pages
}

// Pages send as lectern.js does, again until they are answered, while the edge and
// the collector are killed at random. Each event is stored once, whether its answer
// came or not.
func TestEdgeKilledAtRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(crashSeed(t), 9))
	h, url := edgeHome(t)
	d, e := serveOn(t, h.config), edgeOn(t, h.config)
	var over atomic.Bool
	var pages sync.WaitGroup
	counts := make([]int, 20)
	for i := range counts {
		pages.Go(func() { counts[i] = readPage(url, i, over.Load) })
	}
	edges, daemons := 0, 0
	for until := time.Now().Add(6 * time.Second); time.Now().Before(until) || edges == 0 || daemons == 0; {
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		if rng.IntN(3) > 0 {
			e.kill()
			e = edgeOn(t, h.config)
			edges++
		} else {
			d.kill()
			d = serveOn(t, h.config)
			daemons++
		}
	}
	over.Store(true)
	pages.Wait()
	e.stop()
	d.stop()
	checkBooks(t, h.config, h.spool)
	stored := storedEvents(t, h.parquet)[7]
	sum := 0
	for page, n := range counts {
		for i := range n {
			if times := stored[emit.ID(pageContent(page, i))]; times != 1 {
				t.Errorf("event %d of page %d is stored %d times", i, page, times)
			}
		}
		sum += n
	}
	if len(stored) != sum {
		t.Errorf("%d events are stored, and %d were answered", len(stored), sum)
	}
	if sum == 0 {
		t.Error("no event was answered")
	}
	t.Logf("%d events, %d kills of the edge, %d of the daemon", sum, edges, daemons)
}

func pageContent(page, event int) string { return fmt.Sprintf("/page/%d/%d", page, event) }

// readPage is a page in a browser: it numbers its events, and sends each until it
// was answered. It returns how many were, when it is over and all are.
func readPage(url string, page int, over func() bool) int {
	client := http.Client{Timeout: 2 * time.Second}
	for n := 0; ; {
		if over() {
			return n
		}
		var events []string
		for i := range 1 + (n+page)%4 {
			events = append(events, fmt.Sprintf(`{"kind":"open","content":%q}`, pageContent(page, n+i)))
		}
		body := fmt.Sprintf(`{"stream":"site","page":"%016x","first":%d,"events":[%s]}`, page+1, n, strings.Join(events, ","))
		for !postPage(&client, url, body) {
			time.Sleep(10 * time.Millisecond)
		}
		n += len(events)
	}
}

func postPage(client *http.Client, url, body string) bool {
	r, err := http.NewRequest("POST", url+"/v1/read", bytes.NewReader([]byte(body)))
	if err != nil {
		return false
	}
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	answer, err := client.Do(r)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusNoContent
}

// Over mutual TLS, and sealed: what pages send arrives, and a collector that wants
// both takes nothing else.
func TestEdgeOverTLSAndSealed(t *testing.T) {
	h, url := edgeHome(t)
	dir := t.TempDir()
	secure := loopback(t)
	host, _, _ := net.SplitHostPort(secure)
	testca.New(t).Write(t, dir, time.Now().Add(time.Hour), host)
	keys := filepath.Join(dir, "keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	succeed(t, "keys", "new", "--dir", keys)
	list, err := filepath.Glob(filepath.Join(keys, "*"))
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	appendTo(t, h.config, fmt.Sprintf("listen.audience = \"here\"\ntls.address = %q\ntls.certificate = %q\ntls.key = %q\ntls.client_ca = %q\n"+
		"stream.site.secret = %q\nstream.site.seal = \"require\"\nstream.site.key_file = %q\nedge.audience = \"here\"\n"+
		"edge.tls_ca = %q\nedge.tls_cert = %q\nedge.tls_key = %q\n",
		secure, in("tls.crt"), in("tls.key"), in("ca.crt"), keys, list[0], in("ca.crt"), in("tls.crt"), in("tls.key")))
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("edge.collector = \""+h.address), []byte("edge.collector = \"tls://"+secure), 1)
	if err := os.WriteFile(h.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	d, e := serveOn(t, h.config), edgeOn(t, h.config)
	client := http.Client{Timeout: 10 * time.Second}
	for i := range 50 {
		if !postPage(&client, url, fmt.Sprintf(`{"stream":"site","events":[{"kind":"open","content":%q}]}`, pageContent(0, i))) {
			t.Fatalf("beacon %d was not taken", i)
		}
	}
	e.stop()
	d.stop()
	checkBooks(t, h.config, h.spool)
	stored := storedEvents(t, h.parquet)[7]
	for i := range 50 {
		if stored[emit.ID(pageContent(0, i))] != 1 {
			t.Errorf("event %d is stored %d times", i, stored[emit.ID(pageContent(0, i))])
		}
	}
}
