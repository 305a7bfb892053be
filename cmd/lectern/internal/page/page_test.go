package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// tame is a daemon of which a test says everything.
type tame struct {
	metrics string // set by say once the page runs
	telling sync.Mutex
	books   []collector.StreamBook
	refused []collector.RefusedSender
	hangs   chan struct{} // Loops waits for it
	looks   atomic.Int64  // how often it was called
	ready   error
}

func (d *tame) StreamBooks() []collector.StreamBook { return d.books }
func (d *tame) Refused() []collector.RefusedSender  { return d.refused }
func (d *tame) SinceHeartbeat() time.Duration       { return 250 * time.Millisecond }
func (d *tame) Loops() []collector.LoopState {
	d.looks.Add(1)
	if d.hangs != nil {
		<-d.hangs
	}
	return []collector.LoopState{{Keys: 3, Slots: 100, Datagrams: 7}}
}

// say sets what the daemon's metrics say from now on.
func (d *tame) say(metrics string) {
	d.telling.Lock()
	defer d.telling.Unlock()
	d.metrics = metrics
}

func (d *tame) said() string {
	d.telling.Lock()
	defer d.telling.Unlock()
	return d.metrics
}

func newPage(d *tame) *Page {
	return New(Options{
		Daemon: d, Metrics: func(w io.Writer) { io.WriteString(w, d.said()) }, Ready: func() error { return d.ready }, Version: "v1",
		Collector: "00000000000000ff", Store: "data/parquet", Memory: []config.Memory{{Part: "tables", Bytes: 1 << 10, From: "limits.keys_max"}}, Clock: time.Now,
	})
}

// ask is what a page answers to a request.
func ask(p *Page, path string, header ...string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	for pattern, h := range p.Handlers() {
		mux.Handle(pattern, h)
	}
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

// answer is a document, as anybody reads it.
func answer(t *testing.T, p *Page, path string) map[string]any {
	t.Helper()
	w := ask(p, path)
	var all map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &all); w.Code != 200 || err != nil {
		t.Fatalf("%s: %d %s %v", path, w.Code, w.Body, err)
	}
	return all
}

// at is a value in a document, by keys and places.
func at(t *testing.T, of any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			of = of.(map[string]any)[step]
		case int:
			of = of.([]any)[step]
		}
	}
	return of
}

func want(t *testing.T, document any, value any, path ...any) {
	t.Helper()
	if got := at(t, document, path...); fmt.Sprint(got) != fmt.Sprint(value) {
		t.Errorf("%v is %v, want %v", path, got, value)
	}
}

// Each answer forbids everything that does not come from here, is known again by its
// tag, and is asked for in no other way than to read.
func TestAnswersAreGuarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which a look does not get old between two requests
		p := newPage(&tame{})
		mux := http.NewServeMux()
		handlers := p.Handlers()
		for pattern, h := range handlers {
			mux.Handle(pattern, h)
		}
		for _, pattern := range slices.Sorted(maps.Keys(handlers)) {
			path := strings.TrimSuffix(strings.TrimPrefix(pattern, "GET "), "{$}")
			w := ask(p, path)
			if w.Code != 200 || w.Body.Len() == 0 {
				t.Fatalf("%s: %d", path, w.Code)
			}
			h := w.Header()
			if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; ") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") ||
				strings.Contains(csp, "*") || !strings.Contains(csp, "frame-ancestors 'none'") {
				t.Errorf("%s: the policy is %q", path, csp)
			}
			for name, value := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
				"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-cache"} {
				if h.Get(name) != value {
					t.Errorf("%s: %s is %q", path, name, h.Get(name))
				}
			}
			if kind := h.Get("Content-Type"); kind == "" || strings.Contains(kind, "html") != (path == "/") {
				t.Errorf("%s is of the type %q", path, kind)
			}
			if h.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s may be read by other pages", path)
			}
			if again := ask(p, path, "If-None-Match", h.Get("ETag")); again.Code != 304 || again.Body.Len() != 0 {
				t.Errorf("%s, asked for again: %d, %d bytes", path, again.Code, again.Body.Len())
			}
			if other := ask(p, path, "If-None-Match", `"other"`); other.Code != 200 {
				t.Errorf("%s, with another tag: %d", path, other.Code)
			}
			for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, httptest.NewRequest(method, path, nil))
				if w.Code != 405 {
					t.Errorf("%s %s: %d", method, path, w.Code)
				}
			}
		}
		if w := ask(p, "/page/../page.go"); w.Code == 200 {
			t.Error("the source is served")
		}
	})
}

// Nothing in the page runs or styles but files of its own, and no text becomes HTML.
func TestPageIsPlain(t *testing.T) {
	index := ask(newPage(&tame{}), "/").Body.String()
	for _, bad := range []string{"<style", "style=", " onclick", "onload", "javascript:", "http://", "https://", `src="//`} {
		if strings.Contains(index, bad) {
			t.Errorf("index.html has %q", bad)
		}
	}
	if regexp.MustCompile(`<script>|<script [^>]*>[^<]`).MatchString(index) {
		t.Error("index.html has a script of its own")
	}
	list, err := assets.ReadDir("assets")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if !strings.HasSuffix(f.Name(), ".js") {
			continue
		}
		text, err := assets.ReadFile("assets/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "DOMParser", "createContextualFragment", "setHTML", "srcdoc", "https://"} {
			if bytes.Contains(text, []byte(bad)) {
				t.Errorf("%s has %s", f.Name(), bad)
			}
		}
		if !strings.Contains(index, "/page/"+f.Name()) {
			t.Errorf("index.html does not load %s ahead: the first view waits for it", f.Name())
		}
	}
}

// What the page says of the words of refusal is what the protocol says.
func TestWordsAreTheProtocols(t *testing.T) {
	spec, err := os.ReadFile("../../../../wire/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	script := string(must(assets.ReadFile("assets/words.js")))
	rows := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| [a-z, ]+ \\| (.+) \\| (.+) \\|$").FindAllSubmatch(spec, -1)
	meant := make(map[string]bool)
	for _, row := range rows {
		word, means, cure := string(row[1]), string(row[2]), string(row[3])
		if _, ok := wire.ParseRefusal(word); !ok {
			continue
		}
		meant[word] = true
		quoted := strings.NewReplacer("'", `\'`)
		line := fmt.Sprintf("  %s: ['%s.', '%s'],\n", word, quoted.Replace(strings.ToUpper(means[:1])+means[1:]), quoted.Replace(cure))
		if !strings.Contains(script, line) {
			t.Errorf("words.js does not have\n%s", line)
		}
	}
	for why := wire.Accepted + 1; int(why) < wire.Refusals; why++ {
		if !meant[why.String()] {
			t.Errorf("wire/SPEC.md was not understood: it has no %s", why)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestBooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(tame)
		news := storage.Book{Stream: 7, Counts: storage.Counts{
			storage.Sent: 100, storage.Accepted: 80, storage.Shed: 5, storage.Lost: 12, storage.Found: 4, storage.Duplicate: 3, storage.Userless: 2, storage.Contentless: 1,
		}}
		news.Counts[storage.RefusedEvents.Of(wire.RefusedKind)], news.Counts[storage.UnplacedEvents.Of(wire.RefusedMagic)] = 7, 9
		others := storage.Book{Stream: wire.StreamReserved, Class: storage.Sealed, Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 10}}
		d.books = []collector.StreamBook{{Name: "news", Book: news}, {Book: others}}
		say := func(sent, accepted, kind int) {
			synctest.Wait() // a look may be due at this moment
			d.say(fmt.Sprintf("lectern_events_sent_total %d\nlectern_events_accepted_total %d\nlectern_events_refused_total{reason=\"kind\"} %d\n"+
				"lectern_table_keys 11\nlectern_rows_waiting 12\nlectern_spool_rows 13\nlectern_events_stored_total 14\nlectern_events_damaged_total 15\n", sent, accepted, kind))
		}
		say(0, 0, 0)
		p := newPage(d)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.Run(ctx)
		synctest.Wait()
		time.Sleep(30 * time.Minute)
		say(1000, 990, 10)
		time.Sleep(10 * time.Minute) // a whole number of samples, in which there is nothing new
		say(1500, 1480, 15)
		time.Sleep(5 * time.Second) // between two samples
		got := answer(t, p, "/books.json")
		want(t, got, 110, "total", "sent")
		want(t, got, 8, "total", "lost")
		want(t, got, 0, "total", "off")
		want(t, got, "map[kind:7]", "total", "refused")
		want(t, got, "map[magic:9]", "total", "unplaced")
		want(t, got, 3, "total", "coarse")
		for i, line := range []string{"7 news unsealed 100", " <nil> sealed 10"} {
			s := at(t, got, "streams", i)
			if said := fmt.Sprint(at(t, s, "stream"), " ", at(t, s, "stream_name"), " ", at(t, s, "class"), " ", at(t, s, "sent")); said != line {
				t.Errorf("stream %d is %q, want %q", i, said, line)
			}
		}
		want(t, got, 300, "lately", 0, "seconds")
		want(t, got, 500, "lately", 0, "sent")
		want(t, got, "map[kind:5]", "lately", 0, "refused")
		want(t, got, 5, "lately", 0, "off") // 500 - 490 - 5
		want(t, got, 1500, "lately", 1, "sent")
		want(t, got, 2405, "lately", 1, "covered")
		want(t, got, "map[events_stored:14 rows_waiting:12 spool_rows:13 table_keys:11]", "kept")
		want(t, got, 15, "damaged")

		past := answer(t, p, "/history.json")
		if n := len(at(t, past, "times").([]any)); n != 241 {
			t.Errorf("%d samples of forty minutes", n)
		}
		want(t, past, 1000, "series", "sent", 200)
		time.Sleep(5 * time.Hour)
		if n := len(at(t, answer(t, p, "/history.json"), "times").([]any)); n != samplesMax {
			t.Errorf("%d samples after hours, want %d", n, samplesMax)
		}
		want(t, answer(t, p, "/books.json"), 0, "lately", 1, "sent")
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &tame{metrics: "lectern_cuts_total{reason=\"time\"} 5\nlectern_spool_bytes 60\nlectern_spool_size_max_bytes 100\nprocess_resident_memory_anon_bytes 4096\n" +
			"go_memlimit_bytes 9.223372036854775807e+18\nlectern_seal_seconds_bucket{le=\"0.001\"} 0\nlectern_seal_seconds_bucket{le=\"0.002\"} 0\nlectern_seal_seconds_bucket{le=\"+Inf\"} 0\n"}
		p := newPage(d)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.Run(ctx)
		synctest.Wait()
		state := func(name string) (word string) {
			for _, c := range at(t, answer(t, p, "/health.json"), "conditions").([]any) {
				if at(t, c, "name") == name {
					word = fmt.Sprint(at(t, c, "state"))
				}
			}
			return word
		}
		if got := state("LecternSpoolFilling"); got != "pending" {
			t.Errorf("a spool that is more than half full is %s at first", got)
		}
		time.Sleep(5*time.Minute + time.Second)
		if got := state("LecternSpoolFilling"); got != "firing" {
			t.Errorf("a spool that is more than half full for five minutes is %s", got)
		}
		if got := state("LecternShedding"); got != "ok" {
			t.Errorf("nothing is shed, which is %s", got)
		}
		// 90 within a millisecond, 10 more within two.
		d.say(strings.NewReplacer(`"0.001"} 0`, `"0.001"} 90`, `"0.002"} 0`, `"0.002"} 100`, `"+Inf"} 0`, `"+Inf"} 100`).Replace(d.metrics))
		d.ready = errors.New("full: the spool takes no more")
		time.Sleep(lookAge)
		got := answer(t, p, "/health.json")
		want(t, got, 0.0019000000000000002, "seals", "p99_seconds") // 0.001 + 0.001 * (99 - 90) / 10
		want(t, got, "<nil>", "store", "p99_seconds")
		want(t, got, "full: the spool takes no more", "ready")
		want(t, got, 0.25, "heartbeat_seconds")
		want(t, got, "map[time:5]", "cuts", "made")
		want(t, got, 1<<10, "memory", "check_bytes")
		want(t, got, "<nil>", "memory", "go_limit_bytes")
		want(t, got, 3, "loops", 0, "keys")
		want(t, got, 0, "stalled_seconds")
	})
}

// A loop that hangs lets nobody wait without end, nor anything pile up: the page shows
// what was, and how old it is.
func TestHangingLoopShowsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &tame{metrics: "lectern_spool_bytes 1\n"}
		p := newPage(d)
		answer(t, p, "/health.json")
		d.hangs = make(chan struct{})
		d.say("lectern_spool_bytes 2\n")
		time.Sleep(10 * time.Second)
		begin := time.Now()
		for range 5 {
			got := answer(t, p, "/health.json")
			want(t, got, 1, "spool", "bytes")
			if age := at(t, got, "stalled_seconds").(float64); age < 10 {
				t.Errorf("it is said to be %v s old", age)
			}
		}
		if waited := time.Since(begin); waited != 5*lookWait {
			t.Errorf("five requests waited %v", waited)
		}
		if n := d.looks.Load(); n != 2 {
			t.Errorf("%d looks were begun, want the one from before and the one that hangs", n)
		}
		close(d.hangs)
		synctest.Wait()
		time.Sleep(lookAge)
		got := answer(t, p, "/health.json")
		want(t, got, 2, "spool", "bytes")
		want(t, got, 0, "stalled_seconds")
	})
	synctest.Test(t, func(t *testing.T) {
		d := &tame{hangs: make(chan struct{})}
		if w := ask(newPage(d), "/books.json"); w.Code != 503 {
			t.Errorf("a daemon that never answered: %d %s", w.Code, w.Body)
		}
		close(d.hangs)
	})
}

// sourceName is what sha256sum says of the bytes of 0x1122334455667788.
const sourceName = "804d562d2247"

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(tame)
		d.say("lectern_frames_refused_total{reason=\"magic\"} 40\n")
		d.refused = []collector.RefusedSender{
			{Why: wire.RefusedMagic, Transport: "tcp", Peer: "192.0.2.9:4711", Times: 40, First: 1, Last: 2, Size: 78, Began: []byte("GET / HTTP/1.1\r\n")},
			{Why: wire.RefusedKind, Transport: "udp", Peer: "192.0.2.8:1", Times: 1, Size: 60, Began: make([]byte, 40), Sourced: true, Source: 0x1122334455667788},
		}
		p := newPage(d)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.Run(ctx)
		synctest.Wait()
		d.say("lectern_frames_refused_total{reason=\"magic\"} 45\nlectern_events_unplaced_total{reason=\"magic\"} 3\n")
		time.Sleep(5 * time.Second)
		body := ask(p, "/refusals.json").Body.String()
		got := answer(t, p, "/refusals.json")
		words := at(t, got, "words").([]any)
		if len(words) != wire.Refusals-1 {
			t.Errorf("%d words", len(words))
		}
		want(t, words, "magic", 1, "word")
		want(t, words, 45, 1, "frames")
		want(t, words, 5, 1, "frames_5m")
		want(t, words, 3, 1, "unplaced")
		want(t, words, "474554202f20485454502f312e310d0a", 1, "senders", 0, "bytes")
		want(t, words, "192.0.2.9:4711", 1, "senders", 0, "peer")
		want(t, words, "[]", 0, "senders")
		// printf '\x88\x77\x66\x55\x44\x33\x22\x11' | sha256sum | cut -c1-12
		if !strings.Contains(body, `"source":"`+sourceName+`"`) {
			t.Errorf("the source is not named %s: %s", sourceName, body)
		}
		for _, secret := range []string{"1122334455667788", "8877665544332211", "1234605616436508552"} {
			if strings.Contains(body, secret) {
				t.Errorf("the source's number %s is shown", secret)
			}
		}
	})
}

// The runbook has an entry for each condition, as text.
func TestRunbookIsTheOperators(t *testing.T) {
	all := answer(t, newPage(new(tame)), "/runbook.json")
	for _, c := range conditions {
		text, _ := all[c.name].(string)
		if !strings.HasPrefix(text, "*Means* ("+c.severity) || !strings.Contains(text, "*Do*") || strings.Contains(text, "](") || strings.Contains(text, "\n## ") {
			t.Errorf("%s: %q", c.name, text)
		}
	}
}

// The history is bounded, whatever the daemon has to say.
func TestHistoryIsBounded(t *testing.T) {
	h := newHistory()
	for i := range samplesMax + 50 {
		s := make(series)
		for n := range 5 {
			s[fmt.Sprintf(`lectern_made_up{n="%d"}`, i*5+n)] = 1
		}
		h.add(time.Unix(int64(i)*10, 0), s)
	}
	if len(h.samples) != samplesMax || len(h.columns) != seriesMax {
		t.Errorf("%d samples of %d series, want %d of %d", len(h.samples), len(h.columns), samplesMax, seriesMax)
	}
	for _, s := range h.samples {
		if len(s.values) > seriesMax {
			t.Fatalf("a sample has %d values", len(s.values))
		}
	}
}
